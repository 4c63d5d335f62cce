"""Write a document as one HTML file: no script, no link to the outside, readable and printable.

1. Every text is escaped; drawings are the only markup passed on, and they are
   made here (`reports.render.chart`), never taken from input.
2. The file stands alone: styles inside, no font, image or script from elsewhere,
   and a content policy that says so.
3. Tables are tables: headers have scope, so that screen readers can follow.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, Final

from reports.errors import RenderError
from reports.render.document import (
    Beside,
    Block,
    Cell,
    Document,
    Facts,
    Figures,
    Heading,
    Picture,
    Row,
    Table,
    Text,
)

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
STYLE: Final = """
:root{--accent:#0b5563;--ink:#1b1f23;--soft:#5c6670;--faint:#8a949e;--rule:#c9d0d6;--wash:#f2f6f7}
body{font:15px/1.45 "Source Sans 3","Source Sans Pro",system-ui,sans-serif;color:var(--ink);
max-width:62rem;margin:2rem auto;padding:0 1.2rem}
header{display:flex;justify-content:space-between;gap:2rem;align-items:start;flex-wrap:wrap}
h1{color:var(--accent);font-size:2rem;margin:0}h2{color:var(--accent);font-size:1.25rem;
margin:2rem 0 .5rem}h3{font-size:1rem;margin:1.3rem 0 .4rem}p.sub{color:var(--soft);margin:.1rem 0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums lining-nums}
th{font-size:.85em;color:var(--soft);text-align:left;border-bottom:1.5px solid var(--accent);
vertical-align:bottom}th,td{padding:.25rem .5rem .25rem 0}td{border-bottom:1px solid var(--rule);
vertical-align:top}.r{text-align:right}tr.total td{font-weight:600;border-top:1px solid var(--ink);
border-bottom:1px solid var(--ink)}tr.group td{font-weight:600;color:var(--accent)}
.minor{color:var(--faint);font-weight:400}small{display:block;color:var(--soft)}
code,pre{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.85em;
overflow-wrap:anywhere}
pre{background:var(--wash);padding:.7rem;white-space:pre-wrap}.muted,.note{color:var(--soft)}
.note{font-size:.87em}.lead{font-size:1.1em}.warning{border-left:3px solid var(--accent);
background:var(--wash);padding:.5rem .8rem}.figures{display:flex;gap:2rem;background:var(--wash);
padding:.8rem 1rem;flex-wrap:wrap}.figures b{display:block;font-size:1.5rem;color:var(--accent)}
.beside{display:grid;grid-template-columns:2fr 1fr;gap:2rem}dl{display:grid;
grid-template-columns:max-content 1fr;gap:.15rem 1rem}dt{color:var(--soft)}dd{margin:0}
footer{color:var(--soft);border-top:1px solid var(--rule);margin-top:2.5rem;font-size:.87em}
@media(max-width:44rem){.beside{grid-template-columns:1fr}}
@media print{body{margin:0;max-width:none;font-size:10pt}}
"""


def render_html(document: Document) -> bytes:
    """Write a document as a self-contained HTML page.

    Raises:
        RenderError: the document holds a block this renderer does not know.
    """
    facts = _pairs([(label, Cell(value)) for label, value in document.facts])
    title = escape(f"{document.title}, {document.subtitle}")
    # Each part by itself, or a name that is read from the right turns the period beside it round.
    running = " · ".join(f"<bdi>{escape(part)}</bdi>" for part in document.running)
    body = "".join(_block(block) for block in document.blocks)
    page = (
        f'<!doctype html><html lang="{escape(document.language)}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><header><div><h1>{escape(document.title)}</h1>"
        f'<p class="sub">{escape(document.subtitle)}</p><p class="sub">{running}</p></div>'
        f"<div>{facts}</div></header><main>{body}</main>"
        f"<footer><p>{escape(document.footer)}</p></footer></body></html>\n"
    )
    return page.encode()


def _block(block: Block) -> str:
    for kind, draw in _DRAW.items():
        if isinstance(block, kind):
            return draw(block)
    raise RenderError("document", "html", f"unknown block {type(block).__name__}")


def _heading(block: Heading) -> str:
    return f"<h{block.level + 1}>{escape(block.text)}</h{block.level + 1}>"


def _text(block: Text) -> str:
    if block.tone == "code":
        return f'<pre class="code">{escape(block.text)}</pre>'
    return f'<p class="{escape(block.tone)}">{_worded(block.text)}</p>'


def _worded(text: str) -> str:
    """Escape a text; what stands between two backticks is a command or a name."""
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return "".join(f"<code>{p}</code>" if n % 2 else p for n, p in enumerate(parts))


def _facts(block: Facts) -> str:
    return _pairs(list(block.pairs))


def _figures(block: Figures) -> str:
    items = "".join(
        f"<div>{escape(label)}<b>{_money(cell)}</b><small>{escape(remark)}</small></div>"
        for label, cell, remark in block.items
    )
    return f'<div class="figures">{items}</div>'


def _picture(block: Picture) -> str:
    label = f'<svg role="img" aria-label="{escape(block.alt)}" '
    return f"<figure>{block.svg.replace('<svg ', label, 1)}</figure>"


def _beside(block: Beside) -> str:
    stacks = "".join(
        f"<div>{''.join(_block(inner) for inner in stack)}</div>"
        for stack in (block.left, block.right)
    )
    return f'<div class="beside">{stacks}</div>'


def _table(table: Table) -> str:
    source = f'<p class="note">Source: {_source(table.source)}</p>' if table.source else ""
    if not table.rows:
        return f'<p class="muted">{escape(table.empty)}</p>{source}'
    sides = [' class="r"' if column.align == "right" else "" for column in table.columns]
    head = "".join(
        f'<th scope="col"{side}>{escape(column.label)}</th>'
        for column, side in zip(table.columns, sides, strict=True)
    )
    labelled = any(column.label for column in table.columns)
    rows = "".join(_row(row, sides) for row in table.rows)
    heads = f"<thead><tr>{head}</tr></thead>" if labelled else ""
    return f"<table>{heads}<tbody>{rows}</tbody></table>{source}"


def _source(cell: Cell) -> str:
    return _cell(cell) if cell.href else _worded(cell.text)


def _row(row: Row, sides: list[str]) -> str:
    if row.kind == "group":
        return f'<tr class="group"><td colspan="{len(sides)}">{escape(row.cells[0].text)}</td></tr>'
    cells = "".join(
        f"<td{side}>{_cell(cell)}</td>" for cell, side in zip(row.cells, sides, strict=True)
    )
    return f'<tr class="{escape(row.kind)}">{cells}</tr>'


def _cell(cell: Cell) -> str:
    body = _worded(cell.text) if cell.tone == "muted" and not cell.minor else _money(cell)
    if cell.tone == "code":
        body = f"<code>{body}</code>"
    elif cell.tone:
        body = f'<span class="{escape(cell.tone)}">{body}</span>'
    body += f"<small>{escape(cell.sub)}</small>" if cell.sub else ""
    return f'<a href="{escape(cell.href)}">{body}</a>' if cell.href else body


def _money(cell: Cell) -> str:
    minor = f'<span class="minor">{escape(cell.minor)}</span>' if cell.minor else ""
    return escape(cell.text) + minor


def _pairs(pairs: list[tuple[str, Cell]]) -> str:
    items = "".join(f"<dt>{escape(label)}</dt><dd>{_cell(cell)}</dd>" for label, cell in pairs)
    return f"<dl>{items}</dl>"


_DRAW: Final[dict[type, Callable[[Any], str]]] = {
    Heading: _heading,
    Table: _table,
    Text: _text,
    Facts: _facts,
    Figures: _figures,
    Picture: _picture,
    Beside: _beside,
}
