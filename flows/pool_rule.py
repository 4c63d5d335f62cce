"""By which rule the pool that revenue pays into is divided: the one that the terms on it name.

1. In one period a pool has one rule. Agreements that name two are refused, whichever is right.
2. A pool on which nobody has a term is divided by `signed_linear/1`.
3. A pool that fees pay into has its rule in `pools.json`; a term that names another is refused,
   for the period that is being closed and with effect backwards for a closed one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date as Date  # noqa: N812 - as everywhere in this room

from contracts.agreement import Agreement, AgreementBook
from contracts.apportionment import SIGNED_LINEAR
from contracts.period import Period
from contracts.terms import Basis
from flows.errors import CloseError
from flows.period_files import EQUAL_PER_WORK

DEFAULT_METHOD = SIGNED_LINEAR.name


def rule_of_pool(book: AgreementBook, pool_id: str, period: Period) -> str:
    """Give the one rule of the main pool in a period.

    Args:
        book: the agreements to go by.
        pool_id: the pool.
        period: the period.

    Raises:
        CloseError: two agreements that take part name two rules.
    """
    methods = dict(_named(book.to_settle(period), pool_id, period))
    if len(methods) > 1:
        named = "; ".join(f"{name} says {method}" for method, name in sorted(methods.items()))
        raise CloseError(
            f"pool {pool_id} cannot be divided by two rules at once in {period}: {named}. Nothing "
            f"was closed; agree on one rule for the pool"
        )
    return next(iter(methods), DEFAULT_METHOD)


def check_division(book: AgreementBook, pool_id: str, division: str, period: Period) -> None:
    """Refuse a term by influence on a pool of fees that is divided by another rule.

    Args:
        book: the agreements to go by.
        pool_id: the pool.
        division: the rule that `pools.json` says.
        period: the period.

    Raises:
        CloseError: a term on the pool names another rule.
    """
    for method, name in _named(book.to_settle(period), pool_id, period):
        if method != division:
            raise CloseError(
                f"pool {pool_id} is divided by {division} according to pools.json, and {name} "
                f"takes part in it by {method}; nothing was closed. Write the same rule in both: "
                f"`method:` in the agreement, `division` in pools.json"
            )


def check_closed(book: AgreementBook, rules: Mapping[str, str], period: Period) -> None:
    """Refuse a term with effect backwards on a pool of fees that was divided by another rule.

    Args:
        book: the agreements as they are now.
        rules: the rule of each pool of fees, as the closed period was divided.
        period: the closed period.

    Raises:
        CloseError: a term on a pool by influence names another rule.
    """
    for pool_id, rule in rules.items():
        for method, name in _named(book.to_settle(period), pool_id, period):
            if method != rule != EQUAL_PER_WORK:
                raise CloseError(
                    f"{name} takes part in pool {pool_id} by {method} in {period}, which is closed "
                    f"and was divided by {rule} according to pools.json; nothing was closed. Sign "
                    f"a version that names {rule} for {period}; for another rule from an open "
                    f"period on, write a pool of its own in pools.json"
                )


def names_rule(book: AgreementBook, method: str, day: Date) -> bool:
    """Say whether an agreement in force on a day divides a pool by a rule."""
    naming = (a for a in book.agreements if any(t.method == method for t in a.terms))
    return any(book.holds_on(agreement, day) for agreement in naming)


def _named(
    agreements: Iterable[Agreement], pool_id: str, period: Period
) -> Iterator[tuple[str, str]]:
    """Give the rules that terms on a pool name, each with an agreement that does."""
    for agreement in agreements:
        if agreement.in_force_in(period):
            for term in agreement.terms_on_pool(pool_id):
                if term.basis is Basis.POOL_SHARE:
                    yield term.method, agreement.name
