"""Train a small language model from scratch, so that every step can be replayed.

1. A document is one training sequence: padded and masked beside others, never
   packed with them, so that its gradient is its own. A document longer than the
   context is cut into windows (attribution.tokens, rule 4) that stay together.
2. The same corpus, configuration and machine give the same bytes: the seed draws
   the weights and the order, the algorithms are deterministic, the number of
   threads is part of the recipe.
3. The weights are kept at the start, at the end and between, with the recipe;
   the model's folder appears when all of it is there, not before.
4. The steps themselves are attribution.replay's, so that a replay is the same run.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from attribution.corpus import Corpus
from attribution.errors import TrainingError
from attribution.files import folder_when_complete, sha256_file
from attribution.model import model_digest
from attribution.recipe import Optimizer, Recipe, save_recipe
from attribution.replay import Progress, Trace, deterministic, encode_corpus, run_steps
from attribution.tokens import Encoded, unscorable

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class TrainConfig:
    """Size and schedule of a training run.

    Attributes:
        layers, width, heads: shape of the GPT-2 style model; heads divides width.
        context: most tokens read at once.
        vocab: tokens of the byte-level BPE, at least 257 (the bytes and the end).
        epochs: times each document is read.
        batch: documents a step.
        lr: peak learning rate; rises over the first tenth of the steps, then
            falls along a cosine to a tenth of the peak.
        seed: draws the starting weights and the order of the documents.
        checkpoints: how many weights are kept, start and end among them; closer
            together at the start, where training changes most.
        threads: CPU threads of the run, part of the recipe.
        optimizer: AdamW's constants.
    """

    layers: int = 2
    width: int = 128
    heads: int = 4
    context: int = 256
    vocab: int = 2048
    epochs: int = 3
    batch: int = 8
    lr: float = 3e-3
    seed: int = 20261122
    checkpoints: int = 5
    threads: int = 2
    optimizer: Optimizer = field(default_factory=Optimizer)

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "epochs", "batch", "threads"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise TrainingError(f"heads must divide width: {self.width} % {self.heads} != 0")
        if self.vocab <= 256:
            raise TrainingError(f"vocab must be above 256 (all bytes), got {self.vocab}")
        if self.context < 8:
            raise TrainingError(f"context must be at least 8 tokens, got {self.context}")
        if self.checkpoints < 2:
            raise TrainingError(f"checkpoints must be >= 2 (start, end), got {self.checkpoints}")
        if self.lr <= 0:
            raise TrainingError(f"lr must be positive, got {self.lr}")


@dataclass(frozen=True)
class TrainResult:
    """What a training run left behind.

    Attributes:
        folder: the model's folder.
        digest: of the final model.
        checkpoints: folders of the kept weights, oldest first.
        first_loss, last_loss: mean training loss per token over the first and
            the last twentieth of the steps, in nats.
        tokens: scored tokens of one epoch.
        parameters: of the model.
        unscorable: documents with nothing to score, by id; kept, never trained.
    """

    folder: Path
    digest: str
    checkpoints: tuple[Path, ...]
    first_loss: float
    last_loss: float
    tokens: int
    parameters: int
    unscorable: tuple[str, ...]


def train_tokenizer(texts: Sequence[str], vocab: int) -> Any:
    """Train a byte-level BPE tokenizer; bos, eos and pad are one token, id 0."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def train(
    corpus: Corpus, out_dir: Path, config: TrainConfig, progress: Progress | None = None
) -> TrainResult:
    """Train a tokenizer and a model from scratch and save them with their recipe.

    Args:
        corpus: documents with text.
        out_dir: the model's folder; appears when complete, replaces an older one.
        config: size and schedule.
        progress: called after every step with (step, steps, mean loss in nats).

    Raises:
        TrainingError: a document has no text, or no document has two tokens.
    """
    without_text = [document.document_id for document in corpus if document.text is None]
    if without_text:
        raise TrainingError(
            f"{len(without_text)} documents have no text ({without_text[0]} first); a tokenizer "
            f"cannot be trained from token ids. Nothing was trained"
        )
    tokenizer = train_tokenizer([document.text or "" for document in corpus], config.vocab)
    rows = encode_corpus(corpus.documents, tokenizer, config.context)
    with deterministic(config.seed, config.threads):
        model = GPT2LMHeadModel(_shape(config, len(tokenizer)))
        recipe = _plan(corpus, rows, config)
        with _disk_full_named(out_dir), folder_when_complete(Path(out_dir)) as building:
            trace = Trace(recipe)
            for step, optimizer in run_steps(model, rows, recipe, trace, progress):
                if step in recipe.checkpoints:
                    _keep(building / "checkpoints" / f"step-{step:06d}", model, optimizer)
            model.save_pretrained(building)
            tokenizer.save_pretrained(building)
            save_recipe(building, trace.finished(), _notes(building, config))
    return _result(Path(out_dir), corpus, rows, trace, model)


@contextmanager
def _disk_full_named(folder: Path) -> Iterator[None]:
    """Turn the weights library's own error for a full disk into the usual one."""
    try:
        yield
    except SafetensorError as fault:
        if f"os error {errno.ENOSPC}" not in str(fault):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from fault


def _shape(config: TrainConfig, vocab: int) -> GPT2Config:
    return GPT2Config(
        vocab_size=vocab,
        n_positions=config.context,
        n_embd=config.width,
        n_layer=config.layers,
        n_head=config.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        activation_function="gelu_pytorch_tanh",
        bos_token_id=0,
        eos_token_id=0,
    )


def _order(lengths: Sequence[int], batch: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Draw the order of one epoch: documents of like length meet in a batch, to pad less.

    Documents are shuffled, dealt into pools of eight batches, sorted by length in
    their pool, cut into batches, and the batches of a pool shuffled again.
    """
    shuffled = draw.permutation(len(lengths))
    order: list[int] = []
    for begin in range(0, len(shuffled), 8 * batch):
        pool = sorted(shuffled[begin : begin + 8 * batch], key=lambda place: lengths[place])
        batches = [pool[start : start + batch] for start in range(0, len(pool), batch)]
        # The short batch, if there is one, must stay the last of the epoch.
        short = [batches.pop()] if len(batches[-1]) < batch else []
        for place in draw.permutation(len(batches)):
            order += batches[place]
        order += [place for rest in short for place in rest]
    return np.asarray(order, dtype=np.int64)


def _plan(corpus: Corpus, rows: Sequence[Sequence[Encoded]], config: TrainConfig) -> Recipe:
    generator = np.random.Generator(np.random.PCG64(config.seed))
    lengths = [max((len(window.input_ids) for window in row), default=0) for row in rows]
    order = np.stack([_order(lengths, config.batch, generator) for _ in range(config.epochs)])
    steps = config.epochs * math.ceil(len(corpus) / config.batch)
    warm_up = max(1, steps // 10)
    rates = []
    for step in range(1, steps + 1):
        rise = min(1.0, step / warm_up)
        along = max(0.0, (step - warm_up) / max(1, steps - warm_up))
        rates.append(config.lr * rise * (0.1 + 0.45 * (1 + math.cos(math.pi * along))))
    last = config.checkpoints - 1
    marks = {round(steps * (place / last) ** 1.5) for place in range(config.checkpoints)}
    return Recipe(
        optimizer=config.optimizer,
        batch_size=config.batch,
        order=order,
        lr=np.asarray(rates),
        checkpoints=tuple(sorted(marks)),
        context=config.context,
        seed=config.seed,
        threads=config.threads,
        corpus_digest=corpus.digest,
    )


def _keep(folder: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Save the weights of one step, with Adam's second moments once there are any."""
    model.save_pretrained(folder)
    moments = {
        name: optimizer.state[parameter]["exp_avg_sq"].contiguous()
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
    }
    if moments:
        save_file(moments, folder / "exp_avg_sq.safetensors", metadata={"format": "pt"})


def _notes(folder: Path, config: TrainConfig) -> dict[str, Any]:
    return {
        "config": asdict(config),
        "document_form": "bos text eos",
        "inputs": {
            "model": model_digest(folder),
            "start": model_digest(folder / "checkpoints" / "step-000000"),
            "tokenizer": sha256_file(folder / "tokenizer.json"),
        },
        "versions": {
            "numpy": np.__version__,
            "tokenizers": tokenizers.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _result(
    folder: Path, corpus: Corpus, rows: list[list[Encoded]], trace: Trace, model: Any
) -> TrainResult:
    edge = max(1, len(trace.losses) // 20)
    flat = [row[0] if row else Encoded((), 1) for row in rows]
    return TrainResult(
        folder=folder,
        digest=model_digest(folder),
        checkpoints=tuple(
            folder / "checkpoints" / f"step-{step:06d}" for step in trace.recipe.checkpoints
        ),
        first_loss=float(np.mean(trace.losses[:edge])),
        last_loss=float(np.mean(trace.losses[-edge:])),
        tokens=sum(window.scored for row in rows for window in row),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        unscorable=tuple(corpus.documents[place].document_id for place in unscorable(flat)),
    )
