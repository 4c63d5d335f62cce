"""Ingest against the bare parser: at least 0.3 of the rate at which polars reads the same JSONL.

The log is OpenTelemetry GenAI as the gateway writes it, about 1.5 kB a record. Ingest decodes,
checks, pseudonymises, digests, filters, sorts and writes; polars only parses. Both run in this
process, one after the other, three times in turn; the best of each counts. The ratio is of wall
time; processor time is shown beside it because polars uses every core and ingest mostly one.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from tests.flows.nights import DAY_NS, otel, run_ingest

RATIO_MIN = 0.3
_ROUNDS = 3


def write_records(path: Path, count: int) -> int:
    """Write a log of so many records over one day; give its size in bytes."""
    rng = random.Random(0)
    words = [f"{rng.getrandbits(28):x}" for _ in range(5000)]
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            record = otel(number, seconds=0)
            record["time_unix_nano"] = str(DAY_NS + number * 86_400 * 10**9 // count)
            for field, length in (("gen_ai.output.messages", 80), ("gen_ai.input.messages", 25)):
                text = " ".join(rng.choices(words, k=length))
                record["attributes"][field][0]["parts"][0]["content"] = text
            file.write(json.dumps(record) + "\n")
    return path.stat().st_size


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Give wall and processor seconds of one run."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 0 when ingest keeps its ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    count = 20_000 if parser.parse_args(argv).quick else 300_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "logs" / "gateway.jsonl"
        size = write_records(log, count)
        rounds = [
            (timed(lambda: pl.read_ndjson(log).height), timed(lambda: run_ingest(folder)))
            for _ in range(_ROUNDS)
        ]
    parse = min(round_[0][0] for round_ in rounds), min(round_[0][1] for round_ in rounds)
    ours = min(round_[1][0] for round_ in rounds), min(round_[1][1] for round_ in rounds)
    for label, (wall, cpu) in (("polars parse", parse), ("ingest", ours)):
        print(
            f"{label:<13} {count / wall:>10,.0f} records/s  {size / wall / 2**20:7.1f} MiB/s  "
            f"{wall:6.2f} s  {cpu:6.2f} s processor"
        )
    ratio = parse[0] / ours[0]
    print(
        f"ratio {ratio:.2f} of wall (at least {RATIO_MIN}), {parse[1] / ours[1]:.2f} of processor"
    )
    return int(ratio < RATIO_MIN)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    raise SystemExit(main())
