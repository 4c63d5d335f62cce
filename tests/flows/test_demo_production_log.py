"""The demo's log: real outputs, the faults a filter must find, the same bytes again."""

import json
from collections import Counter
from dataclasses import replace
from datetime import date

import pytest

from attribution.corpus import Document
from attribution.generation import Sampling
from flows.demo.production_log import TENANTS, LogPlan, write_production_log
from flows.demo.prompts import openings
from flows.errors import DemoError
from tests.attribution.toy_training import toy_corpus, toy_model

HELD_BACK = [
    Document(f"heldback:{row.document_id}", row.group_id, row.text) for row in toy_corpus(seed=9)
]
PLAN = LogPlan(
    days=(date(2026, 11, 20), date(2026, 11, 21)), outputs_per_day=20, late=3, errors=2, tests=2,
    repeats=3, cached=1, empty=1, sampling=Sampling(max_new_tokens=8, threads=1),
)  # fmt: skip


def events(path):
    """Return the well-formed events of a file and the number of broken lines."""
    good, broken = [], 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            good.append(json.loads(line))
        except json.JSONDecodeError:
            broken += 1
    return good, broken


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """One log for all tests of this file."""
    return write_production_log(toy_model(), HELD_BACK, tmp_path_factory.mktemp("logs"), PLAN)


def test_the_log_holds_what_was_planned_and_one_broken_line(log):
    """Counts by kind are known before the filter looks, so its work can be checked."""
    read = [events(path) for path in log.files]
    assert sum(broken for _, broken in read) == log.malformed == 1
    assert sum(len(good) for good, _ in read) == log.events
    assert log.expected["error"] == 4
    assert log.expected["test"] == 4
    assert log.expected["duplicate"] == 6
    assert log.expected["cache_hit"] == 2
    assert log.expected["payable"] + log.expected["empty"] == 42
    assert len(events(log.late_file)[0]) == 3


def test_every_event_is_of_its_day_and_in_order_of_time(log):
    """A day's file holds a day's events, the late file those of the first day."""
    for path in (*log.files, log.late_file):
        day = date.fromisoformat(path.name[:10])
        times = [int(event["time_unix_nano"]) for event in events(path)[0]]
        assert times == sorted(times)
        begin = (day.toordinal() - date(1970, 1, 1).toordinal()) * 86_400 * 10**9
        assert all(begin <= moment < begin + 86_400 * 10**9 for moment in times)


def test_values_are_whole_units_of_the_tenants_price(log):
    """Money in the log is text of whole units, never a float."""
    price = {tenant.tenant_id: tenant.token_units for tenant in TENANTS}
    for path in log.files:
        for event in events(path)[0]:
            said = event["attributes"]
            if said["tenant.id"] in price:
                tokens = said["gen_ai.usage.output_tokens"]
                assert said["byline.value_units"] == str(price[said["tenant.id"]] * tokens)
            else:
                assert said["byline.is_test"]


def test_a_failed_call_has_no_output_and_no_value(log):
    """An error is logged as the conventions say, and costs nobody anything."""
    failed = [
        event["attributes"]
        for path in log.files
        for event in events(path)[0]
        if "error.type" in event["attributes"]
    ]
    assert len(failed) == 4
    assert {said["byline.value_units"] for said in failed} == {"0"}
    assert not any("gen_ai.output.messages" in said for said in failed)


def test_a_repetition_has_its_own_id_and_the_same_words(log):
    """Duplicates are found by tenant, prompt and output, not by the id."""
    seen, ids = Counter(), set()
    for path in log.files:
        for event in events(path)[0]:
            said = event["attributes"]
            ids.add((event["trace_id"], event["span_id"]))
            if "error.type" not in said and not said.get("byline.cache_hit"):
                output = said["gen_ai.output.messages"][0]["parts"][0]["content"]
                if output.strip():
                    prompt = said["gen_ai.input.messages"][0]["parts"][0]["content"]
                    seen[said["tenant.id"], prompt, output] += 1
    assert len(ids) == log.events
    assert sum(count - 1 for count in seen.values()) >= log.expected["duplicate"]


def test_the_same_seed_logs_the_same_bytes(log, tmp_path):
    """The demo's log can be made again."""
    again = write_production_log(toy_model(), HELD_BACK, tmp_path, PLAN)
    assert [path.read_bytes() for path in again.files] == [path.read_bytes() for path in log.files]
    assert again.late_file.read_bytes() == log.late_file.read_bytes()
    other = write_production_log(toy_model(), HELD_BACK, tmp_path / "o", replace(PLAN, seed=1))
    assert other.files[0].read_bytes() != log.files[0].read_bytes()


def test_prompts_are_openings_of_held_back_sentences_each_once():
    """What customers begin with is text that was never trained on."""
    prompts = openings(HELD_BACK, seed=3)
    assert len(prompts) == len(set(prompts)) > 10
    assert all(any(prompt in row.text for row in HELD_BACK) for prompt in prompts)
    assert all(5 <= len(prompt.split()) <= 9 for prompt in prompts)


def test_without_prompts_there_is_no_log(tmp_path):
    """An empty held-back file is refused before the model writes anything."""
    with pytest.raises(DemoError, match="give no prompt"):
        write_production_log(toy_model(), [], tmp_path, PLAN)
    assert list(tmp_path.iterdir()) == []
