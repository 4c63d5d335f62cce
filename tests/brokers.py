"""Message brokers for tests: found by a URL in the environment or on localhost.

BYLINE_TEST_REDIS_URL and BYLINE_TEST_RABBITMQ_URL name them. Where one is missing, a test is
skipped with the reason, unless CI=true: then it fails.
"""

import os
from functools import cache

import pytest

DEFAULTS = {
    "redis": ("BYLINE_TEST_REDIS_URL", "redis://127.0.0.1:6379/0"),
    "rabbitmq": ("BYLINE_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}


def broker_url(name: str) -> str:
    """Give the URL of a broker, or skip the test without one (in CI: fail it)."""
    variable, default = DEFAULTS[name]
    url = os.environ.get(variable, default)
    reason = why_not(url)
    if reason is None:
        return url
    said = f"no {name} at {url.rpartition('@')[2]} ({variable}): {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)


@cache
def why_not(url: str) -> str | None:
    """Return why a broker cannot be used, or None when it can."""
    from kombu import Connection

    try:
        with Connection(url, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
    except Exception as error:  # noqa: BLE001 - every library raises its own
        return f"{type(error).__name__}: {error}"
    return None
