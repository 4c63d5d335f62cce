"""Gather what statements and the settlement report say: plain values, from the close and the book.

A statement is made for every payee: whoever is paid under an agreement, and, as a statement of
nothing, whoever is not under contract, with the sum that stands in suspense for him. Agreements in
several currencies have a statement each currency.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import polars as pl

from contracts.accrual import Standing
from contracts.agreement import AgreementBook
from contracts.catalogue import Catalogue
from contracts.earnings import Earnings
from contracts.period import Period
from contracts.work import load_catalogue
from flows.accruals import Claim
from flows.artefacts import read_manifest, sha256_file
from flows.close_plan import ClosePlan, agreements_of, claim_id
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.intake import quarantine_file
from flows.publish_account import Account
from flows.publish_book import BookView
from flows.publish_currency import (
    converted_into,
    currencies_of,
    notes_on_pools,
    number_of,
    shown_in,
)
from flows.publish_facts import PayeeFacts, PeriodFacts, changes_since, history_of
from flows.publish_notes import notes_on_claims, notes_on_money
from flows.publish_works import CreatorShare, WorkIndex, creator_shares
from flows.quarantine import read_quarantine
from flows.sampling import SAMPLE_FORMAT
from flows.workspace import Workspace
from reports.settlement import UsageCounts
from reports.statement_earnings import adjustments_of, movements_of, reserves_of, working_of
from reports.statement_inputs import (
    CheckpointRef,
    DecoyLevel,
    ExcludedTraffic,
    PeriodShare,
    PoolReconciliation,
    StatementHeader,
    StatementInputs,
    WorkLine,
)


class Gathering:
    """What all statements of one period share; `statement` gathers one.

    Args:
        workspace: whose files.
        plan: the close of the period.
        book: the agreements.
        view: the book.
        earlier: facts of the closed periods before, oldest first.
    """

    def __init__(
        self,
        workspace: Workspace,
        plan: ClosePlan,
        book: AgreementBook,
        view: BookView,
        earlier: Sequence[PeriodFacts] = (),
    ) -> None:
        self.workspace, self.plan, self.view, self.earlier = workspace, plan, view, earlier
        self.period = Period(plan.accruals.period)
        self.currency = plan.accruals.currency
        self.usage = usage_of(plan)
        self.shares = creator_shares(plan.accruals)
        self.payable = plan.apportionment.payable
        self.agreements = {a.agreement_id: a for a in agreements_of(book, self.period)}
        catalogue = load_catalogue(workspace.catalogue)
        self.works = WorkIndex.of(plan.accruals, catalogue)
        self.payees = payees_of(plan, book, catalogue)
        self.earnings: dict[str, list[Earnings]] = defaultdict(list)
        for result in plan.earnings:
            self.earnings[result.payee_id].append(result)
        self.claims: dict[str, list[Claim]] = defaultdict(list)
        for claim in plan.accruals.claims:
            self.claims[claim.creator_id].append(claim)
        self.runs = _runs(plan)
        self.inputs = {
            f"estimates.{a.night.name}": sha256_file(a.night.manifest("estimates"))
            for a in plan.accruals.nights
        }
        self.decoys = decoys_of(plan)
        self.pool = pool_of_plan(plan, mine_units=0, rate_ppm=self._rate_ppm())
        self.facts = self._facts(model_versions(plan))

    def statements(self, payee_ids: Iterable[str] | None = None) -> Iterator[StatementInputs]:
        """Gather one statement a payee and currency, in the order of the payees' ids."""
        for payee_id in sorted(self.payees if payee_ids is None else payee_ids):
            claims = [c for creator in self.payees[payee_id] for c in self.claims[creator]]
            every = self.earnings[payee_id]
            issued = currencies_of(self.view, payee_id, every, claims, self.currency)
            for currency in issued:
                told = claims if currency == issued[0] else []
                yield self._statement(payee_id, currency, issued, told)

    def statement(self, payee_id: str) -> StatementInputs:
        """Gather the statement of one payee, the first where he has one in several currencies."""
        return next(self.statements([payee_id]))

    def _statement(
        self, payee_id: str, currency: str, issued: Sequence[str], told: Sequence[Claim]
    ) -> StatementInputs:
        """Gather one statement of a payee.

        Args:
            payee_id: the payee.
            currency: of the statement.
            issued: the currencies of all his statements of the period.
            told: the claims that this statement has notes on.
        """
        creators, every = self.payees[payee_id], self.earnings[payee_id]
        earnings = [result for result in every if result.currency == currency]
        claims = [claim for creator in creators for claim in self.claims[creator]]
        account = Account.of(self.view, payee_id, currency, self.period)
        share, paid = self._share(creators), self._paid(claims)
        own = PeriodShare(self.period.text, share.share_ppt, share.low_ppt, share.high_ppt, paid)
        moved = tuple(m for e in earnings for m in movements_of(e))
        moved += tuple(converted_into(every, currency))
        is_main = currency == self.currency
        return StatementInputs(
            header=self._header(payee_id, creators, earnings, currency),
            opening_units=account.opening_units,
            movements=(*moved, *account.movements),
            works=self._works(creators, earnings, currency),
            working=tuple(line for e in earnings for line in working_of(e.lines)),
            adjustments=(
                *(line for e in earnings for line in adjustments_of(e)),
                *account.adjustments,
            ),
            pools=tuple(self._pools(paid, earnings)) if is_main else (),
            excluded=tuple(ExcludedTraffic(*item) for item in self.usage.excluded.items()),
            decoys=DecoyLevel(self.decoys, share.generic_ppt, share.share_ppt - share.generic_ppt),
            changes=changes_since(self._before(), self.facts, payee_id, self.usage, self.currency),
            notes=(
                *notes_on_claims(self.plan, told),
                *(() if is_main else notes_on_pools(self.plan.pools, earnings, self.currency)),
                *notes_on_money(self.view, payee_id, earnings, issued),
            ),
            unrecouped_opening_units=sum(e.opening.unrecouped_units for e in earnings),
            unrecouped_closing_units=sum(e.closing.unrecouped_units for e in earnings),
            reserves=reserves_of(earnings),
            carried_since=account.carried_since,
            year_to_date=account.year_to_date,
            history=history_of(self.earlier, payee_id, own),
            entries=account.entries,
            checkpoint=checkpoint_ref(self.view),
            ledger_closing_units=account.closing_units,
            previous_closing_units=account.opening_units if self.earlier else None,
            inputs=self.inputs,
            held=self._held(payee_id),
        )

    def _held(self, payee_id: str) -> str:
        """Say why nothing is sent to a payee, and where in the log that stands."""
        one = self.view.holds.get(payee_id)
        return "" if one is None else f"{one.reason} (place {one.ledger_seq} of the log)"

    def _works(
        self, creators: Sequence[str], earnings: Sequence[Earnings], currency: str
    ) -> tuple[WorkLine, ...]:
        if currency == self.currency:
            return self.works.lines(self.agreements, creators, earnings)
        return tuple(
            line
            for e in earnings
            for line in shown_in(
                self.works.lines(self.agreements, (), [e]),
                self.plan.given[e.agreement_id],
                self.currency,
                currency,
            )
        )

    def _header(
        self,
        payee_id: str,
        creators: Sequence[str],
        earnings: Sequence[Earnings],
        currency: str,
    ) -> StatementHeader:
        terms = self.workspace.settings.statement
        end = self.period.end
        return StatementHeader(
            statement_number=number_of(self.period.text, payee_id, currency, self.currency),
            period=self.period.text,
            period_start=self.period.start.isoformat(),
            period_end=end.isoformat(),
            statement_date=end.isoformat(),
            party_id=creators[0] if len(creators) == 1 else payee_id,
            payee_id=payee_id,
            payer_id=self.workspace.settings.pool.payer,
            payer_name=terms.payer_name,
            currency=currency,
            agreements=tuple(f"{e.agreement_id} v{e.version}" for e in earnings),
            method=self.plan.apportionment.rule,
            attribution_method="influence along the training path",
            model_versions=self.facts.model_versions,
            run_ids=self.runs,
            due_date=(end + timedelta(days=terms.due_days)).isoformat(),
            dispute_deadline=(end + timedelta(days=terms.dispute_days)).isoformat(),
            contact=terms.contact,
        )

    def _facts(self, versions: tuple[str, ...]) -> PeriodFacts:
        payees = {}
        for payee_id, creators in self.payees.items():
            share = self._share(creators)
            claims = [claim for creator in creators for claim in self.claims[creator]]
            payees[payee_id] = PayeeFacts(
                share.share_ppt,
                share.low_ppt,
                share.high_ppt,
                self._paid(claims),
                tuple(f"{e.agreement_id} v{e.version}" for e in self.earnings[payee_id]),
            )
        return PeriodFacts(
            self.period.text,
            self.plan.apportionment.pool_units,
            self._rate_ppm(),
            self.plan.apportionment.rule,
            self.usage.payable,
            self.usage.sampled,
            versions,
            payees,
        )

    def _share(self, creators: Sequence[str]) -> CreatorShare:
        return CreatorShare.total([self.shares[c] for c in creators if c in self.shares])

    def _paid(self, claims: Sequence[Claim]) -> int:
        return sum(
            self.payable.get(claim_id(claim), 0)
            for claim in claims
            if claim.standing is Standing.LICENSED
        )

    def _pools(self, paid: int, earnings: Sequence[Earnings]) -> Iterator[PoolReconciliation]:
        """Show the main pool, and every pool that fees paid into and the payee takes part in."""
        yield replace(self.pool, mine_units=paid)
        for pool in self.plan.pools[1:]:
            mine = sum(pool.units_of(e.agreement_id) for e in earnings)
            if mine:
                rest = {name: units for name, units in pool.destinations.items() if units}
                divided = {"paid": pool.pool_units - sum(rest.values()), **rest}
                yield PoolReconciliation(
                    pool.pool_id, self.period.text, pool.pool_units, divided, mine, pool.rule
                )

    def _before(self) -> PeriodFacts | None:
        return self.earlier[-1] if self.earlier else None

    def _rate_ppm(self) -> int:
        return self.workspace.settings.pool.rate_ppm


def payees_of(
    plan: ClosePlan, book: AgreementBook, catalogue: Catalogue
) -> dict[str, tuple[str, ...]]:
    """Name every payee of a period with his creators.

    A payee is whoever is paid under an agreement and, with a statement of nothing, whoever owns
    a work and is not under contract.
    """
    end = Period(plan.accruals.period).end
    payee_of: dict[str, str] = {}
    payees: dict[str, set[str]] = defaultdict(set)
    for work in catalogue.works.values():
        for creator in work.shares_on(end):
            if creator not in payee_of:
                payee_of[creator] = book.payee_of(creator, end)
            payees[payee_of[creator]].add(creator)
    for result in plan.earnings:
        payees[result.payee_id].add(result.licensor)
    return {payee_id: tuple(sorted(payees[payee_id])) for payee_id in sorted(payees)}


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


def model_versions(plan: ClosePlan) -> tuple[str, ...]:
    """Name the model versions whose outputs the period's nights logged."""
    versions: set[str] = set()
    for accrual in plan.accruals.nights:
        column = pl.scan_parquet(accrual.night.outputs).select("model_version").unique()
        versions |= {str(value) for value in column.collect()["model_version"] if value}
    return tuple(sorted(versions))


def decoys_of(plan: ClosePlan) -> int:
    """Count the decoys that the period's nights were held against."""
    return max((int(a.manifest["decoy"]["documents"]) for a in plan.accruals.nights), default=0)


def _runs(plan: ClosePlan) -> tuple[str, ...]:
    return tuple(
        f"{accrual.night.name}:{sha256_file(accrual.night.manifest('influence'))[:12]}"
        for accrual in plan.accruals.nights
    )
