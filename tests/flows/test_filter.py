"""Each filter takes out what its rule says, names the reason, and the counts add up."""

import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from attribution.corpus import Document
from attribution.duplicates import similarity
from flows import filter_keys, near_duplicates
from flows.filter import decide, exclusion_counts
from flows.filter_keys import FilterSettings, put_down
from flows.ingest_schema import OUTPUTS_SCHEMA
from flows.sketches import HASHES, letters_of, run_hashes, sketches

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def decisions(rows, settings=None, piece_rows=50_000):
    """Decide on rows whose missing columns are ordinary; give reasons by event."""
    base = dict.fromkeys(OUTPUTS_SCHEMA)
    base |= {"tenant_hmac": "t", "ts_utc": NOON, "status": "ok", "cache_hit": False}
    base |= {"is_test": False, "value_units": 10, "prompt_sha256": "p", "output_text": "text"}
    full = [
        base | {"event_id": f"e{i}", "output_sha256": f"o{i}"} | row for i, row in enumerate(rows)
    ]
    frame = pl.DataFrame(full, schema=OUTPUTS_SCHEMA).sort("event_id")
    settings = settings or FilterSettings()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "rows"
        table = put_down(frame.iter_slices(piece_rows), folder, settings)
        decided = decide(table, settings, folder)
    counts = exclusion_counts(frame["value_units"], decided)
    assert counts["payable"]["outputs"] + sum(
        e["outputs"] for e in counts["excluded"].values()
    ) == len(rows)
    return dict(zip(frame["event_id"], decided, strict=True)), counts


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, None),
        ({"status": "error", "is_test": True}, "error"),
        ({"is_test": True, "output_text": " "}, "test"),
        ({"tenant_hmac": "internal"}, "test"),
        ({"exclusion_reason": "redacted", "output_text": None}, "redacted"),
        ({"exclusion_reason": "tool_call", "output_text": None}, "tool_call"),
        ({"output_text": " \n\t"}, "empty"),
        ({"output_text": None, "output_sha256": None}, "empty"),
        ({"output_text": None}, None),
        ({"cache_hit": True}, "cache_hit"),
        ({"tenant_hmac": "publisher"}, "self_dealing"),
        ({"user_hmac": "crawler"}, "bot"),
        ({"exclusion_reason": "bot"}, "bot"),
    ],
)
def test_each_rule_names_its_reason(row, reason):
    """The first rule that applies, in the order of the module's header."""
    settings = FilterSettings(
        test_tenants=frozenset({"internal"}),
        self_dealing={"publisher": "party_1"},
        bot_users=frozenset({"crawler"}),
    )
    assert decisions([row], settings)[0]["e0"] == reason


def test_cached_answers_are_paid_where_the_settings_say_so():
    """Whether a cached answer counts is a matter of the agreements."""
    assert decisions([{"cache_hit": True}], FilterSettings(pay_cache_hits=True))[0]["e0"] is None


def test_an_exact_repetition_is_paid_once_and_the_earliest_stays():
    """Same tenant, prompt and output; another tenant or prompt is another use."""
    same = {"output_sha256": "same"}
    rows = [
        same | {"ts_utc": NOON + timedelta(minutes=2)},
        same | {"ts_utc": NOON},
        same | {"tenant_hmac": "other"},
        same | {"prompt_sha256": "other"},
    ]
    reasons, counts = decisions(rows)
    assert reasons == {"e0": "duplicate", "e1": None, "e2": None, "e3": None}
    assert counts["excluded"]["duplicate"] == {"outputs": 1, "value_units": 10}


def test_a_repetition_of_something_unpaid_is_not_a_duplicate():
    """The first payable one is paid, even after a test call with the same words."""
    same = {"output_sha256": "same"}
    rows = [same | {"is_test": True}, same | {"ts_utc": NOON + timedelta(minutes=1)}]
    assert decisions(rows)[0] == {"e0": "test", "e1": None}


def test_a_burst_of_one_user_is_not_paid_and_a_busy_tenant_is_not():
    """More outputs in a clock minute than the limit excludes that minute, of that user only."""
    burst = [{"user_hmac": "u", "ts_utc": NOON + timedelta(seconds=i)} for i in range(4)]
    calm = [{"user_hmac": "u", "ts_utc": NOON + timedelta(minutes=1)}]
    others = [{"user_hmac": f"u{i}"} for i in range(4)] + [{"user_hmac": None}] * 4
    settings = FilterSettings(user_per_minute_max=3, tenant_per_minute_max=4)
    reasons, _ = decisions(burst + calm + others, settings)
    assert [reasons[f"e{i}"] for i in range(4)] == ["velocity"] * 4
    assert {reasons[f"e{i}"] for i in range(4, 13)} == {None}
    reasons, _ = decisions([{"user_hmac": None}] * 5, settings)
    assert set(reasons.values()) == {"velocity"}


def test_decisions_do_not_depend_on_the_order_of_rows():
    """The same set of records is judged the same however it was read."""
    rows = [{"event_id": f"x{i}", "output_sha256": f"o{i % 3}"} for i in range(9)]
    assert decisions(rows)[0] == decisions(rows[::-1])[0]


LONG = "The tide comes in at six and goes out again before anybody has had breakfast on the pier."


def test_a_long_output_with_the_same_letters_is_a_near_duplicate():
    """Case, digits, punctuation and another prompt do not make it new; short answers may recur."""
    rows = [
        {"output_text": LONG},
        {"output_text": LONG.upper() + " 2!", "prompt_sha256": "other"},
        {"output_text": LONG, "tenant_hmac": "other"},
        {"output_text": "Yes."},
        {"output_text": "Yes!"},
    ]
    assert list(decisions(rows)[0].values()) == [None, "near_duplicate", None, None, None]
    off = FilterSettings(near_duplicate_letters_min=0)
    assert set(decisions(rows, off)[0].values()) == {None}


def words_with(rng, changed, length=120):
    """Give a text and the same text with every so many words replaced by others."""
    words = [f"w{rng.getrandbits(20):x}" for _ in range(length)]
    again = [f"x{i}" if i % changed == changed - 1 else word for i, word in enumerate(words)]
    return " ".join(words), " ".join(again)


def test_an_output_that_repeats_another_but_for_few_words_is_a_near_duplicate():
    """One word in 60 leaves 0.84 of the runs, one in 20 leaves 0.6; other tenants' do not count."""
    rng = random.Random(3)
    few, many = words_with(rng, 60), words_with(rng, 20)
    texts = [*few, *many, few[1]]
    rows = [{"output_text": t, "ts_utc": NOON + timedelta(hours=i)} for i, t in enumerate(texts)]
    rows[4]["tenant_hmac"] = "other"
    assert list(decisions(rows)[0].values()) == [None, "near_duplicate", None, None, None]


def test_what_repeats_an_unpaid_output_only_is_paid():
    """The third is like the second, not like the first, which the second repeats."""
    words = [f"word{i}" for i in range(200)]
    chain = [
        [f"x{i}" if i < 18 * k and i % 6 == 5 else w for i, w in enumerate(words)] for k in range(3)
    ]
    texts = [" ".join(words) for words in chain]
    rows = [{"output_text": t, "ts_utc": NOON + timedelta(hours=i)} for i, t in enumerate(texts)]
    whole = list(decisions(rows)[0].values())
    assert whole[:2] == [None, "near_duplicate"]
    first, second, third = (Document(t, t, text=t) for t in texts)
    assert similarity(first, third) < 0.8 <= similarity(second, third)
    assert whole[2] is None


def test_the_sketch_finds_what_the_words_say_at_the_threshold():
    """Of 300 pairs with 0.8 to 0.85 of their runs in common 299 agree in a hash (99.2 %)."""
    rng = random.Random(5)
    pairs = [words_with(rng, 50) for _ in range(300)]
    texts = [text for pair in pairs for text in pair]
    like = [similarity(*(Document(t, t, text=t) for t in pair)) for pair in pairs]
    assert 0.8 <= min(like) <= max(like) <= 0.86
    rows = [{"output_text": t, "ts_utc": NOON + timedelta(minutes=i)} for i, t in enumerate(texts)]
    found = decisions(rows)[0]
    reasons = [found[f"e{i}"] for i in range(len(texts))]
    assert reasons[::2] == [None] * 300
    assert reasons[1::2].count("near_duplicate") >= 294


def test_pairs_are_read_in_pieces_and_a_text_dropped_since_decides_nothing(monkeypatch):
    """Memory limits must not be visible in who is paid."""
    rng = random.Random(7)
    texts = [text for _ in range(6) for text in words_with(rng, 60)]
    rows = [{"output_text": t, "ts_utc": NOON + timedelta(hours=i)} for i, t in enumerate(texts)]
    whole = decisions(rows)[0]
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_ONCE", 2)
    monkeypatch.setattr(filter_keys, "_PIECE_ROWS", 3)
    for piece_rows in (1, 5, 50):
        assert decisions(rows, piece_rows=piece_rows)[0] == whole
    rows[0]["output_text"] = None
    assert decisions(rows)[0] == {**whole, "e1": None}


AWKWARD = [
    "",
    "   ",
    "a b c d",
    "a b c d e",
    " A  b\tc\nd e f ",
    "one two three four five six",
    "ß ẞ",
    "a\u00a0b c d e f g",
    "Ünder der Brücke STRASSE straße x y",
    "x" * 9,
    "a.b c, d; e! f?",
    "\x0ba b c d e f",
    "1 2 3 4 5",
    "日本 語 の テキ スト です",
]


def words_of(text):
    """Cut a text as the sketch does."""
    return text.lower().split()


def test_letters_and_sketches_of_whole_columns_are_those_of_each_text():
    """Column by column, in any cut, with any white space and script: what a loop finds."""
    rng = random.Random(11)
    texts = AWKWARD + [
        "".join(rng.choices("aB \n\té.ß中 ", k=rng.randrange(60))) for _ in range(400)
    ]
    column = pl.Series([None, *texts])
    assert letters_of(column).to_list()[1:] == [
        "".join(c for c in t.lower() if c.isalpha()) for t in texts
    ]
    whole = sketches(column)
    assert whole.equals(pl.concat([sketches(column[i : i + 7]) for i in range(0, len(column), 7)]))
    again = sketches(pl.Series([None, *(" ".join(words_of(t)).upper() for t in texts)]))
    for text, row, other in zip(texts, whole.rows()[1:], again.rows()[1:], strict=True):
        assert (row[0] is None) == (len(words_of(text)) < 5)
        # Upper and lower case of a sharp s differ in length; everything else comes out the same.
        assert row == other or "ß" in text
    assert whole.columns == list(HASHES)


def test_runs_by_hash_have_the_similarity_that_the_words_have():
    """The exact Jaccard similarity of every pair of awkward and of ordinary texts."""
    rng = random.Random(12)
    texts = AWKWARD + [text for _ in range(8) for text in words_with(rng, 9, 30)]
    sets = [set(runs) for runs in run_hashes(pl.Series(texts)).to_list()]
    for left, left_runs in zip(texts, sets, strict=True):
        for right, right_runs in zip(texts, sets, strict=True):
            union = len(left_runs | right_runs)
            found = len(left_runs & right_runs) / union if union else 0.0
            assert found == similarity(*(Document(t, t, text=t) for t in (left, right)))


def test_in_families_of_likeness_most_are_found_and_nothing_else_is():
    """Against the exact similarity to every output that is paid: 71 of 88 found, and never another.

    Each is compared with the earliest that shares a hash, which may be a more distant relative.
    """
    rng = random.Random(13)
    texts = []
    for number in range(40):
        base = [f"b{number}w{rng.getrandbits(16):x}" for _ in range(90)]
        for share in (0, 1, 1, 1, 2, 5):
            words = list(base)
            for at in rng.sample(range(90), share):
                words[at] = f"z{rng.getrandbits(20):x}"
            texts.append(" ".join(words))
    rng.shuffle(texts)
    rows = [{"output_text": t, "ts_utc": NOON + timedelta(minutes=i)} for i, t in enumerate(texts)]
    reasons = decisions(rows)[0]
    sets = [set(runs) for runs in run_hashes(pl.Series(texts)).to_list()]
    paid: list[set[int]] = []
    found = missed = 0
    for number, own in enumerate(sets):
        repeats = any(5 * len(own & other) >= 4 * len(own | other) for other in paid)
        excluded = reasons[f"e{number}"] is not None
        assert repeats or not excluded
        found, missed = found + excluded, missed + (repeats and not excluded)
        paid += [] if excluded else [own]
    assert found >= 0.8 * (found + missed) > 50


def test_naming_one_creator_again_and_again_stops_being_paid():
    """A user may ask for a creator by name, but not to make his fortune; others are untouched."""
    names = {"anna": "party_1", "the sea book": "party_1", "ben": "party_2"}
    settings = FilterSettings(names=names, name_prompts_max=2)
    times = [NOON + timedelta(minutes=i) for i in range(6)]
    prompts = [
        "In the style of ANNA",
        "like Anna",
        "as in The Sea Book",
        "Ben",
        "anna and ben",
        "me",
    ]
    rows = [{"prompt_text": p, "ts_utc": t} for p, t in zip(prompts, times, strict=True)]
    rows.append({"prompt_text": "anna", "user_hmac": "other"})
    reasons = list(decisions(rows, settings)[0].values())
    assert reasons == [None, None, "name_prompting", None, "name_prompting", None, None]


def test_caps_keep_the_earliest_of_the_day():
    """Beyond the cap of a user or a tenant nothing more is paid that day."""
    times = [NOON - timedelta(minutes=i) for i in range(4)]
    rows = [{"user_hmac": "u", "ts_utc": t} for t in times]
    user = FilterSettings(user_per_day_max=3)
    assert list(decisions(rows, user)[0].values()) == ["cap", None, None, None]
    tenant = FilterSettings(tenant_per_day_max=2)
    rows[3]["user_hmac"] = None
    assert list(decisions(rows, tenant)[0].values()) == ["cap", "cap", None, None]
    assert set(decisions([r | {"user_hmac": None} for r in rows], user)[0].values()) == {None}


def test_a_granted_appeal_pays_again_where_there_is_a_text():
    """An exclusion can be overturned; a failed call still has nothing to attribute."""
    settings = FilterSettings(appeals=frozenset({"e0", "e1"}))
    rows = [{"cache_hit": True}, {"status": "error"}, {"cache_hit": True}]
    assert list(decisions(rows, settings)[0].values()) == [None, "error", "cache_hit"]
