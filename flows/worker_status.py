"""What an operator asks about workers: who is alive, what waits, what is parked and why.

Read from the shard store and the broker's queue; no worker is asked, since one that scores a
shard cannot answer. A worker on another machine is seen where the shared file system keeps locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flows.broker import Broker
from flows.errors import BrokerError
from flows.locks import look
from flows.shards import SHOWN_DIGITS, ShardStore
from flows.tasks import describe
from flows.workspace import Workspace


@dataclass(frozen=True)
class WorkersStatus:
    """One look at workers and shards.

    Args:
        broker: which, without its password.
        waiting: messages in the queue; None when it cannot be asked.
        trouble: why it cannot, or "".
        workers: name, holder and whether each is alive.
        at_work: shards somebody alive is at, with holder.
        failed: shards with attempts, error and whether they are parked.
        asked: shards whose night is not whole yet.
        done: how many of those have their result.
    """

    broker: str
    waiting: int | None
    trouble: str
    workers: list[dict[str, Any]]
    at_work: list[dict[str, Any]]
    failed: list[dict[str, Any]]
    asked: int
    done: int

    def lines(self) -> list[str]:
        """Say it to a person."""
        counts = f"{self.done} of {self.asked} done, {len(self.at_work)} at work"
        queue = f"{self.waiting} messages wait" if self.waiting is not None else self.trouble
        alive = sum(worker["alive"] for worker in self.workers)
        parked = [shard for shard in self.failed if shard["parked"]]
        return [
            f"broker   {self.broker}: {queue or 'none is set, shards are done by the flow'}",
            f"workers  {alive} alive, {len(self.workers) - alive} died",
            *(f"  {w['name']}: {'alive' if w['alive'] else 'died'}" for w in self.workers),
            f"shards   {counts}, {len(parked)} parked",
            *(f"  {s['shard'][:SHOWN_DIGITS]} at work: {s['holder']}" for s in self.at_work),
            *(
                f"  {s['shard'][:SHOWN_DIGITS]} {'parked' if s['parked'] else 'failed'} after "
                f"{s['attempts']} attempts: {s['error']}"
                for s in self.failed
            ),
        ]


def workers_status(workspace: Workspace) -> WorkersStatus:
    """Look at the workers of a workspace.

    Args:
        workspace: whose broker and shard store.

    Returns:
        What there is; a broker that cannot be reached is said in `trouble`.
    """
    settings, store = workspace.settings.broker, ShardStore(workspace.shards)
    waiting, trouble = _waiting(workspace)
    asked = store.names(".request.json")
    failed = []
    for shard in store.names(".error.json"):
        failure = store.failure(shard)
        if failure is not None:
            parked = failure.final or failure.attempts >= settings.attempts
            failed.append(
                {
                    "shard": shard,
                    "attempts": failure.attempts,
                    "parked": parked,
                    "error": failure.text,
                }
            )
    workers = []
    for path in sorted(store.workers.glob("*.lock")):
        name = path.name.removesuffix(".lock")
        if (found := look(store.workers, name)) is not None:
            workers.append({"name": name, "alive": found.alive, "holder": found.text})
    holders = [(shard, store.holder(shard)) for shard in asked]
    at_work = [{"shard": s, "holder": h.text} for s, h in holders if h is not None and h.alive]
    done = sum(store.is_done(shard) for shard in asked)
    return WorkersStatus(
        describe(settings), waiting, trouble, workers, at_work, failed, len(asked), done
    )


def _waiting(workspace: Workspace) -> tuple[int | None, str]:
    """Count what waits in the queue, or say why nobody can."""
    if not workspace.settings.broker.url:
        return None, ""
    broker = Broker(workspace.settings.broker)
    try:
        return broker.waiting(), ""
    except BrokerError as error:
        return None, str(error)
    finally:
        broker.close()
