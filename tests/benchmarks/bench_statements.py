"""Statements of a closed period for 10,000 creators: PDF, CSV and JSON of each, on two processes.

    python -m tests.benchmarks --only statements [--quick]

A synthetic month (drawn influence, everything else real: logs, agreements, books, close) is made
and closed once. Timed are what `byline statements` does before its first file (the close worked
out again, all statements made and checked, proofs) for everybody, and the writing of a sample of
them; the total is their sum at the measured rate, against the limit of ten minutes.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from flows.publish import closed_period
from flows.publish_statements import issue, versioned
from flows.workspace import Workspace
from reports.statement_files import DEFAULT_FORMATS
from tests.flows.papers import closed_months

PERIOD = "2026-01"
CREATORS, QUICK_CREATORS = 10_000, 300
SAMPLE, QUICK_SAMPLE = 500, 100
SECONDS_MAX = 600
PROCESSES = 2


def made(home: Path, creators: int) -> Workspace:
    """Make and close the month, or open the one that is there."""
    if (home / "closes" / f"{PERIOD}.json").exists():
        return Workspace.open(home)
    with pytest.MonkeyPatch.context() as patch:
        return closed_months(patch, home, 1, creators=creators)


def measure(workspace: Workspace, sample: int) -> tuple[int, dict[str, float], int]:
    """Time opening, making and writing; return statements, seconds by step, and bytes of a JSON."""
    shutil.rmtree(workspace.reports(PERIOD) / "statements", ignore_errors=True)
    clock = time.monotonic()
    took = {}

    def lap(name: str) -> None:
        nonlocal clock
        now = time.monotonic()
        took[name] = now - clock
        clock = now

    with closed_period(workspace, PERIOD) as closed:
        lap("the close worked out again")
        folder = closed.statements_folder
        statements = [versioned(folder, one) for one in closed.gathering.statements()]
        lap("statements made and checked")
        parts = closed.parts(statements)
        lap("proofs")
        step = max(len(statements) // sample, 1)
        written = issue(statements[::step], folder, DEFAULT_FORMATS, parts, processes=PROCESSES)
        lap("written")
    took["written"] *= len(statements) / len(written)
    largest = max(p.stat().st_size for one in written for p in one.files if p.suffix == ".json")
    return len(statements), took, largest


def main(argv: list[str] | None = None) -> int:
    """Print the table; the exit code is 0 when the total is within the limit."""
    parser = argparse.ArgumentParser(prog="bench_statements", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="300 creators")
    parser.add_argument("--home", type=Path, help="make the month here, or use it again")
    chosen = parser.parse_args(argv)
    creators, sample = (QUICK_CREATORS, QUICK_SAMPLE) if chosen.quick else (CREATORS, SAMPLE)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        workspace = made(chosen.home or Path(folder) / "home", creators)
        print(f"month made and closed: {time.monotonic() - started:.0f} s (not counted)")
        number, took, largest = measure(workspace, sample)
    for name, seconds in took.items():
        print(f"{name:30} {seconds:7.1f} s")
    total = sum(took.values())
    print(f"{number} statements, {PROCESSES} processes: {total:.0f} s of {SECONDS_MAX} s")
    print(f"largest JSON with its proof: {largest} bytes")
    return 0 if total <= SECONDS_MAX else 1


if __name__ == "__main__":
    raise SystemExit(main())
