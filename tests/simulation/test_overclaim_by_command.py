"""An overclaimed work end to end by command line: held, decided, released, on the statements.

Two nights of October, its close with a work that is claimed twice; the decision; a night of
November and its close. Some creators are paid in euro, one by fees per output too.
"""

import json
import random
import re
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from flows import cli
from flows.books import open_books
from ledger import chart
from reports.statement_reader import read_statement
from tests.simulation.tiny import DAYS, calls, copy_of, tiny, write_log

WORK, OWNER, CLAIMANT = "pkg06/readme", "pkg:06", "pkg:07"
ABROAD = [f"pkg:0{number}" for number in range(6)]
FEE = "  - {term_id: fee, if: {use: [output_influence]}, then: {basis: per_output, price: 0.5}}\n"
LATER = date(2026, 11, 2)
PEOPLE = ("--prepared-by", "accountant-1", "--approved-by", "controller-1")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An installation whose catalogue has a work that is claimed for one and a half."""
    workspace = copy_of(tiny(), tmp_path_factory.mktemp("overclaim") / "home")
    data = json.loads(workspace.catalogue.read_bytes())
    (work,) = [w for w in data["works"] if w["work_id"] == WORK]
    work["splits"].append({"party_id": CLAIMANT, "share": "1/2"})
    work["dispute"] = "dsp-1"
    workspace.catalogue.write_text(json.dumps(data), encoding="utf-8")
    euro = [(name.replace(":", "-"), "payment: {currency: EUR/2}\n") for name in ABROAD]
    for name, more in [("pkg-06", FEE), *euro]:
        path = workspace.agreements / f"{name}.yaml"
        if path.exists():
            path.write_text(path.read_text() + more)
    pair = {"from": "USD", "to": "EUR", "source": "ECB"}
    rates = [pair | {"on": "2026-10-30", "rate": "0.9"}, pair | {"on": "2026-11-30", "rate": "0.8"}]
    text = json.dumps({"format": "byline-rates/1", "rates": rates})
    (workspace.root / "rates.json").write_text(text)
    write_log(workspace.logs / f"{LATER}.otel.jsonl", LATER, calls(random.Random(3), 40), start=0)
    return workspace


def run(capsys, workspace, *words):
    """Run a command that must succeed and return what it says."""
    code = cli.run([*words, "--dir", str(workspace.home), "--json"])
    out = capsys.readouterr()
    assert code == 0, out.err
    return json.loads(out.out)


def month(capsys, workspace, period, days):
    """Settle nights, close their period and publish it; give the statements by payee."""
    for day in days:
        run(capsys, workspace, "nightly", "--date", day.isoformat())
    run(capsys, workspace, "close", "--period", period, *PEOPLE)
    run(capsys, workspace, "report", "--period", period)
    folder = workspace.reports(period) / "statements"
    found = [read_statement(path.read_bytes(), path.name) for path in folder.glob("*.json")]
    return {statement.inputs.header.payee_id: statement for statement in found}


def balance(workspace, account, currency="USD/6"):
    """Return what stands on a liability account."""
    with open_books(workspace) as books:
        return -books.balance(account, currency)


def test_a_contested_work_is_held_decided_and_released_by_command(home, capsys):
    """Half of the work's pool and fees wait; the decision pays them; every statement foots."""
    october = month(capsys, home, "2026-10", DAYS)
    held, fees = balance(home, chart.DISPUTED), balance(home, chart.disputed(OWNER))
    assert held > 0
    assert fees > 0
    notes = " ".join(october[OWNER].inputs.notes)
    assert "are claimed by others too" in notes
    waiting = run(capsys, home, "works", "unmatched", "--standing", "disputed")
    assert {row["work_id"] for row in waiting["works"]} == {WORK}
    assert waiting["total_units"] == held + fees

    decided = ("--decided-by", "judge-1", "--reason", "dsp-1 decided for the owner")
    run(capsys, home, "works", "match", WORK, "--owner", f"{OWNER}=1", *decided)
    november = month(capsys, home, "2026-11", [LATER])
    assert balance(home, chart.DISPUTED) == balance(home, chart.disputed(OWNER)) == 0
    (line,) = november[OWNER].inputs.adjustments
    assert (line.adjustment_type, line.activity_period) == ("dispute_release", "2026-10")
    # The pool's part as it was held, and of the contested fees both halves, the odd unit aside.
    assert line.amount_units - held - 2 * fees in {-1, 0}
    assert not november[CLAIMANT].inputs.adjustments


def test_who_is_paid_in_euro_sees_at_which_rate_and_foots_in_both(home):
    """What left the first currency came into the other at the cited rate, to the cent."""
    owed = dict.fromkeys(ABROAD, 0)
    converted = 0
    for period, rate in (("2026-10", "0.9"), ("2026-11", "0.8")):
        for path in (home.reports(period) / "statements").glob("*.json"):
            inputs = read_statement(path.read_bytes(), path.name).inputs
            for moved in [m for m in inputs.movements if m.kind == "currency_conversion"]:
                converted += 1
                assert f"at {rate} EUR per USD" in moved.note
                owed[inputs.header.payee_id] += round(-moved.amount_units * Fraction(rate) / 10**4)
                assert any("account in EUR" in text for text in inputs.notes)
    assert converted
    for payee, cents in owed.items():
        account = chart.royalties_payable(payee)
        assert balance(home, account, "EUR/2") == cents
        # A net below half a cent comes to nothing in euro: it stays owed in the first currency.
        assert 0 <= balance(home, account) < 2 * 6250


def test_one_batch_shows_two_currencies_together_and_adds_neither_to_the_other(home, capsys):
    """Drafted, approved, exported: per currency the list, the bank file and the book agree."""
    toml = home.home / "byline.toml"
    own = '[payout]\nname = "Example Models"\niban = "GB29NWBK60161331926819"\n'
    parts = re.split(r"^\[payout\]\n(?:[^\[].*\n|\n)*", toml.read_text("utf-8"), flags=re.MULTILINE)
    toml.write_text("\n".join(parts) + own, encoding="utf-8")
    for payee, iban in ((OWNER, "DE89370400440532013000"), (ABROAD[0], "NL91ABNA0417164300")):
        file = home.home / "bank.yaml"
        file.write_text(f"holder: Holder\niban: {iban}\n", encoding="utf-8")
        run(capsys, home, "payout", "bank", "--payee", payee, str(file))
    batch = ("--batch", "B-two")
    made = run(capsys, home, "payout", "prepare", *batch, "--prepared-by", "accountant-1")
    paid = {currency: units for _, _, currency, units, _ in made["payouts"]}
    assert set(paid) == {"USD/6", "EUR/2"}
    run(capsys, home, "payout", "approve", *batch, "--approved-by", "controller-1")
    sent = ("--by", "treasurer-1", "--execute-on", "2026-12-10")
    path = run(capsys, home, "payout", "export", *batch, *sent)["path"]
    listed = run(capsys, home, "payout", "list")
    assert {c: sums["exported"] for c, sums in listed["amounts"].items()} == paid
    for currency, units in paid.items():
        code, _, scale = currency.partition("/")
        assert balance(home, chart.ROYALTIES_IN_TRANSIT, currency) == units
        coins = units // 10 ** (int(scale) - 2)
        told = f'Ccy="{code}">{coins // 100}.{coins % 100:02d}<'
        assert told in Path(path).read_text(encoding="utf-8")
    code = cli.run(["payout", "list", "--dir", str(home.home)])
    said = capsys.readouterr().out
    assert code == 0
    (last,) = [line for line in said.splitlines() if "all batches" in line and "USD" in line]
    assert "EUR" not in last


@pytest.mark.parametrize("period", ["2026-10", "2026-11"])
def test_the_compliance_report_keeps_the_currencies_apart(home, capsys, period):
    """One chain from usage to bank a currency, each as the book has it; batches by currency."""
    run(capsys, home, "report", "compliance", "--period", period, "--format", "json")
    said = json.loads((home.reports(period) / "compliance.json").read_bytes())
    chains = {t["label"]: t["rows"] for t in said["sections"][10]["tables"]}
    with open_books(home) as books:
        entries = [s.entry for s in books.entries()]
    for label, currency in (("In USD", "USD/6"), ("In EUR", "EUR/2")):
        rows = {row[0].split(" (")[0]: int(re.sub(r"[.,]", "", row[1])) for row in chains[label]}
        owed = -sum(
            p.units
            for e in entries
            if e.period == period and e.kind != "payout"
            for p in e.postings
            if p.account_id.startswith(chart.PAYABLE_PREFIX) and p.currency == currency
        )
        assert rows.get("After conversion", rows["Owed to payees for the period"]) == owed
        assert ("After conversion" in rows) is (currency == "USD/6" and period == "2026-10")
        moving = balance(home, chart.ROYALTIES_IN_TRANSIT, currency) * (period == "2026-11")
        assert rows["Told to the bank"] == moving
    assert set(chains) == {"In USD", "In EUR"}
    if period == "2026-11":
        batches = said["sections"][12]["tables"][0]["rows"]
        assert {row[3] for row in batches} == {"USD", "EUR"}
        (restated,) = said["sections"][13]["tables"][1]["rows"]
        assert restated[:4] == ["dispute release", "2026-10", "1", "USD"]
        stated = [
            line.amount_units
            for path in (home.reports(period) / "statements").glob("*.json")
            for line in read_statement(path.read_bytes(), path.name).inputs.adjustments
        ]
        assert [int(re.sub(r"[.,]", "", text)) for text in restated[4:]] == [*stated, 0]
