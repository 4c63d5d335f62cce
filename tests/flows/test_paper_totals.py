"""What papers print, read back from HTML and PDF, against the postings of the book, to the unit."""

import io
import re
from html.parser import HTMLParser

import pytest
from pypdf import PdfReader

from contracts.money import show_money
from flows import cli
from flows.books import open_books
from flows.publish import publish_period
from ledger import chart
from reports.render.text import amount
from reports.statement_reader import read_statement
from tests.flows.papers import closed_months

PERIOD = "2026-02"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two closed months; the second published, with statements in HTML too."""
    folder = tmp_path_factory.mktemp("totals") / "home"
    with pytest.MonkeyPatch.context() as patch:
        made = closed_months(patch, folder, 2, creators=10)
    publish_period(made, PERIOD)
    words = ["statements", "--dir", str(folder), "--period", PERIOD, "--processes", "1"]
    assert cli.run([*words, "--format", "html", "--format", "pdf"]) == 0
    return made


class _Rows(HTMLParser):
    """The tables and pairs of a page as texts: digits set lighter are joined to the others."""

    def __init__(self, page):
        super().__init__()
        self.cells = []
        self.feed(page)

    def handle_starttag(self, tag, _attrs):
        """Begin a cell."""
        if tag in {"td", "th", "dt", "dd", "small", "b", "p", "h2", "h3"}:
            self.cells.append("")

    def handle_data(self, data):
        """Add to the cell that is open."""
        if self.cells:
            self.cells[-1] += data


def printed(units):
    """An amount as papers print it, without the space between cents and what is beyond."""
    cell = amount(units, "USD/6")
    return cell.text + cell.minor


def pdf_text(path):
    """The text of all pages without white space."""
    pages = PdfReader(io.BytesIO(path.read_bytes())).pages
    return re.sub(r"\s+", "", "".join(page.extract_text() for page in pages))


def owed(entries, payee, before):
    """What the book owes a payee at the start of the period, or at its end."""
    account = chart.royalties_payable(payee)
    return -sum(
        p.units
        for e in entries
        if e.period < PERIOD or (e.period == PERIOD and not before)
        for p in e.postings
        if p.account_id == account
    )


def test_statements_print_the_ledgers_opening_and_closing(home):
    """Each payee's page and PDF: the account summary's first and last amount, exactly."""
    with open_books(home) as books:
        entries = [s.entry for s in books.entries()]
    checked = 0
    for record in (home.reports(PERIOD) / "statements").glob("*.json"):
        made = read_statement(record.read_bytes())
        payee = made.inputs.header.payee_id
        opening, closing = owed(entries, payee, before=True), owed(entries, payee, before=False)
        page = record.with_suffix(".html").read_text(encoding="utf-8")
        cells = _Rows(page).cells
        text = pdf_text(record.with_suffix(".pdf"))
        for units in (opening, closing):
            assert printed(units) in cells
            assert printed(units) in text
            assert printed(units + 1) not in cells
        checked += closing != opening
    assert checked >= 5


def test_papers_speak_of_money_and_not_of_the_books_units(home):
    """The working names the pool as it was paid; no page gives a number of units."""
    folder = home.reports(PERIOD)
    assert cli.run(["report", "compliance", "--dir", str(home.root), "--period", PERIOD]) == 0
    told = 0
    for path in sorted((folder / "statements").glob("*.json")):
        made = read_statement(path.read_bytes())
        pools = {p.pool_id: show_money(p.pool_units, "USD/6") for p in made.inputs.pools}
        for line in made.inputs.working[:1] if pools else ():
            (pool_id, pool) = next(iter(pools.items()))
            assert line.working == f"part of pool {pool_id} of {pool}"
            told += 1
    assert told >= 5
    pages = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.html"))]
    assert len(pages) >= told
    said = [found for page in pages for found in re.findall(r".{20}\d units\b.{20}", page)]
    assert said == []


def test_the_settlement_report_prints_the_pool_and_what_was_paid_of_it(home):
    """The pool is what the nights charged; the paid part is what reached the payees."""
    with open_books(home) as books:
        entries = [s.entry for s in books.entries() if s.entry.period == PERIOD]
    pool = sum(
        p.units
        for e in entries
        for p in e.postings
        if p.account_id == chart.ROYALTY_EXPENSE and e.kind == "accrual"
    )
    paid = -sum(
        p.units
        for e in entries
        for p in e.postings
        if p.account_id.startswith(chart.PAYABLE_PREFIX) and e.kind == "apportionment"
    )
    text = pdf_text(home.reports(PERIOD) / "settlement.pdf")
    assert paid > 0
    for units in (pool, paid):
        assert printed(units) in text
