"""The tasks that workers run: thin, idempotent, and told only where to look.

1. A message carries references (store, shard digest), never texts or tensors.
2. A task whose result is in the store returns at once, so a message may come twice, to two
   workers, or after everything is over.
3. The store says what is done; the broker is only a hint, and no result backend is used.
4. Acknowledged late, one message a worker at a time: a killed worker's shard comes back.
5. A shard that fails, or that its worker dies of, leaves its error and its count in the store;
   what cannot heal is parked at once, the rest after the settings' number of attempts.
6. A worker whose shard takes longer than it may stops itself, whatever it hangs in.

In process the same functions are called directly; nothing here needs a broker then.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.errors import BrokerError
from flows.settings import BrokerSettings
from flows.shards import ShardStore, Trial

if TYPE_CHECKING:
    from celery import Celery

ATTRIBUTE = "byline.attribute_shard"
RETRAIN = "byline.make_retrain"


def attribute_shard(
    store: str, shard: str, fallback: str | None = None, trial: Trial | None = None
) -> bool:
    """Measure the influence behind one shard of outputs, unless the store has it already.

    Args:
        store: folder of the shards, as the sender sees it.
        shard: digest that names the shard.
        fallback: the same folder as this worker sees it, when it is mounted elsewhere.
        trial: on what terms; in this process, until it is done.

    Returns:
        True when the work was done now, False when its result was there or somebody is at it.

    Raises:
        ShardError: the shard failed; its error is kept in the store.
    """
    folder = Path(store)
    if not ShardStore(folder).has_request(shard) and fallback:
        folder = Path(fallback)
    return ShardStore(folder).run(shard, trial or Trial(take_over=True))


def make_app(settings: BrokerSettings, *, store: str | None = None, device: str = "cpu") -> Celery:
    """Make the Celery app that sends and receives tasks.

    Args:
        settings: the broker section of the settings; its url must not be empty.
        store: for a worker, its own view of the shard folder.
        device: for a worker, where its models run.

    Returns:
        The app, with the tasks registered.

    Raises:
        BrokerError: no broker is set.
    """
    if not settings.url:
        raise BrokerError(
            "no message broker is set, so there is nothing to send tasks through; set [broker] "
            "url (redis://host:6379/0 or amqp://user@host//), or run without workers"
        )
    from celery import Celery  # noqa: PLC0415 - half a second, and only with a broker

    app = Celery("byline", broker=settings.url, set_as_current=False)
    app.conf.update(**app_settings(settings))

    def task(store_: str, shard: str, take_over: bool) -> bool:  # noqa: FBT001 - a message
        trial = Trial(settings.attempts, settings.shard_limit_s, take_over, device)
        return attribute_shard(store_, shard, store, trial)

    def retrain(setup: str, out: str, plan: dict[str, Any], name: str) -> bool:
        from flows.retrains import make_retrain  # noqa: PLC0415 - it imports this module

        return make_retrain(setup, out, plan, name)

    app.task(task, name=ATTRIBUTE, ignore_result=True)
    app.task(retrain, name=RETRAIN, ignore_result=True)
    return app


def retrain_queue(settings: BrokerSettings) -> str:
    """Name the queue in which retrains wait, beside that of the shards."""
    return f"{settings.queue}-retrains"


def app_settings(settings: BrokerSettings) -> dict[str, Any]:
    """Give Celery's settings; each was tried with a killed worker.

    Args:
        settings: the broker section of the settings.

    Returns:
        Celery configuration keys and values.
    """
    transport: dict[str, Any] = {}
    if settings.url.startswith(("redis", "rediss", "valkey")):
        # Redis gives a dead worker's message back after the visibility timeout, and looks for
        # such messages only every interval * throttle seconds (100 s if nothing is said).
        transport = {
            "visibility_timeout": settings.visibility_timeout_s,
            "unacked_restore_interval": settings.restore_interval_s,
            "unacked_restore_throttle": 1,
        }
    elif settings.url.startswith("filesystem"):
        transport = {"polling_interval": 0.05}
    # A solo worker cannot answer heartbeats while it scores, and RabbitMQ would take it for dead;
    # when it is killed the kernel closes its connection, which RabbitMQ sees at once.
    return {
        "broker_heartbeat": 0,
        "broker_connection_max_retries": None,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_default_queue": settings.queue,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "task_ignore_result": True,
        "broker_transport_options": transport,
        "broker_connection_retry_on_startup": True,
        "broker_connection_timeout": 5,
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0.2},
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "timezone": "UTC",
    }


def describe(settings: BrokerSettings) -> str:
    """Say in one line, without a password, how tasks travel."""
    if not settings.url:
        return "in this process"
    scheme, _, rest = settings.url.partition("://")
    return json.dumps(f"{scheme}://{rest.rpartition('@')[2]}")[1:-1] + f" queue {settings.queue}"
