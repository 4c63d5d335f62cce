"""How long an outsider waits: verifying a pack of a million entries offline, against its floor.

Two books: one with an entry for each of many creators, and one night as a single entry with a
posting for each creator. The floor, in the same run, is reading the pack and hashing it once.
The target is a million two-line entries under 20 s.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ledger.canonical import canonical_entry_bytes, canonical_period, entry_id_of
from ledger.checkpoint import sign_checkpoint
from ledger.merkle import Frontier, leaf_hash
from ledger.note import NoteSigner
from ledger.pack import write_book, write_pack

ORIGIN = "bench.example/byline"
SIGNER = NoteSigner.from_seed(ORIGIN, bytes(32))
TARGET_S = 20.0
EVIDENCE = {"estimates": "ab" * 32, "influence": "cd" * 32, "sample": "ef" * 32}


def leaves(entries: int, postings: int) -> Iterator[bytes]:
    """Yield a book: the opening of its period, then entries of so many postings each."""
    yield canonical_period(
        ledger_seq=1, action="open", period="2026-11", prepared_by="system", approved_by=None
    )
    creator = 0
    for number in range(entries):
        rows = [("Expenses:Royalty", "USD/6", 1000 * (postings - 1))]
        for _ in range(postings - 1):
            creator += 1
            rows.append((f"Liabilities:Accrued:creator-{creator % 200_000:06d}", "USD/6", -1000))
        key = f"2026-11-{number % 30 + 1:02d}/pool-{number}"
        yield canonical_entry_bytes(
            ledger_seq=number + 2,
            entry_id=entry_id_of("nightly", key),
            scope="nightly",
            key=key,
            kind="accrual",
            period="2026-11",
            effective_on=f"2026-11-{number % 30 + 1:02d}",
            description="Accrual of one night",
            prepared_by="system",
            approved_by=None,
            reverses=None,
            evidence=EVIDENCE,
            postings=rows,
        )


def write(path: Path, entries: int, postings: int) -> float:
    """Write the pack of such a book; returns the seconds it took."""
    started = time.monotonic()
    frontier = Frontier()
    batch: list[bytes] = []
    for leaf in leaves(entries, postings):
        batch.append(leaf_hash(leaf))
        if len(batch) == 8192:
            frontier.extend(batch)
            batch = []
    frontier.extend(batch)
    note = sign_checkpoint(ORIGIN, frontier.size, frontier.root(), SIGNER)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        members = write_book(Path(folder), leaves(entries, postings), checkpoint=note)
        write_pack(path, members, period="2026-11", origin=ORIGIN, signer=SIGNER)
    return time.monotonic() - started


def measured(command: list[str]) -> tuple[float, float, float, str]:
    """Run a program; returns seconds, CPU seconds, peak MiB of a process, and what it printed."""
    probe = (
        "import json,resource,subprocess,sys,time;t=time.monotonic();"
        "r=subprocess.run(sys.argv[1:],capture_output=True,text=True);"
        "s=time.monotonic()-t;u=resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([s,u.ru_utime+u.ru_stime,u.ru_maxrss/1024,r.stdout+r.stderr]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, *command], capture_output=True, text=True, check=True
    )
    seconds, cpu_s, peak_mib, printed = json.loads(done.stdout)
    return seconds, cpu_s, peak_mib, printed


def main(argv: list[str] | None = None) -> int:
    """Print one row a book; the exit code is 0 only when all verified and the target held."""
    parser = argparse.ArgumentParser(prog="bench_verify", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50,000 entries, not a million")
    quick = parser.parse_args(argv).quick
    total = 50_000 if quick else 1_000_000
    print(
        "book                        | pack MiB | write s | verify s | CPU s | floor s | MiB | /s"
    )
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for entries, postings in ((total, 2), (1, total + 1)):
            pack = Path(folder) / "bench.byline.zip"
            wrote_s = write(pack, entries, postings)
            with zipfile.ZipFile(pack) as archive:
                archive.extract("verify.py", folder)
            started = time.monotonic()
            with pack.open("rb") as file:
                hashlib.file_digest(file, "sha256")
            floor_s = time.monotonic() - started
            program = str(Path(folder) / "verify.py")
            key = SIGNER.verifier.text
            verify_s, cpu_s, peak_mib, printed = measured(
                [sys.executable, program, str(pack), "--key", key]
            )
            held = "VERIFIED" in printed and "NOT VERIFIED" not in printed
            good &= held and (entries == 1 or verify_s < TARGET_S * total / 1_000_000)
            size_mib = pack.stat().st_size / 2**20
            name = f"{entries:>9,} x {postings:>9,} postings"
            rate = f"{entries * postings / verify_s:,.0f} postings"
            verdict = "" if held else " NOT VERIFIED"
            print(
                f"{name:27} | {size_mib:8.0f} | {wrote_s:7.1f} | {verify_s:8.2f} | {cpu_s:5.1f} "
                f"| {floor_s:7.2f} | {peak_mib:3.0f} | {rate}{verdict}"
            )
            if not held:
                print(printed)
    print(f"target: 1,000,000 entries under {TARGET_S:.0f} s: {'held' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
