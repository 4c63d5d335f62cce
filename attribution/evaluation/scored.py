"""Scores of a method, made once and kept under the digest of everything they depend on.

That is the method and its options, the source of its module and of all that it imports in
this room, model, checkpoints, documents, outputs, seed. A method with several readings is
measured once, and each reading costs what that did.

Cost is processor seconds, all threads together, and bytes the method stored.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.evaluation.setup import EvaluationSetup
from attribution.files import canonical_json, sha256_file, sha256_of, write_atomically
from attribution.methods import MatrixTask, Method, Reread, check_needs, options_of
from attribution.model import model_digest

NOTES = "notes.json"
Nats = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Scores [Q, N], what they cost, and what the method noted in `notes.json` of its folder.

    `file` names what keeps them; two readings of one measurement name the same.
    """

    scores: Nats
    seconds: float
    cpu_seconds: float
    stored_bytes: int
    notes: dict[str, float]
    file: str


def score(setup: EvaluationSetup, method: Method, task: MatrixTask, cache: Path) -> Scored:
    """Score by a method, or read the scores it gave before.

    Raises:
        AttributionError: the method lacks what it needs.
    """
    check_needs(method, task)
    return _made(setup, method, task, cache)


def end_scores(setup: EvaluationSetup, method: Method, task: MatrixTask, cache: Path) -> Scored:
    """Score at the end point alone, also by a method that asks for checkpoints."""
    return _made(setup, method, replace(task, checkpoints=()), cache)


def cache_file(setup: EvaluationSetup, method: Method, task: MatrixTask, cache: Path) -> Path:
    """Return the file that keeps a method's scores; readings of one measurement share it."""
    readings = method.readings if isinstance(method, Reread) else ()
    said = {
        "method": method.name,
        "options": {k: str(v) for k, v in options_of(method).items() if k not in readings},
        "source": source_digest(type(method).__module__),
        "model": model_digest(task.model_dir),
        "checkpoints": [model_digest(folder) for folder in task.checkpoints],
        "corpus": task.corpus.digest,
        "queries": sha256_file(setup.queries_file),
        "recipe": sha256_file(setup.recipe / "recipe.npz"),
        "damping": task.damping,
        "seed": task.seed,
    }
    return cache / f"{method.name}-{sha256_of(canonical_json(said))[:16]}.npz"


def _made(setup: EvaluationSetup, method: Method, task: MatrixTask, cache: Path) -> Scored:
    path = cache_file(setup, method, task, cache)
    if not path.exists():
        stored = path.with_suffix(".stored")
        begun, cpu = time.perf_counter(), time.process_time()
        asked = replace(task, index_dir=stored)
        raw = method.measured(asked) if isinstance(method, Reread) else method.scores(asked)
        found = raw.double().numpy()
        cost = np.asarray([time.perf_counter() - begun, time.process_time() - cpu])
        shape = (len(task.queries), len(task.corpus))
        assert found.shape == shape, (method.name, found.shape, shape)
        left = [file for file in stored.rglob("*") if file.is_file() and file.name != NOTES]
        kept = sum(file.stat().st_size for file in left)
        notes = (stored / NOTES).read_text() if (stored / NOTES).is_file() else "{}"
        stream = io.BytesIO()
        np.savez(stream, scores=found, cost=cost, stored=np.asarray(kept), notes=np.asarray(notes))
        write_atomically(path, stream.getvalue())
        shutil.rmtree(stored, ignore_errors=True)
    with np.load(path) as archive:
        seconds, cpu_seconds = (float(value) for value in archive["cost"])
        notes = json.loads(str(archive["notes"]))
        scores = archive["scores"]
        if isinstance(method, Reread):
            scores = method.read(torch.from_numpy(scores), task).numpy()
        return Scored(scores, seconds, cpu_seconds, int(archive["stored"]), notes, path.name)


@lru_cache
def source_digest(module: str) -> str:
    """Return the SHA-256 over a module of this room and all it imports there, by name."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        spec = find_spec(name)
        if name in found or spec is None or spec.origin is None:
            continue
        text = Path(spec.origin).read_text(encoding="utf-8")
        found[name] = sha256_of(text.encode())
        waiting += re.findall(r"^\s*(?:from|import) (attribution\.[\w.]+)", text, re.MULTILINE)
    return sha256_of(canonical_json(found))
