"""The gradient index, from the outside: what is built, how it is opened.

    build_index(IndexConfig(...))     make one, or finish one that was begun
    GradientIndex.open(folder)        read one; every byte is checked before use

The parts: `index_config` (the plan), `index_build` (passes over the corpus),
`index_store` (files of a shard), `index_basis`, `index_groups` (the level that
is paid by), `index_read`.
"""

from __future__ import annotations

from attribution.index_build import build_index
from attribution.index_config import IndexConfig, PathPoint, training_path
from attribution.index_manifest import IndexManifest, locked
from attribution.index_read import GradientIndex

__all__ = [
    "GradientIndex",
    "IndexConfig",
    "IndexManifest",
    "PathPoint",
    "build_index",
    "locked",
    "training_path",
]
