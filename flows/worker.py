"""A worker process: one shard at a time, the model loaded once, stopped between shards.

One solo worker a device: CUDA cannot be started again after a fork, so no pool of children.
`byline worker --name gpu1 --device cuda:1`, or `CUDA_VISIBLE_DEVICES=1` before it, is how a machine
with several devices runs several workers. A worker stops itself when a shard takes longer than it
may, and ends when it is killed: let whatever starts it (systemd, Kubernetes, a shell loop) start
it again.

Each holds a lock named after it in the shard store for as long as it lives; so whoever sees the
store sees which workers are alive and which died, also while they are too busy to answer.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from flows.locks import hold, look
from flows.shards import ShardStore
from flows.tasks import make_app, retrain_queue
from flows.workspace import Workspace


def run_worker(
    workspace: Workspace,
    *,
    name: str = "worker",
    log_level: str = "WARNING",
    device: str | None = None,
) -> None:
    """Work through the queue until stopped.

    Args:
        workspace: whose settings name the broker, and whose shards are worked on.
        name: first part of the worker's name; the machine and the process are added.
        log_level: Celery's log level.
        device: where the models run; the settings decide when None.

    Raises:
        BrokerError: no broker is set.
        DeviceError: there is no such device.
    """
    place = device or workspace.settings.attribution.device
    app = make_app(workspace.settings.broker, store=str(workspace.shards), device=place)
    _refuse_missing(place)
    host = socket.gethostname()
    workers = ShardStore(workspace.shards).workers
    _forget_dead(workers, name, host)
    node = f"{name}-{os.getpid()}@{host}"
    queues = f"{workspace.settings.broker.queue},{retrain_queue(workspace.settings.broker)}"
    with hold(workers, node):
        app.worker_main(
            [
                "worker",
                "--pool=solo",
                "--concurrency=1",
                f"--queues={queues}",
                f"--hostname={node}",
                f"--loglevel={log_level}",
                "--without-gossip",
                "--without-mingle",
            ]
        )
    (workers / f"{node}.lock").unlink(missing_ok=True)


def _refuse_missing(device: str) -> None:
    """Refuse a card that is not there before any shard is taken from the queue."""
    from attribution.device import find_device  # noqa: PLC0415 - torch

    find_device(device)


def _forget_dead(workers: Path, name: str, host: str) -> None:
    """Remove the marks of dead workers of this name and machine: the new one replaces them."""
    for path in workers.glob(f"{name}-*@{host}.lock"):
        found = look(workers, path.name.removesuffix(".lock"))
        if found is not None and not found.alive:
            path.unlink(missing_ok=True)
