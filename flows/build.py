"""Build the gradient index of a workspace as its settings say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flows.workspace import Workspace


def build_workspace_index(
    workspace: Workspace, on_progress: Callable[[str, int, int], None] | None = None
) -> dict[str, Any]:
    """Build the index, or finish one that was begun, or return the one that is there.

    Args:
        workspace: whose corpus, model and settings.
        on_progress: told (part, done, all).

    Returns:
        What the index says of itself.

    Raises:
        AttributionError: model, corpus or an unfinished index cannot be used.
    """
    # Torch comes with it, and only a build needs it.
    from attribution.index import IndexConfig, build_index  # noqa: PLC0415

    workspace.require(workspace.corpus, "whoever delivers the corpus (`byline demo` harvests one)")
    wanted = workspace.settings.attribution
    manifest = build_index(
        IndexConfig(
            model_dir=workspace.model,
            corpus=workspace.corpus,
            out=workspace.index,
            checkpoints=tuple(sorted((workspace.model / "checkpoints").glob("step-*"))),
            decoys=workspace.decoys if workspace.decoys.exists() else None,
            bytes_per_document=wanted.bytes_per_document or None,
            dtype=wanted.dtype,
            projection=wanted.projection,
            damping=wanted.damping,
            fit_share=wanted.fit_share,
        ),
        on_progress or (lambda _part, _done, _all: None),
    )
    return dict(manifest.content)
