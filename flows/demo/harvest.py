"""The demo's corpus: real documentation of real packages, each package a creator.

What is taken, in this order, with nothing left to chance but what the seed draws:

1. Packages come in the order of SHA-256(seed, name), so that nobody is favoured.
2. The first few with enough prose become *decoys*: same kind, never trained on,
   never paid. The next are the creators, until there are enough of both
   creators and passages.
3. A package's README is one work; the docstrings of each of its top-level
   subpackages are a work. A passage is whole sentences of one file of one work,
   `WORDS_MIN` to `WORDS_MAX` words; a paragraph that the package repeats is read once.
4. Sizes stay as skewed as they come, up to a cap per package, which is lowered
   until the whole fits the training budget.
5. One passage in eight of each creator is held back: its openings are the prompts,
   and it is never trained on.
6. A decoy or held-back passage that nearly repeats a trained one is dropped.

No person is named: authorship fields are never used, and sentences with names,
addresses or handles are dropped (flows.demo.harvest_prose).
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from attribution.corpus import Corpus, Document, corpus_manifest, write_corpus
from attribution.duplicates import evidence_clusters
from flows.artefacts import canonical_json, sha256_bytes, write_bytes
from flows.demo.harvest_passages import (
    HarvestLimits,
    Progress,
    Reading,
    capped,
    choose,
    cut,
    draw,
    vocabulary_of,
)
from flows.demo.harvest_prose import people
from flows.demo.harvest_source import Package, installed
from flows.errors import FlowError

OWN_NAME = "byline"
CATALOGUE_FORMAT = "byline-catalogue/1"


class HarvestError(FlowError):
    """This environment does not hold enough documentation for the demo."""


@dataclass(frozen=True)
class Harvest:
    """What was harvested and where it lies.

    Attributes:
        corpus, held_back, decoys: as written.
        catalogue: the content of catalogue.json.
        creators: party id -> trained passages, most first.
        manifest: path of the corpus manifest.
    """

    corpus: Corpus
    held_back: Corpus
    decoys: Corpus
    catalogue: dict[str, Any]
    creators: dict[str, int]
    manifest: Path


def harvest(
    out_dir: Path, limits: HarvestLimits | None = None, progress: Progress | None = None
) -> Harvest:
    """Harvest the running environment into a corpus folder.

    Args:
        out_dir: gets corpus.jsonl, heldback.jsonl, decoys.jsonl, catalogue.json and,
            last, manifest.json.
        limits: how much to take.
        progress: called with (packages taken, packages aimed at).

    Raises:
        HarvestError: there are too few packages or passages here.
    """
    limits = limits or HarvestLimits()
    found = installed(exclude=frozenset({OWN_NAME}))
    raw_decoys, raw_creators = choose(found.packages, people(found.names), limits, progress)
    vocabulary = vocabulary_of([*raw_decoys, *raw_creators])
    decoy_readings = cut(raw_decoys, vocabulary, limits)
    readings = capped(cut(raw_creators, vocabulary, limits), limits)
    trained, held_back = _documents(readings, limits)
    decoys = _decoys(decoy_readings, limits)
    held_back, decoys = _unlike(trained, held_back, decoys)
    if len(readings) < limits.creators_min or len(trained) < limits.passages_min:
        raise HarvestError(
            f"this environment holds {len(readings)} packages with {len(trained)} passages of "
            f"documentation; the demo needs {limits.creators_min} and {limits.passages_min}. "
            f"Install byline with its dependencies (make demo), then run again"
        )
    corpora = {
        "corpus": write_corpus(out_dir / "corpus.jsonl", trained),
        "heldback": write_corpus(out_dir / "heldback.jsonl", held_back),
        "decoys": write_corpus(out_dir / "decoys.jsonl", decoys),
    }
    catalogue = _catalogue(readings, trained)
    write_bytes(out_dir / "catalogue.json", canonical_json(catalogue))
    creators = _sizes(catalogue)
    notes = {
        "catalogue_sha256": sha256_bytes(canonical_json(catalogue)),
        "creators": creators,
        "decoy_packages": [reading.package.name for reading in decoy_readings],
        "left_out": found.left_out,
        "limits": asdict(limits),
        "python": platform.python_version(),
    }
    inputs = {_source_id(read.package): read.digest for read in (*readings, *decoy_readings)}
    manifest = corpus_manifest(corpora, inputs=inputs, notes=notes)
    # Last: a folder with a manifest is a whole harvest.
    path = out_dir / "manifest.json"
    write_bytes(path, canonical_json(manifest))
    return Harvest(
        corpora["corpus"], corpora["heldback"], corpora["decoys"], catalogue, creators, path
    )


def _documents(
    readings: Sequence[Reading], limits: HarvestLimits
) -> tuple[list[Document], list[Document]]:
    """Make documents of the passages and hold some of each package back (rule 5)."""
    trained, held_back = [], []
    for reading in readings:
        documents = list(_numbered(reading))
        drawn = sorted(documents, key=lambda row: draw(limits.seed, row.document_id))
        kept_out = {row.document_id for row in drawn[: len(drawn) // limits.held_back_one_in]}
        trained += [row for row in documents if row.document_id not in kept_out]
        held_back += [
            replace(row, document_id=f"heldback:{row.document_id}", group_id=row.group_id)
            for row in documents
            if row.document_id in kept_out
        ]
    return trained, held_back


def _decoys(readings: Sequence[Reading], limits: HarvestLimits) -> list[Document]:
    """Take the same number from each decoy package, as far as it goes."""
    share = max(1, limits.decoys // max(1, len(readings)))
    while (
        sum(min(share, len(reading.passages)) for reading in readings) < limits.decoys
        and share < limits.package_max
    ):
        share += 1
    return [
        replace(row, document_id=f"decoy:{row.document_id}", group_id=f"decoy:{row.group_id}")
        for reading in readings
        for row in list(_numbered(reading))[:share]
    ][: limits.decoys]


def _numbered(reading: Reading) -> Iterator[Document]:
    """Yield a package's passages as documents, numbered inside each work."""
    package = reading.package
    count: dict[str, int] = {}
    for work, text in reading.passages:
        count[work] = count.get(work, 0) + 1
        work_id = f"{package.name}/{work}"
        yield Document(
            document_id=f"{work_id}:{count[work]:03d}",
            group_id=work_id,
            text=text,
            source_id=_source_id(package),
        )


def _unlike(
    trained: list[Document], held_back: list[Document], decoys: list[Document]
) -> tuple[list[Document], list[Document]]:
    """Drop held-back and decoy passages that nearly repeat a trained one (rule 6)."""
    known = {document.document_id for document in trained}
    close: set[str] = set()
    for cluster in evidence_clusters([*trained, *held_back, *decoys], threshold=0.5):
        if known & set(cluster.members):
            close |= set(cluster.members) - known
    return (
        [document for document in held_back if document.document_id not in close],
        [document for document in decoys if document.document_id not in close],
    )


def _catalogue(readings: Sequence[Reading], trained: Sequence[Document]) -> dict[str, Any]:
    """Say who owns which work: every work of a package belongs to the package alone."""
    by_source = {_source_id(reading.package): reading.package for reading in readings}
    works: dict[str, Package] = {}
    for document in trained:
        works.setdefault(document.group_id, by_source[document.source_id or ""])
    return {
        "format": CATALOGUE_FORMAT,
        "sources": [
            {
                "source_id": source_id,
                "kind": "package",
                "title": package.name,
                "version": package.version,
                "licence": package.licence,
            }
            for source_id, package in by_source.items()
        ],
        "parties": [
            {"party_id": party_id(package.name), "kind": "creator"}
            for package in by_source.values()
        ],
        "works": [
            {
                "work_id": work_id,
                "title": _title(work_id, package),
                "source_id": _source_id(package),
                "licence": package.licence,
                "splits": [{"party_id": party_id(package.name), "share": "1"}],
            }
            for work_id, package in works.items()
        ],
        "documents": [
            {"document_id": document.document_id, "work_id": document.group_id}
            for document in trained
        ],
    }


def party_id(package_name: str) -> str:
    """Return the party that stands for a package."""
    return f"pkg:{package_name}"


def _sizes(catalogue: Mapping[str, Any]) -> dict[str, int]:
    owner = {work["work_id"]: work["splits"][0]["party_id"] for work in catalogue["works"]}
    count: dict[str, int] = {}
    for document in catalogue["documents"]:
        party = owner[document["work_id"]]
        count[party] = count.get(party, 0) + 1
    return dict(sorted(count.items(), key=lambda item: (-item[1], item[0])))


def _title(work_id: str, package: Package) -> str:
    part = work_id.split("/", 1)[1]
    if part == "readme":
        return f"{package.name} {package.version}: README"
    return f"{package.name} {package.version}: docstrings of {part}"


def _source_id(package: Package) -> str:
    # A version such as "1!2.0" has a sign that ids do not.
    return re.sub(r"[^A-Za-z0-9._:/@+-]", "-", f"pypi:{package.name}@{package.version}")
