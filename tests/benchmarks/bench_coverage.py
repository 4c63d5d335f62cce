"""How often the 95 % interval contains the census value, on a real corpus, by expected count.

The night is every held-out passage of the corpus beside the repository (`../shared/data`), worth
its number of words; the works are its creators. Influence is word overlap: each distinct rare word
of an output (in at most 1 % of the passages) gives its rarity (idf) to the creators, by their part
of the word's uses in the corpus. What matters here is the skew between creators, not the method.
Each draw samples under a new seed and estimates as production does; `expected` is on how many
sampled outputs a creator's share rests. Nights of 200 and of 400 outputs, and a period of ten
nights of 40: there the nights are added up as a statement adds them.
Fails when from the stated count up the mean coverage leaves 93-97 %, or one creator's leaves it by
more than the noise of that many draws (two standard errors at either end).
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
STATED_COUNT = 60
CLASSES = (0, 10, 15, 20, 30, 45, STATED_COUNT, 80, 120, 10**9)
SETTINGS = ((200, 1), (400, 1), (40, 10))
LOW, HIGH = 0.93, 0.97
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
    """Run the simulation; 0 when the coverage from the stated count up is as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", type=int, choices=range(len(SETTINGS)), help="one of the three")
    options = parser.parse_args(argv)
    draws = 40 if options.quick else 500
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return 0
    census = real_census()
    chosen = SETTINGS if options.only is None else SETTINGS[options.only :][:1]
    kept = [shown(census, size, nights, draws) for size, nights in chosen]
    return int(not all(kept))


def shown(census, size: int, nights: int, draws: int) -> bool:
    """Simulate one setting and print it; say whether it keeps the promise."""
    from tests.flows.coverage import coverage

    found = coverage(census, size=size, draws=draws, nights=nights)
    population = census.population.height
    of = f"{nights} nights of {size}" if nights > 1 else f"a night of {size}"
    print(f"{draws} draws of {of} of {population:,} outputs, {found.height} creators")
    for low, high in pairwise(CLASSES):
        group = found.filter((pl.col("expected") >= low) & (pl.col("expected") < high))
        if group.height:
            worst, best = group["covered"].min(), group["covered"].max()
            name = f"{low} and more" if high == CLASSES[-1] else f"{low} to {high}"
            print(
                f"expected {name:<12} {group.height:>4} creators  covered "
                f"{group['covered'].mean():6.1%}, {worst:6.1%} to {best:6.1%}"
            )
    below, above = (2 * math.sqrt(p * (1 - p) / draws) for p in (LOW, HIGH))
    outside = (pl.col("covered") < LOW - below) | (pl.col("covered") > HIGH + above)
    last = found.filter(outside)["expected"].max()
    print(f"every creator within {LOW:.0%} to {HIGH:.0%} but for noise above {last or 0:.0f}")
    large = found.filter(pl.col("expected") >= STATED_COUNT)["covered"].mean()
    assert isinstance(large, float)
    slack = below if draws < 500 else 0.0
    return LOW - slack <= large <= HIGH + slack and (last or 0) < STATED_COUNT


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    raise SystemExit(main())
