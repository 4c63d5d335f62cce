"""A year of months: every one is packed, verified against the one before, and worked out again."""

import pytest

from flows.publish import publish_period
from flows.reperform import reperform
from ledger.audit import run_verify
from ledger.audit_frame import OpenPack
from tests.flows.papers import closed_months


@pytest.mark.slow
def test_every_month_of_a_year_is_proved_by_its_own_pack(tmp_path):
    """From the draws to the entries, equal in every number; each book continues the last one's."""
    with pytest.MonkeyPatch.context() as patch:
        workspace = closed_months(patch, tmp_path / "home", 12, creators=10, year=2025)
    held = []
    for number in range(1, 13):
        period = f"2025-{number:02d}"
        publish_period(workspace, period)
        path = workspace.pack(period)
        report = run_verify(path, workspace.public_key, held)
        assert report.ok, report.failure
        assert report.external == len(held)
        stages = []
        done = reperform(path, on_stage=lambda stage, seen=stages: seen.append(stage.name))
        assert done.lacks == ()
        assert done.same["accrual"] == 1
        assert done.same["apportionment"] == 9
        assert stages[-1] == "entries"
        with OpenPack(path) as pack:
            pack.check_frame()
            held = [pack.read("checkpoint.note").decode()]
