"""Count what each work was used for, for fees per output and per token.

1. A work's outputs of a night are its share of the night's value times the night's payable
   outputs, an exact fraction; its tokens likewise. A batch of differences has no outputs of its own
   and counts for the difference in tokens. Shares are those of `signed_linear/1`, whatever divides
   a pool; they are signed, so a period's count is the sum over its nights, floored at zero.
2. Shares are estimated for a night as a whole. Where its outputs came from several model versions
   or territories, the count is divided among them as the payable outputs are.
3. Retrieval, search, indexing and training are counted elsewhere and come from the usage file.
4. A use counts for an agreement only on days on which it is in force and its licensor claims a
   share. What others claim too is held at the close, divided among the claimants by their claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import polars as pl

from contracts.agreement import Agreement
from contracts.dispute import contested_parts, holdings
from contracts.period import Period
from contracts.terms import Basis
from contracts.usage import Usage, Use
from flows.accruals import PPT, NightAccrual, PeriodAccruals
from flows.knowledge import Knowledge
from flows.revisions import counts_tokens, revision_sign

PER_USE = frozenset({Basis.PER_OUTPUT, Basis.PER_TOKEN})
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class UsageOfAgreement:
    """What one agreement's works were used for, and who shares them.

    Args:
        usages: counts of whole works.
        shares: shares of each work by party, adding up to 1.
        contested: by work, whose its contested share would be, adding up to 1.
    """

    usages: tuple[Usage, ...] = ()
    shares: Mapping[str, Mapping[str, Fraction]] = field(default_factory=dict)
    contested: Mapping[str, Mapping[str, Fraction]] = field(default_factory=dict)


def count_usage(
    accruals: PeriodAccruals, known: Knowledge, reported: Sequence[Usage]
) -> dict[str, UsageOfAgreement]:
    """Count the usage of every agreement that has a fee per use.

    Args:
        accruals: the nights of the period.
        known: the agreements and owners to go by.
        reported: usage that others counted, for the whole period.

    Returns:
        Usage by agreement id; agreements without such a fee are left out.
    """
    period = Period(accruals.period)
    settled = {a.agreement_id: a for a in known.book.to_settle(period)}
    paying = {name for name, agreement in settled.items() if has_fee_per_use(agreement)}
    if not paying:
        return {}
    counts: dict[str, dict[_Key, list[Fraction]]] = {name: {} for name in paying}
    signed = [(1, n) for n in accruals.nights] + [(-1, n) for n in accruals.reversed_nights]
    for sign, night in signed:
        _add_night(counts, sign, night, known)
    found: dict[str, list[Usage]] = {name: _usages(rows) for name, rows in counts.items()}
    for usage in reported:
        for name in _licensed_by(known, usage.work_id, period) & paying:
            found[name].append(usage)
    return {
        name: UsageOfAgreement(tuple(usages), *_sheets(usages, known, period))
        for name, usages in found.items()
    }


def has_fee_per_use(agreement: Agreement) -> bool:
    """Say whether an agreement pays per output or per token."""
    return any(term.basis in PER_USE for term in agreement.terms)


def _add_night(
    counts: Mapping[str, dict[_Key, list[Fraction]]],
    sign: int,
    night: NightAccrual,
    known: Knowledge,
) -> None:
    """Add one night's counts to those of the agreements in force on its day."""
    day = night.night.date
    if not counts_tokens(night.night.outputs):
        return
    # Differences: the outputs themselves were counted with their own batch, their tokens were not.
    own = 0 if revision_sign(night.night.outputs) else 1
    payable = (
        pl.scan_parquet(night.night.outputs)
        .filter(pl.col("payable"))
        .group_by(pl.col("model_version", "territory").fill_null("*"))
        .agg(pl.len().alias("outputs"), pl.col("output_tokens").fill_null(0).sum().alias("tokens"))
        .sort("model_version", "territory")
        .collect(engine="streaming")
        .rows()
    )
    for work_id, share_ppt in night.counted.select("work_id", "share_ppt").iter_rows():
        work = known.catalogue.works.get(work_id)
        if work is None:
            continue
        for owner in work.shares_on(day):
            for agreement in known.book.for_party(owner, day):
                rows = counts.get(agreement.agreement_id)
                if rows is None or not agreement.covers_work(work_id):
                    continue
                for model, territory, outputs, tokens in payable:
                    row = rows.setdefault((work_id, model, territory), [Fraction(), Fraction()])
                    row[0] += Fraction(sign * own * share_ppt * outputs, PPT)
                    row[1] += Fraction(sign * share_ppt * tokens, PPT)


def _usages(rows: Mapping[_Key, Sequence[Fraction]]) -> list[Usage]:
    """Make usages of the counts that are above zero."""
    return [
        Usage(
            work_id,
            Use.OUTPUT_INFLUENCE,
            max(outputs, Fraction(0)),
            max(tokens, Fraction(0)),
            territory=territory,
            model_version=model,
        )
        for (work_id, model, territory), (outputs, tokens) in sorted(rows.items())
        if outputs > 0 or tokens > 0
    ]


def _licensed_by(known: Knowledge, work_id: str, period: Period) -> set[str]:
    """Name the agreements that cover somebody's share of a work on a period's last day."""
    work = known.catalogue.works.get(work_id)
    owners: Iterable[str] = work.shares_on(period.end) if work else ()
    return {
        agreement.agreement_id
        for owner in owners
        for agreement in known.book.for_party(owner, period.end)
        if agreement.covers_work(work_id)
    }


def _sheets(
    usages: Iterable[Usage], known: Knowledge, period: Period
) -> tuple[dict[str, dict[str, Fraction]], dict[str, dict[str, Fraction]]]:
    """Give who shares each work on the period's last day, and whose what is contested would be."""
    sheets: dict[str, dict[str, Fraction]] = {}
    contested: dict[str, dict[str, Fraction]] = {}
    for work_id in sorted({usage.work_id for usage in usages}):
        claims = known.catalogue.works[work_id].shares_on(period.end)
        sheets[work_id] = holdings(claims).as_sheet()
        if parts := contested_parts(claims):
            contested[work_id] = parts
    return sheets, contested
