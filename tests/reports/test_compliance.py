"""The compliance report has twenty sections; each is filled, or says why it is not."""

import io
import json
from dataclasses import replace

import pytest
from pypdf import PdfReader

from reports.compliance import compliance_document, compliance_json, compliance_sections
from reports.compliance_inputs import (
    AgreementFact,
    Assertion,
    ComplianceInputs,
    ControlFact,
    CoverageFact,
    FactTable,
    Figure,
    Finding,
    LedgerFact,
    PayoutFact,
    ReservationFact,
    SamplingFact,
    Stage,
    SuspenseFact,
    UsageDay,
)
from reports.errors import StatementDoesNotFootError
from reports.render.html import render_html
from reports.render.pdf import render_pdf
from tests.reports.example import inputs as statement_inputs

EMPTY = ComplianceInputs(
    report_id="C-2026-11",
    period="2026-11",
    period_start="2026-11-01",
    period_end="2026-11-30",
    report_date="2026-12-08",
    payer_id="org:example-models",
    currency="USD/6",
)


def day(date, **changes):
    """One day of usage whose exclusions add up."""
    base = UsageDay(
        date, 220, 204, 96, 1, f"outputs/{date}.manifest.json", 221, {"error": 9, "test": 7}
    )
    return replace(base, **changes)


SUSPENSE = (
    SuspenseFact(
        "Liabilities:Suspense:Unmatched",
        52_500_000,
        "2026-11-20",
        "search",
        by_age={"to 30": 52_500_000},
    ),
    SuspenseFact("Liabilities:Reserve:pkg:numkit", 700, "2026-11-30", "", "EUR/2"),
)


def full(**changes):
    """A report with every fact that the books and manifests can give."""
    given = statement_inputs()
    base = replace(
        EMPTY,
        status="final",
        distribution=("org:auditor",),
        versions=(Figure("Model", "tiny-gpt2@2026-11-02", "model/recipe.json"),),
        assertion=Assertion("The books are complete and correct.", "user:cfo", "2026-12-07"),
        agreements=(
            AgreementFact("agr:numkit", 2, "pkg:numkit", "2026-01-01", works=2, change="changed"),
        ),
        coverage=(
            CoverageFact("licensed", 700, 90_000, payable=True),
            CoverageFact("public_domain", 100, 10_000),
        ),
        reservations=(
            ReservationFact("src:1", "robots.txt", "2026-06-01", "ab" * 32, "nothing reserved"),
        ),
        usage=(day("2026-11-20"), day("2026-11-21")),
        sampling=(
            SamplingFact(
                "2026-11-20", "cd" * 32, 4, 204, 96, "sample/2026-11-20.manifest.json",
                (("largest ten", "8 % of the share"),), 3,
            ),
        ),
        method=(
            Figure("Method", "path/1", "influence manifest"),
            Figure("LDS", "0.41", "bench/lds"),
            Figure("Misallocated money", "21 %", "bench/lds"),
            Figure("Generic part", "38 %", "estimates manifest"),
            Figure("Money that another method would move", "4 % to 60 %", "bench/lds"),
        ),
        pools=given.pools,
        revenue=(Figure("Revenue certificate", "8,333.33 USD", "evidence/revenue.json"),),
        ledger=LedgerFact(18, 241, 0, 1, 3, "entries.jsonl", {"accrual": 2, "payout": 1}, 0),
        checkpoint=given.checkpoint,
        stages=(
            Stage("Value of payable outputs, pool part", 2_500_000_000, "outputs manifests"),
            Stage("Accrued in the ledger", 2_500_000_000, "entries of kind accrual"),
            Stage("Apportioned to creators", 2_106_499_999, "entries of kind apportionment",
                  "unlicensed, unmatched, below noise, unexplained"),
        ),
        suspense=SUSPENSE,
        payouts=(PayoutFact("batch:1", "ef" * 32, 3, 9_000_000, {"settled": 3}),),
        adjustments=given.adjustments,
        controls=(
            ControlFact("Entries balance", "deferred database check", "db check", "held"),
        ),
        privacy=(Figure("Raw text deleted", "2 days", "retention log"),),
        annexes=(Figure("EU summary", "draft 1", "disclosure/eu.json"),),
        reperformance=(Figure("Audit pack", "2026-11.byline.zip", "packs/"),),
        findings=(Finding("Interval ignores method error", "medium", "printed", "2027-03"),),
        appeals=2,
        tables={7: (FactTable("Strata", ("=Stratum", ">Size"), (("all", "96"),), "sample/"),)},
        links={"sample/": "../../sample/"},
        figures={3: (Figure("Sub-processors", "none", "register"),)},
    )  # fmt: skip
    return replace(base, **changes)


def test_twenty_sections_are_there_with_nothing_known():
    """An empty report is honest: every section says that and why it is not filled."""
    sections = compliance_sections(EMPTY)
    assert [section.number for section in sections] == list(range(1, 21))
    assert {section.state for section in sections} <= {"in part", "not filled"}
    for section in sections:
        assert section.body.gaps, f"section {section.number} claims to be filled"
        assert all(gap.why for gap in section.body.gaps)


def test_a_full_report_leaves_only_what_people_must_give():
    """Sign-offs are not made by software; all else is filled."""
    states = {section.number: section.state for section in compliance_sections(full())}
    assert {number for number, state in states.items() if state != "filled"} == {20}
    assert states[20] == "in part"


def test_every_figure_has_a_source():
    """A number nobody can check is not a figure."""
    document = json.loads(compliance_json(full()))
    figures = [figure for section in document["sections"] for figure in section["figures"]]
    assert len(figures) > 15
    assert all(figure["source"] for figure in figures)
    with pytest.raises(AssertionError, match="has no source"):
        Figure("Entries", "5", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"usage": (day("2026-11-20", payable=205),)}, "payable and excluded outputs"),
        (
            {"ledger": replace(full().ledger, trial_balance_units=-1)},
            "trial balance against zero",
        ),
        ({"pools": (replace(full().pools[0], pool_units=1),)}, "destinations of pool"),
    ],
)
def test_facts_that_disagree_are_refused(change, message):
    """An auditor is not handed sums that do not add up."""
    with pytest.raises(StatementDoesNotFootError, match=message):
        compliance_sections(full(**change))


def test_a_table_names_its_source_and_currencies_are_never_added():
    """A list without a source is refused; each currency has its own table and sum."""
    with pytest.raises(AssertionError, match="has no source"):
        FactTable("Strata", ("=Stratum",), (), "")
    section = compliance_sections(full())[11]
    assert [table.label for table in section.body.tables] == ["By age in USD", "By age in EUR"]
    values = [figure.value for figure in section.body.figures]
    assert values == ["USD 52.500000", "EUR 7.00"]


def test_a_long_register_is_counted_and_its_changes_come_first():
    """Ten thousand agreements are twenty lines; the file beside the report has them all."""
    many = [AgreementFact(f"a{n:05}", 1, f"c{n:05}", "2026-01-01", works=n) for n in range(9_999)]
    changed = AgreementFact("zz", 2, "z", "2026-11-01", works=0, change="changed")
    body = compliance_sections(full(agreements=(*many, changed)))[3].body
    table = body.tables[0]
    assert len(table.rows) == 20
    assert [row.cells[0].text for row in table.rows[:2]] == ["zz v2", "a09998 v1"]
    assert table.label.startswith("Agreements in force: 20 of 10,000")
    assert {figure.value for figure in body.figures} >= {"10,000", "1 changed"}


def test_links_are_in_the_pdf_and_in_the_page():
    """What is cited can be clicked: the PDF has an annotation with the relative place."""
    document = compliance_document(full())
    found = [
        annotation.get_object()["/A"]["/URI"]
        for page in PdfReader(io.BytesIO(render_pdf(document))).pages
        for annotation in page.get("/Annots", [])
    ]
    assert set(found) == {"../../sample/"}
    assert '<a href="../../sample/">' in render_html(document).decode()


def test_an_unexplained_difference_between_stages_is_a_gap():
    """A difference nobody explained is shown as one."""
    stages = (Stage("A", 5, "a"), Stage("B", 4, "b"))
    section = compliance_sections(full(stages=stages))[10]
    assert section.state == "in part"
    assert "−" in section.body.gaps[0].what  # noqa: RUF001 - the printed minus.


def test_pdf_html_and_json_have_the_same_sections():
    """One set of sections, three formats, the same bytes on every run."""
    document = compliance_document(full())
    pdf = render_pdf(document)
    assert pdf == render_pdf(compliance_document(full()))
    text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
    page = render_html(document).decode()
    for section in compliance_sections(full()):
        assert section.title in " ".join(text.split())
        assert section.title in page
    assert compliance_document(EMPTY).watermark == "draft"
