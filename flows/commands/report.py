"""`byline report`: a closed period's papers, the compliance report, disclosure drafts, lookups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from flows.accesses import Asked, access_line, name_object, record_access
from flows.commands.options import (
    access_options,
    emit,
    engine_option,
    json_option,
    open_workspace,
    parse_date,
    parse_period,
    period_option,
    workspace_option,
)

FORMATS = ("pdf", "html", "json")
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group("report", invoke_without_command=True)
@workspace_option
@click.option("--period", callback=parse_period, help="The settlement period, YYYY-MM.")
@engine_option
@access_options
@json_option
@click.pass_context
def report(
    context: click.Context,
    folder: Path,
    period: str | None,
    engine: str | None,
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write statements, settlement report, trial balance and audit pack of a closed period."""
    if context.invoked_subcommand is not None:
        return
    if not period:
        raise click.UsageError("give --period, or one of the commands below", context)
    from flows.engine_month import run_publish  # noqa: PLC0415 - heavy, and only when run
    from flows.progress import Reporter  # noqa: PLC0415

    workspace = open_workspace(folder)
    name = name_object(workspace, "reports", period)
    recorded = record_access(workspace, "export", name, asked)
    said = run_publish(workspace, period, engine=engine, reporter=Reporter())
    emit(
        {**said, "access_recorded": recorded},
        [
            f"statements  {len(said['statements'])} in {said['folder']}/statements",
            f"settlement  {said['settlement']}",
            f"audit pack  {said['audit_pack']}",
        ],
        as_json=as_json,
    )


@report.command("compliance")
@workspace_option
@period_option
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    default=FORMATS,
    show_default=True,
    help="What to write; may be given again.",
)
@click.option("--assertion", type=FILE, help="Signed YAML: assertion, reservations, findings.")
@click.option("--evaluation", type=FILE, help="evaluation.json of `byline evaluate run`.")
@access_options
@json_option
def compliance(
    folder: Path,
    period: str,
    formats: tuple[str, ...],
    assertion: Path | None,
    evaluation: Path | None,
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Write the auditor's report of a closed period: twenty sections, each filled or saying why."""
    from flows.assertion_signature import signature_said  # noqa: PLC0415
    from flows.compliance import write_compliance  # noqa: PLC0415
    from flows.compliance_given import read_given  # noqa: PLC0415

    workspace = open_workspace(folder)
    name = name_object(workspace, "compliance", period)
    given = read_given(assertion, period) if assertion is not None else None
    if given is not None and assertion is not None:
        said = signature_said(workspace, assertion)
        given = replace(given, source=f"{given.source}, {said}")
    recorded = record_access(workspace, "export", name, asked)
    made = write_compliance(workspace, period, formats=formats, given=given, evaluation=evaluation)
    states = list(made.states.values())
    emit(
        {
            "period": period,
            "sections": made.states,
            "files": [str(path) for path in made.paths],
            "access_recorded": recorded,
        },
        [f"{states.count(state)} sections {state}" for state in ("filled", "in part", "not filled")]
        + [str(path) for path in made.paths]
        + access_line(recorded=recorded),
        as_json=as_json,
    )


@report.command("disclosure")
@workspace_option
@click.option("--kind", type=click.Choice(["eu", "california"]), required=True, help="Which form.")
@click.option("--date", callback=parse_date, required=True, help="Date of the draft, YYYY-MM-DD.")
@click.option("--answers", type=FILE, help="YAML with what only the provider can say.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; reports/ by default."
)
@json_option
def disclosure(
    folder: Path,
    kind: str,
    date: Any,
    answers: Path | None,
    out: Path | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Draft a public summary of the training data: EU AI Act Art. 53(1)(d), California AB 2013."""
    from flows.disclosures import write_disclosure  # noqa: PLC0415

    workspace = open_workspace(folder)
    place = out or workspace.root / "reports"
    paths = write_disclosure(workspace, kind, place, date=date.isoformat(), answers=answers)
    emit(
        {"kind": kind, "files": [str(path) for path in paths]},
        [str(path) for path in paths],
        as_json=as_json,
    )


@report.command("lookup")
@workspace_option
@click.option("--work", required=True, help="The work, by id.")
@click.option("--date", callback=parse_date, required=True, help="Date of the answer, YYYY-MM-DD.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; reports/ by default."
)
@access_options
@json_option
def lookup(
    folder: Path,
    work: str,
    date: Any,
    out: Path | None,
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Answer for one work: which documents were trained on, under what, and what it earned."""
    from flows.demo.story import slug  # noqa: PLC0415
    from flows.disclosures import look_up  # noqa: PLC0415
    from reports.disclosure.lookup import lookup_document, lookup_json  # noqa: PLC0415
    from reports.files import write_reports  # noqa: PLC0415
    from reports.render.pdf import render_pdf  # noqa: PLC0415

    workspace = open_workspace(folder)
    recorded = record_access(workspace, "view", name_object(workspace, "works", work), asked)
    found = look_up(workspace, work, date=date.isoformat())
    stem = f"lookup-{slug(work)}"
    paths = write_reports(
        out or workspace.root / "reports",
        {f"{stem}.json": lookup_json(found), f"{stem}.pdf": render_pdf(lookup_document(found))},
    )
    answer = f"{len(found.documents)} documents of it are in the corpus"
    emit(
        {
            "work": work,
            "found": found.found,
            "documents": len(found.documents),
            "earned_units": sum(e.amount_units for e in found.earnings),
            "files": [str(path) for path in paths],
            "access_recorded": recorded,
        },
        [f"{work}: {answer}", *(str(path) for path in paths), *access_line(recorded=recorded)],
        as_json=as_json,
    )
