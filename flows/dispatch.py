"""Get shards done: here, or by whichever workers listen to the broker.

1. What is done is read from the shard store alone. Messages may be lost, doubled or late.
2. A shard is sent again when whoever was at it died, when it takes longer than a shard may, or
   when it is in no queue and with nobody. Sending twice is harmless, so a shard comes back within
   seconds whatever the broker's own timeout is.
3. A shard that failed `attempts` times, or once for a reason that cannot heal, is parked with its
   error; the others are finished, then the step ends and names it.
4. Stopped or failed, the messages still waiting are revoked; running the step again sends what
   is missing. A broker that goes away meanwhile is waited for.
5. Whatever of this happens, the person who watches is told in one line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flows.broker import Broker
from flows.errors import BrokerError, ShardError
from flows.settings import BrokerSettings
from flows.shards import SHOWN_DIGITS, Failure, ShardStore, Trial
from flows.tasks import attribute_shard, describe

POLL_S = 0.1
QUEUE_LOOK_S = 2.0
LOST_AFTER_S = 6.0
GRACE = 1.2

OnProgress = Callable[[int, int, str], None]
Say = Callable[[str], None]


def run_shards(
    store: ShardStore,
    shards: Sequence[str],
    settings: BrokerSettings,
    on_progress: OnProgress,
    say: Say,
    device: str = "cpu",
) -> int:
    """Get every shard done.

    Args:
        store: where requests and results lie.
        shards: digests of the shards wanted.
        settings: the broker; an empty url works in this process.
        on_progress: told (shards done, shards in all, note).
        say: told in one line what went wrong and was mended.
        device: where the models run in this process; workers have their own.

    Returns:
        How many shards were not done before.

    Raises:
        ShardError: a shard failed for good.
        BrokerError: the broker cannot be reached, or no worker does anything.
    """
    missing = [shard for shard in shards if not store.is_done(shard)]
    for shard in missing:
        if store.is_damaged(shard):
            say(f"the result of shard {short(shard)} was altered or truncated; it is made again")
        store.forget_errors(shard)
    on_progress(len(shards) - len(missing), len(shards), "")
    if missing and settings.url:
        _Errand(store, missing, settings, on_progress, say, len(shards)).run()
    else:
        before = len(shards) - len(missing)
        for number, shard in enumerate(missing):
            attribute_shard(str(store.folder), shard, trial=Trial(take_over=True, device=device))
            on_progress(before + number + 1, len(shards), "")
    return len(missing)


def short(shard: str) -> str:
    """Give the first characters of a shard's name, for people."""
    return shard[:SHOWN_DIGITS]


@dataclass
class _Watched:
    """What the flow has seen of one shard."""

    failures: int = 0
    holder: str = ""
    since: float = 0.0
    buried: str = ""
    overdue: str = ""
    alone_since: float = field(default_factory=time.monotonic)


class _Errand:
    """One dispatch of missing shards through the broker."""

    def __init__(
        self,
        store: ShardStore,
        missing: Sequence[str],
        settings: BrokerSettings,
        on_progress: OnProgress,
        say: Say,
        total: int,
    ) -> None:
        self._store = store
        self._pending = list(missing)
        self._settings = settings
        self._on_progress = on_progress
        self._say = say
        self._total = total
        self._watched = {shard: _Watched() for shard in missing}
        self._parked: dict[str, Failure] = {}
        self._broker = Broker(settings)
        self._away = False
        self._stalls = 0
        self._moved_at = time.monotonic()
        self._queue_seen_at = time.monotonic()

    def run(self) -> None:
        """Send, watch the store, send again what is lost, until nothing is pending."""
        try:
            self._broker.send(self._store, self._pending)
            while self._pending:
                time.sleep(POLL_S)
                self._look()
                now = time.monotonic()
                if now - self._queue_seen_at > QUEUE_LOOK_S:
                    self._queue_seen_at = now
                    self._find_lost(now)
                if now - self._moved_at > self._settings.stall_s:
                    self._stall(now)
            self._refuse_parked()
        except BaseException:
            self._broker.take_back()
            raise
        finally:
            self._broker.close()

    def _look(self) -> None:
        """Read the store: what is done, what failed, who died, who takes too long."""
        now = time.monotonic()
        before = len(self._pending) + len(self._parked)
        self._pending = [shard for shard in self._pending if not self._store.is_done(shard)]
        for shard in list(self._pending):
            self._look_at_failure(shard)
        for shard in self._pending:
            self._look_at_holder(shard, now)
        if len(self._pending) + len(self._parked) < before:
            self._moved()
            done = self._total - len(self._pending) - len(self._parked)
            self._on_progress(done, self._total, describe(self._settings))

    def _look_at_failure(self, shard: str) -> None:
        """Send a shard again that failed, or park it."""
        seen, failure = self._watched[shard], self._store.failure(shard)
        if failure is None or failure.attempts == seen.failures:
            return
        seen.failures = failure.attempts
        self._moved()
        if failure.final or failure.attempts >= self._settings.attempts:
            self._say(f"shard {short(shard)} is parked: {failure.text}")
            self._parked[shard] = failure
            self._pending.remove(shard)
            return
        if seen.buried and failure.text.startswith(seen.buried):
            # Said and sent already; whoever has it now has counted the dead.
            return
        self._say(
            f"shard {short(shard)} failed, attempt {failure.attempts} of "
            f"{self._settings.attempts}: {failure.text}; sent again"
        )
        self._send_again([shard], take_over=bool(seen.overdue))

    def _look_at_holder(self, shard: str, now: float) -> None:
        """Send a shard again whose worker died or hangs."""
        seen, holder = self._watched[shard], self._store.holder(shard)
        if holder is None:
            return
        if not holder.alive:
            if holder.text != seen.buried:
                seen.buried = holder.text
                self._say(
                    f"shard {short(shard)}: {self._store.obituary(shard, holder.text)}; sent again"
                )
                self._send_again([shard])
            return
        if holder.text != seen.holder:
            seen.holder, seen.since = holder.text, now
            self._moved()
        seen.alone_since = now
        if now - seen.since <= GRACE * self._settings.shard_limit_s:
            self._moved_at = now
        elif holder.text != seen.overdue:
            seen.overdue = holder.text
            text = (
                f"{holder.text} has been at it for more than {self._settings.shard_limit_s} s "
                f"([broker] shard_limit_s) without a result"
            )
            self._store.note_failure(shard, text)

    def _find_lost(self, now: float) -> None:
        """Send again what is in no queue and with nobody."""
        try:
            waiting = self._broker.waiting()
        except BrokerError:
            if not self._away:
                self._say(f"{describe(self._settings)} does not answer; waiting for it")
            self._away = True
            return
        if self._away:
            self._say(f"{describe(self._settings)} answers again")
            self._away = False
        alone = [s for s in self._pending if now - self._watched[s].alone_since > LOST_AFTER_S]
        if waiting:
            for shard in alone:
                self._watched[shard].alone_since = now
        elif alone:
            self._say(f"{len(alone)} shards were in no queue and with nobody; sent again")
            self._send_again(alone)

    def _send_again(self, shards: Sequence[str], *, take_over: bool = False) -> None:
        """Send shards; a broker that is away just now is asked again later."""
        for shard in shards:
            self._watched[shard].alone_since = time.monotonic()
        try:
            self._broker.send(self._store, shards, take_over=take_over)
        except BrokerError:
            self._away = True
            self._say(f"{describe(self._settings)} does not answer; waiting for it")

    def _moved(self) -> None:
        self._moved_at = time.monotonic()
        self._stalls = 0

    def _stall(self, now: float) -> None:
        """Say that nothing happens, or give up when that has lasted."""
        self._stalls += 1
        self._moved_at = now
        if self._stalls >= self._settings.attempts:
            raise BrokerError(
                f"no worker finished a shard within {self._settings.stall_s} s, "
                f"{self._stalls} times over, on {describe(self._settings)}; "
                f"{len(self._pending)} of {self._total} shards are missing, the others are kept. "
                f"Start workers with `byline worker` and give the same command again"
            )
        self._say(
            f"no worker has done anything for {self._settings.stall_s} s; "
            f"`byline workers status` shows who is alive"
        )
        self._send_again(self._pending)

    def _refuse_parked(self) -> None:
        """End the step when shards are parked."""
        if not self._parked:
            return
        shard, failure = next(iter(self._parked.items()))
        more = f" and {len(self._parked) - 1} more" if len(self._parked) > 1 else ""
        raise ShardError(
            f"shard {short(shard)}{more} is parked after {failure.attempts} attempts: "
            f"{failure.text} ({len(self._parked)} of {self._total} shards are missing; "
            f"the others are kept). Mend the cause and give the same command again"
        )
