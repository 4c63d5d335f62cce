"""`byline evaluate build|run`: the truth by retraining, and every method judged by it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from flows.commands.options import emit, json_option, open_workspace

FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
NEW = click.Path(path_type=Path, file_okay=False)


@click.group("evaluate")
def evaluate() -> None:
    """Make retraining truth for a set-up, and judge attribution methods by it."""


@evaluate.command("build")
@click.option(
    "--setup",
    "folder",
    type=FOLDER,
    required=True,
    help="Set-up folder: model/, docs.jsonl, queries.jsonl, recipe and starting weights.",
)
@click.option("--out", type=NEW, required=True, help="Folder of the retrains; continued if begun.")
@click.option("--halves", default=40, show_default=True, help="Retrains on half the documents.")
@click.option(
    "--coalitions",
    default=120,
    show_default=True,
    help="Retrains on random coalitions of creators.",
)
@click.option("--drops", default=0, show_default=True, help="Retrains without a few documents.")
@click.option("--drop-share", default=0.02, show_default=True, help="How many those are.")
@click.option(
    "--removals/--no-removals", default=True, show_default=True, help="Each creator alone left out."
)
@click.option(
    "--order",
    "orders",
    type=int,
    multiple=True,
    help="Seed of a further order of the documents, for the ceiling; may be given again.",
)
@click.option(
    "--repeat",
    type=click.Choice(["loco", "creator", "doc", "drop"]),
    multiple=True,
    default=("loco",),
    show_default=True,
    help="What a further order repeats; may be given again.",
)
@click.option("--seed", default=0, show_default=True, help="Draws what is left out.")
@click.option("--processes", default=1, show_default=True, help="Retrains at the same time.")
@click.option("--workspace", "home", type=FOLDER, help="Its broker's workers make retrains too.")
@json_option
def build(  # noqa: PLR0913, PLR0917 - the options of one command
    folder: Path,
    out: Path,
    halves: int,
    coalitions: int,
    drops: int,
    drop_share: float,
    removals: bool,  # noqa: FBT001
    orders: tuple[int, ...],
    repeat: tuple[str, ...],
    seed: int,
    processes: int,
    home: Path | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Retrain without some documents, again and again, and keep every outcome."""
    from attribution.evaluation.removal import TruthPlan  # noqa: PLC0415 - torch
    from flows.progress import Reporter  # noqa: PLC0415
    from flows.retrains import build_by_workers  # noqa: PLC0415
    from flows.settings import BrokerSettings  # noqa: PLC0415

    plan = TruthPlan(
        halves=halves,
        coalitions=coalitions,
        drops=drops,
        drop_share=drop_share,
        removals=removals,
        orders=orders,
        repeated=("base", *repeat),
        seed=seed,
    )
    broker = BrokerSettings() if home is None else open_workspace(home).settings.broker
    with Reporter().step("retrain") as step:
        truth = build_by_workers(
            folder,
            out,
            plan,
            broker,
            processes=processes,
            progress=step.update,
            say=lambda line: click.echo(line, err=True),
        )
        made = {kind: len(rows) for kind, rows in sorted(truth.losses.items())}
        step.result(f"{sum(made.values())} retrains")
    lines = [f"{kind:<10} {count}" for kind, count in made.items()]
    emit({"truth": str(out), "retrains": made}, [f"truth  {out}", *lines], as_json=as_json)


@evaluate.command("run")
@click.option("--setup", "folder", type=FOLDER, required=True, help="Set-up folder.")
@click.option(
    "--truth",
    "truths",
    type=FOLDER,
    multiple=True,
    help="More retrains than the set-up's own; may be given again.",
)
@click.option(
    "--methods",
    default="",
    help="Names with commas, or NAME:OPTION=VALUE for rows of their own; every method by default.",
)
@click.option("--out", type=NEW, required=True, help="Gets evaluation.json and .html, and scores.")
@click.option("--decoys", type=click.Path(path_type=Path, dir_okay=False), help="Decoys JSONL.")
@click.option(
    "--set",
    "options",
    multiple=True,
    help="METHOD.OPTION=VALUE, such as retraining.folder=truth; may be given again.",
)
@click.option("--path", default=0, show_default=True, help="Checkpoints beside the final; 0: all.")
@click.option(
    "--probe-limit", default=0.0, show_default=True, help="Passes above which nothing is probed."
)
@click.option(
    "--probe-of", default="", help="Methods that are probed, with commas; all by default."
)
@click.option("--top", default=0, show_default=True, help="Top-k removal of so many documents.")
@click.option("--top-of", default="", help="Methods it is made for, with commas; all by default.")
@click.option(
    "--probes/--no-probes", default=True, show_default=True, help="Decoys and creators' tricks."
)
@click.option("--processes", default=1, show_default=True, help="Methods at the same time.")
@click.option("--date", default="", help="Date on the page, YYYY-MM-DD; today by default.")
@json_option
def run(  # noqa: PLR0913, PLR0917 - the options of one command
    folder: Path,
    truths: tuple[Path, ...],
    methods: str,
    out: Path,
    decoys: Path | None,
    options: tuple[str, ...],
    path: int,
    probe_limit: float,
    probe_of: str,
    top: int,
    top_of: str,
    probes: bool,  # noqa: FBT001
    processes: int,
    date: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Judge attribution methods side by side and write the table as JSON and HTML."""
    from attribution.evaluation.scoreboard import (  # noqa: PLC0415 - torch
        BoardConfig,
        judge_methods,
    )
    from attribution.methods.choice import methods_by_name  # noqa: PLC0415
    from flows.evaluation import chosen_setup, write_results  # noqa: PLC0415
    from flows.progress import Reporter  # noqa: PLC0415

    setup = chosen_setup(folder, decoys)
    names, tops, probed = (
        tuple(one.strip() for one in text.split(",") if one.strip())
        for text in (methods, top_of, probe_of)
    )
    with Reporter().step("evaluate") as step:
        result = judge_methods(
            setup,
            methods_by_name(names, options),
            setup.truth(truths),
            BoardConfig(
                out / "scores",
                path=path,
                probes=probes,
                probe_limit=probe_limit or math.inf,
                top=top,
                top_of=tops,
                probe_of=probed,
                processes=processes,
            ),
            lambda name, done, total: step.update(done, total, name),
        )
        step.result(f"{len(result['rows'])} methods")
    written = write_results(result, out, folder.resolve().name, date)
    emit(result | written, [*table_lines(result), *written.values()], as_json=as_json)
    if all("skipped" in row for row in result["rows"]):
        raise click.ClickException("no method could run here; the reasons stand above")


def table_lines(result: Mapping[str, Any]) -> list[str]:
    """Print the main table for a terminal, and what the truth is worth above it."""
    from reports.evaluation_page import (  # noqa: PLC0415
        HEADS,
        MORE,
        ceiling_lines,
        control_lines,
        main_cells,
        more_cells,
        note_lines,
        ordered,
    )

    rows = ordered(result)
    judged = [row for row in rows if "skipped" not in row]
    documents = int(result["truth"]["documents"])
    lines = [*ceiling_lines(result), ""]
    lines += [*_aligned([list(HEADS), *(main_cells(row, documents) for row in judged)]), ""]
    lines += _aligned([list(MORE), *(more_cells(row) for row in judged)])
    lines += ["", *control_lines(result), *note_lines(result)]
    lines += [f"{row['name']}: skipped, {row['skipped']}" for row in rows if "skipped" in row]
    return lines


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
