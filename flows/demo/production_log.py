"""Two days in production: what a gateway would log of the demo's model, and what goes wrong.

The model writes an output for each prompt; the events are OpenTelemetry GenAI
JSON lines, one an event, one file a day, with a small file of the first day that
arrives late. So that filter and quarantine have work, a fixed part of the events is

    failed calls         error.type set, no output, value 0
    test calls           byline.is_test
    exact repetitions    same tenant, prompt and output, seconds later
    answers from cache   byline.cache_hit
    silence              an output without text
    one broken line      cut in the middle, as a crashed writer leaves it

Everything is drawn from the seed: the same seed and model give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from attribution.corpus import Document
from attribution.generation import Output, Sampling, generate
from attribution.model import model_digest
from flows.artefacts import write_bytes
from flows.demo.prompts import openings
from flows.errors import DemoError

EVENT = "gen_ai.client.inference.operation.details"
MODEL = "byline-demo"
CURRENCY = "USD/6"
_DAY_NS = 86_400_000_000_000


@dataclass(frozen=True)
class Tenant:
    """A customer of the demo: its part of the traffic and what it pays per output token.

    Attributes:
        tenant_id: as the gateway logs it; ingest replaces it by a pseudonym.
        weight: part of the traffic, relative.
        token_units: price of an output token, in millionths of a dollar.
        territories: where its users are.
        users: how many of them.
    """

    tenant_id: str
    weight: int
    token_units: int
    territories: tuple[str, ...]
    users: int


TENANTS = (
    Tenant("tenant-editor", 8, 600, ("DE", "FR"), 23),
    Tenant("tenant-search", 6, 350, ("US",), 41),
    Tenant("tenant-helpdesk", 4, 900, ("GB", "IE"), 17),
    Tenant("tenant-campus", 2, 150, ("JP", "CA"), 9),
    Tenant("tenant-atelier", 1, 4800, ("CH",), 2),
)
TEST_TENANT = Tenant("tenant-quality", 0, 0, ("US",), 1)


@dataclass(frozen=True)
class LogPlan:
    """How much is logged, when, and how much of it goes wrong.

    Attributes:
        days: the days in production, in order; the late file is of the first.
        outputs_per_day: calls that end well and belong to customers.
        late: customer calls of the first day that arrive in the late file.
        errors, tests, repeats, cached, empty: events of each kind a day.
        seed: draws times, tenants and the outputs themselves.
        sampling: how the model writes.
    """

    days: tuple[date, ...]
    outputs_per_day: int = 204
    late: int = 12
    errors: int = 7
    tests: int = 6
    repeats: int = 8
    cached: int = 3
    empty: int = 1
    seed: int = 20261122
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class ProductionLog:
    """What was logged.

    Attributes:
        files: one per day, in order of the days.
        late_file: calls of the first day, for later.
        events: well-formed events in `files`.
        malformed: broken lines in `files`.
        expected: kind -> events in `files`; "payable" is what should remain.
    """

    files: tuple[Path, ...]
    late_file: Path
    events: int
    malformed: int
    expected: dict[str, int]


@dataclass(frozen=True)
class _Call:
    """One call before it is written down."""

    at_ns: int
    kind: str
    tenant: Tenant
    user: int
    territory: str
    prompt: str
    output: Output


def write_production_log(
    model_dir: Path,
    held_back: Sequence[Document],
    log_dir: Path,
    plan: LogPlan,
    progress: Callable[[int, int], None] | None = None,
) -> ProductionLog:
    """Let the model write outputs and log them as a gateway would.

    Args:
        model_dir: the model in production.
        held_back: passages it was never trained on; their openings are the prompts.
        log_dir: gets `DAY.otel.jsonl` for each day, `late/FIRST-DAY.otel.jsonl` beside.
        plan: how much and when.
        progress: called with (outputs written, outputs).

    Raises:
        DemoError: the held-back passages give no prompt.
    """
    assert plan.days, "a log needs a day"
    prompts = openings(held_back, seed=plan.seed)
    if not prompts:
        raise DemoError(
            f"{len(held_back)} held-back passages give no prompt; harvest the corpus again"
        )
    wanted = len(plan.days) * (plan.outputs_per_day + plan.tests) + plan.late
    asked = [prompts[place % len(prompts)] for place in range(wanted)]
    outputs = generate(model_dir, asked, seed=plan.seed, sampling=plan.sampling, progress=progress)
    written = iter(zip(asked, outputs, strict=True))
    random = Random(plan.seed)  # noqa: S311 - a demo's traffic, drawn again the same
    days = [list(_calls_of(day, plan, written, random)) for day in plan.days]
    late = [_call("late", plan.days[0], written, random) for _ in range(plan.late)]
    version = f"{MODEL}-{model_digest(model_dir)[:12]}"
    files = []
    for place, (day, calls) in enumerate(zip(plan.days, days, strict=True)):
        lines = [_line(call, version) for call in _in_time(calls)]
        if place == 0:
            # One line cut short, where a writer died.
            lines.insert(len(lines) // 2, lines[len(lines) // 2][: len(lines[0]) // 3])
        files.append(log_dir / f"{day.isoformat()}.otel.jsonl")
        write_bytes(files[-1], ("\n".join(lines) + "\n").encode("utf-8"))
    late_file = log_dir / "late" / f"{plan.days[0].isoformat()}.otel.jsonl"
    late_lines = [_line(call, version) for call in _in_time(late)]
    write_bytes(late_file, ("\n".join(late_lines) + "\n").encode("utf-8"))
    expected: dict[str, int] = {}
    for call in (call for calls in days for call in calls):
        expected[call.kind] = expected.get(call.kind, 0) + 1
    return ProductionLog(tuple(files), late_file, sum(expected.values()), 1, expected)


def _calls_of(
    day: date, plan: LogPlan, written: Iterator[tuple[str, Output]], random: Random
) -> Iterator[_Call]:
    """Yield the calls of one day, not yet in order of time."""
    paid = [_call("payable", day, written, random) for _ in range(plan.outputs_per_day)]
    # A model now and then says nothing by itself; those calls are silence, not income.
    paid = [call if call.output.text.strip() else replace(call, kind="empty") for call in paid]
    yield from paid
    for _ in range(plan.tests):
        call = _call("test", day, written, random)
        yield replace(call, tenant=TEST_TENANT, user=1, territory="US")
    good = [call for call in paid if call.kind == "payable"]
    for call in random.sample(good, plan.repeats):
        later = call.at_ns + random.randrange(2, 40) * 1_000_000_000
        yield replace(call, kind="duplicate", at_ns=min(later, _midnight(day) + _DAY_NS - 1))
    for call in random.sample(good, plan.errors):
        nothing = Output("", "error", call.output.prompt_tokens, 0)
        yield replace(call, kind="error", at_ns=_moment(day, random), output=nothing)
    for call in random.sample(good, plan.cached):
        yield replace(call, kind="cache_hit", at_ns=_moment(day, random))
    for call in random.sample(good, plan.empty):
        nothing = Output("", "stop", call.output.prompt_tokens, 0)
        yield replace(call, kind="empty", at_ns=_moment(day, random), output=nothing)


def _call(kind: str, day: date, written: Iterator[tuple[str, Output]], random: Random) -> _Call:
    prompt, output = next(written)
    tenant = random.choices(TENANTS, weights=[tenant.weight for tenant in TENANTS])[0]
    user = 1 + int(tenant.users * random.random() ** 2)
    territory = random.choice(tenant.territories)
    return _Call(_moment(day, random), kind, tenant, user, territory, prompt, output)


def _moment(day: date, random: Random) -> int:
    """Draw a time of the day, busier at noon than at night."""
    part = (random.random() + random.random() + random.random()) / 3
    return _midnight(day) + int(part * (_DAY_NS - 1))


def _midnight(day: date) -> int:
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _in_time(calls: Sequence[_Call]) -> list[_Call]:
    return sorted(calls, key=lambda call: (call.at_ns, call.kind, call.prompt))


def _line(call: _Call, version: str) -> str:
    """Write one event as a line of JSON."""
    key = f"{call.at_ns}:{call.kind}:{call.tenant.tenant_id}:{call.user}:{call.prompt}"
    drawn = hashlib.sha256(key.encode()).hexdigest()
    output = call.output
    units = call.tenant.token_units * output.output_tokens
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "byline",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": version,
        "gen_ai.response.id": f"resp_{drawn[:20]}",
        "gen_ai.output.type": "text",
        "gen_ai.usage.input_tokens": output.prompt_tokens,
        "gen_ai.usage.output_tokens": output.output_tokens,
        "gen_ai.input.messages": [_message("user", call.prompt)],
        "tenant.id": call.tenant.tenant_id,
        "enduser.id": f"{call.tenant.tenant_id}-user-{call.user:03d}",
        "geo.country.iso_code": call.territory,
        "byline.value_units": str(units),
        "byline.currency": CURRENCY,
        "byline.is_test": call.kind == "test",
    }
    if call.kind == "cache_hit":
        attributes["byline.cache_hit"] = True
    if call.kind == "error":
        attributes["error.type"] = "timeout"
    else:
        answer = {**_message("assistant", output.text), "finish_reason": output.finish_reason}
        attributes["gen_ai.output.messages"] = [answer]
        attributes["gen_ai.response.finish_reasons"] = [output.finish_reason]
    event = {
        "event_name": EVENT,
        "time_unix_nano": str(call.at_ns),
        "trace_id": drawn[:32],
        "span_id": drawn[32:48],
        "resource": {"service.name": "byline-demo-gateway"},
        "attributes": attributes,
    }
    return json.dumps(event, ensure_ascii=False, sort_keys=True)


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}
