"""Every method on one set-up, judged alike: the table of the field.

1. A method runs through the protocol of `attribution.methods`; one that is added
   there appears here.
2. Scores, patches and retrains are made once and kept (attribution.evaluation.scored):
   a table that was stopped goes on with what is missing, and methods may be added one
   at a time.
3. A method that sums over checkpoints is judged at the end point alone as well.
4. A method that cannot run here is a row that says why, never a missing row.
5. Rows do not depend on one another, so several processes may make them; readings of
   one measurement are made by the same one.

Cost is processor seconds, all threads together, and bytes the method stored.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.corpus import read_corpus
from attribution.errors import AttributionError
from attribution.evaluation.coverage import LEVELS, covered_percent
from attribution.evaluation.lds import ceilings, evaluate, true_shares
from attribution.evaluation.patch import PatchConfig, tail_patch
from attribution.evaluation.probes import ProbeCorpus, decoys_of, gains, probe_corpus
from attribution.evaluation.scored import Scored, cache_file, end_scores, score
from attribution.evaluation.setup import EvaluationSetup
from attribution.evaluation.top_removal import TopRemoval
from attribution.evaluation.truth import Truth
from attribution.files import canonical_json, sha256_of, write_atomically
from attribution.methods import MatrixTask, Method, options_of
from attribution.methods.choice import labels
from attribution.model import load_model
from attribution.replay import deterministic, encode_corpus, summed_loss
from attribution.tokens import encode_document

FORMAT = "byline-scoreboard/2"
Nats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
Row = tuple[int, dict[str, Any]]
_OPEN: list[_Board] = []  # in a process that makes rows: its board


@dataclass(frozen=True)
class BoardConfig:
    """What is measured beside the truth.

    Attributes:
        cache: keeps scores between runs.
        path: checkpoints to go along beside the final weights, oldest first; all that
            the set-up has when 0, only the starting weights when 1.
        ends: judge path methods at the end point too.
        probes: decoys and tricks, by one more scoring run a method.
        probe_limit: no probes of a method whose scores took more passes than this.
        probe_of: names of the methods that are probed; all when empty.
        patch: the tail-patch, or None.
        top: documents of the top-k removal, which retrains twice a method; 0 for none.
        top_of: names of the methods that it is made for; all when empty.
        seed: for methods and controls that draw.
        processes: rows that are made at the same time, each on its part of the threads.
    """

    cache: Path
    path: int = 0
    ends: bool = True
    probes: bool = True
    probe_limit: float = math.inf
    probe_of: tuple[str, ...] = ()
    patch: PatchConfig | None = field(default_factory=PatchConfig)
    top: int = 0
    top_of: tuple[str, ...] = ()
    seed: int = 0
    processes: int = 1


def judge_methods(
    setup: EvaluationSetup,
    methods: Sequence[Method],
    truth: Truth,
    config: BoardConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Judge methods side by side.

    Args:
        setup: model, corpus and outputs.
        methods: with their options.
        truth: the retrains.
        config: what is measured.
        progress: called with (method, done, all).

    Returns:
        Plain values for JSON: `rows` (one a method, in order), `ceilings`, `truth`,
        `pass_cpu_seconds` (one forward and backward pass over the corpus), `seconds`
        (what all scores, patches and retrains took when they were made), `cpu_seconds`
        (what the scores alone took).
    """
    board = _Board(setup, truth, config)
    made: dict[int, dict[str, Any]] = {}
    named = labels(methods)
    make = _beside if config.processes > 1 else _in_turn
    for place, row in make(board, methods, progress):
        made[place] = {**row, "name": named[place], "method": methods[place].name}
    progress("done", len(methods), len(methods))
    rows = [made[place] for place in range(len(methods))]
    coalition = truth.banzhaf if len(truth.losses.get("creator", ())) >= 10 else None
    controls = board.controls()
    return {
        "format": FORMAT,
        "rows": rows,
        "controls": controls,
        "ceilings": ceilings(truth),
        "truth": {
            "retrains": {kind: len(rows) for kind, rows in sorted(truth.losses.items())},
            "queries": len(truth.tokens),
            "documents": len(truth.groups),
            "creators": len(truth.creators),
            "creator_ids": list(truth.creators),
            "shares": true_shares(truth),
            "coalition_fit": float(coalition.fit.mean()) if coalition else None,
            "coalition_ridge": coalition.ridge if coalition else None,
        },
        "pass_cpu_seconds": board.pass_seconds,
        "seconds": sum(board.spent.values()),
        "cpu_seconds": sum(board.worked.values()),
        "levels": list(LEVELS),
    }


def _in_turn(board: _Board, methods: Sequence[Method], progress: Progress) -> Iterator[Row]:
    """Make one row after the other."""
    for place, (label, method) in enumerate(zip(labels(methods), methods, strict=True)):
        progress(label, place, len(methods))
        yield place, board.row(method)


def _beside(board: _Board, methods: Sequence[Method], progress: Progress) -> Iterator[Row]:
    """Make rows in several processes; those that need most begin."""
    board.shared()
    shared: dict[Path, list[tuple[int, Method]]] = {}
    for place, method in enumerate(methods):
        file = cache_file(board.setup, method, board.task, board.config.cache)
        shared.setdefault(file, []).append((place, method))
    tasks = sorted(shared.values(), key=lambda task: -len(task[0][1].declared.needs))
    processes = board.config.processes
    threads = max(1, torch.get_num_threads() // processes)
    given = (board.setup, board.truth, board.config, threads)
    named, made = labels(methods), 0
    # Spawned, because a forked child inherits torch's threads in a state it cannot use.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _open_board, given) as pool:
        for done in as_completed([pool.submit(_rows_of, task) for task in tasks]):
            rows, spent, worked = done.result()
            board.spent |= spent
            board.worked |= worked
            made += len(rows)
            progress(named[rows[-1][0]], made, len(methods))
            yield from rows


def _open_board(setup: EvaluationSetup, truth: Truth, config: BoardConfig, threads: int) -> None:
    torch.set_num_threads(threads)
    _OPEN.append(_Board(setup, truth, config))


def _rows_of(
    task: Sequence[tuple[int, Method]],
) -> tuple[list[Row], dict[str, float], dict[str, float]]:
    (board,) = _OPEN
    rows = [(place, board.row(method)) for place, method in task]
    return rows, board.spent, board.worked


def _spread(checkpoints: Sequence[Path], count: int) -> tuple[Path, ...]:
    """Choose so many checkpoints, the first among them, evenly by place; all for 0."""
    if not count or count >= len(checkpoints):
        return tuple(checkpoints)
    places = [round(n * len(checkpoints) / count) for n in range(count)]
    return tuple(checkpoints[place] for place in places)


class _Board:
    """What the rows of one table share."""

    def __init__(self, setup: EvaluationSetup, truth: Truth, config: BoardConfig) -> None:
        self.setup, self.truth, self.config = setup, truth, config
        config.cache.mkdir(parents=True, exist_ok=True)
        self.task = MatrixTask(
            setup.model,
            _spread(setup.checkpoints, config.path),
            setup.corpus,
            setup.queries,
            seed=config.seed,
        )
        self.context = setup.retrains().recipe.context or self.task.model.context
        self.probe = self._probe() if config.probes else None
        self.top = TopRemoval(setup, config.cache, config.top) if config.top else None
        self.pass_seconds = self._one_pass()
        self.spent: dict[str, float] = {}
        self.worked: dict[str, float] = {}

    def _counted(self, found: Scored) -> Scored:
        """Note what scores took, once for all rows that read them."""
        self.spent[found.file] = found.seconds
        self.worked[found.file] = found.cpu_seconds
        return found

    def row(self, method: Method) -> dict[str, Any]:
        """Judge one method."""
        declared = method.declared
        said: dict[str, Any] = {
            "name": method.name,
            "options": {name: str(value) for name, value in options_of(method).items()},
            "needs": list(declared.needs),
            "limits": declared.limits,
        }
        try:
            found = self._counted(score(self.setup, method, self.task, self.config.cache))
        except AttributionError as fault:
            return {**said, "skipped": str(fault)}
        said |= {
            "seconds": found.seconds,
            "cpu_seconds": found.cpu_seconds,
            "passes": found.cpu_seconds / self.pass_seconds,
            "stored_bytes": found.stored_bytes,
            "notes": found.notes,
            **asdict(evaluate(found.scores, self.truth)),
            "positive_totals": float((found.scores.sum(axis=1) > 0).mean()),
        }
        if "documents" in said["per_query"]:
            said["covered_percent"] = covered_percent(said["per_query"]["documents"])
        if self.config.ends and declared.along_path:
            end = self._counted(end_scores(self.setup, method, self.task, self.config.cache))
            said["end"] = asdict(evaluate(end.scores, self.truth))
        if self.config.patch is not None:
            said["tail_patch"] = self._patch(found.scores)
        if self.top is not None and (not self.config.top_of or method.name in self.config.top_of):
            said["top_removal"] = self.top.of_scores(found.scores)
            self.spent |= self.top.spent
        return said | self._probed(method, said["passes"])

    def shared(self) -> None:
        """Make what several rows read, so that no two processes make it."""
        self.controls()
        if self.top is not None:
            self.top.controls()

    def controls(self) -> dict[str, Any]:
        """Return what is measured without any method."""
        found: dict[str, Any] = {}
        if self.config.patch is not None:
            found["tail_patch_random"] = self._patch(None)
        return found

    def _probe(self) -> ProbeCorpus:
        decoys = []
        if self.setup.decoys_file is not None:
            tokenizer = self.task.model.tokenizer
            decoys = [
                encode_document(row, tokenizer) for row in read_corpus(self.setup.decoys_file)
            ]
        path = self.config.cache / f"probe-{self.setup.corpus.digest[:12]}-{len(decoys)}.jsonl"
        return probe_corpus(self.setup.corpus, self.task.documents_encoded, decoys, path)

    def _probed(self, method: Method, passes: float) -> dict[str, Any]:
        """Score the corpus with decoys and tricks; a method bound to the recipe's corpus cannot."""
        if self.probe is None:
            return {}
        if self.config.probe_of and method.name not in self.config.probe_of:
            reason = f"asked were probes of {', '.join(self.config.probe_of)} alone"
            return {"gains": None, "decoys": None, "probe_skipped": reason}
        if passes > self.config.probe_limit:
            reason = f"{passes:.0f} passes are above the limit of {self.config.probe_limit:g}"
            return {"gains": None, "decoys": None, "probe_skipped": reason}
        task = replace(self.task, corpus=self.probe.corpus)
        try:
            found = self._counted(score(self.setup, method, task, self.config.cache)).scores
        except AttributionError as fault:
            return {"gains": None, "decoys": None, "probe_skipped": str(fault)}
        tokens = np.asarray([float(row.scored) for row in task.documents_encoded])
        level = decoys_of(found, self.probe, tokens)
        return {
            "gains": gains(found, self.probe),
            "decoys": asdict(level) if level is not None else None,
        }

    def _patch(self, scores: Nats | None) -> dict[str, float]:
        """Measure the tail-patch, or read what it gave for the same scores before."""
        assert self.config.patch is not None
        said = {
            "patch": asdict(self.config.patch),
            "scores": None if scores is None else sha256_of(scores.tobytes()),
            "model": self.task.model.digest,
        }
        path = self.config.cache / f"patch-{sha256_of(canonical_json(said))[:16]}.json"
        if not path.exists():
            begun = time.perf_counter()
            with deterministic(self.config.seed, torch.get_num_threads()):
                interval = tail_patch(
                    self.task.model.model,
                    scores,
                    self.task.documents_encoded,
                    self.task.queries_encoded,
                    self.context,
                    self.config.patch,
                )
            spent = {"seconds": time.perf_counter() - begun}
            write_atomically(path, canonical_json(asdict(interval) | spent))
        found: dict[str, float] = json.loads(path.read_bytes())
        self.spent[path.name] = found.pop("seconds", 0.0)
        return found

    def _one_pass(self) -> float:
        """Measure one plain forward and backward pass over the corpus, in processor seconds."""
        path = self.config.cache / f"pass-{self.task.model.digest[:12]}.json"
        if not path.exists():
            model = load_model(self.setup.model).model
            rows = encode_corpus(
                self.setup.corpus.documents, self.task.model.tokenizer, self.context
            )
            begun = time.process_time()
            for place in range(0, len(rows), 16):
                batch = [piece for row in rows[place : place + 16] for piece in row]
                if batch:
                    model.zero_grad(set_to_none=True)
                    summed_loss(model, batch).sum().backward()  # type: ignore[no-untyped-call]
            write_atomically(path, canonical_json({"seconds": time.process_time() - begun}))
        said: Mapping[str, float] = json.loads(path.read_bytes())
        return said["seconds"]
