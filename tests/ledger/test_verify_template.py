"""The verify.py of a pack: one file, the standard library and one other, the same verdicts."""

import ast
import json
import subprocess
import sys

import pytest

from ledger.audit import STEPS, run_verify
from ledger.verify_template import MODULES, standalone_source
from tests.ledger.book_maker import KEYS, LOG, checkpoint_of, forge_pack, make_pack, small_book

LEAVES = small_book(4)


@pytest.fixture
def verifier(tmp_path):
    """verify.py as a stranger has it: alone in a folder."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    path = folder / "verify.py"
    path.write_text(standalone_source(), encoding="utf-8")
    return path


def run(verifier, pack, *more):
    """Run it apart from this repository: isolated, in its own folder."""
    return subprocess.run(
        [sys.executable, "-I", verifier.name, str(pack), "--key", LOG.verifier.text, *more],
        cwd=verifier.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_it_needs_nothing_of_ours():
    """Only the standard library and the signature library are imported."""
    imported = set()
    for node in ast.walk(ast.parse(standalone_source())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_no_name_is_defined_twice():
    """The modules stand in one file, so a second definition would replace the first in silence."""
    names = []
    for node in ast.parse(standalone_source()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)


def test_every_module_is_in_it_after_what_it_needs():
    """The order of MODULES is an order of imports."""
    source = standalone_source()
    places = [source.index(f"# --- ledger/{name}.py") for name in MODULES]
    assert places == sorted(places)
    assert "from ledger" not in source


def test_it_verifies_a_good_pack_and_says_so(tmp_path, verifier):
    """Exit code 0, a numbered line a step, and a word about the checkpoint that was not brought."""
    pack = tmp_path / "p.zip"
    make_pack(pack, LEAVES, earlier=[3])
    done = run(verifier, pack)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len([line for line in lines if ". ok " in line]) == len(STEPS)
    assert lines[-2].startswith("VERIFIED")
    assert "--against" in lines[-1]
    assert done.stdout.splitlines() == run_verify(pack, KEYS).lines()


def test_its_verdicts_are_ours(tmp_path, verifier):
    """The same first difference, word for word, on damage of many kinds."""
    pack, kept = tmp_path / "p.zip", tmp_path / "kept.note"
    kept.write_text(checkpoint_of(LEAVES, 7), encoding="utf-8")
    honest = tmp_path / "honest.zip"
    make_pack(honest, LEAVES, earlier=[3])
    raw = honest.read_bytes()
    packs = [raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in range(0, len(raw), 25_000)]
    for leaves in (LEAVES[:6], [*LEAVES[:2], LEAVES[3], LEAVES[2], *LEAVES[4:]]):
        forge_pack(pack, leaves)
        packs.append(pack.read_bytes())
    for content in packs:
        pack.write_bytes(content)
        ours = run_verify(pack, KEYS, [kept])
        done = run(verifier, pack, "--against", str(kept), "--json")
        assert not ours.ok
        assert done.returncode == 1
        assert json.loads(done.stdout) == json.loads(json.dumps(ours.as_json()))


def test_wrong_use_is_said_in_a_sentence(tmp_path, verifier):
    """A key that is none, or a file that is none, ends without a traceback."""
    pack = tmp_path / "p.zip"
    make_pack(pack, LEAVES)
    done = subprocess.run(
        [sys.executable, "-I", verifier.name, str(pack), "--key", "nokey"],
        cwd=verifier.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "neither a public key" in done.stderr
    missing = run(verifier, tmp_path / "none.zip")
    assert missing.returncode == 1
    assert "cannot be opened" in missing.stdout
    assert "Traceback" not in done.stderr + missing.stderr
