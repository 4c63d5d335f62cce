"""All the files of one statement under their names, ready to be written.

    NUMBER.vN.pdf            Work Summary layout
    NUMBER.vN.detail.pdf     Detail layout, the same totals
    NUMBER.vN.json           everything, with the proof of its entries
    NUMBER.vN.csv            work lines, Work Summary
    NUMBER.vN.detail.csv     work lines, Detail
    NUMBER.vN.account.csv    account summary
    NUMBER.vN.xlsx, .html    the same numbers

Names are made from ids by replacing what file systems dislike, so two different
numbers could meet in one name; `file_stem` then adds part of a digest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Final

from reports.errors import RenderError
from reports.render.csv import render_csv
from reports.render.html import render_html
from reports.render.json import render_json
from reports.render.pdf import render_pdf
from reports.render.xlsx import render_xlsx
from reports.statement import Statement
from reports.statement_document import statement_document

Proof = Mapping[str, object]

_RENDERERS: Final[dict[str, Callable[[Statement, Proof | None], bytes]]] = {
    "pdf": lambda statement, _: render_pdf(statement_document(statement, "summary")),
    "detail.pdf": lambda statement, _: render_pdf(statement_document(statement, "detail")),
    "json": render_json,
    "csv": lambda statement, _: render_csv(statement, "summary"),
    "detail.csv": lambda statement, _: render_csv(statement, "detail"),
    "account.csv": lambda statement, _: render_csv(statement, "account"),
    "xlsx": lambda statement, _: render_xlsx(statement),
    "html": lambda statement, _: render_html(statement_document(statement, "detail")),
}
FORMATS: Final = tuple(_RENDERERS)
DEFAULT_FORMATS: Final = ("pdf", "csv", "json")


def statement_files(
    statement: Statement,
    formats: Collection[str] = DEFAULT_FORMATS,
    proof: Proof | None = None,
) -> dict[str, bytes]:
    """Render a statement in several formats.

    Args:
        statement: what to render.
        formats: names among FORMATS.
        proof: from `ledger.proof.statement_proof`; goes into the JSON.

    Returns:
        file name -> bytes, in the order of FORMATS.

    Raises:
        RenderError: an unknown format, or one that could not be laid out.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        reason = f"no such format; choose among {', '.join(FORMATS)}"
        raise RenderError(f"statement {statement.number}", unknown[0], reason)
    stem = file_stem(statement)
    return {
        f"{stem}.{name}": render(statement, proof)
        for name, render in _RENDERERS.items()
        if name in formats
    }


def file_stem(statement: Statement, version: int = 0) -> str:
    """Return the name the statement's files share, safe on every file system.

    Args:
        statement: whose.
        version: of another version of the same statement; 0 for its own.
    """
    number = statement.number
    plain = re.sub(r"[^A-Za-z0-9._@+-]", "_", number)
    if plain != number:
        plain = f"{plain}.{hashlib.sha256(number.encode()).hexdigest()[:8]}"
    return f"{plain}.v{version or statement.inputs.header.version}"
