"""Rules for every test: no network but loopback, and services that are named or skipped aloud."""

import os
from collections.abc import Iterator

import pytest

LOOPBACK = ["127.0.0.1", "::1", "localhost"]


def pytest_configure(config):
    """Keep tests offline: model hubs and telemetry are never asked."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def only_loopback() -> Iterator[None]:
    """Refuse every connection but to this machine."""
    from pytest_socket import socket_allow_hosts

    socket_allow_hosts(LOOPBACK, allow_unix_socket=True)
    yield
    from pytest_socket import _remove_restrictions

    _remove_restrictions()
