"""Every format of a statement says the same, to the unit, and harms no reader."""

import csv
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pypdf import PdfReader

from contracts.money import parse_units
from reports.errors import FontMissingError
from reports.render.csv import csv_bytes, guard, render_csv
from reports.render.document import Cell, Column, Row, Table, Text
from reports.render.html import render_html
from reports.render.json import render_json
from reports.render.pdf import check_fonts, render_pdf
from reports.render.xlsx import render_xlsx
from reports.statement import build_statement
from reports.statement_document import statement_document
from reports.statement_inputs import StatementInputs
from tests.reports.example import header, inputs

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
SCRIPTS = "Ωμέγα Щука 中文 日本語 한국어 العربية עברית हिन्दी ไทย Հայ ქართ 😀📚"


def statement(**changes):
    """Build the example statement with inputs changed."""
    return build_statement(inputs(**changes))


def pdf_text(data):
    """All the text of a PDF."""
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(data)).pages)


def sheet_rows(data, number):
    """The rows of one sheet of a workbook, as texts."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        shared = ET.fromstring(book.read("xl/sharedStrings.xml"))
        texts = ["".join(item.itertext()) for item in shared.iter(f"{SHEET}si")]
        sheet = ET.fromstring(book.read(f"xl/worksheets/sheet{number}.xml"))
    rows = []
    for row in sheet.iter(f"{SHEET}row"):
        cells = []
        for cell in row.iter(f"{SHEET}c"):
            value = cell.findtext(f"{SHEET}v")
            cells.append(texts[int(value)] if cell.get("t") == "s" else value)
        rows.append(cells)
    return rows


@pytest.mark.parametrize("table", ["summary", "detail"])
def test_csv_work_lines_add_up_to_the_earned_royalties(table):
    """A column of the file adds up; the decimal and the units are the same amount."""
    rows = list(csv.DictReader(io.StringIO(render_csv(statement(), table).decode())))
    assert sum(int(row["amount_units"]) for row in rows) == statement().earned_units
    for row in rows:
        assert parse_units(row["amount"], "USD/6") == int(row["amount_units"])


def test_csv_account_summary_ends_in_the_closing_balance():
    """The last line of the account file is what the ledger says is owed."""
    rows = list(csv.DictReader(io.StringIO(render_csv(statement(), "account").decode())))
    assert rows[-1]["kind"] == "closing"
    assert int(rows[-1]["amount_units"]) == statement().closing_units


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+1", "'+1+1"),
        ("-1+1", "'-1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        (" =1", "' =1"),
        ("-12.50", "-12.50"),
        ("-", "'-"),
        ("plain", "plain"),
    ],
)
def test_cells_that_a_spreadsheet_would_run_are_guarded(text, expected):
    """A title is text for whoever opens the file, whatever it begins with."""
    assert guard(text) == expected


def test_a_dangerous_title_reaches_no_file_unguarded():
    """From the work's title to the cell of every file."""
    works = (replace(inputs().works[0], title="=1+1"), *inputs().works[1:])
    made = statement(works=works)
    assert b"\r\n=" not in render_csv(made, "detail")
    assert b",=1" not in render_csv(made, "detail")
    with zipfile.ZipFile(io.BytesIO(render_xlsx(made))) as book:
        assert not any(b"<f>" in book.read(name) for name in book.namelist())


def test_json_totals_are_exact_texts_and_the_digest_can_be_taken_again():
    """Whoever has the JSON can check its SHA-256 with the standard library."""
    import hashlib

    document = json.loads(render_json(statement()))
    assert document["totals"]["payable"] == {"units": "84940678", "amount": "84.940678"}
    signed = {"format": document["format"], "inputs": document["inputs"]}
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == document["sha256"]


def test_xlsx_holds_numbers_and_a_frozen_header():
    """Amounts are number cells that read back to the unit; the header stays in view."""
    made = statement()
    data = render_xlsx(made)
    for number in (2, 3):
        rows = sheet_rows(data, number)
        place = rows[0].index("amount")
        total = sum(parse_units(row[place], "USD/6") for row in rows[1:])
        assert total == made.earned_units
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert b'state="frozen"' in book.read("xl/worksheets/sheet2.xml")
    assert data == render_xlsx(made)


@pytest.mark.parametrize("layout", ["summary", "detail"])
def test_pdf_says_what_the_ledger_says(layout):
    """The amounts a person reads are the statement's own, with all their digits."""
    text = pdf_text(render_pdf(statement_document(statement(), layout)))
    flat = re.sub(r"\s", "", text)
    for amount in ("135.500000", "74.295678", "84.940678", "72.940678", "\N{MINUS SIGN}50.000000"):
        assert amount in flat, f"{amount} is not on the {layout} layout"
    assert "Page 1 of" in text
    assert "S-2026-11-pkg-numkit v1, final" in text


def test_pdf_bytes_are_the_same_on_every_run():
    """No clock and no font of the machine gets into the file."""
    document = statement_document(statement())
    assert render_pdf(document) == render_pdf(document)


def test_any_script_has_glyphs():
    """Names are set in their own script: no character falls into the missing glyph."""
    named = header(payee_name=SCRIPTS)
    data = render_pdf(statement_document(build_statement(StatementInputs(header=named))))
    fonts = set()
    for page in PdfReader(io.BytesIO(data)).pages:
        fonts |= {font.get_object()["/BaseFont"] for font in page["/Resources"]["/Font"].values()}
    for family in ("Arabic", "Hebrew", "Devanagari", "Thai", "Droid", "NanumSquare", "Emoji"):
        assert any(family in font for font in fonts), f"no {family} face in {sorted(fonts)}"
    assert not any("Libertinus" in font or "NewCM" in font for font in fonts)


def test_what_stands_below_an_empty_table_does_not_stand_on_it():
    """Its word for nothing has a line of its own above the source."""
    table = Table((Column("A"),), (), empty="None.", source=Cell("`byline db check`"))
    places = {}

    def keep(text, matrix, at, _font, _size):
        for word in ("None.", "Source:"):
            if word in text:
                places[word] = matrix[5] + matrix[3] * at[5]

    made = render_pdf(replace(statement_document(statement()), blocks=(table,)))
    (page,) = PdfReader(io.BytesIO(made)).pages
    page.extract_text(visitor_text=keep)
    assert abs(places["None."] - places["Source:"]) > 9


def test_a_command_between_backticks_is_set_as_one_and_a_title_is_left_alone():
    """In paragraphs and sources; never in what creators named."""
    title = "the `quoted` work"
    table = Table((Column("A"),), (Row((Cell(title),)),), source=Cell("`byline db check`"))
    blocks = (Text("See `byline x`."), Text("one ` alone"), table)
    page = replace(statement_document(statement()), blocks=blocks)
    html = render_html(page).decode()
    assert "See <code>byline x</code>." in html
    assert "one ` alone" in html
    assert "Source: <code>byline db check</code>" in html
    text = pdf_text(render_pdf(page))
    for shown in (html, text):
        assert title in shown
    assert "See byline x." in re.sub(r"\s+", " ", text)


def test_markup_in_a_name_is_text():
    """A title cannot change the layout of the PDF nor the page of the HTML."""
    evil = '#panic("x") <script>alert(1)</script> $x$ *b*'
    document = statement_document(
        build_statement(StatementInputs(header=header(payee_name=evil), notes=(evil,)))
    )
    assert "#panic" in pdf_text(render_pdf(document))
    page = render_html(document).decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_html_stands_alone_and_shows_the_closing_balance():
    """No address is fetched; the numbers are those of the PDF."""
    page = render_html(statement_document(statement(), "detail")).decode()
    assert not re.search(r"(?:src|href)=", page)
    assert '72.94<span class="minor">0678</span>' in page


def test_a_name_read_from_the_right_turns_no_number_round():
    """In the head of a page every part is set by itself."""
    page = render_html(statement_document(statement(header=header(payee_name="نجيب محفوظ"))))
    assert "<bdi>نجيب محفوظ</bdi> · <bdi>2026-11</bdi>" in page.decode()


def test_a_changed_font_is_named(tmp_path):
    """A font that is not the shipped one would change the bytes of every statement."""
    folder = Path("reports/render/fonts")
    sums = (folder / "SHA256SUMS").read_text()
    (tmp_path / "SHA256SUMS").write_text(sums)
    name = sums.split()[1]
    with pytest.raises(FontMissingError, match="the file is missing"):
        check_fonts(tmp_path)
    (tmp_path / name).write_bytes(b"not a font")
    with pytest.raises(FontMissingError, match="its SHA-256 is"):
        check_fonts(tmp_path)
    assert check_fonts(folder) >= 20


def test_numbers_in_a_csv_stay_numbers():
    """Integers are written bare, negative ones too."""
    assert csv_bytes(("a", "b"), [(-5, "-5.0")]) == b"a,b\r\n-5,-5.0\r\n"
