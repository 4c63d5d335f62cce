"""A NACHA file by command: drafted, approved by a second person, exported, booked."""

import json

import pytest

from flows import cli
from flows.books import open_books
from flows.workspace import Workspace
from ledger import chart
from tests.flows.papers import closed_months

BATCH = "U-2026-01"
OWN = {
    "name": "Example Models",
    "company_id": "1987654321",
    "destination": "011401533",
    "destination_name": "Example Bank",
    "odfi": "011401533",
}
HOLDERS = {"pkg:00004": False, "pkg:00005": True}
BY = ["--by", "treasurer-1", "--execute-on", "2026-02-10"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One closed month with a person's and a company's account in the United States."""
    folder = tmp_path_factory.mktemp("nacha") / "home"
    with pytest.MonkeyPatch.context() as patch:
        closed_months(patch, folder, 1, settings={"payout": OWN})
    for number, (payee, is_company) in enumerate(HOLDERS.items()):
        file = folder / "bank.yaml"
        file.write_text(
            f"holder: Holder {number}\nrouting: '021000021'\naccount: '12345{number}'\n"
            f"is_company: {str(is_company).lower()}\n"
        )
        assert cli.run(["payout", "bank", "--dir", str(folder), "--payee", payee, str(file)]) == 0
    return folder


def run(home, capsys, name, *words, code=0):
    """Run a payout command; return its JSON, or its error."""
    capsys.readouterr()
    found = cli.run(["payout", name, "--dir", str(home), "--batch", BATCH, *words, "--json"])
    said = capsys.readouterr()
    assert found == code, said.err
    return said.err if code else json.loads(said.out)


def test_a_nacha_file_pays_what_the_book_says_is_on_its_way(home, capsys):
    """A PPD and a CCD batch; the file's control total is the money in transit, to the cent."""
    made = run(home, capsys, "prepare", "--prepared-by", "accountant-1", "--scheme", "us")
    assert {line[1] for line in made["payouts"]} == set(HOLDERS)
    assert "Have a second person approve it" in run(home, capsys, "export", *BY, code=1)
    run(home, capsys, "approve", "--approved-by", "controller-1")
    run(home, capsys, "export", *BY)
    (file,) = (home / "payouts").rglob("*.nacha.txt")
    lines = file.read_text(encoding="ascii").splitlines()
    assert {len(line) for line in lines} == {94}
    assert [line[50:53] for line in lines if line[0] == "5"] == ["PPD", "CCD"]
    control = next(line for line in lines if line[0] == "9")
    with open_books(Workspace.open(home)) as books:
        moving = -books.balance(chart.ROYALTIES_IN_TRANSIT, "USD/6")
    assert int(control[43:55]) * 10_000 == moving > 0
    assert control[31:43] == "0" * 12
    assert "was exported to" in run(home, capsys, "export", *BY, code=1)
    run(home, capsys, "export", *BY, "--reason", "the bank lost it")
    assert file.read_text(encoding="ascii").splitlines() == lines
