"""`byline audit sample` and `byline audit reperform`: an auditor's own draws and recalculations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contracts.money import format_units
from flows.accesses import Asked, access_line, name_object, record_access
from flows.commands.options import (
    access_options,
    emit,
    json_option,
    open_workspace,
    period_option,
    workspace_option,
)

if TYPE_CHECKING:
    from flows.audit_samples import AuditSample

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


def _seed(_context: click.Context, _parameter: click.Parameter, value: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError as error:
        raise click.BadParameter("write the seed in hex, at least 32 digits") from error


@click.command("sample")
@workspace_option
@period_option
@click.option("--seed", callback=_seed, required=True, help="The auditor's seed, hex, 16 bytes up.")
@click.option("--tolerable", required=True, help="Misstatement that is tolerated, an amount.")
@click.option("--expected", default="0", show_default=True, help="Misstatement expected.")
@click.option("--confidence", default=95, show_default=True, help="Confidence in per cent.")
@click.option(
    "--method",
    type=click.Choice(["factors/1", "binomial/1", "poisson/1"]),
    default="factors/1",
    show_default=True,
    help="How the size is found.",
)
@click.option("--logged", default=25, show_default=True, help="Outputs drawn from the usage logs.")
@click.option("--audited", type=FILE, help="CSV item_id,units of every item: evaluate the sample.")
@access_options
@json_option
def sample(*, folder: Path, period: str, asked: Asked, as_json: bool, **chosen: Any) -> None:
    """Draw a monetary-unit sample of what was paid and a sample of the usage logs; evaluate."""
    from flows.audit_samples import draw, sample_files  # noqa: PLC0415
    from flows.publish import closed_period  # noqa: PLC0415
    from reports.files import write_reports  # noqa: PLC0415

    workspace = open_workspace(folder)
    name = name_object(workspace, "audit-samples", period)
    recorded = record_access(workspace, "export", name, asked)
    with closed_period(workspace, period) as closed:
        drawn = draw(closed, confidence_percent=chosen.pop("confidence"), **chosen)
        currency = closed.plan.accruals.currency
    paths = [str(path) for path in write_reports(workspace.reports(period), sample_files(drawn))]
    emit(
        {**drawn.as_json(), "files": paths, "access_recorded": recorded},
        [*_sample_lines(drawn, currency), *paths, *access_line(recorded=recorded)],
        as_json=as_json,
    )


def _sample_lines(drawn: AuditSample, currency: str) -> Iterator[str]:
    from flows.audit_samples import share_of  # noqa: PLC0415

    plan, paid = drawn.paid.plan, drawn.paid
    tested = sum(item.item.book_units for item in paid.selected)
    yield (
        f"{plan.method}, {plan.confidence_percent} %: {len(paid.selected)} items of "
        f"{paid.population_items}, interval {format_units(plan.interval_units, currency)}, "
        f"{share_of(tested, plan.book_units)} of the money"
    )
    yield f"population {paid.population_sha256[:16]}, seed {paid.seed_hex[:16]}"
    yield f"{len(drawn.logged)} of {drawn.logged_population} logged outputs, to be traced forward"
    if paid.not_selectable:
        yield f"{len(paid.not_selectable)} items of zero or less: test them on their own"
    said = drawn.evaluation
    if said is not None:
        limit = format_units(said.upper_limit_units, currency)
        verdict = "within" if said.acceptable else "ABOVE"
        yield (
            f"misstated {len(said.misstated)}, understated {len(said.understated)}; upper limit "
            f"{limit}, {verdict} the tolerable {format_units(plan.tolerable_units, currency)}"
        )


@click.command("reperform")
@click.argument("pack_file", metavar="PACK", type=FILE)
@click.option("--earlier", multiple=True, type=FILE, help="Packs of earlier periods.")
@click.option("--workspace", "home", type=FOLDER, help="Has model, corpus, index and texts.")
@click.option(
    "--method",
    type=click.Choice(["index", "unrolled"]),
    default="index",
    show_default=True,
    help="index: pairs and rows measured again; unrolled: the recorded training differentiated.",
)
@click.option(
    "--apart-max",
    type=float,
    help="unrolled: percent of the money that may lie elsewhere; nothing is judged without it.",
)
@click.option("--pairs", default=20, show_default=True, help="Pairs (output, work) measured again.")
@click.option("--seed", callback=_seed, default="00" * 16, help="The auditor's seed, hex.")
@click.option(
    "--tolerance-ppm",
    default=10_000,
    show_default=True,
    help="What a pair may be off by, in ppm of the largest influence on its output.",
)
@click.option("--rows", default=8, show_default=True, help="Index rows computed again.")
@json_option
def reperform(
    *,
    pack_file: Path,
    earlier: tuple[Path, ...],
    home: Path | None,
    method: str,
    apart_max: float | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Work a pack out again, from draws to entries; with --workspace, measure influence again."""
    if method == "unrolled" and home is None:
        raise click.UsageError("--method unrolled replays the training: give --workspace")
    result: dict[str, Any] = {}
    lines: list[str] = []
    holds = _entries(pack_file, earlier, result, lines)
    if not holds:
        home = None
    if home is not None and method == "unrolled":
        holds = _unrolled(pack_file, home, apart_max, result, lines)
    elif home is not None:
        holds = _pairs(pack_file, home, chosen, result, lines)
    emit(result, lines, as_json=as_json)
    if not holds:
        raise click.exceptions.Exit(1)


def _entries(
    pack_file: Path, earlier: tuple[Path, ...], result: dict[str, Any], lines: list[str]
) -> bool:
    """Work the pack out again, stage by stage; say whether everything came out the same."""
    from contracts.errors import ContractsError  # noqa: PLC0415
    from flows.errors import FlowError  # noqa: PLC0415
    from flows.reperform import Stage  # noqa: PLC0415
    from flows.reperform import reperform as work_out  # noqa: PLC0415
    from ledger.errors import LedgerError  # noqa: PLC0415

    stages: list[Stage] = []
    try:
        done = work_out(pack_file, earlier, stages.append)
        failure = None
        result |= {"period": done.period, "same": done.same, "other": done.other}
        result["lacks"] = list(done.lacks)
    except (ContractsError, FlowError, LedgerError) as error:
        failure = str(error)
    result |= {"stages": [vars(stage) for stage in stages], "failure": failure}
    lines += [f"{stage.name:<10} same  {stage.counted}" for stage in stages]
    if failure is not None:
        lines.append(f"NOT THE SAME: {failure}")
        return False
    lines += [f"not checked: {text}" for text in done.lacks]
    others = ", ".join(f"{count} {kind}" for kind, count in done.other.items())
    if others:
        lines.append(
            f"not explained by this pack (other periods, advances, payouts, by hand): {others}"
        )
    return True


def _pairs(
    pack_file: Path, home: Path, chosen: Mapping[str, Any], result: dict[str, Any], lines: list[str]
) -> bool:
    """Measure pairs and rows again; say whether they are within the tolerance."""
    from flows.reperform_pairs import check_pairs  # noqa: PLC0415 - torch

    tolerance_ppm = chosen["tolerance_ppm"]
    checked = check_pairs(
        pack_file,
        open_workspace(home),
        seed=chosen["seed"],
        count=chosen["pairs"],
        tolerance_ppm=tolerance_ppm,
        rows=chosen["rows"],
    )
    result |= {
        "pairs": len(checked.pairs),
        "worst_ppm": checked.worst_ppm,
        "tolerance_ppm": tolerance_ppm,
        "rows": checked.rows,
        "worst_row": checked.worst_row,
        "holds": checked.holds,
    }
    lines.append(
        f"{len(checked.pairs)} pairs measured again: worst off by {checked.worst_ppm} ppm of "
        f"its output's largest influence, {tolerance_ppm} allowed; {checked.rows} rows of the "
        f"index computed again, worst difference {checked.worst_row:.2g}"
    )
    return checked.holds


def _unrolled(
    pack_file: Path,
    home: Path,
    apart_max: float | None,
    result: dict[str, Any],
    lines: list[str],
) -> bool:
    """Compare the period with the unrolled run; say whether it is within what was allowed."""
    from flows.progress import Reporter  # noqa: PLC0415
    from flows.reperform_unrolled import check_unrolled  # noqa: PLC0415 - torch

    with Reporter().step("unroll") as step:
        checked = check_unrolled(
            pack_file,
            open_workspace(home),
            progress=lambda part, done, total: step.update(done, total, part),
        )
        step.result(f"{checked.run.steps} steps replayed and differentiated")
    holds = apart_max is None or checked.apart_percent <= apart_max
    result |= {"unrolled": checked.as_json(), "apart_max": apart_max, "holds": holds}
    lines += checked.lines()
    return holds
