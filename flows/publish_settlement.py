"""Gather the settlement report of a period: pools, creators, controls; in the pools' currency.

Of agreements in other currencies the sums are told by currency; who recouped and is owed what of
them is on their statements.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from contracts.accrual import Standing
from contracts.period import Period
from contracts.rate import show_rate
from flows.artefacts import read_manifest
from flows.close_plan import ClosePlan, claim_id
from flows.estimation import INFLUENCE_FORMAT
from flows.publish_book import BookView
from flows.publish_inputs import checkpoint_ref, decoys_of, model_versions, pool_of_plan
from flows.publish_works import creator_shares
from flows.workspace import Workspace
from reports.settlement import CreatorLine, ForeignLine, SettlementInputs, UsageCounts


def settlement_inputs(
    workspace: Workspace,
    plan: ClosePlan,
    view: BookView,
    usage: UsageCounts,
    people: tuple[str, str],
) -> SettlementInputs:
    """Gather the settlement report.

    Args:
        workspace: whose settings.
        plan: the close.
        view: the book.
        usage: from `usage_of`.
        people: who prepared and who approved the close.
    """
    period = Period(plan.accruals.period)
    rate_ppm = workspace.settings.pool.rate_ppm
    return SettlementInputs(
        period=period.text,
        period_start=period.start.isoformat(),
        period_end=period.end.isoformat(),
        report_date=period.end.isoformat(),
        payer_id=workspace.settings.pool.payer,
        currency=plan.accruals.currency,
        pools=(pool_of_plan(plan, mine_units=0, rate_ppm=rate_ppm),),
        creators=creator_lines(plan),
        usage=usage,
        prepared_by=people[0],
        approved_by=people[1],
        entries=len(view.entries),
        postings=sum(len(sealed.entry.postings) for sealed in view.entries),
        trial_balance_units=view.trial_balance_units,
        checkpoint=checkpoint_ref(view),
        method=plan.apportionment.rule,
        attribution_method="influence along the training path",
        model_versions=model_versions(plan),
        decoy_documents=decoys_of(plan),
        completeness=_completeness(plan),
        audit_pack=workspace.pack(period.text).name,
        checks=(("Trial balance is zero", "yes"), ("Pools add up to the unit", "yes")),
        foreign=tuple(foreign_lines(plan)),
    )


def creator_lines(plan: ClosePlan) -> tuple[CreatorLine, ...]:
    """Give one line a creator: share with interval, earned, recouped, payable; largest first."""
    shares, paid = creator_shares(plan.accruals), plan.apportionment.payable
    earned = {
        claim.creator_id: paid.get(claim_id(claim), 0)
        for claim in plan.accruals.claims
        if claim.standing is Standing.LICENSED
    }
    recouped: dict[str, int] = defaultdict(int)
    payable: dict[str, int] = defaultdict(int)
    for result in plan.earnings:
        if result.currency != plan.accruals.currency:
            continue
        taken = result.recouped_units + sum(result.collateral_units.values())
        recouped[result.licensor] += taken
        payable[result.licensor] += result.net_units
    lines = [
        CreatorLine(
            creator,
            share.share_ppt,
            share.low_ppt,
            share.high_ppt,
            earned.get(creator, 0),
            recouped[creator],
            payable[creator],
        )
        for creator, share in shares.items()
    ]
    return tuple(sorted(lines, key=lambda line: (-line.earned_units, line.creator_id)))


def foreign_lines(plan: ClosePlan) -> Iterator[ForeignLine]:
    """Give one line for each currency of agreements that is not the pools'."""
    main = plan.accruals.currency
    for currency in sorted({result.currency for result in plan.earnings} - {main}):
        mine = [result for result in plan.earnings if result.currency == currency]
        names = [result.agreement_id for result in mine]
        given = [amount for name in names for amount in plan.given[name]]
        rates = {
            f"{show_rate(rate.rate)} {rate.to_code} per {rate.from_code} on {rate.rate_on}, "
            f"{rate.source}"
            for rate in (amount.rate for amount in given)
            if rate
        }
        yield ForeignLine(
            currency,
            sum(pool.units_of(name) for pool in plan.pools for name in names),
            sum(amount.amount_units for amount in given if amount.rate),
            "; ".join(sorted(rates)),
            sum(result.net_units for result in mine),
        )


def _completeness(plan: ClosePlan) -> str:
    gains = totals = 0
    for accrual in plan.accruals.nights:
        said = read_manifest(accrual.night.manifest("influence"), INFLUENCE_FORMAT)["completeness"]
        gains += int(said["gain_nanonats"])
        totals += int(said["total_nanonats"])
    return f"{100 * totals // gains} % of the measured gain" if gains else ""
