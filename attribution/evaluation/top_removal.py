"""Top-k removal: train again without the k documents a method ranks first.

The k documents with the largest summed scores over all outputs are left out, the
run is replayed, and the outputs' losses are compared with those of the full run:
a method that finds what mattered makes them rise. Two controls leave out as many:

    random   any k documents
    same     for each of the k, another document of the same creator

Each retrain is kept under the digest of the run and of what it left out.
"""

from __future__ import annotations

import io
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.evaluation.lds import bootstrap
from attribution.evaluation.removal import RetrainSetup, query_losses
from attribution.evaluation.setup import EvaluationSetup
from attribution.files import sha256_of, write_atomically

Nats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def losses_without(
    run: RetrainSetup, mask: Mask, cache: Path, spent: dict[str, float] | None = None
) -> Nats:
    """Return [Q] summed nats after training on the masked corpus, made once and kept.

    Args:
        run: what is replayed.
        mask: [N], True = kept.
        cache: folder of the outcomes.
        spent: gets file -> seconds that the retrain took when it was made, where given.
    """
    name = sha256_of(run.digest.encode() + np.packbits(mask).tobytes())[:16]
    path = cache / f"kept_{name}.npz"
    if not path.exists():
        begun = time.perf_counter()
        loss = query_losses(run, mask)
        stream = io.BytesIO()
        np.savez(stream, mask=mask, loss=loss, seconds=np.asarray(time.perf_counter() - begun))
        write_atomically(path, stream.getvalue())
    with np.load(path) as archive:
        if spent is not None:
            spent[path.name] = float(archive["seconds"]) if "seconds" in archive else 0.0
        return np.asarray(archive["loss"], dtype=np.float64)


class TopRemoval:
    """Retrains without the best documents, with their controls."""

    def __init__(self, setup: EvaluationSetup, cache: Path, count: int) -> None:
        self.run = setup.retrains()
        self.cache, self.count = cache, count
        self.spent: dict[str, float] = {}

    @cached_property
    def full(self) -> Nats:
        """[Q], losses with everybody."""
        return losses_without(
            self.run, np.ones(len(self.run.rows), dtype=bool), self.cache, self.spent
        )

    def controls(self) -> None:
        """Make the retrains that every method is compared with."""
        assert self.full.size
        self._without(self.random())

    def of_scores(self, scores: Nats) -> dict[str, Any]:
        """Return control -> mean rise of the loss in nats a query, with its interval.

        Args:
            scores: [Q, N], positive = helped.
        """
        best = np.argsort(-scores.sum(axis=0), kind="stable")[: self.count]
        chosen = {"top": best, "random": self.random(), "same": self.same(best)}
        found = {}
        for name, places in chosen.items():
            rise = bootstrap(list(self._without(places) - self.full))
            found[name] = {"mean": rise.mean, "low": rise.low, "high": rise.high}
        return found

    def _without(self, places: NDArray[np.int64]) -> Nats:
        mask = np.ones(len(self.run.rows), dtype=bool)
        mask[places] = False
        return losses_without(self.run, mask, self.cache, self.spent)

    def random(self) -> NDArray[np.int64]:
        """Draw as many documents, the same for every method."""
        draw = np.random.default_rng(0)
        return draw.permutation(len(self.run.rows))[: self.count]

    def same(self, best: NDArray[np.int64]) -> NDArray[np.int64]:
        """Choose for each document another of its creator, or any other where none is left."""
        draw = np.random.default_rng(1)
        left = [int(place) for place in draw.permutation(len(self.run.rows))]
        taken = set(best.tolist())
        chosen = []
        for place in best:
            groups = self.run.groups
            free = [other for other in left if other not in taken]
            own = [other for other in free if groups[other] == groups[int(place)]]
            other = (own or free)[0]
            taken.add(other)
            chosen.append(other)
        return np.asarray(chosen, dtype=np.int64)
