"""`byline agreements` from a signed text to a version in force; evidence stays evidence."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from contracts.errors import ApprovalRefusedError, UnknownVersionError
from contracts.signature import sign_agreement
from flows import cli
from flows.agreement_desk import trusted_keys
from flows.books import read_agreements
from tests.simulation.paper import paper_workspace, write_works

TEXT = """\
format: byline-agreement/1
agreement_id: agr-anna
version: 1
licensor: anna
licensee: operator
effective_from: 2026-01-01
currency: USD/2
terms:
  - term_id: out
    then: {basis: pool_share, pool: main, rate: 40%}
"""
RSL = b"""<rsl xmlns="https://rslstandard.org/rsl"><content url="/poems/"><license>
<permits type="usage">ai-train</permits><payment type="use"><amount currency="USD">0.01</amount>
</payment></license></content></rsl>"""
KEY = Ed25519PrivateKey.from_private_bytes(b"7" * 32)


@pytest.fixture
def workspace(tmp_path):
    """An installation that trusts one signer."""
    made = paper_workspace(tmp_path / "home")
    write_works(made, {"w1": {"anna": "1"}})
    public = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    keys = made.home / "keys" / "agreement-signers.pub"
    keys.write_text(f"# trusted\nanna-key {base64.b64encode(public).decode()}\n", encoding="utf-8")
    return made


def said(capsys, workspace, *words, code=0):
    """Run `byline agreements` with --json; return what it says, or the error's text."""
    found = cli.run(["agreements", *map(str, words), "--dir", str(workspace.home), "--json"])
    out = capsys.readouterr()
    assert found == code, out.err + out.out
    return json.loads(out.out) if out.out else out.err


def signed(tmp_path, text, name="deal.yaml"):
    """Write a text with the trusted signature."""
    path = tmp_path / name
    path.write_text(sign_agreement(text, "anna-key", KEY), encoding="utf-8")
    return path


def test_a_signed_text_is_a_draft_until_a_second_person_approves_it(workspace, tmp_path, capsys):
    """Imported, refused to its preparer, approved by another, listed, superseded, compared."""
    path = signed(tmp_path, TEXT)
    assert said(capsys, workspace, "lint", path)["ok"]
    said(capsys, workspace, "import", path, "--prepared-by", "lena")
    (row,) = said(capsys, workspace, "list")["agreements"]
    assert (row["status"], row["prepared_by"], row["signed_by"]) == ("draft", "lena", "anna-key")
    assert not (workspace.agreements / "agr-anna.v1.yaml").exists()
    words = ("approve", "agr-anna", "--version", 1, "--approved-by")
    assert "prepared by lena" in said(capsys, workspace, *words, "lena", code=1)
    said(capsys, workspace, *words, "marc")
    said(capsys, workspace, *words, "marc")
    later = TEXT.replace("version: 1", "version: 2").replace("40%", "50%")
    later = later.replace("2026-01-01", "2026-03-01")
    said(capsys, workspace, "import", signed(tmp_path, later, "v2.yaml"), "--prepared-by", "marc")
    said(capsys, workspace, "approve", "agr-anna", "--version", 2, "--approved-by", "lena")
    rows = said(capsys, workspace, "list")["agreements"]
    assert [(r["version"], r["effective_from"], r["holds_until"]) for r in rows] == [
        (1, "2026-01-01", "2026-03-01"),
        (2, "2026-03-01", None),
    ]
    (row,) = said(capsys, workspace, "list", "--on", "2026-02-01")["agreements"]
    assert row["version"] == 1
    differences = said(capsys, workspace, "diff", "agr-anna", 1, 2)["differences"]
    assert differences == [
        {"field": "effective_from", "was": "2026-01-01", "is": "2026-03-01"},
        {"field": "terms[out].rate", "was": "2/5", "is": "1/2"},
    ]
    assert said(capsys, workspace, "show", "agr-anna")["name"] == "agreement agr-anna v2"


def test_a_text_changed_after_signing_or_signed_by_nobody_we_trust_is_refused(
    workspace, tmp_path, capsys
):
    """Nothing is stored of it."""
    path = signed(tmp_path, TEXT)
    path.write_text(path.read_text().replace("40%", "90%"), encoding="utf-8")
    words = ("import", path, "--prepared-by", "lena")
    assert "terms were changed after signing" in said(capsys, workspace, *words, code=1)
    path.write_text(TEXT, encoding="utf-8")
    assert "is not signed" in said(capsys, workspace, *words, code=1)
    path.write_text(sign_agreement(TEXT, "mallory", KEY), encoding="utf-8")
    assert "none of the trusted keys anna-key" in said(capsys, workspace, *words, code=1)
    assert said(capsys, workspace, "list")["agreements"] == []


def test_lint_names_every_fault_in_one_pass(workspace, tmp_path, capsys):
    """Two files, three faults, each with its line and what was expected."""
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(TEXT.replace("40%", "140%").replace("anna\n", "nobody\n"), encoding="utf-8")
    two.write_text(TEXT.replace("2026-01-01", "2026-13-01"), encoding="utf-8")
    faults = said(capsys, workspace, "lint", one, two, code=1)["faults"]
    assert [(f["file"], f["line"]) for f in faults] == [(str(one), 4), (str(one), 9), (str(two), 6)]


def test_an_offer_is_evidence_with_a_draft_and_never_an_agreement(workspace, tmp_path, capsys):
    """RSL and robots.txt with place and time; the drafts are listed apart and can be shown."""
    rsl, robots = tmp_path / "x.xml", tmp_path / "robots.txt"
    rsl.write_bytes(RSL)
    robots.write_text("Content-Signal: ai-train=no\n", encoding="utf-8")
    told = ("--location", "https://x.example/f", "--acquired-at", "2026-11-20T10:00:00Z")
    found = said(capsys, workspace, "import", rsl, "--from", "rsl", *told)
    assert "payment: use, 0.01 USD" in found["drafts"][0]
    said(capsys, workspace, "import", robots, "--from", "robots", *told)
    listed = said(capsys, workspace, "list")
    assert listed["agreements"] == []
    assert len(listed["drafts"]) == 2
    shown = said(capsys, workspace, "show", found["evidence_id"] + "/1")
    assert shown["text"] == found["drafts"][0]
    words = ("import", rsl, "--from", "rsl", "--location", "x", "--acquired-at", "yesterday")
    assert "2026-11-20T10:00:00Z, got 'yesterday'" in said(capsys, workspace, *words, code=1)


def test_a_key_that_is_no_key_is_named_with_its_line(workspace):
    """A file of trusted keys is read whole or not at all."""
    path = workspace.home / "keys" / "agreement-signers.pub"
    path.write_text(path.read_text() + "bo not-a-key\n", encoding="utf-8")
    with pytest.raises(Exception, match=r"line 3: the key of bo is not 32 bytes"):
        trusted_keys(workspace)


def test_with_approved_only_nothing_is_read_that_a_second_person_did_not_approve(
    workspace, tmp_path, capsys, monkeypatch
):
    """A text laid into the folder, a draft, an approved text: only the last is paid under."""
    monkeypatch.setenv("BYLINE_AGREEMENTS__APPROVED_ONLY", "true")
    strict = type(workspace).open(workspace.home)
    path = signed(tmp_path, TEXT)
    laid = workspace.agreements / "agr-anna.v1.yaml"
    laid.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(UnknownVersionError, match="not in the database"):
        read_agreements(strict)
    laid.unlink()
    said(capsys, workspace, "import", path, "--prepared-by", "lena")
    said(capsys, workspace, "approve", "agr-anna", "--version", 1, "--approved-by", "marc")
    assert [a.name for a in read_agreements(strict).agreements] == ["agreement agr-anna v1"]
    laid.write_text(path.read_text(encoding="utf-8") + "# a remark\n", encoding="utf-8")
    with pytest.raises(ApprovalRefusedError, match="another text than the approved one"):
        read_agreements(strict)
