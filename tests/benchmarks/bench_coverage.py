"""How often the 95 % interval contains the census value, on a real corpus, by expected count.

The night is every held-out passage of the corpus beside the repository (`../shared/data`), worth
its number of words; the works are its creators. Influence is word overlap: each distinct rare word
of an output (in at most 1 % of the passages) gives its rarity (idf) to the creators, by their part
of the word's uses in the corpus. What matters here is the skew between creators, not the method.
Each draw samples 200 outputs under a new seed and estimates as production does; `expected` is on
how many sampled outputs a creator's share rests.
Fails when the mean coverage above the stated count leaves 93-97 %.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import polars as pl

DATA = Path(__file__).parents[2].parent / "shared" / "data"
STATED_COUNT = 30
CLASSES = (0, 10, 20, STATED_COUNT, 50, 65, 80, 10**9)
SIZE = 200
RARE_PART = 100
_WORD = re.compile(r"[a-z]+")


def passages(name: str) -> list[tuple[str, str, list[str]]]:
    """Read (id, creator, words) of a file of passages."""
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [(r["doc_id"], r["creator_id"], _WORD.findall(r["text"].lower())) for r in rows]


def real_census():
    """Make the night of the real corpus."""
    from tests.flows.coverage import census_of

    uses: dict[str, Counter[str]] = defaultdict(Counter)
    documents: Counter[str] = Counter()
    corpus = passages("corpus_a.jsonl.gz")
    for _, creator, words in corpus:
        documents.update(set(words))
        for word, count in Counter(words).items():
            uses[word][creator] += count
    rare = len(corpus) // RARE_PART
    creators = sorted({creator for _, creator, _ in corpus})
    events, values, rows, gains = [], [], [], []
    for event, _, words in sorted(passages("heldout_a.jsonl.gz")):
        score = dict.fromkeys(creators, 0.0)
        known = set(words) & uses.keys()
        for word in sorted(word for word in known if documents[word] <= rare):
            whole = uses[word].total()
            rarity = math.log(len(corpus) / documents[word])
            for creator, count in uses[word].items():
                score[creator] += rarity * count / whole
        nanonats = {name: int(value * 10**9) for name, value in score.items()}
        total = sum(nanonats.values())
        events.append(event)
        values.append(max(1, len(words)))
        rows += [(event, name, "trained", value) for name, value in nanonats.items()]
        gains.append((event, total, total, len(words), 1.0))
    return census_of(events, values, rows, gains, {name: name for name in creators})


def main(argv: list[str] | None = None) -> int:
    """Run the simulation; 0 when the coverage above the stated count is 93-97 %."""
    from tests.flows.coverage import coverage

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    draws = 40 if parser.parse_args(argv).quick else 500
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return 0
    census = real_census()
    found = coverage(census, size=SIZE, draws=draws)
    population = census.population.height
    print(f"{draws} draws of {SIZE} of {population:,} outputs, {found.height} creators")
    for low, high in pairwise(CLASSES):
        group = found.filter((pl.col("expected") >= low) & (pl.col("expected") < high))
        if group.height:
            worst, mean = group["covered"].min(), group["covered"].mean()
            name = f"{low} and more" if high == CLASSES[-1] else f"{low} to {high}"
            print(
                f"expected {name:<12} {group.height:>4} creators  "
                f"covered {mean:6.1%}, least {worst:6.1%}"
            )
    large = found.filter(pl.col("expected") >= STATED_COUNT)["covered"].mean()
    slack = 0.03 if draws < 500 else 0.0
    return int(large is None or not 0.93 - slack <= large <= 0.97 + slack)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    raise SystemExit(main())
