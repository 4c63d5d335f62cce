"""Who acted, who approved, who looked: the compliance report's controls, read from the book.

Also what the report finds by itself, and payees traced from the night to the statement.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

from contracts.accrual import Standing
from flows.artefacts import read_manifest, retention_path, sha256_file
from flows.close_plan import claim_id
from flows.compliance_nights import missing_days
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.publish import ClosedPeriod
from flows.publish_inputs import model_versions
from ledger import chart
from ledger.audit_report import STEPS
from reports.compliance_inputs import ControlFact, FactTable, Figure, Stage, UsageDay
from reports.compliance_sections import LEAVES, SHOWN
from reports.errors import StatementFileError
from reports.render.document import Cell
from reports.render.text import DASH, amount, amount_text, count, plural
from reports.statement import build_statement
from reports.statement_files import file_stem
from reports.statement_reader import read_statement

TRACED = 5
_MANUAL = ("adjustment", "reversal", "release", "opening")


def version_figures(closed: ClosedPeriod) -> Iterator[Figure]:
    """Name model, corpus, catalogue, index, rule and code, and what is in scope."""
    workspace, accruals = closed.workspace, closed.plan.accruals
    code, unit = accruals.currency.partition("/")[0], amount_text(1, accruals.currency)
    nights = plural(len(accruals.nights), "night")
    scope = f"pool {accruals.pool_id} in {code}, kept in units of {unit}; {nights}"
    yield Figure("Scope", scope, f"closes/{closed.period}.json")
    versions = ", ".join(model_versions(closed.plan)) or "none logged"
    yield Figure("Model versions logged", versions, "outputs/*.parquet, column model_version")
    files = {
        "Model recipe": workspace.model / "recipe.json",
        "Corpus": workspace.corpus,
        "Catalogue": workspace.catalogue,
        "Index": workspace.index / "manifest.json",
        "Settings": workspace.settings_file,
    }
    for label, path in files.items():
        if path.exists():
            yield Figure(label, sha256_file(path), workspace.relative(path))
    rules = ", ".join(sorted({pool.rule for pool in closed.plan.pools}))
    yield Figure("Rules of division", rules, f"closes/{closed.period}.json")
    yield Figure("Code", f"byline {version('byline')}", "`byline --version`")


def role_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """List who did what in the period, from the entries' preparers and approvers."""
    did: dict[str, Counter[str]] = defaultdict(Counter)
    for sealed in closed.view.entries:
        entry = sealed.entry
        if entry.period == closed.period:
            did[entry.prepared_by][f"prepared {entry.kind}"] += 1
            if entry.approved_by:
                did[entry.approved_by][f"approved {entry.kind}"] += 1
    prepared, approved = closed.people
    did[prepared]["prepared the close"] += 1
    did[approved]["approved the close"] += 1
    rows = tuple(
        (who, ", ".join(f"{what}: {count(n)}" for what, n in sorted(acts.items())))
        for who, acts in sorted(did.items())[:SHOWN]
    )
    yield FactTable("Who acted in the period, by id", ("Who", "=What, how often"), rows, LEAVES)


def manual_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """List the entries that a person caused, with preparer and approver."""
    rows = []
    for sealed in closed.view.entries:
        entry = sealed.entry
        if entry.period == closed.period and entry.kind in _MANUAL:
            units: dict[str, int] = defaultdict(int)
            for posting in entry.postings:
                units[posting.currency] += max(posting.units, 0)
            money = ", ".join(amount_text(u, c) for c, u in sorted(units.items()))
            rows.append(
                (
                    count(sealed.ledger_seq),
                    Cell(entry.kind, sub=entry.description[:90]),
                    entry.prepared_by,
                    entry.approved_by or DASH,
                    money,
                )
            )
    heads = (">No.", "=Kind and description", "Prepared by", "Approved by", ">Amount")
    label = f"Entries that a person caused: {count(len(rows))}"
    yield FactTable(label, heads, tuple(rows[:SHOWN]), LEAVES)


def integrity_figures(closed: ClosedPeriod) -> Iterator[Figure]:
    """Say that what came into the pools went out of them, and where the log stands."""
    pools = sum(pool.pool_units for pool in closed.plan.pools)
    currency = closed.plan.accruals.currency
    left = sum(
        p.units
        for s in closed.view.entries
        for p in s.entry.postings
        if p.account_id == chart.POOL_CLEARING and p.currency == currency
    )
    source = f"{LEAVES}, {chart.POOL_CLEARING}"
    yield Figure("Into pools of the period", amount_text(pools, currency), source)
    yield Figure("Left in clearing", amount_text(left, currency), source)
    size = closed.view.checkpoint.size
    yield Figure("Head of the hash log", f"{count(size)} leaves, signed", "checkpoints/*.note")


def control_facts(closed: ClosedPeriod) -> Iterator[ControlFact]:
    """Test the controls on the book itself; each names the evidence to repeat it with."""
    entries = [s.entry for s in closed.view.entries]
    unapproved = sum(1 for e in entries if e.approved_by == e.prepared_by)
    unbalanced = 0
    for entry in entries:
        sums: Counter[str] = Counter()
        for posting in entry.postings:
            sums[posting.currency] += posting.units
        unbalanced += any(sums.values())
    cleared: Counter[str] = Counter()
    for e in entries:
        for p in e.postings:
            if p.account_id == chart.POOL_CLEARING:
                cleared[p.currency] += p.units
    left = [amount_text(units, currency) for currency, units in sorted(cleared.items()) if units]
    files = sorted(closed.statements_folder.glob("*.json"))
    accesses = closed.books.accesses()
    yield ControlFact(
        "Every entry balances", "seal trigger in the database",
        "`byline db check`", f"{count(len(entries))} entries added up", unbalanced,
    )  # fmt: skip
    yield ControlFact(
        "What was divided reached the payees", "one entry a payee, through a clearing account",
        f"{LEAVES}, {chart.POOL_CLEARING}", f"{', '.join(left) or 'nothing'} left on it",
        len(left),
    )  # fmt: skip
    snapshots = closed.books.verify_snapshots()
    yield ControlFact(
        "No balance snapshot differs from the full sum", "snapshots at each seal",
        "`byline db check`", f"{count(snapshots)} compared", 0 if snapshots else None,
    )  # fmt: skip
    yield ControlFact(
        "Nobody approves his own work", "CHECK and trigger; refused at posting",
        f"{LEAVES}: prepared_by, approved_by", "compared in every entry", unapproved,
    )  # fmt: skip
    yield ControlFact(
        "The close has two people", "period event with preparer and approver",
        f"closes/{closed.period}.json", " and ".join(closed.people),
        int(closed.people[0] == closed.people[1]),
    )  # fmt: skip
    yield ControlFact(
        "Statements foot", "with the ledger: refused before a file is written",
        "`byline statement verify FILE --key KEY`",
        f"{count(len(files))} issued; digests and sums of all worked out again",
        sum(1 for file in files if not _foots(file)),
    )  # fmt: skip
    yield ControlFact(
        "Looking leaves a record", "access records under the same tree",
        f"leaves of kind access in {LEAVES}",
        f"{count(len(accesses))} records; that none is missing cannot be seen here", None,
    )  # fmt: skip


def _foots(file: Path) -> bool:
    """Read a statement's JSON again: its digest, and the sums of its lines."""
    try:
        read_statement(file.read_bytes(), file.name)
    except StatementFileError:
        return False
    return True


def review_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """Count accesses by who and what, and set preparers beside approvers: the segregation."""
    seen: Counter[tuple[str, str, str]] = Counter()
    for record in closed.books.accesses():
        access = record.access
        seen[access.actor, access.role, access.action] += 1
    rows = tuple((*key, count(n)) for key, n in seen.most_common(SHOWN))
    heads = ("=Who", "Role", "Action", ">Times")
    yield FactTable("Access review, the whole log", heads, rows, f"leaves of accesses in {LEAVES}")
    pairs: Counter[tuple[str, str]] = Counter()
    for sealed in closed.view.entries:
        pairs[sealed.entry.prepared_by, sealed.entry.approved_by or DASH] += 1
    lines = tuple((a, b, count(n)) for (a, b), n in pairs.most_common(SHOWN))
    people = ("=Prepared by", "=Approved by", ">Entries")
    yield FactTable("Segregation review, the whole book", people, lines, LEAVES)
    closes = tuple(
        (path.stem, said["prepared_by"], said["approved_by"])
        for path in sorted((closed.workspace.root / "closes").glob("????-??.json"))
        if (said := json.loads(path.read_bytes()))
    )
    names = ("=Period closed", "Prepared by", "Approved by")
    yield FactTable("Change log: closes", names, closes[-SHOWN:], "closes/*.json")


def privacy_figures(closed: ClosedPeriod) -> Iterator[Figure]:
    """Count texts dropped, erasures, and who looked at raw text."""
    nights = closed.plan.accruals.nights
    notes = [retention_path(night.night.outputs) for night in nights]
    dropped = [path for path in notes if path.exists()]
    days = closed.workspace.settings.retention.texts_days
    told = "for ever" if days < 0 else f"{days} days"
    yield Figure("Texts are kept", f"{told} after a night is settled", "byline.toml, [retention]")
    told = f"{len(dropped)} of {len(nights)}"
    yield Figure("Nights whose texts were dropped", told, "outputs/*.retention.json")
    actions = Counter(record.access.action for record in closed.books.accesses())
    where = f"access records in {LEAVES}"
    yield Figure("Erasures of personal data", count(actions["erase"]), where)
    yield Figure("Traces of texts", count(actions["trace"]), where)
    yield Figure("Views and exports", count(actions["view"] + actions["export"]), where)


def reperformance_figures(closed: ClosedPeriod) -> Iterator[Figure]:
    """Name the pack, the commands, the totals to expect, and each night's seed and inputs."""
    pack, accruals = closed.workspace.pack(closed.period), closed.plan.accruals
    if not pack.exists():
        return
    key = closed.workspace.relative(closed.workspace.public_key)
    # The pack holds this report's own folder, so its digest cannot stand in the report.
    yield Figure("Audit pack", pack.name, closed.workspace.relative(pack))
    yield Figure("Verify", f"{len(STEPS)} steps", f"`byline audit verify {pack.name} --key {key}`")
    yield Figure("Re-perform", "entries to the byte", f"`byline audit reperform {pack.name}`")
    mine = [s.entry for s in closed.view.entries if s.entry.period == closed.period]
    owed = sum(closed.plan.apportionment.payable.values())
    money = partial(amount_text, currency=accruals.currency)
    where = closed.workspace.relative(pack)
    yield Figure("Expected: pool", money(accruals.pool_units), where)
    yield Figure("Expected: apportioned to creators", money(owed), where)
    yield Figure("Expected: entries of the period", count(len(mine)), where)
    yield Figure("Expected: Merkle root", closed.view.checkpoint.root_hex, "checkpoints/*.note")
    for night in accruals.nights:
        seed = night.manifest["seed"]
        name = night.night.name
        yield Figure(f"Seed of {name}", seed, f"sample/{name}.manifest.json")
        root = read_manifest(night.night.manifest("outputs"), OUTPUTS_FORMAT)["batch_root"]
        yield Figure(f"Logs of {name}, batch root", root, f"outputs/{name}.manifest.json")


def traced_tables(closed: ClosedPeriod) -> Iterator[FactTable]:
    """Follow a few creators from the estimates to the statement, the largest and the smallest."""
    plan, currency = closed.plan, closed.plan.accruals.currency
    claims = sorted(
        (c for c in plan.accruals.claims if c.standing is Standing.LICENSED),
        key=lambda c: (-plan.apportionment.payable.get(claim_id(c), 0), c.creator_id),
    )
    chosen = claims if len(claims) <= TRACED else [*claims[: TRACED - 2], *claims[-2:]]
    payees = {c: payee for payee, own in closed.gathering.payees.items() for c in own}
    rows = []
    for claim in chosen:
        payee = payees.get(claim.creator_id, claim.creator_id)
        own = closed.view.movements_on(chart.royalties_payable(payee), currency)
        booked = [(s, u) for s, u in own if s.entry.period == closed.period]
        issued = closed.gathering.statements([payee])
        stated = build_statement(next(one for one in issued if one.header.currency == currency))
        rows.append(
            (
                Cell(claim.creator_id, sub=f"{file_stem(stated)}.json"),
                amount(claim.units, currency),
                amount(plan.apportionment.payable.get(claim_id(claim), 0), currency),
                ", ".join(count(s.ledger_seq) for s, _ in booked[:4]) or DASH,
                amount(sum(units for _, units in booked), currency),
                amount(stated.closing_units, currency),
            )
        )
    first = ("=Creator and statement", ">Accrued", ">Apportioned", "Entries", ">On the account")
    heads = (*first, ">Closing, stated")
    source = f"estimates/*.creators.parquet, {LEAVES}, reports/{closed.period}/statements/"
    yield FactTable("Traced from estimate to statement", heads, tuple(rows), source)


def found_tables(
    closed: ClosedPeriod,
    controls: tuple[ControlFact, ...],
    usage: tuple[UsageDay, ...],
    stages: tuple[Stage, ...],
) -> Iterator[FactTable]:
    """List what the report itself finds: exceptions, gaps, days without logs, open differences."""
    rows = [
        (f"{one.objective}: {count(one.exceptions)} exceptions", one.evidence)
        for one in controls
        if one.exceptions
    ]
    rows += [
        (f"{day.date}: our count is off the gateway's by {count(day.gateway_gap)}", day.source)
        for day in usage
        if day.gateway_gap
    ]
    rows += [
        (
            f"{day.date}: lines that could not be read: {count(day.quarantined)}",
            "quarantine/*.jsonl",
        )
        for day in usage
        if day.quarantined
    ]
    if missing := missing_days(closed):
        told = f"{count(len(missing))} days of the period have no settled night"
        rows.append((told, "section 6"))
    before: dict[str, int] = {}
    for stage in stages:
        last = before.get(stage.currency)
        if last is not None and stage.units != last and not stage.why_different:
            rows.append((f"{stage.name}: a difference that nobody explained", "section 11"))
        before[stage.currency] = stage.units
    label = f"Found while this report was made: {count(len(rows))}"
    yield FactTable(label, ("=Finding", "=Where"), tuple(rows[:SHOWN]), "this report")
