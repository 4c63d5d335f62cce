"""Every rule of the book broken once in a pack that is otherwise perfect and signed by the owner.

The verifier must not rely on the writer having kept the rules: the owner of the key signs these.
"""

import json

import pytest

from ledger.audit import run_verify, verify_pack
from ledger.audit_errors import VerificationError
from ledger.canonical import canonical_json, entry_id_of
from tests.ledger.book_maker import KEYS, changed, forge_pack, small_book

LEAVES = small_book(6)
# Rows (1-based) of `small_book(6)`: 1 open, 2-7 nights, 8 access, 9 advance, 10 its reversal,
# 11 hold, 12 release, 13 close, 14 open 2026-12, 15 late adjustment.
NIGHT, ACCESS, REVERSAL, HOLD, RELEASE, CLOSE, REOPEN, LATE = 3, 8, 10, 11, 12, 13, 14, 15


def with_row(row, **fields):
    """Replace fields of one row."""
    return [*LEAVES[: row - 1], changed(LEAVES[row - 1], **fields), *LEAVES[row:]]


def with_raw(row, old, new):
    """Replace bytes of one row."""
    assert old in LEAVES[row - 1], (old, LEAVES[row - 1])
    return [*LEAVES[: row - 1], LEAVES[row - 1].replace(old, new, 1), *LEAVES[row:]]


def renamed(row, key, **fields):
    """Give one entry another key, and the name that goes with it."""
    return with_row(row, key=key, entry_id=entry_id_of("nightly", key), **fields)


def postings(row):
    """Return the postings of a row."""
    return json.loads(LEAVES[row - 1])["postings"]


def negated(rows):
    """Turn the signs of postings."""
    return [[account, currency, str(-int(units))] for account, currency, units in rows]


CASES = {
    # 4: canonical form and place
    "a space between tokens": (with_raw(NIGHT, b'","', b'", "'), 4, NIGHT, "canonical"),
    "an escape that need not be": (with_raw(NIGHT, b"night", b"\\u006eight"), 4, NIGHT, "canon"),
    "upper case escapes": (with_raw(NIGHT, b"caf", b"\\u001F"), 4, NIGHT, "canonical form"),
    "keys out of order": (
        with_raw(NIGHT, b'{"approved_by":null,', b'{"zapproved":null,'), 4, NIGHT, "fields"),
    "a key twice": (with_raw(NIGHT, b'{"a', b'{"approved_by":null,"a'), 4, NIGHT, "canonical form"),
    "a field too many": (with_row(NIGHT, extra="x"), 4, NIGHT, "fields"),
    "a number gap": (with_row(NIGHT, ledger_seq=NIGHT + 1), 4, NIGHT, "ledger_seq"),
    "a number as text": (with_row(NIGHT, ledger_seq=str(NIGHT)), 4, NIGHT, "ledger_seq"),
    "an unknown kind": (with_row(NIGHT, kind="gift"), 4, NIGHT, "kind"),
    "an unknown format": (with_row(NIGHT, format="byline-entry/2"), 4, NIGHT, "format"),
    "not JSON": ([*LEAVES[:2], b"hello", *LEAVES[3:]], 4, NIGHT, "text"),
    "not UTF-8": (with_raw(NIGHT, "é".encode(), b"\xe9"), 4, NIGHT, "text"),
    "an empty line": ([*LEAVES[:2], b"", *LEAVES[3:]], 4, NIGHT, "text"),
    "units with a leading zero": (with_raw(NIGHT, b'"-', b'"-0'), 4, NIGHT, "posting"),
    "units as a number": (
        with_row(NIGHT, postings=[["Assets:Cash", "USD/6", 1], ["Assets:Cash", "USD/6", -1]]),
        4, NIGHT, "posting 1"),
    "zero units": (with_row(NIGHT, postings=[*postings(NIGHT), ["Assets:Cash", "USD/6", "0"]]), 4,
        NIGHT, "posting 5"),
    "too many units": (with_row(NIGHT, postings=[["Assets:Cash", "USD/6", "10000000000000001"],
        ["Expenses:X", "USD/6", "-10000000000000001"]]), 4, NIGHT, "posting 1"),
    "one posting": (with_row(NIGHT, postings=postings(NIGHT)[:1]), 4, NIGHT, "postings"),
    "no account": (with_row(NIGHT, postings=[["Cash", "USD/6", "1"], ["Assets:Cash", "USD/6",
        "-1"]]), 4, NIGHT, "posting 1"),
    "a currency without scale": (with_row(NIGHT, postings=[["Assets:Cash", "USD", "1"],
        ["Assets:Cash", "USD", "-1"]]), 4, NIGHT, "posting 1"),
    "evidence that is no digest": (with_row(NIGHT, evidence={"run": "ab"}), 4, NIGHT, "evidence"),
    "an access out of place": (with_row(ACCESS, ledger_seq=1), 4, ACCESS, "ledger_seq"),
    "an access by nobody": (with_row(ACCESS, actor=""), 4, ACCESS, "actor"),
    # 5: names and approvals
    "the name of another event": (with_row(NIGHT, key="2026-11-30/pool"), 5, NIGHT, "entry_id"),
    "a name twice": (renamed(NIGHT, "2026-11-01/pool"), 5, NIGHT, "entry_id"),
    "no such day": (with_row(NIGHT, effective_on="2026-11-31"), 5, NIGHT, "effective_on"),
    "approved by the preparer": (with_row(LATE, approved_by="ann"), 5, LATE, "approval"),
    "approved by nobody": (with_row(LATE, approved_by=None), 5, LATE, "approval"),
    # 6: balance
    "one unit off": (with_row(LATE, postings=[["Expenses:Royalty", "USD/6", "9"],
        ["Liabilities:Accrued:c2", "USD/6", "-8"]]), 6, LATE, "postings in USD/6"),
    "balanced across currencies only": (with_row(LATE, postings=[["Expenses:Royalty", "USD/6", "9"],
        ["Liabilities:Accrued:c2", "EUR/2", "-9"]]), 6, LATE, "postings in EUR/2"),
    # 7: periods
    "booked in a closed period": (with_row(LATE, period="2026-11"), 7, LATE, "period"),
    "booked in a period never opened": (with_row(NIGHT, period="2026-10"), 7, NIGHT, "period"),
    "a period opened twice": (with_row(REOPEN, period="2026-11"), 7, REOPEN, "period"),
    "a period opened out of order": (with_row(REOPEN, period="2026-10"), 7, REOPEN, "period"),
    "a close nobody approved": (with_row(CLOSE, approved_by=None), 7, CLOSE, "approval"),
    "a close approved by its preparer": (with_row(CLOSE, approved_by="ann"), 7, CLOSE, "approval"),
    "a close of another period": (with_row(CLOSE, period="2026-12"), 7, CLOSE, "period"),
    # 8: reversals
    "a reversal of nothing": (with_row(REVERSAL, reverses=entry_id_of("x", "y")), 8, REVERSAL,
        "reverses"),
    "a reversal that names nothing": (with_row(REVERSAL, reverses=None), 8, REVERSAL, "reverses"),
    "an accrual that reverses": (with_row(NIGHT, reverses=entry_id_of("nightly", "advance")), 8,
        NIGHT, "reverses"),
    "a reversal that is not the negation": (with_row(REVERSAL, postings=[
        ["Assets:Cash", "EUR/2", "499"], ["Assets:RoyaltyAdvances:p1", "EUR/2", "-499"]]), 8,
        REVERSAL, "posting 1"),
    "a reversal in another order": (with_row(REVERSAL, postings=postings(REVERSAL)[::-1]), 8,
        REVERSAL, "posting 1"),
    "a release of what is no hold": (with_row(RELEASE, reverses=entry_id_of("nightly", "advance"),
        postings=postings(REVERSAL)), 8, RELEASE, "reverses"),
    "taken back twice": (with_row(RELEASE, kind="reversal", prepared_by="ann", approved_by="bob",
        reverses=entry_id_of("nightly", "advance"), postings=postings(REVERSAL)), 8, RELEASE,
        "reverses"),
    "taken back before it was booked": (with_row(REVERSAL, reverses=entry_id_of("nightly", "late"),
        postings=negated(postings(LATE))), 8, REVERSAL, "reverses"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_broken_rule_is_named_with_its_row(tmp_path, name):
    """Step, row and field of the first difference are the ones where the rule was broken."""
    leaves, step, row, field = CASES[name]
    path = tmp_path / "p.zip"
    forge_pack(path, leaves)
    with pytest.raises(VerificationError) as caught:
        verify_pack(path, KEYS)
    error = caught.value
    assert (error.step, error.member) == (step, "entries.jsonl"), error
    assert error.place.startswith(f"row {row}, "), error
    assert field in error.place, error
    assert error.expected != error.found, error


def test_the_book_these_cases_start_from_is_right(tmp_path):
    """Otherwise every case above would pass for the wrong reason."""
    path = tmp_path / "p.zip"
    forge_pack(path, LEAVES)
    report = verify_pack(path, KEYS)
    assert report.ok
    assert [number for number, _, _ in report.steps] == list(range(1, 15))
    assert (report.entries, report.accesses, report.size) == (11, 1, 15)
    assert json.loads(canonical_json(report.as_json()))["failure"] is None


@pytest.mark.parametrize(
    ("member", "old", "new", "line"),
    [
        ("accounts.csv", b"Assets:Cash,EUR/2,500", b"Assets:Cash,EUR/2,501", 2),
        ("accounts.csv", b"Expenses:Royalty,", b"Expenses:Royaltx,", 4),
        ("trial_balance.csv", b"TOTAL,EUR/2,0,0", b"TOTAL,EUR/2,1,1", 4),
    ],
)
def test_a_table_that_does_not_follow_is_named_with_its_line(tmp_path, member, old, new, line):
    """The sums an accountant reads are computed again; digests made to fit do not help."""
    path = tmp_path / "p.zip"
    forge_pack(path, LEAVES)
    from tests.ledger.book_maker import checkpoint_of, forged_members

    content = forged_members(LEAVES, checkpoint_of(LEAVES))[member]
    assert old in content
    forge_pack(path, LEAVES, changes={member: content.replace(old, new)})
    failure = run_verify(path, KEYS).failure
    assert (failure.step, failure.member, failure.place) == (11, member, f"line {line}")
    forge_pack(path, LEAVES, changes={member: content + b"more\n"})
    assert run_verify(path, KEYS).failure.found == "more"


def test_evidence_nobody_cites_is_named(tmp_path):
    """A file that passes for evidence but is not what an entry cites is refused."""
    path = tmp_path / "p.zip"
    forge_pack(path, LEAVES, changes={"evidence/run.json": b"{}\n"})
    failure = run_verify(path, KEYS).failure
    assert (failure.step, failure.member) == (12, "evidence/run.json")


def test_evidence_cited_by_a_cited_manifest_is_found(tmp_path):
    """An entry cites a manifest, the manifest cites the table: both are covered."""
    import hashlib

    table = b"rows"
    manifest = canonical_json({"inputs": {"table": hashlib.sha256(table).hexdigest()}})
    leaves = small_book(2, evidence={"night": hashlib.sha256(manifest).hexdigest()})
    path = tmp_path / "p.zip"
    files = {"evidence/night.json": manifest, "evidence/table.parquet": table}
    forge_pack(path, leaves, changes=files)
    assert run_verify(path, KEYS).ok
    forge_pack(path, leaves, changes=files | {"evidence/table.parquet": b"other"})
    assert run_verify(path, KEYS).failure.member == "evidence/table.parquet"


def test_a_statement_that_shows_another_entry_is_named(tmp_path):
    """What a creator is shown is the row of the book, byte for byte, or it does not verify."""
    leaf = LEAVES[NIGHT - 1].decode()
    path = tmp_path / "p.zip"

    def pack_with(shown, seq=NIGHT):
        proof = {"entries": [{"ledger_seq": seq, "leaf": shown}]}
        statement = canonical_json({"payable": "1", "proof": proof})
        forge_pack(path, LEAVES, changes={"statements/c1.json": statement})
        return run_verify(path, KEYS)

    assert pack_with(leaf).ok
    for shown, seq in (
        (leaf.replace('"-', '"-1', 1), NIGHT),
        (leaf, NIGHT + 1),
        (leaf, 0),
        (leaf, 99),
    ):
        failure = pack_with(shown, seq).failure
        assert (failure.step, failure.member) == (13, "statements/c1.json")
        assert failure.place == f"entry {seq}"
    forge_pack(path, LEAVES, changes={"statements/c1.json": b"{"})
    assert run_verify(path, KEYS).failure.member == "statements/c1.json"
    forge_pack(path, LEAVES, changes={"statements/c1.json": b"{}", "statements/c1.pdf": b"%PDF"})
    assert run_verify(path, KEYS).ok
