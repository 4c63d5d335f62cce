"""Get shards done: here, or by whichever workers listen to the broker.

1. What is done is read from the shard store alone. Messages may be lost, doubled or late.
2. A shard without progress for `stall_s` is sent again; sending twice is harmless.
3. A shard that failed `attempts` times, or once for a reason that cannot heal, ends the step
   with its own error; the shards that are done stay done.
4. Stopped or failed, the messages still waiting are revoked; running the step again sends what
   is missing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flows.errors import BrokerError, ShardError
from flows.settings import BrokerSettings
from flows.shards import SHOWN_DIGITS, ShardStore
from flows.tasks import ATTRIBUTE, attribute_shard, describe, make_app

if TYPE_CHECKING:
    from celery import Celery

POLL_S = 0.1

OnProgress = Callable[[int, int, str], None]


def run_shards(
    store: ShardStore, shards: Sequence[str], settings: BrokerSettings, on_progress: OnProgress
) -> int:
    """Get every shard done.

    Args:
        store: where requests and results lie.
        shards: digests of the shards wanted.
        settings: the broker; an empty url works in this process.
        on_progress: told (shards done, shards in all, note).

    Returns:
        How many shards were not done before.

    Raises:
        ShardError: a shard failed for good.
        BrokerError: the broker cannot be reached, or no worker does anything.
    """
    missing = [shard for shard in shards if not store.is_done(shard)]
    for shard in missing:
        store.forget_errors(shard)
    on_progress(len(shards) - len(missing), len(shards), "")
    if missing and settings.url:
        _Errand(store, missing, settings, on_progress, len(shards)).run()
    else:
        before = len(shards) - len(missing)
        for number, shard in enumerate(missing):
            attribute_shard(str(store.folder), shard)
            on_progress(before + number + 1, len(shards), "")
    return len(missing)


class _Errand:
    """One dispatch of missing shards through the broker."""

    def __init__(
        self,
        store: ShardStore,
        missing: Sequence[str],
        settings: BrokerSettings,
        on_progress: OnProgress,
        total: int,
    ) -> None:
        self._store = store
        self._pending = list(missing)
        self._settings = settings
        self._on_progress = on_progress
        self._total = total
        self._sent: list[str] = []
        self._failures_seen = dict.fromkeys(missing, 0)
        self._stalls = 0

    def run(self) -> None:
        """Send, watch the store, send again what stalls, until nothing is pending."""
        app = make_app(self._settings)
        try:
            self._send(app, self._pending)
            moved_at = time.monotonic()
            while self._pending:
                time.sleep(POLL_S)
                if self._look(app):
                    moved_at = time.monotonic()
                elif time.monotonic() - moved_at > self._settings.stall_s:
                    self._stall(app)
                    moved_at = time.monotonic()
        except BaseException:
            self._revoke(app)
            raise
        finally:
            app.close()

    def _look(self, app: Celery) -> bool:
        """Read the store; say whether anything moved."""
        before = len(self._pending)
        self._pending = [shard for shard in self._pending if not self._store.is_done(shard)]
        moved = len(self._pending) < before
        for shard in self._pending:
            failure = self._store.failure(shard)
            if failure is None or failure.attempts == self._failures_seen[shard]:
                continue
            moved = True
            self._failures_seen[shard] = failure.attempts
            if failure.final or failure.attempts >= self._settings.attempts:
                raise ShardError(
                    f"shard {shard[:SHOWN_DIGITS]} is parked after {failure.attempts} attempts: "
                    f"{failure.text} ({len(self._pending)} of {self._total} shards are missing; "
                    f"the others are kept). Mend the cause and give the same command again"
                )
            self._send(app, [shard])
        if moved:
            done = self._total - len(self._pending)
            self._on_progress(done, self._total, describe(self._settings))
        return moved

    def _stall(self, app: Celery) -> None:
        """Send the pending shards again, or give up when that has not helped."""
        self._stalls += 1
        if self._stalls >= self._settings.attempts:
            raise BrokerError(
                f"no worker finished a shard within {self._settings.stall_s} s, "
                f"{self._stalls} times over, on {describe(self._settings)}; "
                f"{len(self._pending)} of {self._total} shards are missing, the others are kept. "
                f"Start workers with `byline worker` and give the same command again"
            )
        self._send(app, self._pending)

    def _send(self, app: Celery, shards: Sequence[str]) -> None:
        from kombu.exceptions import OperationalError  # noqa: PLC0415 - only with a broker

        try:
            for shard in shards:
                task_id = f"{shard[:SHOWN_DIGITS]}-{uuid.uuid4().hex}"
                app.send_task(ATTRIBUTE, args=[str(self._store.folder), shard], task_id=task_id)
                self._sent.append(task_id)
        except (OperationalError, OSError) as error:
            raise BrokerError(
                f"the message broker {describe(self._settings)} cannot be reached ({error}); no "
                f"shard is lost. Check [broker] url and that the broker runs, then give the same "
                f"command again"
            ) from error

    def _revoke(self, app: Celery) -> None:
        """Take back what still waits, as far as the broker can be reached."""
        from kombu.exceptions import OperationalError  # noqa: PLC0415 - only with a broker

        try:
            if self._sent:
                app.control.revoke(self._sent)
        except (OperationalError, OSError):
            # The messages stay; a worker that gets one finds its result or makes it.
            return
