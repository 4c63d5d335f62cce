"""Months of every kind, packed, verified and worked out again: pools, fees, currencies, nil, v2.

January    revenue, a second pool, a fee per output, payment in euros, two territories
February   no night at all
March      one night; an agreement signed late changes January; statements issued anew
"""

import json
import random
import re
from datetime import date

import pytest

from flows import cli
from flows.books import open_books
from flows.close import close_period
from flows.demo.story import write_agreements
from flows.engine import run_night
from flows.nightly import STEPS
from flows.publish import publish_period, publish_statements
from flows.reperform import ReperformError, reperform
from flows.setup import make_workspace
from ledger.audit import run_verify
from tests.flows.papers import PEOPLE, SETTINGS, VALUE_SCALE, drawn_influence, make_catalogue
from tests.simulation.tiny import calls, write_log

CREATORS = 11
LATE = """format: byline-agreement/1
agreement_id: agr-late
version: 1
licensor: {licensor}
licensee: operator
effective_from: 2026-01-01
currency: USD/6
works: "*"
terms:
  - term_id: pool
    then: {{basis: pool_share, pool: main, rate: 100%}}
"""


def rewrite(path, old, new):
    """Change an agreement's text before it is in force."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def write_files(workspace):
    """A second pool, a rate of exchange, and four agreements that differ from the others."""
    pools = [
        {
            "pool_id": "training",
            "amount": "90.00",
            "first_period": "2026-01",
            "periods": "3",
            "division": "equal_per_work",
            "source": "clause 4",
        }
    ]
    rates = [
        {"from": "USD", "to": "EUR", "on": f"2026-{month}", "rate": "0.9", "source": "ECB"}
        for month in ("01-31", "02-28", "03-31")
    ]
    for name, content in (("pools", pools), ("rates", rates)):
        text = json.dumps({"format": f"byline-{name}/1", name: content})
        (workspace.root / f"{name}.json").write_text(text, encoding="utf-8")
    paths = sorted(workspace.agreements.glob("pkg-*.yaml"))
    term = "  - {{term_id: {0}, then: {1}}}\n"
    more = {
        0: term.format("fee", "{basis: per_output, price: 0.04}"),
        1: term.format("set", "{basis: pool_share, pool: training}"),
        4: term.format("set", "{basis: pool_share, pool: training}"),
    }
    for place, line in more.items():
        paths[place].write_text(paths[place].read_text(encoding="utf-8") + line, encoding="utf-8")
    rewrite(paths[3], "terms:", "payment: {currency: EUR/2, threshold: 1.00}\nterms:")
    rewrite(paths[5], "use: [output_influence]", "use: [output_influence], territory: [SE]")


def night(workspace, day, number):
    """Settle a night of forty calls from two territories."""
    log = workspace.logs / f"{day}.otel.jsonl"
    drawn = [(p, o, units * VALUE_SCALE) for p, o, units in calls(random.Random(number), 40)]
    write_log(log, day, drawn, start=0)
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[::3] = [line.replace('"DE"', '"SE"') for line in lines[::3]]
    log.write_text("".join(lines), encoding="utf-8")
    run_night(workspace, day, logs=[log])


@pytest.fixture(scope="module")
def quarter(tmp_path_factory):
    """The three months, closed and published."""
    folder = tmp_path_factory.mktemp("periods") / "home"
    with pytest.MonkeyPatch.context() as patch:
        workspace = make_workspace(folder, settings=SETTINGS)
        names = make_catalogue(workspace, CREATORS)
        write_agreements(workspace.agreements, workspace.catalogue, names, date(2026, 1, 1), "main")
        write_files(workspace)
        works = [f"work:{number:05d}" for number in range(CREATORS)]
        patch.setitem(STEPS, "attribute", drawn_influence(works))
        night(workspace, date(2026, 1, 20), 1)
        close_period(workspace, "2026-01", **PEOPLE)
        publish_period(workspace, "2026-01")
        with open_books(workspace) as books:
            books.open_period("2026-02")
        close_period(workspace, "2026-02", **PEOPLE)
        publish_period(workspace, "2026-02")
        night(workspace, date(2026, 3, 20), 3)
        unlicensed = set(names) - {
            re.search(r"licensor: (\S+)", path.read_text(encoding="utf-8"))[1]
            for path in workspace.agreements.glob("pkg-*.yaml")
        }
        late = workspace.agreements / "late.yaml"
        late.write_text(LATE.format(licensor=min(unlicensed)), encoding="utf-8")
        close_period(workspace, "2026-03", **PEOPLE)
        publish_period(workspace, "2026-03")
    return workspace


def same(workspace, period, *earlier):
    """Verify a period's pack and work it out again; return what was the same."""
    report = run_verify(workspace.pack(period), workspace.public_key)
    assert report.ok, report.failure
    return reperform(workspace.pack(period), [workspace.pack(name) for name in earlier])


def test_a_month_of_several_pools_fees_currencies_and_territories_comes_out_the_same(quarter):
    """Second pool, fee per output, exchange and cells: all from files of the pack."""
    done = same(quarter, "2026-01")
    assert done.lacks == ()
    assert done.same["accrual"] == 1
    assert set(done.same) == {"accrual", "apportionment", "conversion", "earning", "recoupment"}


def test_a_month_without_a_night_is_worked_out_again_too(quarter):
    """Nothing accrued; the second pool's part of the month is divided all the same."""
    done = same(quarter, "2026-02")
    assert done.same == {"apportionment": 3}


def test_a_month_that_corrects_an_earlier_one_needs_the_earlier_packs(quarter):
    """The agreement that was signed late: with January's pack everything comes out."""
    with pytest.raises(
        ReperformError, match=r"is booked in 2026-03 and does not come out.*--earlier"
    ):
        reperform(quarter.pack("2026-03"))
    done = same(quarter, "2026-03", "2026-01", "2026-02")
    assert done.same["adjustment"] == 2


def test_statements_issued_anew_stand_in_a_new_pack_beside_the_first(quarter, capsys):
    """Version 2 names version 1; the pack with both verifies and comes out the same."""
    text = (quarter.home / "byline.toml").read_text(encoding="utf-8")
    (quarter.home / "byline.toml").write_text(
        text.replace("royalties@example.org", "pay@example.org"), encoding="utf-8"
    )
    workspace = type(quarter).open(quarter.home)
    publish_statements(workspace, "2026-01", restate="another address for questions")
    publish_period(workspace, "2026-01")
    done = same(workspace, "2026-01")
    assert done.same["accrual"] == 1
    capsys.readouterr()
    assert cli.run(["audit", "reperform", str(workspace.pack("2026-01"))]) == 0
    said = capsys.readouterr().out
    assert "terms" in said
    assert "NOT THE SAME" not in said
