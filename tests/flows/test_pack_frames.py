"""A pack with frames: everything logged, counted and drawn anew by both verifiers."""

import hashlib
import json

import pytest

from flows import cli
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.publish import publish_period
from ledger.audit import run_verify
from ledger.audit_errors import VerificationError
from ledger.audit_frame import OpenPack
from ledger.audit_population import check_frames, check_night_frame
from ledger.pack import _write_archive
from ledger.verify_template import standalone_source
from tests.flows.papers import closed_months
from tests.flows.test_pack_attacks import reframed, refused

PERIOD, NIGHT = "2026-02", "2026-02-20"
FRAME, DRAWS = f"frame/{NIGHT}.jsonl", f"draws/{NIGHT}.jsonl"
STRATUM, VALUE, TOKENS = 3, 6, 7


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """A month whose pack has frames, as `test_pack_attacks` has its own."""
    folder = tmp_path_factory.mktemp("frames")
    with pytest.MonkeyPatch.context() as patch:
        workspace = closed_months(patch, folder / "home", 2, creators=10)
    words = ["audit", "pack", "--dir", str(workspace.home), "--period", PERIOD, "--with-frame"]
    assert cli.run(words) == 0
    (folder / "verify.py").write_text(standalone_source(), encoding="utf-8")
    with OpenPack(workspace.pack(PERIOD, with_frame=True)) as pack:
        pack.check_frame()
        members = {name: pack.read(name) for name in pack.parts}
    return workspace, members, folder


def lines(data):
    """The values of a member's lines."""
    return [json.loads(line) for line in data.splitlines()]


def written(values):
    """Lines in canonical form."""
    return b"".join(
        json.dumps(v, sort_keys=True, separators=(",", ":")).encode() + b"\n" for v in values
    )


def checked(tmp_path, members, **changed):
    """Check the frame of a pack whose members were changed; say what is told."""
    path = tmp_path / "p.zip"
    names = {"frame": FRAME, "draws": DRAWS}
    reframed(path, members | {names[key]: value for key, value in changed.items()})
    with OpenPack(path) as pack:
        pack.check_frame()
        with pytest.raises(VerificationError) as caught:
            check_night_frame(pack, NIGHT)
    return caught.value


def test_a_pack_with_frames_counts_all_that_was_logged(month, capsys):
    """The other pack of the period is untouched; both are verified; frames have no text."""
    workspace, members, _ = month
    publish_period(workspace, PERIOD)
    plain, whole = workspace.pack(PERIOD), workspace.pack(PERIOD, with_frame=True)
    assert plain != whole
    report = run_verify(whole, workspace.public_key)
    assert report.ok, report.failure
    manifest = json.loads(members[f"evidence/outputs.{NIGHT}.manifest.json"])
    assert manifest["format"] == OUTPUTS_FORMAT
    header, *rows = lines(members[FRAME])
    told = f"all {len(rows)} logged outputs of 1 nights counted and drawn"
    assert told in {number: detail for number, _, detail in report.steps}[14]
    assert len(rows) == 42 > len(lines(members[DRAWS])) - 1
    said = "".join(f"{row[0]} {row[1]}\n" for row in rows)
    root = hashlib.sha256(b"byline-batch/1\n" + said.encode()).hexdigest()
    assert root == manifest["batch_root"]
    assert set(header["columns"]).isdisjoint({"prompt_text", "output_text", "user_hmac"})
    assert "frame/" not in str(run_verify(plain, workspace.public_key).steps)
    capsys.readouterr()
    assert cli.run(["audit", "reperform", str(whole)]) == 0


def test_an_output_drawn_and_left_out_is_found_by_the_frame_alone(month, tmp_path):
    """What the draws cannot show by themselves."""
    _, members, _ = month
    header, *drawn = lines(members[DRAWS])
    told = checked(tmp_path, members, draws=written([header, *drawn[:3], *drawn[4:]]))
    assert told.step == 14
    assert (told.member, told.found) == (DRAWS, "left out")
    assert drawn[3][0] in told.expected
    told = checked(tmp_path, members, draws=written([header, *drawn[:-1]]))
    assert drawn[-1][0] in told.expected


def test_nothing_can_be_taken_out_of_a_frame_put_in_or_changed(month, tmp_path):
    """The batch root, the strata, the places and the draws each hold it."""
    _, members, _ = month
    header, *rows = lines(members[FRAME])
    events = {row[0] for row in lines(members[DRAWS])[1:]}
    at = next(n for n, row in enumerate(rows) if row[0] not in events)
    row = rows[at]

    def told(changed):
        return checked(tmp_path, members, frame=written([header, *changed]))

    without = told([*rows[:at], *rows[at + 1 :]])
    assert without.member == FRAME
    other = [row[0], "0" * 64, *row[2:]]
    assert told([*rows[:at], other, *rows[at + 1 :]]).place == "batch root"
    poorer = [*row[:VALUE], row[VALUE] - 1, row[TOKENS]]
    assert told([*rows[:at], poorer, *rows[at + 1 :]]).place.endswith("value_units")
    longer = [*row[:TOKENS], row[TOKENS] + 1]
    assert told([*rows[:at], longer, *rows[at + 1 :]]).place.startswith("payable tokens")
    excluded = [*row[:2], "duplicate", None, *row[4:]]
    assert told([*rows[:at], excluded, *rows[at + 1 :]]).member == FRAME
    assert told([row, *rows]).place.startswith("line")
    assert told([*rows[:at], ["x"], *rows[at + 1 :]]).member == FRAME
    assert checked(tmp_path, members, frame=b"").place == "line 1"


def test_both_verifiers_refuse_a_frame_of_no_night(month, tmp_path):
    """Altered frames fall under the signature, frames of unknown nights under step 14."""
    _, members, _ = month
    path = tmp_path / "p.zip"
    _write_archive(path, members | {FRAME: members[FRAME][:-1]})
    failure = refused(month, path)
    assert (failure.step, failure.member) == (2, FRAME)
    reframed(path, members | {"frame/2026-02-21.jsonl": members[FRAME]})
    with OpenPack(path) as pack:
        pack.check_frame()
        with pytest.raises(VerificationError, match="2026-02-21"):
            check_frames(pack)
