"""Shares are exact, linear and add up; a census has no error; what is unclear is not divided."""

import math
import random
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import estimation_moments
from flows.artefacts import manifest_path, write_manifest, write_parquet
from flows.data_errors import ArtefactAlteredError, EstimationError
from flows.estimation import Ownership, Pool, UnexplainedRule, estimate
from flows.estimation_shares import freedom_milli
from flows.intervals import quantile_ppm
from flows.sampling import PPT, SAMPLE_FORMAT, SAMPLE_SCHEMA, weighted_value
from tests.flows.nights import DAY, fractions, random_influence, write_influence

POOL = Pool("main", 123_456_789)


def write_sample(path, rows):
    """Write a sample table; a row is (event id, value, pi in ppt)."""
    columns = [(e, "all", v, pi, "", weighted_value(v, pi), "Q", "A") for e, v, pi in rows]
    frame = pl.DataFrame(columns, schema=SAMPLE_SCHEMA, orient="row").sort("event_id")
    body = {
        "seed": "00" * 32,
        "currency": "USD/6",
        "date": str(DAY),
        "population": {"outputs": 1000, "value_units": 10**6},
        "strata": [],
    }
    files = {path.name: write_parquet(path, frame)}
    write_manifest(manifest_path(path), SAMPLE_FORMAT, inputs={}, files=files, body=body)
    return path


class Night:
    """A night on the disk: sample, influence and gains, with the plain values beside."""

    def __init__(self, folder, *, outputs=30, works=8, decoys=3, seed=1, census=False):
        rng = random.Random(seed)
        self.folder = folder
        self.sample = [
            (f"e{i:03}", rng.randint(1, 10**6), PPT if census else rng.randint(10**10, PPT))
            for i in range(outputs)
        ]
        self.rows, self.gains = random_influence([e for e, *_ in self.sample], works, decoys, seed)
        self.splits = {f"w{i:02}": [(f"c{i % 3}", Fraction(1))] for i in range(works)}
        self.sizes = {f"w{i:02}": i + 1 for i in range(works)}

    def run(self, name="a", pool=POOL, **options):
        """Write the night and estimate it; give works, creators and manifest."""
        folder = self.folder / name
        sample = write_sample(folder / "sample" / f"{DAY}.parquet", self.sample)
        influence, gains = write_influence(folder / "influence", self.rows, self.gains)
        result = estimate(
            influence=influence,
            gains=gains,
            sample=sample,
            ownership=Ownership(self.splits, self.sizes),
            out_dir=folder / "estimates",
            name=str(DAY),
            pool=pool,
            **options,
        )
        return pl.read_parquet(result.works), pl.read_parquet(result.creators), result.manifest


def slow_shares(night, owners):
    """The formulas of the header in fractions, output by output."""
    rule = UnexplainedRule()
    weights = {e: Fraction(v * PPT, pi) for e, v, pi in night.sample}
    pis = {e: Fraction(pi, PPT) for e, _, pi in night.sample}
    x = sum(weights.values())
    trained = [row for row in night.rows if row[2] == "trained"]
    a = {}
    for event in weights:
        mine = {w: Fraction(s) for e, w, _, s in trained if e == event}
        total, gross = sum(mine.values()), sum(map(abs, mine.values()))
        gain, tokens = night.gains[event]
        clear = gain > 0 and gain >= rule.gain_per_token_min_nanonats * tokens
        if clear and total > 0 and total * 10**6 >= rule.total_to_gross_min_ppm * gross:
            a[event] = {}
            for work, value in mine.items():
                for owner, part in owners[work]:
                    a[event][owner] = a[event].get(owner, 0) + part * value / total
        else:
            a[event] = {None: Fraction(1)}
    names = sorted({o for parts in a.values() for o in parts}, key=str)
    shares = {o: sum(weights[e] * a[e].get(o, 0) for e in a) / x for o in names}
    random_count = sum(pi < 1 for pi in pis.values())
    factor = Fraction(random_count, random_count - 1) if random_count > 1 else Fraction(1)
    errors = {
        o: float(
            factor
            * sum((1 - pis[e]) * (weights[e] / x * (a[e].get(o, 0) - shares[o])) ** 2 for e in a)
        )
        ** 0.5
        for o in names
    }
    squares = {
        o: [float((1 - pis[e]) * (weights[e] / x * a[e].get(o, 0)) ** 2) for e in a] for o in names
    }
    carrying = {o: sum(s) ** 2 / sum(v * v for v in s) if any(s) else 0 for o, s in squares.items()}
    skews = {
        o: sum(
            float((1 - pis[e]) * (1 - 2 * pis[e]))
            * float(weights[e] / x * (a[e].get(o, 0) - shares[o])) ** 3
            for e in a
        )
        / errors[o] ** 3
        for o in names
        if errors[o]
    }
    return shares, errors, carrying, skews


@pytest.mark.parametrize("seed", range(5))
def test_shares_and_errors_are_those_of_the_formulas(tmp_path, seed):
    """Works, creators and the unexplained part agree with the slow definition."""
    night = Night(tmp_path, seed=seed)
    works, creators, manifest = night.run()
    for table, key, owners in (
        (works, "work_id", {w: [(w, Fraction(1))] for w in night.splits}),
        (creators, "creator_id", night.splits),
    ):
        shares, errors, carrying, skews = slow_shares(night, owners)
        rows = {row[key]: row for row in table.to_dicts()}
        assert set(rows) | {None} == set(shares)
        for name, row in rows.items():
            assert abs(row["share_ppt"] - shares[name] * PPT) <= PPT / 10**6
            assert row["stderr_ppt"] == pytest.approx(errors[name] * PPT, rel=1e-6, abs=10)
            assert row["skew_ppm"] == pytest.approx(skews[name] * 10**6, rel=1e-4, abs=20)
            point = student(carrying[name] - 1)
            for end, sign in (("low_ppt", 1), ("high_ppt", -1)):
                reach = unbent(sign * point, skews[name]) * errors[name] * PPT
                assert row["share_ppt"] - row[end] == pytest.approx(reach, rel=5e-3, abs=20)
        assert manifest["unexplained_ppt"] == pytest.approx(float(shares[None] * PPT), rel=1e-6)
        assert manifest["unexplained_stderr_ppt"] == pytest.approx(errors[None] * PPT, rel=1e-6)


def unbent(point, skew):
    """Solve T + s T^2 / 3 + s^2 T^3 / 27 + s / 6 = point by halving: it rises with T."""
    low, high = -100.0, 100.0
    while high - low > 1e-9:
        t = (low + high) / 2
        bent = t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6
        low, high = (low, t) if bent > point else (t, high)
    return low


def student(freedom):
    """The 97.5 % point by halving, on the density itself; 3 degrees of freedom are the least."""
    n = max(3.0, freedom)
    scale = math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2)) / math.sqrt(n * math.pi)
    low, high = 1.9, 3.3
    while high - low > 1e-6:
        x = (low + high) / 2
        steps = [x * (k + 0.5) / 400 for k in range(400)]
        inside = sum((1 + t * t / n) ** (-(n + 1) / 2) for t in steps) * x / 400 * scale
        low, high = (x, high) if inside < 0.475 else (low, x)
    return low


@pytest.mark.parametrize(("outputs", "point"), [(1, 3.182), (5, 2.776), (11, 2.228), (10**6, 1.96)])
def test_the_interval_is_wider_where_few_outputs_carry_the_noise(outputs, point):
    """Student's table at one degree of freedom less than outputs of equal noise, at least 3."""
    freedom = freedom_milli(10**30, 10**32 // outputs)
    assert quantile_ppm(freedom) == pytest.approx(point * 10**6, rel=2e-3)
    assert freedom_milli(10**30, 0) == freedom_milli(0, 0) == freedom_milli(10**30, 10**32) == 2000
    assert student(outputs - 1) == pytest.approx(point, rel=1e-3)


@given(st.integers(0, 10**12), st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_accruals_add_up_to_the_pool(tmp_path_factory, pool_units, seed):
    """Works and unexplained add up to the pool; so do creators and unexplained; shares to 1."""
    night = Night(tmp_path_factory.mktemp("n"), outputs=6, seed=seed)
    night.splits["w01"] = fractions(("c0", "1/3"), ("c9", "1/3"))
    del night.splits["w02"]
    works, creators, manifest = night.run(pool=Pool("p", pool_units))
    for table in (works, creators):
        assert table["accrual_units"].sum() + manifest["unexplained_units"] == pool_units
        total = table["share_ppt"].sum() + manifest["unexplained_ppt"]
        assert abs(total - PPT) <= table.height
    assert "unmatched" in creators["creator_id"]


def test_a_creators_accrual_is_the_sum_of_his_lines(tmp_path):
    """A statement's lines foot to its total, to the unit."""
    night = Night(tmp_path)
    works, creators, _ = night.run()
    units = dict(works.select("work_id", "accrual_units").iter_rows())
    for row in creators.to_dicts():
        mine = [w for w, owners in night.splits.items() if owners[0][0] == row["creator_id"]]
        assert row["accrual_units"] == sum(units[w] for w in mine)


def test_filing_a_work_under_two_names_changes_nothing(tmp_path):
    """Cut one work in two pieces: the pieces add up to it, everything else stays to the digit."""
    night = Night(tmp_path)
    works, creators, manifest = night.run("whole")
    cut = []
    for event, group, kind, value in night.rows:
        if group == "w03":
            piece = value // 3 + 12345
            cut += [(event, "w03", kind, piece), (event, "w03b", kind, value - piece)]
        else:
            cut.append((event, group, kind, value))
    night.rows = cut
    night.splits["w03b"] = night.splits["w03"]
    works_cut, creators_cut, manifest_cut = night.run("cut")
    share = dict(works.select("work_id", "share_ppt").iter_rows())
    share_cut = dict(works_cut.select("work_id", "share_ppt").iter_rows())
    assert abs(share_cut["w03"] + share_cut["w03b"] - share["w03"]) <= 1
    assert {w: s for w, s in share_cut.items() if w[:3] != "w03"} == {
        w: s for w, s in share.items() if w[:3] != "w03"
    }
    columns = ["creator_id", "share_ppt"]
    assert creators.select(columns).equals(creators_cut.select(columns))
    assert manifest["unexplained_ppt"] == manifest_cut["unexplained_ppt"]


def test_a_census_has_no_error(tmp_path):
    """When everything is taken there is nothing left to estimate."""
    works, creators, manifest = Night(tmp_path, census=True).run()
    assert set(works["stderr_ppt"]) == set(creators["stderr_ppt"]) == {0}
    assert works["low_ppt"].equals(works["share_ppt"].alias("low_ppt"))
    assert manifest["unexplained_stderr_ppt"] == 0


def test_the_pieces_in_which_the_table_is_read_change_no_digit(tmp_path, monkeypatch):
    """Memory limits must not be visible in anybody's money."""
    night = Night(tmp_path)
    first = night.run("a")
    monkeypatch.setattr(estimation_moments, "_BATCH_ROWS", 7)
    second = night.run("b")
    assert first[0].equals(second[0])
    assert first[1].equals(second[1])


def test_outputs_that_training_did_not_help_are_unexplained(tmp_path):
    """No gain, too small a gain, a negative total and a total lost in the gross movement."""
    night = Night(tmp_path, outputs=5, works=2, decoys=0, census=True)
    night.sample = [(f"e{i}", 100, PPT) for i in range(5)]
    night.gains = {f"e{i}": (10**10, 10) for i in range(5)}
    night.gains |= {"e0": (-(10**10), 10), "e1": (10**8 - 1, 10)}
    night.rows = [(f"e{i}", "w00", "trained", 10**9) for i in range(5)]
    night.rows += [("e2", "w01", "trained", -(10**9)), ("e3", "w01", "trained", -95 * 10**7)]
    works, _, manifest = night.run()
    assert (manifest["explained_outputs"], manifest["unexplained_outputs"]) == (1, 4)
    assert manifest["unexplained_ppt"] == PPT * 4 // 5
    assert works["share_ppt"].to_list() == [PPT // 5, 0]
    looser = UnexplainedRule(gain_per_token_min_nanonats=0, total_to_gross_min_ppm=10_000)
    assert night.run("loose", rule=looser)[2]["explained_outputs"] == 3


def test_a_night_that_nothing_explains_goes_to_the_unexplained_whole(tmp_path):
    """The pool is still accounted for, to the unit."""
    night = Night(tmp_path, outputs=4)
    night.gains = dict.fromkeys(night.gains, (-1, 5))
    works, creators, manifest = night.run()
    assert manifest["unexplained_units"] == POOL.units
    assert set(works["accrual_units"]) == set(creators["accrual_units"]) == {0}


def test_a_night_without_a_sample_is_estimated_too(tmp_path):
    """A nil night has empty tables, and a pool, if it has one, is unexplained whole."""
    night = Night(tmp_path, outputs=0)
    works, creators, manifest = night.run()
    assert works.height == creators.height == manifest["sampled"] == 0
    assert (manifest["unexplained_ppt"], manifest["unexplained_units"]) == (PPT, POOL.units)


def test_co_creators_share_by_the_split_and_the_unclaimed_part_is_unmatched(tmp_path):
    """Splits apply to the work's share; what no split covers belongs to nobody yet."""
    night = Night(tmp_path, works=1)
    night.splits = {"w00": fractions(("c1", "1/2"), ("c2", "1/3"))}
    works, creators, _ = night.run()
    whole = works["share_ppt"][0]
    shares = dict(creators.select("creator_id", "share_ppt").iter_rows())
    assert shares["c1"] == pytest.approx(whole / 2, abs=1)
    assert shares["c2"] == pytest.approx(whole / 3, abs=1)
    assert shares["unmatched"] == pytest.approx(whole / 6, abs=1)


def test_the_spread_of_a_stratum_is_that_of_its_outputs_shares(tmp_path):
    """Neyman's factor: two outputs with opposite owners vary, two with the same do not."""
    night = Night(tmp_path, outputs=4, works=2, decoys=0, census=True)
    night.sample = [(f"e{i}", 100, PPT) for i in range(4)]
    night.gains = {f"e{i}": (10**10, 10) for i in range(4)}
    night.rows = [(f"e{i}", f"w0{i % 2}", "trained", 10**9) for i in range(4)]
    assert night.run("a")[2]["spreads_ppm"] == {"all": 707_106}
    night.rows = [(f"e{i}", "w00", "trained", 10**9) for i in range(4)]
    assert night.run("b")[2]["spreads_ppm"] == {"all": 0}
    night.gains["e3"] = (-1, 10)
    assert night.run("c")[2]["spreads_ppm"] == {"all": 612_372}


def test_decoys_tell_the_generic_part_and_are_never_paid(tmp_path):
    """Level per document times documents is generic; the two parts add up to the share."""
    night = Night(tmp_path, outputs=3, works=2, decoys=0, census=True)
    night.sample = [(f"e{i}", 100, PPT) for i in range(3)]
    night.gains = {f"e{i}": (10**10, 10) for i in range(3)}
    night.sizes = {"w00": 3, "w01": 1}
    night.rows = []
    for i in range(3):
        night.rows += [(f"e{i}", "w00", "trained", 600), (f"e{i}", "w01", "trained", 400)]
        night.rows += [(f"e{i}", "d0", "decoy", 150), (f"e{i}", "d1", "decoy", 50)]
    works, creators, manifest = night.run()
    assert manifest["decoy"] == {"documents": 2, "share_ppt": PPT // 5}
    rows = {row["creator_id"]: row for row in creators.to_dicts()}
    assert rows["c0"]["generic_ppt"] == 3 * PPT // 10
    assert rows["c0"]["specific_ppt"] == 3 * PPT // 10
    assert rows["c1"]["generic_ppt"] == PPT // 10
    assert rows["c1"]["specific_ppt"] == 3 * PPT // 10
    assert works["accrual_units"].sum() == POOL.units


def test_an_incomplete_attribution_is_refused(tmp_path):
    """An output without its influence, or a table with rows missing, credits nobody."""
    night = Night(tmp_path)
    del night.gains["e003"]
    night.rows = [row for row in night.rows if row[0] != "e003"]
    with pytest.raises(EstimationError, match=r"1 of 30 sampled outputs .* e003"):
        night.run("a")
    night = Night(tmp_path)
    night.sample = night.sample[1:]
    with pytest.raises(EstimationError, match="e000"):
        night.run("b")


def test_rows_that_do_not_add_up_to_the_measured_total_are_refused(tmp_path):
    """A table from which a work was left out would pay the others too much."""
    night = Night(tmp_path)
    folder = tmp_path / "x"
    sample = write_sample(folder / "sample.parquet", night.sample)
    influence, gains = write_influence(folder, night.rows, night.gains)
    short = pl.read_parquet(influence).filter(pl.col("group_id") != "w04")
    files = {influence.name: write_parquet(influence, short)}
    files[gains.name] = write_parquet(gains, pl.read_parquet(gains))
    path = folder / f"{DAY}.manifest.json"
    write_manifest(path, "byline-influence/1", inputs={}, files=files, body={})
    with pytest.raises(EstimationError, match="influence table is incomplete"):
        estimate(
            influence=influence,
            gains=gains,
            sample=sample,
            ownership=Ownership(night.splits, {}),
            out_dir=folder,
            name="x",
            pool=POOL,
        )
    influence.write_bytes(b"")
    with pytest.raises(ArtefactAlteredError):
        estimate(
            influence=influence,
            gains=gains,
            sample=sample,
            ownership=Ownership(night.splits, {}),
            out_dir=folder,
            name="x",
            pool=POOL,
        )


def test_an_overclaimed_work_and_a_negative_pool_are_refused(tmp_path):
    """Neither can be divided; both errors say whose it is and what to do."""
    night = Night(tmp_path, works=1)
    night.splits = {"w00": fractions(("c1", "2/3"), ("c2", "2/3"))}
    with pytest.raises(EstimationError, match=r"w00.*4/3"):
        night.run("a")
    with pytest.raises(EstimationError, match="negative: -1 units"):
        night.run("b", pool=Pool("p", -1))
    with pytest.raises(EstimationError, match=r"1000\.\.1000000"):
        UnexplainedRule(total_to_gross_min_ppm=0)
