"""The strongest sources of one text, with what a reader must know before believing them.

1. Sources are single documents, strongest first, each with its signed influence.
   Copies of one evidence cluster are shown once, the others named beside it.
2. Lexical overlap stands beside the influence and never enters it: the share of the
   text's word triples that the document holds, where the corpus is at hand.
3. Flags of the text: `relative` (only final weights are known), `no_gain` (training
   did not help this text), `total_not_positive` (shares have no meaning).
4. Flags of a source: `within_decoys` (documents never trained on reach as high),
   `harmful` (it made the text less likely).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attribution.corpus import read_corpus
from attribution.errors import ScoringError
from attribution.index_read import GradientIndex
from attribution.influence import Attributor, nanonats
from attribution.tokens import check_ids, encode_output

_GRAM = 3
_DECOY_QUANTILE = 0.95


@dataclass(frozen=True)
class Source:
    """One document behind a text.

    Attributes:
        document_id, group_id, source_id: who it is.
        influence_nanonats: signed; positive = helped.
        lexical_overlap: share of the text's word triples it holds, or None.
        copies: other documents of its evidence cluster.
        flags: reasons for doubt.
        passage: its text, only where asked for.
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
    """

    sources: tuple[Source, ...]
    gain_nanonats: int
    total_nanonats: int
    tokens_scored: int
    flags: tuple[str, ...]
    index_sha256: str

    def as_json(self) -> dict[str, Any]:
        """Return the trace as a JSON object."""
        return asdict(self)


def trace(
    index_dir: Path | str | Attributor,
    text: str,
    prompt: str | None = None,
    k: int = 5,
    *,
    passages: bool = False,
) -> Trace:
    """Find the strongest sources of one text.

    Args:
        index_dir: the index, or an `Attributor` that is open already.
        text: what the model wrote.
        prompt: what stood before it; read but not scored.
        k: how many sources to name.
        passages: show the documents' text where the corpus is at hand.

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
    encoded = encode_output(prompt, text, attributor.tokenizer)
    check_ids([encoded], ["the text"], attributor.final.vocab_size)
    if not encoded.scored:
        raise ScoringError("the text has no token to score; give at least one word")
    index = attributor.index
    scores = attributor.documents([encoded])
    values = nanonats(scores.influence)[0]  # [N]
    table = index.documents
    trained = (table["kind"] == "trained").to_numpy() & table["alive"].to_numpy()
    weights = table["unit_weight"].to_numpy()
    total = int(np.rint(values[trained] * weights[trained]).sum())
    gain = int(nanonats(scores.gains)[0])
    ceiling = _decoy_ceiling(values, (table["kind"] == "decoy").to_numpy())
    order = [i for i in np.lexsort((np.arange(len(values)), -values)).tolist() if trained[i]]
    texts = _texts(index)
    sources = [
        _source(index, i, int(values[i]), text, texts, ceiling, passages=passages)
        for i in _distinct(index, order, k)
    ]
    return Trace(
        tuple(sources),
        gain,
        total,
        encoded.scored,
        _flags(index, gain, total),
        index.manifest.sha256,
    )


def _distinct(index: GradientIndex, order: Sequence[int], k: int) -> list[int]:
    """Return the first k rows of different evidence clusters (rule 1)."""
    ids = index.documents["document_id"].to_list()
    cluster_of = {m: name for name, ms in index.manifest.content["clusters"].items() for m in ms}
    seen, kept = set(), []
    for row in order:
        cluster = cluster_of.get(ids[row], ids[row])
        if cluster in seen:
            continue
        seen.add(cluster)
        kept.append(row)
        if len(kept) == k:
            break
    return kept


def _source(
    index: GradientIndex,
    row: int,
    value: int,
    text: str,
    texts: dict[str, str],
    ceiling: int | None,
    *,
    passages: bool,
) -> Source:
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
    passage = texts.get(name)
    return Source(
        name,
        said["group_id"],
        said["source_id"],
        value,
        None if passage is None else lexical_overlap(text, passage),
        tuple(member for member in cluster if member != name),
        tuple(flags),
        passage if passages else None,
    )


def lexical_overlap(text: str, passage: str) -> float:
    """Return the share of the text's word triples that the passage holds, in [0, 1]."""
    wanted = _grams(text)
    return round(len(wanted & _grams(passage)) / len(wanted), 4) if wanted else 0.0


def _grams(text: str) -> set[tuple[str, ...]]:
    words = "".join(c.lower() if c.isalnum() else " " for c in text).split()
    return {tuple(words[i : i + _GRAM]) for i in range(len(words) - _GRAM + 1)}


def _decoy_ceiling(values: np.ndarray, decoys: np.ndarray) -> int | None:
    return int(np.quantile(values[decoys], _DECOY_QUANTILE)) if decoys.any() else None


def _flags(index: GradientIndex, gain: int, total: int) -> tuple[str, ...]:
    flags = []
    if index.manifest.relative_only:
        flags.append("relative")
    elif gain <= 0:
        flags.append("no_gain")
    if total <= 0:
        flags.append("total_not_positive")
    return tuple(flags)


def _texts(index: GradientIndex) -> dict[str, str]:
    """Return the text of each document, where the corpus is still the one that was indexed."""
    path = index.corpus_file()
    if path is None or not path.is_file():
        return {}
    corpus = read_corpus(path)
    if corpus.digest != index.manifest.content["inputs"]["corpus"]:
        return {}
    return {d.document_id: d.text for d in corpus if d.text is not None}
