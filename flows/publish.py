"""Publish a closed period: statements, settlement report, trial balance, audit pack.

1. Everything is worked out again from the period's files by the same functions that closed it;
   nothing is typed, nothing is read from a report.
2. A statement that does not foot against the ledger is refused before any file is written.
3. The same book gives the same bytes: no clock is read, dates are those of the period.
4. The audit pack holds the book, every statement, every file that entries cite and the draws of
   the samples, but no text of a prompt or an output (`flows.publish_pack`).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.agreement import AgreementBook
from contracts.period import Period
from flows.artefacts import read_manifest
from flows.books import open_books, read_agreements
from flows.close import CLOSE_FORMAT, closing_file, make_plan
from flows.close_plan import ClosePlan
from flows.errors import CloseError
from flows.locks import hold
from flows.progress import Reporter
from flows.publish_book import BookView, ProofParts
from flows.publish_facts import PeriodFacts, closed_before, read_facts, write_facts
from flows.publish_frame import night_frames
from flows.publish_inputs import Gathering
from flows.publish_pack import evidence_files, night_draws, papers_for_reperformance
from flows.publish_settlement import settlement_inputs
from flows.publish_statements import Issued, issue, versioned
from flows.scratch import scratch_folder
from flows.seal import seal_books
from flows.workspace import Workspace
from ledger.checkpoint import Checkpoint, read_signer
from ledger.period_close import PeriodStatus
from ledger.store import LedgerStore
from reports.audit_pack import AuditPackInputs, write_audit_pack
from reports.errors import UnknownPayeeError
from reports.files import write_reports
from reports.render.pdf import render_pdf
from reports.settlement import UsageCounts, settlement_document
from reports.statement import Statement
from reports.statement_files import DEFAULT_FORMATS
from reports.trial_balance import (
    build_trial_balance,
    from_ledger,
    trial_balance_csv,
    trial_balance_document,
)


@dataclass(frozen=True)
class Published:
    """What was published.

    Args:
        statements: one JSON file a statement; PDF and CSV lie beside it.
        folder: all reports of the period.
        pack: the audit pack.
        usage: outputs logged, payable, sampled, quarantined.
        checkpoint: the checkpoint everything stands on.
        built: the statements.
    """

    statements: tuple[Path, ...]
    folder: Path
    pack: Path
    usage: UsageCounts
    checkpoint: Checkpoint
    built: tuple[Statement, ...]


@dataclass(frozen=True)
class ClosedPeriod:
    """A closed period with everything its papers are made from.

    Args:
        workspace: the installation.
        books: the open ledger.
        book: the agreements.
        plan: the close, worked out again.
        view: the book as the period's statements cite it.
        gathering: what the statements share.
        people: who prepared and who approved the close.
        latest: the book's latest checkpoint.
    """

    workspace: Workspace
    books: LedgerStore
    book: AgreementBook
    plan: ClosePlan
    view: BookView
    gathering: Gathering
    people: tuple[str, str]
    latest: Checkpoint

    @property
    def period(self) -> str:
        """The period, YYYY-MM."""
        return self.plan.accruals.period

    @property
    def statements_folder(self) -> Path:
        """Where the period's statements lie."""
        return self.workspace.reports(self.period) / "statements"

    def parts(self, statements: Sequence[Statement]) -> ProofParts:
        """Make the proofs of everything that statements cite."""
        cited = {entry.ledger_seq for s in statements for entry in s.inputs.entries}
        return ProofParts.of(self.books, self.view, cited)


@contextmanager
def closed_period(workspace: Workspace, period: str) -> Iterator[ClosedPeriod]:
    """Open a closed period for the length of a `with` block.

    Args:
        workspace: the installation.
        period: YYYY-MM, closed.

    Yields:
        The period.

    Raises:
        CloseError: the period is not closed.
    """
    with hold(workspace.locks, f"publish-{period}"), open_books(workspace) as books:
        status = books.period_status(period)
        if status is not PeriodStatus.CLOSED:
            raise CloseError(
                f"period {period} is {status.value}, not closed; papers "
                f"of it would change. Run `byline close --period {period}` first"
            )
        book = read_agreements(workspace)
        latest, _ = seal_books(workspace, books)
        view = BookView.of(books, period)
        earlier: list[PeriodFacts] = []
        for name in closed_before(workspace, period):
            facts = read_facts(workspace, name)
            if facts is None:
                old = _plan(workspace, books, book, name)
                facts = Gathering(workspace, old, book, view).facts
                write_facts(workspace, facts)
            earlier.append(facts)
        plan = _plan(workspace, books, book, period)
        gathering = Gathering(workspace, plan, book, view, tuple(earlier))
        write_facts(workspace, gathering.facts)
        closing = read_manifest(closing_file(workspace, period), CLOSE_FORMAT)
        people = (closing["prepared_by"], closing["approved_by"])
        yield ClosedPeriod(workspace, books, book, plan, view, gathering, people, latest)


def publish_period(
    workspace: Workspace,
    period: str,
    *,
    with_frame: bool = False,
    reporter: Reporter | None = None,
) -> Published:
    """Write every report of a closed period, and its audit pack.

    Args:
        workspace: the installation.
        period: YYYY-MM, closed.
        with_frame: put all logged outputs into the pack, too, without their texts.
        reporter: shows one line a step; nothing is shown when None.

    Returns:
        Where everything lies.

    Raises:
        CloseError: the period is not closed.
        ReportError: a statement does not foot, or a file cannot be written.
    """
    reporter = reporter or Reporter(enabled=False)
    with closed_period(workspace, period) as closed:
        issued = _issue(closed, None, DEFAULT_FORMATS, reporter=reporter)
        usage = closed.gathering.usage
        with reporter.step("reports") as step:
            _write_settlement(closed, usage)
            _write_trial_balance(closed)
            step.result("settlement report and trial balance")
        with reporter.step("audit pack") as step:
            files = [path for one in issued for path in one.files]
            step.result(_write_pack(closed, files, with_frame=with_frame))
    folder = workspace.reports(period)
    records = tuple(p for one in issued for p in one.files if p.suffix == ".json")
    built = tuple(one.statement for one in issued)
    pack = workspace.pack(period, with_frame=with_frame)
    return Published(records, folder, pack, usage, closed.latest, built)


def publish_statements(
    workspace: Workspace,
    period: str,
    *,
    creators: Sequence[str] = (),
    formats: Collection[str] = DEFAULT_FORMATS,
    restate: str = "",
    processes: int = 0,
    reporter: Reporter | None = None,
) -> list[Issued]:
    """Write statements of a closed period: of some creators, or of everybody.

    Args:
        workspace: the installation.
        period: YYYY-MM, closed.
        creators: creators or payees by id; empty for all.
        formats: names of `reports.statement_files`.
        restate: why statements that would read differently are issued anew.
        processes: how many; 0 for one a core.
        reporter: shows the bar.

    Returns:
        What was issued, in the order of the payees.

    Raises:
        CloseError: the period is not closed.
        ReportError: nobody of that name, a statement does not foot, or a file cannot be written.
    """
    reporter = reporter or Reporter(enabled=False)
    with closed_period(workspace, period) as closed:
        chosen = None if not creators else _payees(closed, creators)
        return _issue(
            closed, chosen, formats, restate=restate, processes=processes, reporter=reporter
        )


def _issue(
    closed: ClosedPeriod,
    payees: Sequence[str] | None,
    formats: Collection[str],
    *,
    restate: str = "",
    processes: int = 0,
    reporter: Reporter,
) -> list[Issued]:
    folder = closed.statements_folder
    with reporter.step("statements") as step:
        statements = [
            versioned(folder, inputs, restate) for inputs in closed.gathering.statements(payees)
        ]
        issued = issue(
            statements,
            folder,
            formats,
            closed.parts(statements),
            processes=processes,
            progress=lambda done, total: step.update(done, total, "statements"),
        )
        fresh = sum(one.written for one in issued)
        step.result(f"{len(issued)} statements, {fresh} written now")
    return issued


def _plan(workspace: Workspace, books: LedgerStore, book: AgreementBook, period: str) -> ClosePlan:
    """Work a close out again, as who prepared it did."""
    closing = read_manifest(closing_file(workspace, period), CLOSE_FORMAT)
    return make_plan(workspace, books, book, period, prepared_by=closing["prepared_by"])


def _payees(closed: ClosedPeriod, names: Sequence[str]) -> list[str]:
    """Find the payees of creators, or of payees themselves.

    Raises:
        UnknownPayeeError: nobody of that name owns a work or is paid in the period.
    """
    payees = closed.gathering.payees
    by_creator = {creator: payee for payee, own in payees.items() for creator in own}
    found = []
    for name in names:
        payee = name if name in payees else by_creator.get(name)
        if payee is None:
            close = difflib.get_close_matches(name, [*payees, *by_creator], n=1)
            raise UnknownPayeeError("creator", name, closed.period, close[0] if close else "")
        found.append(payee)
    return list(dict.fromkeys(found))


def _write_settlement(closed: ClosedPeriod, usage: UsageCounts) -> None:
    inputs = settlement_inputs(closed.workspace, closed.plan, closed.view, usage, closed.people)
    folder = closed.workspace.reports(closed.period)
    write_reports(folder, {"settlement.pdf": render_pdf(settlement_document(inputs))})


def _write_trial_balance(closed: ClosedPeriod) -> None:
    """Write the balances as they stood when the period was sealed."""
    settings, period = closed.workspace.settings.pool, closed.period
    lines = closed.books.trial_balance(settings.currency, closed.view.checkpoint.size)
    balance = build_trial_balance(from_ledger(lines), as_of=f"close of {period}")
    end = Period(period).end.isoformat()
    document = trial_balance_document(balance, date=end, payer_id=settings.payer)
    write_reports(
        closed.workspace.reports(period),
        {
            "trial_balance.csv": trial_balance_csv(balance),
            "trial_balance.pdf": render_pdf(document),
        },
    )


def _write_pack(closed: ClosedPeriod, statements: Sequence[Path], *, with_frame: bool) -> str:
    workspace, period, books = closed.workspace, closed.period, closed.books
    reports: dict[str, bytes | Path] = {
        path.name: path
        for path in sorted(workspace.reports(period).iterdir())
        # What an auditor drew is the auditor's, and no part of what was handed over.
        if path.is_file() and not path.name.startswith("audit-sample")
    }
    reports |= papers_for_reperformance(workspace, period)
    stored = books.checkpoints()
    path = workspace.pack(period, with_frame=with_frame)
    with scratch_folder(path.parent, ".frame-") as scratch:
        inputs = AuditPackInputs(
            period=period,
            origin=closed.latest.origin,
            leaves=books.leaves(0),
            checkpoint=stored[-1].note,
            earlier=tuple(item.note for item in stored[:-1]),
            evidence=dict(evidence_files(workspace, closed.plan, closed.view)),
            draws=night_draws(closed.plan),
            frame=night_frames(closed.plan, scratch) if with_frame else {},
            statements={path.name: path for path in statements},
            reports=reports,
        )
        summary = write_audit_pack(path, inputs, read_signer(workspace.signing_key))
    return f"{summary.papers} papers, {summary.size_bytes / 1e6:.1f} MB, {summary.sha256[:12]}"
