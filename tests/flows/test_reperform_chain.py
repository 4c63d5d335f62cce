"""From the draw to the entries: a pack is worked out again, and every altered number is named."""

import hashlib
import io
import json
from dataclasses import replace

import polars as pl
import pytest

from flows import reperform_nights
from flows.estimation import estimate
from flows.publish import publish_period
from flows.reperform import ReperformError, Stage, reperform
from ledger.audit import run_verify
from ledger.audit_frame import OpenPack
from ledger.checkpoint import read_signer
from ledger.pack import write_pack
from tests.flows.papers import closed_months

PERIOD, NIGHT = "2026-01", "2026-01-20"
SAMPLE = f"evidence/sample.{NIGHT}.manifest.json"
ESTIMATES = f"evidence/estimates.{NIGHT}.manifest.json"
DRAWS = f"draws/{NIGHT}.jsonl"
ACCRUAL = 6  # the column accrual_units of the tables of estimates


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """A closed month of one night without a model, published."""
    with pytest.MonkeyPatch.context() as patch:
        workspace = closed_months(patch, tmp_path_factory.mktemp("chain") / "home", 1, creators=10)
    publish_period(workspace, PERIOD)
    return workspace


def members_of(pack):
    """Read every member that a manifest names."""
    with OpenPack(pack) as opened:
        opened.check_frame()
        names = set(opened.parts) - {"manifest.json", "manifest.note"}
        return {name: opened.read(name) for name in names}


def forged(month, tmp_path, changes):
    """Write the pack anew over changed members, in perfect form and signed by the log's own key.

    A change is bytes, or a function of the member's bytes; None takes the member out.
    """
    pack, path = month.pack(PERIOD), tmp_path / "forged.byline.zip"
    members = members_of(pack)
    for name, change in changes.items():
        members[name] = change(members[name]) if callable(change) else change
    kept = {name: data for name, data in members.items() if data is not None}
    origin = month.settings.sign.origin
    signer = read_signer(month.signing_key)
    write_pack(path, kept, period=PERIOD, origin=origin, signer=signer)
    return path


def table(change):
    """Make a change of a table's rows, as lists."""

    def altered(data):
        frame = pl.read_parquet(io.BytesIO(data))
        rows = [list(row) for row in frame.rows()]
        change(rows)
        buffer = io.BytesIO()
        pl.DataFrame(rows, schema=frame.schema, orient="row").write_parquet(buffer)
        return buffer.getvalue()

    return altered


def manifest(change):
    """Make a change of a manifest's values."""

    def altered(data):
        content = json.loads(data)
        change(content)
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode() + b"\n"

    return altered


def draw(number, place, change):
    """Make a change of one value of a drawn output; a line of None is taken out."""

    def altered(data):
        lines = data.splitlines(keepends=True)
        row = json.loads(lines[number])
        row[place] = change(row[place])
        lines[number] = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        return b"".join(lines)

    return altered


def add(rows, row, column, units):
    """Add units to a cell of rows."""
    rows[row][column] += units


def moved(rows):
    """Move a unit from one work's accrual to another's: the table still adds up."""
    add(rows, 0, ACCRUAL, 1)
    add(rows, 1, ACCRUAL, -1)


def two(rows):
    """Move a nat of influence between two works on one output: the output's total stands."""
    add(rows, 4, 3, 10**9)
    add(rows, 5, 3, -(10**9))


def entry_moved(data):
    """Move a unit between two payees of the close."""
    lines = data.splitlines(keepends=True)
    at = max(n for n, line in enumerate(lines) if b'"kind":"apportionment"' in line)
    value = json.loads(lines[at])
    for posting, units in zip(value["postings"][:2], (1, -1), strict=True):
        posting[2] = str(int(posting[2]) + units)
    lines[at] = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    return b"".join(lines)


def only_drawn(data):
    """Take the last drawn output out."""
    return b"".join(data.splitlines(keepends=True)[:-1])


CASES = {
    # name: (member, change, step of the verification, stage when files are held against the book,
    #        stage when nobody did)
    "influence": (
        f"evidence/influence.{NIGHT}.parquet",
        table(two),
        12,
        "evidence",
        f"estimates: {NIGHT}.works.parquet",
    ),
    "gain": (
        f"evidence/influence.{NIGHT}.gains.parquet",
        table(lambda rows: add(rows, 0, 2, 10**9)),
        12,
        "evidence",
        "estimates",
    ),
    "estimate": (
        f"evidence/estimates.{NIGHT}.works.parquet",
        table(moved),
        12,
        "evidence",
        f"estimates: {NIGHT}.works.parquet: work:00000: accrual_units is",
    ),
    "interval": (
        f"evidence/estimates.{NIGHT}.creators.parquet",
        table(lambda rows: add(rows, 1, 4, 7)),
        12,
        "evidence",
        f"estimates: {NIGHT}.creators.parquet: pkg:00001: low_ppt is",
    ),
    "rate": (
        ESTIMATES,
        manifest(lambda said: said.update(pool_rate_ppm=said["pool_rate_ppm"] + 1)),
        12,
        "evidence",
        "pools",
    ),
    "pool": (
        ESTIMATES,
        manifest(lambda said: said.update(pool_units=said["pool_units"] + 1)),
        12,
        "evidence",
        "pools",
    ),
    "population": (
        SAMPLE,
        manifest(lambda said: said["population"].update(outputs=said["population"]["outputs"] - 1)),
        12,
        "evidence",
        f"draws: {SAMPLE}, population, outputs",
    ),
    "certain": (
        SAMPLE,
        manifest(lambda said: said["strata"][0].update(certain=said["strata"][0]["certain"] + 1)),
        12,
        "evidence",
        f"draws: {SAMPLE}, stratum model_version=tiny-1, certain",
    ),
    "seed": (
        SAMPLE,
        manifest(lambda said: said.update(seed="00" * 32)),
        12,
        "evidence",
        f"draws: {SAMPLE}, seed",
    ),
    "value": (DRAWS, draw(3, 4, lambda units: units + 1), 14, "draws", "draws"),
    "probability": (
        DRAWS,
        draw(3, 5, lambda ppt: ppt + 1),
        14,
        f"draws: {DRAWS}, line 4, ",
        f"draws: {DRAWS}, line 4, ",
    ),
    "weight": (DRAWS, draw(3, 6, lambda units: units + 1), 14, "draws", "draws"),
    "stratum": (DRAWS, draw(3, 1, lambda name: name + "x"), 14, "draws", "draws"),
    "output": (DRAWS, draw(3, 0, lambda event: event + "a"), 14, "draws", "draws"),
    "left out": (DRAWS, only_drawn, 14, "draws", "draws"),
    "agreement": (
        "evidence/agreement.agr-pkg-00000.v1.yaml",
        lambda data: data.replace(b"rate: 100%", b"rate: 90%"),
        12,
        "agreement agr-pkg-00000 v1 was settled under the text",
        "agreement agr-pkg-00000 v1 was settled under the text",
    ),
    "split": (
        "evidence/catalogue.json",
        manifest(lambda said: said["works"][0]["splits"][0].update(share="1/2")),
        12,
        "catalogue",
        "catalogue",
    ),
    "entry": ("entries.jsonl", entry_moved, 9, "entries: je_", "entries: je_"),
    "close": (
        "reports/closing.json",
        lambda data: data.replace(b'"accountant-1"', b'"accountant-2"'),
        0,
        "entries: je_",
        "entries: je_",
    ),
}


def stages_of(pack):
    """Work a pack out again; return the stages that held and what they counted."""
    stages: list[Stage] = []
    done = reperform(pack, on_stage=stages.append)
    return done, {stage.name: stage.counted for stage in stages}


def test_every_stage_holds_for_a_pack_as_it_was_written(month):
    """Draws, influence, pools, estimates and entries, each with what was counted."""
    done, stages = stages_of(month.pack(PERIOD))
    assert list(stages) == [
        "pack", "evidence", "draws", "influence", "pools", "estimates", "entries",
    ]  # fmt: skip
    drawn = pl.read_parquet(month.root / "sample" / f"{NIGHT}.parquet").height
    assert stages["draws"] == f"{drawn} of 41 payable outputs, drawn by 1 seeds"
    assert stages["estimates"].startswith("20 works and creators")
    assert done.lacks == ()
    assert done.same["accrual"] == 1


def test_the_draws_have_no_text_and_say_where_each_output_went(month):
    """Ids, numbers and places, and no other column; the texts of this sample are long dropped."""
    with OpenPack(month.pack(PERIOD)) as pack:
        pack.check_frame()
        data = pack.read(DRAWS)
    sample = pl.read_parquet(month.root / "sample" / f"{NIGHT}.parquet")
    header, *rows = [json.loads(line) for line in data.splitlines()]
    assert sample["output_text"].null_count() == sample.height
    assert header["columns"][4:] == ["value_units", "pi_ppt", "weighted_value_units"]
    assert {len(row) for row in rows} == {len(header["columns"])}
    assert [row[0] for row in rows] == sample["event_id"].to_list()
    assert {tuple(row[2:4]) for row in rows} == {("tiny-1", "DE")}
    assert sum(count[2] for count in header["payable"]) == 41


@pytest.mark.parametrize("case", CASES)
def test_an_altered_number_is_named_by_the_verification_and_by_the_stage(month, tmp_path, case):
    """The forger has the log's key for the manifest, and fits every digest around the number."""
    member, change, step, stage, _ = CASES[case]
    path = forged(month, tmp_path, {member: change})
    assert path.read_bytes() != month.pack(PERIOD).read_bytes()
    failure = run_verify(path, month.public_key).failure
    assert (failure.step if failure else 0) == step, failure
    with pytest.raises(Exception, match=r"\w") as caught:
        reperform(path)
    assert stage in str(caught.value), caught.value


@pytest.mark.parametrize("case", [c for c in CASES if CASES[c][3] == "evidence"])
def test_the_numbers_themselves_convict_a_book_that_cites_the_altered_file(
    month, tmp_path, monkeypatch, case
):
    """An operator who booked a false number cites it too; working it out again shows it."""
    member, change, _, _, stage = CASES[case]
    monkeypatch.setattr(reperform_nights, "_same_file", lambda *_: None)
    changes = {member: change}
    if member.endswith(".parquet") and "influence" in member:
        # The tables are held against their manifest once more where they are read.
        digest = hashlib.sha256
        kind = "gains" if "gains" in member else "influence"
        data = change(members_of(month.pack(PERIOD))[member])
        said = f"evidence/influence.{NIGHT}.manifest.json"
        changes[said] = manifest(lambda m: m["sha256"].update({kind: digest(data).hexdigest()}))
    with pytest.raises(ReperformError) as caught:
        reperform(forged(month, tmp_path, changes))
    assert str(caught.value).startswith(stage), caught.value


def test_a_pack_without_draws_is_worked_out_as_far_as_it_goes(month, tmp_path):
    """As packs of the first format are: entries from estimates, and what is lacking is said."""
    path = forged(month, tmp_path, {DRAWS: None})
    report = run_verify(path, month.public_key)
    assert report.ok
    assert f"NOT in the pack: draws of {NIGHT}" in report.steps[13][2]
    done, stages = stages_of(path)
    assert done.lacks == (f"draws of {NIGHT}: its estimates are taken as they are",)
    assert stages["draws"].startswith("0 of 0")
    assert done.same["accrual"] == 1


def test_draws_of_a_night_that_nobody_sampled_are_refused(month, tmp_path):
    """A file more proves nothing."""
    data = members_of(month.pack(PERIOD))[DRAWS]
    path = forged(month, tmp_path, {"draws/2026-01-21.jsonl": data})
    failure = run_verify(path, month.public_key).failure
    assert (failure.step, failure.member) == (14, "draws/2026-01-21.jsonl")


def test_intervals_that_a_version_made_in_another_way_are_not_compared_and_it_is_said(
    month, monkeypatch
):
    """Shares, standard errors and money still are; the ends of an interval are no money."""

    def estimated_otherwise(**given):
        made = estimate(**given)
        works = pl.read_parquet(made.works).with_columns(pl.col("low_ppt") - 1)
        works.write_parquet(made.works)
        said = {**made.manifest, "confidence": "another"}
        made.manifest_path.write_text(json.dumps(said), encoding="utf-8")
        return replace(made, manifest=said)

    monkeypatch.setattr(reperform_nights, "estimate", estimated_otherwise)
    done, _ = stages_of(month.pack(PERIOD))
    (text,) = done.lacks
    assert text.startswith(f"intervals of {NIGHT} as made here")
    assert done.same["accrual"] == 1
