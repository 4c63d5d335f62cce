"""`byline payout list|hold|release|holds`: what is under way, and who is not paid for now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contracts.money import format_units
from flows.accesses import Asked, name_object, record_access
from flows.commands.options import (
    access_options,
    emit,
    json_option,
    open_workspace,
    workspace_option,
)

if TYPE_CHECKING:
    from flows.payout_holds import PaymentHold
    from flows.payouts import StoredBatch

payee_option = click.option("--payee", required=True, help="The payee, by id.")
reason_option = click.option("--reason", required=True, help="Why; the log keeps it for ever.")
by_option = click.option("--by", "actor", required=True, help="Who does it, by id.")


@click.command("list")
@workspace_option
@click.option("--batch", default="", help="Show one batch line by line.")
@access_options
@json_option
def list_batches(folder: Path, batch: str, asked: Asked, as_json: bool) -> None:  # noqa: FBT001
    """List the batches with states and amounts by currency, and who is held; or one batch."""
    from flows.books import open_books  # noqa: PLC0415
    from flows.payout_holds import holds_of  # noqa: PLC0415
    from flows.payouts import batch_names, load  # noqa: PLC0415

    workspace = open_workspace(folder)
    record_access(
        workspace, "view", name_object(workspace, "payout-batches", batch or "all"), asked
    )
    with open_books(workspace) as books:
        held = holds_of(books.accesses())
        if batch:
            show_batch(load(workspace, books, batch), held, as_json=as_json)
            return
        found = [load(workspace, books, name) for name in batch_names(workspace)]
    together = Counter[tuple[str, str]]()
    for stored in found:
        together.update(amounts_by_state(stored))
    emit(
        {
            "batches": [
                {
                    "batch": s.batch.batch_id,
                    "period": s.batch.period,
                    "states": s.states,
                    "amounts": _plain(amounts_by_state(s)),
                }
                for s in found
            ],
            "amounts": _plain(together),
            "holds": [_hold_plain(one) for one in held.values()],
        },
        [*_batch_lines(found, together), *(_hold_line(one) for one in held.values())],
        as_json=as_json,
    )


@click.command("hold")
@workspace_option
@payee_option
@reason_option
@by_option
@json_option
def hold(folder: Path, payee: str, reason: str, actor: str, as_json: bool) -> None:  # noqa: FBT001
    """Send a payee nothing until he is released; what he is owed stays owed."""
    from flows.books import open_books  # noqa: PLC0415
    from flows.payout_holds import place_hold  # noqa: PLC0415

    workspace = open_workspace(folder)
    with open_books(workspace) as books:
        placed = place_hold(workspace, books, payee, reason=reason, actor=actor)
    emit(_hold_plain(placed), [_hold_line(placed)], as_json=as_json)


@click.command("release")
@workspace_option
@payee_option
@reason_option
@by_option
@json_option
def release(folder: Path, payee: str, reason: str, actor: str, as_json: bool) -> None:  # noqa: FBT001
    """Let a held payee be paid again, by the next batch."""
    from flows.books import open_books  # noqa: PLC0415
    from flows.payout_holds import release_hold  # noqa: PLC0415

    workspace = open_workspace(folder)
    with open_books(workspace) as books:
        before = release_hold(workspace, books, payee, reason=reason, actor=actor)
    emit(
        {"released": _hold_plain(before), "by": actor, "reason": reason},
        [f"{payee} can be paid again: {reason} (was held since {before.placed_at})"],
        as_json=as_json,
    )


@click.command("holds")
@workspace_option
@access_options
@json_option
def holds(folder: Path, asked: Asked, as_json: bool) -> None:  # noqa: FBT001
    """List who is held, by whom, since when and why, with what he is owed in each currency."""
    from flows.books import open_books  # noqa: PLC0415
    from flows.payout_holds import holds_of, owed_by_currency  # noqa: PLC0415

    workspace = open_workspace(folder)
    record_access(workspace, "view", name_object(workspace, "payout-holds", "all"), asked)
    with open_books(workspace) as books:
        held = holds_of(books.accesses())
        owed = owed_by_currency(workspace, books, held)
    emit(
        {"holds": [{**_hold_plain(one), "owed": owed[payee]} for payee, one in held.items()]},
        [f"{_hold_line(one)}; owed {_money(owed[payee])}" for payee, one in held.items()]
        or ["nobody is held"],
        as_json=as_json,
    )


def amounts_by_state(stored: StoredBatch) -> dict[tuple[str, str], int]:
    """Add a batch up by currency and state, in units; unlike currencies are never added."""
    found: Counter[tuple[str, str]] = Counter()
    for item in stored.batch.payouts:
        found[item.currency, item.state] += item.amount_units
    for line in stored.batch.left_out:
        found[line.currency, "left_out"] += line.amount_units
    return dict(sorted(found.items()))


def show_batch(
    stored: StoredBatch, held: Mapping[str, PaymentHold] | None = None, *, as_json: bool
) -> None:
    """Print one batch line by line.

    Args:
        stored: the batch.
        held: the register of holds, to say who of it is on it now.
        as_json: for a machine.
    """
    batch = stored.batch
    emit(
        {
            "batch": batch.batch_id,
            "period": batch.period,
            "prepared_by": batch.prepared_by,
            "approved_by": batch.approved_by,
            "states": stored.states,
            "amounts": _plain(amounts_by_state(stored)),
            "payouts": [
                [p.payout_id, p.payee_id, p.currency, p.amount_units, p.state]
                for p in batch.payouts
            ],
            "left_out": [
                [line.payee_id, line.currency, line.amount_units, line.reason]
                for line in batch.left_out
            ],
        },
        _lines(stored, held or {}),
        as_json=as_json,
    )


def _lines(stored: StoredBatch, held: Mapping[str, PaymentHold]) -> Iterator[str]:
    batch = stored.batch
    yield f"batch {batch.batch_id}, booked in {batch.period}: {_states(stored)}"
    for item in batch.payouts:
        money = _one(item.amount_units, item.currency)
        mark = "  held now" if item.payee_id in held else ""
        yield f"  {item.payee_id:<32} {money:>20}  {item.state:<10} {item.payout_id}{mark}"
    for line in batch.left_out:
        money = _one(line.amount_units, line.currency)
        yield f"  {line.payee_id:<32} {money:>20}  not paid: {line.reason}"
    yield from _sums("together", amounts_by_state(stored))


def _batch_lines(
    found: Iterable[StoredBatch], together: Mapping[tuple[str, str], int]
) -> Iterator[str]:
    for stored in found:
        yield f"{stored.batch.batch_id:<20} {stored.batch.period}  {_states(stored)}"
        yield from _sums(" ", amounts_by_state(stored))
    yield from _sums("all batches", together) if together else ["no payout batch"]


def _sums(label: str, amounts: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Print one line a currency: what is in which state."""
    for currency in sorted({currency for currency, _ in amounts}):
        parts = [
            f"{_one(units, currency)} {state.replace('_', ' ')}"
            for (own, state), units in sorted(amounts.items())
            if own == currency
        ]
        yield f"  {label:<18} {', '.join(parts)}"


def _plain(amounts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    plain: dict[str, dict[str, int]] = {}
    for (currency, state), units in sorted(amounts.items()):
        plain.setdefault(currency, {})[state] = units
    return plain


def _states(stored: StoredBatch) -> str:
    return ", ".join(f"{count} {state}" for state, count in stored.states.items()) or "nothing"


def _one(units: int, currency: str) -> str:
    return f"{format_units(units, currency)} {currency.partition('/')[0]}"


def _money(units: Mapping[str, int]) -> str:
    return " and ".join(_one(amount, currency) for currency, amount in units.items()) or "nothing"


def _hold_plain(one: PaymentHold) -> dict[str, str | int]:
    return {
        "payee": one.payee_id,
        "reason": one.reason,
        "placed_by": one.placed_by,
        "placed_at": one.placed_at,
        "ledger_seq": one.ledger_seq,
    }


def _hold_line(one: PaymentHold) -> str:
    return f"held: {one.payee_id}, by {one.placed_by}, {one.placed_at}: {one.reason}"
