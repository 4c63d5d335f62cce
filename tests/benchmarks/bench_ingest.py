"""Ingest against the bare parser: at least 0.3 of the rate at which polars reads the same JSONL.

The log is OpenTelemetry GenAI as the gateway writes it, about 1.5 kB a record; one user in 500
records, three tenants, one output in fifty repeats an earlier one but for a word. Ingest decodes,
checks, pseudonymises, digests, filters, sorts and writes; polars only parses. Each runs in a
process of its own, in turn; the best of each counts. The ratio is of wall time; processor time is
shown beside it, since it says more where the machine is shared. Peaks of memory are those of the
process that was asked and of the largest one it started. `--records 10000000` is the full size:
15 GB of log, and twice as much of free disk.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from tests.flows.nights import DAY_NS, otel, run_ingest

RATIO_MIN = 0.3
_ROUNDS = 3
_LARGE = 2_000_000


def write_records(path: Path, count: int) -> int:
    """Write a log of so many records over one day; give its size in bytes."""
    rng = random.Random(0)
    words = [f"{rng.getrandbits(28):x}" for _ in range(5000)]
    path.parent.mkdir(parents=True)
    users, before = max(7, count // 500), ""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            record = otel(number, seconds=0)
            record["time_unix_nano"] = str(DAY_NS + number * 86_400 * 10**9 // count)
            record["attributes"]["enduser.id"] = f"user-{number % users}"
            for field, length in (("gen_ai.output.messages", 80), ("gen_ai.input.messages", 25)):
                text = " ".join(rng.choices(words, k=length))
                if field == "gen_ai.output.messages":
                    text = f"{before} {number}" if number % 50 == 3 else text
                    before = text if number % 50 == 0 else before
                record["attributes"][field][0]["parts"][0]["content"] = text
            file.write(json.dumps(record) + "\n")
    return path.stat().st_size


def run_alone(what: str, folder: Path) -> dict[str, float]:
    """Run one side in a process of its own; give seconds of wall and processor, and MiB."""
    words = [sys.executable, "-m", "tests.benchmarks.bench_ingest", f"--{what}", str(folder)]
    root = Path(__file__).parents[2]
    said = subprocess.run(words, check=True, capture_output=True, text=True, cwd=root)
    found: dict[str, float] = json.loads(said.stdout)
    return found


def run_here(parse: Path | None, ingest: Path | None) -> None:
    """Do one side and print what it took."""
    started = time.perf_counter()
    if parse:
        pl.read_ndjson(parse / "logs" / "gateway.jsonl")
    if ingest:
        run_ingest(ingest)
    wall = time.perf_counter() - started
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    cpu = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
    peaks = {"peak": own.ru_maxrss / 1024, "largest": others.ru_maxrss / 1024}
    print(json.dumps({"wall": wall, "cpu": cpu, **peaks}))


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 0 when ingest keeps its ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--records", type=int, default=0, help="how many; 300,000 by default")
    parser.add_argument("--parse", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ingest", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.parse or chosen.ingest:
        run_here(chosen.parse, chosen.ingest)
        return 0
    count = chosen.records or (20_000 if chosen.quick else 300_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_records(folder / "logs" / "gateway.jsonl", count)
        # polars holds the whole log, so at full size only ingest is run.
        sides = ("ingest",) if count > _LARGE * 2 else ("parse", "ingest")
        rounds = 1 if count > _LARGE else _ROUNDS
        found = {side: [] for side in sides}
        for _ in range(rounds):
            for side in sides:
                found[side].append(run_alone(side, folder))
    best = {side: {k: min(r[k] for r in runs) for k in runs[0]} for side, runs in found.items()}
    for side, took in best.items():
        print(
            f"{side:<7} {count / took['wall']:>10,.0f} records/s  "
            f"{size / took['wall'] / 2**20:7.1f} MiB/s  {took['wall']:6.2f} s  "
            f"{took['cpu']:6.2f} s processor  peak {took['peak']:,.0f} MiB"
            + (f", others {took['largest']:,.0f} MiB each" if took["largest"] else "")
        )
    if "parse" not in best:
        return 0
    ratios = {key: best["parse"][key] / best["ingest"][key] for key in ("wall", "cpu")}
    print(
        f"ratio {ratios['wall']:.2f} of wall (at least {RATIO_MIN}), {ratios['cpu']:.2f} of "
        f"processor"
    )
    return int(ratios["wall"] < RATIO_MIN)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    raise SystemExit(main())
