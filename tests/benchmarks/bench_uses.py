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

`--only contamination` or `--only selection` prints one of them; `--seeds`, `--methods` and
`--shares` make a smaller run. Outcomes are kept in `--out`, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from attribution.corpus import Corpus, Document, Query, read_corpus
from attribution.evaluation.contamination import contamination, recall
from attribution.evaluation.data_selection import selection_effect
from attribution.evaluation.setup import open_setup
from attribution.files import sha256_of, write_atomically
from attribution.matrix_task import MatrixTask
from attribution.methods import METHODS
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
FOUND_BY = "random,by_size,bm25,tfidf,hidden_states,grad_dot,grad_cosine,trackstar,ekfac"
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


def contaminated(names: list[str], share: float, seed: int, out: Path) -> list[dict]:
    """Return one row a replica: its form, and which methods found it; made once and kept."""
    path = out / f"contamination-{share:g}-{seed}-{sha256_of(','.join(names).encode())[:8]}.json"
    if not path.exists():
        corpus, leaked = case(seed)
        with tempfile.TemporaryDirectory() as folder:
            said = contamination(
                corpus, leaked, share, [METHODS[name] for name in names],
                replace(CONFIG, seed=seed), Path(folder) / "run", HARD,
            )  # fmt: skip
        rows = [
            {"form": form, "found": {name: bool(said.found[name][n]) for name in names}}
            for n, form in enumerate(said.forms)
        ]
        write_atomically(path, json.dumps(rows).encode())
        print(f"# share {share:.1%}, seed {seed}: {len(rows)} replicas", flush=True)
    return json.loads(path.read_bytes())


def print_contamination(names: list[str], shares: list[float], seeds: int, out: Path) -> None:
    """Print recall by method and share, and by form."""
    rows = {s: [r for n in range(seeds) for r in contaminated(names, s, n, out)] for s in shares}
    every = [row for found in rows.values() for row in found]
    columns = {f"{share:.1%}": found for share, found in rows.items()}
    columns |= {form: [row for row in every if row["form"] == form] for form in HARD}
    print("recall of replicas" + " " * 10 + "".join(f"{head:>20}" for head in columns))
    print(" " * 28 + "".join(f"{f'{len(found)} replicas':>20}" for found in columns.values()))
    for name in names:
        cells = [recall([row["found"][name] for row in found]) for found in columns.values()]
        text = "".join(f"{f'{c.mean:.2f} [{c.low:.2f}, {c.high:.2f}]':>20s}" for c in cells)
        print(f"{name:28s}{text}", flush=True)


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
    parser.add_argument("--seeds", type=int, default=2, help="corpora and models a share")
    parser.add_argument("--selected", default="0.05,0.1", help="documents chosen over all")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "uses")
    parser.add_argument("--quick", action="store_true", help="one share, without gradients")
    chosen = parser.parse_args(argv)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if not (SHARED / "data").is_dir():
        print(f"skipped: no data at {SHARED / 'data'} (set BYLINE_SHARED)")
    elif chosen.quick:
        print_contamination(["random", "bm25", "hidden_states"], [0.015], 1, chosen.out)
        return 0
    elif chosen.only != "selection":
        shares = [float(share) for share in chosen.shares.split(",")]
        names = (chosen.methods or FOUND_BY).split(",")
        print_contamination(names, shares, chosen.seeds, chosen.out)
    if chosen.only != "contamination":
        parts = [float(part) for part in chosen.selected.split(",")]
        print_selection((chosen.methods or CHOSEN_BY).split(","), parts, chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
