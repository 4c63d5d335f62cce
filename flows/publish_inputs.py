"""Gather what statements and the settlement report say: plain values, from the close and the book.

A statement is made for every payee: whoever is paid under an agreement, and, as a statement of
nothing, whoever is not under contract, with the sum that stands in suspense for him.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from contracts.accrual import Standing
from contracts.agreement import AgreementBook
from contracts.catalogue import Catalogue
from contracts.earnings import Earnings
from contracts.money import format_units
from contracts.period import Period
from contracts.work import load_catalogue
from flows.accruals import Claim
from flows.artefacts import read_manifest, sha256_file
from flows.close_plan import ClosePlan, agreements_of, claim_id
from flows.estimation import INFLUENCE_FORMAT
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.intake import quarantine_file
from flows.publish_works import CreatorShare, creator_shares, work_lines
from flows.quarantine import read_quarantine
from flows.sampling import SAMPLE_FORMAT
from flows.workspace import Workspace
from ledger import chart
from ledger.checkpoint import Checkpoint
from ledger.journal import SealedEntry
from ledger.store import LedgerStore
from reports.settlement import CreatorLine, SettlementInputs, UsageCounts
from reports.statement_earnings import movements_of, working_of
from reports.statement_inputs import (
    CheckpointRef,
    DecoyLevel,
    EntryRef,
    ExcludedTraffic,
    PeriodShare,
    PoolReconciliation,
    StatementHeader,
    StatementInputs,
)


@dataclass(frozen=True)
class BookView:
    """The book as statements cite it.

    Args:
        entries: every sealed entry, in order.
        leaves: canonical leaf by place, of entries.
        checkpoint: what the latest checkpoint says.
        note: its signed note.
        trial_balance_units: the sum over all accounts, zero.
    """

    entries: tuple[SealedEntry, ...]
    leaves: Mapping[int, bytes]
    checkpoint: Checkpoint
    note: str
    trial_balance_units: int

    @classmethod
    def of(cls, books: LedgerStore, checkpoint: Checkpoint) -> BookView:
        """Read the book once."""
        entries = tuple(books.entries())
        latest = books.latest_checkpoint()
        assert latest is not None
        assert latest.size == checkpoint.size, (latest.size, checkpoint.size)
        units = sum(p.units for sealed in entries for p in sealed.entry.postings)
        leaves = {sealed.ledger_seq: sealed.leaf() for sealed in entries}
        return cls(entries, leaves, checkpoint, latest.note, units)

    def movements_on(self, account: str, currency: str) -> Iterator[tuple[SealedEntry, int]]:
        """Yield every entry that touches an account, with what it adds to what is owed."""
        for sealed in self.entries:
            units = -sum(
                p.units
                for p in sealed.entry.postings
                if (p.account_id, p.currency) == (account, currency)
            )
            if units:
                yield sealed, units


def statement_inputs_of(
    workspace: Workspace, plan: ClosePlan, book: AgreementBook, view: BookView
) -> Iterator[StatementInputs]:
    """Gather one statement a payee, in the order of the payees' ids.

    Args:
        workspace: whose files.
        plan: the close of the period.
        book: the agreements.
        view: the book.

    Yields:
        The inputs of each statement.
    """
    catalogue = load_catalogue(workspace.catalogue)
    end = Period(plan.accruals.period).end
    payees: dict[str, set[str]] = defaultdict(set)
    for work in catalogue.works.values():
        for creator in work.shares_on(end):
            payees[book.payee_of(creator, end)].add(creator)
    for result in plan.earnings:
        payees[result.payee_id].add(result.licensor)
    gathering = _Gathering(workspace, plan, book, view, catalogue)
    for payee_id in sorted(payees):
        yield gathering.statement(payee_id, sorted(payees[payee_id]))


class _Gathering:
    """What all statements of one period share."""

    def __init__(
        self,
        workspace: Workspace,
        plan: ClosePlan,
        book: AgreementBook,
        view: BookView,
        catalogue: Catalogue,
    ) -> None:
        self.workspace, self.plan, self.book, self.view = workspace, plan, book, view
        self.catalogue = catalogue
        self.period = Period(plan.accruals.period)
        self.currency = plan.accruals.currency
        self.shares = creator_shares(plan.accruals)
        self.excluded = _excluded(plan)
        self.runs = _runs(plan)
        self.model_versions = model_versions(plan)
        self.agreements = {a.agreement_id: a for a in agreements_of(book, self.period)}

    def statement(self, payee_id: str, creators: list[str]) -> StatementInputs:
        """Gather the statement of one payee."""
        earnings = [e for e in self.plan.earnings if e.payee_id == payee_id]
        claims = [c for c in self.plan.accruals.claims if c.creator_id in creators]
        account = chart.royalties_payable(payee_id)
        touched = list(self.view.movements_on(account, self.currency))
        before = sum(u for s, u in touched if s.entry.period < self.period.text)
        mine = [(s, u) for s, u in touched if s.entry.period == self.period.text]
        closing = before + sum(units for _, units in mine)
        share = CreatorShare.total([self.shares[c] for c in creators if c in self.shares])
        paid = sum(
            self.plan.apportionment.payable.get(claim_id(claim), 0)
            for claim in claims
            if claim.standing is Standing.LICENSED
        )
        return StatementInputs(
            header=self._header(payee_id, creators, earnings),
            opening_units=before,
            movements=tuple(m for e in earnings for m in movements_of(e)),
            works=work_lines(
                self.plan.accruals, self.catalogue, self.agreements, creators, earnings
            ),
            working=tuple(line for e in earnings for line in working_of(e.lines)),
            pools=(self._pool(paid),),
            excluded=self.excluded,
            decoys=DecoyLevel(
                self._decoys(), share.generic_ppt, share.share_ppt - share.generic_ppt
            ),
            notes=tuple(self._notes(claims)),
            unrecouped_opening_units=sum(e.opening.unrecouped_units for e in earnings),
            unrecouped_closing_units=sum(e.closing.unrecouped_units for e in earnings),
            history=(
                PeriodShare(self.period.text, share.share_ppt, share.low_ppt, share.high_ppt, paid),
            ),
            entries=tuple(
                EntryRef(
                    s.entry_id,
                    s.ledger_seq,
                    s.entry.kind,
                    s.entry.effective_on,
                    units,
                    s.entry.description,
                )
                for s, units in mine
            ),
            checkpoint=checkpoint_ref(self.view),
            ledger_closing_units=closing,
            inputs={
                f"estimates.{a.night.name}": sha256_file(a.night.manifest("estimates"))
                for a in self.plan.accruals.nights
            },
        )

    def _header(
        self, payee_id: str, creators: list[str], earnings: list[Earnings]
    ) -> StatementHeader:
        return StatementHeader(
            statement_number=f"{self.period.text}/{payee_id}",
            period=self.period.text,
            period_start=self.period.start.isoformat(),
            period_end=self.period.end.isoformat(),
            statement_date=self.period.end.isoformat(),
            party_id=creators[0] if len(creators) == 1 else payee_id,
            payee_id=payee_id,
            payer_id=self.workspace.settings.pool.payer,
            currency=self.currency,
            agreements=tuple(f"{e.agreement_id} v{e.version}" for e in earnings),
            method=self.plan.apportionment.rule,
            attribution_method="influence along the training path",
            model_versions=self.model_versions,
            run_ids=self.runs,
        )

    def _pool(self, paid: int) -> PoolReconciliation:
        return pool_of_plan(self.plan, mine_units=paid, rate_ppm=self._rate_ppm())

    def _rate_ppm(self) -> int:
        return self.workspace.settings.pool.rate_ppm

    def _decoys(self) -> int:
        return max(
            (int(a.manifest["decoy"]["documents"]) for a in self.plan.accruals.nights), default=0
        )

    def _notes(self, claims: list[Claim]) -> Iterator[str]:
        for claim in claims:
            portion = self.plan.apportionment.portions[claim_id(claim)]
            amount = format_units(portion.attribution_units, self.currency)
            code = self.currency.partition("/")[0]
            if claim.standing is Standing.UNLICENSED:
                yield (
                    f"{claim.creator_id} has no agreement on this pool. {code} {amount} of it "
                    f"stand in the account {chart.UNLICENSED} and were not given to anybody else."
                )
            elif portion.destination == "below_noise":
                yield (
                    f"The 95 % interval of {claim.creator_id} contains zero, so its part of "
                    f"{code} {amount} was not paid; it stands in {chart.BELOW_NOISE}."
                )
            elif portion.accrual_units < 0:
                yield (
                    f"The works of {claim.creator_id} made the sampled outputs less likely on "
                    f"balance: the accrual is negative and the floor at zero applies."
                )


def pool_of_plan(plan: ClosePlan, *, mine_units: int, rate_ppm: int) -> PoolReconciliation:
    """Say where a period's pool went, to the unit."""
    divided = plan.apportionment
    destinations = {"paid": sum(divided.payable.values())}
    destinations |= {name: units for name, units in divided.destinations.items() if units}
    return PoolReconciliation(
        plan.accruals.pool_id,
        plan.accruals.period,
        divided.pool_units,
        destinations,
        mine_units,
        f"{rate_ppm / 10_000:g} % of the payable outputs' revenue",
    )


def checkpoint_ref(view: BookView) -> CheckpointRef:
    """Cite the checkpoint."""
    said = view.checkpoint
    return CheckpointRef(said.origin, said.size, said.root_hex, view.note)


def usage_of(plan: ClosePlan) -> UsageCounts:
    """Count outputs logged, payable, sampled, excluded and quarantined over a period's nights."""
    logged = payable = sampled = 0
    excluded: dict[str, int] = defaultdict(int)
    for accrual in plan.accruals.nights:
        counts = read_manifest(accrual.night.manifest("outputs"), OUTPUTS_FORMAT)["counts"]
        logged += counts["outputs"]
        payable += counts["payable"]["outputs"]
        for reason, entry in counts["excluded"].items():
            excluded[reason] += entry["outputs"]
        manifest = read_manifest(accrual.night.manifest("sample"), SAMPLE_FORMAT)
        sampled += int(manifest["sampled"])
    files = {quarantine_file(accrual.night) for accrual in plan.accruals.nights}
    quarantined = sum(1 for file in sorted(files) for _ in read_quarantine(file))
    return UsageCounts(logged, payable, sampled, quarantined, dict(sorted(excluded.items())))


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
        decoy_documents=max(
            (int(a.manifest["decoy"]["documents"]) for a in plan.accruals.nights), default=0
        ),
        completeness=_completeness(plan),
        audit_pack=workspace.pack(period.text).name,
        checks=(("Trial balance is zero", "yes"), ("Pools add up to the unit", "yes")),
    )


def creator_lines(plan: ClosePlan) -> tuple[CreatorLine, ...]:
    """Give one line a creator: share with interval, earned, recouped, payable; largest first."""
    shares = creator_shares(plan.accruals)
    earned = {
        claim.creator_id: plan.apportionment.payable.get(claim_id(claim), 0)
        for claim in plan.accruals.claims
        if claim.standing is Standing.LICENSED
    }
    recouped: dict[str, int] = defaultdict(int)
    payable: dict[str, int] = defaultdict(int)
    for result in plan.earnings:
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


def model_versions(plan: ClosePlan) -> tuple[str, ...]:
    """Name the model versions whose outputs the period's nights logged."""
    versions: set[str] = set()
    for accrual in plan.accruals.nights:
        column = pl.scan_parquet(accrual.night.outputs).select("model_version").unique()
        versions |= {str(value) for value in column.collect()["model_version"] if value}
    return tuple(sorted(versions))


def _excluded(plan: ClosePlan) -> tuple[ExcludedTraffic, ...]:
    return tuple(ExcludedTraffic(*item) for item in usage_of(plan).excluded.items())


def _runs(plan: ClosePlan) -> tuple[str, ...]:
    return tuple(
        f"{accrual.night.name}:{sha256_file(accrual.night.manifest('influence'))[:12]}"
        for accrual in plan.accruals.nights
    )


def _completeness(plan: ClosePlan) -> str:
    gains = totals = 0
    for accrual in plan.accruals.nights:
        said = read_manifest(accrual.night.manifest("influence"), INFLUENCE_FORMAT)["completeness"]
        gains += int(said["gain_nanonats"])
        totals += int(said["total_nanonats"])
    return f"{100 * totals // gains} % of the measured gain" if gains else ""
