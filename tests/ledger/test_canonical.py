"""Canonical leaves: one spelling for each value, no two values with one spelling."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import audit_leaf, posting_rules
from ledger.audit_leaf import ACCESS, ENTRY_HEAD, ENTRY_TAIL, ENTRY_TWO, PERIOD, POSTING, diagnose
from ledger.canonical import (
    canonical_access,
    canonical_entry_bytes,
    canonical_json,
    canonical_period,
    entry_id_of,
)

WORDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,12}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
DIGESTS = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
UNITS = st.integers(-(10**16), 10**16).filter(bool)
ACCOUNTS = st.from_regex(r"(Assets|Expenses|Liabilities)(:[A-Za-z0-9][A-Za-z0-9._/@+-]{0,5}){1,2}",
                         fullmatch=True)  # fmt: skip
CURRENCIES = st.sampled_from(["USD/6", "EUR/2", "JPY/0", "XAUG/12"])
POSTINGS = st.lists(st.tuples(ACCOUNTS, CURRENCIES, UNITS), min_size=2, max_size=4)


@st.composite
def entries(draw):
    """Draw the fields of an entry leaf; it need not balance."""
    scope, key = draw(WORDS), draw(TEXTS.filter(bool))
    postings = draw(POSTINGS)
    if draw(st.booleans()):
        account, currency, units = postings[0]
        postings = [(account, currency, units), (postings[1][0], currency, -units)]
    return {
        "ledger_seq": draw(st.integers(1, 2**53 - 1)),
        "entry_id": entry_id_of(scope, key),
        "scope": scope,
        "key": key,
        "kind": draw(st.sampled_from(posting_rules.KINDS)),
        "period": draw(st.dates()).strftime("%Y-%m").rjust(7, "0"),
        "effective_on": draw(st.dates()).isoformat(),
        "description": draw(TEXTS),
        "prepared_by": draw(WORDS),
        "approved_by": draw(st.none() | WORDS),
        "reverses": draw(st.none() | st.just(entry_id_of("a", "b"))),
        "evidence": draw(st.dictionaries(WORDS, DIGESTS, max_size=3)),
        "postings": postings,
    }


@given(entries())
def test_an_entry_is_plain_canonical_json(fields):
    """The quick writer gives what json.dumps with sorted keys and no spaces gives."""
    leaf = canonical_entry_bytes(**fields)
    value = json.loads(leaf)
    assert canonical_json(value) == leaf
    rows = [[account, currency, str(units)] for account, currency, units in fields["postings"]]
    assert value == fields | {"format": "byline-entry/1", "postings": rows}
    assert b"\n" not in leaf


@given(entries())
def test_the_reader_accepts_what_the_writer_writes(fields):
    """The patterns of the verifier and the writer were written apart and agree."""
    line = canonical_entry_bytes(**fields) + b"\n"
    head = ENTRY_HEAD.match(line)
    assert head is not None, diagnose(line, fields["ledger_seq"])
    position, rows = head.end(), []
    while (found := POSTING.match(line, position)) is not None:
        rows.append((found[1], int(found[2])))
        position = found.end()
        if found[3] == b"]":
            break
    assert ENTRY_TAIL.fullmatch(line, position)
    expected = [(f'{a}","{c}'.encode(), units) for a, c, units in fields["postings"]]
    assert rows == expected
    assert diagnose(line, fields["ledger_seq"]).canonical


@given(entries())
def test_the_quick_pattern_takes_two_balanced_lines_and_nothing_else(fields):
    """What the quick way books is what the general way books; else it leaves the entry alone."""
    line = canonical_entry_bytes(**fields) + b"\n"
    two = ENTRY_TWO.fullmatch(line)
    postings = fields["postings"]
    balanced = (
        len(postings) == 2
        and postings[0][1] == postings[1][1]
        and postings[0][2] == -postings[1][2]
    )
    assert (two is not None) == balanced
    if two is not None:
        assert two[9] == f'{postings[0][0]}","{postings[0][1]}'.encode()
        assert two[13] == f'{postings[1][0]}","{postings[1][1]}'.encode()
        units = int(two[12]) * (-1 if two[11] else 1)
        assert units == postings[0][2]
        head, tail = ENTRY_HEAD.match(line), ENTRY_TAIL.search(line)
        assert two.group(1, 2, 3, 4, 5, 6, 7, 8) == head.groups()
        assert two.group(14, 15, 16) == tail.groups()


@given(entries(), st.data())
def test_a_changed_leaf_is_refused_or_says_something_else(fields, data):
    """One byte exchanged: no longer canonical, or another value; never the same value twice."""
    leaf = canonical_entry_bytes(**fields)
    at = data.draw(st.integers(0, len(leaf) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != leaf[at]))
    changed = leaf[:at] + bytes([byte]) + leaf[at + 1 :]
    if diagnose(changed + b"\n", fields["ledger_seq"]).canonical:
        assert json.loads(changed) != json.loads(leaf)
        assert canonical_json(json.loads(changed)) == changed


@given(WORDS, WORDS, TEXTS, st.sampled_from(["open", "close"]), st.none() | WORDS)
def test_accesses_and_periods_are_plain_canonical_json(actor, word, reason, action, approved_by):
    """The two other kinds of leaf keep the same form, and the reader accepts them."""
    access = canonical_access(
        ledger_seq=7, actor=actor, role=word, action="view", object_id=word, reason=reason
    )
    assert canonical_json(json.loads(access)) == access
    assert ACCESS.fullmatch(access + b"\n")
    period = canonical_period(
        ledger_seq=7, action=action, period="2026-11", prepared_by=word, approved_by=approved_by
    )
    assert canonical_json(json.loads(period)) == period
    assert PERIOD.fullmatch(period + b"\n")


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_two_events_never_share_a_name(scope, key, other_scope, other_key):
    """Scope and key are hashed with their lengths: nothing can be moved from one to the other."""
    same = (scope, key) == (other_scope, other_key)
    assert (entry_id_of(scope, key) == entry_id_of(other_scope, other_key)) == same
    assert re.fullmatch(r"je_[a-z2-7]{26}", entry_id_of(scope, key))


def test_joined_texts_cannot_meet():
    """The ambiguity that joined fields had in a published ledger: a|b + c against a + b|c."""
    assert entry_id_of("a|b", "c") != entry_id_of("a", "b|c")
    assert entry_id_of("ab", "c") != entry_id_of("a", "bc")


def test_texts_are_kept_as_they_are():
    """Two spellings of the same letter are two texts: nothing is normalised behind one's back."""
    composed, decomposed = canonical_json("\u00e9"), canonical_json("e\u0301")
    assert composed == '"\u00e9"'.encode()
    assert composed != decomposed


@pytest.mark.parametrize("value", [1.0, {"a": 1.5}, [1, [2.0]], {"a": [float("nan")]}])
def test_no_float_is_ever_written(value):
    """A float has several spellings and money none; the place is named."""
    with pytest.raises(ValueError, match=r"\$.* is the float"):
        canonical_json(value)


def test_the_verifier_knows_the_rules_of_the_ledger():
    """The verifier has its own copy of the lists of kinds; they must not drift apart."""
    assert tuple(audit_leaf.AUDIT_KINDS) == posting_rules.KINDS
    assert {k.decode() for k in audit_leaf.AUDIT_APPROVED_KINDS} == posting_rules.APPROVED_KINDS
    assert {k.decode() for k in audit_leaf.AUDIT_TAKING_BACK} == posting_rules.TAKING_BACK_KINDS
    assert audit_leaf.AUDIT_UNITS_MAX == posting_rules.UNITS_MAX
