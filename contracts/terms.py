"""The parts of an agreement: what a term pays, and what happens to the money on its way.

Each part checks only itself; what must hold between parts is checked in `agreement`.

1. Parts of a whole (release schedules) add up to exactly 1.
2. Amounts are units of the agreement's currency, except the payment threshold, which is in the
   currency of payment.
3. A part that an agreement does not have is None or empty, and the statement says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fractions import Fraction

from contracts.errors import AgreementError
from contracts.identifier import check_id
from contracts.money import Currency
from contracts.period import Period
from contracts.rate import Tiers
from contracts.split import split
from contracts.usage import ANY_USAGE, Condition


class Basis(StrEnum):
    """What a term's rate is applied to."""

    POOL_SHARE = "pool_share"
    EQUAL_PER_WORK = "equal_per_work"
    PER_OUTPUT = "per_output"
    PER_TOKEN = "per_token"  # noqa: S105 - a unit of text, not a secret
    FLAT = "flat"


POOL_BASES = frozenset({Basis.POOL_SHARE, Basis.EQUAL_PER_WORK})


@dataclass(frozen=True, slots=True)
class Deduction:
    """One named deduction; deductions are never lumped together.

    Args:
        name: as the statement prints it.
        rate: part of the royalty before deductions; 0 if the deduction is an amount.
        amount_units: fixed amount a period; 0 if the deduction is a rate.
    """

    name: str
    rate: Fraction = Fraction(0)
    amount_units: int = 0

    def __post_init__(self) -> None:
        """Check that it is a rate or an amount.

        Raises:
            AgreementError: both or neither, or out of range.
        """
        if not self.name.strip():
            raise AgreementError("a deduction must have a name; unnamed deductions are not made")
        if bool(self.rate) == bool(self.amount_units):
            raise AgreementError(f"deduction {self.name} must have either a rate or an amount")
        if not 0 <= self.rate <= 1 or self.amount_units < 0:
            raise AgreementError(
                f"deduction {self.name} must lie between 0 and the whole royalty, got rate "
                f"{self.rate}, amount {self.amount_units} units"
            )


@dataclass(frozen=True, slots=True)
class Reserve:
    """A part of each period's royalty held back and released later.

    Args:
        rate: the part held back, above 0 and below 1.
        release: the part of it released one, two, ... periods later; adds up to 1.
    """

    rate: Fraction
    release: tuple[Fraction, ...]

    def __post_init__(self) -> None:
        """Check that everything held is released.

        Raises:
            AgreementError: the rate is out of range, or the schedule does not add up to 1.
        """
        if not 0 < self.rate < 1:
            raise AgreementError(f"reserve rate must lie between 0 and 1, got {self.rate}")
        total = sum(self.release, Fraction(0))
        if total != 1 or any(part < 0 for part in self.release):
            raise AgreementError(
                f"reserve release schedule must add up to 1, got {total}; what is held back "
                f"belongs to the licensor and all of it is released"
            )


@dataclass(frozen=True, slots=True)
class FlatFee:
    """A fixed fee, earned in equal parts over a number of periods.

    Args:
        amount_units: the whole fee.
        first: the first period that earns a part.
        periods: how many periods it is spread over.
    """

    amount_units: int
    first: Period
    periods: int = 1

    def __post_init__(self) -> None:
        """Check amount and length.

        Raises:
            AgreementError: not positive.
        """
        if self.amount_units <= 0 or self.periods < 1:
            raise AgreementError(
                f"a flat fee needs a positive amount over at least one period, got "
                f"{self.amount_units} units over {self.periods}"
            )

    def earned_in(self, period: Period) -> int:
        """Return the part of the fee that a period earns; all parts add up to the fee."""
        position = period.months_since(self.first)
        if not 0 <= position < self.periods:
            return 0
        return split(self.amount_units, [Fraction(1, self.periods)] * self.periods)[position]


@dataclass(frozen=True, slots=True)
class Term:
    """IF a use is covered THEN a basis at a rate.

    Args:
        term_id: id within the agreement.
        basis: what the rate is applied to.
        rate: part of the apportioned pool amount, or units of money per output or token. Unused
            for flat fees and where there are tiers.
        condition: which usage is covered.
        pool_id: the pool, for pool bases; empty otherwise.
        method: the apportionment rule, for pool_share.
        tiers: steps of the rate by a running count.
        deductions: named deductions, in the order printed.
        cap_units: most a period can earn at 100 % of the works; None for no cap.
        cap_per_work_units: most one work can earn in a period; None for no cap.
        floor_units: least a period earns while the term is in force.
        flat: the fee, for basis flat.
        reserve: what is held back; None for nothing.
    """

    term_id: str
    basis: Basis
    rate: Fraction = Fraction(1)
    condition: Condition = ANY_USAGE
    pool_id: str = ""
    method: str = "signed_linear/1"
    tiers: Tiers | None = None
    deductions: tuple[Deduction, ...] = ()
    cap_units: int | None = None
    cap_per_work_units: int | None = None
    floor_units: int = 0
    flat: FlatFee | None = None
    reserve: Reserve | None = None

    def __post_init__(self) -> None:
        """Check that the fields fit the basis.

        Raises:
            AgreementError: a field is missing for the basis, or given for one that ignores it.
        """
        check_id("term_id", self.term_id)
        is_pool = self.basis in POOL_BASES
        if is_pool and not self.pool_id:
            raise AgreementError(f"term {self.term_id} has basis {self.basis} and needs a pool")
        if self.pool_id and not is_pool:
            raise AgreementError(f"term {self.term_id} has basis {self.basis}, which has no pool")
        if (self.basis is Basis.FLAT) != (self.flat is not None):
            raise AgreementError(
                f"term {self.term_id}: basis flat and an amount with periods go together"
            )
        if is_pool and self.tiers is None and not 0 <= self.rate <= 1:
            raise AgreementError(
                f"term {self.term_id} takes {self.rate} of a pool; a part lies between 0 and 1"
            )
        if self.basis is Basis.FLAT and self.tiers is not None:
            raise AgreementError(f"term {self.term_id} is a flat fee and cannot have tiers")
        limits = (self.cap_units, self.cap_per_work_units)
        if any(limit is not None and limit < 0 for limit in limits) or self.floor_units < 0:
            raise AgreementError(f"term {self.term_id}: caps and floors must not be negative")
        if self.cap_units is not None and self.floor_units > self.cap_units:
            raise AgreementError(
                f"term {self.term_id} has a floor of {self.floor_units} above its cap of "
                f"{self.cap_units} units"
            )


@dataclass(frozen=True, slots=True)
class Advance:
    """Money paid ahead of royalties and recouped from them.

    Args:
        advance_id: id within the agreement.
        amount_units: what was paid.
        paid_on: when.
    """

    advance_id: str
    amount_units: int
    paid_on: date

    def __post_init__(self) -> None:
        """Check id and amount.

        Raises:
            AgreementError: the amount is not positive.
        """
        check_id("advance_id", self.advance_id)
        if self.amount_units <= 0:
            raise AgreementError(
                f"advance {self.advance_id} must be positive, got {self.amount_units} units"
            )


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What an agreement year pays at least; the difference is topped up in its last period.

    Args:
        amount_units: the minimum of a full agreement year.
        prorated: whether a last year cut short guarantees only its months.
    """

    amount_units: int
    prorated: bool = False

    def __post_init__(self) -> None:
        """Check the amount.

        Raises:
            AgreementError: the amount is not positive.
        """
        if self.amount_units <= 0:
            raise AgreementError(
                f"a minimum guarantee must be positive, got {self.amount_units} units"
            )


@dataclass(frozen=True, slots=True)
class Withholding:
    """Tax the payer keeps back for the licensor's or the source country.

    Args:
        country: the country whose tax it is, ISO 3166-1 alpha-2.
        rate: the rate without a certificate.
        treaty_rate: the rate while a certificate is valid.
        article: the treaty article, as the statement prints it.
        certificate: the certificate's number or digest; empty for none.
        certificate_from: first day it is valid.
        certificate_to: last day it is valid.
    """

    country: str
    rate: Fraction
    treaty_rate: Fraction | None = None
    article: str = ""
    certificate: str = ""
    certificate_from: date | None = None
    certificate_to: date | None = None

    def __post_init__(self) -> None:
        """Check the rates and that a treaty rate has a certificate with dates.

        Raises:
            AgreementError: a rate is out of range or the certificate is incomplete.
        """
        if not 0 <= self.rate < 1 or not 0 <= (self.treaty_rate or 0) < 1:
            raise AgreementError(f"withholding rate for {self.country} must lie between 0 and 1")
        complete = self.certificate and self.certificate_from and self.certificate_to
        if self.treaty_rate is not None and not complete:
            raise AgreementError(
                f"the treaty rate for {self.country} needs a certificate with its first and last "
                f"day; until it is there the full rate applies"
            )

    def rate_on(self, day: date) -> tuple[Fraction, str]:
        """Return the rate on a payment date, and the reason for it."""
        if self.treaty_rate is not None and self.certificate_from and self.certificate_to:
            if self.certificate_from <= day <= self.certificate_to:
                return self.treaty_rate, f"{self.article}, certificate {self.certificate}"
            return self.rate, f"certificate {self.certificate} not valid on {day}"
        return self.rate, "no certificate"


@dataclass(frozen=True, slots=True)
class IndirectTax:
    """VAT or GST added on a self-billed statement.

    Args:
        name: as printed, such as VAT SE.
        rate: the rate; 0 under reverse charge.
    """

    name: str
    rate: Fraction

    def __post_init__(self) -> None:
        """Check the rate.

        Raises:
            AgreementError: out of range.
        """
        if not 0 <= self.rate < 1:
            raise AgreementError(f"{self.name} rate must lie between 0 and 1, got {self.rate}")


@dataclass(frozen=True, slots=True)
class Payment:
    """How the net is paid.

    Args:
        currency: the currency of payment, CODE/SCALE.
        threshold_units: the least that is paid out, in that currency; less is carried forward.
    """

    currency: str
    threshold_units: int = 0

    def __post_init__(self) -> None:
        """Check currency and threshold.

        Raises:
            MoneyError: the currency is not CODE/SCALE.
            AgreementError: the threshold is negative.
        """
        Currency.parse(self.currency)
        if self.threshold_units < 0:
            raise AgreementError(
                f"a payment threshold must not be negative, got {self.threshold_units} units"
            )
