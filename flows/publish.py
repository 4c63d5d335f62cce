"""Publish a closed period: statements, settlement report, trial balance, audit pack.

1. Everything is worked out again from the period's files by the same functions that closed it;
   nothing is typed, nothing is read from a report.
2. A statement that does not foot against the ledger is refused before any file is written.
3. The same book gives the same bytes: no clock is read, dates are those of the period.
4. The audit pack holds the book, every statement, and every file that entries cite, but no text
   of a prompt or an output.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contracts.period import Period
from flows.artefacts import read_manifest
from flows.books import open_books, read_agreements
from flows.close import CLOSE_FORMAT, closing_file, inputs_file, make_plan
from flows.close_plan import ClosePlan
from flows.errors import CloseError
from flows.locks import hold
from flows.progress import Reporter
from flows.publish_inputs import BookView, settlement_inputs, statement_inputs_of, usage_of
from flows.seal import seal_books
from flows.settle import agreements_list
from flows.workspace import Workspace
from ledger.checkpoint import Checkpoint, read_signer
from ledger.merkle import MerkleTree
from ledger.period_close import PeriodStatus
from ledger.proof import statement_proof
from ledger.store import LedgerStore
from reports.audit_pack import AuditPackInputs, write_audit_pack
from reports.files import write_reports
from reports.render.pdf import render_pdf
from reports.settlement import UsageCounts, settlement_document
from reports.statement import Statement, build_statement
from reports.statement_files import statement_files
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


def publish_period(
    workspace: Workspace, period: str, *, reporter: Reporter | None = None
) -> Published:
    """Write every report of a closed period, and its audit pack.

    Args:
        workspace: the installation.
        period: YYYY-MM, closed.
        reporter: shows one line a step; nothing is shown when None.

    Returns:
        Where everything lies.

    Raises:
        CloseError: the period is not closed.
        ReportError: a statement does not foot, or a file cannot be written.
    """
    reporter = reporter or Reporter(enabled=False)
    with hold(workspace.locks, f"publish-{period}"), open_books(workspace) as books:
        if books.period_status(period) is not PeriodStatus.CLOSED:
            raise CloseError(
                f"period {period} is {books.period_status(period).value}, not closed; statements "
                f"of it would change. Run `byline close --period {period}` first"
            )
        book = read_agreements(workspace)
        closing = read_manifest(closing_file(workspace, period), CLOSE_FORMAT)
        plan = make_plan(workspace, books, book, period, prepared_by=closing["prepared_by"])
        checkpoint, _ = seal_books(workspace, books)
        view = BookView.of(books, checkpoint)
        with reporter.step("statements") as step:
            built = tuple(
                build_statement(inputs)
                for inputs in statement_inputs_of(workspace, plan, book, view)
            )
            statements = _write_statements(workspace, books, view, built, period)
            step.result(f"{len(built)} statements as PDF, CSV and JSON")
        usage = usage_of(plan)
        with reporter.step("reports") as step:
            pack = workspace.pack(period)
            people = (closing["prepared_by"], closing["approved_by"])
            _write_settlement(workspace, plan, view, usage, people)
            _write_trial_balance(workspace, books, period)
            step.result("settlement report and trial balance")
        with reporter.step("audit pack") as step:
            said = _write_pack(workspace, plan, books, view, statements)
            step.result(said)
    folder = workspace.reports(period)
    json_files = tuple(path for path in statements if path.suffix == ".json")
    return Published(json_files, folder, pack, usage, checkpoint, built)


def _write_statements(
    workspace: Workspace,
    books: LedgerStore,
    view: BookView,
    built: tuple[Statement, ...],
    period: str,
) -> list[Path]:
    """Write every statement in every format, its proof inside the JSON."""
    tree = MerkleTree(books.leaf_hashes(0))
    folder = workspace.reports(period) / "statements"
    paths = []
    for statement in built:
        leaves = {e.ledger_seq: view.leaves[e.ledger_seq] for e in statement.inputs.entries}
        proof = statement_proof(tree.node, leaves, view.note, view.checkpoint.size)
        paths += write_reports(folder, statement_files(statement, proof=proof))
    return paths


def _write_settlement(
    workspace: Workspace,
    plan: ClosePlan,
    view: BookView,
    usage: UsageCounts,
    people: tuple[str, str],
) -> None:
    inputs = settlement_inputs(workspace, plan, view, usage, people)
    folder = workspace.reports(plan.accruals.period)
    write_reports(folder, {"settlement.pdf": render_pdf(settlement_document(inputs))})


def _write_trial_balance(workspace: Workspace, books: LedgerStore, period: str) -> None:
    settings = workspace.settings.pool
    end = Period(period).end.isoformat()
    balance = build_trial_balance(
        from_ledger(books.trial_balance(settings.currency)), as_of=f"close of {period}"
    )
    document = trial_balance_document(balance, date=end, payer_id=settings.payer)
    write_reports(
        workspace.reports(period),
        {
            "trial_balance.csv": trial_balance_csv(balance),
            "trial_balance.pdf": render_pdf(document),
        },
    )


def _write_pack(
    workspace: Workspace,
    plan: ClosePlan,
    books: LedgerStore,
    view: BookView,
    statements: list[Path],
) -> str:
    period = plan.accruals.period
    reports = {
        path.name: path for path in sorted(workspace.reports(period).iterdir()) if path.is_file()
    }
    stored = books.checkpoints()
    summary = write_audit_pack(
        workspace.pack(period),
        AuditPackInputs(
            period=period,
            origin=view.checkpoint.origin,
            leaves=books.leaves(0),
            checkpoint=view.note,
            earlier=tuple(item.note for item in stored if item.size < view.checkpoint.size),
            evidence=dict(_evidence(workspace, plan, view)),
            statements={path.name: path for path in statements},
            reports=reports,
        ),
        read_signer(workspace.signing_key),
    )
    return f"{summary.papers} papers, {summary.size_bytes / 1e6:.1f} MB, {summary.sha256[:12]}"


def _evidence(
    workspace: Workspace, plan: ClosePlan, view: BookView
) -> Iterator[tuple[str, bytes | Path]]:
    """Name every file behind the period's entries that may leave the house."""
    for sealed in view.entries:
        if digest := sealed.entry.evidence.get("agreements"):
            path = agreements_list(workspace, digest)
            yield path.name, path
    for agreement in read_agreements(workspace).agreements:
        name = f"agreement.{agreement.agreement_id}.v{agreement.version}.yaml"
        yield name.replace(":", "_").replace("/", "_"), agreement.payload.encode("utf-8")
    yield "catalogue.json", workspace.catalogue
    yield (
        inputs_file(workspace, plan.accruals.period).name,
        inputs_file(workspace, plan.accruals.period),
    )
    index = workspace.index / "manifest.json"
    if index.exists():
        yield "index.manifest.json", index
    for accrual in plan.accruals.nights:
        night = accrual.night
        for kind in ("outputs", "sample", "influence", "estimates"):
            yield f"{kind}.{night.name}.manifest.json", night.manifest(kind)
        yield f"estimates.{night.works.name}", night.works
        yield f"estimates.{night.creators.name}", night.creators
        yield f"influence.{night.influence.name}", night.influence
        yield f"influence.{night.gains.name}", night.gains
