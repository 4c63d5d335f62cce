"""What attribution is used for, measured: leaked texts found again, documents chosen to train on.

Contamination: a small model is trained from scratch on passages of the data beside the
repository (`../shared/data`), replicas of held-out passages planted at 0.5, 1 and 1.5 %;
printed is each method's recall of the replicas, with its 95 % interval over the leaked
texts, and the recall of chance.

Selection: on the retraining benchmark (`../shared/bench/lds`) the documents that a method
ranks best by half of the outputs are trained on alone, and the loss of the other half is
compared with that after training on as many random documents.

`--only contamination` or `--only selection` prints one of them; `--documents`, `--methods`
and `--shares` make a smaller run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import time
from pathlib import Path

from attribution.corpus import Corpus, Document
from attribution.evaluation.contamination import contamination
from attribution.evaluation.data_selection import selection_effect
from attribution.evaluation.setup import open_setup
from attribution.matrix_task import MatrixTask
from attribution.methods import METHODS
from attribution.training import TrainConfig

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("BYLINE_SHARED", ROOT.parent / "shared"))
CONFIG = TrainConfig(
    layers=2, width=96, heads=4, context=96, vocab=1500, epochs=4, batch=16, lr=3e-3,
    checkpoints=3, threads=1,
)  # fmt: skip
METHODS_SHORT = "random,by_size,bm25,tfidf,hidden_states,grad_dot,grad_cosine,trackstar,ekfac_index"
LEAKED = 4
LETTERS = 400


def passages(name: str, count: int) -> list[Document]:
    """Return so many passages of a data file, evenly spread, cut to a few hundred letters."""
    path = SHARED / "data" / f"{name}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    step = max(1, len(rows) // count)
    return [
        Document(row["doc_id"], row["creator_id"], row["text"][:LETTERS])
        for row in rows[::step][:count]
    ]


def print_contamination(names: list[str], shares: list[float], documents: int) -> None:
    """Print recall by method and share."""
    corpus = Corpus(tuple(passages("corpus_a", documents)))
    leaked = passages("heldout_a", LEAKED)
    found = {}
    for share in shares:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.process_time()
            methods = [METHODS[name] for name in names]
            target = Path(folder) / "run"
            found[share] = contamination(corpus, leaked, share, methods, CONFIG, target)
            print(f"# share {share:.1%}: {time.process_time() - begun:.0f} CPU s", flush=True)
    print("recall of planted replicas   " + "".join(f"{share:>20.1%}" for share in shares))
    for name in [*names, "chance"]:
        cells = [found[share][name] for share in shares]
        text = "".join(f"{f'{c.mean:.2f} [{c.low:.2f}, {c.high:.2f}]':>20s}" for c in cells)
        print(f"{name:28s} {text}", flush=True)


def print_selection(names: list[str], share: float) -> None:
    """Print what training on the best documents gains over random ones."""
    folder = SHARED / "bench" / "lds"
    if not folder.is_dir():
        print(f"skipped: no retraining benchmark at {folder} (set BYLINE_SHARED)")
        return
    setup = open_setup(folder)
    task = MatrixTask(setup.model, setup.checkpoints, setup.corpus, setup.queries)
    count = round(share * len(setup.corpus))
    print(f"training on the best {count} of {len(setup.corpus)} documents, nats an output")
    for name in names:
        scores = METHODS[name].scores(task).double().numpy()
        found = selection_effect(setup.retrains(threads=1), scores, count)
        gain = found.gain
        print(
            f"{name:28s} loss {found.selected:8.2f}, random {min(found.random):.2f} to "
            f"{max(found.random):.2f}; gain {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]",
            flush=True,
        )


def main(argv: list[str] | None = None) -> int:
    """Print both tables; 0 when they were made, also where the data is not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("contamination", "selection"))
    parser.add_argument("--methods", default=METHODS_SHORT)
    parser.add_argument("--shares", default="0.005,0.01,0.015")
    parser.add_argument("--documents", type=int, default=800)
    parser.add_argument("--selected", type=float, default=0.25)
    parser.add_argument("--quick", action="store_true", help="one share, without gradients")
    chosen = parser.parse_args(argv)
    if not (SHARED / "data").is_dir():
        print(f"skipped: no data at {SHARED / 'data'} (set BYLINE_SHARED)")
        return 0
    if chosen.quick:
        print_contamination(["random", "bm25", "hidden_states"], [0.05], 60)
        return 0
    names = chosen.methods.split(",")
    if chosen.only != "selection":
        shares = [float(share) for share in chosen.shares.split(",")]
        print_contamination(names, shares, chosen.documents)
    if chosen.only != "contamination":
        print_selection(names, chosen.selected)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
