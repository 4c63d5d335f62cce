"""Check a night's frame where a pack brings it: that the sample came from everything logged.

A frame file is text, as the draws are. The first line is the header, the others are all logged
outputs of the night in the order of their ids, without a word of any text:

    {"columns": [...], "format": "byline-frame/1", "night": NAME}
    [event_id, raw_sha256, exclusion_reason, stratum, model_version, territory, value_units, tokens]

The stratum is null where an output is not payable; the reason says why.

1. SHA-256("byline-batch/1" LF, then `event_id SP raw_sha256 LF` for every output) is the batch root
   that the seed was made from: nobody can take an output out of the frame, or put one in, since.
2. Outputs and value of every stratum, every place and every exclusion are those that the manifests
   and the draws count; so the totals that weights and Hajek ratios rest on are those of the frame.
3. Every payable output is drawn anew: the draws are all that the seed puts in, and no others.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ledger.audit_draws import (
    DRAWS_PREFIX,
    drawn_ppt,
    draws_differ,
    draws_member,
    expanded,
    json_lines,
    night_manifest,
)
from ledger.audit_errors import VerificationError
from ledger.audit_frame import OpenPack

FRAME_FORMAT = "byline-frame/1"
FRAME_PREFIX = "frame/"
FRAME_COLUMNS = (
    "event_id",
    "raw_sha256",
    "exclusion_reason",
    "stratum",
    "model_version",
    "territory",
    "value_units",
    "output_tokens",
)
_FRAME_WHOLE = 10**12


def frame_member(night: str) -> str:
    """Name the member that holds a night's frame."""
    return f"{FRAME_PREFIX}{night}.jsonl"


def check_frames(pack: OpenPack) -> str:
    """Check every frame of a pack.

    Args:
        pack: its draws were checked.

    Returns:
        What was counted, and which nights bring no frame; "" where none does.

    Raises:
        VerificationError: the first number that does not follow.
    """
    files = {name for name in pack.parts if name.startswith(FRAME_PREFIX)}
    nights = sorted(
        name.removeprefix(DRAWS_PREFIX).removesuffix(".jsonl")
        for name in pack.parts
        if name.startswith(DRAWS_PREFIX)
    )
    odd = files - {frame_member(night) for night in nights}
    if odd:
        raise VerificationError(
            14, min(odd), "", "a member frame/NIGHT.jsonl of a night with draws", "no such night",
            "nobody said what was drawn from it",
        )  # fmt: skip
    if not files:
        return ""
    having = [night for night in nights if frame_member(night) in files]
    outputs = sum(check_night_frame(pack, night) for night in having)
    lacking = ", ".join(night for night in nights if night not in having)
    lacks = f"; NOT in the pack: frames of {lacking}" if lacking else ""
    return f"; all {outputs} logged outputs of {len(having)} nights counted and drawn{lacks}"


def check_night_frame(pack: OpenPack, night: str) -> int:
    """Check one night's frame.

    Returns:
        How many outputs were logged.

    Raises:
        VerificationError: the first number that does not follow.
    """
    member = frame_member(night)
    lines = json_lines(pack, member)
    wanted = {"columns": list(FRAME_COLUMNS), "format": FRAME_FORMAT, "night": night}
    header = next(lines, None)
    if header != wanted:
        draws_differ(member, "line 1", wanted, header)
    draws = json_lines(pack, draws_member(night))
    sample = night_manifest(pack, f"evidence/sample.{night}.manifest.json")
    outputs = night_manifest(pack, f"evidence/outputs.{night}.manifest.json")
    try:
        counted = _Counted(member, sample)
        count = counted.read(lines, next(draws)["payable"], draws)
        _check_root(member, counted.root.hexdigest(), outputs)
        _check_totals(member, counted, sample, outputs)
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        draws_differ(member, "", "whole numbers and texts, as the manifests", repr(error))
    return count


class _Counted:
    """Counts a frame line by line and draws it anew.

    Args:
        member: its name.
        sample: the night's sample manifest.
    """

    def __init__(self, member: str, sample: Mapping[str, Any]) -> None:
        self.root = hashlib.sha256(b"byline-batch/1\n")
        self.by_stratum: Counter[tuple[str, str]] = Counter()
        self.by_reason: Counter[tuple[str, str]] = Counter()
        self.by_place: Counter[tuple[Any, Any, str]] = Counter()
        self._member = member
        self._strata = {one["stratum"]: one for one in sample["strata"]}
        self._seed = bytes.fromhex(sample["seed"])

    def read(self, lines: Iterator[Any], payable: Collection[Any], draws: Iterator[Any]) -> int:
        """Read the lines of a frame beside those of the draws; give how many there are."""
        before, number = "", 1
        drawn = itertools.chain(draws, [None])
        expected = next(drawn)
        for number, row in enumerate(lines, 2):
            event, raw, reason, stratum, model, territory, value, tokens = row
            if event <= before:
                draws_differ(self._member, f"line {number}", f"an id after {before}, once", event)
            before = event
            self.root.update(f"{event} {raw}\n".encode())
            self._count(stratum, reason, (model, territory), value, tokens)
            made = None if stratum is None else self._draw(event, stratum, model, territory, value)
            if made is None:
                continue
            if made != expected:
                self._other_draw(made, expected)
            expected = next(drawn)
        if expected is not None:
            draws_differ(self._member, "", f"output {expected[0]}, which was drawn", "no such line")
        self._check_places(payable)
        return number - 1

    def _count(
        self,
        stratum: str | None,
        reason: str | None,
        place: tuple[Any, Any],
        value: int,
        tokens: int,
    ) -> None:
        counter, key = (
            (self.by_reason, str(reason)) if stratum is None else (self.by_stratum, stratum)
        )
        counter[key, "outputs"] += 1
        counter[key, "value_units"] += value
        if stratum is not None:
            self.by_place[(*place, "outputs")] += 1
            self.by_place[(*place, "tokens")] += tokens

    def _draw(
        self, event: str, stratum: str, model: str | None, territory: str | None, value: int
    ) -> list[Any] | None:
        """Give the line of the draws that an output calls for; None where it is not drawn."""
        ppt = drawn_ppt(value, self._strata[stratum])
        draw = int.from_bytes(hmac.digest(self._seed, event.encode(), "sha256"), "big")
        if draw * _FRAME_WHOLE >= ppt << 256:
            return None
        return [event, stratum, model, territory, value, ppt, expanded(value, ppt)]

    def _other_draw(self, made: list[Any], expected: list[Any] | None) -> None:
        member = draws_member(self._member.removeprefix(FRAME_PREFIX).removesuffix(".jsonl"))
        if expected is None or made[0] < expected[0]:
            draws_differ(member, "", f"output {made[0]}, which its seed draws", "left out")
        if made[0] > expected[0]:
            draws_differ(self._member, "", f"payable output {expected[0]}, drawn", "none")
        draws_differ(member, f"output {made[0]}", made, expected)

    def _check_places(self, payable: Collection[Any]) -> None:
        """Compare with the payable outputs that the draws count by model version and territory."""
        said: Counter[tuple[Any, Any, str]] = Counter()
        for model, territory, outputs, tokens in payable:
            said[model, territory, "outputs"] += outputs
            said[model, territory, "tokens"] += tokens
        for place in sorted({*said, *self.by_place}, key=str):
            if said[place] != self.by_place[place]:
                where = f"payable {place[2]} of {place[0]}, {place[1]}"
                draws_differ(self._member, where, said[place], self.by_place[place])


def _check_root(member: str, root: str, outputs: Mapping[str, Any]) -> None:
    """Rule 1."""
    if root != outputs["batch_root"]:
        draws_differ(member, "batch root", outputs["batch_root"], root)


def _check_totals(
    member: str, counted: _Counted, sample: Mapping[str, Any], outputs: Mapping[str, Any]
) -> None:
    """Rule 2: strata and exclusions."""
    strata = {one["stratum"]: one for one in sample["strata"]}
    excluded = outputs["counts"]["excluded"]
    pairs = ((strata, counted.by_stratum, "stratum"), (excluded, counted.by_reason, "excluded"))
    for said, found, what in pairs:
        for name in sorted({*said, *(key for key, _ in found)}):
            for number in ("outputs", "value_units"):
                told = said.get(name, {}).get(number, 0)
                if told != found[name, number]:
                    where = f"{what} {name}, {number}"
                    draws_differ(member, where, told, found[name, number])
