"""What attribution is used for, measured: leaked texts found again, documents chosen to train on.

Contamination: small models are trained from scratch on passages of the data beside the
repository (`../shared/data`), replicas of held-out passages planted at 0.5, 1 and 1.5 %.
A replica is a part of the passage, the passage reworded, or a part buried in another
document, and two fifths of the corpus are passages of the same books. Printed is each
method's recall of the replicas by share and by form, with 95 % intervals over replicas.

Selection: on the small set-up (`small_setup`) the outputs are held-back passages of a few
creators, the distribution that selection aims at. The documents that a method ranks best by
half of them are trained on alone, and the loss of the other half is compared with that after
training on as many random documents, many times.

`--only contamination` or `--only selection` prints one of them; `--replicas`, `--methods` and
`--shares` make a smaller run. Outcomes are kept in `--out`, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from attribution.corpus import Corpus, Document, Query, read_corpus
from attribution.evaluation.contamination import contamination, recall
from attribution.evaluation.data_selection import selection_effect
from attribution.evaluation.setup import open_setup
from attribution.files import write_atomically
from attribution.matrix_task import MatrixTask
from attribution.methods.choice import labels, methods_by_name
from attribution.tokens import encode_query
from attribution.training import TrainConfig
from tests.benchmarks.llama_setup import prepare
from tests.benchmarks.small_setup import SETTINGS

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("BYLINE_SHARED", ROOT.parent / "shared"))
CONFIG = TrainConfig(
    layers=2, width=64, heads=4, context=96, vocab=1500, epochs=3, batch=16, lr=3e-3,
    checkpoints=3, threads=1,
)  # fmt: skip
BASE = SHARED / "bench" / "lds" / "base"
FOUND_BY = (
    "bm25,tfidf,embedding,hidden_states,ekfac,grad_dot,grad_cosine,tracin,trackstar,stride,"
    "by_size,random"
)
FINDERS = (
    f"embedding.folder={BASE}",  # no sentence encoder is at hand: a base model of another text
    "stride.epochs=1",
    "stride.degree=4",
    "bidirectional.candidates=100",
    "unrolled.outputs=each",
    "unrolled.smoothness=false",
)
CHOSEN_BY = "by_size,bm25,hidden_states,trackstar,ekfac"
SHARES = "0.005,0.01,0.015"
HARD = ("partial", "reworded", "buried")
LEAKED, DOCUMENTS, SAME_BOOKS = 2, 400, 80
LETTERS = 400
AIMED_AT, DRAWS = 6, 12


def passages(name: str) -> dict[str, list[Document]]:
    """Return a data file's passages by creator, cut to a few hundred letters."""
    found: dict[str, list[Document]] = {}
    with gzip.open(SHARED / "data" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            text = Document(row["doc_id"], row["creator_id"], row["text"][:LETTERS])
            found.setdefault(text.group_id, []).append(text)
    return found


def case(seed: int, documents: int = DOCUMENTS) -> tuple[Corpus, list[Document]]:
    """Return a corpus with many passages of the leaked texts' creators, and the leaked texts."""
    clean, held = passages("corpus_a"), passages("heldout_a")
    able = [name for name in sorted(held) if len(clean.get(name, ())) >= SAME_BOOKS]
    chosen = [able[(LEAKED * seed + n) * 7 % len(able)] for n in range(LEAKED)]
    leaked = [held[name][seed % len(held[name])] for name in chosen]
    same = [text for name in chosen for text in clean[name][:SAME_BOOKS]]
    rest = [text for name in sorted(clean) if name not in chosen for text in clean[name]]
    count = documents - len(same)
    return Corpus((*same, *rest[:: len(rest) // count][:count])), leaked


def contaminated(names: list[str], share: float, seed: int, out: Path) -> dict[str, dict]:
    """Return label -> forms of the replicas and which were found; made once and kept."""
    methods = methods_by_name(names, FINDERS)
    named = labels(methods)
    paths = {
        label: out / f"contamination-{share:g}-{seed}-{label.replace(' ', '-')}.json"
        for label in named
    }
    missing = [n for n, label in enumerate(named) if not paths[label].exists()]
    if missing:
        begun = time.process_time()
        corpus, leaked = case(seed)
        with tempfile.TemporaryDirectory() as folder:
            said = contamination(
                corpus, leaked, share, [methods[n] for n in missing],
                replace(CONFIG, seed=seed), Path(folder) / "run", HARD,
            )  # fmt: skip
        for n, found in zip(missing, said.found.values(), strict=True):
            row = {"forms": said.forms, "found": found.tolist()}
            write_atomically(paths[named[n]], json.dumps(row).encode())
        spent = time.process_time() - begun
        print(f"# share {share:.1%}, corpus {seed}: {spent:.0f} processor seconds", flush=True)
    return {label: json.loads(path.read_bytes()) for label, path in paths.items()}


def print_contamination(names: list[str], shares: list[float], wanted: int, out: Path) -> None:
    """Print recall by method and share, and by form, of about so many replicas a share."""
    rows: dict[str, dict[str, list[bool]]] = {}
    columns = [*(f"{share:.1%}" for share in shares), *HARD, "all"]
    for share in shares:
        corpora = math.ceil(wanted / round(share * DOCUMENTS))
        for seed in range(corpora):
            for label, said in contaminated(names, share, seed, out).items():
                row = rows.setdefault(label, {column: [] for column in columns})
                row[f"{share:.1%}"] += said["found"]
                row["all"] += said["found"]
                for form, found in zip(said["forms"], said["found"], strict=True):
                    row[form].append(found)
    counts = next(iter(rows.values()))
    print("recall of replicas" + " " * 10 + "".join(f"{head:>20}" for head in columns))
    print(" " * 28 + "".join(f"{f'{len(counts[head])} replicas':>20}" for head in columns))
    for label, row in rows.items():
        cells = [recall(row[head]) for head in columns]
        text = "".join(f"{f'{c.mean:.2f} [{c.low:.2f}, {c.high:.2f}]':>20s}" for c in cells)
        print(f"{label:28s}{text}", flush=True)


def print_selection(names: list[str], shares: list[float], out: Path) -> None:
    """Print what training on the best documents gains over random ones."""
    made = prepare(settings=SETTINGS)
    setup = open_setup(made.folder)
    held = read_corpus(made.folder / "corpus" / "heldback.jsonl")
    aimed = sorted({row.source_id or "" for row in held} & set(setup.corpus.group_ids))[:AIMED_AT]
    queries = tuple(
        Query(row.document_id, row.text, None, 1) for row in held if row.source_id in aimed
    )
    task = MatrixTask(setup.model, setup.checkpoints[:1], setup.corpus, queries)
    encoded = tuple(encode_query(query, task.model.tokenizer) for query in queries)
    run = replace(setup.retrains(threads=1), queries=encoded)
    print(f"{len(queries)} held-back passages of {len(aimed)} of {len(run.creators)} creators; one")
    print(f"half chooses, the other is judged; {DRAWS} random choices, nats an output")
    methods = methods_by_name(names, ["stride.epochs=1", "bidirectional.candidates=100"])
    for label, method in zip(labels(methods), methods, strict=True):
        path = out / f"scores-{label.replace(' ', '-')}.npy"
        if not path.exists():
            np.save(path, method.scores(task).double().numpy())
        for share in shares:
            count = round(share * len(setup.corpus))
            found = selection_effect(run, np.load(path), count, draws=DRAWS, cache=out)
            gain, worse = found.gain, sum(one > found.selected for one in found.random)
            print(
                f"{label:24s} best {count:4d}: loss {found.selected:7.2f}, random "
                f"{min(found.random):.2f} to {max(found.random):.2f}, {worse} of {DRAWS} worse; "
                f"gain {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]",
                flush=True,
            )


def main(argv: list[str] | None = None) -> int:
    """Print both tables; 0 when they were made, also where the data is not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("contamination", "selection"))
    parser.add_argument("--methods", default="")
    parser.add_argument("--shares", default=SHARES, help="replicas over all documents")
    parser.add_argument("--replicas", type=int, default=24, help="about so many a share")
    parser.add_argument("--selected", default="0.05,0.1", help="documents chosen over all")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "uses")
    parser.add_argument("--quick", action="store_true", help="one share, without gradients")
    chosen = parser.parse_args(argv)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if not (SHARED / "data").is_dir():
        print(f"skipped: no data at {SHARED / 'data'} (set BYLINE_SHARED)")
    elif chosen.quick:
        print_contamination(["random", "bm25", "hidden_states"], [0.015], 6, chosen.out)
        return 0
    elif chosen.only != "selection":
        shares = [float(share) for share in chosen.shares.split(",")]
        names = (chosen.methods or FOUND_BY).split(",")
        print_contamination(names, shares, chosen.replicas, chosen.out)
    if chosen.only != "contamination":
        parts = [float(part) for part in chosen.selected.split(",")]
        print_selection((chosen.methods or CHOSEN_BY).split(","), parts, chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
