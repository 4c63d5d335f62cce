"""A period of 100,000 works under 20,000 agreements: divided, calculated, entries written.

    python -m tests.benchmarks --only settlement [--quick]

One run, in a process of its own so that its memory is its own: a revenue pool by influence, a
training pool equally per work, a fee per output and an advance, through `flows.division` and
`flows.close_plan`, without the database. The floor beside it, measured in the same process, does
the least that anybody must: one exact multiplication and rounding for each term and one division
of each pool. The limits are 60 s of processor time and 2 GiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import date
from fractions import Fraction

from contracts.accrual import Standing
from contracts.agreement import Agreement, AgreementBook
from contracts.balances import Balances
from contracts.catalogue import Catalogue
from contracts.fx import FxTable
from contracts.money import round_half_even
from contracts.period import Period
from contracts.split import split_by_weights
from contracts.terms import Advance, Basis, Deduction, FlatFee, Reserve, Term
from contracts.usage import Usage
from contracts.work import Work, WorkSplit
from flows.accruals import Claim, PeriodAccruals
from flows.close_entries import Paper
from flows.close_plan import plan_close
from flows.division import divide_period
from flows.knowledge import Knowledge
from flows.period_files import FundedPool
from flows.restate import Restatement
from flows.usage_counts import UsageOfAgreement
from ledger import chart

WORKS_EACH = 5
SECONDS_MAX, MIB_MAX = 60, 2048
PERIOD = Period("2026-11")
POOL_UNITS = 10**13
START = date(2026, 1, 1)
TERMS = (
    Term(
        "outputs",
        Basis.POOL_SHARE,
        Fraction(1, 2),
        pool_id="main",
        deductions=(Deduction("administration fee", Fraction(1, 20)),),
        reserve=Reserve(Fraction(1, 10), (Fraction(1, 2), Fraction(1, 2))),
    ),
    Term("training", Basis.EQUAL_PER_WORK, pool_id="training"),
    Term("fee", Basis.PER_OUTPUT, Fraction(17, 10)),
)


def make(count: int) -> tuple[Knowledge, PeriodAccruals, dict[str, UsageOfAgreement]]:
    """Make the agreements, the works, what they accrued and how often they were used."""
    agreements, works, claims, usage = [], {}, [], {}
    units_each = POOL_UNITS // (count * WORKS_EACH)
    for i in range(count):
        party, name = f"p{i:05d}", f"agr{i:05d}"
        advances = (Advance("a1", 10**6, START),) if i % 3 == 0 else ()
        agreements.append(Agreement(name, 1, party, "operator", START, TERMS, advances=advances))
        claim = Claim(party, Standing.LICENSED)
        mine = [f"w{i * WORKS_EACH + j:06d}" for j in range(WORKS_EACH)]
        for work in mine:
            works[work] = Work(work, splits=(WorkSplit(party, Fraction(1)),))
            claim.by_work[work] += units_each
            claim.by_part[name, work] += units_each
        claim.units = claim.by_agreement[name] = units_each * WORKS_EACH
        claims.append(claim)
        usage[name] = UsageOfAgreement(tuple(Usage(w, outputs=Fraction(7)) for w in mine))
    pool = sum(claim.units for claim in claims)
    booked = {chart.accrued(claim.creator_id): claim.units for claim in claims}
    accruals = PeriodAccruals(
        PERIOD.text, "main", "USD/6", pool, 0, tuple(claims), (), booked=booked
    )
    catalogue = Catalogue({}, {}, works, {})
    return Knowledge(AgreementBook(tuple(agreements)), catalogue, "a", "c"), accruals, usage


def measure(count: int) -> dict[str, float]:
    """Settle once and the floor once; processor seconds and the peak of memory."""
    known, accruals, usage = make(count)
    opening = {
        a.agreement_id: Balances(unrecouped_units=a.advance_units) for a in known.book.agreements
    }
    funded = (FundedPool("training", FlatFee(10**12, PERIOD), "equal_per_work", "bench"),)
    started = time.process_time()
    division = divide_period(accruals, known, funded)
    divided = time.process_time()
    plan = plan_close(
        division,
        known.book.to_settle(PERIOD),
        opening,
        usage=usage,
        restatement=Restatement(),
        fx=FxTable(),
        paper=Paper("a-1", "b-1"),
    )
    done = time.process_time()
    assert len(plan.earnings) == count, len(plan.earnings)
    posted = sum(p.units for entry in plan.entries for p in entry.postings)
    assert posted == 0, posted
    floor_started = time.process_time()
    for pool_units in (POOL_UNITS, 10**12):
        split_by_weights(pool_units, [1] * count * WORKS_EACH)
    for claim in accruals.claims:
        for rate in (Fraction(1, 2), Fraction(1), Fraction(17, 10)):
            round_half_even(claim.units * rate)
    floor = time.process_time() - floor_started
    return {
        "divide_s": divided - started,
        "calculate_s": done - divided,
        "floor_s": floor,
        "entries": len(plan.entries),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 1 when a limit of the full size is passed."""
    parser = argparse.ArgumentParser(prog="bench_settlement", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.child:
        print(json.dumps(measure(chosen.child)))
        return 0
    count = 2_000 if chosen.quick else 20_000
    command = [sys.executable, "-m", "tests.benchmarks.bench_settlement", "--child", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    seconds = found["divide_s"] + found["calculate_s"]
    print(f"{count * WORKS_EACH:,} works, {count:,} agreements, {found['entries']:,} entries")
    print(f"divide    {found['divide_s']:8.1f} s of processor time")
    print(f"calculate {found['calculate_s']:8.1f} s")
    print(f"floor     {found['floor_s']:8.1f} s   ratio {seconds / found['floor_s']:.0f}")
    print(f"peak      {found['peak_mib']:8.0f} MiB (limit {MIB_MAX})")
    print(f"total     {seconds:8.1f} s   (limit {SECONDS_MAX})")
    return int(seconds > SECONDS_MAX or found["peak_mib"] > MIB_MAX)


if __name__ == "__main__":
    raise SystemExit(main())
