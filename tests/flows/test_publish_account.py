"""A payee's account as statements show it: since when money is owed."""

from types import SimpleNamespace

import pytest

from flows.publish_account import _carried_since


def moves(*pairs):
    """Entries on the account: the month's last day, and what it changes."""
    return [
        (SimpleNamespace(entry=SimpleNamespace(effective_on=f"2026-{month:02d}-28")), units)
        for month, units in pairs
    ]


@pytest.mark.parametrize(
    ("touched", "since"),
    [
        ((), ""),
        (((1, 50), (2, 60)), "2026-01-28"),
        # A payout pays the oldest first, and what a coin leaves over is of the newest it reached.
        (((1, 50), (2, 60), (2, -110)), ""),
        (((1, 50), (2, 60), (2, -109), (3, 40)), "2026-02-28"),
        (((1, 50), (2, 60), (2, -50), (3, 40)), "2026-02-28"),
        # What was taken back beyond the balance is first made good.
        (((1, 50), (2, -80), (3, 20)), ""),
        (((1, 50), (2, -80), (3, 20), (4, 40)), "2026-04-28"),
    ],
)
def test_money_is_owed_since_its_oldest_part_was_earned(touched, since):
    """Not since the account was last empty."""
    assert _carried_since(moves(*touched)) == since
