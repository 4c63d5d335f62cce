"""Agreements: effective-dated, versioned, signed, never changed in place.

1. An agreement is a chain of versions. A version holds from its first day up to, and not
   including, its last, and until a higher version begins, which takes its place from then on:
   the earlier text needs no change to be ended.
2. On one day one version is in force, or none. A later version never changes what an earlier
   one said about a day before the later one begins.
3. Of the terms that cover a usage the most specific one applies, and among equals the first
   written. Terms on pools are looked up by pool.
4. An agreement covers the works it lists, or with * all works its licensor has a share of.
5. Only an agreement creates money owed. Drafts of imported offers are not agreements: they are
   kept apart until a person approves them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from contracts.accrual import NOISE_Z, Reliability
from contracts.apportionment import RULES
from contracts.errors import AgreementError
from contracts.identifier import check_id
from contracts.money import Currency
from contracts.party import Party
from contracts.period import Period
from contracts.terms import (
    POOL_BASES,
    Advance,
    Basis,
    Guarantee,
    IndirectTax,
    Payment,
    Term,
    Withholding,
)
from contracts.usage import Usage
from contracts.work import Work

ALL_WORKS = "*"
_MONTHS = 12


@dataclass(frozen=True, slots=True)
class Agreement:
    """One version of one agreement.

    Args:
        agreement_id: id of the chain of versions.
        version: 1, 2, ...
        licensor: the party that owns the rights.
        licensee: the party that uses the works and pays.
        payee_id: who receives the money.
        currency: the currency of all amounts, CODE/SCALE.
        effective_from: first day in force.
        effective_to: first day no longer in force; None for no end.
        works: work ids, or ("*",) for all works of the licensor.
        terms: what is paid for which use.
        advances: money paid ahead.
        recoupment_rate: the part of royalties that recoups advances.
        guarantee: the least an agreement year pays; None for none.
        noise_z: standard errors of the noise floor; None switches it off.
        reliability: what happens when attribution is too noisy; None for attribution alone.
        fixed_weight: the licensor's weight where a fallback divides by fixed weights.
        collateral_group: agreements of one payee with the same group are cross-collateralised.
        withholding: tax kept back; None for none.
        indirect_tax: VAT or GST on self-billed statements; None for none.
        payment: currency of payment and threshold; None means this currency, no threshold.
        year_starts: first day of the first agreement year; None means effective_from. A later
            version names the first version's day, so that years go on unbroken.
        payload: the text the agreement was read from; empty if built in code.
        payload_sha256: digest of that text.
        signer: the name of the key that signed; empty if not signed.
        signature: Ed25519 signature, base64.
    """

    agreement_id: str
    version: int
    licensor: str
    licensee: str
    effective_from: date
    terms: tuple[Term, ...]
    currency: str = "USD/6"
    effective_to: date | None = None
    payee_id: str = ""
    works: tuple[str, ...] = (ALL_WORKS,)
    advances: tuple[Advance, ...] = ()
    recoupment_rate: Fraction = Fraction(1)
    guarantee: Guarantee | None = None
    noise_z: Fraction | None = NOISE_Z
    reliability: Reliability | None = None
    fixed_weight: int = 0
    collateral_group: str = ""
    withholding: Withholding | None = None
    indirect_tax: IndirectTax | None = None
    payment: Payment | None = None
    year_starts: date | None = None
    payload: str = field(default="", repr=False)
    payload_sha256: str = ""
    signer: str = ""
    signature: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Check what must hold between the parts.

        Raises:
            AgreementError: versions, dates, works or terms contradict each other.
            IdentifierError: an id has characters outside the allowed ones.
            MoneyError: the currency is not CODE/SCALE.
        """
        for what, text in (
            ("agreement_id", self.agreement_id),
            ("licensor", self.licensor),
            ("licensee", self.licensee),
        ):
            check_id(what, text)
        if not self.payee_id:
            object.__setattr__(self, "payee_id", self.licensor)
        check_id("payee_id", self.payee_id)
        Currency.parse(self.currency)
        if self.version < 1:
            raise AgreementError(f"{self.name} must have a version of at least 1")
        if self.effective_to is not None and self.effective_to <= self.effective_from:
            raise AgreementError(
                f"{self.name} ends {self.effective_to}, not after it begins "
                f"{self.effective_from}; effective_to is the first day no longer in force"
            )
        if not self.works or (ALL_WORKS in self.works and len(self.works) > 1):
            raise AgreementError(f"{self.name} must list its works, or '*' alone for all of them")
        if not 0 < self.recoupment_rate <= 1:
            raise AgreementError(
                f"{self.name}: the recoupment rate must be above 0 and at most 1, got "
                f"{self.recoupment_rate}"
            )
        self._check_terms()

    def _check_terms(self) -> None:
        """Refuse terms that cannot stand beside each other."""
        if not self.terms:
            raise AgreementError(f"{self.name} has no term, so nothing says what a use is worth")
        ids = [term.term_id for term in self.terms]
        pools = [
            (term.pool_id, c.works, c.territories, c.model_versions)
            for term in self.terms
            if term.pool_id and (c := term.condition)
        ]
        if len(set(ids)) < len(ids):
            raise AgreementError(f"{self.name} uses a term_id twice: {', '.join(ids)}")
        if len(set(pools)) < len(pools):
            raise AgreementError(
                f"{self.name} has two terms on the same pool for the same works, territories and "
                f"model versions; its share of that pool would be paid twice. Keep one of them"
            )
        for term in self.terms:
            if term.basis is Basis.POOL_SHARE and term.method not in RULES:
                raise AgreementError(
                    f"{self.name}, term {term.term_id}: apportionment rule {term.method!r} is not "
                    f"known; known rules are {', '.join(sorted(RULES))}"
                )

    @property
    def name(self) -> str:
        """The agreement as errors and statements cite it."""
        return f"agreement {self.agreement_id} v{self.version}"

    @property
    def advance_units(self) -> int:
        """The sum of all advances of this version."""
        return sum(advance.amount_units for advance in self.advances)

    @property
    def threshold_units(self) -> int:
        """The payment threshold, in units of the payment currency."""
        return self.payment.threshold_units if self.payment else 0

    @property
    def payment_currency(self) -> str:
        """The currency of payment, the agreement's own unless it names another."""
        return self.payment.currency if self.payment else self.currency

    def in_force_on(self, day: date) -> bool:
        """Say whether this version is in force on a day."""
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)

    def in_force_in(self, period: Period) -> bool:
        """Say whether this version is in force on at least one day of a period."""
        return self.effective_from <= period.end and (
            self.effective_to is None or period.start < self.effective_to
        )

    def covers_work(self, work_id: str) -> bool:
        """Say whether a work of the licensor is under this agreement."""
        return self.works == (ALL_WORKS,) or work_id in self.works

    def term_for(self, usage: Usage) -> Term | None:
        """Return the most specific term on usage (not on pools) that covers a usage, or None."""
        terms = [
            term
            for term in self.terms
            if term.basis in (Basis.PER_OUTPUT, Basis.PER_TOKEN) and term.condition.covers(usage)
        ]
        return max(terms, key=lambda term: term.condition.specificity, default=None)

    def terms_on_pool(self, pool_id: str) -> tuple[Term, ...]:
        """Return the terms that take part in a pool."""
        return tuple(t for t in self.terms if t.basis in POOL_BASES and t.pool_id == pool_id)

    def pool_term_for(
        self, pool_id: str, work_id: str, model_version: str = "*", territory: str = "*"
    ) -> Term | None:
        """Return the term under which a use of a work takes part in a pool, or None.

        Of the terms on the pool that cover work, model version and territory, the most specific
        one; a fact not known (*) meets no narrower term.
        """
        terms = [
            term
            for term in self.terms_on_pool(pool_id)
            if term.condition.covers_cell(work_id, model_version, territory)
        ]
        return max(terms, key=lambda term: term.condition.specificity, default=None)

    def cuts_pool(self, pool_id: str) -> bool:
        """Say whether a term on a pool holds for some territories or model versions only."""
        return any(
            term.condition.territories or term.condition.model_versions
            for term in self.terms_on_pool(pool_id)
        )

    def advances_paid_in(self, period: Period) -> tuple[Advance, ...]:
        """Return the advances that were paid in a period."""
        return tuple(advance for advance in self.advances if period.contains(advance.paid_on))

    def year_of(self, period: Period) -> int:
        """Return the number of the agreement year a period lies in, from 0."""
        first = Period.of(self.year_starts or self.effective_from)
        return period.months_since(first) // _MONTHS

    def is_first_of_year(self, period: Period) -> bool:
        """Say whether a period begins an agreement year."""
        first = Period.of(self.year_starts or self.effective_from)
        return period.months_since(first) % _MONTHS == 0

    def is_last_of_year(self, period: Period) -> bool:
        """Say whether a period ends an agreement year, or the agreement itself."""
        if self.effective_to is not None and not self.in_force_in(period.next()):
            return self.in_force_in(period)
        return self.is_first_of_year(period.next())

    def months_of_year(self, period: Period) -> int:
        """Return how many periods of the agreement year up to a period are under agreement."""
        first = Period.of(self.year_starts or self.effective_from)
        return period.months_since(first) % _MONTHS + 1


@dataclass(frozen=True)
class AgreementBook:
    """Every version of every agreement, with the parties and works they name.

    Args:
        agreements: all versions, by agreement and version.
        parties: parties by party id.
        works: works the agreement files themselves declare, by work id; often empty, since the
            catalogue has them.
    """

    agreements: tuple[Agreement, ...] = ()
    parties: Mapping[str, Party] = field(default_factory=dict)
    works: Mapping[str, Work] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put the versions in order and check that none is there twice.

        Raises:
            AgreementError: a version is there twice.
        """
        in_order = sorted(self.agreements, key=lambda a: (a.agreement_id, a.version))
        object.__setattr__(self, "agreements", tuple(in_order))
        for earlier, later in pairwise(in_order):
            if (earlier.agreement_id, earlier.version) == (later.agreement_id, later.version):
                raise AgreementError(
                    f"{later.name} is there twice; give the later one a new version"
                )

    @cached_property
    def _by_licensor(self) -> dict[str, list[Agreement]]:
        """All versions by licensor."""
        by_licensor: dict[str, list[Agreement]] = defaultdict(list)
        for agreement in self.agreements:
            by_licensor[agreement.licensor].append(agreement)
        return by_licensor

    @cached_property
    def _superseded_on(self) -> dict[tuple[str, int], date]:
        """The first day a higher version of the same agreement holds, by id and version."""
        superseded: dict[tuple[str, int], date] = {}
        for higher, lower in pairwise(reversed(self.agreements)):
            if higher.agreement_id == lower.agreement_id:
                known = superseded.get((higher.agreement_id, higher.version), date.max)
                key = (lower.agreement_id, lower.version)
                superseded[key] = min(higher.effective_from, known)
        return superseded

    def holds_on(self, agreement: Agreement, day: date) -> bool:
        """Say whether a version holds on a day, no higher version having taken its place."""
        until = self._superseded_on.get((agreement.agreement_id, agreement.version), date.max)
        return agreement.in_force_on(day) and day < until

    def superseded_on(self, agreement: Agreement) -> date | None:
        """Return the first day a higher version takes a version's place, or None."""
        return self._superseded_on.get((agreement.agreement_id, agreement.version))

    @cached_property
    def licensors(self) -> tuple[str, ...]:
        """All parties that license something, sorted."""
        return tuple(sorted(self._by_licensor))

    def in_force(self, agreement_id: str, day: date) -> Agreement | None:
        """Return the version of an agreement in force on a day, or None."""
        for agreement in self.agreements:
            if agreement.agreement_id == agreement_id and self.holds_on(agreement, day):
                return agreement
        return None

    def for_party(self, party_id: str, day: date) -> tuple[Agreement, ...]:
        """Return the versions in force on a day with a licensor, by agreement id."""
        return tuple(a for a in self._by_licensor.get(party_id, []) if self.holds_on(a, day))

    def for_period(self, party_id: str, period: Period) -> tuple[Agreement, ...]:
        """Return, per agreement, the version that settles a period: the last to hold in it."""
        last: dict[str, Agreement] = {}
        for agreement in self._by_licensor.get(party_id, []):
            until = self._superseded_on.get((agreement.agreement_id, agreement.version), date.max)
            if agreement.in_force_in(period) and period.start < until:
                last[agreement.agreement_id] = agreement
        return tuple(last.values())

    def to_settle(self, period: Period) -> tuple[Agreement, ...]:
        """Return, per agreement, the version a period is settled under, ended ones included.

        An agreement that is over earns nothing, but its reserves are still released and its
        balances still paid, so it is settled as long as it has any.

        Returns:
            Versions by agreement id: the last to have begun by the end of the period.
        """
        begun = [a for a in self.agreements if a.effective_from <= period.end]
        return tuple({agreement.agreement_id: agreement for agreement in begun}.values())

    def covering(self, party_id: str, work_id: str, day: date) -> Agreement | None:
        """Return the agreement under which a party's share of a work is licensed on a day.

        An agreement that lists the work goes before one for all works of the licensor; among
        equals the first by id.

        Returns:
            The version in force, or None: the share is unlicensed.
        """
        return next(iter(self.covering_all(party_id, work_id, day)), None)

    def covering_all(self, party_id: str, work_id: str, day: date) -> tuple[Agreement, ...]:
        """Return the agreements that may license a party's share of a work on a day, by id.

        Where one lists the work, those for all works of the licensor do not.
        """
        found = [a for a in self.for_party(party_id, day) if a.covers_work(work_id)]
        listing = tuple(a for a in found if a.works != (ALL_WORKS,))
        return listing or tuple(found)

    def cuts_pool(self, pool_id: str) -> bool:
        """Say whether any term on a pool holds for some territories or model versions only."""
        return pool_id in self._cut_pools

    @cached_property
    def _cut_pools(self) -> frozenset[str]:
        """The pools with a term for some territories or model versions only."""
        return frozenset(
            term.pool_id
            for agreement in self.agreements
            for term in agreement.terms
            if term.pool_id and (term.condition.territories or term.condition.model_versions)
        )

    def is_licensed(self, party_id: str, day: date) -> bool:
        """Say whether any agreement with a party is in force on a day."""
        return bool(self.for_party(party_id, day))

    def payee_of(self, party_id: str, day: date) -> str:
        """Return who is paid for a party: by its agreement, its own record, or itself."""
        for agreement in self.for_party(party_id, day):
            return agreement.payee_id
        party = self.parties.get(party_id)
        return party.payee_id if party else party_id
