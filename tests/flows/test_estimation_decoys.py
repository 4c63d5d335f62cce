"""The decoys' level is per document that was scored, however many documents a decoy group has."""

import json

import polars as pl
import pytest

from flows.estimation import PPT, Ownership, estimate
from tests.flows.test_estimation import DAY, POOL, Night, write_influence, write_sample

WORKS = {"w00": 30, "w01": 10}


def estimated(folder, documents):
    """A night of two works and two groups of decoys, whose run counted so many documents."""
    night = Night(folder, outputs=3, works=2, decoys=0, census=True)
    night.sample = [(f"e{i}", 100, PPT) for i in range(3)]
    night.gains = {f"e{i}": (10**10, 10) for i in range(3)}
    night.rows = []
    for i in range(3):
        night.rows += [(f"e{i}", "w00", "trained", 600), (f"e{i}", "w01", "trained", 400)]
        night.rows += [(f"e{i}", "d0", "decoy", 150), (f"e{i}", "d1", "decoy", 50)]
    sample = write_sample(folder / "sample" / f"{DAY}.parquet", night.sample)
    influence, gains = write_influence(folder / "influence", night.rows, night.gains)
    (path,) = (folder / "influence").glob("*.manifest.json")
    manifest = json.loads(path.read_bytes())
    if documents is not None:
        path.write_text(json.dumps({**manifest, "decoy_documents": documents}))
    made = estimate(
        influence=influence,
        gains=gains,
        sample=sample,
        ownership=Ownership(night.splits, WORKS),
        out_dir=folder / "estimates",
        name=str(DAY),
        pool=POOL,
    )
    rows = {row["creator_id"]: row for row in pl.read_parquet(made.creators).to_dicts()}
    return rows, made.manifest


@pytest.mark.parametrize(("documents", "level"), [(20, PPT // 100), (4, PPT // 20)])
def test_generic_is_the_level_of_one_decoy_document_times_a_creators_documents(
    tmp_path, documents, level
):
    """A fifth of the share over 20 or 4 documents, times 30 and 10: corpora count documents."""
    rows, manifest = estimated(tmp_path, documents)
    assert manifest["decoy"] == {"documents": documents, "share_ppt": PPT // 5}
    assert rows["c0"]["generic_ppt"] == 30 * level
    assert rows["c1"]["generic_ppt"] == 10 * level
    assert rows["c1"]["specific_ppt"] == 4 * PPT // 10 - 10 * level


def test_a_run_that_did_not_count_them_keeps_what_its_night_said(tmp_path):
    """Nights attributed before the count are worked out again to the byte: a group was one."""
    rows, manifest = estimated(tmp_path, None)
    assert manifest["decoy"]["documents"] == 2
    assert rows["c0"]["generic_ppt"] == 30 * PPT // 10
