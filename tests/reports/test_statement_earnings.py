"""The calculation of an agreement arrives on the statement with its working and its sums."""

from datetime import date
from fractions import Fraction

from contracts.agreement import Agreement
from contracts.balances import Balances
from contracts.earnings import EarningInputs, compute_earnings
from contracts.period import Period
from contracts.pool_amount import PoolAmount
from contracts.terms import Basis, Reserve, Term
from reports.statement import build_statement
from reports.statement_earnings import movements_of, working_of
from reports.statement_inputs import StatementInputs
from tests.reports.example import header, work


def earnings():
    """100 dollars from a pool, 10 % reserve, an advance of 30 unrecouped."""
    term = Term(
        "pool", Basis.POOL_SHARE, pool_id="p", reserve=Reserve(Fraction(1, 10), (Fraction(1),))
    )
    agreement = Agreement("agr", 1, "numkit", "org", date(2026, 1, 1), (term,), payee_id="numkit")
    return compute_earnings(
        agreement,
        Period("2026-11"),
        EarningInputs(
            pools=(PoolAmount("p", 500_000_000, 100_000_000),),
            opening=Balances(unrecouped_units=30_000_000),
        ),
    )


def test_movements_add_up_to_the_net_of_the_calculation():
    """The account summary moves by exactly what the fifteen lines come to."""
    made = earnings()
    moves = movements_of(made)
    assert sum(move.amount_units for move in moves) == made.net_units == 60_000_000
    statement = build_statement(
        StatementInputs(
            header=header(),
            movements=moves,
            works=(work("w", "2026-11", made.royalty_units, 2 * 10**11),),
            working=working_of(made.lines),
        )
    )
    assert statement.payable_units == 60_000_000


def test_the_working_keeps_the_order_and_names_what_is_absent():
    """Steps come in the fixed order; the ones the agreement lacks are said, not skipped."""
    lines = working_of(earnings().lines)
    steps = [line.label for line in lines if not line.detail]
    assert steps == sorted(steps, key=lambda label: int(label.split()[0]))
    assert lines[-1].label == "Not in this agreement"
    assert "withholding tax" in lines[-1].working
