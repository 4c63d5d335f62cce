"""`byline index build|append|remove|verify|info`, `byline trace` and `byline attribute`."""

from __future__ import annotations

from pathlib import Path

import click

from flows.accesses import Asked, access_line, name_object, record_access
from flows.commands.options import (
    access_options,
    emit,
    json_option,
    open_workspace,
    workspace_option,
)

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("index")
def index() -> None:
    """Build, change and check the gradient index."""


@index.command("build")
@workspace_option
@click.option("--model", type=FOLDER, help="Model folder; the workspace's by default.")
@click.option(
    "--checkpoint",
    "checkpoints",
    type=FOLDER,
    multiple=True,
    help="Earlier weights of the same training stage, oldest first; may be given again.",
)
@click.option("--corpus", type=FILE, help="Corpus JSONL; the workspace's by default.")
@click.option("--decoys", type=FILE, help="Decoys JSONL, never trained on and never paid.")
@click.option("--out", type=FOLDER, help="Index folder; the workspace's by default.")
@json_option
def build(
    folder: Path,
    model: Path | None,
    checkpoints: tuple[Path, ...],
    corpus: Path | None,
    decoys: Path | None,
    out: Path | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Build the gradient index, or finish one that was begun."""
    from flows.build import IndexSources, build_index_at, workspace_sources  # noqa: PLC0415
    from flows.progress import Reporter  # noqa: PLC0415
    from flows.settings import load_settings  # noqa: PLC0415

    if model and corpus and out:
        settings = load_settings(folder)
        sources = IndexSources(model, checkpoints, corpus, decoys, out)
    elif model or corpus or out or checkpoints or decoys:
        raise click.UsageError("give --model, --corpus and --out together, or none of them")
    else:
        workspace = open_workspace(folder)
        settings, sources = workspace.settings, workspace_sources(workspace)
    with Reporter().step("index") as step:
        content = build_index_at(
            settings.attribution, sources, lambda part, done, total: step.update(done, total, part)
        )
        step.result(f"{len(content['checkpoints'])} points of the path")
    emit(
        {"index": str(sources.out), "checkpoints": len(content["checkpoints"])},
        [f"index  {sources.out}"],
        as_json=as_json,
    )


@index.command("append")
@workspace_option
@click.argument("corpus", type=FILE)
@json_option
def append(folder: Path, corpus: Path, as_json: bool) -> None:  # noqa: FBT001
    """Add the documents of a corpus file to the index as new shards."""
    from attribution.index_append import append_documents  # noqa: PLC0415 - torch

    manifest = append_documents(open_workspace(folder).index, corpus)
    emit({"manifest": manifest.sha256}, [f"index is now {manifest.sha256}"], as_json=as_json)


@index.command("remove")
@workspace_option
@click.option("--document", "documents", multiple=True, help="Document id; may be given again.")
@click.option("--group", "groups", multiple=True, help="Work id; may be given again.")
@click.option("--source", "sources", multiple=True, help="Source id; may be given again.")
@click.option("--reason", default="", help="Why, in the words of whoever asked.")
@json_option
def remove(
    folder: Path,
    documents: tuple[str, ...],
    groups: tuple[str, ...],
    sources: tuple[str, ...],
    reason: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Put documents under a tombstone that every later score honours."""
    from attribution.index_edit import Removal, remove_documents  # noqa: PLC0415 - torch

    if not (documents or groups or sources):
        raise click.UsageError("name what to remove: --document, --group or --source")
    removal = Removal(documents, groups, sources, reason)
    manifest = remove_documents(open_workspace(folder).index, removal)
    emit({"manifest": manifest.sha256}, [f"index is now {manifest.sha256}"], as_json=as_json)


@index.command("verify")
@workspace_option
@click.option("--sample", default=8, show_default=True, help="Rows to compute again; 0 for none.")
@click.option("--seed", default=0, show_default=True, help="Seed of that sample.")
@json_option
def verify(folder: Path, sample: int, seed: int, as_json: bool) -> None:  # noqa: FBT001
    """Hash every byte of the index and compute a random sample of its rows again."""
    from attribution.index_verify import verify_index  # noqa: PLC0415 - torch

    report = verify_index(open_workspace(folder).index, sample=sample, seed=seed)
    lines = [f"{key:<18} {value}" for key, value in report.items()]
    emit(report, [*lines, "the index is whole"], as_json=as_json)


@index.command("info")
@workspace_option
@json_option
def info(folder: Path, as_json: bool) -> None:  # noqa: FBT001
    """Describe the index in a few numbers."""
    from attribution.index_verify import index_info  # noqa: PLC0415 - torch

    report = index_info(open_workspace(folder).index)
    emit(report, [f"{key:<26} {value}" for key, value in report.items()], as_json=as_json)


@click.command("trace")
@workspace_option
@click.argument("text")
@click.option("--prompt", default=None, help="What stood before the text; read but not scored.")
@click.option("-k", "count", default=5, show_default=True, help="How many sources to name.")
@click.option("--passages", is_flag=True, help="Show the beginning of each source's text.")
@access_options
@json_option
def trace(
    folder: Path,
    text: str,
    prompt: str | None,
    count: int,
    passages: bool,  # noqa: FBT001
    asked: Asked,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Name the strongest sources of one text, with flags where they are in doubt."""
    from attribution.trace import trace as find_sources  # noqa: PLC0415 - torch

    workspace = open_workspace(folder)
    found = find_sources(workspace.index, text, prompt, count, passages=passages)
    name = name_object(workspace, "trace", f"{prompt or ''}\0{text}", secret=True)
    recorded = record_access(workspace, "trace", name, asked)
    lines = []
    for source in found.sources:
        nats = source.influence_nanonats / 10**9
        flags = f"  [{', '.join(source.flags)}]" if source.flags else ""
        lines.append(f"{nats:+9.4f} nats  {source.document_id}{flags}")
        if source.passage:
            lines.append(f"                {source.passage[:90]}")
    gain, total = found.gain_nanonats / 10**9, found.total_nanonats / 10**9
    lines.append(
        f"training gained {gain:.3f} nats on {found.tokens_scored} tokens; all sources "
        f"together {total:.3f}"
    )
    lines += [f"doubt: {flag}" for flag in found.flags]
    lines += access_line(recorded=recorded)
    emit({**found.as_json(), "access_recorded": recorded}, lines, as_json=as_json)


@click.command("attribute")
@click.option("--method", required=True, help="Attribution method, such as ekfac_index.")
@click.option("--model", type=FOLDER, required=True, help="Folder of the final model.")
@click.option(
    "--checkpoint",
    "checkpoints",
    type=FOLDER,
    multiple=True,
    help="Earlier weights of the same training stage, oldest first; may be given again.",
)
@click.option("--corpus", type=FILE, required=True, help="Corpus JSONL.")
@click.option("--queries", type=FILE, required=True, help="Queries JSONL.")
@click.option("--out", type=FILE, required=True, help="The .npy file to write.")
@click.option("--index", "index_dir", type=FOLDER, help="Index to use, built there if missing.")
@click.option("--seed", default=0, show_default=True, help="For methods that draw.")
@json_option
def attribute(  # noqa: PLR0913, PLR0917 - the options of one command
    method: str,
    model: Path,
    checkpoints: tuple[Path, ...],
    corpus: Path,
    queries: Path,
    out: Path,
    index_dir: Path | None,
    seed: int,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Score every document for every query and write a float32 matrix, positive = helped."""
    from attribution.interchange import attribute_files  # noqa: PLC0415 - torch
    from flows.progress import Reporter  # noqa: PLC0415

    with Reporter().step("attribute") as step:
        report = attribute_files(
            method,
            model,
            checkpoints,
            corpus,
            queries,
            out,
            index_dir,
            seed=seed,
            progress=lambda part, done, total: step.update(done, total, part),
        )
        step.result(f"{report['queries']} queries x {report['documents']} documents")
    emit(report, [f"scores  {report['out']}"], as_json=as_json)
