"""The strongest sources of one text, with what a reader must know before believing them.

1. Sources are single documents, strongest first, each with its signed influence.
   Copies of one evidence cluster are shown once, the others named beside it.
2. Lexical overlap stands beside the influence and never enters it: the share of the
   text's word triples that the document holds, where the corpus is at hand.
3. Flags of the text: `relative` (only final weights are known), `no_gain` (training
   did not help this text), `total_not_positive` (shares have no meaning), `incomplete`
   (all sources together explain less than half of the gain, or more than twice of it),
   `few_tokens` (fewer than eight are scored).
4. Flags of a source: `within_decoys` (documents never trained on reach as high),
   `harmful` (it made the text less likely).
5. With a prefilter only its candidates are looked at, and the trace says `approximate`
   with the recall that was measured: what is shown is exact, a source may be missed.
6. Passages are shown only as far as the caller's policy allows, in characters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.errors import ScoringError
from attribution.index_read import GradientIndex
from attribution.influence import Attributor, exact_scores, nanonats, pinned_threads
from attribution.tokens import Encoded, check_ids, encode_output

if TYPE_CHECKING:
    from attribution.index_prefilter import Prefilter

_GRAM = 3
_DECOY_QUANTILE = 0.95
_FEW_TOKENS = 8
_COMPLETE = (0.5, 2.0)


@dataclass(frozen=True)
class Source:
    """One document behind a text.

    Attributes:
        document_id, group_id, source_id: who it is.
        influence_nanonats: signed; positive = helped.
        lexical_overlap: share of the text's word triples it holds, or None.
        copies: other documents of its evidence cluster.
        flags: reasons for doubt.
        passage: the beginning of its text, only where asked for.
    """

    document_id: str
    group_id: str
    source_id: str | None
    influence_nanonats: int
    lexical_overlap: float | None
    copies: tuple[str, ...]
    flags: tuple[str, ...]
    passage: str | None = None


@dataclass(frozen=True)
class Trace:
    """What one text owes to whom.

    Attributes:
        sources: strongest first.
        gain_nanonats: what training gained for the text.
        total_nanonats: influence of everything trained on.
        tokens_scored: tokens of the text.
        flags: reasons for doubt about the whole.
        index_sha256: the index that was asked.
        preconditioner: its version that scored.
        milliseconds: how long it took, models and index open.
        recall: of the prefilter, where one chose whom to look at.
    """

    sources: tuple[Source, ...]
    gain_nanonats: int
    total_nanonats: int
    tokens_scored: int
    flags: tuple[str, ...]
    index_sha256: str
    preconditioner: int
    milliseconds: int
    recall: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the trace as a JSON object."""
        return asdict(self)


def trace(
    index_dir: Path | str | Attributor,
    text: str,
    prompt: str | None = None,
    k: int = 5,
    *,
    passage_characters: int = 0,
    prefilter: Prefilter | None = None,
) -> Trace:
    """Find the strongest sources of one text.

    Args:
        index_dir: the index, or an `Attributor` that is open already.
        text: what the model wrote.
        prompt: what stood before it; read but not scored.
        k: how many sources to name.
        passage_characters: show so many characters of each source's text, where the
            corpus is at hand; 0 shows metadata only.
        prefilter: look only at its candidates (rule 5).

    Raises:
        ScoringError: the text has no token to score, or the model has no tokenizer.
    """
    attributor = (
        index_dir
        if isinstance(index_dir, Attributor)
        else Attributor(GradientIndex.open(index_dir))
    )
    if attributor.tokenizer is None:
        raise ScoringError(
            "the index's model has no tokenizer, so a text cannot be read; put its tokenizer "
            "into the model folder"
        )
    begun = time.monotonic()
    encoded = encode_output(prompt, text, attributor.tokenizer)
    check_ids([encoded], ["the text"], attributor.final.vocab_size)
    if not encoded.scored:
        raise ScoringError("the text has no token to score; give at least one word")
    index = attributor.index
    found = _scored(attributor, encoded, prefilter)
    ceiling = _decoy_ceiling(found.values[found.decoys])
    order = np.lexsort((found.rows, -found.values))
    ranked = [(int(found.rows[i]), int(found.values[i])) for i in order if found.trained[i]]
    sources = [
        _source(attributor, row, value, text, ceiling, passage_characters)
        for row, value in _distinct(index, ranked, k)
    ]
    flags = _flags(index, found.gain, found.total, encoded.scored)
    return Trace(
        tuple(sources),
        found.gain,
        found.total,
        encoded.scored,
        flags if prefilter is None else (*flags, "approximate"),
        index.manifest.sha256,
        index.preconditioner.version,
        round(1000 * (time.monotonic() - begun)),
        None if prefilter is None else float(prefilter.facts["recall"]),
    )


@dataclass(frozen=True)
class _Scored:
    """Documents that were looked at, [n] each, and what is known of the whole text."""

    rows: np.ndarray
    values: np.ndarray
    trained: np.ndarray
    decoys: np.ndarray
    gain: int
    total: int


def _scored(attributor: Attributor, encoded: Encoded, prefilter: Prefilter | None) -> _Scored:
    """Score every document, or the decoys and a prefilter's candidates."""
    table = attributor.index.documents
    trained = (table["kind"] == "trained").to_numpy() & table["alive"].to_numpy()
    decoys = (table["kind"] == "decoy").to_numpy()
    if prefilter is None:
        scores = attributor.documents([encoded])
        values = nanonats(scores.influence)[0]  # [N]
        weights = table["unit_weight"].to_numpy()
        total = int(np.rint(values[trained] * weights[trained]).sum())
        gain = int(nanonats(scores.gains)[0])
        return _Scored(np.arange(len(values)), values, trained, decoys, gain, total)
    works = attributor.groups([encoded])
    with pinned_threads(attributor.threads):
        queries, _ = attributor.queries([encoded])
        near = prefilter.candidates(attributor.index, queries)
        rows = np.union1d(near[trained[near]], np.flatnonzero(decoys))
        values = nanonats(exact_scores(attributor.index, queries, rows))[0]
    paid = (attributor.index.groups["kind"] == "trained").to_numpy()
    total = int(nanonats(works.influence)[0][paid].sum())
    gain = int(nanonats(works.gains)[0])
    return _Scored(rows, values, trained[rows], decoys[rows], gain, total)


def _distinct(
    index: GradientIndex, ranked: Sequence[tuple[int, int]], k: int
) -> list[tuple[int, int]]:
    """Return the first k (row, value) of different evidence clusters (rule 1)."""
    ids = index.documents["document_id"].to_list()
    cluster_of = {m: name for name, ms in index.manifest.content["clusters"].items() for m in ms}
    seen, kept = set(), []
    for row, value in ranked:
        cluster = cluster_of.get(ids[row], ids[row])
        if cluster in seen:
            continue
        seen.add(cluster)
        kept.append((row, value))
        if len(kept) == k:
            break
    return kept


def _source(
    attributor: Attributor,
    row: int,
    value: int,
    text: str,
    ceiling: int | None,
    passage_characters: int,
) -> Source:
    index = attributor.index
    said = index.documents.row(row, named=True)
    name = said["document_id"]
    cluster: list[str] = next(
        (ms for ms in index.manifest.content["clusters"].values() if name in ms), []
    )
    flags = []
    if ceiling is not None and value <= ceiling:
        flags.append("within_decoys")
    if value <= 0:
        flags.append("harmful")
    passage = attributor.text_of(name)
    return Source(
        name,
        said["group_id"],
        said["source_id"],
        value,
        None if passage is None else lexical_overlap(text, passage),
        tuple(member for member in cluster if member != name),
        tuple(flags),
        passage[:passage_characters] if passage and passage_characters else None,
    )


def lexical_overlap(text: str, passage: str) -> float:
    """Return the share of the text's word triples that the passage holds, in [0, 1]."""
    wanted = _grams(text)
    return round(len(wanted & _grams(passage)) / len(wanted), 4) if wanted else 0.0


def _grams(text: str) -> set[tuple[str, ...]]:
    words = "".join(c.lower() if c.isalnum() else " " for c in text).split()
    return {tuple(words[i : i + _GRAM]) for i in range(len(words) - _GRAM + 1)}


def _decoy_ceiling(values: np.ndarray) -> int | None:
    return int(np.quantile(values, _DECOY_QUANTILE)) if len(values) else None


def _flags(index: GradientIndex, gain: int, total: int, tokens: int) -> tuple[str, ...]:
    flags = []
    if index.manifest.relative_only:
        flags.append("relative")
    elif gain <= 0:
        flags.append("no_gain")
    elif not _COMPLETE[0] <= total / gain <= _COMPLETE[1]:
        flags.append("incomplete")
    if tokens < _FEW_TOKENS:
        flags.append("few_tokens")
    if total <= 0:
        flags.append("total_not_positive")
    return tuple(flags)
