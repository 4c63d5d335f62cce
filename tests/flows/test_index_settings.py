"""What `[attribution]` says is what an index is built with, and poor choices are named first."""

import pytest
from click.testing import CliRunner

from attribution.index import GradientIndex
from flows.build import IndexSources, build_index_at, storage_warning
from flows.cli import cli
from flows.settings import load_settings
from tests.attribution import toy


def settings(folder, text):
    """Write `[attribution]` lines and read them as a command does."""
    (folder / "byline.toml").write_text(f"[attribution]\n{text}", encoding="utf-8")
    return load_settings(folder).attribution


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('dtype = "lowrank2"\nlayers = ["*"]\nhead = false\nbytes_per_document = 700', "lowrank2"),
        ('dtype = "int8"\ncompute = "bfloat16"\nlayers = ["*.attn.*"]\nhead = false', "int8"),
    ],
)
def test_storage_compute_and_layers_come_from_the_settings(tmp_path, text, found):
    """Low-rank rows, bfloat16 and other layers need no code."""
    space = toy.workspace(tmp_path)
    wanted = settings(tmp_path, text + "\nfit_documents_min = 24")
    sources = IndexSources(
        space["end"], (space["start"],), space["corpus"], space["decoys"], tmp_path / "i"
    )
    said = build_index_at(wanted, sources)["config"]
    assert (said["dtype"], said["compute"], said["head"]) == (found, wanted.compute, False)
    assert tuple(said["layers"]) == wanted.layers
    names = {layer.name for layer in GradientIndex.open(tmp_path / "i").layers}
    assert names
    assert all("attn" in name for name in names) == (wanted.compute == "bfloat16")


@pytest.mark.parametrize(("dtype", "figure"), [("int2", "30 %"), ("lowrank1", "48 %")])
def test_a_dtype_that_pays_others_is_named_with_its_figure_before_the_build(
    tmp_path, dtype, figure
):
    """Two bits a number look like a saving and move a third of the money."""
    space = toy.workspace(tmp_path)
    settings(tmp_path, f'dtype = "{dtype}"\nfit_documents_min = 24')
    given = ["--model", space["end"], "--corpus", space["corpus"], "--out", tmp_path / "i"]
    said = CliRunner().invoke(cli, ["index", "build", "--dir", str(tmp_path), *map(str, given)])
    assert said.exit_code == 0, said.output
    assert f"warning: rows stored as {dtype}" in said.stderr
    assert figure in said.stderr


def test_eight_bits_are_used_without_a_word(tmp_path):
    """The default gets no warning."""
    assert storage_warning(settings(tmp_path, "")) is None
