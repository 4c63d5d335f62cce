"""The compliance report's facts, gathered from manifests, agreements, the book and its access log.

Every figure and table names the file, query or command that gives it. What a workspace does not
have stays None, and the report says so; nothing is assumed. The book is read as it stood at the
period's own checkpoint; only payments and accesses, which come later, are read to the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from contracts.period import Period
from flows.artefacts import sha256_file
from flows.compliance_figures import method_figures
from flows.compliance_given import Given
from flows.compliance_licences import (
    agreement_facts,
    coverage_facts,
    licence_tables,
    register_figure,
    removal_tables,
    reservation_facts,
)
from flows.compliance_methods import evaluation_facts, evaluation_file
from flows.compliance_money import (
    adjustment_lines,
    calculation_tables,
    logged_revenue,
    payout_facts,
    position_tables,
    restatement_tables,
    revenue_figures,
    stages,
)
from flows.compliance_nights import (
    appeals,
    calendar_figures,
    change_figures,
    filter_tables,
    index_figures,
    night_tables,
    sampling_fact,
    strata_tables,
    usage_day,
)
from flows.compliance_people import (
    control_facts,
    found_tables,
    integrity_figures,
    manual_tables,
    privacy_figures,
    reperformance_figures,
    review_tables,
    role_tables,
    traced_tables,
    version_figures,
)
from flows.publish import ClosedPeriod
from flows.publish_inputs import checkpoint_ref, pool_of_plan
from reports.compliance_facts import ledger_fact, suspense_facts
from reports.compliance_inputs import (
    AgreementFact,
    ComplianceInputs,
    ControlFact,
    FactTable,
    Figure,
    Stage,
    UsageDay,
)


def compliance_inputs(
    closed: ClosedPeriod, given: Given | None = None, evaluation: Path | None = None
) -> ComplianceInputs:
    """Gather the compliance report of a closed period.

    Args:
        closed: the period with its plan and books.
        given: what people signed; None for nothing.
        evaluation: `evaluation.json`; the workspace's own when None.

    Returns:
        Everything that is known; the rest is None.
    """
    period, currency = Period(closed.period), closed.plan.accruals.currency
    nights, pool = closed.plan.accruals.nights, closed.workspace.settings.pool
    # As the trial balance and the statements have it: later leaves are later periods' business.
    leaves = list(islice(closed.books.leaves(0), closed.view.checkpoint.size))
    given = given or Given()
    judged = evaluation_facts(closed.workspace, evaluation_file(closed.workspace, evaluation))
    agreements = agreement_facts(closed)
    usage = tuple(usage_day(night) for night in nights)
    controls, chain = tuple(control_facts(closed)), tuple(stages(closed))
    return ComplianceInputs(
        report_id=f"C-{period.text}",
        period=period.text,
        period_start=period.start.isoformat(),
        period_end=period.end.isoformat(),
        report_date=period.end.isoformat(),
        payer_id=pool.payer,
        currency=currency,
        distribution=given.distribution,
        versions=tuple(version_figures(closed)),
        assertion=given.assertion,
        assertion_source=given.source,
        reservations=(*reservation_facts(closed), *(given.reservations or ())) or None,
        findings=given.findings,
        agreements=agreements,
        coverage=coverage_facts(closed),
        usage=usage,
        sampling=tuple(sampling_fact(night) for night in nights),
        method=(*method_figures(closed), *index_figures(closed), *judged[0]),
        pools=(pool_of_plan(closed.plan, mine_units=0, rate_ppm=pool.rate_ppm),),
        revenue=revenue_figures(closed, given),
        ledger=ledger_fact(leaves, currency),
        checkpoint=checkpoint_ref(closed.view),
        stages=chain,
        suspense=suspense_facts(leaves, period.end.isoformat()),
        payouts=tuple(payout_facts(closed)) or None,
        adjustments=tuple(adjustment_lines(closed)),
        controls=controls,
        privacy=tuple(privacy_figures(closed)),
        annexes=tuple(_annexes(closed)) or None,
        reperformance=tuple(reperformance_figures(closed)) or None,
        appeals=len(appeals(closed)),
        figures=_figures(closed, given, agreements),
        tables=_tables(closed, judged[1], controls, usage, chain),
    )


def _figures(
    closed: ClosedPeriod, given: Given, agreements: tuple[AgreementFact, ...]
) -> dict[int, tuple[Figure, ...]]:
    """Give further figures by section."""
    return {
        4: (
            register_figure(closed, agreements),
            Figure("Tokens of the corpus", "words separated by spaces", "corpus/corpus.jsonl"),
        ),
        6: tuple(calendar_figures(closed)),
        8: tuple(change_figures(closed)),
        9: (logged_revenue(closed),),
        10: tuple(integrity_figures(closed)),
        **({3: given.roles} if given.roles else {}),
    }


def _tables(
    closed: ClosedPeriod,
    methods: tuple[FactTable, ...],
    controls: tuple[ControlFact, ...],
    usage: tuple[UsageDay, ...],
    chain: tuple[Stage, ...],
) -> dict[int, tuple[FactTable, ...]]:
    """Give further tables by section."""
    return {
        3: tuple(role_tables(closed)),
        4: tuple(licence_tables(closed)),
        5: tuple(removal_tables(closed)),
        7: tuple(strata_tables(closed)),
        8: (*night_tables(closed), *methods),
        9: tuple(calculation_tables(closed)),
        10: tuple(manual_tables(closed)),
        13: tuple(position_tables(closed)),
        14: tuple(restatement_tables(closed)),
        15: tuple(filter_tables(closed)),
        16: tuple(review_tables(closed)),
        19: tuple(traced_tables(closed)),
        20: tuple(found_tables(closed, controls, usage, chain)),
    }


def _annexes(closed: ClosedPeriod) -> Iterator[Figure]:
    period, every = closed.workspace.reports(closed.period), closed.workspace.root / "reports"
    for path in (*sorted(every.glob("*-*.json")), *sorted(period.glob("disclosure-*.json"))):
        kind = "Draft" if path.name.startswith("disclosure-") else "Lookup answered"
        name = closed.workspace.relative(path)
        yield Figure(kind, f"sha256 {sha256_file(path)[:16]}", name)
