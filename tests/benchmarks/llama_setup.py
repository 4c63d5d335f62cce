"""A second set-up that this benchmark trains itself: Llama class, from text every machine has.

    corpus/       passages of installed packages' documentation, as harvested
    documents.jsonl  those trained on, each package a creator
    base/         a small Llama pretrained on the standard library's docstrings
    model/        fine-tuned on the passages, with its recipe and six checkpoints
    queries.jsonl outputs sampled from model/ after openings of passages it never saw
    truth/        retrains without some documents (tests.benchmarks.llama_truth)

1. Nothing is downloaded. The folder's name is the digest of the settings; the text is
   harvested once and kept, so an upgraded package changes nothing. Delete the folder to
   build anew.
2. Each part is made once and found again; a half-made part is never taken for a whole one.
3. The default layers were not chosen on this set-up; the head's damping and the path weights
   were compared on it and on the other one.
"""

from __future__ import annotations

import ast
import math
import os
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from attribution.corpus import Corpus, Document, Query, read_corpus, read_queries, write_corpus
from attribution.files import canonical_json, folder_when_complete, sha256_of, write_atomically
from attribution.generation import Sampling, generate
from attribution.model import load_tokenizer
from attribution.recipe import Optimizer, Recipe, save_recipe
from attribution.replay import Trace, deterministic, encode_corpus, run_steps
from attribution.tokens import encode_output
from attribution.training import train_tokenizer
from flows.demo.harvest import HarvestLimits, harvest
from flows.demo.harvest_passages import draw, passages
from flows.demo.harvest_prose import prose
from flows.demo.prompts import openings

FORMAT = "byline-bench-llama/1"
LIMITS = HarvestLimits(
    creators_min=30,
    creators=36,
    passages_min=500,
    passages=1500,
    package_max=48,
    words_min=24,
    words_target=34,
    words_max=44,
)
CONTEXT = 96
# Catalogues of very different size, as catalogues are: creators take these in turn.
SIZES = (5, 9, 14, 20, 28, 42)
CREATORS = 36
_STDLIB_BYTES = 6_000_000


@dataclass(frozen=True)
class Run:
    """One training run: epochs over documents in batches, a peak rate, checkpoints kept."""

    epochs: int
    batch: int
    rate: float
    marks: tuple[float, ...]


@dataclass(frozen=True)
class LlamaSettings:
    """Everything that decides the set-up but the installed text.

    Attributes:
        vocab, width, inner, layers, heads, key_heads: shape of the model; the head is not tied.
        base, tune: the two training runs.
        queries: outputs sampled.
        seed: of weights, orders and outputs.
    """

    vocab: int = 1536
    width: int = 96
    inner: int = 256
    layers: int = 3
    heads: int = 4
    key_heads: int = 2
    base: Run = Run(2, 16, 3e-3, (0.0, 1.0))
    tune: Run = Run(3, 16, 8e-4, (0.0, 0.12, 0.25, 0.5, 0.75, 1.0))
    queries: int = 40
    seed: int = 20261122


@dataclass(frozen=True)
class LlamaSetup:
    """The set-up on disk.

    Attributes:
        folder: holds everything.
        model: the final model, with its recipe.
        checkpoints: folder of each kept step, oldest first, by step; the last is the final one.
        corpus: the documents in file order; group_id is the creator.
        queries: the outputs.
    """

    folder: Path
    model: Path
    checkpoints: dict[int, Path]
    corpus: Corpus
    queries: tuple[Query, ...]


def cache_root() -> Path:
    """Where set-ups are kept: BYLINE_BENCH_CACHE, else the user's cache folder."""
    named = os.environ.get("BYLINE_BENCH_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else home / "byline-bench"


def folder_of(root: Path, settings: LlamaSettings) -> Path:
    """Return the folder of these settings (rule 1)."""
    said = {
        "format": FORMAT,
        "limits": asdict(LIMITS),
        "settings": asdict(settings),
        "sizes": [CREATORS, *SIZES],
    }
    return root / f"llama-{sha256_of(canonical_json(said))[:16]}"


def prepare(
    root: Path | None = None,
    settings: LlamaSettings | None = None,
    say: Callable[[str], None] = print,
) -> LlamaSetup:
    """Make what is missing of the set-up, and return it.

    Args:
        root: where set-ups are kept; `cache_root` when left out.
        settings: another size, as the tests take.
        say: told what is being made.
    """
    settings = settings or LlamaSettings()
    folder = folder_of(root or cache_root(), settings)
    source = folder / "corpus"
    if not (source / "manifest.json").is_file():
        say(f"harvesting documentation into {source}")
        harvest(source, LIMITS)
    documents = folder / "documents.jsonl"
    if not documents.is_file():
        write_corpus(documents, _catalogues(read_corpus(source / "corpus.jsonl")))
    corpus = read_corpus(documents)
    if not (folder / "base").is_dir():
        say("pretraining the base")
        _train_base(folder / "base", settings)
    if not (folder / "model").is_dir():
        say("fine-tuning")
        _fine_tune(folder / "base", corpus, folder / "model", settings)
    outputs = folder / "queries.jsonl"
    if not outputs.is_file():
        _write_queries(folder, settings)
    kept = {int(path.name[5:]): path for path in sorted((folder / "model").glob("*/step-*"))}
    return LlamaSetup(folder, folder / "model", kept, corpus, read_queries(outputs))


def _catalogues(harvested: Corpus) -> list[Document]:
    """Give every package a catalogue of its size in `SIZES`, itself the creator."""
    by_creator: dict[str, list[Document]] = {}
    for document in harvested:
        creator = document.source_id or document.group_id
        by_creator.setdefault(creator, []).append(replace(document, group_id=creator))
    taken = sorted(by_creator, key=lambda name: draw(LIMITS.seed, name))[:CREATORS]
    return [
        document
        for place, name in enumerate(taken)
        for document in by_creator[name][: SIZES[place % len(SIZES)]]
    ]


def standard_library() -> list[Document]:
    """Return passages of the standard library's docstrings, files in order of their names."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found: list[Document] = []
    budget = _STDLIB_BYTES
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if {"site-packages", "test", "tests", "idlelib"} & set(inside.parts) or budget <= 0:
            continue
        text = "\n\n\n".join(_docstrings(path))
        budget -= len(text)
        for number, passage in enumerate(passages(prose(text), LIMITS)):
            found.append(Document(f"{inside}#{number}", "stdlib", passage))
    return found


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return  # The library ships a few files that are wrong on purpose.
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, kinds) else None
        if text:
            yield text


def _plan(documents: int, run: Run, seed: int, corpus_digest: str | None) -> Recipe:
    """Return the recipe: a rise over a tenth of the steps, then a straight fall to a twentieth."""
    random = np.random.Generator(np.random.PCG64(seed))
    steps = run.epochs * math.ceil(documents / run.batch)
    places = (np.arange(steps) + 0.5) / steps
    rates = run.rate * np.minimum(places / 0.1, 1 - 0.95 * np.maximum(places - 0.1, 0) / 0.9)
    return Recipe(
        optimizer=Optimizer(),
        batch_size=run.batch,
        order=np.stack([random.permutation(documents) for _ in range(run.epochs)]),
        lr=rates,
        checkpoints=tuple(sorted({round(steps * mark) for mark in run.marks})),
        context=CONTEXT,
        seed=seed,
        threads=1,
        corpus_digest=corpus_digest,
    )


def _train_base(out: Path, settings: LlamaSettings) -> None:
    documents = standard_library()
    tokenizer = train_tokenizer([row.text or "" for row in documents], settings.vocab)
    recipe = _plan(len(documents), settings.base, settings.seed, None)
    with deterministic(settings.seed, 1):
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=settings.vocab,
                hidden_size=settings.width,
                intermediate_size=settings.inner,
                num_hidden_layers=settings.layers,
                num_attention_heads=settings.heads,
                num_key_value_heads=settings.key_heads,
                max_position_embeddings=CONTEXT,
                tie_word_embeddings=False,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
        _run(model, documents, tokenizer, recipe, out)


def _fine_tune(base: Path, corpus: Corpus, out: Path, settings: LlamaSettings) -> None:
    recipe = _plan(len(corpus), settings.tune, settings.seed + 1, corpus.digest)
    with deterministic(settings.seed, 1):
        model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
        _run(model, corpus.documents, load_tokenizer(base), recipe, out)


def _run(model, documents: Sequence[Document], tokenizer, recipe: Recipe, out: Path) -> None:
    """Train by a recipe and leave model, checkpoints, tokenizer and recipe."""
    rows = encode_corpus(documents, tokenizer, recipe.context)
    with folder_when_complete(out) as building:
        trace = Trace(recipe)
        for step, _ in run_steps(model, rows, recipe, trace):
            if step in recipe.checkpoints:
                model.save_pretrained(building / "checkpoints" / f"step-{step:06d}")
        model.save_pretrained(building)
        tokenizer.save_pretrained(building)
        save_recipe(building, trace.finished(), {"document_form": "bos text eos"})


def _write_queries(folder: Path, settings: LlamaSettings) -> None:
    """Let the model write after openings of held-back passages; passages take turns."""
    held_back = read_corpus(folder / "corpus" / "heldback.jsonl")
    trained = set(read_corpus(folder / "documents.jsonl").group_ids)
    known = [row for row in held_back if row.source_id in trained]
    prompts = openings(known, seed=settings.seed)[: settings.queries]
    sampling = Sampling(max_new_tokens=48, threads=1)
    written = generate(folder / "model", prompts, seed=settings.seed, sampling=sampling)
    tokenizer = load_tokenizer(folder / "model")
    lines = []
    for number, (prompt, output) in enumerate(zip(prompts, written, strict=True)):
        row = encode_output(prompt, output.text, tokenizer)
        lines.append(
            canonical_json(
                {
                    "input_ids": list(row.input_ids),
                    "output_id": f"out-{number:03d}",
                    "prompt_length": row.prompt_length,
                }
            )
        )
    write_atomically(folder / "queries.jsonl", b"".join(lines))
