"""The compliance report with what people sign and other runs measure: filled, cited, linked."""

import json
import re
from html.parser import HTMLParser

import pytest
from pypdf import PdfReader

from flows import cli
from flows.publish import publish_period
from tests.flows.papers import closed_months

PERIOD = "2026-01"
ASSERTION = f"""format: byline-assertion/1
period: {PERIOD}
assertion:
  text: We assert that the books are complete.
  signed_by: officer-1
  signed_on: 2026-02-10
revenue:
  amount: 1000.00
  what: revenue of the model service
  certified_by: officer-1
  certified_on: 2026-02-09
reservations:
  - source_id: site-1
    kind: robots.txt
    observed_on: 2026-01-05
    snapshot_sha256: {"ab" * 32}
    honoured: yes, left out
findings: []
distribution: [auditor-1]
roles:
  Roles: one operator, no sub-processor
"""
SCOREBOARD = {
    "format": "byline-scoreboard/2",
    "truth": {"documents": 40, "creators": 8, "queries": 16, "retrains": {"doc": 40}},
    "rows": [
        {
            "name": name,
            "lds_documents": {"mean": mean, "low": 0.1, "high": 0.5},
            "misallocated": {"linear/removal": money},
            "misallocated_interval": {"linear/removal": [5.0, 25.0]},
            "decoys": {"generic_share": 0.25},
            "shares": {"linear": paid},
        }
        for name, mean, money, paid in (
            ("path", 0.321, 14.2, [0.4, 0.3, 0.2, 0.1]),
            ("final", 0.111, 39.4, [0.1, 0.4, 0.3, 0.2]),
        )
    ],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A closed month, its gateway told, published."""
    folder = tmp_path_factory.mktemp("given") / "home"
    with pytest.MonkeyPatch.context() as patch:
        made = closed_months(patch, folder, 1)
    words = ["reconcile", "--dir", str(folder), "--date", f"{PERIOD}-20", "--calls", "41"]
    assert cli.run(words) == 0
    publish_period(made, PERIOD)
    return made


def report(home, *words):
    """Write the report; return the exit code and its sections by number."""
    code = cli.run(
        ["report", "compliance", "--dir", str(home.home), "--period", PERIOD, *map(str, words)]
    )
    path = home.reports(PERIOD) / "compliance.json"
    said = json.loads(path.read_bytes()) if path.exists() else {"sections": []}
    return code, {int(s["number"]): s for s in said["sections"]}


def values(section):
    """Figures of a section by label."""
    return {figure["label"]: figure["value"] for figure in section["figures"]}


def table_of(section, label):
    """The rows of a section's table."""
    (found,) = [t["rows"] for t in section["tables"] if t["label"].startswith(label)]
    return found


def test_what_was_signed_and_measured_fills_its_sections_and_is_cited(home, tmp_path):
    """Assertion, reservations, findings, LDS, misallocated money, the gateway's counts."""
    code, before = report(home)
    assert code == 0
    assert before[2]["state"] == "not filled"
    assert "byline evaluate run" in before[8]["gaps"][0]["remedy"]
    signed, judged = tmp_path / "signed.yaml", tmp_path / "evaluation.json"
    signed.write_text(ASSERTION)
    judged.write_text(json.dumps(SCOREBOARD))
    code, after = report(home, "--assertion", signed, "--evaluation", judged)
    assert code == 0
    assert after[2]["text"] == "We assert that the books are complete."
    assert after[2]["figures"][0]["source"].startswith("signed.yaml, sha256 ")
    assert [after[n]["state"] for n in (1, 2, 3, 5, 6, 8, 9)] == ["filled"] * 7
    assert after[5]["tables"][0]["rows"][0][0] == "site-1"
    assert [g["what"] for g in after[20]["gaps"]] == ["sign-offs"]
    method = values(after[8])
    assert method["LDS over documents, path"] == "0.321 [0.100, 0.500]"
    assert method["Methods side by side"].startswith("2: 14.2 % (path) to 39.4 % (final)")
    # (0.3 + 0.1 + 0.1 + 0.1) / 2; ranks 4 3 2 1 against 1 4 3 2.
    assert (
        method["Money that another method than path would move"] == "30.0 % to 30.0 % of the pool"
    )
    pays, other = table_of(after[8], "Methods side by side")
    assert pays[0] == "path (pays)"
    assert other[2:] == ["39.4 % [5.0, 25.0]", "25 %", "-0.20", "30.0 %"]
    certified = values(after[9])
    assert certified["Revenue certified"] == "USD 1,000.000000"
    assert certified["Certified less logged"].startswith("USD −200.75")  # noqa: RUF001 - the printed minus.
    logged, gateway, differ = after[6]["tables"][0]["rows"][0][1:4]
    assert (logged, gateway, differ) == ("41", "41", "0")


class _Links(HTMLParser):
    """Collects what a page links to."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        """Keep the target of a link."""
        if tag == "a":
            self.found.append(dict(attrs)["href"])


def test_numbers_link_to_the_files_that_give_them(home):
    """Every link of the page stays in the workspace and leads to something."""
    assert report(home)[0] == 0
    page = home.reports(PERIOD) / "compliance.html"
    links = _Links()
    links.feed(page.read_text(encoding="utf-8"))
    pdf = [
        annotation.get_object()["/A"]["/URI"]
        for sheet in PdfReader(page.with_suffix(".pdf")).pages
        for annotation in sheet.get("/Annots", [])
    ]
    assert set(pdf) == set(links.found)
    assert len(set(links.found)) > 15
    for target in links.found:
        place = (page.parent / target).resolve()
        assert place.is_relative_to(home.root.resolve())
        assert place.exists()


def test_every_number_has_a_link_or_a_command_to_repeat_it_with(home):
    """What is neither is a sentence of the report itself, or a folder that is still empty."""
    code, sections = report(home)
    assert code == 0
    links = json.loads((home.reports(PERIOD) / "compliance.json").read_bytes())["links"]
    own = {"this report", "ARCHITECTURE.md", "1 less the generic part"}
    for section in sections.values():
        for item in (*section["figures"], *section["tables"]):
            source = item.get("source", "")
            if source in links or source in own or source.startswith("`byline "):
                continue
            if not source:
                first = [row[0].rpartition("(")[2].rstrip(")") for row in item["rows"]]
                last = [row[1] for row in item["rows"]]
                known = [text in links or text.startswith("`byline ") for text in (*first, *last)]
                assert sum(known) >= len(item["rows"]), (section["title"], item)
                continue
            folder = source.partition("*")[0]
            assert "*" in source, (section["title"], source)
            assert not (home.root / folder).exists(), (section["title"], source)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("byline-assertion/1", "other/1", "expected format"),
        (f"period: {PERIOD}", "period: 2025-12", "not 2026-01"),
        ("findings: []", "finding: []", "unknown key 'finding'"),
        ("  signed_by: officer-1\n", "", "signed_by"),
        ("    kind: robots.txt", "    sort: robots.txt", "Its keys are source_id"),
    ],
)
def test_a_wrong_assertion_is_refused_and_nothing_written(home, tmp_path, capsys, old, new, told):
    """What, where, and what to do."""
    signed = tmp_path / "signed.yaml"
    assert old in ASSERTION
    signed.write_text(ASSERTION.replace(old, new))
    for path in home.reports(PERIOD).glob("compliance.*"):
        path.unlink()
    assert report(home, "--assertion", signed)[0] == 1
    assert re.search(re.escape(told), capsys.readouterr().err)
    assert not list(home.reports(PERIOD).glob("compliance.*"))


def test_another_file_for_an_evaluation_is_refused(home, tmp_path, capsys):
    """A JSON that no evaluation wrote."""
    wrong = tmp_path / "evaluation.json"
    wrong.write_text("{}")
    assert report(home, "--evaluation", wrong)[0] == 1
    assert "byline evaluate run" in capsys.readouterr().err
