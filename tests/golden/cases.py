"""The papers that are kept as golden files; each is made from ids and round numbers."""

from reports.compliance import compliance_document, compliance_json
from reports.dictionary import dictionary_csv
from reports.disclosure import california, eu
from reports.disclosure.facts import answers_json
from reports.exports.audit_data_standard import audit_data_files
from reports.exports.dsr_style import dsr_style_tsv
from reports.payouts.nacha import write_nacha
from reports.render.html import render_html
from reports.render.pdf import render_pdf
from reports.settlement import settlement_document
from reports.statement import build_statement
from reports.statement_files import statement_files
from reports.statement_inputs import Movement, ReplacedVersion, StatementInputs
from tests.ledger.book_maker import small_book
from tests.reports.example import header, inputs
from tests.reports.test_compliance import EMPTY, full
from tests.reports.test_disclosure import BARE
from tests.reports.test_payout_files import DOLLARS, EUROS, ODFI, message
from tests.reports.test_payouts import approved
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


def payout_files():
    """Bank files of the example payees; account numbers are the published examples."""
    nacha = write_nacha(
        approved(*DOLLARS),
        ODFI,
        created_on="2026-12-10",
        created_at="0900",
        effective_on="2026-12-11",
    )
    return {"payouts/pain001.xml": message(*EUROS), "payouts/nacha.txt": nacha}


def report_files():
    """Compliance report, filled and empty, disclosure drafts, and exports."""
    files = {
        "reports/compliance.json": compliance_json(full()),
        "reports/compliance-empty.json": compliance_json(EMPTY),
        "reports/compliance.html": render_html(compliance_document(full())),
        "reports/eu-summary.json": answers_json(eu.eu_summary(BARE), BARE, eu.FORMAT),
        "reports/california.json": answers_json(
            california.california_items(BARE), BARE, california.FORMAT
        ),
        "reports/dsr-style.tsv": dsr_style_tsv(
            [build_statement(inputs()), second_version()],
            period="2026-11",
            sender_id="org:example-models",
            recipient_id="org:example-society",
        ),
    }
    ads = audit_data_files(small_book(), "2026-11", "2026-12")
    return files | {f"reports/{name}": data for name, data in ads.items()}


def golden_files():
    """Every golden file: name -> bytes."""
    files = dict(statement_files(build_statement(inputs()), FORMATS))
    files |= statement_files(nil(), ("pdf", "json", "csv", "account.csv"))
    files |= statement_files(second_version(), ("pdf", "json"))
    files["settlement-2026-11.pdf"] = render_pdf(settlement_document(settlement()))
    files["settlement-2026-11.html"] = render_html(settlement_document(settlement()))
    files["data-dictionary.csv"] = dictionary_csv()
    named = {f"statements/{name}": data for name, data in files.items()}
    return named | payout_files() | report_files()
