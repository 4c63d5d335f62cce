"""The shard store: what is asked of workers and what they found, in files named by content.

For a shard named N, a digest of the index, the outputs and the code's version, there lie here

    N.request.json                          the outputs to score, and with which index
    N.parquet, N.gains.parquet, N.manifest.json    what attribution found, the manifest last
    N.error.json                            how often it failed, and why
    claims/N.lock                           who is at it now, or who died at it
    claims/N.took.json                      how long it took, and whom
    workers/NAME.lock                       which workers are alive, and which died

1. N depends on nothing but index, outputs and code, so two nights, two workers or two deliveries
   of one message meet in the same files with the same bytes.
2. A result counts only when its manifest is there and every file has the digest in it; a
   truncated or altered result is made again.
3. A claim saves work and names the dead; it is not what keeps results right. The kernel frees it
   when its holder dies, and the next one counts that as a failed attempt, so that a shard which
   kills its workers is parked like any other.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attribution.errors import AttributionError, DeviceError
from flows.artefacts import canonical_json, sha256_file, write_bytes
from flows.errors import LockHeldError, ShardError
from flows.locks import Holder, hold, look

if TYPE_CHECKING:
    from attribution.influence import Attributor
    from attribution.run import AttributionResult, QueryText

FORMAT = "byline-shard/1"
SHOWN_DIGITS = 12
UNLIMITED = 1 << 30


@dataclass(frozen=True)
class Trial:
    """On what terms a shard is tried.

    Args:
        attempts: how often it may have failed before nobody tries again.
        limit_s: how long it may take before this process ends itself; None for ever.
        take_over: score it although somebody alive is at it, who is taken to hang.
        device: where the models run.
    """

    attempts: int = UNLIMITED
    limit_s: int | None = None
    take_over: bool = False
    device: str = "cpu"


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

    @property
    def claims(self) -> Path:
        """Who is at which shard."""
        return self.folder / "claims"

    @property
    def workers(self) -> Path:
        """Which workers there are."""
        return self.folder / "workers"

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

    def run(self, name: str, trial: Trial = Trial()) -> bool:
        """Score one shard, unless its result is there or somebody is at it.

        Args:
            name: the shard.
            trial: how often, how long, and whether somebody alive is taken to hang.

        Returns:
            True when it was scored now.

        Raises:
            ShardError: it failed, or had failed too often; the error is kept beside it.
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
            with hold(self.claims, name) as died:
                if died:
                    self.note_failure(name, self.obituary(name, died))
                return self._attempt(name, trial)
        except LockHeldError:
            return trial.take_over and self._attempt(name, trial)

    def _attempt(self, name: str, trial: Trial) -> bool:
        """Score one shard now, or keep why it failed."""
        failed = self.failure(name)
        if failed is not None and failed.attempts >= trial.attempts:
            raise ShardError(f"shard {name[:SHOWN_DIGITS]} is parked: {failed.text}")
        if self.is_done(name):
            return False
        started = time.monotonic()
        try:
            with stop_after(trial.limit_s, self._words(name)):
                self._score(json.loads(self._request(name).read_bytes()), trial.device)
        except (AttributionError, ShardError) as error:
            self.note_failure(name, str(error), final=not isinstance(error, DeviceError))
            raise ShardError(f"shard {name[:SHOWN_DIGITS]} failed: {error}") from error
        except Exception as error:
            self.note_failure(name, f"{type(error).__name__}: {error}")
            raise
        assert self.is_done(name), name
        took = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "seconds": round(time.monotonic() - started, 3),
        }
        write_bytes(self._took(name), canonical_json(took))
        return True

    def is_damaged(self, name: str) -> bool:
        """Say whether a result was there and no longer is what was written."""
        return self._files(name)[2].exists() and not self.is_done(name)

    def holder(self, name: str) -> Holder | None:
        """Say who is at a shard, or who died at it."""
        return look(self.claims, name)

    def obituary(self, name: str, holder: str) -> str:
        """Say in one line how somebody died at a shard.

        Args:
            name: the shard.
            holder: who.
        """
        words = self._last_words(name)
        if not words:
            return f"{holder} died at it (killed, out of memory, or the machine went down)"
        where = [line.strip() for line in words.splitlines() if line.strip().startswith("File")]
        return f"{holder} was stopped for taking too long" + (f", in {where[0]}" if where else "")

    def seconds(self, name: str) -> float | None:
        """Give how long a shard took, or None where nobody kept it."""
        try:
            return float(json.loads(self._took(name).read_bytes())["seconds"])
        except (OSError, ValueError, KeyError):
            return None

    def names(self, suffix: str) -> list[str]:
        """List the shards that have a file with a suffix, such as `.error.json`, by name."""
        found = self.folder.glob(f"*{suffix}")
        return sorted(path.name.removesuffix(suffix) for path in found)

    def failure(self, name: str) -> Failure | None:
        """Read how a shard failed, if it did."""
        try:
            kept = json.loads(self._error(name).read_bytes())
        except (OSError, ValueError):
            return None
        return Failure(kept["attempts"], kept["error"], kept["final"])

    def forget_errors(self, name: str) -> None:
        """Give a shard all its attempts again; who died at it counts no more."""
        self._error(name).unlink(missing_ok=True)
        self._words(name).unlink(missing_ok=True)
        found = self.holder(name)
        if found is not None and not found.alive:
            with contextlib.suppress(LockHeldError), hold(self.claims, name):
                pass

    def drop_request(self, name: str) -> None:
        """Remove a request, and with it the texts of its outputs and all that led to its result."""
        for path in (
            self._request(name),
            self._took(name),
            self._error(name),
            self._words(name),
            self.claims / f"{name}.lock",
        ):
            path.unlink(missing_ok=True)

    def _score(self, request: dict[str, Any], device: str) -> None:
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
            attributor=open_attributor(str(index), found, device),
        )

    def note_failure(self, name: str, text: str, *, final: bool = False) -> None:
        """Count one failed attempt and keep its reason.

        Args:
            name: the shard.
            text: what happened.
            final: trying again cannot help.
        """
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

    def _took(self, name: str) -> Path:
        return self.claims / f"{name}.took.json"

    def _words(self, name: str) -> Path:
        return self.claims / f"{name}.hung"

    def _last_words(self, name: str) -> str:
        """Read where a worker hung that stopped itself, or ""."""
        try:
            return self._words(name).read_text("utf-8", "replace").strip()
        except OSError:
            return ""


@contextlib.contextmanager
def stop_after(seconds: int | None, words: Path) -> Iterator[None]:
    """End this process when the block takes longer, even if it hangs in C holding the GIL.

    Args:
        seconds: how long the block may take; None for ever.
        words: where the traceback of every thread is left, for whoever finds the process dead.
    """
    if seconds is None:
        yield
        return
    words.parent.mkdir(parents=True, exist_ok=True)
    with words.open("w", encoding="utf-8") as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    words.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def open_attributor(index: str, index_sha256: str, device: str = "cpu") -> Attributor:
    """Open an index with its models, once a process.

    Args:
        index: its folder.
        index_sha256: its identity; another one opens it again.
        device: where the models run; see `attribution.device`.
    """
    from attribution.index_read import GradientIndex  # noqa: PLC0415 - torch, only to score
    from attribution.influence import Attributor  # noqa: PLC0415

    attributor = Attributor(GradientIndex.open(Path(index)), device=device)
    found = attributor.index.manifest.sha256
    assert found == index_sha256, (found, index_sha256)
    return attributor
