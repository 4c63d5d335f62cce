"""A worker process: one shard at a time, the model loaded once, stopped between shards.

One solo worker a device: CUDA cannot be started again after a fork, so no pool of children.
`CUDA_VISIBLE_DEVICES=1 byline worker --name gpu1` is how a machine with several devices runs
several workers.
"""

from __future__ import annotations

import os
import socket

from flows.tasks import make_app
from flows.workspace import Workspace


def run_worker(workspace: Workspace, *, name: str = "worker", log_level: str = "WARNING") -> None:
    """Work through the queue until stopped.

    Args:
        workspace: whose settings name the broker, and whose shards are worked on.
        name: first part of the worker's name; the machine and the process are added.
        log_level: Celery's log level.

    Raises:
        BrokerError: no broker is set.
    """
    app = make_app(workspace.settings.broker, store=str(workspace.shards))
    node = f"{name}-{os.getpid()}@{socket.gethostname()}"
    app.worker_main(
        [
            "worker",
            "--pool=solo",
            "--concurrency=1",
            f"--queues={workspace.settings.broker.queue}",
            f"--hostname={node}",
            f"--loglevel={log_level}",
            "--without-gossip",
            "--without-mingle",
        ]
    )
