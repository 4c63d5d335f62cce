"""Documentation of the Python packages installed here, read without importing any of it.

1. A package is a distribution with a stated licence; what has none is left out and listed.
2. Its texts are the README in its metadata and the docstrings of its source files,
   found by `ast`. No code of a package is run.
3. Vendored copies, tests and private names are left out: a vendored copy is the
   work of another package.
4. Reading is bounded, so that a large package costs no more than a middling one:
   its largest top-level subpackages, their largest files first, to a limit of bytes.
5. The order never depends on the disk: packages by name, files by size and name.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

_SKIPPED_PARTS = frozenset(
    {"test", "tests", "testing", "_testing", "_test", "conftest", "benchmarks", "examples"}
    | {"_vendor", "_vendored", "vendored", "vendor", "externals", "_external", "extern"}
    | {"third_party", "thirdparty", "_typeshed", "migrations", "__pycache__"}
)
_NOT_NAMES = re.compile(
    r"team|develop|contribut|foundation|project|authority|llc|inc\b|ltd|gmbh|corp|community|"
    r"organi[sz]ation|group|labs?\b|technolog|pypa|software|python|security|others",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Package:
    """One installed distribution with a stated licence.

    Attributes:
        name: its normalised name, such as "typing-extensions".
        version: as installed.
        licence: the licence expression or the first line of the stated licence.
        readme: the long description of its metadata; "" where it has none.
        distribution: where its source files are listed.
    """

    name: str
    version: str
    licence: str
    readme: str
    distribution: metadata.Distribution


@dataclass(frozen=True)
class Installed:
    """What was found in this environment.

    Attributes:
        packages: with a licence, by name.
        left_out: name -> reason, for distributions that were not used.
        names: full names of people in the metadata of any distribution, lower case.
    """

    packages: tuple[Package, ...]
    left_out: dict[str, str]
    names: frozenset[str]


def installed(*, exclude: frozenset[str]) -> Installed:
    """List the distributions of the running environment.

    Args:
        exclude: normalised names to leave out, such as our own.
    """
    packages: dict[str, Package] = {}
    left_out: dict[str, str] = {}
    names: set[str] = set()
    for distribution in metadata.distributions():
        said = distribution.metadata
        if not said["Name"]:
            continue
        name = re.sub(r"[-_.]+", "-", said["Name"]).lower()
        names |= set(_people(said))
        licence = _licence(said)
        if name in exclude:
            left_out[name] = "excluded by name"
        elif not licence:
            left_out[name] = "states no licence"
        elif name not in packages:
            readme = str(said.get_payload() or "")  # type: ignore[attr-defined]
            packages[name] = Package(name, distribution.version, licence, readme, distribution)
    return Installed(
        tuple(packages[name] for name in sorted(packages)),
        dict(sorted(left_out.items())),
        frozenset(names),
    )


def docstrings(
    package: Package, *, subpackages_max: int, bytes_max: int
) -> Iterator[tuple[str, str]]:
    """Yield (work, text) of a package's docstrings, a file at a time.

    Args:
        package: whose source to read.
        subpackages_max: how many top-level subpackages (and the root) are read.
        bytes_max: bytes of source read in all.

    Yields:
        The dotted name of the top-level subpackage, and the docstrings of one
        file joined by blank lines, in the order of the source.
    """
    by_work: dict[str, list[tuple[int, PurePosixPath, Path]]] = {}
    for inside, path in _source_files(package.distribution):
        # A file of the root belongs to the root, a file further down to its first subpackage.
        depth = 1 if len(inside.parts) < 3 else 2
        work = ".".join(inside.parts[:depth]).removesuffix(".py")
        by_work.setdefault(work, []).append((path.stat().st_size, inside, path))
    largest = sorted(by_work, key=lambda work: (-sum(size for size, _, _ in by_work[work]), work))
    budget = bytes_max
    queues = [
        (work, sorted(by_work[work], key=lambda file: (-file[0], str(file[1]))))
        for work in largest[:subpackages_max]
    ]
    # One file of each work in turn, so that the budget does not end inside the first work.
    for turn in range(max((len(files) for _, files in queues), default=0)):
        for work, files in queues:
            if turn < len(files) and files[turn][0] <= budget:
                budget -= files[turn][0]
                text = "\n\n\n".join(_docstrings_of(files[turn][2]))
                if text:
                    yield work, text


def _docstrings_of(path: Path) -> Iterator[str]:
    """Yield the public docstrings of one source file, in order, dedented."""
    try:
        source = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            # Other people's invalid escapes are not our warnings.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, UnicodeDecodeError, ValueError, OSError):
        return  # A file that this Python cannot read has no docstrings for it.
    yield from _walk(tree)


def _walk(node: ast.Module | ast.ClassDef) -> Iterator[str]:
    own = ast.get_docstring(node)
    if own:
        yield own
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _walk(child)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            text = None if child.name.startswith("_") else ast.get_docstring(child)
            if text:
                yield text


def _source_files(distribution: metadata.Distribution) -> Iterator[tuple[PurePosixPath, Path]]:
    for file in distribution.files or []:
        if file.suffix != ".py" or any(part in _SKIPPED_PARTS for part in file.parts):
            continue
        if ".." in file.parts or file.parts[0].endswith((".dist-info", ".data")):
            continue
        if file.name.startswith(("test_", "_")) and file.name != "__init__.py":
            continue
        path = Path(str(distribution.locate_file(file)))
        if path.is_file():
            yield PurePosixPath(file), path


def _licence(said: metadata.PackageMetadata) -> str:
    """Return the licence a package states, in its first line, or ""."""
    expression = (said["License-Expression"] or "").strip() if "License-Expression" in said else ""
    if expression:
        return expression[:100]
    classified = [
        line.rsplit("::", 1)[1].strip()
        for line in said.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    if classified:
        return "; ".join(classified)[:100]
    stated = (said["License"] or "").strip() if "License" in said else ""
    first = stated.splitlines()[0].strip() if stated else ""
    return "" if first.upper() in {"", "UNKNOWN"} or "copyright" in first.lower() else first[:100]


def _people(said: metadata.PackageMetadata) -> Iterator[str]:
    """Yield full names of people in the authorship fields, lower case."""
    for field in ("Author", "Maintainer", "Author-email", "Maintainer-email"):
        for entry in said.get_all(field) or []:
            for part in re.split(r"[,;&/]|\band\b", re.sub(r"<[^>]*>", " , ", str(entry))):
                name = " ".join(part.strip(" \"'()").split())
                if "@" not in name and len(name.split()) >= 2 and not _NOT_NAMES.search(name):
                    yield name.lower()
