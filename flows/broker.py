"""The message broker, as far as the flow and the operator ask it: send, and count what waits.

Every trouble with it is one error, `BrokerError`, which names the broker without its password.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flows.errors import BrokerError
from flows.settings import BrokerSettings
from flows.shards import SHOWN_DIGITS, ShardStore
from flows.tasks import ATTRIBUTE, describe, make_app

if TYPE_CHECKING:
    from celery import Celery

CONNECT_S = 5


class Broker:
    """One connection of the flow to its broker.

    Args:
        settings: the broker section of the settings; its url must not be empty.

    Raises:
        BrokerError: no broker is set.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self.settings = settings
        from kombu.exceptions import KombuError  # noqa: PLC0415 - only with a broker

        self._app: Celery = make_app(settings)
        self._sent: list[str] = []
        errors = self._app.connection_for_read().connection_errors
        self._lost = (*errors, KombuError, OSError)

    def send(self, store: ShardStore, shards: Sequence[str], *, take_over: bool = False) -> None:
        """Ask for shards.

        Args:
            store: where their requests lie.
            shards: digests of the shards.
            take_over: also if somebody is at them, who is taken to hang.

        Raises:
            BrokerError: the broker cannot be reached.
        """
        with self._in_our_words():
            for shard in shards:
                task_id = f"{shard[:SHOWN_DIGITS]}-{uuid.uuid4().hex}"
                arguments = [str(store.folder), shard, take_over]
                self._app.send_task(ATTRIBUTE, args=arguments, task_id=task_id)
                self._sent.append(task_id)

    def ask(self, task: str, arguments: Sequence[object], name: str, queue: str) -> None:
        """Send one message of any task to a queue.

        Args:
            task: name of the task.
            arguments: plain values.
            name: begins the message's id.
            queue: where it waits.

        Raises:
            BrokerError: the broker cannot be reached.
        """
        with self._in_our_words():
            task_id = f"{name}-{uuid.uuid4().hex}"
            self._app.send_task(task, args=list(arguments), task_id=task_id, queue=queue)
            self._sent.append(task_id)

    def waiting(self) -> int:
        """Count the messages that wait in the queue; those that a worker holds are not among them.

        Raises:
            BrokerError: the broker cannot be reached.
        """
        with self._in_our_words(), self._app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT_S)
            # A queue that nobody made yet holds nothing.
            with contextlib.suppress(*connection.channel_errors):
                queue = self.settings.queue
                declared = connection.default_channel.queue_declare(queue, passive=True)
                return int(declared.message_count)
        return 0

    def take_back(self) -> None:
        """Revoke what was sent and still waits, as far as the broker can be reached."""
        # Where it cannot, the messages stay; a worker that gets one finds its result or makes it.
        with contextlib.suppress(BrokerError), self._in_our_words():
            if self._sent:
                self._app.control.revoke(self._sent)

    def close(self) -> None:
        """Let the connection go."""
        self._app.close()

    @contextlib.contextmanager
    def _in_our_words(self) -> Iterator[None]:
        """Turn what any transport raises when the broker is away into one error."""
        try:
            yield
        except self._lost as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise BrokerError(
                f"the message broker {describe(self.settings)} cannot be reached ({first}); no "
                f"shard is lost. Check [broker] url and that the broker runs, then give the same "
                f"command again"
            ) from error
