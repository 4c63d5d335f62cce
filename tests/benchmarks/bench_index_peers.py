"""What an index costs beside bergson, dattri-llm and kronfluence, in the same run.

    python -m tests.benchmarks.bench_index_peers --peers-python VENV/bin/python

Every engine has the same GPT-2-small (random weights), the same documents of 256 tokens in the
same batches and one thread; each peer runs in a process of the interpreter that is given, which
must have torch of the version that is used here. They take turns, round after round. Figures
are CPU seconds (the machine is shared) as multiples of a plain forward and backward pass in the
same process and round: the mean over the rounds, and the lowest and highest.

The fit of this index reads 15 % of the documents of a large corpus; here it reads all, so that
its cost for each document read can be told from what decomposing costs once, whatever the size
of the corpus. The sum printed is rows + 15 % of the fit's passes; what is paid once stands
beside it in seconds.

Without `--peers-python` (or BYLINE_PEERS_PYTHON) only this index is measured. `--out FILE`
keeps the rounds that were measured, and further rounds are added to them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from attribution import preconditioner
from attribution.batches import collate
from attribution.fit_sample import DrawnBatches
from attribution.gradients import LossModel, backward, recording
from attribution.index_basis import codec_for
from attribution.index_config import DEFAULT_LAYERS
from attribution.layers import find_layers
from attribution.preconditioner import FitConfig
from attribution.recorders import RowRecorder
from tests.benchmarks.bench_index_cost import documents
from tests.benchmarks.index_peers import Plain

HERE = Path(__file__).parent
NAMES = ("bergson", "dattri-llm", "kronfluence")
LENGTH, SHARE = 256, 0.15
GPT2_SMALL = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}
TINY = {"vocab_size": 512, "n_positions": 256, "n_embd": 64, "n_layer": 2, "n_head": 2}
LAYERS = {"default": (DEFAULT_LAYERS, True), "all linear": (("*",), False)}


def _quiet(_done: int) -> None:
    """Show nothing."""


class Ours(Plain):
    """This index: the default layers and all linear layers, eight bits, 1/256 of the bytes."""

    def __init__(self, said: dict[str, Any], scratch: Path) -> None:
        super().__init__(said, scratch)
        self.encoded = documents(len(said["documents"]), LENGTH, said["config"]["vocab_size"])
        self.batches = [collate(self.encoded, part, LENGTH) for part in said["batches"]]
        self.seen: dict[str, Any] = {}
        self.bases: dict[str, Any] = {}
        self.codecs: dict[str, Any] = {}
        self.stored: dict[str, list[Any]] = {}

    def phases(self) -> dict[str, Callable[[], None]]:
        """Both passes of a fit, what is paid once, rows, and scores of 48 outputs."""
        out = dict(super().phases())
        for name in LAYERS:
            for step in ("first", "once", "second", "rows", "score"):
                out[f"{step} {name}"] = partial(getattr(self, step), name)
        return out

    def tracked(self, name: str) -> tuple[Any, LossModel]:
        """Return the layers and the frozen model."""
        patterns, head = LAYERS[name]
        lossy = LossModel(self.model)
        return find_layers(self.model, patterns, head=head).layers, lossy

    def drawn(self) -> DrawnBatches:
        """All documents, with sampled labels."""
        budget = LENGTH * len(self.said["batches"][0])
        return DrawnBatches(self.encoded, range(len(self.encoded)), 0, LENGTH, budget)

    def first(self, name: str) -> None:
        """Sum the factors: the first pass of a fit."""
        layers, lossy = self.tracked(name)
        self.seen[name] = preconditioner._covariances(lossy, layers, self.drawn(), _quiet)

    def once(self, name: str) -> None:
        """Decompose the factors and choose the ranks: what does not grow with the corpus."""
        layers, _ = self.tracked(name)
        whole = sum(layer.rows * layer.outputs for layer in layers)
        config = FitConfig(numbers=whole * 32 // (256 * 8))
        self.bases[name] = preconditioner._bases(layers, self.seen[name], config)

    def second(self, name: str) -> None:
        """Correct the eigenvalues: the second pass of a fit."""
        layers, lossy = self.tracked(name)
        bases, held = self.bases[name]
        squares = preconditioner._squares(lossy, layers, bases, self.drawn(), _quiet)
        count = len(self.encoded)
        curvature = preconditioner._curvature(layers, bases, squares / count, held, count)
        self.codecs[name] = codec_for("int8", curvature, 0.01)

    def rows(self, name: str) -> None:
        """Project, store and write every document's row."""
        layers, lossy = self.tracked(name)
        (bases, _), codec = self.bases[name], self.codecs[name]
        recorder = RowRecorder(layers, bases, torch.device("cpu"))
        kept = []
        path = self.fresh() / "rows.bin"
        with path.open("wb") as sink, recording(self.model, layers, recorder):
            for batch in self.batches:
                recorder.start(batch)
                backward(lossy, batch, recorder=recorder)
                kept.append(codec.encode(recorder.rows))
                sink.write(kept[-1].tobytes())
        self.stored[name] = kept

    def score(self, name: str) -> None:
        """Score 48 outputs from the stored rows."""
        codec = self.codecs[name]
        queries = codec.fold(torch.randn(48, len(codec.steps)))
        for part in self.stored[name]:
            codec.dot(part, queries)


class PeerError(Exception):
    """A peer could not do what it was asked for."""


class Process:
    """A peer in a process of its own."""

    def __init__(self, name: str, python: str, said: dict[str, Any], scratch: Path) -> None:
        self._log = scratch.parent / f"{scratch.name}.log"
        self._child = subprocess.Popen(
            [python, str(HERE / "index_peers.py"), name, str(scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            text=True,
        )
        self.names: list[str] = self._ask(json.dumps(said))["phases"]

    def _ask(self, line: str) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        print(line, file=self._child.stdin, flush=True)
        answer = self._child.stdout.readline()
        if not answer:
            last = self._log.read_text(encoding="utf-8").strip().splitlines()[-1:]
            raise PeerError(f"it ended with {self._child.wait()}: {' '.join(last)}")
        try:
            return json.loads(answer)
        except ValueError as error:
            raise PeerError(f"it printed {answer!r}") from error

    def seconds(self, phase: str) -> float:
        """Run a phase and return its CPU seconds."""
        return float(self._ask(phase)["seconds"])

    def end(self) -> None:
        """Tell it that there are no more questions."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait()


class Here:
    """This index, in this process."""

    def __init__(self, said: dict[str, Any], scratch: Path) -> None:
        self._ours = Ours(said, scratch)
        self.names = list(self._ours.phases())

    def seconds(self, phase: str) -> float:
        """Run a phase and return its CPU seconds."""
        begun = time.process_time()
        self._ours.phases()[phase]()
        return time.process_time() - begun

    def end(self) -> None:
        """Nothing is open."""


def usable(python: str | None) -> tuple[str, ...]:
    """Return the peers that an interpreter has, and say why the others are skipped."""
    if not python:
        print("peers skipped: give an interpreter that has them with --peers-python")
        return ()
    found = []
    for name in NAMES:
        tried = subprocess.run(
            [python, "-c", f"import torch, {name.replace('-', '_')}; print(torch.__version__)"],
            capture_output=True,
            text=True,
            check=False,
        )
        why = tried.stderr.strip().splitlines()[-1] if tried.returncode else ""
        if not why and tried.stdout.strip() != torch.__version__:
            why = f"its torch is {tried.stdout.strip()}, ours {torch.__version__}"
        if why:
            print(f"{name} skipped: {why}")
        else:
            found.append(name)
    return tuple(found)


def one_round(engines: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Run every phase of every engine once, plain first; an engine that fails is left out."""
    found: dict[str, dict[str, float]] = {}
    for engine, runner in list(engines.items()):
        found[engine] = {}
        for phase in runner.names:
            try:
                found[engine][phase] = runner.seconds(phase)
            except PeerError as fault:
                print(f"{engine} left out at {phase!r}: {fault}", flush=True)
                del engines[engine]
                break
    return found


def told(values: list[float]) -> str:
    """Return a mean with the lowest and the highest."""
    return f"{statistics.mean(values):7.3f} [{min(values):.3f}, {max(values):.3f}]"


def print_table(rounds: list[dict[str, dict[str, float]]]) -> None:
    """Print each phase as multiples of the plain pass of its engine and round."""
    for engine in rounds[0]:
        plain = [row[engine]["plain"] for row in rounds if "plain" in row.get(engine, {})]
        print(f"{engine:12s} plain {told(plain)} CPU s, {len(plain)} rounds")
        for phase in rounds[0][engine]:
            known = [row[engine] for row in rounds if phase in row.get(engine, {})]
            if phase != "plain" and known:
                ratios = [row[phase] / row["plain"] for row in known]
                seconds = statistics.mean(row[phase] for row in known)
                print(f"{'':12s}   {phase:20s} {told(ratios)}   {seconds:8.1f} s")
    for name in LAYERS:
        both = []
        for row in (every["ours"] for every in rounds):
            passes = row[f"first {name}"] + row[f"second {name}"]
            both.append((row[f"rows {name}"] + SHARE * passes) / row["plain"])
        print(f"ours, {name}: rows + {SHARE:.0%} of the fit's two passes {told(both)}")


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny shape")
    parser.add_argument("--peers-python", default=os.environ.get("BYLINE_PEERS_PYTHON"))
    parser.add_argument("--brief", action="store_true", help="no full decompositions of peers")
    parser.add_argument("--documents", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args(argv)
    config = TINY if chosen.quick else GPT2_SMALL
    texts = documents(chosen.documents, LENGTH, config["vocab_size"])
    places = list(range(chosen.documents))
    said = {
        "batches": [places[i : i + 8] for i in range(0, len(places), 8)],
        "config": config,
        "documents": [list(row.input_ids) for row in texts],
        "queries": 2,
        "seed": 0,
        "threads": 1,
    }
    rounds = json.loads(chosen.out.read_text()) if chosen.out and chosen.out.exists() else []
    with tempfile.TemporaryDirectory() as scratch:
        engines: dict[str, Any] = {"ours": Here(said, Path(scratch) / "ours")}
        for name in usable(chosen.peers_python):
            engines[name] = Process(name, chosen.peers_python, said, Path(scratch) / name)
            if chosen.brief and "fit eigen" in engines[name].names:
                # What comes after needs the decomposition.
                engines[name].names = engines[name].names[: engines[name].names.index("fit eigen")]
        for number in range(chosen.rounds):
            rounds.append(one_round(engines))
            print(f"round {number + 1} of {chosen.rounds}", flush=True)
            if chosen.out:
                chosen.out.write_text(json.dumps(rounds))
        for runner in engines.values():
            runner.end()
    print_table(rounds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
