"""Close a period: advances booked, the pool divided, agreements calculated, the period shut.

1. Every night of the period must be settled first; the one that is not is named.
2. Who prepares the close does not approve it.
3. All entries of a close are posted in one transaction and named by period, kind and agreement,
   so a close that died is finished by the same command and posts nothing twice.
4. What an agreement carries into the next period is written to `closes/PERIOD.json`; the digests
   of everything the division rests on to `closes/PERIOD.inputs.json`, which the entries cite.
5. What is learned about closed periods is an adjustment in this one: see `flows.restate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date as Date  # noqa: N812 - the name is a field elsewhere
from fractions import Fraction
from pathlib import Path
from typing import Any

from contracts.agreement import Agreement, AgreementBook
from contracts.balances import Balances, ReserveTranche
from contracts.money import format_units
from contracts.period import Period
from contracts.store import ContractStore
from flows.artefacts import canonical_json, read_manifest, sha256_file, write_bytes
from flows.books import open_books, read_agreements
from flows.close_entries import Paper
from flows.close_plan import ClosePlan, agreements_of
from flows.close_work import PeriodWork, inputs_file
from flows.errors import CloseError
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.knowledge import KnowledgeBase
from flows.locks import hold
from flows.night import Night
from flows.period_files import period_files, read_rates
from flows.progress import Reporter
from flows.seal import seal_books
from flows.settle import is_settled
from flows.workspace import Workspace
from ledger import chart
from ledger.checkpoint import Checkpoint
from ledger.entry import JournalEntry, Posting
from ledger.period_close import PeriodStatus
from ledger.store import LedgerStore

__all__ = ["CLOSE_FORMAT", "close_period", "closing_file", "inputs_file", "make_plan"]

CLOSE_FORMAT = "byline-close/1"
ADVANCE_SCOPE = "advance"


@dataclass(frozen=True)
class CloseResult:
    """What a close did.

    Args:
        plan: the division and the earnings.
        checkpoint: the checkpoint over the closed book.
        worked: False when the period was closed already.
    """

    plan: ClosePlan
    checkpoint: Checkpoint
    worked: bool


def close_period(
    workspace: Workspace,
    period: str,
    *,
    prepared_by: str,
    approved_by: str,
    reporter: Reporter | None = None,
) -> CloseResult:
    """Close a period, or finish a close that died.

    Args:
        workspace: the installation.
        period: YYYY-MM.
        prepared_by: who prepares it.
        approved_by: who approves it: somebody else.
        reporter: shows one line a step; nothing is shown when None.

    Returns:
        The division, the earnings and the checkpoint.

    Raises:
        CloseError: a night is not settled, or the numbers are not those that were booked.
        MissingRateError: a pool or payment is in another currency and rates.json has no rate.
        LedgerError: the period is not open, or the approver is the preparer.
    """
    reporter = reporter or Reporter(enabled=False)
    with hold(workspace.locks, f"close-{period}"), open_books(workspace) as books:
        book = read_agreements(workspace)
        with reporter.step("divide") as step:
            was_open = books.period_status(period) is not PeriodStatus.CLOSED
            if was_open:
                check_nights(workspace, books, period)
            plan = make_plan(
                workspace, books, book, period, prepared_by=prepared_by, approved_by=approved_by
            )
            units = sum(plan.apportionment.payable.values())
            step.result(_said(plan, units))
        with reporter.step("close") as step:
            if was_open:
                write_closing(workspace, plan, book, (prepared_by, approved_by))
                save_rates(workspace, books, period)
                books.post_many(list(advance_entries(workspace, book, period)))
                posted = books.post_many(list(plan.entries))
                books.close_period(period, prepared_by=prepared_by, approved_by=approved_by)
                step.result(f"{len(posted)} entries; approved by {approved_by}")
            else:
                step.result("closed before")
        with reporter.step("seal") as step:
            checkpoint, _ = seal_books(workspace, books)
            step.result(f"checkpoint {checkpoint.size}, root {checkpoint.root_hex[:16]}")
    return CloseResult(plan, checkpoint, was_open)


def make_plan(
    workspace: Workspace,
    books: LedgerStore,
    book: AgreementBook,
    period: str,
    *,
    prepared_by: str,
    approved_by: str | None = None,
) -> ClosePlan:
    """Work out a period's close from its files; the same before and after it is booked.

    A closed period is worked out with the agreements, owners and files that its close cites.

    Args:
        workspace: whose files.
        books: the open ledger.
        book: the agreements as they are now.
        period: YYYY-MM.
        prepared_by: who prepares the close.
        approved_by: who approves it; who approved it, when the period is closed.

    Returns:
        The plan.
    """
    work = PeriodWork(workspace, books, KnowledgeBase(workspace, book), period)
    if work.is_closed:
        closing = read_manifest(closing_file(workspace, period), CLOSE_FORMAT)
        approved_by = closing["approved_by"]
    inputs = work.write_inputs()
    rates = work.file("rates")
    digest = sha256_file(rates) if rates.exists() else ""
    paper = Paper(prepared_by, approved_by, {"close-inputs": inputs}, digest)
    opening = opening_balances(workspace, work.known.book, period)
    return work.plan(opening, paper)


def check_nights(workspace: Workspace, books: LedgerStore, period: str) -> None:
    """Refuse a close while a night of the period, or a late batch, is not settled.

    Raises:
        CloseError: names the first one and the command that settles it.
    """
    for path in sorted((workspace.root / "outputs").glob("*.manifest.json")):
        manifest = read_manifest(path, OUTPUTS_FORMAT)
        if Period.of(Date.fromisoformat(manifest["date"])).text != period:
            continue
        name = path.name.removesuffix(".manifest.json")
        late = name.partition(".late-")[2]
        night = Night(workspace, Date.fromisoformat(manifest["date"]), (), late)
        if not is_settled(night, books):
            raise CloseError(
                f"{name} was ingested and is not settled, so {period} would be closed without "
                f"it; nothing was closed. Run `byline nightly --date {manifest['date']}` first"
            )


def advance_entries(
    workspace: Workspace, book: AgreementBook, period: str
) -> Iterator[JournalEntry]:
    """Write an entry for every advance that this period is the first to know of.

    Args:
        workspace: whose earlier closes say which advances are known.
        book: the agreements.
        period: YYYY-MM.

    Yields:
        Dr RoyaltyAdvances, Cr Cash; named by agreement and advance.
    """
    known = _read_closing(workspace, period)
    for agreement in agreements_of(book, Period(period)):
        for advance in agreement.advances:
            told = known.get(agreement.agreement_id, {}).get("advances", [])
            if advance.paid_on <= Period(period).end and advance.advance_id not in told:
                units = advance.amount_units
                yield JournalEntry(
                    scope=ADVANCE_SCOPE,
                    key=f"{agreement.agreement_id}/{advance.advance_id}",
                    kind="advance",
                    period=period,
                    effective_on=advance.paid_on.isoformat(),
                    description=f"Advance {advance.advance_id} of {agreement.agreement_id}",
                    postings=[
                        Posting(
                            chart.royalty_advances(agreement.payee_id), agreement.currency, units
                        ),
                        Posting(chart.CASH, agreement.currency, -units),
                    ],
                    evidence={"agreement": agreement.payload_sha256},
                )


def opening_balances(workspace: Workspace, book: AgreementBook, period: str) -> dict[str, Balances]:
    """Give every agreement's balances at the start of a period, its new advances included."""
    known = _read_closing(workspace, period)
    opening = {}
    for agreement in agreements_of(book, Period(period)):
        kept = known.get(agreement.agreement_id, {})
        balances = _balances_of(kept["balances"]) if kept else Balances()
        fresh = sum(
            advance.amount_units
            for advance in agreement.advances
            if advance.paid_on <= Period(period).end
            and advance.advance_id not in kept.get("advances", [])
        )
        opening[agreement.agreement_id] = replace(
            balances, unrecouped_units=balances.unrecouped_units + fresh
        )
    return opening


def write_closing(
    workspace: Workspace, plan: ClosePlan, book: AgreementBook, people: tuple[str, str]
) -> None:
    """Write what every agreement carries into the next period, and who closed this one."""
    period = plan.accruals.period
    agreements = {a.agreement_id: a for a in agreements_of(book, Period(period))}
    content = {
        "format": CLOSE_FORMAT,
        "period": period,
        "prepared_by": people[0],
        "approved_by": people[1],
        "agreements": {
            result.agreement_id: {
                "advances": _known_advances(agreements[result.agreement_id], period),
                "balances": _plain(result.closing),
            }
            for result in plan.earnings
        },
        "adjustments": [
            {
                "agreement": agreement_id,
                "type": item.adjustment_type.value,
                "units": item.amount_units,
                "activity_period": item.activity_period.text,
                "reason": item.reason,
            }
            for agreement_id, mine in sorted(plan.restatement.adjustments.items())
            for item in mine
        ],
    }
    write_bytes(closing_file(workspace, period), canonical_json(content))


def save_rates(workspace: Workspace, books: LedgerStore, period: str) -> int:
    """Keep the exchange rates the close read, with their sources, in the database.

    Returns:
        How many were new.

    Raises:
        StoreConflictError: a published rate was changed; nothing was booked.
    """
    rates = read_rates(period_files(workspace, period)["rates"])
    return ContractStore(books.engine).save_rates(rates)


def closing_file(workspace: Workspace, period: str) -> Path:
    """Name the file of what a close left behind."""
    return workspace.root / "closes" / f"{period}.json"


def _known_advances(agreement: Agreement, period: str) -> list[str]:
    end = Period(period).end
    return sorted(a.advance_id for a in agreement.advances if a.paid_on <= end)


def _read_closing(workspace: Workspace, period: str) -> dict[str, Any]:
    """Read what the latest close before a period left, by agreement."""
    names = {
        path.name.removesuffix(".json"): path
        for path in (workspace.root / "closes").glob("????-??.json")
    }
    earlier = [name for name in sorted(names) if name < period]
    if not earlier:
        return {}
    content = read_manifest(names[earlier[-1]], CLOSE_FORMAT, step="`byline close`")
    return dict(content["agreements"])


def _plain(balances: Balances) -> dict[str, Any]:
    """Give balances as JSON values."""
    plain = asdict(balances)
    plain["remainders"] = {name: str(value) for name, value in balances.remainders.items()}
    for name in ("unconverted_units", "carried_currency", "remainders"):
        # Only where there is something to say, so that other files are as they were.
        if not plain[name]:
            del plain[name]
    plain["counters"] = {name: str(value) for name, value in balances.counters.items()}
    plain["reserves"] = [
        [t.release_in.text, t.taken_in.text, t.term_id, t.units] for t in balances.reserves
    ]
    return plain


def _balances_of(plain: Mapping[str, Any]) -> Balances:
    """Read balances from JSON values."""
    values = dict(plain)
    values["counters"] = {name: Fraction(value) for name, value in plain["counters"].items()}
    left = plain.get("remainders", {})
    values["remainders"] = {name: Fraction(value) for name, value in left.items()}
    values["reserves"] = tuple(
        ReserveTranche(Period(release), Period(taken), term, units)
        for release, taken, term, units in plain["reserves"]
    )
    return Balances(**values)


def _said(plan: ClosePlan, units: int) -> str:
    currency = plan.accruals.currency
    pool = format_units(plan.accruals.pool_units, currency)
    return (
        f"{len(plan.accruals.nights)} nights, pool {pool}, payable {format_units(units, currency)}"
        f" to {len(plan.apportionment.payable)} creators"
    )
