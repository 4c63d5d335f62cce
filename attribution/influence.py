"""Influence of training documents on outputs, summed along the training path.

    influence[q, n] = scale * sum_k w_k  q_k[q] · inverse_k · rows_k[n]

with q_k the projected gradient of the output's summed loss at checkpoint k.
Positive influence means that training on the document made the output likelier.

1. Checkpoints are added oldest first, in float64; chunks are read in row order.
2. Scores do not depend on which outputs are scored together, beyond float rounding.
3. The models must be the ones the index was built from: weights are compared by digest.
4. An output with nothing to score, or with a loss that is not finite, scores zero
   everywhere and is listed.
5. Sums of floats depend on how many threads share them. Scoring runs on one, so that
   `trace`, a night's shard and every machine of a kind give the same numbers; speed
   comes from shards.

Axes: Q outputs, N documents or G groups, D numbers of a row, K checkpoints.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution.batches import collate, plan
from attribution.corpus_file import CorpusFile
from attribution.device import find_device, within_memory
from attribution.errors import IndexMismatchError
from attribution.gradients import LossModel, backward, recording
from attribution.index_config import weights_digest
from attribution.index_read import GradientIndex
from attribution.model import LoadedModel, load_model
from attribution.recorders import RowRecorder
from attribution.tokens import Encoded

TOKEN_BUDGET = 4096
SCORING_THREADS = 1
_GROUP_ROWS = 512


@dataclass(frozen=True)
class Scores:
    """Influence of everything on some outputs.

    Attributes:
        influence: [Q, X], float64, nats; X in the order of the index's groups or rows.
        losses: [K, Q], float64, summed loss of each output at each checkpoint, nats.
    """

    influence: Tensor
    losses: Tensor

    @property
    def gains(self) -> Tensor:
        """What training gained for each output, [Q], float64, nats: loss(start) - loss(end)."""
        return self.losses[0] - self.losses[-1]


@contextlib.contextmanager
def pinned_threads(threads: int) -> Iterator[None]:
    """Give torch a stated number of threads, and put it back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Attributor:
    """An index and the models of its path, loaded once and kept.

    Attributes:
        index: the index that is scored with.
        threads: how many threads scoring runs on (rule 5).
        device: where its models run; rows are multiplied on the processor.
    """

    def __init__(
        self,
        index: GradientIndex,
        *,
        folders: Sequence[Path] | None = None,
        models: Attributor | None = None,
        threads: int = SCORING_THREADS,
        device: str | torch.device = "cpu",
    ) -> None:
        """Open.

        Args:
            index: a finished index.
            folders: where the checkpoints are, if not where the build had them.
            models: an attributor of the same path whose loaded models are shared.
            threads: see `SCORING_THREADS`.
            device: see `device.find_device`; with `models` it is theirs.

        Raises:
            DeviceError: there is no such device.
        """
        self.index, self.threads = index, threads
        self.device: torch.device = find_device(device) if models is None else models.device
        self._folders = list(folders) if folders is not None else index.model_folders()
        self._final_folder = index.model_folder()
        self._models: dict[int, LossModel] = {}
        self._final: LoadedModel | None = None
        if models is not None:
            self._folders, self._models = models._folders, models._models  # noqa: SLF001
            self._final = models.final

    @property
    def final(self) -> LoadedModel:
        """The final model, with its tokenizer where it has one."""
        if self._final is None:
            self._final = load_model(self._final_folder, device=self.device)
        return self._final

    @cached_property
    def corpus(self) -> CorpusFile | None:
        """The corpus, where it is still the one that was indexed."""
        path = self.index.corpus_file()
        if path is None or not path.is_file():
            return None
        corpus = CorpusFile(path)
        wanted = self.index.manifest.content["inputs"]["corpus"]
        return corpus if corpus.digest == wanted else None

    def text_of(self, document_id: str) -> str | None:
        """Return a document's text, where the corpus is at hand and has it as text."""
        if self.corpus is None:
            return None
        try:
            return self.corpus[self.corpus.place_of(document_id)].text
        except KeyError:
            return None  # Added after the build: its text is in another file.

    @property
    def tokenizer(self) -> Any | None:
        """The tokenizer of the final model."""
        return self.final.tokenizer

    def model(self, checkpoint: int) -> LossModel:
        """Return the model of a checkpoint (rule 3)."""
        if checkpoint not in self._models:
            folder = self._folders[checkpoint]
            wanted = self.index.manifest.content["checkpoints"][checkpoint]["weights_sha256"]
            found = weights_digest(folder)
            if found != wanted:
                raise IndexMismatchError(
                    f"{folder} has weights {found[:12]}… but the index was built at "
                    f"{wanted[:12]}…; scores would be noise. Give the "
                    f"checkpoint the index was built from, or rebuild the index"
                )
            last = checkpoint == self.index.manifest.checkpoints - 1
            loaded = self.final if last else load_model(folder, device=self.device)
            self._models[checkpoint] = LossModel(loaded.model)
        return self._models[checkpoint]

    def rows(self, checkpoint: int, encoded: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
        """Return projected gradients [Q, D], float32, and losses [Q], float64, of outputs."""
        model = self.model(checkpoint)
        recorder = RowRecorder(self.index.layers, self.index.basis(checkpoint), model.device)
        rows = torch.zeros(len(encoded), recorder.width)
        losses = torch.zeros(len(encoded), dtype=torch.float64)
        context = self.final.context
        with (
            within_memory(self.device, None),
            recording(model.model, self.index.layers, recorder),
        ):
            for members in plan(encoded, context, TOKEN_BUDGET):
                batch = collate(encoded, members, context)
                recorder.start(batch)
                losses[members] = backward(model, batch, recorder=recorder)
                rows[members] = recorder.rows.cpu()
        rows[~(rows.isfinite().all(1) & losses.isfinite())] = 0.0
        return rows, losses

    def groups(
        self, encoded: Sequence[Encoded], progress: Callable[[int, int], None] | None = None
    ) -> Scores:
        """Score every group: [Q, G] in the order of `index.groups`."""
        influence = torch.zeros(len(encoded), self.index.groups.height, dtype=torch.float64)
        with pinned_threads(self.threads):
            queries, losses = self.queries(encoded, progress)
            for part, block in self.group_blocks(queries):
                influence[:, part] = block
        influence[~losses.isfinite().all(0)] = 0.0
        return Scores(influence, losses)

    def group_blocks(self, queries: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor]]:
        """Score every group, a block of groups at a time; memory does not grow with groups.

        Args:
            queries: per checkpoint [Q, D], float32, as `queries` made them.

        Yields:
            (groups, [Q, block], float64), in the order of `index.groups`.
        """
        index = self.index
        rows = [partial(index.group_rows, k) for k in range(index.manifest.checkpoints)]
        return score_blocks(queries, rows, index.groups.height)

    def queries(
        self, encoded: Sequence[Encoded], progress: Callable[[int, int], None] | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the preconditioned rows of outputs, [Q, D] float32 per checkpoint, and losses.

        They are scaled and weighted, so that influence is the sum over the checkpoints of
        their products with stored rows. Losses are [K, Q], float64.
        """
        manifest, scale = self.index.manifest, self.index.preconditioner.scale
        losses = torch.zeros(manifest.checkpoints, len(encoded), dtype=torch.float64)
        made = []
        for k, weight in enumerate(manifest.path_weights):
            rows, losses[k] = self.rows(k, encoded)
            made.append((rows.double() * (self.index.inverse(k) * weight * scale)).float())
            if progress is not None:
                progress(k + 1, manifest.checkpoints)
        return made, losses

    def documents(
        self, encoded: Sequence[Encoded], progress: Callable[[int, int], None] | None = None
    ) -> Scores:
        """Score every document: [Q, N] in the order of `index.documents`; dead ones get zero."""
        influence = torch.zeros(len(encoded), self.index.documents.height, dtype=torch.float64)
        with pinned_threads(self.threads):
            queries, losses = self.queries(encoded, progress)
            for rows, block in self.document_blocks(queries):
                influence[:, rows] += block
        influence[~losses.isfinite().all(0)] = 0.0
        dead = torch.from_numpy((~self.index.documents["alive"]).to_numpy().copy())
        influence[:, dead] = 0.0
        return Scores(influence, losses)

    def document_blocks(self, queries: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor]]:
        """Score stored rows a chunk at a time, checkpoint after checkpoint.

        Args:
            queries: per checkpoint [Q, D], float32, as `queries` made them.

        Yields:
            (rows, [Q, chunk], float64): one checkpoint's part; the parts of a row add up.
        """
        for k, part in enumerate(queries):
            codec = self.index.codec(k)
            folded = codec.fold(part)
            for first, stored in self.index.stored(k):
                yield slice(first, first + len(stored)), codec.dot(stored, folded).T.double()


def score_blocks(
    queries: Sequence[Tensor], rows: Sequence[Callable[[slice], Tensor]], count: int
) -> Iterator[tuple[slice, Tensor]]:
    """Multiply queries with rows, a block of rows at a time, summed over checkpoints.

    Args:
        queries: per checkpoint [Q, D], float32.
        rows: per checkpoint what returns a block of rows, [block, D], float32; it is
            asked for each block once and lets go of it, mapped pages included.
        count: of rows.

    Yields:
        (rows, [Q, block], float64): checkpoints are added in their order (rule 1).
    """
    assert len(queries) == len(rows), (len(queries), len(rows))
    for begin in range(0, count, _GROUP_ROWS):
        part = slice(begin, min(begin + _GROUP_ROWS, count))
        block = torch.zeros(len(queries[0]), part.stop - begin, dtype=torch.float64)
        for one, take in zip(queries, rows, strict=True):
            block += (one @ take(part).T).double()
        yield part, block


def exact_scores(index: GradientIndex, queries: Sequence[Tensor], rows: np.ndarray) -> Tensor:
    """Return influence [Q, n], float64, of some rows: what scoring all documents gives them.

    Args:
        index: open.
        queries: per checkpoint [Q, D], as `Attributor.queries` made them.
        rows: [n], rising row numbers.
    """
    out = torch.zeros(len(queries[0]), len(rows), dtype=torch.float64)
    for k, part in enumerate(queries):
        codec = index.codec(k)
        out += codec.dot(index.take(k, rows), codec.fold(part)).T.double()
    return out


def nanonats(influence: Tensor) -> np.ndarray:
    """Quantise influence to whole nanonats, half to even: what the ledger is fed with.

    Args:
        influence: any shape, float64, nats.

    Returns:
        The same shape, int64.
    """
    return np.rint(influence.numpy() * 1e9).astype(np.int64)
