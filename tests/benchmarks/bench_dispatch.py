"""What workers cost and what they gain, on real shards through Redis.

1. Overhead: the same shards scored in this process and by one warm worker; what the worker takes
   longer, a shard, against a shard of one minute: at most 2 %.
2. Gain: the same shards by one and by two warm workers, each scoring on one thread: at least 1.7
   times as fast on two cores.

Workers are warm: each has its model loaded before the clock starts. The runs alternate, and each
figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from attribution.run import QueryText, shard_name
from flows.artefacts import sha256_file
from flows.dispatch import run_shards
from flows.settings import BrokerSettings
from flows.shards import ShardStore
from flows.workspace import Workspace
from tests.brokers import DEFAULTS, why_not
from tests.simulation.tiny import WORDS, build_tiny

OVERHEAD_MAX = 0.02
SHARD_S = 60.0
GAIN_MIN = 1.7
WORDS_A_TEXT = 40


class Bench:
    """Shards of one index, done here or by workers.

    Args:
        workspace: with an index.
        url: the broker.
    """

    def __init__(self, workspace: Workspace, url: str) -> None:
        self.workspace = workspace
        self.store = ShardStore(workspace.shards)
        self.broker = BrokerSettings(url=url, queue=f"byline-bench-{uuid.uuid4().hex[:12]}")
        self._index = sha256_file(workspace.index / "manifest.json")
        self._made = 0

    def shards(self, count: int, outputs: int) -> list[str]:
        """Ask for new shards; give their names."""
        names = []
        for _ in range(count):
            texts = [self._text(n) for n in range(self._made, self._made + outputs)]
            self._made += outputs
            name = shard_name(self._index, texts)
            self.store.put(name, self.workspace.index, self._index, texts)
            names.append(name)
        return names

    def seconds(self, names: Sequence[str], broker: BrokerSettings) -> float:
        """Get shards done; give how long that took."""
        started = time.perf_counter()
        run_shards(self.store, names, broker, lambda *_: None, print)
        return time.perf_counter() - started

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a worker on one thread."""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "BYLINE_BROKER__URL": self.broker.url,
            "BYLINE_BROKER__QUEUE": self.broker.queue,
        }
        words = ["worker", "--dir", str(self.workspace.home), "--log-level", "ERROR"]
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _text(self, number: int) -> QueryText:
        chosen = [WORDS[(number * 31 + n * n) % len(WORDS)] for n in range(WORDS_A_TEXT)]
        return QueryText(f"output-{number:08d}", None, " ".join(chosen))


def overhead(bench: Bench, rounds: int, count: int) -> bool:
    """Compare this process with one worker; print it; say whether it is small enough."""
    here, there = [], []
    with ExitStack() as stack:
        stack.callback(_end, bench.worker())
        bench.seconds(bench.shards(2, 1), bench.broker)
        bench.seconds(bench.shards(2, 1), BrokerSettings())
        for _ in range(rounds):
            here.append(bench.seconds(bench.shards(count, 8), BrokerSettings()) / count)
            there.append(bench.seconds(bench.shards(count, 8), bench.broker) / count)
    single = bench_single(bench)
    extra = statistics.median(there) - statistics.median(here)
    worst = max(extra, single)
    print(
        f"{count} shards in a row: {1000 * statistics.median(here):.0f} ms each here, "
        f"{1000 * statistics.median(there):.0f} ms by a worker, {1000 * extra:+.0f} ms\n"
        f"one shard alone: {1000 * single:+.0f} ms by a worker, the flow's look included\n"
        f"overhead {100 * worst / SHARD_S:.2f} % of a shard of {SHARD_S:.0f} s "
        f"(at most {100 * OVERHEAD_MAX:.0f} %)"
    )
    return worst / SHARD_S <= OVERHEAD_MAX


def bench_single(bench: Bench) -> float:
    """Give what a worker takes longer for one shard alone, in seconds, as a median of five."""
    extra = []
    with ExitStack() as stack:
        stack.callback(_end, bench.worker())
        bench.seconds(bench.shards(2, 1), bench.broker)
        for _ in range(5):
            here = bench.seconds(bench.shards(1, 8), BrokerSettings())
            extra.append(bench.seconds(bench.shards(1, 8), bench.broker) - here)
    return statistics.median(extra)


def gain(bench: Bench, rounds: int, count: int, outputs: int) -> bool:
    """Compare one worker with two; print it; say whether the second pays."""
    alone, both = [], []
    for _ in range(rounds):
        for taken, workers in ((alone, 1), (both, 2)):
            with ExitStack() as stack:
                for _ in range(workers):
                    stack.callback(_end, bench.worker())
                _warm(bench, workers)
                taken.append(bench.seconds(bench.shards(count, outputs), bench.broker))
    ratio = statistics.median(alone) / statistics.median(both)
    print(
        f"{count} shards of {outputs} outputs: {statistics.median(alone):.1f} s by one worker, "
        f"{statistics.median(both):.1f} s by two on {os.cpu_count()} cores\n"
        f"gain {ratio:.2f} (at least {GAIN_MIN})"
    )
    return ratio >= GAIN_MIN


def _warm(bench: Bench, workers: int) -> None:
    """Give every worker its model: wait for all of them, then shards until each has done one."""
    end = time.monotonic() + 60
    while len([p for p in bench.store.workers.glob("*.lock") if p.stat().st_size]) < workers:
        assert time.monotonic() < end, "the workers do not start"
        time.sleep(0.1)
    time.sleep(1)
    for _ in range(3):
        bench.seconds(bench.shards(2 * workers, 4), bench.broker)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 0 when overhead and gain are as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("overhead", "gain"))
    parser.add_argument("--rounds", type=int, help="three by default, one when quick")
    options = parser.parse_args(argv)
    quick, only = options.quick, options.only
    rounds = options.rounds or (1 if quick else 3)
    variable, default = DEFAULTS["redis"]
    url = os.environ.get(variable, default)
    if (reason := why_not(url)) is not None:
        print(f"skipped: no Redis ({variable}): {reason}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(build_tiny(Path(folder) / "home"), url)
        cheap = only == "gain" or overhead(bench, rounds, 10 if quick else 40)
        pays = only == "overhead" or gain(bench, rounds, 8 if quick else 16, 256 if quick else 1024)
    return int(not (cheap and pays))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    raise SystemExit(main())
