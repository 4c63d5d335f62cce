"""Build a gradient index from a workspace or from folders given one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.settings import AttributionSettings
from flows.workspace import Workspace

if TYPE_CHECKING:
    from attribution.signing import KeySigner, Signer

OnProgress = Callable[[str, int, int], None]

# Measured on models with retraining truth; see the README.
_MONEY_MOVED = {
    "int1": "two bits already move 30 % of the money from where floats put it, int8 0.1 %",
    "int2": "30 % of the money moves from where floats put it, with int8 0.1 %",
    "lowrank1": "48 % of the money is misallocated where int8 misallocates 14 %",
    "lowrank2": "48 % of the money is misallocated where int8 misallocates 14 %",
}


@dataclass(frozen=True)
class IndexSources:
    """What an index is built from, and where to.

    Args:
        model: folder of the final model.
        checkpoints: earlier weights of the same training stage, oldest first.
        corpus: the training documents.
        decoys: documents never trained on, or None.
        out: the index folder.
    """

    model: Path
    checkpoints: tuple[Path, ...]
    corpus: Path
    decoys: Path | None
    out: Path


def workspace_sources(workspace: Workspace) -> IndexSources:
    """Name what a workspace's index is built from.

    Raises:
        WorkspaceError: there is no corpus.
    """
    corpus = workspace.require(
        workspace.corpus, "whoever delivers the corpus (`byline demo` harvests one)"
    )
    return IndexSources(
        workspace.model,
        tuple(sorted((workspace.model / "checkpoints").glob("step-*"))),
        corpus,
        workspace.decoys if workspace.decoys.exists() else None,
        workspace.index,
    )


def signer_of(key: Path | None, workspace: Workspace | None) -> KeySigner | None:
    """Give whoever signs an index.

    Args:
        key: private key (PEM), or None.
        workspace: whose own key signs where none is given and it has one.

    Returns:
        The signer, or None: the index stays unsigned.
    """
    from attribution.signing import KeySigner  # noqa: PLC0415 - torch

    if key is None and workspace is not None and workspace.index_key.is_file():
        key = workspace.index_key
    return None if key is None else KeySigner.from_pem(key)


def storage_warning(wanted: AttributionSettings) -> str | None:
    """Say what rows stored this way cost, where that is more than eight bits do by far."""
    moved = _MONEY_MOVED.get(wanted.dtype)
    if moved is None:
        return None
    return (
        f"rows stored as {wanted.dtype}: {moved}. Nobody should be paid by such an index; "
        f'set dtype = "int8" under [attribution] and build into another folder'
    )


def build_workspace_index(
    workspace: Workspace,
    on_progress: OnProgress | None = None,
    *,
    signer: Signer | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Build a workspace's index as its settings say; see `build_index_at`."""
    sources = workspace_sources(workspace)
    wanted = workspace.settings.attribution
    return build_index_at(wanted, sources, on_progress, signer=signer, device=device)


def build_index_at(
    wanted: AttributionSettings,
    sources: IndexSources,
    on_progress: OnProgress | None = None,
    *,
    signer: Signer | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Build an index, or finish one that was begun, or return the one that is there.

    Args:
        wanted: projection, size and damping.
        sources: what from, and where to.
        on_progress: told (part, done, all).
        signer: signs the finished index.
        device: where the models run; the settings decide when None.

    Returns:
        What the index says of itself.

    Raises:
        AttributionError: model, corpus or an unfinished index cannot be used.
    """
    # Torch comes with it, and only a build needs it.
    from attribution.index import IndexConfig, build_index  # noqa: PLC0415

    manifest = build_index(
        IndexConfig(
            model_dir=sources.model,
            corpus=sources.corpus,
            out=sources.out,
            checkpoints=sources.checkpoints,
            decoys=sources.decoys,
            bytes_per_document=wanted.bytes_per_document or None,
            dtype=wanted.dtype,
            compute=wanted.compute,
            layers=wanted.layers,
            head=wanted.head,
            projection=wanted.projection,
            damping=wanted.damping,
            fit_share=wanted.fit_share,
            fit_documents_min=wanted.fit_documents_min,
            token_budget=wanted.token_budget or None,
            device=device or wanted.device,
        ),
        on_progress or (lambda _part, _done, _all: None),
        signer=signer,
    )
    return dict(manifest.content)
