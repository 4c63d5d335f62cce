"""A paper as data: what is on it and in which order, without saying how it is drawn.

Every report is first turned into a `Document`; the PDF and HTML renderers draw
the same document, so that two formats cannot tell two stories. The rules:

1. All text is final: numbers are formatted here or before, never by a renderer.
2. Figures in a column marked `right` are set in digits of one width.
3. `minor` carries the digits of an amount beyond cents; renderers set them
   lighter, and `text + minor` is always the exact amount.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One table cell.

    `sub` is a second, smaller line; `tone` is "", "muted" or "code"; `href` is a file beside
    the paper that the cell cites, as a relative path, or "".
    """

    text: str
    minor: str = ""
    sub: str = ""
    tone: str = ""
    href: str = ""


@dataclass(frozen=True)
class Column:
    """One table column. `width` is a typst length or fraction: "auto", "1fr", "22mm"."""

    label: str
    align: str = "left"
    width: str = "auto"


@dataclass(frozen=True)
class Row:
    """One table row; `kind` is "line", "total" or "group" (a heading over the next lines)."""

    cells: tuple[Cell, ...]
    kind: str = "line"


@dataclass(frozen=True)
class Table:
    """A ruled table whose head repeats on every page it runs over.

    `source` names the file or query that gives its numbers, below the table.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    label: str = ""
    empty: str = "Nothing to show."
    small: bool = False
    source: Cell | None = None


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 opens a section, level 2 a part of it."""

    text: str
    level: int = 1


@dataclass(frozen=True)
class Text:
    """A paragraph; `tone` is "", "note" (smaller, muted), "lead", "code" or "warning"."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Facts:
    """Label and value pairs, set in a grid of `columns` pairs a row."""

    pairs: tuple[tuple[str, Cell], ...]
    columns: int = 2


@dataclass(frozen=True)
class Figures:
    """A few large numbers across the page: label, amount, remark."""

    items: tuple[tuple[str, Cell, str], ...]


@dataclass(frozen=True)
class Picture:
    """A drawing as SVG text with its description for those who cannot see it."""

    svg: str
    alt: str
    width: str = "100%"


@dataclass(frozen=True)
class Beside:
    """Two stacks of blocks side by side; `split` is the widths of the two, in fractions."""

    left: tuple[Block, ...]
    right: tuple[Block, ...]
    split: tuple[int, int] = (2, 1)


Block = Table | Heading | Text | Facts | Figures | Picture | Beside


@dataclass(frozen=True)
class Document:
    """A whole paper.

    Args:
        title: large, on the first page.
        subtitle: below it.
        running: what stands in the head of every page, left to right.
        footer: what stands at the foot beside "page x of y".
        date: ISO date that the file carries as its creation date.
        author: the issuer, for the file's properties.
        facts: the box beside the title.
        blocks: the content in order.
        watermark: a word across a paper that is not final, or "".
    """

    title: str
    subtitle: str
    running: tuple[str, ...]
    footer: str
    date: str
    author: str
    facts: tuple[tuple[str, str], ...]
    blocks: tuple[Block, ...]
    watermark: str = ""
    language: str = "en"
