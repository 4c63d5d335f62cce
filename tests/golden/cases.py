"""The papers that are kept as golden files; each is made from ids and round numbers."""

from reports.dictionary import dictionary_csv
from reports.render.html import render_html
from reports.render.pdf import render_pdf
from reports.settlement import settlement_document
from reports.statement import build_statement
from reports.statement_files import statement_files
from reports.statement_inputs import Movement, ReplacedVersion, StatementInputs
from tests.reports.example import header, inputs
from tests.reports.test_settlement import settlement

FORMATS = ("pdf", "detail.pdf", "json", "csv", "detail.csv", "account.csv", "html")


def nil():
    """Nothing happened; the period still has its statement."""
    return build_statement(StatementInputs(header=header(statement_number="S-2026-12-nil")))


def second_version():
    """A restated statement that names the first version and the difference."""
    first = build_statement(inputs())
    return build_statement(
        inputs(
            header=header(version=2, status="restated"),
            replaces=ReplacedVersion(1, first.sha256, first.payable_units, "fee of agreement v2"),
            movements=(*inputs().movements, Movement("fee", -40_678, "agreement v2, 0.03 %")),
            entries=(),
            ledger_closing_units=72_900_000,
        )
    )


def golden_files():
    """Every golden file: name -> bytes."""
    files = dict(statement_files(build_statement(inputs()), FORMATS))
    files |= statement_files(nil(), ("pdf", "json", "csv", "account.csv"))
    files |= statement_files(second_version(), ("pdf", "json"))
    files["settlement-2026-11.pdf"] = render_pdf(settlement_document(settlement()))
    files["settlement-2026-11.html"] = render_html(settlement_document(settlement()))
    files["data-dictionary.csv"] = dictionary_csv()
    return {f"statements/{name}": data for name, data in files.items()}
