"""The house is tidy: sizes, docstrings, test sentences, and words that must not appear."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("contracts", "ledger", "attribution", "reports", "flows", "migrations")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60


def python_files(*folders: str) -> list[Path]:
    """Return every Python file under the folders, in a stable order."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function in a syntax tree."""
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def public_without_docstring(tree: ast.Module) -> list[str]:
    """Name public classes, functions and methods that say nothing about themselves."""
    missing: list[str] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if child.name.startswith("_"):
                continue
            if not ast.get_docstring(child):
                missing.append(prefix + child.name)
            if isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")

    visit(tree, "")
    return missing


def test_no_file_is_longer_than_its_limit():
    """A file that needs more than 400 lines is two files."""
    long = {
        str(path.relative_to(ROOT)): count
        for path in python_files(*PACKAGES, "tests")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES_MAX
    }
    assert not long


def test_no_function_is_longer_than_its_limit():
    """A function that needs more than 60 lines is two functions."""
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in python_files(*PACKAGES, "tests")
        for node in functions(ast.parse(path.read_text(encoding="utf-8")))
        if (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_every_module_has_a_docstring():
    """The header of a module states its rules; the rules are its tests."""
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files(*PACKAGES, "tests")
        if path.read_text(encoding="utf-8").strip()
        and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent, "\n".join(silent)


def test_every_public_name_is_documented():
    """A caller never has to read the body to know what a public name does."""
    silent = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files(*PACKAGES)
        if "versions" not in path.parts
        for name in public_without_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent, "\n".join(silent)


def test_every_test_says_one_sentence():
    """A test's name is a law and its docstring says why the law is wanted."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in python_files("tests")
        if path.name.startswith("test_")
        for node in functions(ast.parse(path.read_text(encoding="utf-8")))
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent, "\n".join(silent)


def test_no_unfinished_marks_are_left():
    """What is not done is not in the code: it is written down where work is tracked."""
    marks = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError")
    left = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in python_files(*PACKAGES)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert not left, "\n".join(left)


def test_no_machine_path_is_in_the_repository():
    """The repository works where it is cloned, not where it was written."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the list of tracked files is not known")
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    here = str(ROOT.parent)
    named = [
        name
        for name in tracked
        if name
        and (ROOT / name).is_file()
        and len(here) > 4
        and f"{here}/".encode() in (ROOT / name).read_bytes()
    ]
    assert not named


@pytest.mark.parametrize(
    ("planted", "missing"),
    [
        ('"""M."""\ndef f():\n    pass\n', ["f"]),
        ('"""M."""\nclass C:\n    """C."""\n    def m(self):\n        pass\n', ["C.m"]),
        ('"""M."""\ndef _f():\n    pass\n', []),
    ],
)
def test_planted_silence_is_caught(planted, missing):
    """The rule itself works: a public name without a docstring is named."""
    assert public_without_docstring(ast.parse(planted)) == missing
