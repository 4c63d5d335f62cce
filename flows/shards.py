"""The shard store: what is asked of workers and what they found, in files named by content.

For a shard named by the digest D of its request there lie in the folder

    D.request.json   the outputs to score and the digest of the index to score them with
    D/               what `attribution.run.attribute_outputs` wrote, its manifest last
    D.error.json     how often it failed, and why; forgotten when the shard is asked for again

1. D depends on nothing but the index and the outputs, so two nights, two workers or two
   deliveries of one message meet in the same files with the same bytes.
2. A result counts only when its manifest is there and every file has the digest in it; a
   truncated or altered result is made again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribution.errors import AttributionError
from flows.artefacts import canonical_json, sha256_bytes, sha256_file, write_bytes
from flows.errors import ShardError

FORMAT = "byline-shard/1"
MANIFEST = "manifest.json"


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

    def put(self, index: Path, index_sha256: str, outputs: Sequence[dict[str, str]]) -> str:
        """Write a request, unless it is there.

        Args:
            index: folder of the gradient index; kept relative to the store.
            index_sha256: digest of the index's manifest.
            outputs: output_id, prompt_text and output_text of each output.

        Returns:
            The digest that names the shard.
        """
        request = {
            "format": FORMAT,
            "index": os.path.relpath(index, self.folder),
            "index_sha256": index_sha256,
            "outputs": list(outputs),
        }
        data = canonical_json(request)
        shard = sha256_bytes(data)
        if not self.has_request(shard):
            write_bytes(self._request(shard), data)
        return shard

    def has_request(self, shard: str) -> bool:
        """Say whether a shard was asked for here."""
        return self._request(shard).exists()

    def result(self, shard: str) -> Path:
        """Name the folder of a shard's result."""
        return self.folder / shard

    def is_done(self, shard: str) -> bool:
        """Say whether a shard's result is whole and unaltered."""
        manifest = self.result(shard) / MANIFEST
        if not manifest.exists():
            return False
        try:
            files = json.loads(manifest.read_bytes())["sha256"]
            return all(
                sha256_file(self.result(shard) / name) == digest for name, digest in files.items()
            )
        except (ValueError, KeyError, OSError):
            return False

    def run(self, shard: str) -> bool:
        """Score one shard, unless its result is there.

        Returns:
            True when it was scored now.

        Raises:
            ShardError: it failed; the error is kept beside it.
        """
        if self.is_done(shard):
            return False
        if not self.has_request(shard):
            raise ShardError(
                f"{self._request(shard)} does not exist on this machine, so shard {shard[:12]} "
                f"cannot be worked on; give every worker the same store folder (--dir)"
            )
        try:
            self._score(shard, json.loads(self._request(shard).read_bytes()))
        except (AttributionError, ShardError) as error:
            self._keep_error(shard, str(error), final=True)
            raise ShardError(f"shard {shard[:12]} failed: {error}") from error
        except Exception as error:
            self._keep_error(shard, f"{type(error).__name__}: {error}", final=False)
            raise
        return True

    def failure(self, shard: str) -> Failure | None:
        """Read how a shard failed, if it did."""
        try:
            kept = json.loads(self._error(shard).read_bytes())
        except (OSError, ValueError):
            return None
        return Failure(kept["attempts"], kept["error"], kept["final"])

    def forget_errors(self, shard: str) -> None:
        """Give a shard all its attempts again."""
        self._error(shard).unlink(missing_ok=True)

    def _score(self, shard: str, request: dict[str, Any]) -> None:
        # Torch is loaded by whoever scores, not by whoever only looks at the store.
        from attribution.run import (  # noqa: PLC0415
            AttributionRequest,
            QueryText,
            attribute_outputs,
        )

        index = (self.folder / request["index"]).resolve()
        found = sha256_file(index / MANIFEST)
        if found != request["index_sha256"]:
            raise ShardError(
                f"the index at {index} has the digest {found}, the shard was cut for "
                f"{request['index_sha256']}; scores of two indexes must not be mixed. "
                f"Give the night's command again"
            )
        if self.result(shard).exists():
            shutil.rmtree(self.result(shard))
        outputs = [QueryText(**output) for output in request["outputs"]]
        attribute_outputs(AttributionRequest(index, outputs, self.result(shard)))

    def _keep_error(self, shard: str, text: str, *, final: bool) -> None:
        before = self.failure(shard)
        attempts = 1 + (before.attempts if before else 0)
        kept = {"attempts": attempts, "error": text, "final": final, "shard": shard}
        write_bytes(self._error(shard), canonical_json(kept))

    def _request(self, shard: str) -> Path:
        return self.folder / f"{shard}.request.json"

    def _error(self, shard: str) -> Path:
        return self.folder / f"{shard}.error.json"
