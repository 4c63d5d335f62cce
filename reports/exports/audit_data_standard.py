"""The general ledger in the flat files of the AICPA Audit Data Standards (GL, 2015).

    GL_Detail_FROM_TO.csv          one row a posting; amounts positive, D or C beside them
    Chart_Of_Accounts.csv          every account used, with its type
    Trial_Balance_FROM_TO.csv      signed balances at the beginning and end (debit positive)

1. The rows are made from the leaves of the book, so that an auditor can make them
   again from the audit pack.
2. Amounts have all digits of the currency's scale, more than the standard's two.
3. When an entry was recorded is not in the leaves (so that two runs give one root);
   Entered_Date is therefore left out rather than made up.

Field names follow the standard; fields that the books do not have are left out.
No certificate of conformance is claimed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from contracts.money import Currency, format_units
from reports.exports.leaves import BookLine, book_lines
from reports.render.csv import csv_bytes

GL_DETAIL: Final = (
    "Journal_ID",
    "Journal_ID_Line_Number",
    "JE_Header_Description",
    "Source",
    "Effective_Date",
    "Fiscal_Year",
    "Period",
    "GL_Account_Number",
    "Amount",
    "Amount_Credit_Debit_Indicator",
    "Amount_Currency",
    "Entered_By",
    "Approved_By",
    "Reversal_Indicator",
    "Reversal_Journal_ID",
)
CHART: Final = ("GL_Account_Number", "GL_Account_Name", "Account_Type")
TRIAL_BALANCE: Final = (
    "GL_Account_Number",
    "Fiscal_Year",
    "Period",
    "Amount_Beginning",
    "Amount_Ending",
    "Amount_Currency",
)
ACCOUNT_TYPES: Final = {"Income": "Revenue"}


def audit_data_files(leaves: Iterable[bytes], first: str, last: str) -> dict[str, bytes]:
    """Write the three files for a span of settlement periods.

    Args:
        leaves: canonical leaves of the book, from the first on.
        first: first period, `YYYY-MM`.
        last: last period, `YYYY-MM`; what is booked later is left out.

    Returns:
        file name -> bytes.
    """
    detail: list[tuple[str | int, ...]] = []
    beginning: dict[tuple[str, str], int] = defaultdict(int)
    ending: dict[tuple[str, str], int] = defaultdict(int)
    for line in book_lines(leaves):
        if line.period > last:
            continue
        account = (line.account_id, line.currency)
        ending[account] += line.units
        if line.period < first:
            beginning[account] += line.units
            continue
        detail.append(_detail(line))
    accounts = sorted({account_id for account_id, _ in ending})
    span = f"{first.replace('-', '')}_{last.replace('-', '')}"
    return {
        f"GL_Detail_{span}.csv": csv_bytes(GL_DETAIL, detail),
        "Chart_Of_Accounts.csv": csv_bytes(CHART, [_account(name) for name in accounts]),
        f"Trial_Balance_{span}.csv": csv_bytes(
            TRIAL_BALANCE,
            [
                (
                    account_id,
                    int(last[:4]),
                    int(last[5:]),
                    format_units(beginning[account_id, currency], currency),
                    format_units(units, currency),
                    Currency.parse(currency).code,
                )
                for (account_id, currency), units in sorted(ending.items())
            ],
        ),
    }


def _detail(line: BookLine) -> tuple[str | int, ...]:
    return (
        line.entry_id,
        line.line,
        line.description,
        f"{line.scope}/{line.kind}",
        line.effective_on,
        int(line.period[:4]),
        int(line.period[5:]),
        line.account_id,
        format_units(abs(line.units), line.currency),
        "D" if line.units > 0 else "C",
        Currency.parse(line.currency).code,
        line.prepared_by,
        line.approved_by,
        "Y" if line.reverses else "N",
        line.reverses,
    )


def _account(account_id: str) -> tuple[str, str, str]:
    root, _, rest = account_id.partition(":")
    return account_id, rest.replace(":", ", ") or root, ACCOUNT_TYPES.get(root, root)
