"""The verify.py of a pack: one file, the standard library and one other, the same verdicts."""

import ast
import base64
import json
import re
import subprocess
import sys

import pytest

from ledger.audit import STEPS, run_verify
from ledger.merkle import MerkleTree, consistency_proof, leaf_hash
from ledger.proof import statement_proof
from ledger.verify_template import MODULES, standalone_source
from tests.ledger.book_maker import (
    KEYS,
    LOG,
    checkpoint_of,
    entry,
    forge_pack,
    make_pack,
    small_book,
)

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


def two_statements(folder):
    """Two papers of one payee, with their proofs: the second continues the first."""
    account, paths = "Liabilities:RoyaltiesPayable:anna", []
    leaves = [
        *LEAVES[:6],
        entry(7, "anna", [("Assets:Cash", "USD/6", 70), (account, "USD/6", -70)]),
    ]
    tree = MerkleTree(leaf_hash(leaf) for leaf in leaves)
    for number, (size, cited, closing) in enumerate(((6, {}, 0), (7, {7: leaves[6]}, 70))):
        note = checkpoint_of(leaves, size)
        proof = statement_proof(tree.node, cited, note, size)
        hashes = consistency_proof(tree.node, 6, size) if size > 6 else []
        links = [{"size": 6, "hashes": [base64.b64encode(h).decode() for h in hashes]}]
        header = {"payee_id": "anna", "currency": "USD/6", "statement_number": f"s/{number}"}
        document = {
            "inputs": {"header": header, "opening_units": "0"},
            "totals": {"closing": {"units": str(closing)}},
            "proof": proof | {"consistency": links if size > 6 else []},
        }
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(json.dumps(document), encoding="utf-8")
    return paths


def test_it_proves_a_statement_against_an_earlier_one(tmp_path, verifier):
    """A creator without our program: signature, continuation, entries, and the sum."""
    old, new = two_statements(tmp_path)
    done = run(verifier, new, "--against", str(old))
    assert done.returncode == 0, done.stderr
    assert "PROVED: the book continues every checkpoint you hold" in done.stdout
    assert "from 0 to 70 units of USD/6" in done.stdout
    assert "with no checkpoint held" in run(verifier, new).stdout


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"units": "70"', '"units": "71"', "does not follow from them"),
        ('"payee_id": "anna"', '"payee_id": "bo"', "does not follow from them"),
        ("-70", "-71", "the entry shown was changed|not in the book"),
        ('"proof"', '"proofs"', "it proves nothing"),
        ('"consistency"', '"inconsistency"', "rewritten since"),
        ("{", "{{", "cannot be read"),
    ],
)
def test_a_statement_that_was_changed_is_not_proved(tmp_path, verifier, old, new, reason):
    """Exit code 1 and the first difference, without a traceback."""
    first, last = two_statements(tmp_path)
    text = last.read_text(encoding="utf-8")
    assert old in text
    last.write_text(text.replace(old, new, 1), encoding="utf-8")
    done = run(verifier, last, "--against", str(first))
    assert done.returncode == 1
    assert re.search(reason, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
