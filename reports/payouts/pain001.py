"""Write a payout batch as ISO 20022 pain.001.001.09, the credit transfer initiation.

1. One message a batch; one payment block a currency; NbOfTxs and CtrlSum stand in
   the header and in every block, and are added up from what is written.
2. Addresses are structured (town and country at least) or left out.
3. Names and texts are in the SEPA letters; ids never begin or end with "/".
4. The same batch gives the same bytes: the time of creation is an argument.

Written here because the amounts must come from whole coins without passing
through a float, and the bytes must be stable; the schema is the judge in tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from contracts.money import Currency
from reports.payouts.bank import Address, BankAccount, check_bic, check_iban, latin
from reports.payouts.batch import COIN_DIGITS, Payout, PayoutBatch, message_id
from reports.payouts.errors import PayoutError

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
NAME_LETTERS: Final = 70
TEXT_LETTERS: Final = 140


@dataclass(frozen=True)
class Debtor:
    """Who pays: name as registered at the bank, account, and organisation id if any."""

    name: str
    iban: str
    bic: str = ""
    address: Address | None = None


def write_pain001(batch: PayoutBatch, debtor: Debtor, *, created_at: str, execute_on: str) -> bytes:
    """Write the message.

    Args:
        batch: an approved batch, all payouts with an IBAN.
        debtor: who pays.
        created_at: ISO date and time, `YYYY-MM-DDThh:mm:ssZ`.
        execute_on: ISO date on which the bank is to pay.

    Returns:
        The XML, UTF-8.

    Raises:
        PayoutError: the batch is not approved or is empty, a payout has no IBAN,
            or a name has no form in the letters of banks.
    """
    _check(batch)
    ET.register_namespace("", NAMESPACE)
    root = ET.Element(f"{{{NAMESPACE}}}Document")
    initiation = _add(root, "CstmrCdtTrfInitn")
    header = _add(initiation, "GrpHdr")
    _add(header, "MsgId", message_id(batch))
    _add(header, "CreDtTm", created_at)
    _add(header, "NbOfTxs", str(len(batch.payouts)))
    _add(header, "CtrlSum", control_sum(batch.payouts))
    _add(_add(header, "InitgPty"), "Nm", latin(debtor.name, NAME_LETTERS))
    currencies = sorted({item.currency for item in batch.payouts})
    for place, currency in enumerate(currencies, start=1):
        items = [item for item in batch.payouts if item.currency == currency]
        block = _add(initiation, "PmtInf")
        _payment_block(block, f"{message_id(batch)}-{place}", items, debtor, execute_on)
        for item in items:
            _transfer(_add(block, "CdtTrfTxInf"), item)
    ET.indent(root, space=" ")
    body: bytes = ET.tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body + b"\n"


def control_sum(payouts: tuple[Payout, ...] | list[Payout]) -> str:
    """Add amounts up as the standard wants it: over all transfers, whatever the currency."""
    digits = max((_digits(item.currency) for item in payouts), default=2)
    total = sum(item.coins * 10 ** (digits - _digits(item.currency)) for item in payouts)
    return _decimal(total, digits)


def _payment_block(
    block: ET.Element, block_id: str, items: list[Payout], debtor: Debtor, execute_on: str
) -> None:
    is_sepa = Currency.parse(items[0].currency).code == "EUR"
    _add(block, "PmtInfId", block_id)
    _add(block, "PmtMtd", "TRF")
    _add(block, "NbOfTxs", str(len(items)))
    _add(block, "CtrlSum", control_sum(items))
    if is_sepa:
        _add(_add(_add(block, "PmtTpInf"), "SvcLvl"), "Cd", "SEPA")
    _add(_add(block, "ReqdExctnDt"), "Dt", execute_on)
    _party(_add(block, "Dbtr"), debtor.name, debtor.address)
    _account(_add(block, "DbtrAcct"), debtor.iban)
    _agent(_add(block, "DbtrAgt"), debtor.bic)
    _add(block, "ChrgBr", "SLEV" if is_sepa else "SHAR")


def _transfer(transfer: ET.Element, item: Payout) -> None:
    bank: BankAccount = item.bank
    parsed = Currency.parse(item.currency)
    ids = _add(transfer, "PmtId")
    _add(ids, "InstrId", item.payout_id)
    _add(ids, "EndToEndId", item.payout_id)
    amount = _add(_add(transfer, "Amt"), "InstdAmt", _decimal(item.coins, _digits(item.currency)))
    amount.set("Ccy", parsed.code)
    if bank.bic:
        _agent(_add(transfer, "CdtrAgt"), bank.bic)
    _party(_add(transfer, "Cdtr"), bank.holder, bank.address)
    _account(_add(transfer, "CdtrAcct"), bank.iban)
    _add(_add(transfer, "Purp"), "Cd", "ROYA")
    text = latin(f"ROYALTY STMT {item.statement_number}", TEXT_LETTERS)
    _add(_add(transfer, "RmtInf"), "Ustrd", text)


def _party(party: ET.Element, name: str, address: Address | None) -> None:
    _add(party, "Nm", latin(name, NAME_LETTERS))
    if address is None:
        return
    block = _add(party, "PstlAdr")
    for tag, text, length in (
        ("StrtNm", address.street, 70),
        ("BldgNb", address.building, 16),
        ("PstCd", address.postcode, 16),
        ("TwnNm", address.town, 35),
        ("Ctry", address.country, 2),
    ):
        if text:
            _add(block, tag, latin(text, length))


def _account(account: ET.Element, iban: str) -> None:
    _add(_add(account, "Id"), "IBAN", check_iban(iban))


def _agent(agent: ET.Element, bic: str) -> None:
    institution = _add(agent, "FinInstnId")
    if bic:
        _add(institution, "BICFI", check_bic(bic))
    else:
        _add(_add(institution, "Othr"), "Id", "NOTPROVIDED")


def _add(parent: ET.Element, tag: str, text: str | None = None) -> ET.Element:
    child = ET.SubElement(parent, f"{{{NAMESPACE}}}{tag}")
    child.text = text
    return child


def _digits(currency: str) -> int:
    return COIN_DIGITS.get(Currency.parse(currency).code, 2)


def _decimal(coins: int, digits: int) -> str:
    whole, part = divmod(coins, 10**digits)
    return f"{whole}.{part:0{digits}d}" if digits else str(whole)


def _check(batch: PayoutBatch) -> None:
    what = f"payout batch {batch.batch_id}"
    if not batch.payouts:
        raise PayoutError(what, "has no payout", "Nothing needs to be sent to the bank")
    wrong = [item for item in batch.payouts if item.state not in {"approved", "exported"}]
    if wrong:
        reason = f"payout {wrong[0].payout_id} is {wrong[0].state}, not approved"
        raise PayoutError(what, reason, "Have a second person approve it")
    foreign = [item.payee_id for item in batch.payouts if not item.bank.iban]
    if foreign:
        reason = f"payee {foreign[0]} has no IBAN"
        raise PayoutError(what, reason, "Write a NACHA file for accounts in the United States")
