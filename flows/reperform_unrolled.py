"""Compare what a period paid for with the recorded training run differentiated from end to start.

A pack's accruals rest on influence: output q pays v_q units for every nat of it. The same v_q
weigh the outputs' losses in one backward run through training (attribution.unrolling):

    v_q        = pool_units f_q / denominator            of the night, 0 for an unexplained output
    booked_w   = sum_q v_q S[q,w]                       rounded: the accruals of w
    unrolled_w = sum_{i in w} - d (sum_q v_q loss_q) / d weight_i

1. Both are units of money, linear in the same v_q. What is compared is how a nat was measured.
   A batch's loss is a mean, so that the unrolled weights add up to zero over the corpus: they say
   who gave more than others of his size. To compare, the booked total is divided by scored tokens
   first, and unrolled_w is added; apart = half the sum of |booked - that| in the booked total.
2. Texts and index must be those that the pack names, the model that of the index, and the recipe
   one that leads to it.
3. Works without a document in the corpus, and decoys, take no part.
4. It informs. The two differ where influence is wrong and where training is not smooth, and only
   the second is measured here. `by_size` is how far the booked money is from the tokens alone.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from flows.estimation_moments import explain
from flows.reperform import ReperformError
from flows.reperform_pairs import booked_influence
from flows.workspace import Workspace
from ledger.audit_frame import OpenPack

if TYPE_CHECKING:
    from attribution.run import QueryText
    from attribution.unrolled_period import UnrolledPeriod

NANONATS = 10**9
WORST = 5
_NIGHT = re.compile(r"evidence/estimates\.(.+)\.manifest\.json")


@dataclass(frozen=True)
class UnrolledCheck:
    """A period's shares beside those of the unrolled run.

    Args:
        shares: work, share booked, share unrolled, share of the tokens; in the order of the
            largest difference between the first two.
        outputs: how many outputs were weighed.
        run: what the unrolled run says of itself.
    """

    shares: tuple[tuple[str, float, float, float], ...]
    outputs: int
    run: UnrolledPeriod

    @property
    def apart_percent(self) -> float:
        """Part of the money that lies elsewhere, in percent."""
        return 50 * sum(abs(booked - unrolled) for _, booked, unrolled, _ in self.shares)

    @property
    def by_size_percent(self) -> float:
        """The same for paying by scored tokens, in percent."""
        return 50 * sum(abs(booked - size) for _, booked, _, size in self.shares)

    @property
    def rank(self) -> float:
        """Rank correlation over the works of what each has beyond its size."""
        beyond = [(booked - size, unrolled - size) for _, booked, unrolled, size in self.shares]
        table = pl.DataFrame(beyond, schema=["booked", "unrolled"], orient="row")
        return float(table.select(pl.corr("booked", "unrolled", method="spearman")).item())

    def as_json(self) -> dict[str, Any]:
        """Give the plain values."""
        return {
            "works": len(self.shares),
            "outputs": self.outputs,
            "apart_percent": self.apart_percent,
            "by_size_percent": self.by_size_percent,
            "rank_correlation": self.rank,
            "metasmoothness": self.run.metasmoothness,
            "replayed_loss_apart": self.run.loss_apart,
            "steps": self.run.steps,
            "memory_bytes": self.run.memory_bytes,
            "shares": [list(row) for row in self.shares],
        }

    def lines(self) -> list[str]:
        """Say it for a terminal."""
        from attribution.unrolling import POOR  # noqa: PLC0415 - torch

        run = self.run
        smooth = "not measured" if run.metasmoothness is None else f"{run.metasmoothness:.2f}"
        found = (
            f"{self.apart_percent:.1f} % of the money lies elsewhere by the unrolled run of "
            f"{run.steps} steps ({self.by_size_percent:.1f} % by tokens alone); "
            f"{len(self.shares)} works, {self.outputs} outputs; rank correlation of what each has "
            f"beyond its tokens {self.rank:.2f}"
        )
        trust = (
            f"metasmoothness {smooth}; the replayed losses are off by {run.loss_apart:.1g}; "
            f"{run.memory_bytes / 1e6:.0f} MB of states"
        )
        if run.metasmoothness is not None and run.metasmoothness < POOR:
            trust += (
                f"\nTHE UNROLLED RUN SAYS LITTLE HERE: below {POOR} training answers "
                f"small changes of weights by jumping, and its shares judge no booking. Use "
                f"`--method index`, or train with larger batches, a lower rate or a larger eps"
            )
        rows = (
            f"  {work}: booked {100 * booked:.1f} %, unrolled {100 * unrolled:.1f} %"
            for work, booked, unrolled, _ in self.shares[:WORST]
        )
        return [found, trust, *rows]


def check_unrolled(
    pack_file: Path,
    workspace: Workspace,
    *,
    smoothness: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> UnrolledCheck:
    """Differentiate the recorded run for the outputs of a pack, and compare the works' shares.

    Args:
        pack_file: the audit pack.
        workspace: has the model with its recipe, the corpus, the index and the sampled texts.
        smoothness: measure the metasmoothness, by three more runs.
        progress: called with a part's name, what of it is done, and all of it.

    Raises:
        ReperformError: texts or index are not those of the pack, or nothing was explained.
        AttributionError: the model is not that of the index, or its training cannot be replayed.
    """
    from attribution.unrolled_period import unroll_period  # noqa: PLC0415 - torch

    booked_influence(pack_file, workspace)
    values: dict[str, float] = {}
    booked: Counter[str] = Counter()
    with OpenPack(pack_file) as pack:
        pack.check_frame()
        for part in sorted(pack.parts):
            night = _NIGHT.fullmatch(part)
            if night is None:
                continue
            for name, value in _night_values(pack, workspace, night[1]).items():
                values[name] = values.get(name, 0.0) + value
            works = _table(pack, f"estimates.{night[1]}.works")
            booked.update(dict(works["work_id", "accrual_units"].iter_rows()))
    if not any(values.values()):
        raise ReperformError(f"{pack_file} pays for no explained output; there is nothing to weigh")
    texts = _texts(workspace, sorted(values))
    found = unroll_period(
        model_dir=workspace.model,
        corpus_file=workspace.corpus,
        index_dir=workspace.index,
        outputs=texts,
        values=[values[text.output_id] for text in texts],
        smoothness=smoothness,
        progress=progress,
    )
    return UnrolledCheck(_shares(booked, found), len(values), found)


def _table(pack: OpenPack, name: str) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(pack.read(f"evidence/{name}.parquet")))


def _night_values(pack: OpenPack, workspace: Workspace, night: str) -> dict[str, float]:
    """Give what the explained outputs of a night pay for one nat, in units of money."""
    manifest = json.loads(pack.read(f"evidence/estimates.{night}.manifest.json"))
    outputs = explain(
        pl.read_parquet(
            workspace.root / "sample" / f"{night}.parquet",
            columns=["event_id", "stratum", "pi_ppt", "weighted_value_units"],
        ),
        _table(pack, f"influence.{night}.gains"),
        _table(pack, f"influence.{night}").lazy(),
        gain_min=manifest["rule"]["gain_per_token_min_nanonats"],
        total_ppm=manifest["rule"]["total_to_gross_min_ppm"],
    )
    denominator = outputs.explained_total + outputs.unexplained
    return {
        name: manifest["pool_units"] * factor * NANONATS / denominator
        for name, factor in outputs.table["output_id", "f"].iter_rows()
    }


def _texts(workspace: Workspace, names: list[str]) -> list[QueryText]:
    """Read the sampled texts of outputs, in the order of their ids."""
    from attribution.run import QueryText  # noqa: PLC0415 - torch

    columns = ["event_id", "prompt_text", "output_text"]
    frames = [
        pl.read_parquet(path, columns=columns).filter(pl.col("event_id").is_in(names))
        for path in sorted((workspace.root / "sample").glob("*.parquet"))
    ]
    rows = pl.concat(frames).unique("event_id").sort("event_id")
    return [QueryText(*row) for row in rows.iter_rows()]


def _shares(
    booked: Mapping[str, int], run: UnrolledPeriod
) -> tuple[tuple[str, float, float, float], ...]:
    """Put both sides and the tokens in parts of the booked total; largest difference first."""
    works = sorted(run.units)
    total = sum(booked.get(work, 0) for work in works)
    if total <= 0:
        raise ReperformError(
            f"the works' accruals of the period add up to {total}; a total that is not above zero "
            f"has no shares. Compare a period in which something was paid"
        )
    tokens = sum(run.tokens.values())
    sizes = {work: run.tokens[work] / tokens for work in works}
    rows = [
        (work, booked.get(work, 0) / total, sizes[work] + run.units[work] / total, sizes[work])
        for work in works
    ]
    return tuple(sorted(rows, key=lambda row: (-abs(row[1] - row[2]), row[0])))
