"""Read what the bank says: pain.002 status reports and camt.053 statements.

1. An answer is matched by EndToEndId, never by amount or name. What matches
   nothing is returned as unmatched, for a person.
2. An amount or currency that differs from the payout's is an error, not a match.
3. ACSC and ACCC say that the bank has carried out a payment; they are no proof of
   the money's way. Settlement is booked on camt.053 only.
4. XML is read without DTDs: a document type is refused before it is parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from contracts.money import Currency, parse_units
from reports.payouts.batch import Payout, PayoutBatch, message_id
from reports.payouts.errors import BankFileError

# Status -> event of the batch. Others (RCVD, PDNG, ACTC, ACWC) change nothing.
STATUS_EVENTS: Final[Mapping[str, str]] = {
    "ACCP": "accept",
    "ACSP": "accept",
    "ACSC": "accept",
    "ACCC": "accept",
    "RJCT": "reject",
}


@dataclass(frozen=True)
class Answer:
    """One thing a bank said about one payout: the event, its code, and the day if given."""

    payout_id: str
    event: str
    code: str
    day: str = ""


@dataclass(frozen=True)
class Answers:
    """What was understood, and the ids or texts that match no payout of the batch."""

    matched: tuple[Answer, ...]
    unmatched: tuple[str, ...]


def read_pain002(data: bytes, batch: PayoutBatch, name: str = "pain.002") -> Answers:
    """Read a status report on a batch's message.

    Args:
        data: the file, any version of pain.002.
        batch: the batch it answers.
        name: what to call the file in errors.

    Raises:
        BankFileError: not such a file, or about another message.
    """
    root = _parse(data, name, "CstmrPmtStsRpt")
    original = _text(root, "OrgnlGrpInfAndSts/OrgnlMsgId")
    if original != message_id(batch):
        raise BankFileError(name, "OrgnlMsgId", original or "absent", message_id(batch))
    known = {item.payout_id for item in batch.payouts}
    matched, unmatched = [], []
    group = _text(root, "OrgnlGrpInfAndSts/GrpSts")
    transactions = list(_all(root, "TxInfAndSts"))
    for transaction in transactions:
        end_to_end = _text(transaction, "OrgnlEndToEndId")
        status = _text(transaction, "TxSts") or group
        code = _text(transaction, "StsRsnInf/Rsn/Cd")
        if end_to_end not in known:
            unmatched.append(end_to_end or "without EndToEndId")
        elif status in STATUS_EVENTS:
            matched.append(Answer(end_to_end, STATUS_EVENTS[status], f"{status} {code}".strip()))
    if not transactions and group in STATUS_EVENTS:
        code = _text(root, "OrgnlGrpInfAndSts/StsRsnInf/Rsn/Cd")
        matched = [
            Answer(item.payout_id, STATUS_EVENTS[group], f"{group} {code}".strip())
            for item in batch.payouts
        ]
    return Answers(tuple(matched), tuple(unmatched))


def read_camt053(data: bytes, batch: PayoutBatch, name: str = "camt.053") -> Answers:
    """Read a bank statement: debits settle payouts, credits with a return reason return them.

    Args:
        data: the file, any version of camt.053.
        batch: the batch to match.
        name: what to call the file in errors.

    Raises:
        BankFileError: not such a file, or an amount or currency is not the payout's.
    """
    root = _parse(data, name, "BkToCstmrStmt")
    payouts = {item.payout_id: item for item in batch.payouts}
    matched, unmatched = [], []
    for entry in _all(root, "Ntry"):
        if _text(entry, "Sts/Cd") not in {"BOOK", ""} and _text(entry, "Sts") != "BOOK":
            continue
        day = _text(entry, "BookgDt/Dt") or _text(entry, "BookgDt/DtTm")[:10]
        for details in _all(entry, "TxDtls"):
            end_to_end = _text(details, "Refs/EndToEndId")
            item = payouts.get(end_to_end)
            if item is None:
                unmatched.append(end_to_end or _text(entry, "NtryRef") or "without EndToEndId")
                continue
            _check_amount(details, entry, item, name)
            code = _text(details, "RtrInf/Rsn/Cd")
            credit = (_text(details, "CdtDbtInd") or _text(entry, "CdtDbtInd")) == "CRDT"
            event = "return" if credit else "settle"
            matched.append(Answer(end_to_end, event, code or "BOOK", day))
    return Answers(tuple(matched), tuple(unmatched))


def _check_amount(details: ET.Element, entry: ET.Element, item: Payout, name: str) -> None:
    element = _find(details, "Amt")
    if element is None:
        element = _find(details, "AmtDtls/TxAmt/Amt")
    if element is None and len(list(_all(entry, "TxDtls"))) == 1:
        element = _find(entry, "Amt")
    place = f"amount of {item.payout_id}"
    if element is None:
        raise BankFileError(name, place, "absent", f"{item.amount_units} units {item.currency}")
    code = Currency.parse(item.currency).code
    found = f"{element.text} {element.get('Ccy')}"
    expected = f"{item.amount_units} units of {item.currency}"
    if element.get("Ccy") != code:
        raise BankFileError(name, place, found, expected)
    if parse_units((element.text or "").strip(), item.currency) != item.amount_units:
        raise BankFileError(name, place, found, expected)


def _parse(data: bytes, name: str, message: str) -> ET.Element:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise BankFileError(name, "prolog", "a document type", "plain XML")
    try:
        # No DTD can be in it (checked above), so nothing can be expanded.
        root = ET.fromstring(data)  # noqa: S314
    except ET.ParseError as problem:
        raise BankFileError(name, "file", str(problem), "XML") from problem
    body = next(iter(root), None)
    if body is None or _local(body) != message:
        found = "nothing" if body is None else _local(body)
        raise BankFileError(name, "message", found, message)
    return body


def _local(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _find(element: ET.Element, path: str) -> ET.Element | None:
    here: ET.Element | None = element
    for step in path.split("/"):
        if here is None:
            return None
        here = next((child for child in here if _local(child) == step), None)
    return here


def _text(element: ET.Element, path: str) -> str:
    found = _find(element, path)
    return (found.text or "").strip() if found is not None else ""


def _all(element: ET.Element, name: str) -> Iterator[ET.Element]:
    return (child for child in element.iter() if _local(child) == name)
