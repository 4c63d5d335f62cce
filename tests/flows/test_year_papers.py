"""Every paper of a simulated year against the book, to the unit: months, quarters' payouts, drafts.

The year is settled, closed and published month by month; each quarter what can be paid is paid and
the bank's statement read back. Then statements, settlement reports, trial balances, packs, exports,
compliance reports, bank files, disclosures and a lookup are read again and added up.
"""

import csv
import io
import json
from collections import Counter
from pathlib import Path

import pytest

from flows import cli
from flows.books import open_books
from flows.publish import publish_period
from ledger import chart
from ledger.period_close import PeriodStatus
from reports.statement_reader import read_statement
from tests.flows.papers import closed_months
from tests.flows.test_paper_totals import pdf_text, printed
from tests.reports.test_payout_files import camt053

pytestmark = pytest.mark.slow

YEAR, CREATORS = 2025, 10
PERIODS = [f"{YEAR}-{month:02d}" for month in range(1, 13)]
IBANS = {
    "pkg:00004": "DE89370400440532013000",
    "pkg:00005": "NL91ABNA0417164300",
    "pkg:00006": "GB29NWBK60161331926819",
}
WORK = "work:00004"
SCALE = 10**6


def byline(home, *words):
    """Run a command that must succeed."""
    assert cli.run([*map(str, words), "--dir", str(home)]) == 0, words


def pay(home, period):
    """Draft, approve and export what can be paid, and let the bank say that it was."""
    batch = ("--batch", f"B-{period}")
    byline(home, "payout", "prepare", *batch, "--prepared-by", "accountant-1")
    byline(home, "payout", "approve", *batch, "--approved-by", "controller-1")
    day = f"{period}-28"
    byline(home, "payout", "export", *batch, "--by", "treasurer-1", "--execute-on", day)
    with (home / "payouts" / f"B-{period}.csv").open(encoding="utf-8") as rows:
        sent = [row for row in csv.DictReader(rows) if row["state"] == "exported"]
    told = [(r["payout_id"], f"{int(r['amount_units']) / SCALE:.2f}", "DBIT", "") for r in sent]
    answer = home / f"bank-{period}.xml"
    answer.write_bytes(camt053(*told).replace(b"EUR", b"USD"))
    byline(home, "payout", "read", *batch, answer)
    byline(home, "payout", "reconcile", *batch, "--by", "accountant-1")


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    """Twelve months with four payouts, every paper written."""
    folder = tmp_path_factory.mktemp("year") / "home"
    with pytest.MonkeyPatch.context() as patch:
        for month, period in enumerate(PERIODS, start=1):
            made = closed_months(patch, folder, month, year=YEAR, creators=CREATORS, first=month)
            for payee, iban in IBANS.items() if month == 1 else ():
                file = folder / "bank.yaml"
                file.write_text(f"holder: Holder {payee[-1]}\niban: {iban}\n")
                byline(folder, "payout", "bank", "--payee", payee, file)
            publish_period(made, period)
            formats = [word for f in ("html", "xlsx", "json") for word in ("--format", f)]
            byline(folder, "statements", "--period", period, *formats, "--processes", "1")
            byline(folder, "report", "compliance", "--period", period)
            byline(folder, "export", "ads", "--period", period)
            byline(folder, "export", "dsr", "--period", period, "--recipient", "org:society")
            if month % 3 == 0:
                pay(folder, period)
    answers = folder / "answers.yaml"
    answers.write_text("origins: {unregistered: own}\nprovider: Org\nmodel_names: [tiny-1]\n")
    for kind in ("eu", "california"):
        words = ("--kind", kind, "--date", "2026-01-10", "--answers", answers)
        byline(folder, "report", "disclosure", *words)
    byline(folder, "report", "lookup", "--work", WORK, "--date", "2026-01-10")
    return made


@pytest.fixture(scope="module")
def entries(year):
    """The whole book."""
    with open_books(year) as books:
        return [s.entry for s in books.entries()]


def postings(entries, last, prefix=""):
    """Balances up to a period, by account, debit positive."""
    found = Counter()
    for entry in entries:
        if entry.period <= last:
            for posting in entry.postings:
                if posting.account_id.startswith(prefix):
                    found[posting.account_id] += posting.units
    return found


def units_of(text):
    """The units of an amount as papers print it."""
    return int(text.replace(",", "").replace(".", ""))


def statements(year, period):
    """The statements of a period, as issued."""
    folder = year.reports(period) / "statements"
    return [read_statement(p.read_bytes(), p.name) for p in sorted(folder.glob("*.json"))]


def test_statements_roll_forward_and_close_where_the_book_does(year, entries):
    """Twelve months for every payee, payouts among the movements; the year to date adds up."""
    closing = Counter()
    for number, period in enumerate(PERIODS, start=1):
        owed = postings(entries, period, chart.PAYABLE_PREFIX)
        made = statements(year, period)
        assert len(made) == CREATORS
        for one in made:
            payee = one.inputs.header.payee_id
            assert one.inputs.opening_units == closing[payee]
            assert one.closing_units == -owed[chart.royalties_payable(payee)]
            assert len(one.inputs.history) == number
            closing[payee] = one.closing_units
    paid = {one.inputs.header.payee_id: one.inputs.year_to_date.paid_units for one in made}
    booked = Counter()
    for entry in entries:
        if entry.kind == "payout" and entry.period <= PERIODS[-1]:
            for posting in entry.postings:
                if posting.account_id.startswith(chart.PAYABLE_PREFIX):
                    booked[posting.account_id.removeprefix(chart.PAYABLE_PREFIX)] += posting.units
    assert {payee: units for payee, units in paid.items() if units} == dict(booked)
    assert len(booked) == len(IBANS)


def test_settlement_reports_print_the_pools_of_the_book(year, entries):
    """Every month's PDF has the pool and what creators got of it, to the last digit."""
    for period in PERIODS:
        pool = paid = 0
        for entry in entries:
            for posting in entry.postings if entry.period == period else ():
                if posting.account_id == chart.ROYALTY_EXPENSE and entry.kind == "accrual":
                    pool += posting.units
                if posting.account_id.startswith(chart.PAYABLE_PREFIX):
                    paid -= posting.units * (entry.kind == "apportionment")
        text = pdf_text(year.reports(period) / "settlement.pdf")
        assert printed(pool) in text
        assert printed(paid) in text


def test_trial_balances_are_the_books_at_each_close(year, entries):
    """Account by account; what came after a close is not in it."""
    for period in PERIODS:
        text = (year.reports(period) / "trial_balance.csv").read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(text)))
        shown = {r["account_id"]: int(r["debit_units"]) - int(r["credit_units"]) for r in rows}
        booked = postings(entries, period)
        assert {a: u for a, u in shown.items() if u} == {a: u for a, u in booked.items() if u}
        assert sum(shown.values()) == 0
        assert len(shown) > CREATORS


def test_packs_verify_and_reperform(year):
    """The first and the last month, offline."""
    key = year.public_key
    publish_period(year, PERIODS[-1], with_frame=True)
    whole = year.pack(PERIODS[-1], with_frame=True)
    assert cli.run(["audit", "verify", str(whole), "--key", str(key)]) == 0
    for period in (PERIODS[0], PERIODS[-1]):
        assert cli.run(["audit", "verify", str(year.pack(period)), "--key", str(key)]) == 0
        assert cli.run(["audit", "reperform", str(year.pack(period))]) == 0


def test_exports_hold_every_posting_and_the_statements_sums(year, entries):
    """ADS lines are the book's postings, account by account; the DSR foot is what is payable."""
    for period in PERIODS:
        folder, name = year.reports(period) / "exports", period.replace("-", "")
        text = (folder / f"GL_Detail_{name}_{name}.csv").read_text(encoding="utf-8")
        found = Counter()
        for row in csv.DictReader(io.StringIO(text)):
            units = int(row["Amount"].replace(".", ""))
            sign = 1 if row["Amount_Credit_Debit_Indicator"] == "D" else -1
            found[row["GL_Account_Number"]] += sign * abs(units)
        mine = Counter()
        for entry in entries:
            for posting in entry.postings if entry.period == period else ():
                mine[posting.account_id] += posting.units
        late = {e.entry_id for e in entries if e.kind == "payout" and e.period == period}
        if not late:
            assert {a: u for a, u in found.items() if u} == {a: u for a, u in mine.items() if u}
        foot = (folder / f"dsr-style-{period}.tsv").read_text("utf-8").splitlines()[-1].split("\t")
        made = statements(year, period)
        assert int(foot[1]) == len(made)
        assert int(foot[3]) == sum(one.payable_units for one in made)


def test_compliance_reports_say_what_the_book_says(year, entries):
    """Stages, suspense and counts of entries; twenty sections every month."""
    for period in PERIODS:
        said = json.loads((year.reports(period) / "compliance.json").read_bytes())
        assert len(said["sections"]) == 20
        (chain,) = said["sections"][10]["tables"]
        rows = {
            r[0].split(" (")[0]: int(r[1].replace(",", "").replace(".", "")) for r in chain["rows"]
        }
        accrued = payable = 0
        for entry in entries:
            for posting in entry.postings if entry.period == period else ():
                if posting.account_id == chart.ROYALTY_EXPENSE and entry.scope == "nightly":
                    accrued += posting.units
                if posting.account_id.startswith(chart.PAYABLE_PREFIX) and entry.kind != "payout":
                    payable -= posting.units
        assert rows["Pools of the nights' estimates"] == rows["Accrued in the ledger"] == accrued
        assert rows["Owed to payees for the period"] == payable
        total = sum(postings(entries, period, "Liabilities:Suspense:").values())
        (figure,) = [f for f in said["sections"][11]["figures"] if f["label"].endswith("USD")]
        assert units_of(figure["value"].split()[1]) == -total
        controls = said["sections"][15]["tables"][0]["rows"]
        found = {row[0].split(" (")[0]: row[2:] for row in controls}
        # That no access is missing cannot be tested from the books.
        assert found.pop("Looking leaves a record")[1] == "not tested"
        compared, snapshots = found.pop("No balance snapshot differs from the full sum")
        assert snapshots == ("not tested" if compared.startswith("0 ") else "0")
        assert {row[1] for row in found.values()} == {"0"}


def test_bank_files_pay_what_left_the_payables(year, entries):
    """Each quarter: the file's control sum is what the book sent, and all of it was settled."""
    for period in PERIODS[2::3]:
        text = (year.root / "payouts" / f"B-{period}.pain.001.xml").read_text(encoding="utf-8")
        told = int(text.partition("<CtrlSum>")[2].partition("<")[0].replace(".", ""))
        sent = settled = 0
        for entry in entries:
            if entry.scope == "payout" and entry.key.startswith(f"B-{period}/"):
                units = sum(p.units for p in entry.postings if p.units > 0)
                sent += units * entry.key.endswith("/export")
                settled += units * entry.key.endswith("/settle")
        assert told * 10**4 == sent == settled > 0
    assert postings(entries, "9999-12")[chart.ROYALTIES_IN_TRANSIT] == 0


def test_disclosures_and_lookup_speak_of_the_same_corpus_and_money(year, entries):
    """Documents of the corpus; a work's year of earnings is its lines on twelve statements."""
    reports = year.root / "reports"
    eu = json.loads((reports / "disclosure-eu.json").read_bytes())
    assert str(CREATORS) in json.dumps(eu)
    assert (reports / "disclosure-california.json").exists()
    said = json.loads((reports / "lookup-work-00004.json").read_bytes())["lookup"]
    stated = sum(
        line.amount_units
        for period in PERIODS
        for one in statements(year, period)
        for line in one.inputs.works
        if line.work_id == WORK
    )
    assert sum(int(e["amount_units"]) for e in said["earnings"]) == stated > 0
    assert len(said["earnings"]) == len(PERIODS)


def test_the_year_is_over(year):
    """Every month is closed, and every month has its papers."""
    with open_books(year) as books:
        assert {books.period_status(p) for p in PERIODS} == {PeriodStatus.CLOSED}
    wanted = {"settlement.pdf", "trial_balance.csv", "trial_balance.pdf", "compliance.pdf"}
    for period in PERIODS:
        assert wanted <= {path.name for path in year.reports(period).iterdir()}
        assert isinstance(year.pack(period), Path)
        assert year.pack(period).exists()
