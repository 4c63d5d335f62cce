"""Statements as one tab-separated file in the style of DDEX royalty reporting.

HEAD, one summary record a statement (SY), one record a work line (WK), FOOT with
counts; `#` lines are headings for people. It is in the style of DDEX-DSR so that
royalty departments find their way; it is not a DDEX message and does not claim to
conform (that needs a licence and a party id).

1. A period without statements is still a file: a nil return.
2. The message id is never used twice: it is a digest of what is reported.
3. Tabs, line breaks and other control characters in texts become spaces.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import Final

from reports.errors import StatementInputError
from reports.statement import Statement

FORMAT: Final = "byline-dsr-style/1"
SUMMARY_FIELDS: Final = (
    "SummaryRecordId", "StatementNumber", "Version", "PayeeId", "CreatorId", "Currency", "Scale",
    "EarnedUnits", "NetUnits", "PayableUnits", "ClosingUnits", "StatementSha256",
)  # fmt: skip
WORK_FIELDS: Final = (
    "BlockId", "SummaryRecordId", "WorkId", "Title", "UseType", "Territory", "ActivityPeriod",
    "PoolId", "TotalUsages", "SampledUsages", "SharePpt", "LowPpt", "HighPpt", "Split",
    "AmountUnits", "AdjustmentType",
)  # fmt: skip


def dsr_style_tsv(
    statements: Sequence[Statement], *, period: str, sender_id: str, recipient_id: str
) -> bytes:
    """Write the statements of a period as one file.

    Args:
        statements: all of one period; may be empty.
        period: `YYYY-MM`.
        sender_id: who reports.
        recipient_id: to whom.

    Raises:
        StatementInputError: a statement is of another period.
    """
    ordered = sorted(statements, key=lambda s: (s.number, s.inputs.header.version))
    for statement in ordered:
        if statement.inputs.header.period != period:
            found = statement.inputs.header.period
            raise StatementInputError(statement.number, "period", found, period)
    digest = hashlib.sha256("".join(s.sha256 for s in ordered).encode()).hexdigest()
    message_id = f"{sender_id}:{period}:{digest[:24]}"
    lines = [
        _joined(("HEAD", FORMAT, message_id, period, sender_id, recipient_id)),
        _joined(("#SY", *SUMMARY_FIELDS)),
        _joined(("#WK", *WORK_FIELDS)),
    ]
    works = 0
    for place, statement in enumerate(ordered, start=1):
        lines.append(_summary(place, statement))
        for line in statement.inputs.works:
            works += 1
            low = "" if line.low_ppt is None else line.low_ppt
            high = "" if line.high_ppt is None else line.high_ppt
            fields = (
                "WK", works, place, line.work_id, line.title, line.use, line.territory,
                line.activity_period, line.pool_id, line.population_outputs,
                line.sampled_outputs, line.share_ppt, low, high, line.split,
                line.amount_units, line.adjustment_type,
            )  # fmt: skip
            lines.append(_joined(fields))
    total = sum(statement.payable_units for statement in ordered)
    lines.append(f"FOOT\t{len(ordered)}\t{works}\t{total}")
    return ("\n".join(lines) + "\n").encode()


def _summary(place: int, statement: Statement) -> str:
    header = statement.inputs.header
    code, _, scale = header.currency.partition("/")
    fields = (
        "SY", place, statement.number, header.version, header.payee_id, header.party_id, code,
        scale, statement.earned_units, statement.net_units, statement.payable_units,
        statement.closing_units, statement.sha256,
    )  # fmt: skip
    return _joined(fields)


def _joined(fields: Sequence[object]) -> str:
    return "\t".join(_plain(str(field)) for field in fields)


def _plain(text: str) -> str:
    return "".join(" " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in text)
