"""Write a payout batch as a NACHA file for accounts in the United States.

1. Records of 94 characters, in blocks of ten filled up with nines.
2. Persons are paid in a PPD batch, companies in a CCD batch with one addenda
   record each; both are credits only (service class 220).
3. Entry hash: the sum of the first eight digits of the receiving routing numbers,
   its last ten digits kept. Totals are added up from the records written.
4. Payments abroad (IAT) are not dressed up as PPD: they are refused.

Own code: the only package for this on the index has not been kept up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from contracts.money import Currency
from reports.payouts.bank import check_routing, latin
from reports.payouts.batch import Payout, PayoutBatch
from reports.payouts.errors import PayoutError

RECORD: Final = 94
BLOCK: Final = 10
AMOUNT_MAX: Final = 10**10 - 1
CHECKING_CREDIT, SAVINGS_CREDIT = "22", "32"


@dataclass(frozen=True)
class Originator:
    """Who pays, as agreed with the bank (ODFI).

    `company_id` is ten characters, mostly "1" and the tax number; `destination`
    and `odfi` are routing numbers of nine digits.
    """

    company_name: str
    company_id: str
    destination: str
    destination_name: str
    odfi: str


def write_nacha(
    batch: PayoutBatch,
    originator: Originator,
    *,
    created_on: str,
    created_at: str,
    effective_on: str,
    modifier: str = "A",
) -> bytes:
    """Write the file.

    Args:
        batch: an approved batch of US dollar payouts to routing and account numbers.
        originator: who pays.
        created_on: ISO date of the file.
        created_at: `HHMM` of the file.
        effective_on: ISO date on which the money is to arrive.
        modifier: A to Z, then 0 to 9: tells files of one day apart.

    Returns:
        ASCII, lines of 94 characters with line feeds.

    Raises:
        PayoutError: not approved, empty, another currency, or an amount or account
            that does not fit a field.
    """
    _check(batch)
    check_routing(originator.destination)
    check_routing(originator.odfi)
    lines = [_file_header(originator, created_on, created_at, modifier)]
    totals: list[tuple[int, int, int]] = []
    trace = 0
    for sec in ("PPD", "CCD"):
        items = [item for item in batch.payouts if item.bank.is_company == (sec == "CCD")]
        if not items:
            continue
        number = len(totals) + 1
        lines.append(_batch_header(originator, sec, created_on, effective_on, number))
        records = []
        for item in items:
            trace += 1
            records += _entry(item, originator.odfi[:8], trace, addenda=sec == "CCD")
        cents = sum(item.coins for item in items)
        hashed = sum(int(item.bank.routing[:8]) for item in items)
        lines += records
        lines.append(_batch_control(originator, len(records), hashed, cents, number))
        totals.append((len(records), hashed, cents))
    lines.append(_file_control(totals, len(lines) + 1))
    lines += ["9" * RECORD] * (-len(lines) % BLOCK)
    wrong = [line for line in lines if len(line) != RECORD]
    assert not wrong, f"{len(wrong)} records are not {RECORD} long: {wrong[:1]}"
    return ("\n".join(lines) + "\n").encode("ascii")


def _file_header(originator: Originator, day: str, time: str, modifier: str) -> str:
    return (
        "101"
        f" {originator.destination}"
        f"{originator.company_id:>10.10}"
        f"{_day(day)}{time:4.4}{modifier:1.1}"
        f"{RECORD:03d}{BLOCK}1"
        f"{_text(originator.destination_name, 23)}"
        f"{_text(originator.company_name, 23)}"
        f"{'':8}"
    )


def _batch_header(originator: Originator, sec: str, day: str, effective: str, number: int) -> str:
    return (
        "5220"
        f"{_text(originator.company_name, 16)}"
        f"{'':20}"
        f"{originator.company_id:>10.10}"
        f"{sec}"
        f"{'ROYALTY':10}"
        f"{_day(day)}{_day(effective)}"
        f"{'':3}1"
        f"{originator.odfi[:8]}"
        f"{number:07d}"
    )


def _entry(item: Payout, odfi: str, trace: int, *, addenda: bool) -> list[str]:
    bank = item.bank
    code = SAVINGS_CREDIT if bank.is_savings else CHECKING_CREDIT
    # The field holds 15 characters; the last ones of the id are as random as the first.
    identifier = item.payout_id[:15]
    entry = (
        f"6{code}{bank.routing}"
        f"{bank.account:17.17}"
        f"{item.coins:010d}"
        f"{identifier:15}"
        f"{_text(bank.holder, 22)}"
        f"  {int(addenda)}"
        f"{odfi}{trace:07d}"
    )
    if not addenda:
        return [entry]
    remark = _text(f"ROYALTY STMT {item.statement_number} ID {item.payout_id}", 80)
    return [entry, f"705{remark}0001{trace:07d}"]


def _batch_control(
    originator: Originator, records: int, hashed: int, cents: int, number: int
) -> str:
    return (
        "8220"
        f"{records:06d}{hashed % 10**10:010d}"
        f"{0:012d}{cents:012d}"
        f"{originator.company_id:>10.10}"
        f"{'':19}{'':6}"
        f"{originator.odfi[:8]}"
        f"{number:07d}"
    )


def _file_control(totals: list[tuple[int, int, int]], lines: int) -> str:
    records = sum(total[0] for total in totals)
    hashed = sum(total[1] for total in totals)
    cents = sum(total[2] for total in totals)
    blocks = -(-lines // BLOCK)
    return (
        f"9{len(totals):06d}{blocks:06d}{records:08d}{hashed % 10**10:010d}"
        f"{0:012d}{cents:012d}{'':39}"
    )


def _day(iso: str) -> str:
    return iso[2:4] + iso[5:7] + iso[8:10]


def _text(text: str, length: int) -> str:
    return f"{latin(text, length):{length}}"


def _check(batch: PayoutBatch) -> None:
    what = f"payout batch {batch.batch_id}"
    if not batch.payouts:
        raise PayoutError(what, "has no payout", "Nothing needs to be sent to the bank")
    for item in batch.payouts:
        where = f"payout {item.payout_id} to payee {item.payee_id}"
        if item.state not in {"approved", "exported"}:
            raise PayoutError(where, f"is {item.state}", "Have a second person approve it")
        if Currency.parse(item.currency).code != "USD":
            raise PayoutError(where, f"is in {item.currency}", "Write a pain.001 file")
        check_routing(item.bank.routing)
        if not re.fullmatch(r"[A-Za-z0-9-]{1,17}", item.bank.account):
            raise PayoutError(where, "has an account number of another form", "Ask the payee")
        if item.coins > AMOUNT_MAX:
            raise PayoutError(where, f"{item.coins} cents exceed ten digits", "Pay in parts")
