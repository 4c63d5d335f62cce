"""The shard store: what is asked of workers and what they found, in files named by content.

For a shard named N, a digest of the index, the outputs and the code's version, there lie here

    N.request.json                          the outputs to score, and with which index
    N.parquet, N.gains.parquet, N.manifest.json    what attribution found, the manifest last
    N.error.json                            how often it failed, and why

1. N depends on nothing but index, outputs and code, so two nights, two workers or two deliveries
   of one message meet in the same files with the same bytes.
2. A result counts only when its manifest is there and every file has the digest in it; a
   truncated or altered result is made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attribution.errors import AttributionError
from flows.artefacts import canonical_json, sha256_file, write_bytes
from flows.errors import ShardError

if TYPE_CHECKING:
    from attribution.influence import Attributor
    from attribution.run import AttributionResult, QueryText

FORMAT = "byline-shard/1"
SHOWN_DIGITS = 12

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Failure:
    """How a shard failed so far; `final` when trying again cannot help."""

    attempts: int
    text: str
    final: bool


@dataclass(frozen=True)
class ShardStore:
    """The shards in one folder.

    Args:
        folder: shared by whoever sends and whoever works.
    """

    folder: Path

    def put(self, name: str, index: Path, index_sha256: str, outputs: Sequence[QueryText]) -> None:
        """Write a request, unless it is there.

        Args:
            name: `attribution.run.shard_name` of the outputs.
            index: folder of the gradient index; kept relative to the store.
            index_sha256: digest of the index's manifest.
            outputs: what to attribute.
        """
        if not self.has_request(name):
            request = {
                "format": FORMAT,
                "index": os.path.relpath(index, self.folder),
                "index_sha256": index_sha256,
                "outputs": [asdict(output) for output in outputs],
            }
            write_bytes(self._request(name), canonical_json(request))

    def has_request(self, name: str) -> bool:
        """Say whether a shard was asked for here."""
        return self._request(name).exists()

    def result(self, name: str) -> AttributionResult:
        """Name the files of a shard's result."""
        # Torch comes with it; whoever only looks at the store does not need it.
        from attribution.run import AttributionResult  # noqa: PLC0415

        return AttributionResult(*self._files(name))

    def is_done(self, name: str) -> bool:
        """Say whether a shard's result is whole and unaltered."""
        influence, gains, manifest = self._files(name)
        if not manifest.exists():
            return False
        try:
            digests = json.loads(manifest.read_bytes())["sha256"]
            found = {"influence": sha256_file(influence), "gains": sha256_file(gains)}
            return bool(found == digests)
        except (ValueError, KeyError, OSError):
            return False

    def run(self, name: str, on_progress: OnProgress | None = None) -> bool:
        """Score one shard, unless its result is there.

        Args:
            name: the shard.
            on_progress: told (parts done, parts).

        Returns:
            True when it was scored now.

        Raises:
            ShardError: it failed; the error is kept beside it.
        """
        if self.is_done(name):
            return False
        if not self.has_request(name):
            raise ShardError(
                f"{self._request(name)} does not exist on this machine, so shard "
                f"{name[:SHOWN_DIGITS]} cannot be worked on; give every worker the same "
                f"workspace (--dir)"
            )
        try:
            self._score(json.loads(self._request(name).read_bytes()), on_progress)
        except (AttributionError, ShardError) as error:
            self._keep_error(name, str(error), final=True)
            raise ShardError(f"shard {name[:SHOWN_DIGITS]} failed: {error}") from error
        except Exception as error:
            self._keep_error(name, f"{type(error).__name__}: {error}", final=False)
            raise
        assert self.is_done(name), name
        return True

    def failure(self, name: str) -> Failure | None:
        """Read how a shard failed, if it did."""
        try:
            kept = json.loads(self._error(name).read_bytes())
        except (OSError, ValueError):
            return None
        return Failure(kept["attempts"], kept["error"], kept["final"])

    def forget_errors(self, name: str) -> None:
        """Give a shard all its attempts again."""
        self._error(name).unlink(missing_ok=True)

    def drop_request(self, name: str) -> None:
        """Remove a request, and with it the texts of its outputs."""
        self._request(name).unlink(missing_ok=True)

    def _score(self, request: dict[str, Any], on_progress: OnProgress | None) -> None:
        from attribution.run import (  # noqa: PLC0415 - as in `result`
            AttributionRequest,
            QueryText,
            attribute_outputs,
        )

        index = (self.folder / request["index"]).resolve()
        found = sha256_file(index / "manifest.json")
        if found != request["index_sha256"]:
            raise ShardError(
                f"the index at {index} has the digest {found}, the shard was cut for "
                f"{request['index_sha256']}; scores of two indexes must not be mixed. "
                f"Give the night's command again"
            )
        outputs = tuple(QueryText(**output) for output in request["outputs"])
        attribute_outputs(
            AttributionRequest(index, outputs, self.folder),
            attributor=open_attributor(str(index), found),
            progress=on_progress,
        )

    def _keep_error(self, name: str, text: str, *, final: bool) -> None:
        before = self.failure(name)
        attempts = 1 + (before.attempts if before else 0)
        kept = {"attempts": attempts, "error": text, "final": final, "shard": name}
        write_bytes(self._error(name), canonical_json(kept))

    def _files(self, name: str) -> tuple[Path, Path, Path]:
        return (
            self.folder / f"{name}.parquet",
            self.folder / f"{name}.gains.parquet",
            self.folder / f"{name}.manifest.json",
        )

    def _request(self, name: str) -> Path:
        return self.folder / f"{name}.request.json"

    def _error(self, name: str) -> Path:
        return self.folder / f"{name}.error.json"


@lru_cache(maxsize=1)
def open_attributor(index: str, index_sha256: str) -> Attributor:
    """Open an index with its models, once a process.

    Args:
        index: its folder.
        index_sha256: its identity; another one opens it again.
    """
    from attribution.index_read import GradientIndex  # noqa: PLC0415 - torch, only to score
    from attribution.influence import Attributor  # noqa: PLC0415

    attributor = Attributor(GradientIndex.open(Path(index)))
    found = attributor.index.manifest.sha256
    assert found == index_sha256, (found, index_sha256)
    return attributor
