"""Write a statement as canonical JSON: sorted keys, no spaces, money as text.

1. Every integer is a JSON string, so that no reader turns money into a float.
2. `sha256` is taken over the `format` and `inputs` members alone, in canonical
   form; whoever has the file can take it again (`reports.statement.canonical_inputs`).
3. The computed totals stand beside the inputs, each in units and as a decimal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from contracts.money import format_units
from reports.statement import FORMAT, Statement, plain


def render_json(statement: Statement, proof: Mapping[str, object] | None = None) -> bytes:
    """Write a statement as one canonical JSON object with a final line break.

    Args:
        statement: what to write.
        proof: what `ledger.proof.statement_proof` made for the entries cited; it
            stands beside the statement, outside its digest.
    """
    payload: dict[str, object] = {
        "format": FORMAT,
        "sha256": statement.sha256,
        "inputs": plain(statement.inputs),
        "totals": _totals(statement),
        "summary": [plain(line) for line in statement.summary],
        "work_summary": [plain(line) for line in statement.work_summary],
    }
    if proof is not None:
        payload["proof"] = dict(proof)
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def _totals(statement: Statement) -> dict[str, dict[str, str]]:
    currency = statement.inputs.header.currency
    figures = {
        "earned": statement.earned_units,
        "net": statement.net_units,
        "payable": statement.payable_units,
        "closing": statement.closing_units,
    }
    if statement.difference_units is not None:
        figures["difference"] = statement.difference_units
    return {
        name: {"units": str(units), "amount": format_units(units, currency)}
        for name, units in figures.items()
    }
