"""Versions of the preconditioner: rows stay, new scores change, old runs can be had again."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from attribution.errors import (
    GradientIndexError,
    IndexDamagedError,
    IndexMismatchError,
    RecipeError,
)
from attribution.files import sha256_file
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.index_edit import Removal, remove_documents
from attribution.index_refit import Refit, refit_index, use_version
from attribution.index_verify import index_info, verify_index
from attribution.influence import Attributor
from attribution.projection import LayerBasis
from attribution.second_moment import adam_metric, nearest_moments, step_meant
from attribution.tokens import Encoded
from tests.attribution import toy

QUERIES = [Encoded((3, 9, 12, 4, 4), 2), Encoded((7, 8, 9, 10, 11, 12, 13), 1)]


def config(space, out, **changes):
    """An eight-bit index, so that its rows have units that a refit must not move."""
    base = IndexConfig(
        model_dir=space["end"],
        corpus=space["corpus"],
        out=out,
        checkpoints=(space["start"],),
        decoys=space["decoys"],
        dtype="int8",
        damping=0.1,
        duplicate_threshold=None,
        fit_share=0.5,
        fit_documents_min=4,
        layers=("*",),
        head=False,
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """Two checkpoints, a corpus, decoys, and an index over them."""
    folder = tmp_path_factory.mktemp("refit")
    made = toy.workspace(folder)
    build_index(config(made, folder / "built"))
    return {**made, "built": folder / "built"}


@pytest.fixture
def index(space):
    """A copy beside the models, so that the index finds them."""
    copy = space["built"].with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(space["built"], copy)
    return copy


def groups(folder, version=None):
    """Influence of every work."""
    return Attributor(GradientIndex.open(folder, preconditioner=version)).groups(QUERIES).influence


def kept(folder):
    """Digest of every file that holds rows, sums or bases."""
    parts = ("shards", "groups", "bases")
    return {
        str(path.relative_to(folder)): sha256_file(path)
        for part in parts
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


def test_another_damping_equals_an_index_built_with_it(space, index, tmp_path):
    """Redamping costs no pass and gives what a rebuild gives, up to how rows are rounded."""
    before = kept(index)
    refit_index(index, Refit(damping=0.4))
    assert kept(index) == before
    build_index(config(space, tmp_path / "i", damping=0.4))
    again = groups(tmp_path / "i")
    torch.testing.assert_close(
        groups(index), again, rtol=0.02, atol=0.02 * float(again.abs().max())
    )


def test_eigenvalues_estimated_again_equal_a_build_on_the_same_sample(space, index, tmp_path):
    """The second pass of a fit, in the bases that are there, is the fit of those bases."""
    refit_index(index, Refit(share=0.5, documents_min=4))
    old, new = (GradientIndex.open(index, preconditioner=v) for v in (0, 1))
    for k in range(2):
        torch.testing.assert_close(
            new.fitted(k).eigenvalues, old.fitted(k).eigenvalues, rtol=1e-4, atol=1e-6
        )
        torch.testing.assert_close(new.fitted(k).means, old.fitted(k).means, rtol=1e-4, atol=0)
    refit_index(index, Refit(share=1.0, seed=3))
    assert GradientIndex.open(index).fitted(0).documents == 24


def test_an_old_version_gives_the_numbers_it_always_gave(index):
    """What was paid can be computed again after any number of refits, bit for bit."""
    before = groups(index)
    digest = GradientIndex.open(index).preconditioner.sha256
    refit_index(index, Refit(damping=0.3))
    changed = groups(index)
    refit_index(index, Refit(share=1.0))
    assert not torch.equal(changed, before)
    assert torch.equal(groups(index, 0), before)
    assert torch.equal(groups(index, 1), changed)
    assert GradientIndex.open(index, preconditioner=0).preconditioner.sha256 == digest
    assert [v["version"] for v in index_info(index)["preconditioners"]] == [0, 1, 2]
    use_version(index, 0)
    assert torch.equal(groups(index), before)
    verify_index(index, sample=4)


def test_every_version_has_its_own_scale(index):
    """The sum of influence over the decoys is their measured gain in every version."""
    refit_index(index, Refit(damping=0.9))
    scales = [GradientIndex.open(index, preconditioner=v).preconditioner for v in (0, 1)]
    assert all(v.calibration["rule"] == scales[0].calibration["rule"] for v in scales)
    if scales[0].calibration["rule"] != "none/1":
        assert scales[0].scale != scales[1].scale


def test_adams_second_moment_shapes_the_damping(space, index):
    """A uniform second moment changes nothing; a recorded one changes the scores."""
    with pytest.raises(RecipeError, match="Adam's second moment is not known"):
        refit_index(index, Refit(geometry="adam"))
    model = toy.gpt2(2)
    folder = space["end"].parent / "checkpoints" / "step-5"
    folder.mkdir(parents=True)
    flat = {n: torch.full_like(p, 4.0) for n, p in model.named_parameters()}
    save_file(flat, folder / "exp_avg_sq.safetensors")
    refit_index(index, Refit(geometry="adam"))
    torch.testing.assert_close(groups(index), groups(index, 0), rtol=1e-3, atol=1e-6)
    draw = torch.Generator().manual_seed(1)
    rough = {n: torch.rand(p.shape, generator=draw) ** 4 for n, p in model.named_parameters()}
    save_file(rough, folder / "exp_avg_sq.safetensors")
    refit_index(index, Refit(geometry="plain"))
    refit_index(index, Refit(geometry="adam"))
    assert not torch.allclose(groups(index), groups(index, 0), rtol=1e-2)
    shutil.rmtree(folder)


def test_an_only_checkpoint_is_the_end_of_training_and_the_first_of_many_its_start():
    """Where no step is known: a path's start has the first moments, the rest the last."""
    found = {17: Path("a"), 141: Path("b")}
    wanted = [step_meant(None, 0, 1), step_meant(None, 0, 2), step_meant(None, 1, 2)]
    assert [nearest_moments(found, step)[0] for step in wanted] == [141, 17, 141]
    assert step_meant(70, 0, 3) == 70


def test_the_metric_is_the_diagonal_of_the_projected_moment(tmp_path):
    """Against the dense projection of the inverse root, coordinate by coordinate."""
    model = toy.llama(1)
    from attribution.layers import find_layers

    layers = find_layers(model, ("*q_proj",)).layers
    draw = torch.Generator().manual_seed(2)
    moments = {n: torch.rand(p.shape, generator=draw) for n, p in model.named_parameters()}
    save_file(moments, tmp_path / "m.safetensors")
    p_in, _ = torch.linalg.qr(torch.randn(8, 3, generator=draw))
    p_out, _ = torch.linalg.qr(torch.randn(8, 2, generator=draw))
    found = adam_metric(model, layers, [LayerBasis(p_in, p_out)], tmp_path / "m.safetensors", 0.1)
    root = moments["model.layers.0.self_attn.q_proj.weight"].T.sqrt() + 0.1  # [I, O]
    q = torch.kron(p_in, p_out)  # [I O, r_in r_out]
    dense = (q.T @ torch.diag(1 / root.reshape(-1)) @ q).diagonal()
    torch.testing.assert_close(found, 1 / (dense * root.mean()))


def test_a_refit_that_changes_nothing_is_refused(index):
    """A version that equals the last one would only confuse."""
    with pytest.raises(GradientIndexError, match=r"damping 0\.1 and geometry 'plain' already"):
        refit_index(index, Refit())
    with pytest.raises(GradientIndexError, match="damping must be"):
        refit_index(index, Refit(damping=2.0))
    with pytest.raises(IndexMismatchError, match="versions 0 to 0, asked is 7"):
        GradientIndex.open(index, preconditioner=7)


def test_a_refit_needs_the_corpus_that_was_indexed(space, index, tmp_path):
    """Another corpus would calibrate to something else."""
    with pytest.raises(IndexMismatchError, match="Give that corpus"):
        refit_index(index, Refit(damping=0.2, corpus=space["decoys"]))
    with pytest.raises(IndexMismatchError, match="Give --decoys"):
        refit_index(index, Refit(damping=0.2, decoys=tmp_path / "gone.jsonl"))
    assert index_info(index)["preconditioner"] == 0


def test_a_removal_is_honoured_by_every_version(index):
    """Tombstones are of the index, not of a version; the version stays in use."""
    refit_index(index, Refit(damping=0.3))
    remove_documents(index, Removal(groups=("g1",)))
    for version in (0, 1, None):
        opened = GradientIndex.open(index, preconditioner=version)
        assert "g1" not in opened.groups.filter(opened.groups["kind"] == "trained")["group_id"]
    assert GradientIndex.open(index).preconditioner.version == 1


def test_an_altered_version_is_named(index):
    """Curvature files of later versions are hashed at opening like all small files."""
    refit_index(index, Refit(share=1.0))
    path = index / "preconditioners" / "000001" / "curvature-1.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(IndexDamagedError, match="curvature-1"):
        GradientIndex.open(index)
