"""One closed month whose payees can be paid, and payout commands on copies of it."""

import json
import shutil

import pytest

from flows import cli
from tests.flows.papers import closed_months

IBANS = {
    "pkg:00004": "DE89370400440532013000",
    "pkg:00005": "NL91ABNA0417164300",
    "pkg:00006": "GB29NWBK60161331926819",
}


@pytest.fixture
def ibans():
    """The account of each payee, by his id."""
    return IBANS


@pytest.fixture(scope="session")
def payable_month(tmp_path_factory):
    """One closed month whose payees' bank details are known, of three of them."""
    folder = tmp_path_factory.mktemp("payouts") / "home"
    with pytest.MonkeyPatch.context() as patch:
        closed_months(patch, folder, 1)
    for payee, iban in IBANS.items():
        file = folder / "bank.yaml"
        file.write_text(f"holder: Holder {payee[-1]}\niban: {iban}\n")
        assert cli.run(["payout", "bank", "--dir", str(folder), "--payee", payee, str(file)]) == 0
    return folder


@pytest.fixture
def home(payable_month, tmp_path):
    """A copy of it."""
    return shutil.copytree(payable_month, tmp_path / "home")


@pytest.fixture
def run(home, capsys):
    """Run a payout command on the copy and give its JSON, or its error."""

    def command(name, *words, ok=True):
        capsys.readouterr()
        code = cli.run(["payout", name, "--dir", str(home), *map(str, words), "--json"])
        said = capsys.readouterr()
        assert (code == 0) is ok, said.err
        return json.loads(said.out) if ok else said.err

    return command
