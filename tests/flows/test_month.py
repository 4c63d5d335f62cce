"""A month end to end in miniature: nights, a late log, the close, reports, a pack that verifies."""

import json

import pytest

from contracts.apportionment import UNLICENSED
from flows import cli
from flows.books import open_books
from flows.close import close_period
from flows.demo.demo import tampered_copy
from flows.engine import run_night
from flows.errors import CloseError, NightError
from flows.publish import publish_period
from ledger.audit import run_verify
from ledger.checkpoint import read_verifiers
from ledger.errors import ApprovalError
from reports.statement_proof import verify_statement_file
from tests.simulation.tiny import DAYS, copy_of, tiny

PERIOD = "2026-10"
PEOPLE = {"prepared_by": "accountant-1", "approved_by": "controller-1"}


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """Settle both nights and the late log, close, publish; once for all tests that only look."""
    workspace = copy_of(tiny(), tmp_path_factory.mktemp("month") / "home")
    for day in DAYS:
        run_night(workspace, day)
    logs = [workspace.logs, workspace.logs / "late"]
    run_night(workspace, DAYS[0], logs=logs, approved_by="controller-1")
    closed = close_period(workspace, PERIOD, **PEOPLE)
    return workspace, closed, publish_period(workspace, PERIOD)


def test_a_night_run_twice_posts_once(tmp_path):
    """The second run finds everything done and adds no leaf."""
    workspace = copy_of(tiny(), tmp_path / "home")
    first = run_night(workspace, DAYS[0])
    second = run_night(workspace, DAYS[0])
    name = DAYS[0].isoformat()
    assert first[name]["settle"].worked
    assert first[name]["seal"].values == second[name]["seal"].values
    assert not any(second[name][step].worked for step in ("ingest", "sample", "settle", "seal"))


def test_late_records_need_an_approver_and_then_post_an_adjustment(tmp_path):
    """Money of a settled night changes only by an entry of its own that a person approved."""
    workspace = copy_of(tiny(), tmp_path / "home")
    run_night(workspace, DAYS[0])
    logs = [workspace.logs, workspace.logs / "late"]
    with pytest.raises(NightError, match="--approved-by"):
        run_night(workspace, DAYS[0], logs=logs)
    said = run_night(workspace, DAYS[0], logs=logs, approved_by="controller-1")
    (late,) = [steps for name, steps in said.items() if ".late-" in name]
    assert late["settle"].values["kind"] == "adjustment"
    again = run_night(workspace, DAYS[0], logs=logs, approved_by="controller-1")
    assert not any(steps["settle"].worked for steps in again.values())


def test_a_settled_night_keeps_its_numbers_when_settings_change_later(tmp_path, monkeypatch):
    """A larger sample wanted tomorrow does not redraw what was paid by yesterday."""
    workspace = copy_of(tiny(), tmp_path / "home")
    before = run_night(workspace, DAYS[0])
    monkeypatch.setenv("BYLINE_NIGHT__SAMPLE_SIZE", "9")
    after = run_night(type(workspace).open(workspace.home), DAYS[0])
    name = DAYS[0].isoformat()
    assert after[name]["sample"].values == before[name]["sample"].values


def test_one_person_alone_cannot_close(tmp_path):
    """The preparer's own approval is refused and the period stays open."""
    workspace = copy_of(tiny(), tmp_path / "home")
    run_night(workspace, DAYS[0])
    with pytest.raises(ApprovalError):
        close_period(workspace, PERIOD, prepared_by="a-1", approved_by="a-1")


def test_a_night_that_is_ingested_and_not_settled_blocks_the_close(tmp_path):
    """Nobody's outputs are forgotten: the night is named with the command that settles it."""
    workspace = copy_of(tiny(), tmp_path / "home")
    run_night(workspace, DAYS[0])
    assert cli.run(["ingest", "--dir", str(workspace.home), "--date", str(DAYS[1])]) == 0
    with pytest.raises(CloseError, match=f"nightly --date {DAYS[1]}"):
        close_period(workspace, PERIOD, **PEOPLE)


def test_pool_payables_and_destinations_add_up_to_the_unit(month):
    """Every unit of revenue share is with a creator or in an account with a name."""
    _, closed, _ = month
    divided = closed.plan.apportionment
    total = sum(divided.payable.values()) + sum(divided.destinations.values())
    assert total == divided.pool_units == closed.plan.accruals.pool_units
    assert divided.destinations[UNLICENSED] > 0


def test_accrued_accounts_are_empty_after_the_close(month):
    """What was accrued has become payable or stands in suspense."""
    workspace, _, _ = month
    with open_books(workspace) as books:
        assert set(books.balances("Liabilities:Accrued:", "USD/6").values()) == {0}
        assert sum(line.balance_units for line in books.trial_balance("USD/6")) == 0


def test_the_advance_is_recouped_before_anything_is_payable(month):
    """The creator with an advance earns, and is owed nothing until it is earned back."""
    _, closed, _ = month
    (result,) = [r for r in closed.plan.earnings if r.opening.unrecouped_units]
    assert result.recouped_units == result.royalty_units > 0
    assert result.net_units == 0
    left = result.opening.unrecouped_units - result.recouped_units
    assert result.closing.unrecouped_units == left


def test_every_statement_proves_itself_against_the_key(month):
    """Each creator's JSON holds under the checkpoint, entry by entry."""
    workspace, _, published = month
    keys = read_verifiers(workspace.public_key)
    assert len(published.statements) == 12
    for path in published.statements:
        verify_statement_file(path.read_bytes(), keys, name=path.name)


def test_closing_and_publishing_again_changes_no_byte(month):
    """The same book gives the same reports, pack and checkpoint."""
    workspace, closed, published = month
    files = [p for p in published.folder.rglob("*") if p.is_file()]
    before = {path: path.read_bytes() for path in [*files, published.pack]}
    again = close_period(workspace, PERIOD, **PEOPLE)
    assert not again.worked
    assert again.checkpoint == closed.checkpoint
    publish_period(workspace, PERIOD)
    changed = [path.name for path, data in before.items() if path.read_bytes() != data]
    assert not changed


def test_the_pack_verifies_and_a_changed_byte_is_named(month, capsys):
    """An outsider's command says yes to the pack and names the member of the spoiled copy."""
    workspace, _, published = month
    assert run_verify(published.pack, workspace.public_key).ok
    words = ["audit", "verify", str(published.pack), "--key", str(workspace.public_key), "--json"]
    assert cli.run(words) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    words[2] = str(tampered_copy(published.pack))
    assert cli.run(words) == 1
    assert "entries.jsonl" in capsys.readouterr().out


def test_the_draw_of_a_logged_output_can_be_repeated(month, capsys):
    """`byline sample check` recomputes seed, probability and draw from the night's files."""
    workspace, _, _ = month
    event = f"otel-genai:resp-{DAYS[0]}-1"
    words = ["sample", "check", "--dir", str(workspace.home), "--date", str(DAYS[0]), event]
    code = cli.run([*words, "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert json.loads(said.out)["event_id"] == event
