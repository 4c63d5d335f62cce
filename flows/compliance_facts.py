"""The compliance report's facts, gathered from manifests, agreements, the book and its access log.

Every figure names the file, query or command that gives it. What a workspace does not have stays
None, and the report says so; nothing is assumed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from statistics import median

from contracts.agreement import Agreement
from contracts.money import format_units
from contracts.period import Period
from contracts.work import load_catalogue
from flows.accruals import NightAccrual
from flows.artefacts import read_manifest, sha256_file
from flows.close_entries import SCOPE as CLOSE_SCOPE
from flows.close_plan import agreements_of
from flows.compliance_figures import method_figures, privacy_figures, version_figures
from flows.compliance_given import Given, evaluation_figures, evaluation_file
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.intake import quarantine_file, reconciliation_file
from flows.payout_files import read_export
from flows.payouts import batch_names, load
from flows.publish import ClosedPeriod
from flows.publish_inputs import checkpoint_ref, pool_of_plan
from flows.quarantine import read_quarantine
from flows.reconciliation import RECONCILIATION_FORMAT
from flows.sampling import SAMPLE_FORMAT
from ledger import chart
from reports.compliance_facts import ledger_fact, suspense_facts
from reports.compliance_inputs import (
    AgreementFact,
    ComplianceInputs,
    ControlFact,
    CoverageFact,
    Figure,
    PayoutFact,
    SamplingFact,
    Stage,
    UsageDay,
)
from reports.render.text import count, percent
from reports.statement_inputs import AdjustmentLine

TOP = 10


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
    nights = closed.plan.accruals.nights
    leaves = list(closed.books.leaves(0))
    rate_ppm = closed.workspace.settings.pool.rate_ppm
    given = given or Given()
    judged = evaluation_file(closed.workspace, evaluation)
    return ComplianceInputs(
        report_id=f"C-{period.text}",
        period=period.text,
        period_start=period.start.isoformat(),
        period_end=period.end.isoformat(),
        report_date=period.end.isoformat(),
        payer_id=closed.workspace.settings.pool.payer,
        currency=currency,
        distribution=given.distribution,
        versions=tuple(version_figures(closed)),
        assertion=given.assertion,
        assertion_source=given.source,
        reservations=given.reservations,
        findings=given.findings,
        agreements=tuple(_agreements(closed, period)),
        coverage=tuple(_coverage(closed, period)),
        usage=tuple(_usage(night) for night in nights),
        sampling=tuple(_sampling(night) for night in nights),
        method=(
            *method_figures(closed),
            *(evaluation_figures(judged) if judged is not None else ()),
        ),
        pools=(pool_of_plan(closed.plan, mine_units=0, rate_ppm=rate_ppm),),
        ledger=ledger_fact(leaves, currency),
        checkpoint=checkpoint_ref(closed.view),
        stages=tuple(_stages(closed)),
        suspense=suspense_facts(leaves, currency),
        payouts=tuple(_payouts(closed)) or None,
        adjustments=tuple(_adjustments(closed)),
        controls=tuple(_controls(closed)),
        privacy=tuple(privacy_figures(closed)),
        annexes=tuple(_annexes(closed)) or None,
        reperformance=tuple(_reperformance(closed)) or None,
        figures={
            4: (
                Figure("Tokens of the corpus", "words separated by spaces", "corpus/corpus.jsonl"),
            ),
            9: (_revenue(closed),),
            **({3: given.roles} if given.roles else {}),
        },
    )


def _agreements(closed: ClosedPeriod, period: Period) -> Iterator[AgreementFact]:
    owned: dict[str, set[str]] = defaultdict(set)
    for work_id, work in load_catalogue(closed.workspace.catalogue).works.items():
        for party in work.shares_on(period.end):
            owned[party].add(work_id)
    for agreement in agreements_of(closed.book, period):
        yield AgreementFact(
            agreement.agreement_id,
            agreement.version,
            agreement.licensor,
            agreement.effective_from.isoformat(),
            agreement.effective_to.isoformat() if agreement.effective_to else "",
            sum(agreement.covers_work(work) for work in owned[agreement.licensor]),
            _change(agreement, period),
        )


def _change(agreement: Agreement, period: Period) -> str:
    begun = period.start <= agreement.effective_from <= period.end
    if agreement.effective_to is not None and agreement.effective_to <= period.end:
        return "ended"
    if not begun:
        return ""
    return "new" if agreement.version == 1 else "changed"


def _coverage(closed: ClosedPeriod, period: Period) -> Iterator[CoverageFact]:
    """Count the corpus's documents and words by the standing of their work."""
    catalogue = load_catalogue(closed.workspace.catalogue)
    licensed = {
        part.work_id
        for night in closed.plan.accruals.nights
        for part in night.parts
        if part.agreement is not None
    }
    words = _words(closed)
    documents: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for document, work_id in catalogue.work_of.items():
        work = catalogue.works[work_id]
        owned = bool(work.shares_on(period.end))
        standing = "licensed" if work_id in licensed else "unlicensed" if owned else "unmatched"
        documents[standing] += 1
        tokens[standing] += words.get(document, 0)
    for standing in sorted(documents):
        yield CoverageFact(
            standing, documents[standing], tokens[standing], payable=standing == "licensed"
        )


def _words(closed: ClosedPeriod) -> dict[str, int]:
    import orjson  # noqa: PLC0415 - only for this report

    found = {}
    if closed.workspace.corpus.exists():
        with closed.workspace.corpus.open("rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                found[row["document_id"]] = len(row["text"].split())
    return found


def _usage(night: NightAccrual) -> UsageDay:
    path = night.night.manifest("outputs")
    counts = read_manifest(path, OUTPUTS_FORMAT)["counts"]
    sampled = read_manifest(night.night.manifest("sample"), SAMPLE_FORMAT)["sampled"]
    record = reconciliation_file(night.night)
    told = None
    if not night.night.late and record.exists():
        told = read_manifest(record, RECONCILIATION_FORMAT)
    return UsageDay(
        date=night.night.name,
        logged=counts["outputs"],
        payable=counts["payable"]["outputs"],
        sampled=int(sampled),
        quarantined=sum(1 for _ in read_quarantine(quarantine_file(night.night))),
        source=f"outputs/{path.name}",
        gateway=told["gateway"]["calls"] if told else None,
        gateway_gap=told["calls_gap"] if told else None,
        excluded={reason: entry["outputs"] for reason, entry in counts["excluded"].items()},
    )


def _sampling(night: NightAccrual) -> SamplingFact:
    path = night.night.manifest("sample")
    manifest = read_manifest(path, SAMPLE_FORMAT)
    rows = sorted(
        night.creators.select("share_ppt", "stderr_ppt", "outputs").iter_rows(),
        key=lambda row: -abs(row[0]),
    )
    relative = [Fraction(stderr, abs(share)) for share, stderr, _ in rows if share]
    bands = []
    for name, part in (("largest ten", relative[:TOP]), ("all others", relative[TOP:])):
        if part:
            error = median(part)
            bands.append((name, f"median {percent(round(error * 10**12))} of the share"))
    return SamplingFact(
        date=night.night.name,
        seed_hex=manifest["seed"],
        strata=len(manifest["strata"]),
        population=manifest["population"]["outputs"],
        sampled=manifest["sampled"],
        source=f"sample/{path.name}",
        error_bands=tuple(bands),
        creators_without_hit=sum(1 for _, _, outputs in rows if not outputs),
    )


def _revenue(closed: ClosedPeriod) -> Figure:
    value = sum(
        read_manifest(night.night.manifest("outputs"), OUTPUTS_FORMAT)["counts"]["payable"][
            "value_units"
        ]
        for night in closed.plan.accruals.nights
    )
    currency = closed.plan.accruals.currency
    text = f"{format_units(value, currency)} {currency.partition('/')[0]}"
    return Figure("Revenue of payable outputs in the logs", text, "outputs/*.manifest.json")


def _stages(closed: ClosedPeriod) -> Iterator[Stage]:
    """Follow the money from the logs to the bank."""
    plan, period = closed.plan, closed.period
    booked: Counter[str] = Counter()
    for sealed in closed.books.entries():
        entry = sealed.entry
        for posting in entry.postings:
            if entry.kind == "payout":
                event = entry.key.rsplit("/", 1)[1]
                statement = entry.description.rpartition("statement ")[2]
                if statement.startswith(f"{period}/") and posting.units > 0:
                    booked[event] += posting.units
            elif entry.period == period and posting.account_id == chart.ROYALTY_EXPENSE:
                if entry.scope == "nightly":
                    booked["accrued"] += posting.units
            elif entry.period == period and posting.account_id.startswith(chart.PAYABLE_PREFIX):
                booked["payable"] -= posting.units
    yield Stage("Pools of the nights' estimates", plan.accruals.pool_units, "estimates manifests")
    yield Stage("Accrued in the ledger", booked["accrued"], "entries of scope nightly")
    paid = sum(plan.apportionment.payable.values())
    yield Stage(
        "Apportioned to creators", paid, "entries of kind apportionment",
        "the rest stands in suspense accounts, see section 12",
    )  # fmt: skip
    yield Stage(
        "Owed to payees for the period", booked["payable"], "entries on RoyaltiesPayable",
        "advances recouped, reserves, guarantees, taxes, terms; see the statements",
    )  # fmt: skip
    yield Stage(
        "Told to the bank", booked["export"], "entries of scope payout, event export",
        "not exported yet, below threshold, held, or without bank details; see section 13",
    )  # fmt: skip
    yield Stage(
        "Settled by the bank", booked["settle"] - booked["return"],
        "entries of scope payout, event settle less return",
        "rejected, returned, or no bank statement read yet; see section 13",
    )  # fmt: skip


def _payouts(closed: ClosedPeriod) -> Iterator[PayoutFact]:
    for name in batch_names(closed.workspace):
        stored = load(closed.workspace, closed.books, name)
        numbers = {item.statement_number.partition("/")[0] for item in stored.batch.payouts}
        if numbers and closed.period not in numbers:
            continue
        about = read_export(closed.workspace, name)
        yield PayoutFact(
            name,
            about["sha256"] if about else "not exported",
            len(stored.batch.payouts),
            sum(item.amount_units for item in stored.batch.payouts),
            stored.states,
            sum(line.amount_units for line in stored.batch.left_out if line.amount_units > 0),
        )


def _adjustments(closed: ClosedPeriod) -> Iterator[AdjustmentLine]:
    """List adjustments; payees' parts of one are on their statements and in its sum."""
    known = {s.entry.key for s in closed.view.entries if s.entry.scope == CLOSE_SCOPE}
    for sealed in closed.view.entries:
        entry = sealed.entry
        whole, _, payee = entry.key.partition("#")
        if entry.scope == CLOSE_SCOPE and payee and whole in known:
            continue
        if entry.period == closed.period and entry.kind in {"adjustment", "reversal"}:
            units = sum(p.units for p in entry.postings if p.units > 0)
            kind = "reversal" if entry.kind == "reversal" else "usage_correction"
            yield AdjustmentLine(
                kind, entry.effective_on[:7], entry.period, units, entry.description, entry.entry_id
            )


def _controls(closed: ClosedPeriod) -> Iterator[ControlFact]:
    entries = [s.entry for s in closed.view.entries]
    unapproved = sum(1 for e in entries if e.approved_by == e.prepared_by)
    unbalanced = sum(1 for e in entries if sum(p.units for p in e.postings))
    cleared = sum(
        p.units for e in entries for p in e.postings if p.account_id == chart.POOL_CLEARING
    )
    files = sorted(closed.statements_folder.glob("*.json"))
    accesses = closed.books.accesses()
    yield ControlFact(
        "Every entry balances", "seal trigger in the database",
        "`byline db check`", f"{count(len(entries))} entries added up", unbalanced,
    )  # fmt: skip
    yield ControlFact(
        "What was divided reached the payees", "one entry a payee, through a clearing account",
        f"postings to {chart.POOL_CLEARING}", f"{count(cleared)} units left on it",
        int(cleared != 0),
    )  # fmt: skip
    yield ControlFact(
        "No balance snapshot differs from the full sum", "snapshots at each seal",
        "`byline db check`", f"{count(closed.books.verify_snapshots())} compared", 0,
    )  # fmt: skip
    yield ControlFact(
        "Nobody approves his own work", "CHECK and trigger; refused at posting",
        "entries.jsonl: prepared_by, approved_by", "compared in every entry", unapproved,
    )  # fmt: skip
    yield ControlFact(
        "The close has two people", "period event with preparer and approver",
        f"closes/{closed.period}.json", " and ".join(closed.people),
        int(closed.people[0] == closed.people[1]),
    )  # fmt: skip
    yield ControlFact(
        "Statements foot with the ledger", "refused before a file is written",
        "`byline statement verify FILE --key KEY`", f"{count(len(files))} issued", 0,
    )  # fmt: skip
    yield ControlFact(
        "Looking leaves a record", "access records under the same tree",
        "leaves of kind access in entries.jsonl", f"{count(len(accesses))} records", 0,
    )  # fmt: skip


def _annexes(closed: ClosedPeriod) -> Iterator[Figure]:
    period, every = closed.workspace.reports(closed.period), closed.workspace.root / "reports"
    for path in (*sorted(every.glob("*-*.json")), *sorted(period.glob("disclosure-*.json"))):
        kind = "Draft" if path.name.startswith("disclosure-") else "Lookup answered"
        name = closed.workspace.relative(path)
        yield Figure(kind, f"sha256 {sha256_file(path)[:16]}", name)


def _reperformance(closed: ClosedPeriod) -> Iterator[Figure]:
    pack = closed.workspace.pack(closed.period)
    if not pack.exists():
        return
    key = closed.workspace.relative(closed.workspace.public_key)
    # The pack holds this report's own folder, so its digest cannot stand in the report.
    yield Figure("Audit pack", pack.name, "`byline audit pack`")
    yield Figure("Verify", "thirteen steps", f"byline audit verify {pack.name} --key {key}")
    yield Figure("Re-perform", "entries to the byte", f"byline audit reperform {pack.name}")
    for night in closed.plan.accruals.nights:
        seed = read_manifest(night.night.manifest("sample"), SAMPLE_FORMAT)["seed"]
        yield Figure(
            f"Seed of {night.night.name}", seed, f"sample/{night.night.name}.manifest.json"
        )
