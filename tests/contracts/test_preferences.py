"""robots.txt and AIPREF snapshots: what is allowed, what wins, and that nothing is owed."""

import pytest

from contracts.errors import BadFilesError
from contracts.importers.native import parse_agreements
from contracts.importers.preferences import draft_of_preferences, read_preferences
from contracts.usage import Use

ROBOTS = b"""\
# a real file is messy
User-agent: *
Content-Signal: search=yes, ai-train=no
Content-Usage: /poems/ train-ai=y, ai-use=y
License: https://x.example/licence.xml
User-agent: other
Content-Usage: sing-along=n
"""


def read(data, kind="robots", draft=8):
    """Read a snapshot taken at a fixed time and place."""
    place, moment = "https://x.example/robots.txt", "2026-11-20T10:00:00Z"
    return read_preferences(data, kind=kind, location=place, acquired_at=moment, draft=draft)


def test_any_disallow_wins_and_what_is_not_known_permits_nothing():
    """Training is allowed for poems and refused by the signal: refused."""
    snapshot = read(ROBOTS)
    assert snapshot.disallowed == {Use.TRAIN, Use.FINETUNE}
    assert snapshot.allowed == {Use.SEARCH, Use.RAG_INPUT, Use.OUTPUT_INFLUENCE}
    assert snapshot.licences == ("https://x.example/licence.xml",)
    assert [p.agent for p in snapshot.preferences] == ["*", "*", "*", "*", "other"]
    assert [p.path for p in snapshot.preferences][2:4] == ["/poems/", "/poems/"]
    assert snapshot.conflicts == (
        "finetune is allowed and disallowed; read as disallowed",
        "train is allowed and disallowed; read as disallowed",
        "sing-along is not known in AIPREF vocabulary draft 08; Content-Signal; read as unknown",
    )


def test_a_header_value_alone_is_a_snapshot_too():
    """`train-ai=n` as it stands in an HTTP header."""
    snapshot = read(b"train-ai=n", kind="aipref")
    assert snapshot.disallowed == {Use.TRAIN, Use.FINETUNE}
    assert snapshot.allowed == frozenset()


def test_the_draft_says_when_where_and_which_draft_and_does_not_load():
    """It is for a person: nothing of it can become an agreement by itself."""
    text = draft_of_preferences(read(ROBOTS))
    assert "fetched 2026-11-20T10:00:00Z" in text
    assert "AIPREF vocabulary draft 08" in text
    assert "if: {use: [output_influence, rag_input, search]}" in text
    with pytest.raises(BadFilesError, match="the field licensor"):
        parse_agreements({"draft.yaml": text})


@pytest.mark.parametrize(("data", "draft", "told"), [(b"\xff", 8, "UTF-8"), (b"", 3, "known: 8")])
def test_what_cannot_be_read_is_refused(data, draft, told):
    """Not text, or a draft whose labels are not known here."""
    with pytest.raises(BadFilesError, match=told):
        read(data, draft=draft)
