"""Attribution between files: a corpus and queries in, a score matrix out.

    attribute_files(...)    scores.npy, float32 [queries, documents], file order, positive = helped

The matrix is written whole or not at all. What the command line prints is the
returned summary and nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from attribution.corpus import read_corpus, read_queries
from attribution.device import device_name, find_device, within_memory
from attribution.errors import ScoringError
from attribution.files import sha256_of, write_atomically
from attribution.methods import (
    METHODS,
    MatrixTask,
    Method,
    check_needs,
    device_for,
    options_of,
    with_options,
)


def _quiet(_step: str, _done: int, _all: int) -> None:
    """Show nothing."""


def attribute_files(  # noqa: PLR0913 - the options of one command.
    method: str,
    model: Path | str,
    checkpoints: Sequence[Path | str],
    corpus: Path | str,
    queries: Path | str,
    out: Path | str,
    index: Path | str | None = None,
    *,
    damping: float = 0.01,
    seed: int = 0,
    options: Mapping[str, str] | None = None,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] = _quiet,
) -> dict[str, Any]:
    """Score every document of a corpus for every query.

    Args:
        method: a name in `attribution.methods.METHODS`.
        model: folder of the final model.
        checkpoints: folders of earlier weights of the same training stage, oldest
            first, the starting point among them.
        corpus: JSONL with `document_id`, optional `group_id`, `text` or `input_ids`.
        queries: JSONL with `output_id`, `text` or `input_ids`, `prompt_length`.
        out: the `.npy` file to write.
        index: index folder to use, built there where there is none; only the
            `ekfac_*` methods read it.
        damping: for methods with a curvature.
        seed: for methods that draw.
        options: of the method: field of its dataclass -> value as text.
        device: where the models run; see `device`.
        progress: called with (step, done, all).

    Returns:
        device, method, out, sha256, queries, documents.

    Raises:
        AttributionError: an unknown method or option, something the method needs
            and the task lacks, or bad input.
    """
    chosen = with_options(_named(method), options or {})
    place = find_device(device_for(chosen, device))
    task = MatrixTask(
        model_dir=Path(model),
        checkpoints=tuple(Path(folder) for folder in checkpoints),
        corpus=read_corpus(corpus),
        queries=read_queries(queries),
        index_dir=Path(index) if index is not None else None,
        damping=damping,
        seed=seed,
        device=device_for(chosen, device),
        progress=progress,
    )
    check_needs(chosen, task)
    with within_memory(place, None):
        written = _write_scores(chosen.scores(task), task, Path(out))
    return {"device": device_name(place), "method": method, **written}


def _named(method: str) -> Method:
    if method not in METHODS:
        raise ScoringError(
            f"there is no attribution method {method!r}; choose one of {', '.join(METHODS)}"
        )
    return METHODS[method]


def list_methods() -> list[dict[str, Any]]:
    """Return name, needs, options with defaults, cost and limits of every method."""
    return [
        {
            "along_path": method.declared.along_path,
            "cost": method.declared.cost,
            "limits": method.declared.limits,
            "name": name,
            "needs": list(method.declared.needs),
            "options": options_of(method),
        }
        for name, method in METHODS.items()
    ]


def _write_scores(found: Tensor, task: MatrixTask, out: Path) -> dict[str, Any]:
    """Write a finite matrix of the right shape and say what was written."""
    scores = found.numpy().astype(np.float32)
    shape = (len(task.queries), len(task.corpus))
    assert scores.shape == shape, (scores.shape, shape)
    assert np.isfinite(scores).all(), "a score is not finite"
    stream = io.BytesIO()
    np.save(stream, scores)
    write_atomically(out, stream.getvalue())
    return {
        "documents": shape[1],
        "out": str(out),
        "queries": shape[0],
        "sha256": sha256_of(stream.getvalue()),
    }
