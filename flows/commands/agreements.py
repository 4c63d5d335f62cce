"""`byline agreements lint|import|approve|list|show|diff`: terms, from a text to two signatures."""

from __future__ import annotations

from datetime import date as Date  # noqa: N812 - `date` is the option's name
from pathlib import Path

import click

from flows.accesses import Asked, access_line, name_object, record_access
from flows.commands.options import (
    access_options,
    emit,
    json_option,
    open_workspace,
    parse_date,
    workspace_option,
)

_FILES = click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True)
)


@click.group("agreements")
def agreements() -> None:
    """Bring in agreements, let a second person approve them, look at versions."""


@agreements.command("lint")
@workspace_option
@_FILES
@json_option
def lint_files(folder: Path, paths: tuple[Path, ...], as_json: bool) -> None:  # noqa: FBT001
    """Check agreement files: every fault with file, line, field and what was expected."""
    from contracts.errors import BadFilesError  # noqa: PLC0415 - heavy, and only when run
    from flows.agreement_desk import lint  # noqa: PLC0415

    try:
        book = lint(open_workspace(folder), paths)
    except BadFilesError as error:
        if not as_json:
            raise
        faults = [
            {
                "file": f.file,
                "line": f.line,
                "field": f.field,
                "found": f.found,
                "expected": f.expected,
            }
            for f in error.faults
        ]
        emit({"ok": False, "faults": faults}, [], as_json=True)
        raise click.exceptions.Exit(1) from error
    names = [agreement.name for agreement in book.agreements]
    said = (
        f"{len(names)} agreements, {len(book.parties)} parties, {len(book.works)} works: no fault"
    )
    emit({"ok": True, "agreements": names}, [said], as_json=as_json)


@agreements.command("import")
@workspace_option
@_FILES
@click.option("--prepared-by", default="", help="Who brings signed agreements in.")
@click.option(
    "--from",
    "kind",
    type=click.Choice(["native", "rsl", "robots", "aipref"]),
    default="native",
    show_default=True,
    help="Signed agreements, or an offer or preference of others, kept as evidence.",
)
@click.option("--location", default="", help="Where an offer or preference was found.")
@click.option("--acquired-at", default="", help="When it was fetched, ISO 8601 with zone.")
@click.option(
    "--draft", type=int, default=8, show_default=True, help="AIPREF vocabulary draft in force then."
)
@click.option("--profile", "profiles", multiple=True, help="RSL reporting profile we can serve.")
@json_option
def import_files(  # noqa: PLR0913, PLR0917 - one argument an option
    folder: Path,
    paths: tuple[Path, ...],
    prepared_by: str,
    kind: str,
    location: str,
    acquired_at: str,
    draft: int,
    profiles: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
) -> None:
    """Store signed agreements as drafts, or offers and preferences as evidence with drafts."""
    from flows.agreement_desk import import_native, import_offer  # noqa: PLC0415 - heavy

    workspace = open_workspace(folder)
    if kind == "native":
        if not prepared_by:
            raise click.UsageError("signed agreements need --prepared-by PARTY")
        book = import_native(workspace, paths, prepared_by)
        names = [{"agreement_id": a.agreement_id, "version": a.version} for a in book.agreements]
        lines = [f"{a.name}: draft, signed by {a.signer}" for a in book.agreements]
        emit({"drafts": names, "prepared_by": prepared_by}, lines, as_json=as_json)
        return
    if len(paths) != 1 or not location or not acquired_at:
        raise click.UsageError(f"--from {kind} takes one file, --location and --acquired-at")
    evidence = import_offer(
        workspace,
        paths[0],
        kind,
        location=location,
        acquired_at=acquired_at,
        draft=draft,
        profiles=profiles,
    )
    emit(
        {
            "evidence_id": evidence.evidence_id,
            "vocabulary": evidence.vocabulary,
            "drafts": list(evidence.drafts),
        },
        [
            f"evidence {evidence.evidence_id}: {evidence.vocabulary}",
            "no agreement and no money owed; complete and sign a draft, then import it:",
            *evidence.drafts,
        ],
        as_json=as_json,
    )


@agreements.command("approve")
@workspace_option
@click.argument("agreement_id")
@click.option("--version", type=int, required=True, help="Which version.")
@click.option("--approved-by", required=True, help="Who approves: not who prepared it.")
@json_option
def approve_draft(
    folder: Path,
    agreement_id: str,
    version: int,
    approved_by: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Approve a draft; from its first day on it is paid under."""
    from flows.agreement_desk import approve  # noqa: PLC0415 - heavy, and only when run

    path = approve(open_workspace(folder), agreement_id, version, approved_by)
    emit(
        {"agreement_id": agreement_id, "version": version, "file": str(path)},
        [
            f"agreement {agreement_id} v{version} approved by {approved_by}; it is in {path}",
            "days of closed periods it covers are paid by the next close, as adjustments",
        ],
        as_json=as_json,
    )


@agreements.command("list")
@workspace_option
@click.option("--on", callback=parse_date, default=None, help="Only versions in force on this day.")
@access_options
@json_option
def list_all(folder: Path, on: Date | None, asked: Asked, as_json: bool) -> None:  # noqa: FBT001
    """List every version with its days in force, its standing and who answers for it."""
    from flows.agreement_desk import list_drafts, list_versions  # noqa: PLC0415 - heavy

    workspace = open_workspace(folder)
    name = name_object(workspace, "agreements", on.isoformat() if on else "all")
    recorded = record_access(workspace, "view", name, asked)
    rows = list_versions(workspace, on)
    drafts = list_drafts(workspace) if on is None else []
    emit(
        {"agreements": rows, "drafts": drafts, "access_recorded": recorded},
        [
            *(
                f"{row['agreement_id']} v{row['version']}  {row['effective_from']} to "
                f"{row['holds_until'] or 'no end'}  {row['licensor']}  {row['status']}"
                for row in rows
            ),
            *(f"{draft}  unfinished, from evidence" for draft in drafts),
            *access_line(recorded=recorded),
        ],
        as_json=as_json,
    )


@agreements.command("show")
@workspace_option
@click.argument("agreement_id")
@click.option("--version", type=int, default=None, help="Which version; the highest by default.")
@access_options
@json_option
def show(
    folder: Path,
    agreement_id: str,
    version: int | None,
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Show the text of a version, or of an unfinished draft by its id."""
    from flows.agreement_desk import find_text  # noqa: PLC0415 - heavy, and only when run

    workspace = open_workspace(folder)
    name = name_object(workspace, "agreements", agreement_id)
    recorded = record_access(workspace, "view", name, asked)
    title, text = find_text(workspace, agreement_id, version)
    emit(
        {"name": title, "text": text, "access_recorded": recorded},
        [f"# {title}", text.rstrip(), *access_line(recorded=recorded)],
        as_json=as_json,
    )


@agreements.command("diff")
@workspace_option
@click.argument("agreement_id")
@click.argument("old", type=int)
@click.argument("new", type=int)
@access_options
@json_option
def diff(
    folder: Path,
    agreement_id: str,
    old: int,
    new: int,
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Compare two versions, term by term and field by field."""
    from flows.agreement_desk import differences, find_version  # noqa: PLC0415 - heavy

    workspace = open_workspace(folder)
    name = name_object(workspace, "agreements", agreement_id)
    recorded = record_access(workspace, "view", name, asked)
    first = find_version(workspace, agreement_id, old)
    rows = differences(first, find_version(workspace, agreement_id, new))
    emit(
        {"agreement_id": agreement_id, "differences": rows, "access_recorded": recorded},
        [
            *(f"{row['field']}: {row['was']} -> {row['is']}" for row in rows),
            f"{len(rows)} differences between v{old} and v{new}",
            *access_line(recorded=recorded),
        ],
        as_json=as_json,
    )
