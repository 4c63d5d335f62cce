"""Set a document as PDF with typst, to the same bytes on every machine.

1. Only the fonts that ship with Byline are used, and each is checked against
   its SHA-256 before the first page is set; the system's are never looked at.
2. The creation date is the document's own date; no clock is read.
3. Text reaches the template as JSON text and is never evaluated as markup, so
   a title cannot change the layout.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import unicodedata
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import typst

from reports.errors import FontMissingError, RenderError
from reports.render.document import Document

FONT_SUMS: Final = "SHA256SUMS"


def render_pdf(document: Document) -> bytes:
    """Set a document as A4 PDF.

    Args:
        document: what to set.

    Returns:
        The bytes of the file; equal for equal documents.

    Raises:
        FontMissingError: a shipped font is absent or changed.
        RenderError: typst refused the document.
    """
    year, month, day = (int(part) for part in document.date.split("-"))
    data = {**_tree(document), "date": [year, month, day]}
    timestamp = dt.datetime(year, month, day, tzinfo=dt.UTC)
    compiler, template = _compiler()
    try:
        result = compiler.compile(
            input=template,
            format="pdf",
            sys_inputs={"data": json.dumps(data, ensure_ascii=False)},
            timestamp=timestamp,
        )
    except typst.TypstError as problem:
        raise RenderError(
            document.title, "pdf", f"{problem.message} {problem.diagnostic}"
        ) from problem
    assert isinstance(result, bytes), f"typst returned {type(result).__name__}"
    return result


def check_fonts(folder: Path) -> int:
    """Check the shipped fonts against their digests.

    Returns:
        How many fonts were checked.

    Raises:
        FontMissingError: one is absent, or its bytes are others.
    """
    lines = (folder / FONT_SUMS).read_text(encoding="utf-8").splitlines()
    for line in lines:
        digest, name = line.split()
        path = folder / name
        if not path.is_file():
            raise FontMissingError(str(path), "the file is missing")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != digest:
            raise FontMissingError(str(path), f"its SHA-256 is {found}, shipped was {digest}")
    return len(lines)


@lru_cache(maxsize=1)
def _compiler() -> tuple[typst.Compiler, bytes]:
    folder = Path(str(resources.files("reports.render")))
    check_fonts(folder / "fonts")
    fonts = typst.Fonts(
        include_system_fonts=False,
        include_embedded_fonts=True,
        font_paths=[str(folder / "fonts")],
    )
    template = (folder / "document.typ").read_bytes()
    compiler = typst.Compiler(input=template, font_paths=fonts, ignore_system_fonts=True)
    return compiler, template


def _tree(value: Any) -> Any:
    """Turn a document into JSON values; every block carries its class name as `is`."""
    if is_dataclass(value) and not isinstance(value, type):
        tree = {item.name: _tree(getattr(value, item.name)) for item in fields(value)}
        return {"is": type(value).__name__, **tree}
    if isinstance(value, tuple | list):
        return [_tree(item) for item in value]
    if isinstance(value, str):
        # Control characters have no glyph and some break the typesetter.
        return "".join(c for c in value if c == "\n" or unicodedata.category(c) != "Cc")
    return value
