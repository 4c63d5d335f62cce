"""Terms on a pool for some territories or model versions only, on real books; sums by hand."""

import json
from fractions import Fraction

import polars as pl
import pytest

from flows.artefacts import sha256_file
from flows.books import open_books
from flows.cells import night_cells
from flows.close import close_period
from flows.engine import run_night
from flows.errors import CloseError
from flows.night import Night
from flows.publish import publish_period
from flows.reperform import reperform
from ledger import chart
from tests.simulation.paper import (
    PEOPLE,
    agree,
    by_party,
    close,
    owed,
    settle,
    standing,
    write_works,
)
from tests.simulation.tiny import DAYS, copy_of, tiny


@pytest.fixture
def workspace(workspace):
    """An installation on paper with one work of anna's and one of bo's."""
    write_works(workspace, {"w1": {"anna": "1"}, "w2": {"bo": "1"}})
    agree(workspace, "bo")
    return workspace


def test_what_no_term_covers_is_unlicensed_and_nobody_elses(workspace):
    """Sweden at 50 %, Germany at 10 %; what France brought stands under a name, bo's is bo's."""
    agree(
        workspace,
        "anna",
        "terms:",
        "  - {term_id: s, if: {territory: [SE]}, then: {basis: pool_share, pool: main, rate: 50%}}",
        "  - {term_id: d, if: {territory: [DE]}, then: {basis: pool_share, pool: main, rate: 10%}}",
    )
    settle(workspace, "2026-01-05", {"w1": {"SE": 600, "DE": 300, "FR": 100}, "w2": {"SE": 500}})
    closed = close(workspace, "2026-01")
    result = by_party(closed)["anna"]
    assert {t.term.term_id: t.royalty_units for t in result.terms} == {"s": 300, "d": 30}
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (330, 500)
    assert standing(workspace, chart.UNLICENSED) == 100
    assert close(workspace, "2026-01").plan.entries == closed.plan.entries


def test_of_two_terms_the_narrower_pays_and_the_wider_pays_the_rest(workspace):
    """Anna's wide term takes 10 % of everything but Sweden, which has one of its own."""
    agree(
        workspace,
        "anna",
        "terms:",
        "  - {term_id: all, then: {basis: pool_share, pool: main, rate: 10%}}",
        "  - {term_id: se, if: {territory: [SE]}, then: {basis: pool_share, pool: main}}",
    )
    settle(workspace, "2026-01-05", {"w1": {"SE": 600, "DE": 300, "FR": 100}})
    close(workspace, "2026-01")
    assert owed(workspace, "anna") == 600 + 40
    assert standing(workspace, chart.UNLICENSED) == 0


def test_two_agreements_of_one_creator_license_a_territory_each(workspace):
    """What the first by id does not cover, the second may; each is paid its own."""
    only = "terms: [{term_id: pool, if: {territory: [SE]}, then: {basis: pool_share, pool: main}}]"
    path = agree(workspace, "anna", only)
    text = path.read_text().replace("agr-anna", "agr-anna-de").replace("[SE]", "[DE]")
    path.with_name("anna-de.yaml").write_text(text)
    settle(workspace, "2026-01-05", {"w1": {"SE": 600, "DE": 300, "FR": 100}})
    closed = close(workspace, "2026-01")
    royalties = {e.agreement_id: e.royalty_units for e in closed.plan.earnings}
    assert royalties == {"agr-anna": 600, "agr-anna-de": 300, "agr-bo": 0}
    assert standing(workspace, chart.UNLICENSED) == 100


def test_a_model_version_that_no_term_names_is_unlicensed(workspace):
    """Every output is of model v1; a term for v2 takes no part."""
    only = (
        "terms: [{term_id: pool, if: {model_version: [v2]}, then: {basis: pool_share, pool: main}}]"
    )
    agree(workspace, "anna", only)
    settle(workspace, "2026-01-05", {"w1": 600, "w2": 400})
    close(workspace, "2026-01")
    assert (owed(workspace, "anna"), owed(workspace, "bo")) == (0, 400)
    assert standing(workspace, chart.UNLICENSED) == 600


def test_a_territory_licensed_later_is_paid_from_what_stood_unlicensed(workspace):
    """Germany is added in February with effect from January: 300 leave suspense, no more."""
    only = "terms: [{term_id: pool, if: {territory: [SE]}, then: {basis: pool_share, pool: main}}]"
    agree(workspace, "anna", only)
    settle(workspace, "2026-01-05", {"w1": {"SE": 600, "DE": 300, "FR": 100}, "w2": 50})
    close(workspace, "2026-01")
    agree(workspace, "anna", only.replace("[SE]", "[SE, DE]"), version=2)
    settle(workspace, "2026-02-05", {"w1": {"SE": 60, "FR": 40}})
    closed = close(workspace, "2026-02")
    (adjustment,) = closed.plan.restatement.adjustments["agr-anna"]
    assert (adjustment.adjustment_type, adjustment.amount_units) == ("backpay_match", 300)
    assert owed(workspace, "anna") == 600 + 60 + 300
    assert standing(workspace, chart.UNLICENSED) == 100 + 40


def test_a_co_owner_whose_standing_did_not_change_keeps_what_he_was_given(workspace):
    """Bo's other work cost him half of w1; cy's late agreement is paid from cy's part alone."""
    write_works(workspace, {"w1": {"bo": "1/2", "cy": "1/2"}, "w2": {"bo": "1"}})
    settle(workspace, "2026-01-05", {"w1": 1000, "w2": -250})
    close(workspace, "2026-01")
    # Bo has 500 - 250 = 250 and cy 500 of the pool of 750.
    assert (owed(workspace, "bo"), standing(workspace, chart.UNLICENSED)) == (250, 500)
    agree(workspace, "cy")
    settle(workspace, "2026-02-05", {"w2": 100})
    close(workspace, "2026-02")
    assert (owed(workspace, "bo"), owed(workspace, "cy")) == (250 + 100, 500)
    assert standing(workspace, chart.UNLICENSED) == 0


def test_a_pool_divided_equally_knows_no_territory(workspace):
    """A training pool is per work, wherever it is used: the term is refused, not guessed at."""
    then = "then: {basis: equal_per_work, pool: training}"
    agree(workspace, "anna", f"terms: [{{term_id: t, if: {{territory: [SE]}}, {then}}}]")
    pool = {"pool_id": "training", "amount": "9", "first_period": "2026-01", "source": "clause 4"}
    text = json.dumps({"format": "byline-pools/1", "pools": [pool]})
    (workspace.root / "pools.json").write_text(text)
    settle(workspace, "2026-01-05", {"w1": 1000})
    with pytest.raises(CloseError, match="territories or model versions only, but the pool"):
        close(workspace, "2026-01")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A real night whose calls come from three territories, one creator licensing two of them."""
    workspace = copy_of(tiny(), tmp_path_factory.mktemp("cells") / "home")
    path = workspace.logs / f"{DAYS[0]}.otel.jsonl"
    lines = path.read_text().splitlines()
    places = ["SE", "DE", "FR"]
    path.write_text(
        "".join(
            line.replace('"DE"', f'"{places[n % len(places)]}"') + "\n"
            for n, line in enumerate(lines)
        )
    )
    deal = workspace.agreements / "pkg-00.yaml"
    text = deal.read_text()
    condition = "if: {use: [output_influence]"
    assert condition in text
    deal.write_text(text.replace(condition, f"{condition}, territory: [SE, DE]"))
    run_night(workspace, DAYS[0])
    return Night(workspace, DAYS[0], ())


def test_cells_of_a_real_night_are_the_sums_over_their_outputs(night):
    """Each cell is within two units of the formula in fractions; cells add up to the work."""
    cells = night_cells(night)
    estimates = json.loads(night.manifest("estimates").read_text())
    sample = pl.read_parquet(night.sample)
    where = dict(pl.read_parquet(night.outputs).select("event_id", "territory").iter_rows())
    weights = dict(sample.select("event_id", "weighted_value_units").iter_rows())
    table = pl.read_parquet(night.influence).filter(pl.col("kind") == "trained")
    totals = dict(table.group_by("output_id").agg(pl.col("influence_nanonats").sum()).iter_rows())
    exact = {}
    for output, work, nats in table.select(
        "output_id", "group_id", "influence_nanonats"
    ).iter_rows():
        part = Fraction(weights[output] * nats, totals[output] * sum(weights.values()))
        key = work, where[output]
        exact[key] = exact.get(key, 0) + part * estimates["pool_units"]
    assert estimates["unexplained_outputs"] == 0
    accrued = dict(pl.read_parquet(night.works).select("work_id", "accrual_units").iter_rows())
    assert {place for by_cell in cells.units.values() for _, place in by_cell} == {"SE", "DE", "FR"}
    for work, by_cell in cells.units.items():
        assert sum(by_cell.values()) == accrued[work]
        for (_, place), units in by_cell.items():
            assert abs(units - exact[work, place]) < 2, (work, place)


def test_a_real_month_with_cells_is_paid_cited_and_worked_out_again_from_its_pack(night):
    """The creator's uncovered part is unlicensed to the unit, and the pack proves the entries."""
    workspace = night.workspace
    cells = night_cells(night)
    closed = close_period(workspace, "2026-10", **PEOPLE)
    mine = [w for w in cells.units if w.startswith("pkg00")]
    french = sum(units for w in mine for (_, p), units in cells.units[w].items() if p == "FR")
    claims = {(c.creator_id, c.standing.value): c for c in closed.plan.accruals.claims}
    assert claims["pkg:00", "unlicensed"].units == french
    whole, part = claims["pkg:00", "licensed"], claims["pkg:00", "unlicensed"]
    assert 0 < part.stderr_units <= whole.stderr_units
    with open_books(workspace) as books:
        (entry,) = [s.entry for s in books.entries() if s.entry.scope == "nightly"]
    assert entry.evidence["cells"] == sha256_file(night.manifest("cells"))
    published = publish_period(workspace, "2026-10")
    found = reperform(published.pack)
    assert found.same["accrual"] == 1
    assert found.same["apportionment"] >= 1
