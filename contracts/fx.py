"""Exchange rates by date, each with the source that published it.

1. A rate is an exact fraction of whole currencies: 1 USD = 0.93 EUR.
2. The rate of a date is the last one published on or before it, at most a stated number of days
   old. A rate is never turned round or chained unless a caller says so.
3. Converting rounds once, half to even, to units of the target's scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from contracts.errors import MissingRateError, MoneyError
from contracts.money import Currency, round_half_even

AGE_DAYS_MAX = 7


@dataclass(frozen=True, order=True, slots=True)
class FxRate:
    """What one whole unit of one currency was worth in another.

    Args:
        from_code: the currency converted from, such as USD.
        to_code: the currency converted to.
        rate_on: the day of the rate.
        rate: to_code per one from_code, above 0.
        source: who published it, with the document or series.
    """

    from_code: str
    to_code: str
    rate_on: date
    rate: Fraction
    source: str

    def __post_init__(self) -> None:
        """Check rate and source.

        Raises:
            MoneyError: the rate is not positive, or nobody is named as its source.
        """
        if self.rate <= 0 or not self.source.strip():
            raise MoneyError(
                f"rate {self.from_code} to {self.to_code} on {self.rate_on} must be positive and "
                f"have a source, got {self.rate} from {self.source!r}"
            )


class FxTable:
    """Rates by pair and date.

    Args:
        rates: the rates; of two for one pair and day from different sources, the one whose source
            sorts first is used, so that the order of import changes nothing.
    """

    def __init__(self, rates: Iterable[FxRate] = ()) -> None:
        self._rates: dict[tuple[str, str, date], FxRate] = {}
        for rate in sorted(rates):
            key = (rate.from_code, rate.to_code, rate.rate_on)
            known = self._rates.get(key)
            if known is None or rate.source < known.source:
                self._rates[key] = rate

    def rate_on(self, from_code: str, to_code: str, day: date) -> FxRate:
        """Return the last rate published on or before a day.

        Raises:
            MissingRateError: there is none in the days before, up to AGE_DAYS_MAX.
        """
        if from_code == to_code:
            return FxRate(from_code, to_code, day, Fraction(1), "same currency")
        for age_days in range(AGE_DAYS_MAX + 1):
            found = self._rates.get((from_code, to_code, day - timedelta(days=age_days)))
            if found is not None:
                return found
        raise MissingRateError(from_code, to_code, day.isoformat(), AGE_DAYS_MAX)


def exact_value(
    amount_units: int, from_currency: str, to_currency: str, rate: Fraction
) -> Fraction:
    """Give what units of one currency come to in units of another, before any rounding.

    >>> exact_value(1_234, "USD/6", "EUR/2", Fraction(93, 100))
    Fraction(57381, 500000)
    """
    scale_from = Currency.parse(from_currency).units_per_whole
    scale_to = Currency.parse(to_currency).units_per_whole
    return Fraction(amount_units, scale_from) * rate * scale_to


def convert(amount_units: int, from_currency: str, to_currency: str, rate: Fraction) -> int:
    """Convert units of one currency to units of another.

    Args:
        amount_units: units of the first currency.
        from_currency: CODE/SCALE.
        to_currency: CODE/SCALE.
        rate: whole units of the second per whole unit of the first.

    Returns:
        Units of the second currency, rounded once, half to even.

    >>> convert(1_000_000, "USD/6", "EUR/2", Fraction(93, 100))
    93
    """
    return round_half_even(exact_value(amount_units, from_currency, to_currency, rate))
