"""per_output_positive/1 on a night that was really measured: table, close, statement, pack."""

import json
import shutil
from fractions import Fraction

import polars as pl
import pytest

from contracts.apportionment import PER_OUTPUT_POSITIVE, OutputInfluence
from flows import nightly
from flows.artefacts import canonical_json, sha256_file, write_parquet
from flows.books import open_books
from flows.close import close_period
from flows.engine import run_night
from flows.errors import CloseError
from flows.estimation import full_splits, ownership_on
from flows.estimation_moments import accumulate, explain
from flows.estimation_shares import work_rows
from flows.knowledge import KnowledgeBase
from flows.night import Night
from flows.positive import positive_tables
from flows.publish import publish_period
from flows.reperform import reperform
from flows.retention import drop_due
from ledger.audit import run_verify
from ledger.checkpoint import read_verifiers
from reports.statement_proof import verify_statement_file
from tests.simulation.paper import PEOPLE
from tests.simulation.tiny import DAYS, copy_of, tiny

KIND, RULE = "positive", "per_output_positive/1"
SUFFIXES = (".manifest.json", ".works.parquet", ".creators.parquet")


def turned(step):
    """Turn the sign of every fifth row of measured influence before a step reads it.

    The miniature model's documents all help; a rule for those that hinder needs some that do.
    """

    def run(night, progress):
        table = pl.read_parquet(night.influence)
        if night.manifest("estimates").exists():
            return step(night, progress)
        nats = pl.col("influence_nanonats")
        sign = pl.when(pl.int_range(pl.len()) % 5 == 0).then(-1).otherwise(1)
        table = table.with_columns((nats * sign).alias("influence_nanonats"))
        totals = (
            table.filter(pl.col("kind") == "trained")
            .group_by("output_id")
            .agg(nats.sum().alias("t"))
        )
        gains = pl.read_parquet(night.gains).join(totals, on="output_id", maintain_order="left")
        gains = gains.with_columns(pl.col("t").alias("total_nanonats")).drop("t")
        manifest = json.loads(night.manifest("influence").read_text())
        for name, path, frame in (
            ("influence", night.influence, table),
            ("gains", night.gains, gains),
        ):
            named = path.name if path.name in manifest["sha256"] else name
            manifest["sha256"][named] = write_parquet(path, frame)
        night.manifest("influence").write_bytes(canonical_json(manifest))
        return step(night, progress)

    return run


def name_the_rule(workspace):
    """Have every agreement name the second rule."""
    for path in workspace.agreements.glob("pkg-*.yaml"):
        path.write_text(path.read_text().replace("signed_linear/1", RULE))


def settled(workspace):
    """Settle the first night, some of whose influence hinders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(nightly.STEPS, "estimate", turned(nightly.STEPS["estimate"]))
        run_night(workspace, DAYS[0])
    return Night(workspace, DAYS[0], ())


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A night settled under agreements that name the default rule."""
    return settled(copy_of(tiny(), tmp_path_factory.mktemp("signed") / "home"))


@pytest.fixture(scope="module")
def positive(tmp_path_factory):
    """The same night settled under agreements that name the second rule."""
    workspace = copy_of(tiny(), tmp_path_factory.mktemp("positive") / "home")
    name_the_rule(workspace)
    return settled(workspace)


def made_by(night):
    """Make or read a night's tables by the second rule, with what its entry cites."""
    return positive_tables(night, KnowledgeBase(night.workspace).present)


def test_what_works_accrue_is_the_rule_of_contracts_applied_to_works(positive):
    """The rule's own slow sums over fractions give the same shares, to the last printed digit."""
    tables = made_by(positive)
    weights = dict(
        pl.read_parquet(positive.sample).select("event_id", "weighted_value_units").iter_rows()
    )
    influence = {name: {} for name in weights}
    trained = pl.read_parquet(positive.influence).filter(pl.col("kind") == "trained")
    for output, work, nats in trained.select(
        "output_id", "group_id", "influence_nanonats"
    ).iter_rows():
        influence[output][work] = nats
    assert any(nats < 0 for by_work in influence.values() for nats in by_work.values())
    exact = PER_OUTPUT_POSITIVE.accrue(
        OutputInfluence(name, weights[name], by_work) for name, by_work in influence.items()
    )
    estimates = json.loads(positive.manifest("estimates").read_text())
    assert estimates["unexplained_outputs"] == 0
    pool = estimates["pool_units"]
    for work, share, units in tables.works.select(
        "work_id", "share_ppt", "accrual_units"
    ).iter_rows():
        assert share == round(exact.shares.get(work, Fraction()) * 10**12), work
        assert abs(units - exact.shares.get(work, 0) * pool) < 1, work
    assert tables.works["accrual_units"].sum() == pool
    assert tables.works["accrual_units"].min() >= 0
    assert tables.creators["accrual_units"].sum() == pool


def test_the_interval_of_a_creator_is_the_formula_on_positive_parts(positive):
    """Of a one-work creator, by floats: sqrt(n/(n-1) sum (1-pi) (W/X)^2 (a - R)^2)."""
    creators = made_by(positive).creators
    sample = pl.read_parquet(
        positive.sample, columns=["event_id", "pi_ppt", "weighted_value_units"]
    )
    trained = pl.read_parquet(positive.influence).filter(pl.col("kind") == "trained")
    clipped = trained.with_columns(pl.col("influence_nanonats").clip(lower_bound=0).alias("p"))
    rows = sample.join(
        clipped.group_by("output_id").agg(
            pl.col("p").sum().alias("over"),
            pl.col("p").filter(pl.col("group_id") == "pkg03/readme").sum().alias("mine"),
        ),
        left_on="event_id",
        right_on="output_id",
    )
    weight = rows["weighted_value_units"] / rows["weighted_value_units"].sum()
    a = rows["mine"] / rows["over"]
    share = (weight * a).sum()
    random = (rows["pi_ppt"] < 10**12).sum()
    noise = ((1 - rows["pi_ppt"] / 10**12) * (weight * (a - share)) ** 2).sum()
    (row,) = creators.filter(pl.col("creator_id") == "pkg:03").iter_rows(named=True)
    assert row["share_ppt"] == pytest.approx(share * 10**12, rel=1e-9)
    expected = (random / (random - 1) * noise) ** 0.5 * 10**12
    assert row["stderr_ppt"] == pytest.approx(expected, rel=1e-6)
    assert row["low_ppt"] < row["share_ppt"] < row["high_ppt"]


def test_estimates_and_the_default_rules_bytes_do_not_depend_on_who_names_the_second(
    signed, positive
):
    """Same estimates byte for byte; the entry by the default rule cites nothing new."""
    for path in ("works", "creators"):
        assert sha256_file(getattr(signed, path)) == sha256_file(getattr(positive, path))
    cited = []
    for night in (signed, positive):
        with open_books(night.workspace) as books:
            (entry,) = [s.entry for s in books.entries() if s.entry.scope == "nightly"]
        cited.append(entry)
    assert [p.units for p in cited[0].postings] == [p.units for p in cited[1].postings]
    assert sorted(cited[0].evidence) == sorted(
        ["outputs", "sample", "influence", "estimates", "catalogue", "agreements"]
    )
    assert not signed.manifest(KIND).exists()
    assert cited[1].evidence[KIND] == sha256_file(positive.manifest(KIND))


def test_a_night_from_before_the_term_is_computed_from_what_is_kept_texts_dropped_or_not(
    positive, tmp_path
):
    """Removed, and made again after retention took the texts: the same bytes."""
    workspace = copy_of(positive.workspace, tmp_path / "home")
    night = Night(workspace, DAYS[0], ())
    paths = [positive.table(KIND).with_name(f"{positive.name}{suffix}") for suffix in SUFFIXES]
    before = [path.read_bytes() for path in paths]
    shutil.rmtree(workspace.root / KIND)
    assert drop_due(workspace, DAYS[1], only=DAYS[0])
    made_by(night)
    assert [(workspace.root / KIND / path.name).read_bytes() for path in paths] == before


def test_without_the_nights_influence_the_command_that_redoes_it_is_named(signed, tmp_path):
    """The table cannot be made: which file, both digests, and `byline nightly`."""
    workspace = copy_of(signed.workspace, tmp_path / "home")
    night = Night(workspace, DAYS[0], ())
    night.influence.unlink()
    why = r"found no such file; a term by per_output_positive/1 needs it(.|\n)*byline nightly"
    with pytest.raises(CloseError, match=why):
        made_by(night)


def test_cutting_a_work_in_two_changes_totals_by_this_rule_and_none_by_the_default(signed):
    """What signed_linear/1 keeps and per_output_positive/1 does not."""
    sample = pl.read_parquet(signed.sample)
    gains = pl.read_parquet(signed.gains)
    whole = pl.read_parquet(signed.influence)
    halves = [("pkg03/a", 3), ("pkg03/b", -2)]
    cut = pl.concat(
        [whole.filter(pl.col("group_id") != "pkg03/readme")]
        + [
            whole.filter(pl.col("group_id") == "pkg03/readme").with_columns(
                pl.lit(name).alias("group_id"), pl.col("influence_nanonats") * times
            )
            for name, times in halves
        ]
    ).sort("output_id", "group_id")
    ownership = ownership_on(KnowledgeBase(signed.workspace).present.catalogue, signed.date)
    sums = {}
    for is_positive in (False, True):
        for name, table in (("whole", whole), ("cut", cut)):
            frame = table.lazy()
            columns = ["event_id", "stratum", "pi_ppt", "weighted_value_units"]
            outputs = explain(
                sample.select(columns),
                gains,
                frame,
                gain_min=0,
                total_ppm=1000,
                positive=is_positive,
            )
            if is_positive:
                frame = frame.with_columns(pl.col("influence_nanonats").clip(lower_bound=0))
            moments = accumulate(frame, outputs, full_splits(frame, ownership))
            works, _ = work_rows(moments, 10**9)
            mine = works.filter(pl.col("work_id").str.starts_with("pkg03"))
            sums[is_positive, name] = mine["accrual_units"].sum()
    assert abs(sums[False, "whole"] - sums[False, "cut"]) <= 1
    assert sums[True, "cut"] > 1.5 * sums[True, "whole"]


def test_a_month_by_the_second_rule_ends_in_statements_that_prove_themselves(positive, tmp_path):
    """Close, statements that foot and name the rule, a pack that verifies and is re-performed."""
    workspace = copy_of(positive.workspace, tmp_path / "home")
    closed = close_period(workspace, "2026-10", **PEOPLE)
    claims = {c.creator_id: c.units for c in closed.plan.accruals.claims}
    tables = made_by(positive)
    accrued = dict(tables.creators.select("creator_id", "accrual_units").iter_rows())
    assert claims == accrued
    published = publish_period(workspace, "2026-10")
    keys = read_verifiers(workspace.public_key)
    for path in published.statements:
        verify_statement_file(path.read_bytes(), keys, name=path.name)
    shares = dict(tables.creators.select("creator_id", "share_ppt").iter_rows())
    for statement in published.built:
        assert statement.inputs.header.method == RULE
        own = statement.inputs.history[-1].share_ppt
        assert own == shares[statement.inputs.header.party_id]
    assert run_verify(published.pack, workspace.public_key).ok
    found = reperform(published.pack)
    assert (found.same["accrual"], "apportionment" in found.same) == (1, True)


def test_the_same_month_by_the_default_rule_pays_otherwise(signed, positive, tmp_path):
    """Two months that differ in the rule alone: other amounts, the same pool, the same nobody's."""
    paid = []
    for night in (signed, positive):
        workspace = copy_of(night.workspace, tmp_path / night.workspace.home.parent.name)
        closed = close_period(workspace, "2026-10", **PEOPLE)
        paid.append(closed.plan.apportionment)
    assert paid[0].pool_units == paid[1].pool_units
    assert paid[0].destinations["unexplained"] == paid[1].destinations["unexplained"]
    assert paid[0].payable != paid[1].payable


def test_a_rule_agreed_backwards_restates_october_in_november_and_the_packs_repeat_it(
    signed, tmp_path
):
    """October paid by the sum; version 2 of every agreement names the other rule for it."""
    workspace = copy_of(signed.workspace, tmp_path / "home")
    before = close_period(workspace, "2026-10", **PEOPLE).plan.apportionment.payable
    first = publish_period(workspace, "2026-10")
    for path in workspace.agreements.glob("pkg-*.yaml"):
        text = path.read_text().replace("version: 1", "version: 2")
        path.with_name(f"{path.stem}.v2.yaml").write_text(text.replace("signed_linear/1", RULE))
    with open_books(workspace) as books:
        books.open_period("2026-11")
    closed = close_period(workspace, "2026-11", **PEOPLE)
    night = Night(workspace, DAYS[0], ())
    accrued = dict(made_by(night).creators.select("creator_id", "accrual_units").iter_rows())
    moved = {
        name.removeprefix("agr-").replace("-", ":"): sum(a.amount_units for a in mine)
        for name, mine in closed.plan.restatement.adjustments.items()
    }
    assert {a.adjustment_type for m in closed.plan.restatement.adjustments.values() for a in m} == {
        "method_restatement"
    }
    for creator, units in moved.items():
        assert before.get(creator, 0) + units == accrued[creator]
    second = publish_period(workspace, "2026-11")
    assert run_verify(second.pack, workspace.public_key).ok
    found = reperform(second.pack, earlier=[first.pack])
    assert found.same["adjustment"] > len(moved)
