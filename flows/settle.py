"""Settle: one balanced entry for what a night's pool became.

    Dr Expenses:Royalty                     the pool
        Cr Liabilities:Accrued:<creator>    each licensed creator's accrual, signed
        Cr Liabilities:Suspense:Unlicensed  accruals of works without an agreement
        Cr Liabilities:Suspense:Unmatched   accruals of works whose owner is not known
        Cr Liabilities:Suspense:Disputed    what more than one party claims
        Cr Liabilities:Suspense:Unexplained what training does not explain

1. The entry is named by (nightly, date/pool), so a night posts once however often it runs; with
   other numbers for the same night the ledger refuses and names the first difference.
2. A negative accrual is a debit: it is kept until the period closes, and floored there.
3. A late batch, and a night whose period is closed already, is an adjustment in the open period;
   somebody else than the preparer must have approved it.
4. The entry cites the digest of every manifest it rests on, and of the agreements and the
   catalogue as they were known; both are kept under their digests.
5. Nights are booked by `signed_linear/1`, whatever rule divides the pool when its period closes.
   Where an agreement of the day names `per_output_positive/1`, the accruals by it are made now and
   cited too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import polars as pl

from contracts.accrual import Standing
from contracts.apportionment import PER_OUTPUT_POSITIVE
from contracts.money import format_units
from contracts.period import Period
from flows.artefacts import read_manifest, sha256_file
from flows.books import find_entry, open_books
from flows.cells import night_cells
from flows.errors import NightError
from flows.estimation import ESTIMATES_FORMAT
from flows.knowledge import Knowledge, KnowledgeBase, agreements_digest, agreements_list
from flows.night import Night, StepOutcome
from flows.ownership import Part, parts_of, splits_on
from flows.pool_rule import DEFAULT_METHOD, names_rule
from flows.positive import KIND as POSITIVE
from flows.positive import positive_digest, positive_tables
from flows.progress import Step
from flows.sampling import SAMPLE_FORMAT, carries_money
from ledger import chart
from ledger.entry import JournalEntry, Posting
from ledger.period_close import PeriodStatus
from ledger.store import LedgerStore

__all__ = ["agreements_digest", "agreements_list"]

SCOPE = "nightly"
PREPARER = "system"
EVIDENCE_KINDS = ("outputs", "sample", "influence", "estimates")
STANDING_ACCOUNTS = {
    Standing.UNLICENSED: chart.UNLICENSED,
    Standing.UNMATCHED: chart.UNMATCHED,
    Standing.DISPUTED: chart.DISPUTED,
}


def settle_step(night: Night, _step: Step) -> StepOutcome:
    """Post the night's entry.

    Args:
        night: what is settled.
        _step: told nothing; posting is quick.

    Returns:
        The entry and its number of postings.

    Raises:
        NightError: an adjustment without an approver.
    """
    workspace = night.workspace
    manifest = read_manifest(night.manifest("estimates"), ESTIMATES_FORMAT)
    known = KnowledgeBase(workspace).present
    parts = night_parts(night, manifest["pool_id"], known)
    with open_books(workspace) as books:
        kept = _posted_already(night, books)
        if kept is not None:
            return kept
        period, adjusts = _period_for(night, books)
        entry = accrual_entry(
            night,
            parts,
            pool_units=manifest["pool_units"],
            unexplained_units=manifest["unexplained_units"],
            period=period,
            adjusts=adjusts,
            evidence=_evidence(night, known),
        )
        if entry is None:
            return StepOutcome("the pool is empty, nothing to post", worked=False)
        posted = books.post(entry)
    currency = workspace.settings.pool.currency
    return StepOutcome(
        f"{entry.kind} {posted.entry_id[:12]}, {len(entry.postings)} postings, "
        f"{format_units(manifest['pool_units'], currency)} {currency.partition('/')[0]}",
        not posted.replayed,
        {"entry_id": posted.entry_id, "ledger_seq": posted.ledger_seq, "kind": entry.kind},
    )


def night_parts(
    night: Night,
    pool_id: str,
    known: Knowledge,
    rule: str = DEFAULT_METHOD,
    then: Knowledge | None = None,
) -> list[Part]:
    """Divide a night's work accruals among owners, with the agreement of each part.

    Args:
        night: whose estimates.
        pool_id: the pool.
        known: the agreements and owners to go by.
        rule: the accruals by which rule.
        then: what the night's entry cites; needed for another rule than the default.
    """
    columns = ["work_id", "accrual_units"]
    if rule == DEFAULT_METHOD:
        works = pl.read_parquet(night.works, columns=columns)
    else:
        assert then is not None, (night.name, rule)
        works = positive_tables(night, then).works.select(columns)
    return parts_of(
        works.iter_rows(),
        splits=splits_on(known.catalogue, night.date),
        book=known.book,
        pool_id=pool_id,
        date=night.date,
        cells=night_cells(night, rule) if known.book.cuts_pool(pool_id) else None,
    )


def entry_key(night: Night, pool_id: str) -> str:
    """Name the night's entry within its scope."""
    late = f"/late/{night.late}" if night.late else ""
    return f"{night.date.isoformat()}/{pool_id}{late}"


def accrual_entry(
    night: Night,
    parts: Iterable[Part],
    *,
    pool_units: int,
    unexplained_units: int,
    period: str,
    adjusts: bool,
    evidence: Mapping[str, str],
) -> JournalEntry | None:
    """Write the entry of a night.

    Args:
        night: what is settled.
        parts: every owner's part of every work's accrual; with the unexplained units they add
            up to the pool.
        pool_units: the pool.
        unexplained_units: what training does not explain.
        period: the settlement period it is booked in, YYYY-MM.
        adjusts: whether it corrects a night that was settled, or a period that is closed.
        evidence: digests of the manifests behind it.

    Returns:
        The entry, or None when the pool is empty.

    Raises:
        NightError: it adjusts and nobody has approved it.
    """
    credits_: dict[str, int] = defaultdict(int)
    for part in parts:
        account = STANDING_ACCOUNTS.get(part.standing) or chart.accrued(part.creator_id)
        credits_[account] += part.units
    credits_[chart.UNEXPLAINED] += unexplained_units
    assert sum(credits_.values()) == pool_units, (sum(credits_.values()), pool_units)
    if pool_units == 0:
        return None
    settings = night.workspace.settings.pool
    if adjusts:
        _require_approval(night)
    postings = [Posting(chart.ROYALTY_EXPENSE, settings.currency, pool_units)]
    postings += [
        Posting(account, settings.currency, -units)
        for account, units in sorted(credits_.items())
        if units
    ]
    what = "Late records of" if night.late else "Night of"
    return JournalEntry(
        scope=SCOPE,
        key=entry_key(night, settings.id),
        kind="adjustment" if adjusts else "accrual",
        period=period,
        effective_on=night.date.isoformat(),
        description=f"{what} {night.date.isoformat()}: pool {settings.id} accrued to creators",
        postings=postings,
        prepared_by=PREPARER,
        approved_by=night.approved_by if adjusts else None,
        evidence=evidence,
    )


def _require_approval(night: Night) -> None:
    """Refuse an adjustment that nobody has approved."""
    if not night.approved_by:
        raise NightError(
            f"records of {night.date} arrived after the night was settled or its period closed; "
            f"their entry is an adjustment and needs an approver other than {PREPARER!r}. "
            f"Nothing was posted; give the same command with --approved-by PARTY"
        )


def posted_evidence(night: Night, books: LedgerStore) -> Mapping[str, str] | None:
    """Give the digests that the night's entry cites, or None while it is not posted."""
    sealed = find_entry(books, SCOPE, entry_key(night, night.workspace.settings.pool.id))
    return None if sealed is None else sealed.entry.evidence


def is_settled(night: Night, books: LedgerStore) -> bool:
    """Say whether a night's entry is posted, or nothing of it carries money, so none will be."""
    path = night.manifest("sample")
    if path.exists() and not carries_money(read_manifest(path, SAMPLE_FORMAT)):
        return True
    return find_entry(books, SCOPE, entry_key(night, night.workspace.settings.pool.id)) is not None


def _posted_already(night: Night, books: LedgerStore) -> StepOutcome | None:
    """Say so when the night's entry is posted and rests on the very files that are there."""
    sealed = find_entry(books, SCOPE, entry_key(night, night.workspace.settings.pool.id))
    if sealed is None:
        return None
    entry = sealed.entry
    if any(entry.evidence.get(k) != sha256_file(night.manifest(k)) for k in EVIDENCE_KINDS):
        # The ledger itself says which number differs.
        return None
    return StepOutcome(
        f"{entry.kind} {entry.entry_id[:12]}, {len(entry.postings)} postings",
        worked=False,
        values={
            "entry_id": entry.entry_id,
            "ledger_seq": sealed.ledger_seq,
            "kind": entry.kind,
        },
    )


def _period_for(night: Night, books: LedgerStore) -> tuple[str, bool]:
    """Find the period a night is booked in, opening it if it is the next; say if it adjusts."""
    own = Period.of(night.date).text
    status = books.period_status(own)
    if status is PeriodStatus.UNKNOWN and not night.late:
        books.open_period(own)
        return own, False
    if status is PeriodStatus.OPEN:
        return own, bool(night.late)
    period = Period(own).next()
    while books.period_status(period.text) is PeriodStatus.CLOSED:
        period = period.next()
    if books.period_status(period.text) is PeriodStatus.UNKNOWN:
        books.open_period(period.text)
    return period.text, True


def _evidence(night: Night, known: Knowledge) -> dict[str, str]:
    """Give the digest of everything the entry rests on."""
    evidence = {kind: sha256_file(night.manifest(kind)) for kind in EVIDENCE_KINDS}
    if known.book.cuts_pool(night.workspace.settings.pool.id):
        evidence["cells"] = sha256_file(night.manifest("cells"))
    if names_rule(known.book, PER_OUTPUT_POSITIVE.name, night.date):
        positive_tables(night, known)
        evidence[POSITIVE] = positive_digest(night)
    return evidence | {
        "catalogue": known.catalogue_sha256,
        "agreements": known.agreements_sha256,
    }
