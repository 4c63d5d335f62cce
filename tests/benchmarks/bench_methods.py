"""Every attribution method on the retraining benchmark, by the command that anyone would use.

Reads the benchmark beside the repository (`../shared/bench/lds`, or the folder in
BYLINE_BENCH_LDS). Decoys are passages of creators that the model never saw, from
`../shared/data`; without that file the decoys' columns stay empty. What `--out` holds
already (scores, more retrains under `truth/`) is used and not made again.

`--setup small` takes the set-up of `small_setup` instead, whose truth it makes where it is
missing: there nothing is left out, and every output is unrolled alone.

`SMALLER` are the options that keep the whole table within minutes; a row that has one says
so in the JSON. `--set METHOD.OPTION=VALUE` comes after them and wins; `--processes 2` makes
two rows at a time. The last lines say what the run took.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import time
from pathlib import Path

from attribution.corpus import Document, read_corpus, write_corpus
from attribution.model import load_tokenizer
from flows.cli import run
from tests.benchmarks.small_setup import make

ROOT = Path(__file__).parents[2]
BENCH = Path(os.environ.get("BYLINE_BENCH_LDS", ROOT.parent / "shared" / "bench" / "lds"))
PASSAGES = ROOT.parent / "shared" / "data" / "corpus_a.jsonl.gz"
DECOYS, CONTEXT = 60, 128
ORDERS_AGAIN = (77,)
QUICK = "bm25,tfidf,hidden_states,by_size,equal,random"
ROWS = (
    "ekfac_index,ekfac,ekfac_end,grad_dot,grad_cosine,tracin,trackstar,source,"
    "bidirectional,bidirectional:mode=paper,"
    "bidirectional:variant=adamw,bidirectional:variant=adamw:mode=paper,"
    "stride,stride:columns=works,hidden_states,embedding,bm25,tfidf,"
    "unrolled,unrolled:level=tokens,retraining,by_size,equal,random"
)
SMALLER = (
    "bidirectional.candidates=100",  # of 743: the documents that ekfac_index ranks best
    "unrolled.smoothness=false",  # three more training runs; `byline audit reperform` prints it
    "stride.epochs=1",  # of 3: the operators read every document once
    "stride.degree=4",  # of 10
    f"embedding.folder={BENCH / 'base'}",  # no sentence encoder is at hand: the base model
    f"retraining.folder={BENCH / 'retrain'}",  # what the truth itself rests on, in part
    "retraining.retrains=40",
)
PROBED = "ekfac,bm25,tfidf,hidden_states,by_size,equal,random"
TOP = ("--top", "37", "--top-of", "ekfac,bm25,hidden_states,grad_dot,unrolled")


def write_decoys(path: Path) -> bool:
    """Write passages of creators outside the benchmark; False where there are none to take."""
    if not PASSAGES.is_file():
        return False
    trained = {document.group_id for document in read_corpus(BENCH / "docs.jsonl")}
    with gzip.open(PASSAGES, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    others = [row for row in rows if row["creator_id"] not in trained]
    tokenizer = load_tokenizer(BENCH / "base")
    chosen = random.Random(0).sample(others, DECOYS)
    write_corpus(
        path,
        [
            Document(
                f"decoy/{row['doc_id']}",
                "decoy",
                # The benchmark's documents open with token 0 and are cut at the context.
                input_ids=(0, *tokenizer.encode(row["text"], add_special_tokens=False))[:CONTEXT],
            )
            for row in chosen
        ],
    )
    return True


def small(out: Path) -> list[str]:
    """Return the command's words for the small set-up."""
    folder = make(ORDERS_AGAIN)
    words = ["--setup", str(folder), "--out", str(out), "--path", "1", "--top", "26"]
    words += ["--decoys", str(small_decoys(folder, out))]
    options = (
        "unrolled.outputs=each",
        f"embedding.folder={folder / 'base'}",
        f"retraining.folder={out / 'coalitions'}",  # its own, not those of the truth
        "retraining.retrains=40",
        "retraining.draws=6",
    )
    return words + [word for option in options for word in ("--set", option)]


def small_decoys(folder: Path, out: Path) -> Path:
    """Write held-back passages, which the model never saw, as decoys."""
    rows = read_corpus(folder / "corpus" / "heldback.jsonl").documents[:DECOYS]
    path = out / "decoys.jsonl"
    write_corpus(path, [Document(f"decoy/{row.document_id}", "decoy", row.text) for row in rows])
    return path


def whole(out: Path, *, top: bool) -> list[str]:
    """Return the command's words for the retraining benchmark."""
    words = ["--setup", str(BENCH), "--out", str(out), "--path", "1", "--probe-of", PROBED]
    words += TOP if top else ()
    words += [word for option in SMALLER for word in ("--set", option)]
    if write_decoys(out / "decoys.jsonl"):
        words += ["--decoys", str(out / "decoys.jsonl")]
    if (out / "truth").is_dir():
        words += ["--truth", str(out / "truth")]
    return words


def main(argv: list[str] | None = None) -> int:
    """Print the table; 0 when it was made, also where the benchmark is not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--setup", choices=("shared", "small"), default="shared")
    parser.add_argument("--methods", default="", help="names with commas; all by default")
    parser.add_argument("--quick", action="store_true", help="what needs no gradient")
    parser.add_argument("--top", action="store_true", help="top-k removals too: eleven retrains")
    chosen, more = parser.parse_known_args(argv)
    if chosen.setup == "shared" and not (BENCH / "docs.jsonl").is_file():
        print(f"skipped: no retraining benchmark at {BENCH} (set BYLINE_BENCH_LDS)")
        return 0
    out = chosen.out or ROOT / "build" / f"methods-{chosen.setup}"
    out.mkdir(parents=True, exist_ok=True)
    names = QUICK if chosen.quick else chosen.methods or ROWS
    words = small(out) if chosen.setup == "small" else whole(out, top=chosen.top)
    begun, worked = time.perf_counter(), processor_seconds()
    ended = run(["evaluate", "run", "--methods", names, *words, *more])
    if ended == 0:
        made = json.loads((out / "evaluation.json").read_bytes())
        print(
            f"this run: {time.perf_counter() - begun:.0f} s by the clock, "
            f"{processor_seconds() - worked:.0f} processor seconds\nwhat it reads took, when it "
            f"was made: {made['seconds']:.0f} s, of which scores {made['cpu_seconds']:.0f} "
            "processor seconds"
        )
    return ended


def processor_seconds() -> float:
    """Return what this process and those that it started and saw end have used."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    raise SystemExit(main())
