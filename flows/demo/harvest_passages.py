"""Passages of packages: which packages are read, how far, and how their prose is cut.

Packages come in an order drawn from the seed and their names; each is read until
it has about what it may give. Reading and cutting are two steps, because a word
counts as a common word when any package that was read writes it in lower case
(flows.demo.harvest_prose, drop_unknown_names).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from flows.demo.harvest_prose import Paragraph, drop_unknown_names, prose, words
from flows.demo.harvest_source import Package, docstrings

Progress = Callable[[int, int], None]

# Dropping names costs some of what was read, so a little more is read than taken.
_SPARE = 1.15


@dataclass(frozen=True)
class HarvestLimits:
    """How much is taken, and how passages are cut.

    Attributes:
        creators_min: fewer creators than this refuse the harvest.
        creators: packages taken as creators, if the passages suffice by then.
        passages_min: fewer trained passages than this refuse the harvest.
        passages: trained and held-back passages aimed at.
        decoy_packages, decoys: packages and passages kept as decoys.
        package_min, package_max: passages a package needs, and may give.
        words_min, words_target, words_max: words of a passage.
        held_back_one_in: one passage of so many is held back.
        subpackages_max, bytes_max: how much of a package's source is read.
        seed: orders the packages and picks what is held back.
    """

    creators_min: int = 40
    creators: int = 48
    passages_min: int = 800
    passages: int = 960
    decoy_packages: int = 8
    decoys: int = 96
    package_min: int = 4
    package_max: int = 44
    words_min: int = 60
    words_target: int = 95
    words_max: int = 130
    held_back_one_in: int = 8
    subpackages_max: int = 4
    bytes_max: int = 160_000
    seed: int = 20261122


@dataclass(frozen=True)
class Raw:
    """What was read of one package: paragraphs by work and file, and about how many passages."""

    package: Package
    parts: tuple[tuple[str, list[Paragraph]], ...]
    promised: int
    digest: str


@dataclass(frozen=True)
class Reading:
    """The passages of one package: (work, text), and a digest of what was read."""

    package: Package
    passages: tuple[tuple[str, str], ...]
    digest: str


def choose(
    packages: Sequence[Package],
    names: re.Pattern[str],
    limits: HarvestLimits,
    progress: Progress | None,
) -> tuple[list[Raw], list[Raw]]:
    """Read packages in the order of their draw until decoys and creators suffice."""
    decoys: list[Raw] = []
    creators: list[Raw] = []
    aimed = limits.decoy_packages + limits.creators
    for package in sorted(packages, key=lambda package: draw(limits.seed, package.name)):
        promised = sum(min(limits.package_max, raw.promised) for raw in creators)
        if len(creators) >= limits.creators and promised >= limits.passages:
            break
        raw = _read(package, names, limits)
        if raw.promised < limits.package_min:
            continue
        (decoys if len(decoys) < limits.decoy_packages else creators).append(raw)
        if progress is not None:
            progress(min(aimed, len(decoys) + len(creators)), aimed)
    return decoys, sorted(creators, key=lambda raw: raw.package.name)


def _read(package: Package, names: re.Pattern[str], limits: HarvestLimits) -> Raw:
    """Read a package until it has about what it may give."""
    parts: list[tuple[str, list[Paragraph]]] = []
    seen: set[Paragraph] = set()
    digest = hashlib.sha256()
    promised = 0.0
    texts = docstrings(package, subpackages_max=limits.subpackages_max, bytes_max=limits.bytes_max)
    for work, text in chain([("readme", package.readme)], texts):
        digest.update(f"{work}\n{text}\n".encode())
        fresh = []
        for paragraph in prose(text, names=names):
            if paragraph not in seen:
                seen.add(paragraph)
                fresh.append(paragraph)
        parts.append((work, fresh))
        size = sum(words(sentence) for paragraph in fresh for sentence in paragraph)
        # A file's rest below the minimum is lost: about a third of a passage.
        promised += max(0.0, size / limits.words_target - 0.3)
        if promised >= limits.package_max * _SPARE:
            break
    return Raw(package, tuple(parts), int(promised), digest.hexdigest())


def cut(raws: Sequence[Raw], vocabulary: frozenset[str], limits: HarvestLimits) -> list[Reading]:
    """Cut what was read into passages, names dropped, and keep packages with enough."""
    readings = []
    for raw in raws:
        found = [
            (work, passage)
            for work, paragraphs in raw.parts
            for passage in passages(drop_unknown_names(paragraphs, vocabulary), limits)
        ][: limits.package_max]
        if len(found) >= limits.package_min:
            readings.append(Reading(raw.package, tuple(found), raw.digest))
    return readings


def vocabulary_of(raws: Sequence[Raw]) -> frozenset[str]:
    """Every word that the harvest holds in lower case."""
    sentences = chain.from_iterable(
        paragraph for raw in raws for _, paragraphs in raw.parts for paragraph in paragraphs
    )
    return frozenset(
        word for sentence in sentences for word in re.findall(r"\b[a-z]{2,}\b", sentence)
    )


def capped(readings: list[Reading], limits: HarvestLimits) -> list[Reading]:
    """Lower the cap per package until all passages together fit (rule 4)."""
    cap = limits.package_max
    while sum(min(cap, len(reading.passages)) for reading in readings) > limits.passages:
        cap -= 1
    return [replace(reading, passages=reading.passages[:cap]) for reading in readings]


def passages(paragraphs: Sequence[Paragraph], limits: HarvestLimits) -> Iterator[str]:
    """Join neighbouring sentences into passages; a rest below the minimum is left out.

    Args:
        paragraphs: of one file, in order.
        limits: the words of a passage. It ends at a paragraph once the target is
            reached, and at a sentence where the next would pass the maximum.
    """
    lines: list[str] = []
    count = 0
    for paragraph in paragraphs:
        fresh = True
        for sentence in paragraph:
            size = words(sentence)
            if count + size > limits.words_max:
                if count >= limits.words_min:
                    yield "\n".join(lines)
                lines, count = [], 0
            if fresh or not lines:
                lines.append(sentence)
            else:
                lines[-1] = f"{lines[-1]} {sentence}"
            fresh = False
            count += size
        if count >= limits.words_target:
            yield "\n".join(lines)
            lines, count = [], 0
    if count >= limits.words_min:
        yield "\n".join(lines)


def draw(seed: int, name: str) -> bytes:
    """Return the place of a name in an order drawn by the seed."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
