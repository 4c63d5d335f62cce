"""A record that changes after its night was sampled pays its difference, once, by two people."""

import json
from types import SimpleNamespace

import polars as pl
import pytest

from flows import cli, usage_counts
from flows.artefacts import manifest_path
from flows.books import open_books
from flows.close import close_period
from flows.engine import run_night
from flows.errors import NightError
from flows.intake import reconcile_night, tables_of
from flows.night import Night
from flows.publish import publish_period
from flows.publish_works import CreatorShare, creator_shares
from flows.quarantine import read_quarantine
from flows.reconciliation import GatewayTotal
from flows.revisions import OTHERWISE_REVISED, VALUE_REVISED, counts_tokens, revision_sign
from flows.seal import latest_root
from ledger import chart
from ledger.audit import run_verify
from ledger.checkpoint import read_verifiers
from reports.statement_proof import verify_statement_file
from tests.flows.nights import write_outputs
from tests.simulation.tiny import DAYS, copy_of, tiny

NIGHT = DAYS[0].isoformat()
EVENT = f"otel-genai:resp-{NIGHT}-3"
ACCEPT = ("--accepted-by", "controller-1", "--reason", "the provider corrected its bill")


@pytest.fixture
def home(tmp_path):
    """An installation whose first night is settled."""
    home = copy_of(tiny(), tmp_path / "home")
    run_night(home, DAYS[0], approved_by="controller-2")
    return home


def command(capsys, workspace, *words, code=0):
    """Run a quarantine command on the night; give its JSON, or its error text."""
    args = ["quarantine", words[0], "--date", NIGHT, *words[1:], "--dir", str(workspace.home)]
    found = cli.run([*args, "--json"])
    said = capsys.readouterr()
    assert found == code, said.err
    return json.loads(said.out) if code == 0 else said.err


def revise(workspace, event=EVENT, **attributes):
    """Change a logged record in place."""
    log = workspace.logs / f"{NIGHT}.otel.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if event.endswith(line["attributes"]["gen_ai.response.id"]):
            line["attributes"] |= attributes
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))


def value_of(workspace, event=EVENT):
    """Give the settled value of an event."""
    table = pl.read_parquet(workspace.night_file("outputs", DAYS[0], ".parquet"))
    return table.filter(pl.col("event_id") == event)["value_units"].item()


def calls_of(workspace):
    """Count the outputs of the night's own table and its late ones, each once."""
    return logged(workspace).height


def total_of(workspace):
    """Add up what they were worth when they were settled."""
    return logged(workspace)["value_units"].sum()


def logged(workspace):
    """Read the outputs of the night, without differences."""
    tables = tables_of(Night(workspace, DAYS[0], ()))
    return pl.read_parquet([table for table in tables if not revision_sign(table)])


def expense(workspace):
    """Give the royalties that the books show as expense, in units."""
    with open_books(workspace) as books:
        return books.balance(chart.ROYALTY_EXPENSE, "USD/6")


def root_of(workspace):
    """Give the root that the book was last sealed with."""
    with open_books(workspace) as books:
        return latest_root(books)


def adjustments(said):
    """Give the settle steps of the late batches."""
    return [steps["settle"] for name, steps in said.items() if ".late-" in name]


@pytest.mark.parametrize("change", [+700, -400])
def test_an_accepted_revision_pays_the_difference_once(home, capsys, change):
    """Quarantined, accepted by one, approved by another: the pool's part of the difference."""
    value, before, late = value_of(home), expense(home), len(adjustments(run_night(home, DAYS[0])))
    revise(home, **{"byline.value_units": str(value + change)})
    run_night(home, DAYS[0])
    assert command(capsys, home, "list")["reasons"] == {VALUE_REVISED: 1}
    assert expense(home) == before
    accepted = command(capsys, home, "accept-revision", EVENT, *ACCEPT)
    assert f"{value} units" in accepted["found"]
    with pytest.raises(NightError, match="--approved-by"):
        run_night(home, DAYS[0])
    with pytest.raises(NightError, match="controller-1 accepted the revised values"):
        run_night(home, DAYS[0], approved_by="controller-1")
    said = run_night(home, DAYS[0], approved_by="controller-2")
    assert len(adjustments(said)) == late + 1
    assert expense(home) - before == change // 2  # the pool is half of all value
    assert value_of(home) == value
    assert command(capsys, home, "list")["reasons"] == {}
    told = GatewayTotal(calls_of(home), total_of(home) + change)
    found = reconcile_night(Night(home, DAYS[0], ()), told)
    assert (found.calls_gap, found.value_gap_units) == (0, 0)
    sealed = root_of(home)
    run_night(home, DAYS[0], approved_by="controller-2")
    assert root_of(home) == sealed


def test_a_record_that_changes_twice_is_accepted_twice_and_ends_at_its_last_value(home, capsys):
    """The second difference is to the first revision, not to the settled value."""
    value, before = value_of(home), expense(home)
    tokens = logged(home).filter(pl.col("event_id") == EVENT)["output_tokens"].sum()
    for change in (900, 300):
        said = {"gen_ai.usage.output_tokens": tokens + change // 100}
        revise(home, **{"byline.value_units": str(value + change)}, **said)
        run_night(home, DAYS[0], approved_by="controller-2")
        command(capsys, home, "accept-revision", EVENT, *ACCEPT)
        run_night(home, DAYS[0], approved_by="controller-2")
    assert expense(home) - before == 150
    tables = [t for t in tables_of(Night(home, DAYS[0], ())) if revision_sign(t)]
    differences = [pl.read_parquet(table)["output_tokens"].to_list() for table in tables]
    assert sorted(differences) == [[-6], [9]]
    assert all(counts_tokens(table) for table in tables)
    closed = close_period(home, NIGHT[:7], prepared_by="preparer-1", approved_by="controller-2")
    assert closed.plan.accruals.pool_units == expense(home)


def counted(tmp_path, tokens, revision):
    """Count a table of rows with so many tokens as half a work's; give outputs and tokens."""
    path = tmp_path / f"{NIGHT}.parquet"
    write_outputs(path, [{"event_id": f"e{i}", "output_tokens": n} for i, n in enumerate(tokens)])
    manifest = json.loads(manifest_path(path).read_bytes())
    manifest_path(path).write_text(json.dumps({**manifest, **revision}))
    agreement = SimpleNamespace(agreement_id="a", covers_work=lambda _: True)
    known = SimpleNamespace(
        catalogue=SimpleNamespace(works={"w": SimpleNamespace(shares_on=lambda _: ["p"])}),
        book=SimpleNamespace(for_party=lambda *_: [agreement]),
    )
    shares = pl.DataFrame({"work_id": ["w"], "share_ppt": [10**12 // 2]})
    night = SimpleNamespace(night=SimpleNamespace(date=DAYS[0], outputs=path), counted=shares)
    counts = {"a": {}}
    usage_counts._add_night(counts, 1, night, known)
    return [tuple(row) for row in counts["a"].values()]


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        ({}, [(1, 12)]),
        ({"revision": {"sign": 1, "tokens": "difference"}}, [(0, 12)]),
        ({"revision": {"sign": -1, "tokens": "difference"}}, [(0, 12)]),
        # Batches made before this rule hold the revised count, not the difference.
        ({"revision": {"sign": 1}}, []),
    ],
)
def test_a_batch_of_differences_counts_its_tokens_and_no_outputs(tmp_path, revision, expected):
    """The outputs were counted with their own batch; only what changed in tokens is new."""
    assert counted(tmp_path, [30, -6], revision) == expected


def test_a_pool_taken_back_has_a_standard_error_like_any_other():
    """Signs cancel in a share; an error is never negative."""
    table = {"creator_id": ["c0"], "share_ppt": [500], "stderr_ppt": [20], "generic_ppt": [100]}
    night = SimpleNamespace(creators=pl.DataFrame(table), pool_units=-300)
    accruals = SimpleNamespace(nights=[night], pool_units=-300)
    assert creator_shares(accruals) == {"c0": CreatorShare(500, 20, 100)}


def test_what_changed_in_more_than_its_value_stays_for_a_person(home, capsys):
    """Other words cannot be divided by the influence of the old ones; no command accepts them."""
    text = [{"role": "assistant", "parts": [{"type": "text", "content": "other words"}]}]
    revise(home, **{"gen_ai.output.messages": text, "byline.value_units": "1"})
    run_night(home, DAYS[0])
    (reject,) = read_quarantine(home.root / "quarantine" / f"{NIGHT}.jsonl")
    assert reject.reason == OTHERWISE_REVISED
    said = command(capsys, home, "accept-revision", EVENT, *ACCEPT, code=1)
    assert "a person must adjust it" in said
    assert "has no revision of 'nobody'" in command(
        capsys, home, "accept-revision", "nobody", *ACCEPT, code=1
    )
    assert not (home.root / "revisions").exists()


def test_a_month_with_lowered_values_closes_publishes_and_is_proved(home, capsys):
    """A late log lowers ten settled calls: less is paid, papers foot, the pack proves it."""
    lines = (home.logs / f"{NIGHT}.otel.jsonl").read_text().splitlines()[:10]
    lowered = [json.loads(line) for line in lines]
    before = expense(home)
    taken = 0
    for line in lowered:
        value = int(line["attributes"]["byline.value_units"])
        line["attributes"]["byline.value_units"] = str(value // 4)
        line["attributes"]["gen_ai.usage.output_tokens"] = 1
        taken += value - value // 4
    late = home.logs / "corrections.otel.jsonl"
    late.write_text("".join(json.dumps(line) + "\n" for line in lowered))
    run_night(home, DAYS[0])
    assert command(capsys, home, "list")["reasons"] == {VALUE_REVISED: 10}
    for line in lowered:
        event = f"otel-genai:{line['attributes']['gen_ai.response.id']}"
        command(capsys, home, "accept-revision", event, *ACCEPT)
    run_night(home, DAYS[0], approved_by="controller-2")
    assert before - expense(home) == pytest.approx(
        taken / 2, abs=1
    )  # the pool is half of all value
    run_night(home, DAYS[1])
    closed = close_period(home, NIGHT[:7], prepared_by="preparer-1", approved_by="controller-2")
    assert closed.plan.accruals.pool_units == expense(home)
    with open_books(home) as books:
        balances = books.trial_balance("USD/6")
    published = publish_period(home, NIGHT[:7])
    owed = [line for line in balances if line.account_id.startswith(chart.PAYABLE_PREFIX)]
    assert sum(s.closing_units for s in published.built) == -sum(
        line.balance_units for line in owed
    )
    keys = read_verifiers(home.public_key)
    for path in published.statements:
        verify_statement_file(path.read_bytes(), keys, name=path.name)
    assert run_verify(published.pack, home.public_key).ok
    whole = run_verify(publish_period(home, NIGHT[:7], with_frame=True).pack, home.public_key)
    assert whole.ok, whole.failure
    (drawn,) = (detail for number, _, detail in whole.steps if number == 14)
    assert "NOT in the pack" not in drawn
    assert "logged outputs of 3 nights" in drawn
    assert cli.run(["audit", "reperform", str(published.pack), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["same"]["adjustment"] == 1
