"""Servers of a test's own, to be killed and started again: nobody else's server is touched.

Each lies in a temporary folder and listens on a free port of the loopback. Where the program is
not installed, a test is skipped with the reason, unless CI=true: then it fails.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.brokers import why_not

START_S = 60
_POSTGRES_HOMES = ("/usr/lib/postgresql", "/usr/local/pgsql", "/usr/pgsql")


def free_port() -> int:
    """Give a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str, *folders: str) -> str:
    """Find a program, or skip the test without it (in CI: fail it)."""
    found = shutil.which(name)
    for folder in folders:
        found = found or next((str(p) for p in sorted(Path(folder).rglob(f"bin/{name}"))), None)
    if found:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed")
    pytest.skip(f"{name} is not installed")


class Server:
    """A server process that can be killed and started again with what it had on its disk.

    Args:
        command: how it is started.
        port: where it listens when it is up.
        ready: says whether it can be used; it may listen before.
        **options: further arguments of Popen, such as `user` and `env`.
    """

    def __init__(
        self,
        command: list[str],
        port: int,
        ready: Callable[[], object] = lambda: True,
        **options: object,
    ) -> None:
        self.port = port
        self._ready = ready
        self._command = command
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(
            self._command, start_new_session=True, **quiet, **self._options
        )
        name = f"{self._command[0]} on port {self.port}"
        wait_for(lambda: answers(self.port) and self._ready(), name)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it at once and wait until it is gone."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                if number == signal.SIGKILL:
                    os.killpg(self._process.pid, number)
                else:
                    self._process.send_signal(number)
            self._process.wait()
            self._process = None


def answers(port: int) -> bool:
    """Say whether somebody listens on a port of the loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def wait_for(condition: Callable[[], object], what: str, seconds: float = START_S) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


@contextmanager
def redis_server() -> Iterator[Server]:
    """Run a Redis that keeps nothing on its disk; yield it."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="byline-redis-") as folder:
        words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = Server([program("redis-server"), *words], port)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def postgresql_server() -> Iterator[tuple[Server, str]]:
    """Run a PostgreSQL with an empty database; yield it and the database's URL."""
    port = free_port()
    initdb = program("initdb", *_POSTGRES_HOMES)
    # PostgreSQL refuses to be run by root.
    who = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="byline-pg-") as folder:
        if who:
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
        data = f"{folder}/data"
        words = ["-D", data, "-A", "trust", "-U", "byline", "--no-sync", "-E", "UTF8"]
        subprocess.run([initdb, *words], check=True, capture_output=True, cwd=folder, **who)
        listen = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
        url = f"postgresql://byline@127.0.0.1:{port}/postgres"
        postgres = str(Path(initdb).with_name("postgres"))
        server = Server([postgres, *listen], port, lambda: _takes_queries(url), cwd=folder, **who)
        server.start()
        try:
            yield server, url
        finally:
            server.kill(signal.SIGQUIT)


@contextmanager
def rabbitmq_server() -> Iterator[Server]:
    """Run a RabbitMQ node of its own, with its own name, cookie and port mapper; yield it."""
    port, mapper_port = free_port(), free_port()
    command = program("rabbitmq-server", "/usr/lib/rabbitmq")
    direct = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    with tempfile.TemporaryDirectory(prefix="byline-rabbit-") as folder:
        # The machine's own settings would make it listen where the machine's own node does.
        plugins, settings, environment = (Path(folder, name) for name in ("plugins", "c.conf", "e"))
        plugins.write_text("[].\n")
        settings.write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
        environment.touch()
        env = {
            **os.environ,
            "HOME": folder,
            "ERL_EPMD_PORT": str(mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"byline{port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_CONF_ENV_FILE": str(environment),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": folder,
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        }
        mapper = Server([program("epmd", "/usr/lib/erlang")], mapper_port, env=env)
        mapper.start()
        start = str(direct) if direct.exists() else command
        url = f"amqp://guest:guest@127.0.0.1:{port}//"
        server = Server([start], port, lambda: why_not.__wrapped__(url) is None, env=env)
        try:
            server.start()
            yield server
        finally:
            server.kill()
            mapper.kill()


def _takes_queries(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=1):
            return True
    except psycopg.Error:
        return False


class Line:
    """A wire to a server on this machine that can be cut and mended.

    Args:
        url: the server's URL; only host and port are used.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[socket.socket] = []
        self._up = True
        self.port = int(self._listener.getsockname()[1])
        self.url = url.replace(f":{parts.port}", f":{self.port}")
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._up = False
        while self._pairs:
            _break(self._pairs.pop())

    def mend(self) -> None:
        """Let connections through again."""
        self._up = True

    def close(self) -> None:
        """Cut it for ever."""
        self.cut()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                if not self._up:
                    _break(ours)
                    continue
                theirs = socket.create_connection(self._target)
                self._pairs += [ours, theirs]
                for source, sink in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=_carry, args=(source, sink), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes one way until one end is gone; then end the other."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    _break(sink)


def _break(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
