"""Damping chosen by retrains: the one that made them is found, and judged on others."""

import json

import numpy as np
import pytest
import torch

from attribution.errors import GradientIndexError
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.index_damping import candidate_scores, choose_damping, choose_from_folder
from attribution.influence import Attributor
from attribution.tokens import Encoded
from tests.attribution import toy

OUTPUTS = [Encoded(tuple(range(i, i + 9)), 1) for i in range(1, 13)]
CANDIDATES = (0.001, 0.03, 1.0)


@pytest.fixture(scope="module")
def attributor(tmp_path_factory):
    """An index over several shards, so that the order of the file is not that of the rows."""
    folder = tmp_path_factory.mktemp("damping")
    space = toy.workspace(folder, 40)
    build_index(
        IndexConfig(
            space["end"],
            space["corpus"],
            folder / "i",
            checkpoints=(space["start"],),
            decoys=space["decoys"],
            shard_documents=15,
            layers=("*",),
            head=False,
            duplicate_threshold=None,
        )
    )
    return Attributor(GradientIndex.open(folder / "i"))


def retrains(attributor, damping, *, noise, seed=0):
    """Losses as that damping predicts them, with noise."""
    draw = np.random.default_rng(seed)
    scores = candidate_scores(attributor, OUTPUTS, [damping])[0].numpy()
    kept = draw.random((60, 40)) < 0.5
    effects = kept @ scores.T
    return kept, -effects + noise * effects.std(0) * draw.standard_normal(effects.shape)


def test_scores_of_a_candidate_are_the_scores_of_an_index_with_it(attributor):
    """In file order, up to the scale that no rank sees."""
    found = candidate_scores(attributor, OUTPUTS, [0.5, attributor.index.preconditioner.damping])
    table = attributor.index.documents
    ids = table["document_id"].to_list()
    rows = [ids.index(document.document_id) for document in toy.documents(40)]
    whole = attributor.documents(OUTPUTS).influence[:, rows]
    scale = attributor.index.preconditioner.scale
    torch.testing.assert_close(found[1] * scale, whole, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found[0] * scale, whole, rtol=0.1)


@pytest.mark.parametrize("damping", CANDIDATES)
def test_the_damping_that_made_the_truth_is_found(attributor, damping):
    """Losses that one damping predicts rank best with that damping, in every fold."""
    kept, losses = retrains(attributor, damping, noise=0.02)
    choice = choose_damping(attributor, OUTPUTS, kept, losses, candidates=CANDIDATES)
    assert choice.damping == damping
    assert set(choice.chosen_by_fold) == {damping}
    assert choice.held_out > 0.9
    assert max(choice.table, key=choice.table.__getitem__) == damping


def test_noise_is_not_rewarded(attributor):
    """Where the retrains say nothing, the choice is judged to be worth nothing."""
    kept, losses = retrains(attributor, 0.03, noise=100.0)
    choice = choose_damping(attributor, OUTPUTS, kept, losses, candidates=CANDIDATES)
    assert abs(choice.held_out) < 0.15


def test_too_few_retrains_are_refused(attributor):
    """A handful would choose by luck."""
    kept, losses = retrains(attributor, 0.03, noise=0.1)
    with pytest.raises(GradientIndexError, match="5 folds need 15"):
        choose_damping(attributor, OUTPUTS, kept[:9], losses[:9])
    with pytest.raises(GradientIndexError, match="of 39 documents"):
        choose_damping(attributor, OUTPUTS, kept[:, :39], losses)


def test_a_folder_of_retrains_is_read(attributor, tmp_path):
    """Mean losses a token, as retrains are kept, and the queries beside them."""
    lines = [
        json.dumps({"output_id": f"o{i}", "input_ids": list(row.input_ids), "prompt_length": 1})
        for i, row in enumerate(OUTPUTS)
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(lines) + "\n")
    kept, losses = retrains(attributor, 1.0, noise=0.02)
    tokens = np.array([row.scored for row in OUTPUTS])
    (tmp_path / "t").mkdir()
    for number, (mask, loss) in enumerate(zip(kept, losses, strict=True)):
        np.savez(tmp_path / "t" / f"doc-{number:03d}.npz", mask=mask, loss=loss / tokens)
    choice = choose_from_folder(attributor, tmp_path / "q.jsonl", tmp_path / "t")
    assert choice.damping >= 0.3
    for path in (tmp_path / "t").iterdir():
        path.rename(path.with_name(path.name.replace("doc", "creator")))
    with pytest.raises(GradientIndexError, match="none without random documents"):
        choose_from_folder(attributor, tmp_path / "q.jsonl", tmp_path / "t")
