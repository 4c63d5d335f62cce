"""The draw can be checked one record at a time, keeps its size, and weighs every record rightly."""

import hashlib
import hmac
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.allocation import allocate, design_stratum
from flows.artefacts import manifest_path
from flows.data_errors import ArtefactAlteredError, SampleError
from flows.keyed_digests import keyed_digests
from flows.sampling import (
    PPT,
    SAMPLE_SCHEMA,
    check_draw,
    draw_sample,
    inclusion_ppt,
    night_seed,
    stratum_name,
    stratum_of,
    weighted_value,
)
from tests.flows.nights import DAY, write_outputs

SEED = night_seed("", "00" * 32, DAY)

values = st.lists(st.integers(0, 10**12), min_size=1, max_size=60).filter(any)


def design(units, size):
    """Design one stratum from its values."""
    return design_stratum(
        "s",
        min(size, sum(v > 0 for v in units)),
        outputs=len(units),
        valued=sum(v > 0 for v in units),
        units=sum(units),
        top_values=units,
    )


def slow_inclusion(units, size):
    """The textbook procedure: cap at 1, give the rest to the others, repeat."""
    certain = set()
    while True:
        rest = sum(v for i, v in enumerate(units) if i not in certain)
        left = size - len(certain)
        new = {i for i, v in enumerate(units) if v and i not in certain and v * left >= rest}
        if not new:
            break
        certain |= new
    return [
        Fraction(1) if i in certain else Fraction(v * left, rest) if v else Fraction(0)
        for i, v in enumerate(units)
    ]


def test_the_draw_is_the_formula_anyone_can_compute():
    """HMAC-SHA256 of the event under the seed, read as a fraction of 2^256, below pi."""
    draw = check_draw("otel-genai:a", seed_hex=SEED, pi_ppt=PPT // 2)
    digest = hmac.new(bytes.fromhex(SEED), b"otel-genai:a", hashlib.sha256).hexdigest()
    assert draw.draw_hex == digest
    assert draw.included == (Fraction(int(digest, 16), 2**256) < Fraction(1, 2))


@given(
    st.binary(max_size=64),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=99), max_size=5),
)
def test_the_fast_draws_are_plain_hmac(key, messages):
    """Copied hash states give what the standard library's HMAC gives."""
    plain = [hmac.new(key, message.encode(), hashlib.sha256).digest() for message in messages]
    assert keyed_digests(key, messages) == b"".join(plain)


def test_the_seed_depends_on_checkpoint_batch_and_date():
    """Nobody can choose the seed after seeing the records, nor move it to another night."""
    seeds = {
        night_seed("aa", "bb", DAY),
        night_seed("ab", "bb", DAY),
        night_seed("aa", "bc", DAY),
        night_seed("aa", "bb", DAY.replace(day=1)),
    }
    assert len(seeds) == 4
    text = b"byline-night-seed/1\naa\nbb\n2026-11-20\n"
    assert night_seed("aa", "bb", DAY) == hashlib.sha256(text).hexdigest()


@given(values, st.integers(1, 80))
def test_probabilities_are_those_of_the_textbook(units, size):
    """Capping in one sorted sweep equals capping round by round."""
    stratum = design(units, size)
    for value, exact in zip(units, slow_inclusion(units, stratum.size), strict=True):
        pi = inclusion_ppt(value, stratum)
        assert pi == max(value > 0, int(exact * PPT))


@given(values, st.integers(1, 80))
def test_probabilities_add_up_to_the_size(units, size):
    """What a cap takes away is given to the others, so the expected size is the one asked for."""
    stratum = design(units, size)
    total = sum(inclusion_ppt(value, stratum) for value in units)
    assert abs(total - stratum.size * PPT) <= len(units)


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 50)), min_size=1, max_size=12),
    st.integers(1, 200),
)
def test_allocation_adds_up_and_never_asks_for_more_than_there_is(strata, target):
    """The sizes add up to the target unless strata are too small or too many."""
    units = [value * bool(count) for value, count in strata]
    valued = [count for _, count in strata]
    sizes = allocate(target, units=units, valued=valued, spreads_ppm=[10**6] * len(strata))
    assert all(0 <= size <= count for size, count in zip(sizes, valued, strict=True))
    assert all(size >= 1 for size, count in zip(sizes, valued, strict=True) if count)
    floors = sum(min(2 if target >= 2 * len(strata) else 1, count) for count in valued)
    assert min(target, sum(valued)) <= sum(sizes) <= max(target, floors)


def test_neyman_gives_more_to_the_stratum_that_varies_more():
    """Same value, three times the spread: three times the sample."""
    sizes = allocate(40, units=[100, 100], valued=[90, 90], spreads_ppm=[3 * 10**6, 10**6])
    assert sizes == [30, 10]


@given(st.integers(1, 10**13), st.integers(1, PPT))
def test_weights_undo_the_probability(value, pi):
    """The weight is value / pi, rounded half to even, in whole numbers."""
    assert weighted_value(value, pi) == round(Fraction(value * PPT, pi))


def outputs(folder, count=400, **columns):
    """Write an outputs table whose values vary."""
    rows = [
        {
            "event_id": f"e:{i:04}",
            "value_units": (i * 7919) % 5000 + (100_000 if i % 97 == 0 else 0),
            "model_version": f"v{i % 3}",
            "payable": i % 10 != 0,
            **{name: make(i) for name, make in columns.items()},
        }
        for i in range(count)
    ]
    return write_outputs(folder / f"{DAY}.parquet", rows)


def sample(source, out, size=60, **options):
    """Draw and read back."""
    manifest = draw_sample(source, out, seed_hex=SEED, target_size=size, **options)
    return manifest, pl.read_parquet(out)


def test_every_record_drawn_or_not_is_checked_from_the_manifest(tmp_path):
    """One record at a time: stratum numbers and value give pi, the seed gives the draw."""
    source = outputs(tmp_path)
    manifest, drawn = sample(source, tmp_path / "s.parquet", strata=("model_version",))
    assert dict(drawn.schema) == {k: v() for k, v in SAMPLE_SCHEMA.items()}
    included = dict(drawn.select("event_id", "pi_ppt").iter_rows())
    for row in pl.read_parquet(source).filter("payable").to_dicts():
        name = stratum_name(["model_version"], [row["model_version"]])
        pi = inclusion_ppt(row["value_units"], stratum_of(manifest, name))
        draw = check_draw(row["event_id"], seed_hex=manifest["seed"], pi_ppt=pi)
        assert draw.included == (row["event_id"] in included)
        assert included.get(row["event_id"], pi) == pi
    with pytest.raises(SampleError, match="no stratum"):
        stratum_of(manifest, "model_version=v9")


def test_the_same_night_draws_the_same_sample(tmp_path):
    """Same outputs and seed: same bytes, whatever machine draws."""
    source = outputs(tmp_path)
    sample(source, tmp_path / "a.parquet")
    sample(source, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_what_is_not_payable_is_never_drawn(tmp_path):
    """Filters come before the draw, and a record without value carries no money."""
    manifest, drawn = sample(outputs(tmp_path), tmp_path / "s.parquet", size=10_000)
    payable = pl.read_parquet(tmp_path / f"{DAY}.parquet").filter("payable")
    assert manifest["population"]["outputs"] == payable.height
    assert (
        drawn["event_id"].to_list()
        == payable.filter(pl.col("value_units") > 0)["event_id"].to_list()
    )
    assert set(drawn["pi_ppt"]) == {PPT}
    assert drawn["weighted_value_units"].to_list() == drawn["value_units"].to_list()


def test_a_larger_sample_contains_the_smaller_one(tmp_path):
    """Permanent random numbers: asking for more keeps what was drawn already."""
    source = outputs(tmp_path)
    _, small = sample(source, tmp_path / "a.parquet", size=30)
    _, large = sample(source, tmp_path / "b.parquet", size=90)
    assert set(small["event_id"]) <= set(large["event_id"])


def test_expanded_values_meet_the_population_on_average(tmp_path):
    """Over many seeds the weighted sum is unbiased: its mean is the population's value."""
    source = outputs(tmp_path)
    total = pl.read_parquet(source).filter("payable")["value_units"].sum()
    sums, sizes = [], []
    for k in range(60):
        seed = night_seed("", f"{k}", DAY)
        draw_sample(source, tmp_path / "s.parquet", seed_hex=seed, target_size=60)
        drawn = pl.read_parquet(tmp_path / "s.parquet")
        sums.append(drawn["weighted_value_units"].sum())
        sizes.append(drawn.height)
    assert abs(sum(sums) / len(sums) / total - 1) < 0.05
    assert abs(sum(sizes) / len(sizes) - 60) < 3


@pytest.mark.parametrize("strata", [(), ("model_version", "territory")])
def test_strata_may_be_none_or_several(tmp_path, strata):
    """Without columns the night is one stratum; null values have a stratum too."""
    source = outputs(tmp_path, territory=lambda i: None if i % 2 else "SE")
    manifest, drawn = sample(source, tmp_path / "s.parquet", strata=strata)
    assert len(manifest["strata"]) == (6 if strata else 1)
    assert set(drawn["stratum"]) <= {s["stratum"] for s in manifest["strata"]}


def test_bad_requests_are_refused_with_the_reason(tmp_path):
    """No money, no column, no size: each says what to do."""
    source = outputs(tmp_path)
    with pytest.raises(SampleError, match="at least 1, got 0"):
        sample(source, tmp_path / "s.parquet", size=0)
    with pytest.raises(SampleError, match="no column 'colour'"):
        sample(source, tmp_path / "s.parquet", strata=("colour",))
    with pytest.raises(SampleError, match="unknown allocation 'magic'"):
        sample(source, tmp_path / "s.parquet", allocation="magic")
    with pytest.raises(SampleError, match="64 hex digits"):
        check_draw("e", seed_hex="zz", pi_ppt=1)


@pytest.mark.parametrize("rows", [[], [{"event_id": "a", "value_units": 0}]])
def test_a_night_without_money_has_an_empty_sample(tmp_path, rows):
    """A nil report is a report: the step ends well and the manifest says zero."""
    manifest, drawn = sample(write_outputs(tmp_path / "o.parquet", rows), tmp_path / "s.parquet")
    assert drawn.height == manifest["sampled"] == 0
    assert manifest["population"]["value_units"] == 0


def test_altered_outputs_are_not_sampled(tmp_path):
    """The sample rests on the table its batch root was computed from."""
    source = outputs(tmp_path)
    source.write_bytes(source.read_bytes() + b"x")
    with pytest.raises(ArtefactAlteredError):
        sample(source, tmp_path / "s.parquet")
    assert not manifest_path(tmp_path / "s.parquet").exists()
