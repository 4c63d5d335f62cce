"""Bank details of a payee, checked, and names in the letters that banks accept.

1. IBAN and BIC are checked by length, check digits and country (schwifty). A US
   routing number is checked by its own check digit.
2. An address, when given, is structured: town and country at least. Unstructured
   lines are refused, as banks have done since November 2026.
3. Names are written in the SEPA letters; the original stays in the books. A name
   that has no form in these letters is not guessed: the payout is left out.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from schwifty import BIC, IBAN
from schwifty.exceptions import SchwiftyException

from reports.payouts.errors import PayoutError

SEPA_LETTERS: Final = re.compile(r"[A-Za-z0-9/\-?:().,'+ ]+")
_SPELLED: Final = {
    "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l",
    "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th",
    "\N{LATIN SMALL LETTER DOTLESS I}": "i", "&": "+", "_": "-", "@": "(at)",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{EN DASH}": "-", "\N{EM DASH}": "-",
}  # fmt: skip
_ROUTING_WEIGHTS: Final = (3, 7, 1, 3, 7, 1, 3, 7, 1)


@dataclass(frozen=True)
class Address:
    """A structured postal address; `country` is ISO 3166-1 alpha-2."""

    town: str
    country: str
    street: str = ""
    building: str = ""
    postcode: str = ""


@dataclass(frozen=True)
class BankAccount:
    """Where a payee's money goes.

    Either `iban` (with `bic` where the bank wants one), or for payments in the
    United States `routing` and `account` with `is_company` and `is_savings`.
    `holder` is the account holder's name as registered at the bank.
    """

    holder: str
    iban: str = ""
    bic: str = ""
    routing: str = ""
    account: str = ""
    is_company: bool = False
    is_savings: bool = False
    address: Address | None = None


def check_iban(iban: str) -> str:
    """Return the IBAN without spaces.

    Raises:
        PayoutError: the length, country or check digits are wrong.
    """
    try:
        return str(IBAN(iban).compact)
    except SchwiftyException as problem:
        raise PayoutError(f"IBAN {iban}", str(problem), "Ask the payee for it again") from problem


def check_bic(bic: str) -> str:
    """Return the BIC without spaces.

    Raises:
        PayoutError: the form or the country is wrong.
    """
    try:
        return str(BIC(bic).compact)
    except SchwiftyException as problem:
        raise PayoutError(f"BIC {bic}", str(problem), "Ask the payee for it again") from problem


def check_routing(routing: str) -> str:
    """Return a US routing number of nine digits.

    Raises:
        PayoutError: not nine digits, or the check digit is wrong.
    """
    digits = [int(digit) for digit in routing] if routing.isascii() and routing.isdigit() else []
    good = len(digits) == len(_ROUTING_WEIGHTS)
    if not good or sum(w * d for w, d in zip(_ROUTING_WEIGHTS, digits, strict=True)) % 10:
        raise PayoutError(
            f"routing number {routing}", "has a wrong check digit", "Ask the payee for it again"
        )
    return routing


def latin(text: str, length: int) -> str:
    """Write a text in the SEPA letters.

    Args:
        text: any text.
        length: how many letters the field holds; the rest is cut off.

    Raises:
        PayoutError: a letter has no form in these letters (Greek, Cyrillic, Chinese ...).

    >>> latin("Łukasz Müller & Søn", 70)
    'Lukasz Muller + Son'
    """
    spelled = "".join(_SPELLED.get(letter, letter) for letter in text)
    plain = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", spelled)
        if not unicodedata.combining(letter)
    )
    plain = re.sub(r"\s+", " ", plain).strip()
    if not SEPA_LETTERS.fullmatch(plain):
        wrong = next((letter for letter in plain if not SEPA_LETTERS.fullmatch(letter)), "")
        raise PayoutError(
            f"name {text!r}",
            f"{wrong!r} has no form in the letters that banks accept",
            "Store the account holder's name as registered at the bank",
        )
    return plain[:length].strip()


def check_address(address: Address) -> Address:
    """Check that an address is structured.

    Raises:
        PayoutError: town or country is missing, or the country is not two letters.
    """
    if not address.town or not re.fullmatch(r"[A-Z]{2}", address.country):
        raise PayoutError(
            f"address {address.town!r}, {address.country!r}",
            "banks take structured addresses only: town and two-letter country",
            "Complete the address, or leave it out altogether",
        )
    return address
