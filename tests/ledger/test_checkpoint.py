"""Signed notes and checkpoints: one real one from a public log, then everything that must fail."""

import base64
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.audit_errors import KeyFormatError, NoteError
from ledger.checkpoint import (
    add_signature,
    open_checkpoint,
    read_checkpoint,
    read_signer,
    read_verifiers,
    sign_checkpoint,
    split_notes,
    write_key_files,
)
from ledger.merkle import EMPTY_ROOT
from ledger.note import NoteSigner, NoteVerifier, open_note, sign_note
from tests.ledger.book_maker import LOG, ORIGIN, OTHER_LOG, WITNESS

# A checkpoint that the public checksum database of the Go modules signed, and its public key.
SUMDB_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUMDB_NOTE = """go.sum database tree
15081221
BoMMe1wd25Tco0mYGROkyqxHZWx+hcSCtMV315Lu6Lg=

— sum.golang.org Az3grilD7vQqTrv66jRgKM84Y80KTprrSt4bKmiOPxgmS5ZVBTeCl6dUvjYnN13R+C8j0jGY1WnUADGMkok3U0m2Zgo=
"""  # noqa: E501
NOTE = sign_checkpoint(ORIGIN, 5, bytes(range(32)), LOG)


def test_a_checkpoint_of_a_public_log_opens():
    """Our reading of the formats is the one that others sign by."""
    opened = open_note(SUMDB_NOTE, [NoteVerifier.parse(SUMDB_KEY)])
    assert opened.text.startswith("go.sum database tree\n15081221\n")
    assert read_checkpoint(SUMDB_NOTE).size == 15081221
    with pytest.raises(NoteError, match="does not fit the text"):
        open_note(SUMDB_NOTE.replace("15081221", "15081222"), [NoteVerifier.parse(SUMDB_KEY)])


def test_a_checkpoint_opens_to_what_was_signed():
    """Origin, size and root come back, and signing again gives the same text."""
    said = open_checkpoint(NOTE, [LOG.verifier])
    assert (said.origin, said.size, said.root) == (ORIGIN, 5, bytes(range(32)))
    assert said.text == NOTE.partition("\n\n")[0] + "\n"
    assert sign_checkpoint(ORIGIN, 5, bytes(range(32)), LOG) == NOTE
    assert read_checkpoint(sign_checkpoint(ORIGIN, 0, EMPTY_ROOT, LOG)).size == 0


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(0, 7))
def test_no_bit_of_a_checkpoint_can_be_changed(at, bit):
    """Whatever bit is turned, the note no longer opens."""
    raw = bytearray(NOTE.encode())
    raw[at] ^= 1 << bit
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return
    with pytest.raises(NoteError):
        open_checkpoint(text, [LOG.verifier])


def test_unknown_signatures_are_passed_over_and_wrong_ones_refuse_the_note():
    """As the signed-note specification demands of everyone who verifies."""
    both = sign_note(read_checkpoint(NOTE).text, [OTHER_LOG, LOG])
    opened = open_note(both, [LOG.verifier])
    assert [s.verifier for s in opened.signatures] == [LOG.verifier]
    assert opened.unknown == (ORIGIN,)
    text, _, line = NOTE.partition("\n\n")
    other = sign_checkpoint(ORIGIN, 6, bytes(32), LOG).partition("\n\n")[2]
    with pytest.raises(NoteError, match="does not fit"):
        open_note(f"{text}\n\n{other}", [LOG.verifier])
    with pytest.raises(NoteError, match="signed the note twice"):
        open_note(NOTE + line, [LOG.verifier])


def test_a_witness_cannot_speak_for_the_log():
    """A cosignature alone, even of a trusted witness, does not make a checkpoint."""
    text = read_checkpoint(NOTE).text
    line = WITNESS.signature_line(text, 1_700_000_000)
    with pytest.raises(NoteError, match="cannot speak for the log"):
        open_checkpoint(f"{text}\n{line}", [LOG.verifier, WITNESS.verifier])
    said = open_checkpoint(add_signature(NOTE, line), [LOG.verifier, WITNESS.verifier])
    assert [s.timestamp for s in said.signatures] == [None, 1_700_000_000]
    assert add_signature(add_signature(NOTE, line), line) == add_signature(NOTE, line)


def test_the_time_of_a_cosignature_is_signed():
    """Somebody who changes the time that a witness gave breaks its signature."""
    text = read_checkpoint(NOTE).text
    line = WITNESS.signature_line(text, 1_700_000_000)
    raw = bytearray(base64.b64decode(line.split()[2]))
    raw[11] ^= 1
    forged = f"— {WITNESS.name} {base64.b64encode(bytes(raw)).decode()}\n"
    with pytest.raises(NoteError, match="does not fit"):
        open_note(NOTE + forged, [LOG.verifier, WITNESS.verifier])


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n05\n{'A' * 43}=\n",
        f"{ORIGIN}\n-5\n{'A' * 43}=\n",
        f"{ORIGIN}\n5\nAAAA\n",
        f"{ORIGIN}\n5\n",
        f"\n5\n{'A' * 43}=\n",
        f"{ORIGIN}\n5\n{'A' * 42}B=\n",
        f"{ORIGIN}\n\u0665\n{'A' * 43}=\n",
    ],
)
def test_malformed_checkpoints_are_refused_even_when_signed(text):
    """A signature does not make a text a checkpoint."""
    with pytest.raises(NoteError):
        open_checkpoint(sign_note(text, [LOG]), [LOG.verifier])


@pytest.mark.parametrize("text", ["no line break", "a\tb\n", "a\r\n"])
def test_texts_with_control_characters_are_not_signed(text):
    """What a terminal would show differently is not signed."""
    with pytest.raises(NoteError):
        sign_note(text, [LOG])


def test_notes_in_a_file_are_taken_apart_where_signatures_end():
    """checkpoints.txt is just the notes one after the other."""
    notes = [sign_checkpoint(ORIGIN, n, bytes([n]) * 32, LOG) for n in range(1, 5)]
    notes[1] = add_signature(notes[1], WITNESS.signature_line(read_checkpoint(notes[1]).text, 9))
    assert split_notes("".join(notes)) == notes
    assert split_notes("") == []
    with pytest.raises(NoteError):
        split_notes("".join(notes) + "more\n")


def test_keys_survive_their_text_form():
    """A public and a private key read back as they were written."""
    for signer in (LOG, WITNESS):
        assert NoteVerifier.parse(signer.verifier.text) == signer.verifier
        again = NoteSigner.parse(signer.text)
        assert (again.verifier, again.text) == (signer.verifier, signer.text)
    assert NoteSigner.generate(ORIGIN).verifier != NoteSigner.generate(ORIGIN).verifier


def test_a_private_key_never_shows_itself():
    """Neither its repr nor an error about it holds the secret."""
    secret = LOG.text.rpartition("+")[2]
    assert secret not in repr(LOG)
    for text in (LOG.text.replace("PRIVATE+KEY+", ""), LOG.text[:-2], LOG.text.replace("+0", "+1")):
        try:
            NoteSigner.parse(text)
        except KeyFormatError as error:
            assert secret[:20] not in str(error)  # noqa: PT017  # The text is the point here.


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b",
        "name+00000000+AAAA",
        LOG.verifier.text[:-1],
        LOG.verifier.text.replace("+", "+0", 1),
        "a b+" + LOG.verifier.text.partition("+")[2],
    ],
)
def test_damaged_public_keys_are_refused(text):
    """A key that was copied badly is said to be so, not trusted."""
    with pytest.raises(KeyFormatError):
        NoteVerifier.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb"])
def test_key_names_that_cannot_stand_in_a_line_are_refused(name):
    """A name with a space would move the signature to another field."""
    with pytest.raises(KeyFormatError):
        NoteSigner.generate(name)


def test_a_checkpoint_is_signed_by_the_logs_own_key_only():
    """A key named for another origin, or a witness's, cannot sign for the log."""
    for signer in (NoteSigner.from_seed("other.example", bytes(32)), WITNESS):
        with pytest.raises(NoteError, match="cannot be signed by the key"):
            sign_checkpoint(ORIGIN, 1, bytes(32), signer)


def test_key_files_belong_to_their_owner_alone(tmp_path):
    """Written 0600, refused when others may read them, never overwritten."""
    path = tmp_path / "keys" / "log.key"
    write_key_files(path, LOG)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_signer(path).verifier == LOG.verifier
    assert read_verifiers(path.with_suffix(".pub")) == [LOG.verifier]
    with pytest.raises(KeyFormatError, match="never overwritten"):
        write_key_files(path, OTHER_LOG)
    path.chmod(0o640)
    with pytest.raises(KeyFormatError, match="permission 0640"):
        read_signer(path)
    with pytest.raises(KeyFormatError, match="no key file"):
        read_signer(tmp_path / "none.key")


def test_public_keys_are_read_from_text_or_file(tmp_path):
    """What a person has at hand: the key itself, or a file with remarks."""
    assert read_verifiers(LOG.verifier.text) == [LOG.verifier]
    path = tmp_path / "keys.txt"
    path.write_text(f"# the log\n{LOG.verifier.text}\n\n{WITNESS.verifier.text}\n")
    assert read_verifiers(path) == [LOG.verifier, WITNESS.verifier]
    path.write_text("# nothing\n")
    with pytest.raises(KeyFormatError, match="holds no public key"):
        read_verifiers(path)
    with pytest.raises(KeyFormatError, match="neither a public key"):
        read_verifiers(str(tmp_path / "none"))
