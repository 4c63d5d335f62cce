"""The demo: a whole month on this machine, with the same code that production runs.

    harvest    documentation of the installed packages: the corpus, each package a creator
    train      a small language model from scratch, its path kept
    log        two days of outputs, as a gateway would write them
    index      the gradient index along the training path
    nights     both nights, the second one twice, then a late log
    close      by two people; statements, settlement report, audit pack
    verify     the pack, and a copy of it with one byte changed

A step that is done is not done again: a demo that was stopped goes on with the same command.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import date as Date  # noqa: N812 - the name is a parameter elsewhere
from pathlib import Path
from typing import Any

from attribution.corpus import read_corpus
from attribution.training import TrainConfig, train
from flows.books import open_books
from flows.build import build_workspace_index
from flows.close import close_period
from flows.close_plan import ClosePlan
from flows.demo.harvest import harvest
from flows.demo.production_log import LogPlan, write_production_log
from flows.demo.story import works_by_creator, write_agreements
from flows.engine import run_night
from flows.errors import DemoError
from flows.night import StepOutcome
from flows.progress import Reporter
from flows.publish import Published, publish_period
from flows.setup import make_workspace
from flows.workspace import Workspace
from ledger.audit import run_verify
from ledger.audit_report import VerifyReport

DAYS = (Date(2026, 10, 30), Date(2026, 10, 31))
PERIOD = "2026-10"
PREPARER = "accountant-1"
APPROVER = "controller-1"
# Weights kept along the training path: the index costs one pass over the corpus for each.
CHECKPOINTS = 4
SETTINGS: dict[str, dict[str, object]] = {
    "night": {"sample_size": 120},
    "attribution": {"fit_documents_min": 96, "fit_share": 0.1},
    "sign": {"origin": "byline.example/demo"},
}


@dataclass
class DemoResult:
    """What the demo did; `as_json` gives the keys that machines rely on."""

    workspace: Workspace
    plan: ClosePlan
    published: Published
    counts: dict[str, int] = field(default_factory=dict)
    ledger_url: str = ""
    trial_balance: list[tuple[str, int]] = field(default_factory=list)
    checkpoint: dict[str, Any] = field(default_factory=dict)
    verified: VerifyReport | None = None
    tamper_found: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Give the result as one JSON object."""
        return {
            "dir": str(self.workspace.home),
            "ledger_url": self.ledger_url,
            "outputs_logged": self.counts["logged"],
            "outputs_payable": self.counts["payable"],
            "outputs_sampled": self.counts["sampled"],
            "quarantined": self.counts["quarantined"],
            "creators": self.counts["creators"],
            "works": self.counts["works"],
            "documents": self.counts["documents"],
            "entries": self.counts["entries"],
            "postings": self.counts["postings"],
            "trial_balance_units": sum(units for _, units in self.trial_balance),
            "payable_units": sum(self.plan.apportionment.payable.values()),
            "checkpoint": self.checkpoint,
            "statements": [str(path) for path in self.published.statements],
            "audit_pack": str(self.published.pack),
            "verify_ok": self.verified is not None and self.verified.ok,
            "tamper_detected": bool(self.tamper_found),
            "seconds": round(self.seconds, 1),
        }


def run_demo(
    folder: Path, *, engine: str = "inline", ledger_url: str = "", reporter: Reporter
) -> DemoResult:
    """Run the whole demo, or finish one that was stopped.

    Args:
        folder: the workspace; made if missing.
        engine: `inline` or `prefect`.
        ledger_url: database of the books, empty for SQLite in the folder.
        reporter: shows one line a step.

    Returns:
        What was done, with the paths of everything.

    Raises:
        DemoError: something is not as the demo promises.
    """
    started = time.monotonic()
    workspace = make_workspace(folder, ledger_url=ledger_url, settings=SETTINGS)
    _make_corpus(workspace, reporter)
    _make_model(workspace, reporter)
    late_log = _make_logs(workspace, reporter)
    _make_index(workspace, reporter)
    _run_nights(workspace, engine, late_log, reporter)
    closed = close_period(
        workspace, PERIOD, prepared_by=PREPARER, approved_by=APPROVER, reporter=reporter
    )
    published = publish_period(workspace, PERIOD, reporter=reporter)
    result = DemoResult(workspace, closed.plan, published)
    _verify(result, reporter)
    _count(result)
    result.seconds = time.monotonic() - started
    return result


def _make_corpus(workspace: Workspace, reporter: Reporter) -> None:
    with reporter.step("harvest") as step:
        folder = workspace.corpus.parent
        if not (folder / "manifest.json").exists():
            harvest(folder, progress=lambda done, total: step.update(done, total, "packages"))
        catalogue = json.loads(workspace.catalogue.read_bytes())
        documents: dict[str, int] = {}
        owner = {w["work_id"]: w["splits"][0]["party_id"] for w in catalogue["works"]}
        for row in catalogue["documents"]:
            documents[owner[row["work_id"]]] = documents.get(owner[row["work_id"]], 0) + 1
        creators = sorted(documents, key=lambda party: (-documents[party], party))
        if not (workspace.agreements / "parties.yaml").exists():
            start = DAYS[0].replace(day=1)
            pool_id = workspace.settings.pool.id
            write_agreements(workspace.agreements, workspace.catalogue, creators, start, pool_id)
        step.result(
            f"{len(creators)} packages, {len(catalogue['works'])} works, "
            f"{len(catalogue['documents'])} passages"
        )


def _make_model(workspace: Workspace, reporter: Reporter) -> None:
    with reporter.step("train") as step:
        if not (workspace.model / "recipe.json").exists():
            trained = train(
                read_corpus(workspace.corpus),
                workspace.model,
                TrainConfig(checkpoints=CHECKPOINTS),
                lambda done, total, loss: step.update(done, total, f"loss {loss:.2f}"),
            )
            step.result(
                f"{trained.parameters / 1e6:.1f} M parameters, loss {trained.first_loss:.2f} to "
                f"{trained.last_loss:.2f}, {len(trained.checkpoints)} checkpoints"
            )
        else:
            step.result("trained before")


def _make_logs(workspace: Workspace, reporter: Reporter) -> Path:
    late_log = workspace.logs / "late" / f"{DAYS[0].isoformat()}.otel.jsonl"
    with reporter.step("log") as step:
        # The late file is written last.
        if not late_log.exists():
            held_back = read_corpus(workspace.corpus.parent / "heldback.jsonl")
            written = write_production_log(
                workspace.model,
                held_back.documents,
                workspace.logs,
                LogPlan(DAYS),
                lambda done, total: step.update(done, total, "outputs"),
            )
            assert written.late_file == late_log, written.late_file
            step.result(f"{written.events} events on {len(DAYS)} days, OpenTelemetry GenAI")
        else:
            step.result("logged before")
    return late_log


def _make_index(workspace: Workspace, reporter: Reporter) -> None:
    with reporter.step("index") as step:
        done = (workspace.index / "manifest.json").exists()
        content = build_workspace_index(
            workspace, lambda part, at, total: step.update(at, total, part)
        )
        points = len(content["checkpoints"])
        step.result(f"{points} points of the path" + (" (was done)" if done else ""))


def _run_nights(
    workspace: Workspace, engine: str, late_log: Path, reporter: Reporter
) -> dict[str, dict[str, StepOutcome]]:
    first, second = DAYS
    said: dict[str, dict[str, StepOutcome]] = {}

    def night(day: Date, title: str, **options: Any) -> dict[str, dict[str, StepOutcome]]:
        reporter.say(f"night {day.isoformat()}{title}")
        outcome = run_night(workspace, day, engine=engine, reporter=reporter, **options)
        said.update(outcome)
        return outcome

    night(first, "")
    night(second, "")
    with open_books(workspace) as books:
        before = books.head_seq()
    night(second, ", once more")
    with open_books(workspace) as books:
        if books.head_seq() != before:
            raise DemoError(
                f"the second night was run twice and posted twice: the book had {before} leaves, "
                f"now it has {books.head_seq()}. This is a bug of Byline; please report it"
            )
    night(
        first,
        ", a log file came late",
        logs=[workspace.logs, late_log],
        approved_by=APPROVER,
    )
    return said


def _verify(result: DemoResult, reporter: Reporter) -> None:
    pack, keys = result.published.pack, result.workspace.public_key
    with reporter.step("verify") as step:
        result.verified = run_verify(pack, keys)
        if not result.verified.ok:
            raise DemoError(f"{pack} does not verify: {result.verified.failure}")
        step.result(f"{len(result.verified.steps)} steps hold, {result.verified.size} leaves")
    with reporter.step("tamper") as step:
        copy = tampered_copy(pack)
        spoiled = run_verify(copy, keys)
        result.tamper_found = str(spoiled.failure) if spoiled.failure else ""
        step.result(result.tamper_found[:90] or "NOT FOUND")


def tampered_copy(pack: Path) -> Path:
    """Copy a pack and change one digit of one amount in it, as a thief would."""
    data = bytearray(pack.read_bytes())
    place = data.index(b'"postings":[[')
    place = data.index(b',"', data.index(b"USD/6", place)) + 2
    while not chr(data[place]).isdigit():
        place += 1
    data[place] = ord("9") if data[place] != ord("9") else ord("8")
    copy = pack.with_name(pack.name.replace(".byline.zip", ".tampered.byline.zip"))
    copy.write_bytes(bytes(data))
    return copy


def _count(result: DemoResult) -> None:
    workspace = result.workspace
    counts = result.counts
    usage = result.published.usage
    counts["logged"], counts["payable"] = usage.logged, usage.payable
    counts["sampled"], counts["quarantined"] = usage.sampled, usage.quarantined
    catalogue = json.loads(workspace.catalogue.read_bytes())
    counts["creators"] = len(works_by_creator(catalogue))
    counts["works"] = len(catalogue["works"])
    counts["documents"] = len(catalogue["documents"])
    with open_books(workspace) as books:
        sealed = list(books.entries())
        counts["entries"] = len(sealed)
        counts["postings"] = sum(len(item.entry.postings) for item in sealed)
        currency = workspace.settings.pool.currency
        result.trial_balance = [
            (line.account_id, line.balance_units) for line in books.trial_balance(currency)
        ]
        result.ledger_url = books.url
        latest = books.latest_checkpoint()
        assert latest is not None
        result.checkpoint = {"size": latest.size, "root": latest.root.hex()}
