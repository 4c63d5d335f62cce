"""`byline index build|append|remove|refit|compact|prefilter|verify|info` and `byline attribute`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from flows.build import IndexSources, build_index_at, signer_of, storage_warning
from flows.commands.options import (
    device_option,
    emit,
    engine_option,
    json_option,
    open_workspace,
    workspace_option,
)
from flows.workspace import Workspace

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
KEY = click.option(
    "--key",
    type=FILE,
    help="Ed25519 private key (PEM) that signs the manifest; keys/index.pem where it exists.",
)


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
@KEY
@device_option
@engine_option
@json_option
def build(
    folder: Path,
    key: Path | None,
    device: str | None,
    engine: str | None,
    as_json: bool,  # noqa: FBT001
    **given: Any,
) -> None:
    """Build the gradient index, or finish one that was begun."""
    from flows.engine_month import run_reindex  # noqa: PLC0415
    from flows.progress import Reporter  # noqa: PLC0415
    from flows.settings import load_settings  # noqa: PLC0415

    warning = storage_warning(load_settings(folder).attribution)
    if warning:
        click.echo(f"warning: {warning}", err=True)
    if given["model"] and given["corpus"] and given["out"]:
        if engine == "prefect":
            raise click.UsageError(
                "--engine prefect builds a workspace's own index: without --model, --corpus, --out"
            )
        said = _build_at(folder, IndexSources(**given), key, device)
    elif any(given.values()):
        raise click.UsageError("give --model, --corpus and --out together, or none of them")
    else:
        said = run_reindex(
            open_workspace(folder), key=key, device=device, engine=engine, reporter=Reporter()
        )
    emit(said, [f"index  {said['index']}"], as_json=as_json)


def _build_at(
    folder: Path, sources: IndexSources, key: Path | None, device: str | None
) -> dict[str, Any]:
    """Build an index outside of any workspace, as the settings of a folder say."""
    from flows.progress import Reporter  # noqa: PLC0415
    from flows.settings import load_settings  # noqa: PLC0415

    with Reporter().step("index") as step:
        content = build_index_at(
            load_settings(folder).attribution,
            sources,
            lambda part, done, total: step.update(done, total, part),
            signer=signer_of(key, None),
            device=device,
        )
        step.result(f"{len(content['checkpoints'])} points of the path")
    return {"index": str(sources.out), "checkpoints": len(content["checkpoints"])}


@index.command("append")
@workspace_option
@click.argument("corpus", type=FILE)
@KEY
@device_option
@json_option
def append(
    folder: Path,
    corpus: Path,
    key: Path | None,
    device: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Add the documents of a corpus file to the index as new shards."""
    from attribution.index_append import append_documents  # noqa: PLC0415 - torch

    workspace = open_workspace(folder)
    manifest = append_documents(
        workspace.index,
        corpus,
        signer=signer_of(key, workspace),
        device=device or workspace.settings.attribution.device,
    )
    emit({"manifest": manifest.sha256}, [f"index is now {manifest.sha256}"], as_json=as_json)


@index.command("remove")
@workspace_option
@click.option("--document", "documents", multiple=True, help="Document id; may be given again.")
@click.option("--group", "groups", multiple=True, help="Work id; may be given again.")
@click.option("--source", "sources", multiple=True, help="Source id; may be given again.")
@click.option("--reason", default="", help="Why, in the words of whoever asked.")
@KEY
@json_option
def remove(
    folder: Path,
    documents: tuple[str, ...],
    groups: tuple[str, ...],
    sources: tuple[str, ...],
    reason: str,
    key: Path | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Put documents under a tombstone that every later score honours."""
    from attribution.index_edit import Removal, remove_documents  # noqa: PLC0415 - torch

    if not (documents or groups or sources):
        raise click.UsageError("name what to remove: --document, --group or --source")
    removal = Removal(documents, groups, sources, reason)
    workspace = open_workspace(folder)
    manifest = remove_documents(workspace.index, removal, signer=signer_of(key, workspace))
    emit({"manifest": manifest.sha256}, [f"index is now {manifest.sha256}"], as_json=as_json)


@index.command("refit")
@workspace_option
@click.option("--damping", type=float, help="Fraction of a layer's mean eigenvalue, in (0, 1].")
@click.option("--share", type=float, help="Estimate the eigenvalues again on this share.")
@click.option("--seed", default=0, show_default=True, help="Seed of that sample.")
@click.option(
    "--geometry",
    type=click.Choice(["plain", "adam"]),
    help="Damp in the metric of Adam's second moment, where the training run kept it.",
)
@click.option("--truth", type=FOLDER, help="Retrains (doc-*.npz) to choose the damping by.")
@click.option("--queries", type=FILE, help="The outputs they measured, JSONL; with --truth.")
@click.option("--use", type=int, help="Score with this earlier version; refit nothing.")
@click.option("--corpus", type=FILE, help="Where the indexed corpus is now.")
@click.option("--decoys", type=FILE, help="Where the indexed decoys are now.")
@KEY
@device_option
@json_option
def refit(  # noqa: PLR0913, PLR0917 - the options of one command
    folder: Path,
    damping: float | None,
    share: float | None,
    seed: int,
    geometry: str | None,
    truth: Path | None,
    queries: Path | None,
    use: int | None,
    corpus: Path | None,
    decoys: Path | None,
    key: Path | None,
    device: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Make a new version of the preconditioner; rows and earlier versions stay."""
    from attribution.index_refit import Refit, refit_index, use_version  # noqa: PLC0415 - torch
    from flows.progress import Reporter  # noqa: PLC0415

    workspace = open_workspace(folder)
    signer = signer_of(key, workspace)
    place = device or workspace.settings.attribution.device
    chosen = _chosen_damping(workspace, truth, queries, damping, place)
    if chosen is not None:
        damping = chosen["damping"]
    wanted = Refit(
        damping=damping, share=share, seed=seed, geometry=geometry, corpus=corpus, decoys=decoys
    )
    if use is not None:
        if wanted != Refit(seed=seed):
            raise click.UsageError("--use takes a version as it is; leave the other options out")
        manifest = use_version(workspace.index, use, signer=signer)
    else:
        with Reporter().step("refit") as step:
            manifest = refit_index(
                workspace.index,
                wanted,
                signer=signer,
                device=place,
                progress=lambda part, done, total: step.update(done, total, part),
            )
            step.result(f"version {manifest.content['preconditioner']}")
    version = manifest.content["preconditioner"]
    lines = [f"scores now come from version {version}", f"index is now {manifest.sha256}"]
    if chosen is not None:
        lines += [f"damping {d:>8}  LDS {value:.4f}" for d, value in chosen["table"].items()]
        lines.append(
            f"chosen {chosen['damping']}; on retrains it was not chosen by, the choice has an "
            f"LDS of {chosen['held_out']:.4f}"
        )
    emit(
        {"choice": chosen, "manifest": manifest.sha256, "preconditioner": version},
        lines,
        as_json=as_json,
    )


def _chosen_damping(
    workspace: Workspace,
    truth: Path | None,
    queries: Path | None,
    damping: float | None,
    device: str,
) -> dict[str, Any] | None:
    """Choose the damping by a truth, where one is given."""
    if truth is None and queries is None:
        return None
    if truth is None or queries is None or damping is not None:
        raise click.UsageError("give --truth and --queries together, and no --damping")
    from attribution.index_damping import choose_from_folder  # noqa: PLC0415 - torch
    from attribution.index_read import GradientIndex  # noqa: PLC0415 - torch
    from attribution.influence import Attributor  # noqa: PLC0415 - torch

    attributor = Attributor(GradientIndex.open(workspace.index), device=device)
    return choose_from_folder(attributor, queries, truth).as_json()


@index.command("compact")
@workspace_option
@KEY
@json_option
def compact(folder: Path, key: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Rewrite shards that hold removed documents, without their rows."""
    from attribution.index_edit import compact as rewrite  # noqa: PLC0415 - torch

    workspace = open_workspace(folder)
    manifest = rewrite(workspace.index, signer=signer_of(key, workspace))
    emit({"manifest": manifest.sha256}, [f"index is now {manifest.sha256}"], as_json=as_json)


@index.command("prefilter")
@workspace_option
@click.option("--width", default=4096, show_default=True, help="Numbers in a document's sketch.")
@click.option("--candidates", default=256, show_default=True, help="Documents scored exactly.")
@json_option
def prefilter(folder: Path, width: int, candidates: int, as_json: bool) -> None:  # noqa: FBT001
    """Make the approximate first look of `byline trace --approximate`; print its recall."""
    from attribution.index_prefilter import build_prefilter  # noqa: PLC0415 - torch, faiss

    facts = build_prefilter(open_workspace(folder).index, width=width, candidates=candidates)
    lines = [f"{key:<20} {value}" for key, value in facts.items()]
    said = (
        f"approximate: of the {facts['recall_of']} strongest sources {facts['recall']:.1%} are "
        f"found (least {facts['recall_least']:.0%}), measured on {facts['recall_queries']} "
        f"{facts['recall_queries_are']}"
    )
    emit(facts, [*lines, said], as_json=as_json)


@index.command("verify")
@workspace_option
@click.option("--sample", default=8, show_default=True, help="Rows to compute again; 0 for none.")
@click.option("--seed", default=0, show_default=True, help="Seed of that sample.")
@click.option(
    "--public-key",
    help="Ed25519 public key, 64 hex digits or a PEM file, that must have signed the index.",
)
@device_option
@json_option
def verify(
    folder: Path,
    sample: int,
    seed: int,
    public_key: str | None,
    device: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Hash every byte, check the signatures, compute a random sample of rows again."""
    from attribution.index_verify import verify_index  # noqa: PLC0415 - torch
    from attribution.signing import public_key as read_key  # noqa: PLC0415

    key = None if public_key is None else read_key(public_key)
    workspace = open_workspace(folder)
    place = device or workspace.settings.attribution.device
    report = verify_index(workspace.index, sample=sample, seed=seed, key=key, device=place)
    lines = [f"{key:<18} {value}" for key, value in report.items()]
    if report["signed_by"] is None:
        lines.append("nobody signed this index: it is whole, and anyone could have made it")
    emit(report, [*lines, "the index is whole"], as_json=as_json)


@index.command("info")
@workspace_option
@json_option
def info(folder: Path, as_json: bool) -> None:  # noqa: FBT001
    """Describe the index in a few numbers."""
    from attribution.index_verify import index_info  # noqa: PLC0415 - torch

    report = index_info(open_workspace(folder).index)
    emit(report, [f"{key:<26} {value}" for key, value in report.items()], as_json=as_json)


@click.command("attribute")
@click.option("--method", required=True, help="Such as ekfac_index; see byline methods.")
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
@click.option(
    "--set",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the method, such as layer=2; `byline methods` lists them.",
)
@click.option(
    "--candidates",
    type=click.IntRange(min=1),
    help="Read only the index's best documents of each output; of bidirectional.",
)
@click.option("--device", default="auto", show_default=True, help="Model on cpu, cuda or cuda:N.")
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
    options: tuple[str, ...],
    candidates: int | None,
    device: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Score every document for every query and write a float32 matrix, positive = helped."""
    from attribution.interchange import attribute_files  # noqa: PLC0415 - torch
    from flows.progress import Reporter  # noqa: PLC0415

    few = {} if candidates is None else {"candidates": str(candidates)}
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
            options=_pairs(options) | few,
            device=device,
            progress=lambda part, done, total: step.update(done, total, part),
        )
        step.result(f"{report['queries']} queries x {report['documents']} documents")
    emit(report, [f"scores  {report['out']}"], as_json=as_json)


def _pairs(options: tuple[str, ...]) -> dict[str, str]:
    for option in options:
        if "=" not in option:
            raise click.BadParameter(f"{option!r} is not NAME=VALUE", param_hint="--set")
    return {name: value for name, _, value in (option.partition("=") for option in options)}
