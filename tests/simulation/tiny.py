"""A whole installation in miniature: 12 creators, a model of one layer, two days of logs.

Everything is real (corpus, training, index, agreements, logs) and small, so that a night takes
about a second. Built once a session and copied; the copies are what tests break.
"""

from __future__ import annotations

import atexit
import functools
import json
import random
import shutil
import tempfile
from datetime import date as Date  # noqa: N812
from pathlib import Path

from attribution.corpus import read_corpus
from attribution.training import TrainConfig, train
from flows.build import build_workspace_index
from flows.demo.story import write_agreements
from flows.setup import make_workspace
from flows.workspace import Workspace

DAYS = (Date(2026, 10, 30), Date(2026, 10, 31))
CREATORS = 12
WORDS = [
    "ledger",
    "agreement",
    "copper",
    "river",
    "window",
    "garden",
    "signal",
    "orchard",
    "compass",
    "velvet",
    "harbour",
    "lantern",
    "thread",
    "meadow",
    "winter",
    "engine",
    "marble",
    "canvas",
    "pepper",
    "saddle",
    "bridge",
    "cotton",
    "silver",
    "barrel",
]
SETTINGS = {
    "night": {"sample_size": 24},
    "attribution": {"fit_share": 0.5, "shard_outputs": 8},
    "sign": {"origin": "byline.example/tiny"},
    "pool": {"rate_ppm": 500_000},
}


def build_tiny(folder: Path) -> Workspace:
    """Build the installation, its index ready and its logs waiting."""
    workspace = make_workspace(folder, settings=SETTINGS)
    draw = random.Random(7)
    documents = [
        {
            "document_id": f"pkg{creator:02d}/readme:{number:03d}",
            "group_id": f"pkg{creator:02d}/readme",
            "text": passage(draw, creator),
        }
        for creator in range(CREATORS)
        for number in range(2 + creator % 3)
    ]
    write_jsonl(workspace.corpus, documents)
    decoys = [
        {"document_id": f"decoy:{n}", "group_id": f"decoy:{n}", "text": passage(draw, 90 + n)}
        for n in range(3)
    ]
    write_jsonl(workspace.decoys, decoys)
    write_catalogue(workspace, documents)
    creators = [f"pkg:{creator:02d}" for creator in range(CREATORS)]
    write_agreements(workspace.agreements, workspace.catalogue, creators, Date(2026, 10, 1), "main")
    shape = TrainConfig(
        layers=1, width=32, heads=2, context=64, vocab=300, epochs=6, checkpoints=3, threads=1
    )
    train(read_corpus(workspace.corpus), workspace.model, shape)
    build_workspace_index(workspace)
    for day in DAYS:
        write_log(workspace.logs / f"{day}.otel.jsonl", day, calls(draw, 40), start=0)
    write_log(workspace.logs / "late" / f"{DAYS[0]}.otel.jsonl", DAYS[0], calls(draw, 6), start=60)
    return workspace


def copy_of(workspace: Workspace, folder: Path) -> Workspace:
    """Copy an installation."""
    shutil.copytree(workspace.home, folder)
    return Workspace.open(folder)


def passage(draw: random.Random, creator: int) -> str:
    """Write a passage in which one creator's favourite words come often."""
    own = [WORDS[creator % len(WORDS)], WORDS[(creator * 7 + 3) % len(WORDS)]]
    return " ".join(draw.choice([*own, *WORDS]) for _ in range(24)) + "."


def calls(draw: random.Random, count: int) -> list[tuple[str, str, int]]:
    """Draw (prompt, output, value in units) of some calls."""
    drawn = []
    for _ in range(count):
        words = passage(draw, draw.randrange(CREATORS)).split()
        drawn.append((" ".join(words[:4]), " ".join(words[4:14]), draw.randrange(500, 5000)))
    return drawn


def write_log(path: Path, day: Date, lines: list[tuple[str, str, int]], *, start: int) -> None:
    """Write calls of a day as OpenTelemetry GenAI events."""
    midnight = (day.toordinal() - Date(1970, 1, 1).toordinal()) * 86_400_000_000_000
    events = [
        {
            "event_name": "gen_ai.client.inference.operation.details",
            "time_unix_nano": str(midnight + (start + number) * 60_000_000_000),
            "attributes": {
                "gen_ai.operation.name": "text_completion",
                "gen_ai.provider.name": "byline",
                "gen_ai.request.model": "tiny",
                "gen_ai.response.model": "tiny-1",
                "gen_ai.response.id": f"resp-{day}-{start + number}",
                "gen_ai.input.messages": [message("user", prompt)],
                "gen_ai.output.messages": [
                    {**message("assistant", output), "finish_reason": "stop"}
                ],
                "tenant.id": f"tenant-{number % 3}",
                "geo.country.iso_code": "DE",
                "byline.value_units": str(value),
                "byline.currency": "USD/6",
            },
        }
        for number, (prompt, output, value) in enumerate(lines)
    ]
    write_jsonl(path, events)


def message(role: str, text: str) -> dict[str, object]:
    """Write one message."""
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    """Write one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_catalogue(workspace: Workspace, documents: list[dict[str, object]]) -> None:
    """Write who owns which work: every work is its creator's alone."""
    works = sorted({str(row["group_id"]) for row in documents})
    party = {work: f"pkg:{work[3:5]}" for work in works}
    catalogue = {
        "format": "byline-catalogue/1",
        "sources": [],
        "parties": [{"party_id": name, "kind": "creator"} for name in sorted(party.values())],
        "works": [
            {
                "work_id": work,
                "title": work,
                "splits": [{"party_id": party[work], "share": "1"}],
            }
            for work in works
        ],
        "documents": [
            {"document_id": row["document_id"], "work_id": row["group_id"]} for row in documents
        ],
    }
    workspace.catalogue.write_text(json.dumps(catalogue), encoding="utf-8")


@functools.cache
def tiny() -> Workspace:
    """Give the installation every test starts from; built once, never changed, then removed."""
    folder = Path(tempfile.mkdtemp(prefix="byline-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build_tiny(folder / "home")
