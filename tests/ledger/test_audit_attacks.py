"""What somebody does who wants to be paid more: each way is tried, and the verdict is checked.

Three adversaries, each stronger than the one before:

    clumsy   changes rows and nothing else
    clever   writes hashes, tables, digests and frame anew, but has not the log's key
    owner    has the log's key and signs a new checkpoint
"""

import json

import pytest

from ledger.audit import run_verify
from ledger.checkpoint import split_notes
from tests.ledger.book_maker import (
    KEYS,
    LOG,
    OTHER_LOG,
    changed,
    checkpoint_of,
    forge_pack,
    make_pack,
    renumbered,
    small_book,
)

LEAVES = small_book(6)
SIZES = [3, 6, 10]
NOTES = [checkpoint_of(LEAVES, size) for size in SIZES]
HONEST = checkpoint_of(LEAVES)
ROW = 5  # 1-based, an entry; rows 1 to 3 and 4 to 6 are between checkpoints.


def raised(leaf):
    """Move a little money from one creator to another; everything still balances."""
    rows = json.loads(leaf)["postings"]
    rows[1][2], rows[2][2] = str(int(rows[1][2]) - 5), str(int(rows[2][2]) + 5)
    return changed(leaf, postings=rows)


def deleted(leaves):
    """Take a row out."""
    return [*leaves[: ROW - 1], *leaves[ROW:]]


def inserted(leaves):
    """Add an entry of another name."""
    value = json.loads(leaves[ROW - 1])
    from ledger.canonical import entry_id_of

    extra = changed(leaves[ROW - 1], key="more", entry_id=entry_id_of(value["scope"], "more"))
    return [*leaves[:ROW], extra, *leaves[ROW:]]


def swapped(leaves):
    """Exchange two rows."""
    return [*leaves[: ROW - 1], leaves[ROW], leaves[ROW - 1], *leaves[ROW + 1 :]]


def edited(leaves):
    """Change the amounts of one row."""
    return [*leaves[: ROW - 1], raised(leaves[ROW - 1]), *leaves[ROW:]]


ATTACKS = [deleted, inserted, swapped, edited]


def verdict(path, against=()):
    """Verify and return the failure (None when verified)."""
    return run_verify(path, KEYS, against).failure


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_clumsy_change_names_its_row(tmp_path, attack):
    """Rows changed in the file of entries alone: the first row that differs is named."""
    path = tmp_path / "p.zip"
    entries = b"".join(leaf + b"\n" for leaf in attack(LEAVES))
    forge_pack(path, LEAVES, note=HONEST, notes=NOTES, changes={"entries.jsonl": entries})
    failure = verdict(path)
    first = ROW + 1 if attack is inserted else ROW
    assert failure.member == "entries.jsonl"
    assert failure.place.startswith(f"row {first}")


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_clever_forger_without_the_key_is_found(tmp_path, attack):
    """Everything made to fit but the signature: the checkpoint's root is not the book's."""
    path = tmp_path / "p.zip"
    forged = renumbered(attack(LEAVES))[: len(LEAVES)]
    forge_pack(path, forged, note=HONEST, notes=NOTES)
    failure = verdict(path)
    if len(forged) != len(LEAVES):
        assert (failure.step, failure.place) == (9, "number of rows")
        return
    assert (failure.step, failure.member) == (9, "entries.jsonl")
    assert failure.place == "rows 4 to 6", "narrowed down by the checkpoints in the pack"


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_forger_with_another_key_is_found(tmp_path, attack):
    """A checkpoint signed by a key that the reader did not name is nobody's word."""
    path = tmp_path / "p.zip"
    forge_pack(path, renumbered(attack(LEAVES)), signer=OTHER_LOG, manifest_signer=OTHER_LOG)
    failure = verdict(path)
    assert failure.step == 2
    assert "no key named beforehand signed the note" in failure.found
    forge_pack(path, renumbered(attack(LEAVES)), signer=OTHER_LOG)
    assert verdict(path).step == 3
    forge_pack(path, renumbered(attack(LEAVES)), signer=OTHER_LOG, manifest_signer=None)
    failure = verdict(path)
    assert (failure.step, failure.member, failure.found) == (2, "manifest.note", "no such member")


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_owner_is_found_by_a_checkpoint_held_elsewhere(tmp_path, attack):
    """The owner signs the rewritten book anew; whoever kept a checkpoint sees it."""
    path = tmp_path / "p.zip"
    forged = renumbered(attack(LEAVES))
    forge_pack(path, forged, notes=NOTES[:1])
    failure = verdict(path, [NOTES[1]])
    assert (failure.step, failure.member) == (10, "entries.jsonl")
    assert failure.place == "rows 4 to 6"
    assert "checkpoint 1 held by the reader" in failure.expected


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_stops_the_owner_when_nobody_kept_a_checkpoint(tmp_path, attack):
    """The limit of all this: a book rewritten as a whole, signed anew, verifies. And it is said."""
    path = tmp_path / "p.zip"
    forge_pack(path, renumbered(attack(LEAVES)))
    report = run_verify(path, KEYS)
    assert report.ok
    assert "would not be noticed" in report.lines()[-1]


def test_an_owner_who_keeps_his_old_checkpoints_convicts_himself(tmp_path):
    """Old signed checkpoints inside the pack are enough, if the owner leaves them in."""
    path = tmp_path / "p.zip"
    forge_pack(path, renumbered(edited(LEAVES)), notes=NOTES)
    failure = verdict(path)
    assert (failure.step, failure.place) == (10, "rows 4 to 6")
    assert f"{SIZES[1]} leaves as in checkpoints.txt, checkpoint 2" in failure.expected


def test_a_cut_tail_is_found(tmp_path):
    """Fewer rows under the same checkpoint: the count is compared, not only the prefix."""
    path = tmp_path / "p.zip"
    for cut in (1, 4, len(LEAVES) - 1):
        forge_pack(path, LEAVES[:-cut], note=HONEST)
        failure = verdict(path)
        assert (failure.step, failure.place) == (9, "number of rows")
        assert (failure.expected.split()[0], failure.found) == (
            str(len(LEAVES)),
            str(len(LEAVES) - cut),
        )


def test_a_book_rolled_back_to_an_older_backup_is_found(tmp_path):
    """An older book is right in itself; only a later checkpoint held elsewhere shows it."""
    path = tmp_path / "p.zip"
    make_pack(path, LEAVES[:10], earlier=[3, 6], checkpoint=NOTES[2])
    assert verdict(path) is None
    assert verdict(path, [NOTES[0], NOTES[1]]) is None
    failure = verdict(path, [HONEST])
    assert (failure.step, failure.found) == (10, "10 leaves in the pack")
    assert "rolled back" in str(failure)


def test_a_book_that_grew_on_after_a_rollback_is_found(tmp_path):
    """Restored from a backup and continued differently: same size, another root."""
    path = tmp_path / "p.zip"
    other = [*LEAVES[:10], *renumbered([*LEAVES[:10], *LEAVES[11:], LEAVES[7]])[10:]]
    forge_pack(path, other[:14], notes=NOTES)
    note = checkpoint_of(LEAVES, 14)
    failure = verdict(path, [note])
    assert failure.step in {5, 8, 10}
    forge_pack(path, [*LEAVES[:10], changed(LEAVES[6], ledger_seq=11)], notes=NOTES)
    assert verdict(path, [checkpoint_of(LEAVES, 11)]).step in {5, 10}


def test_every_member_that_is_missing_or_added_is_named(tmp_path):
    """A file more or less than the manifest lists is the first thing said."""
    from ledger.audit_frame import OpenPack
    from ledger.pack import _write_archive

    path = tmp_path / "p.zip"
    make_pack(path, LEAVES, earlier=SIZES)
    with OpenPack(path) as opened:
        opened.check_frame()
        members = {name: opened.read(name) for name in opened.parts}
    for name in members:
        if name in {"manifest.json", "manifest.note"}:
            continue
        _write_archive(path, {k: v for k, v in members.items() if k != name})
        failure = verdict(path)
        assert (failure.step, failure.member) == (2, name)
        _write_archive(path, members | {f"more-{name}": b"x"})
        assert verdict(path).member == f"more-{name}"


def test_a_statement_exchanged_in_a_signed_pack_is_found(tmp_path):
    """Files outside the tree are covered by the log's signature under the manifest."""
    path = tmp_path / "p.zip"
    make_pack(path, LEAVES, extra={"statements/anna.json": b'{"payable":"1"}\n'})
    assert verdict(path) is None
    honest = path.read_bytes()
    make_pack(path, LEAVES, extra={"statements/anna.json": b'{"payable":"2"}\n'}, signer=LOG)
    note_at = honest.index(b"byline-pack/2\nexample.com/byline\n")
    note = honest[note_at : honest.index(b"PK", note_at)]
    from ledger.audit_frame import OpenPack
    from ledger.pack import _write_archive

    with OpenPack(path) as opened:
        opened.check_frame()
        members = {name: opened.read(name) for name in opened.parts}
    _write_archive(path, members | {"manifest.note": note})
    failure = verdict(path)
    assert (failure.step, failure.member) == (2, "manifest.note")


def test_checkpoints_of_another_log_prove_nothing_here(tmp_path):
    """A checkpoint of another origin, or no checkpoint at all, is refused by name."""
    path = tmp_path / "p.zip"
    make_pack(path, LEAVES)
    for against in ("garbage\n", HONEST.replace("example.com", "example.org")):
        failure = verdict(path, [against])
        assert (failure.step, failure.member) == (10, "checkpoint 1 held by the reader")
    missing = verdict(path, [tmp_path / "none.note"])
    assert "cannot be read" in str(missing)
    assert split_notes("".join(NOTES)) == NOTES
