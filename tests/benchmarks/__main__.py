"""Run every benchmark in this folder and print its table: `make bench`.

A benchmark is a module `bench_*.py` with `main(argv) -> int`. Each prints ratios against a peer
or a floor measured in the same run, because the machine is shared. `--quick` asks each for its
small size; `--only NAME` runs one.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def load_main(path: Path):
    """Load one benchmark by the name under which the processes it starts will find it."""
    return importlib.import_module(f"tests.benchmarks.{path.stem}").main


def run(argv: list[str] | None = None) -> int:
    """Run the benchmarks; the exit code is 0 only when all of them ended well."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, minutes in all")
    parser.add_argument("--only", metavar="NAME", help="run bench_NAME.py alone")
    chosen = parser.parse_args(argv)
    failed = []
    for path in sorted(HERE.glob("bench_*.py")):
        name = path.stem.removeprefix("bench_")
        if chosen.only and chosen.only != name:
            continue
        print(f"\n== {name} ==", flush=True)
        started = time.monotonic()
        if load_main(path)(["--quick"] if chosen.quick else []) != 0:
            failed.append(name)
        print(f"-- {name}: {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(run())
