"""Bad input and a bad machine, paper by paper: a clear word, and no file that was not there.

Every paper that a command writes stands in the table; what may go wrong is laid over it.
"""

import errno
import os
import shutil

import pytest

from flows import cli
from reports.errors import FontMissingError
from reports.render import pdf
from tests.flows.papers import closed_months

PERIOD, OPEN = "2026-01", "2026-09"
OWN, BATCH = "pkg:00004", "B-1"
DAY = ("--date", "2026-03-01")
SEND = ("--by", "treasurer-1", "--execute-on", "2026-02-10")
# Words of the command; whether it sets a PDF; where a file can stand in the way, if it can.
PAPERS = {
    "statement": (("statement", "--creator", OWN, "--period", PERIOD, "--format", "pdf"), True,
                  f"reports/{PERIOD}/statements"),
    "statements": (("statements", "--period", PERIOD, "--processes", "1"), True,
                   f"reports/{PERIOD}/statements"),
    "settlement": (("report", "--period", PERIOD), True, f"reports/{PERIOD}/statements"),
    "compliance": (("report", "compliance", "--period", PERIOD), True, None),
    "disclosure": (("report", "disclosure", "--kind", "eu", *DAY, "--answers", "answers.yaml"),
                   True, "reports"),
    "lookup": (("report", "lookup", "--work", "work:00004", *DAY), True, "reports"),
    "payout export": (("payout", "export", "--batch", BATCH, *SEND), False, None),
    "ads": (("export", "ads", "--period", PERIOD), False, f"reports/{PERIOD}/exports"),
    "dsr": (("export", "dsr", "--period", PERIOD, "--recipient", "org:s"), False,
            f"reports/{PERIOD}/exports"),
    "pack": (("audit", "pack", "--period", PERIOD), True, f"reports/{PERIOD}/statements"),
    "sample": (("audit", "sample", "--period", PERIOD, "--seed", "ab" * 16, "--tolerable", "99"),
               False, None),
}  # fmt: skip
# The last of a paper's names, where a folder of that name stands in the way.
TAKEN = {
    "compliance": f"reports/{PERIOD}/compliance.pdf",
    "disclosure": "reports/disclosure-eu.pdf",
    "sample": f"reports/{PERIOD}/audit-sample.txt",
    "payout export": f"payouts/{BATCH}.pain.001.xml",
    "pack": f"packs/{PERIOD}.byline.zip",
}
WITH_PERIOD = [name for name, (words, *_) in PAPERS.items() if PERIOD in words]
# What a refused command may write: that it was asked for, and the seal over that.
KEPT = ("byline.db", "checkpoints/", "locks/")


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A closed month with nothing published yet, and an approved batch."""
    folder = tmp_path_factory.mktemp("faults") / "home"
    with pytest.MonkeyPatch.context() as patch:
        closed_months(patch, folder, 1, creators=10)
    (folder / "answers.yaml").write_text(
        "origins: {unregistered: own}\nprovider: Org\nmodel_names: [tiny-1]\n"
    )
    bank = folder / "bank.yaml"
    bank.write_text("holder: Holder\niban: NL91ABNA0417164300\n")
    home = ("--dir", str(folder))
    assert cli.run(["payout", "bank", *home, "--payee", OWN, str(bank)]) == 0
    batch = ("--batch", BATCH)
    assert cli.run(["payout", "prepare", *home, *batch, "--prepared-by", "accountant-1"]) == 0
    assert cli.run(["payout", "approve", *home, *batch, "--approved-by", "controller-1"]) == 0
    return folder


@pytest.fixture
def home(closed, tmp_path, monkeypatch):
    """A copy of it, which is the current folder, too."""
    folder = shutil.copytree(closed, tmp_path / "home")
    monkeypatch.chdir(folder)
    return folder


def refused(home, capsys, *words):
    """Run a command that must be refused; return what it says and what it left."""
    before = contents(home)
    capsys.readouterr()
    code = cli.run([*words, "--dir", str(home)])
    said = capsys.readouterr()
    assert code == 1, said.out
    assert "Traceback" not in said.err
    return said.err, {path for path, data in contents(home).items() if before.get(path) != data}


def contents(home):
    """Every file of the workspace, but for the books and what guards them."""
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not str(path.relative_to(home)).startswith(KEPT)
    }


def without_facts(left):
    """The period's facts are no paper: they are worked out before one is made, and are whole."""
    return left - {f"reports/{PERIOD}/facts.json"}


@pytest.mark.parametrize("name", PAPERS)
def test_a_full_disk_leaves_no_paper(name, home, capsys, monkeypatch):
    """The room ends while the first file is forced to the disk: no name appears."""
    assert cli.run(["report", "--dir", str(home), "--period", PERIOD]) == 0
    for path in (home / "reports" / PERIOD).rglob("*"):
        if path.is_file() and path.name != "facts.json":
            path.unlink()
    (home / "packs" / f"{PERIOD}.byline.zip").unlink()

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        told, left = refused(home, capsys, *PAPERS[name][0])
    assert left == set()
    assert any(word in told for word in ("No space left", "disk"))
    assert not list(home.rglob("*.tmp"))
    assert cli.run([*PAPERS[name][0], "--dir", str(home)]) == 0


@pytest.mark.parametrize("name", [name for name, (_, sets_pdf, _) in PAPERS.items() if sets_pdf])
def test_a_broken_font_leaves_no_paper(name, home, capsys, monkeypatch):
    """A font of another digest: it is named, and not even the other formats are written."""

    def broken():
        raise FontMissingError("fonts/SourceSans3-Regular.otf", "its SHA-256 is another")

    monkeypatch.setattr(pdf, "_compiler", broken)
    told, left = refused(home, capsys, *PAPERS[name][0])
    assert "SourceSans3" in told
    assert without_facts(left) <= {f"reports/{PERIOD}/compliance.agreements.csv"}


@pytest.mark.parametrize("name", [name for name, (*_, place) in PAPERS.items() if place])
def test_a_folder_that_cannot_be_written_is_named(name, home, capsys):
    """A file stands where the folder should be."""
    words, _, place = PAPERS[name]
    shutil.rmtree(home / place, ignore_errors=True)
    (home / place).parent.mkdir(parents=True, exist_ok=True)
    (home / place).write_text("in the way")
    told, left = refused(home, capsys, *words)
    assert "could not be written" in told
    assert without_facts(left) == set()


@pytest.mark.parametrize("name", TAKEN)
def test_a_name_that_is_taken_by_a_folder_is_named(name, home, capsys):
    """None of the files that belong together appears; afterwards the command goes through."""
    words, place = PAPERS[name][0], home / TAKEN[name]
    if name == "pack":
        assert cli.run(["report", "--dir", str(home), "--period", PERIOD]) == 0
        place.unlink()
    place.mkdir(parents=True)
    told, left = refused(home, capsys, *words)
    assert place.name in told
    # Whole files of their own, which are written before: the register, and what will be sent.
    aside = {f"reports/{PERIOD}/compliance.agreements.csv", f"payouts/{BATCH}.export.json"}
    assert without_facts(left) <= aside
    assert not [p for p in place.parent.iterdir() if p.name.startswith(".") or p.suffix == ".tmp"]
    place.rmdir()
    assert cli.run([*words, "--dir", str(home)]) == 0


@pytest.mark.parametrize("name", WITH_PERIOD)
def test_an_open_period_has_no_paper(name, home, capsys):
    """The command that closes it is named."""
    words = [OPEN if word == PERIOD else word for word in PAPERS[name][0]]
    told, left = refused(home, capsys, *words)
    assert f"byline close --period {OPEN}" in told
    assert left == set()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("statement", "--creator", "pkg:0004", "--period", PERIOD, "--format", "pdf"), OWN),
        (("payout", "export", "--batch", "B-2", *SEND), "is not among B-1"),
        (("payout", "bank", "--payee", OWN, "bad.yaml"), "Invalid checksum digits"),
        (("report", "disclosure", "--kind", "eu", *DAY), "origins: {unregistered:"),
        (("payout", "hold", "--payee", "x", "--reason", "y", "--by", "z"), "in no agreement"),
    ],
)
def test_who_or_what_is_not_known_is_said(home, capsys, words, told):
    """Creator, batch, account number, origin, payee."""
    (home / "bad.yaml").write_text("holder: A\niban: DE00370400440532013000\n")
    said, left = refused(home, capsys, *words)
    assert told in said
    assert left <= {f"reports/{PERIOD}/facts.json"}


def test_a_missing_rate_stops_the_close_and_no_paper_is_made(home, capsys, monkeypatch):
    """Payment in another currency without a rate: pair and day are named, the period stays open."""
    path = home / "agreements" / "pkg-00004.yaml"
    text = path.read_text(encoding="utf-8").replace("version: 1", "version: 2")
    text = text.replace("effective_from: 2026-01-01", "effective_from: 2026-02-01")
    later = home / "agreements" / "pkg-00004.v2.yaml"
    later.write_text(text + "payment: {currency: EUR/2}\n", encoding="utf-8")
    with pytest.raises(Exception, match=r"USD.*EUR"):
        closed_months(monkeypatch, home, 2, creators=10, first=2)
    close = ("close", "--period", "2026-02", "--prepared-by", "a-1", "--approved-by", "b-1")
    told, _ = refused(home, capsys, *close)
    assert "USD" in told
    assert "EUR" in told
    assert not (home / "reports" / "2026-02").exists()
