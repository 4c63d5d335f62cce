"""`prefect.yaml` and `byline schedule` against a Prefect server that really runs.

Slow but for the first: a server, a worker and a process a flow run have to start.
"""

import ast
import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from flows.books import open_books
from flows.close import close_period
from flows.engine import prefect_environment, run_night
from flows.schedule import day_before
from tests.servers import Server, free_port, wait_for
from tests.simulation.tiny import DAYS, copy_of, tiny

ROOT = Path(__file__).parents[2]
YAML = ROOT / "prefect.yaml"
PERIOD = "2026-10"
PEOPLE = {"prepared_by": "accountant-1", "approved_by": "controller-1"}
FLOWS = ("nightly", "close", "publish", "reindex")
RUN_S = 180


def flow_parameters():
    """Read from the source, without importing Prefect, what each flow takes and may be without."""
    tree = ast.parse((ROOT / "flows/engine_prefect.py").read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            made_by = node.decorator_list[0]
            if isinstance(made_by, ast.Call) and ast.unparse(made_by.func) == "flow":
                names = [argument.arg for argument in node.args.args]
                needed = len(names) - len(node.args.defaults)
                found[node.name] = (set(names[:needed]), set(names))
    return found


def test_deployments_name_real_flows_and_parameters_they_take():
    """Every flow is deployed; what a schedule starts lacks nothing; telemetry is off."""
    content = yaml.safe_load(YAML.read_text())
    deployments = content["deployments"]
    assert [d["name"] for d in deployments] == list(FLOWS)
    takes = flow_parameters()
    assert set(takes) == set(FLOWS)
    for deployment in deployments:
        # A path in an entrypoint would be looked for in the run's own empty folder.
        module, _, name = deployment["entrypoint"].rpartition(".")
        assert (module, name) == ("flows.engine_prefect", deployment["name"])
        needed, known = takes[name]
        given = set(deployment["parameters"])
        assert given <= known
        by_hand = {"prepared_by", "approved_by"} if name == "close" else set()
        assert needed - given == by_hand
        crons = [schedule["cron"] for schedule in deployment.get("schedules", [])]
        assert bool(crons) == (name in {"nightly", "publish"})
        assert all(len(cron.split()) == 5 for cron in crons)
        environment = deployment["work_pool"]["job_variables"]["env"]
        assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
        assert environment["DO_NOT_TRACK"] == "1"
    assert content["pull"] == []


class Installed:
    """A Prefect server with everything of `prefect.yaml` on it, and an installation.

    Args:
        workspace: the installation.
        folder: where Prefect writes, and where nothing of ours lies.
    """

    def __init__(self, workspace, folder):
        self.workspace, self.folder = workspace, folder
        self.port = free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        folder.mkdir()
        self.environment = os.environ | prefect_environment(workspace)
        self.environment |= {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
            "BYLINE_ENGINE__PREFECT_API_URL": self.api,
            "PYTHONPATH": str(ROOT),
        }
        # Runs must not need what only the deployments' own environment gives them.
        for name in ("PREFECT_RESULTS_DEFAULT_SERIALIZER", "PREFECT_RESULTS_PERSIST_BY_DEFAULT"):
            del self.environment[name]

    def words(self, *words):
        """Give the command line of a `prefect` command."""
        return [sys.executable, "-m", "prefect", "--no-prompt", *words]

    def prefect(self, *words):
        """Run a `prefect` command to its end; give what it says."""
        done = subprocess.run(
            self.words(*words),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def beside(self, *command):
        """Have a process run for the length of a `with` block."""
        with (self.folder / "beside.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=log, stderr=log
            )
            try:
                yield process
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def post(self, where, content=None):
        """Send JSON to the API and read its answer."""
        body = json.dumps(content or {}).encode()
        header = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.api}/{where}", body, header)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def ask(self, kind, wanted=None):
        """Ask the API for a list of things."""
        return self.post(f"{kind}/filter", wanted)

    def run(self, name, **parameters):
        """Run a deployment to its end; give the state it ended in."""
        (deployment,) = [found for found in self.ask("deployments") if found["name"] == name]
        made = self.post(
            f"deployments/{deployment['id']}/create_flow_run", {"parameters": parameters}
        )
        wanted = {"flow_runs": {"id": {"any_": [made["id"]]}}}
        over = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        wait_for(lambda: self.ask("flow_runs", wanted)[0]["state_type"] in over, name, RUN_S)
        return self.ask("flow_runs", wanted)[0]["state"]


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """Deploy everything, then run a month by its deployments through a worker."""
    folder = tmp_path_factory.mktemp("deployed")
    place = Installed(copy_of(tiny(), folder / "home"), folder / "elsewhere")
    text = YAML.read_text().replace("/var/lib/byline", str(place.workspace.home))
    (place.folder / "prefect.yaml").write_text(text)
    listen = ("--host", "127.0.0.1", "--port", str(place.port), "--no-ui")
    server = Server(
        place.words("server", "start", *listen),
        place.port,
        env=place.environment,
        cwd=place.folder,
    )
    server.start()
    try:
        place.prefect("work-pool", "create", "byline", "--type", "process")
        said = place.prefect("deploy", "--all")
        # The command ends with 0 whatever happens.
        assert said.count("successfully created") == len(FLOWS), said
        with place.beside(*place.words("worker", "start", "--pool", "byline", "--limit", "1")):
            place.ended = [
                place.run("nightly", date=str(DAYS[0])),
                place.run("nightly", date=str(DAYS[1])),
                place.run("close", period=PERIOD, **PEOPLE),
                place.run("publish", period=PERIOD, actor="auditor-1"),
                place.run("reindex"),
            ]
            place.refused = place.run("publish", period="2026-11")
        yield place
    finally:
        server.kill()


@pytest.mark.slow
def test_every_deployment_runs_to_its_end_by_a_worker(month, tmp_path):
    """In a process and a folder of its own, and with the root of the plain commands."""
    said = (month.folder / "beside.log").read_text()
    assert [state["type"] for state in month.ended] == ["COMPLETED"] * 5, said[-4000:]
    plain = copy_of(tiny(), tmp_path / "home")
    for day in DAYS:
        run_night(plain, day)
    result = close_period(plain, PERIOD, **PEOPLE)
    with open_books(month.workspace) as books:
        notes = [stored.root.hex() for stored in books.checkpoints()]
        seen = [row.access for row in books.accesses()]
    assert result.checkpoint.root_hex in notes
    asked = ("auditor-1", "export", f"reports/{PERIOD}")
    assert [(one.actor, one.action, one.object_id) for one in seen].count(asked) == 1, seen


@pytest.mark.slow
def test_a_run_that_is_refused_is_failed_and_says_why(month):
    """A room's error is the message of the run's state."""
    assert month.refused["type"] == "FAILED"
    assert "period 2026-11 is" in month.refused["message"]
    assert "Run `byline close --period 2026-11` first" in month.refused["message"]


@pytest.mark.slow
def test_an_operator_finds_tables_links_and_progress_by_the_api(month):
    """Of every flow, and each table has its rows."""
    found = {row["key"]: row for row in month.ask("artifacts", {"limit": 200}) if row["key"]}
    for day in DAYS:
        steps = [row["step"] for row in json.loads(found[f"night-{day}"]["data"])]
        assert steps[0] == "ingest"
        assert steps[-1] == "seal"
        (row,) = json.loads(found[f"filters-{day}"]["data"])
        assert row["value"].endswith(" USD")
        assert found[f"progress-{day}-attribute"]["data"] == 100.0
        for kind in ("outputs", "sample", "estimates"):
            path = month.workspace.night_file(kind, day, ".manifest.json")
            assert path.as_uri() in found[f"{kind}-{day}"]["data"]
    became = json.loads(found[f"close-{PERIOD}"]["data"])
    assert [row["to"] for row in became][:2] == ["pool", "paid"]
    assert len(json.loads(found[f"statements-{PERIOD}"]["data"])) == 12
    assert month.workspace.pack(PERIOD).as_uri() in found[f"pack-{PERIOD}"]["data"]
    assert "index/manifest.json" in found["index"]["data"]


@pytest.mark.slow
def test_results_of_deployed_flows_are_json(month):
    """Nothing that a run keeps needs Python to be read."""
    stored = [path for path in (month.folder / "prefect/storage").rglob("*") if path.is_file()]
    kept = [json.loads(path.read_bytes()) for path in stored]
    assert {"period", "pool_units", "checkpoint"} <= set().union(*kept)
    assert any(str(DAYS[0]) in said for said in kept)


@pytest.mark.slow
def test_crons_are_active_and_mean_the_day_before(month):
    """As the server keeps them; to start runs by them it needs SQLAlchemy below 2.1 of its own."""
    kept = {d["name"]: d for d in month.ask("deployments")}
    active = {
        name: [plan["schedule"]["cron"] for plan in kept[name]["schedules"] if plan["active"]]
        for name in FLOWS
    }
    assert active == {
        "nightly": ["30 2 * * *"],
        "close": [],
        "publish": ["0 6 8 * *"],
        "reindex": [],
    }
    assert not any(kept[name]["paused"] for name in FLOWS)
    assert kept["nightly"]["parameters"]["date"] == "yesterday"
    assert kept["publish"]["parameters"]["period"] == "last-month"
    assert day_before(datetime(2026, 11, 1, 2, 30, tzinfo=UTC)) == str(DAYS[1])


@pytest.mark.slow
def test_byline_schedule_serves_a_night_from_its_own_process(month):
    """A run that the server starts finds the flow, the workspace and the night settled."""
    home = str(month.workspace.home)
    command = (sys.executable, "-m", "flows.cli", "schedule", "--dir", home)
    with month.beside(*command):
        wait_for(
            lambda: "byline-nightly" in [d["name"] for d in month.ask("deployments")],
            "the deployment",
        )
        ended = month.run("byline-nightly", date=str(DAYS[1]))
    assert ended["type"] == "COMPLETED", (month.folder / "beside.log").read_text()[-4000:]
