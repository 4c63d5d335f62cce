"""SIGKILL at random moments: nothing acknowledged is lost, nothing is posted twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.store import LedgerStore
from tests.databases import fresh_book
from tests.ledger.conftest import BOTH
from tests.ledger.poster import BATCH, PERIOD, batch

ROOT = Path(__file__).parents[2]


def kill_and_rerun(kind: str, folder: Path, seed: int, kills: int) -> None:
    """Kill posters of one book, then compare it with a book that was never disturbed."""
    with fresh_book(kind, folder) as url:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.ledger.poster", url, str(seed), str(kills)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        result = json.loads(ran.stdout)
    assert result["kills"] == kills
    assert (result["lost"], result["partial"], result["twice"]) == (0, 0, 0), result
    assert result["entries"] == result["batches"] * BATCH
    with fresh_book(kind, folder) as url, LedgerStore.open(url) as book:
        book.open_period(PERIOD)
        book.post_many([entry for n in range(result["batches"]) for entry in batch(n)])
        assert book.frontier().root().hex() == result["root"], result


@pytest.mark.parametrize("kind", BOTH)
def test_a_killed_poster_loses_nothing_and_posts_nothing_twice(kind, tmp_path):
    """A hundred kills on each database end in the root of an undisturbed run."""
    kill_and_rerun(kind, tmp_path, seed=20261121, kills=100)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_kills_lose_nothing(kind, tmp_path, seed):
    """The same at nightly size: a thousand kills on each database."""
    kill_and_rerun(kind, tmp_path, seed=seed, kills=200)
