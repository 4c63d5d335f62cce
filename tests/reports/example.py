"""One worked example statement that tests, golden files and layouts share. Ids only."""

from dataclasses import replace
from fractions import Fraction

from reports.statement_inputs import (
    AdjustmentLine,
    Change,
    CheckpointRef,
    DecoyLevel,
    EntryRef,
    ExcludedTraffic,
    Movement,
    PeriodShare,
    PoolReconciliation,
    ReserveLine,
    StatementHeader,
    StatementInputs,
    WorkingLine,
    WorkLine,
    YearToDate,
)

PPT = 10**12
POOL = "pool:inference"
NOTE = (
    "ledger.example/byline\n18\nqL9Z6hX0Yw3mJvSx4bq0o8u6vN0m7r2g1k5d3c9a7b8=\n\n"
    "— ledger.example/byline Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
    "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)


def header(**changes):
    """The header of the example, with fields changed."""
    base = StatementHeader(
        statement_number="S-2026-11-pkg-numkit",
        period="2026-11",
        period_start="2026-11-01",
        period_end="2026-11-30",
        statement_date="2026-12-05",
        party_id="pkg:numkit",
        payee_id="payee:numkit",
        payer_id="org:example-models",
        currency="USD/6",
        payee_name="numkit",
        agreements=("agr:numkit v2",),
        attribution_method="path/1",
        model_versions=("tiny-gpt2@2026-11-02",),
        run_ids=("run:2026-11-20", "run:2026-11-21"),
        due_date="2027-02-13",
        dispute_deadline="2027-12-05",
        contact="royalties@example.org",
    )
    return replace(base, **changes)


def work(work_id, day, amount_units, share_ppt, **changes):
    """One work line of the example's pool."""
    stderr = abs(share_ppt) // 9 + 10**9
    half = stderr * 1960 // 1000
    base = WorkLine(
        work_id=work_id,
        pool_id=POOL,
        activity_period=day,
        amount_units=amount_units,
        pool_units=1_250_000_000,
        share_ppt=share_ppt,
        model_version="tiny-gpt2@2026-11-02",
        population_outputs=204,
        sampled_outputs=96,
        weight_ppm=2_125_000,
        influence_nanonats=41_200_333_111,
        stderr_ppt=stderr,
        low_ppt=share_ppt - half,
        high_ppt=share_ppt + half,
        rate="30 % of revenue",
        accrual_units=1_250_000_000 * share_ppt // PPT,
    )
    return replace(base, **changes)


def works():
    """Two works over two nights, one of them shared with a co-creator."""
    return (
        work("pkg:numkit/readme", "2026-11-20", 61_250_123, 49_000_098_400, title="numkit README"),
        work("pkg:numkit/readme", "2026-11-21", 55_000_456, 44_000_364_800, title="numkit README"),
        work(
            "pkg:numkit/linalg",
            "2026-11-20",
            20_500_001,
            32_800_001_600,
            split=Fraction(1, 2),
            title="numkit.linalg docstrings",
        ),
        work(
            "pkg:numkit/linalg",
            "2026-11-21",
            -1_250_580,
            -2_000_928_000,
            split=Fraction(1, 2),
            title="numkit.linalg docstrings",
        ),
    )


def entry(seq, kind, day, units, description):
    """One cited journal entry."""
    return EntryRef(f"je_{seq:04d}bq7c3m5xk2p9w4t8z6v1n0", seq, kind, day, units, description)


MOVEMENTS = (
    Movement("earned", 135_500_000),
    Movement("adjustment", 2_345_678, "late log file of 2026-10-30"),
    Movement("reserve_taken", -13_550_000, "10 % of gross, released 2027-05-31"),
    Movement("recoupment", -50_000_000, "advance of 2026-07-01"),
    Movement("withholding_tax", -1_355_000, "1 % of gross"),
    Movement("payout", -12_000_000, "2026-11-15, payout:000017"),
)

WORKING = (
    WorkingLine("Accrued", "61.25 + 55.00 + 20.50 - 1.25 (signed, two nights)", 135_500_000),
    WorkingLine("Floor and noise", "above zero, interval excludes zero", 135_500_000),
    WorkingLine("Reserve", "10 % x 135.500000", -13_550_000),
    WorkingLine("Advance recouped", "min(50.000000 unrecouped, 135.500000)", -50_000_000),
)

HISTORY = (
    PeriodShare("2026-08", 41_000_000_000, 30_000_000_000, 52_000_000_000),
    PeriodShare("2026-09", 12_000_000_000, -4_000_000_000, 28_000_000_000),
    PeriodShare("2026-10", 48_000_000_000, 39_000_000_000, 57_000_000_000),
    PeriodShare("2026-11", 54_200_000_000, 45_500_000_000, 62_900_000_000),
)

ENTRIES = (
    entry(9, "payout", "2026-11-15", -12_000_000, "Payout batch 17"),
    entry(11, "adjustment", "2026-11-20", 2_345_678, "Late log file of 2026-10-30"),
    entry(15, "apportionment", "2026-11-30", 135_500_000, "Pool pool:inference of 2026-11"),
    entry(16, "recoupment", "2026-11-30", -50_000_000, "Advance of 2026-07-01"),
    entry(17, "reserve", "2026-11-30", -13_550_000, "Reserve 10 %"),
    entry(18, "tax", "2026-11-30", -1_355_000, "Withholding tax"),
)


POOLS = (
    PoolReconciliation(
        POOL,
        "2026-11",
        2_500_000_000,
        {
            "paid": 2_106_499_999,
            "unlicensed": 201_000_000,
            "unmatched": 52_500_000,
            "below_noise": 64_999_999,
            "unexplained": 75_000_001,
            "fees": 0,
            "rounding": 1,
        },
        135_500_000,
        "30 % of 8,333.333334 revenue of payable outputs",
    ),
)


def inputs(**changes):
    """A full statement: opening balance, earnings, recoupment, adjustment, reserve, payout."""
    base = StatementInputs(
        header=header(),
        opening_units=12_000_000,
        movements=MOVEMENTS,
        works=works(),
        working=WORKING,
        adjustments=(
            AdjustmentLine(
                "usage_correction",
                "2026-10",
                "2026-11",
                2_345_678,
                "Log file gateway-7 of 2026-10-30 arrived late",
                "je_0011bq7c3m5xk2p9w4t8z6v1n0",
            ),
        ),
        pools=POOLS,
        excluded=(
            ExcludedTraffic("error", 9),
            ExcludedTraffic("test", 14),
            ExcludedTraffic("duplicate", 6),
            ExcludedTraffic("bot", 3),
        ),
        decoys=DecoyLevel(60, 21_000_000_000, 33_200_000_000),
        changes=(
            Change("Payable outputs", "371", "408"),
            Change("Model version", "tiny-gpt2@2026-10-01", "tiny-gpt2@2026-11-02"),
        ),
        unrecouped_opening_units=50_000_000,
        reserves=(ReserveLine("2027-05-31", 13_550_000),),
        year_to_date=YearToDate(190_250_000, 50_000_000, 1_355_000, 54_000_000),
        history=HISTORY,
        entries=ENTRIES,
        checkpoint=CheckpointRef(
            "ledger.example/byline",
            18,
            "a8bf59ea15f4630de626f4b1e1baba3bca2ee8df740df0264b5a0d6e4dcf1d6b5b"[:64],
            NOTE,
            ("S-2026-11-pkg-numkit.tlog-proof",),
        ),
        ledger_closing_units=72_940_678,
        previous_closing_units=12_000_000,
        inputs={"estimates 2026-11-20": "ab" * 32, "estimates 2026-11-21": "cd" * 32},
    )
    return replace(base, **changes)
