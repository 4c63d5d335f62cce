"""The truth by retraining: what an output loses when documents are left out.

A retrain replays the recipe (attribution.replay) without some documents,
everything else equal, and measures the loss of every query. One file a retrain:

    doc-007.npz      a random half of the documents was kept
    creator-007.npz  each creator was kept or left out by the toss of a coin
    kernel-007.npz   a coalition of creators whose size follows the Shapley kernel
    drop-007.npz     a few random documents were left out (2 % unless told otherwise)
    loco-007.npz     creator 7 (in the order of first appearance) was left out
    base-000.npz     nobody was left out
    loco5-007.npz    the same with the documents in another order, drawn by seed 5

1. A file holds `mask` [N] (True = kept), `loss` [Q] (mean nats per scored token)
   and `seconds`; it is written whole and never made twice.
2. `truth.json` names the digest of everything the losses depend on. A folder made
   from anything else is refused, so that two truths never mix.
3. Any retrain may be made alone, by any worker, in any order.
4. More retrains of a kind continue the same draws, so a truth can be extended.

Axes: Q queries, N documents, R retrains, C creators (or works).
"""

from __future__ import annotations

import io
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.corpus import Corpus
from attribution.errors import RecipeError
from attribution.evaluation.semivalues import kernel_sizes
from attribution.evaluation.truth import Truth, load_truth
from attribution.files import canonical_json, sha256_of, write_atomically
from attribution.model import load_model, model_digest
from attribution.recipe import Recipe, load_recipe
from attribution.replay import deterministic, encode_corpus, retrain, summed_loss
from attribution.tokens import Encoded, windows

FORMAT = "byline-truth/1"
KINDS = ("base", "loco", "creator", "doc")
# The place in this list is part of the key of the draws.
_DRAWN = (*KINDS, "drop", "kernel")


@dataclass(frozen=True)
class TruthPlan:
    """Which retrains make a truth.

    Attributes:
        halves: retrains on random halves of the documents.
        coalitions: retrains on random coalitions of the creators; the coalition
            truth wants about three times as many as there are creators.
        drops: retrains with a few random documents left out.
        kernels: retrains on coalitions as Shapley values need them.
        drop_share: how many those are, as a share of the documents.
        removals: each creator left out alone.
        orders: seeds of further orders of the documents; each repeats `repeated`.
        repeated: kinds that further orders repeat.
        seed: draws what is kept.
    """

    halves: int = 40
    coalitions: int = 120
    drops: int = 0
    kernels: int = 0
    drop_share: float = 0.02
    removals: bool = True
    orders: tuple[int, ...] = ()
    repeated: tuple[str, ...] = ("base", "loco")
    seed: int = 0

    def count(self, kind: str) -> int:
        """Return how many retrains of a drawn kind are wanted."""
        counts = {
            "doc": self.halves,
            "creator": self.coalitions,
            "drop": self.drops,
            "kernel": self.kernels,
        }
        return counts.get(kind, 0)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds in the order in which they are made."""
        drawn = tuple(kind for kind in ("creator", "doc", "drop", "kernel") if self.count(kind))
        return ("base", *(("loco",) if self.removals else ()), *drawn)


@dataclass(frozen=True)
class Job:
    """One retrain: its file's name, the run to replay, and which documents it keeps."""

    name: str
    setup: RetrainSetup
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class RetrainSetup:
    """Everything a retrain depends on.

    Attributes:
        start: folder of the starting weights.
        rows: windows of every document, in corpus order.
        groups: creator of every document.
        recipe: the run to replay.
        queries: the outputs whose loss is measured.
    """

    start: Path
    rows: tuple[tuple[Encoded, ...], ...]
    groups: tuple[str, ...]
    recipe: Recipe
    queries: tuple[Encoded, ...]

    @cached_property
    def creators(self) -> tuple[str, ...]:
        """Every creator once, in the order of first appearance."""
        return tuple(dict.fromkeys(self.groups))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything the losses depend on."""
        recipe = self.recipe
        said = {
            "start": model_digest(self.start),
            "rows": [[[list(w.input_ids), w.prompt_length] for w in row] for row in self.rows],
            "groups": self.groups,
            "queries": [[list(row.input_ids), row.prompt_length] for row in self.queries],
            "order": recipe.order.tolist(),
            "lr": [float(rate).hex() for rate in recipe.lr],
            "batch": recipe.batch_size,
            "optimizer": repr(recipe.optimizer),
            "threads": recipe.threads,
        }
        return sha256_of(canonical_json(said))

    @property
    def tokens(self) -> NDArray[np.int64]:
        """[Q], scored tokens of each query."""
        return np.asarray([row.scored for row in self.queries], dtype=np.int64)

    def reordered(self, seed: int) -> RetrainSetup:
        """Return the same run with another order of the documents: a second truth."""
        draw = np.random.Generator(np.random.PCG64(seed))
        order = np.stack([draw.permutation(row) for row in self.recipe.order])
        return replace(self, recipe=replace(self.recipe, order=order))


def setup_of(
    model_dir: Path,
    corpus: Corpus,
    queries: Sequence[Encoded],
    *,
    start: Path | None = None,
    groups: Sequence[str] | None = None,
    recipe: Path | None = None,
) -> RetrainSetup:
    """Gather a retraining set-up from a model that was trained with a recipe.

    Args:
        model_dir: folder with `recipe.json`, and the starting weights in
            `checkpoints/step-000000` unless `start` is given.
        corpus: what it was trained on.
        queries: outputs to measure; longer than the context is cut into windows.
        start: folder of the starting weights.
        groups: creator of every document; its group_id when left out.
        recipe: folder of the recipe; the model's when left out.

    Raises:
        RecipeError: there is no recipe, or it names another corpus.
    """
    said = load_recipe(recipe or model_dir)
    if said.corpus_digest is not None and said.corpus_digest != corpus.digest:
        raise RecipeError(
            f"the recipe in {model_dir} was made with corpus {said.corpus_digest[:12]}..., this "
            f"is {corpus.digest[:12]}...; retraining would measure another run"
        )
    loaded = load_model(model_dir)
    context = said.context or loaded.context
    rows = encode_corpus(corpus.documents, loaded.tokenizer, context)
    return RetrainSetup(
        start=start or model_dir / "checkpoints" / "step-000000",
        rows=tuple(tuple(row) for row in rows),
        groups=tuple(groups if groups is not None else (row.group_id for row in corpus)),
        recipe=said,
        queries=tuple(queries),
    )


def masks(
    setup: RetrainSetup, kind: str, count: int, seed: int, drop_share: float = 0.02
) -> NDArray[np.bool_]:
    """Draw which documents each retrain keeps.

    Args:
        setup: the run.
        kind: "doc" (exactly half of the documents is kept), "drop" (all but a few
            are), "creator" (a coin for each), "kernel" (sizes by the Shapley kernel),
            "loco" or "base".
        count: retrains of the drawn kinds; the others have as many as they need.
        seed: draws what is kept.
        drop_share: share of the documents that "drop" leaves out, at least one.

    Returns:
        [R, N], True = kept.
    """
    documents, creators = len(setup.rows), len(setup.creators)
    place = {creator: number for number, creator in enumerate(setup.creators)}
    owner = np.asarray([place[group] for group in setup.groups])
    if kind == "base":
        return np.ones((1, documents), dtype=bool)
    if kind == "loco":
        return np.asarray(owner[None, :] != np.arange(creators)[:, None], dtype=bool)
    # The kind is part of the key, so that halves of documents and of creators are unrelated.
    draw = np.random.Generator(np.random.PCG64([seed, _DRAWN.index(kind)]))
    if kind == "creator":
        # A coin for each creator: with coalitions of one size the Banzhaf level is not seen.
        return np.stack([draw.random(creators) < 0.5 for _ in range(count)])[:, owner]
    if kind == "kernel":
        # One after the other, so that more coalitions continue the same draws.
        chance = kernel_sizes(creators)
        sizes = (
            (draw.choice(creators - 1, p=chance) + 1, draw.permutation(creators))
            for _ in range(count)
        )
        return np.stack([mixed < size for size, mixed in sizes])[:, owner]
    gone = max(1, round(drop_share * documents)) if kind == "drop" else documents - documents // 2
    kept = np.zeros((count, documents), dtype=bool)
    for row in kept:
        row[draw.permutation(documents)[: documents - gone]] = True
    return kept


def query_losses(setup: RetrainSetup, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Retrain on the masked corpus and measure every query.

    Returns:
        [Q], float64, summed nats of each query.
    """
    model = load_model(setup.start).model
    retrain(model, setup.rows, setup.recipe, without=np.flatnonzero(~mask).tolist())
    return losses_of(model, setup.queries, setup.recipe.context, setup.recipe.threads)


def losses_of(
    model: object, queries: Sequence[Encoded], context: int, threads: int | None
) -> NDArray[np.float64]:
    """Measure the summed loss of each query, in nats: [Q], float64."""
    losses = np.zeros(len(queries))
    with deterministic(0, threads or torch.get_num_threads()), torch.no_grad():
        for place, row in enumerate(queries):
            longest = context or max(4, len(row.input_ids))
            # One query at a time: its loss must not depend on its neighbours' lengths.
            pieces = windows(row, longest)
            losses[place] = sum(float(summed_loss(model, [piece]).sum()) for piece in pieces)
    return losses


def jobs_of(setup: RetrainSetup, plan: TruthPlan) -> list[Job]:
    """List the retrains of a plan, in the order in which they are made."""
    jobs = []
    for order in (None, *plan.orders):
        run = setup if order is None else setup.reordered(order)
        kinds = [k for k in plan.kinds if order is None or k in plan.repeated]
        for kind in kinds:
            drawn = masks(setup, kind, plan.count(kind), plan.seed, plan.drop_share)
            name = kind if order is None else f"{kind}{order}"
            jobs += [Job(f"{name}-{n:03d}", run, mask) for n, mask in enumerate(drawn)]
    return jobs


def build_truth(
    setup: RetrainSetup,
    folder: Path,
    plan: TruthPlan,
    *,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Truth:
    """Make the retrains that are still missing, and read all of them.

    Args:
        setup: the run.
        folder: gets one file a retrain; what is there already is kept, so that a
            build that was killed goes on where it stopped.
        plan: which retrains.
        processes: retrains made at the same time, each on the recipe's threads.
        progress: called with (retrains there, retrains in all).

    Raises:
        RecipeError: the folder holds retrains of another set-up, or of other draws.
    """
    claim(setup, folder, plan.seed)
    jobs = jobs_of(setup, plan)
    missing = [job for job in jobs if not _there(folder, job)]
    done = len(jobs) - len(missing)
    for _ in _made(folder, missing, processes):
        done += 1
        if progress is not None:
            progress(done, len(jobs))
    return load_truth([folder], setup.groups, setup.tokens.tolist())


def _made(folder: Path, jobs: Sequence[Job], processes: int) -> Iterator[Path]:
    """Make the retrains and yield the path of each when it is there."""
    if processes <= 1:
        for job in jobs:
            yield make_one(job, folder)
        return
    # Spawned, because a forked child inherits torch's threads in a state it cannot use.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for done in as_completed([pool.submit(make_one, job, folder) for job in jobs]):
            yield done.result()


def make_one(job: Job, folder: Path) -> Path:
    """Make one retrain unless it is there; safe to run twice and beside others.

    Raises:
        RecipeError: a retrain of this name kept other documents.
    """
    path = folder / f"{job.name}.npz"
    if _there(folder, job):
        return path
    begun = time.perf_counter()
    losses = query_losses(job.setup, job.mask) / np.maximum(job.setup.tokens, 1)
    stream = io.BytesIO()
    np.savez(stream, mask=job.mask, loss=losses, seconds=np.asarray(time.perf_counter() - begun))
    write_atomically(path, stream.getvalue())
    return path


def _there(folder: Path, job: Job) -> bool:
    path = folder / f"{job.name}.npz"
    if not path.exists():
        return False
    with np.load(path) as archive:
        same = np.array_equal(archive["mask"], job.mask)
    if not same:
        raise RecipeError(
            f"{path} kept other documents than this plan wants; it was drawn with another seed "
            f"or another drop_share. Use another folder"
        )
    return True


def claim(setup: RetrainSetup, folder: Path, seed: int) -> None:
    """Write the folder's `truth.json`, or refuse a folder of another set-up.

    Raises:
        RecipeError: the folder holds retrains of another set-up or seed.
    """
    said = canonical_json(
        {
            "format": FORMAT,
            "inputs": {"setup": setup.digest},
            "seed": seed,
            "creators": list(setup.creators),
            "tokens": setup.tokens.tolist(),
        }
    )
    path = folder / "truth.json"
    if path.exists() and path.read_bytes() != said:
        raise RecipeError(
            f"{folder} holds retrains of another model, corpus, queries or seed than set-up "
            f"{setup.digest[:12]}...; mixing them would be noise. Use another folder"
        )
    if not path.exists():
        write_atomically(path, said)
