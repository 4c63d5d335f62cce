"""Check that a pack's sampled outputs are the ones that the seed draws: step 14 of a verification.

A draws file is text, one JSON value a line in canonical form. The first line is the header, the
others are the sampled outputs in the order of their ids, without a word of any text:

    {"columns": [...], "format": "byline-draws/1", "night": NAME, "payable": [[...], ...]}
    [event_id, stratum, model_version, territory, value_units, pi_ppt, weighted_value_units]

`payable` counts all payable outputs of the night: [model_version, territory, outputs, tokens].

1. The seed is SHA-256("byline-night-seed/1" LF root LF batch_root LF date LF); the root is that of
   a checkpoint in the pack, so it was fixed before anything was scored.
2. pi follows from an output's value and four numbers of its stratum, and the output is drawn:
   HMAC-SHA256(seed, event_id) / 2^256 < pi / 10^12. The weighted value is value / pi.
3. Certain outputs are all there: their number, and what their values leave to the others, are the
   stratum's; the strata and the payable outputs add up to the night's population.

What this cannot show is an output that was drawn and left out. The night's frame shows
it (`ledger.audit_population`), or the estimates: their tables of influence name the same outputs
(`byline audit reperform`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NoReturn

from ledger.audit_errors import VerificationError
from ledger.audit_frame import OpenPack
from ledger.canonical import canonical_json

DRAWS_FORMAT = "byline-draws/1"
DRAWS_PREFIX = "draws/"
DRAW_COLUMNS = (
    "event_id",
    "stratum",
    "model_version",
    "territory",
    "value_units",
    "pi_ppt",
    "weighted_value_units",
)
_WHOLE = 10**12
_UNCHANGED = "the sample is not the one that this seed draws from this night"
_SAMPLES = "evidence/sample."
_MANIFEST = ".manifest.json"


def sampled_nights(names: Collection[str]) -> list[str]:
    """Name the nights whose sample manifests are among a pack's members, in order."""
    return sorted(
        name.removeprefix(_SAMPLES).removesuffix(_MANIFEST)
        for name in names
        if name.startswith(_SAMPLES) and name.endswith(_MANIFEST)
    )


def draws_member(night: str) -> str:
    """Name the member that holds a night's draws."""
    return f"{DRAWS_PREFIX}{night}.jsonl"


def check_draws(pack: OpenPack, roots: Collection[str]) -> str:
    """Check the draws of every night in a pack.

    Args:
        pack: a pack whose manifest was checked.
        roots: roots, in hex, of the checkpoints in the pack.

    Returns:
        What was counted, and which nights bring no draws.

    Raises:
        VerificationError: the first number that does not follow.
    """
    files = {name for name in pack.parts if name.startswith(DRAWS_PREFIX)}
    nights = sampled_nights(pack.parts)
    drawn, lacking = 0, []
    for night in nights:
        member = draws_member(night)
        if member in files:
            files.remove(member)
            drawn += check_night_draws(pack, night, roots)
        else:
            lacking.append(night)
    if files:
        raise VerificationError(
            14, min(files), "", "a member draws/NIGHT.jsonl of a night with a sample manifest",
            "no such night", "nobody said which seed it was drawn with",
        )  # fmt: skip
    done = len(nights) - len(lacking)
    lacks = f"; NOT in the pack: draws of {', '.join(lacking)}" if lacking else ""
    return f"{drawn} outputs of {done} nights drawn by their seeds{lacks}"


def check_night_draws(pack: OpenPack, night: str, roots: Collection[str]) -> int:
    """Check one night's draws.

    Returns:
        How many outputs were drawn.

    Raises:
        VerificationError: the first number that does not follow.
    """
    member = draws_member(night)
    lines = list(json_lines(pack, member))
    if not lines or not isinstance(lines[0], dict):
        draws_differ(member, "line 1", "the header of the draws", "another value")
    header, rows = lines[0], lines[1:]
    wanted = {"columns": list(DRAW_COLUMNS), "format": DRAWS_FORMAT, "night": night}
    for key, value in wanted.items():
        if header.get(key) != value:
            draws_differ(member, f"line 1, {key}", value, header.get(key))
    sample = night_manifest(pack, f"{_SAMPLES}{night}{_MANIFEST}")
    outputs = night_manifest(pack, f"evidence/outputs.{night}{_MANIFEST}")
    try:
        _check_seed(night, sample, outputs, roots)
        _check_rows(member, sample, rows)
        _check_counts(member, sample, outputs, header["payable"], rows)
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        draws_differ(member, "", "whole numbers and texts of the night's manifests", repr(error))
    return len(rows)


def drawn_ppt(value: int, stratum: Mapping[str, Any]) -> int:
    """Give the chance of an output to be drawn, in parts per 10^12.

    Args:
        value: of the output, in units.
        stratum: its numbers in the sample manifest.
    """
    least, rest = int(stratum["certainty_min_units"]), int(stratum["rest_units"])
    if value <= 0:
        return 0
    if (least and value >= least) or not rest:
        return _WHOLE
    return min(_WHOLE, max(1, value * int(stratum["rest_size"]) * _WHOLE // rest))


def expanded(value: int, ppt: int) -> int:
    """Give value / pi in units, rounded half to even."""
    quotient, left = divmod(value * _WHOLE, ppt)
    return quotient + (2 * left > ppt or (2 * left == ppt and quotient % 2 == 1))


def _check_seed(
    night: str, sample: Mapping[str, Any], outputs: Mapping[str, Any], roots: Collection[str]
) -> None:
    """Rule 1."""
    member = f"{_SAMPLES}{night}{_MANIFEST}"
    root, batch = sample["previous_root"], sample["batch_root"]
    if batch != outputs["batch_root"]:
        draws_differ(member, "batch_root", outputs["batch_root"], batch)
    if root and root not in roots:
        draws_differ(member, "previous_root", "the root of a checkpoint in the pack", root)
    text = f"byline-night-seed/1\n{root}\n{batch}\n{sample['date']}\n"
    seed = hashlib.sha256(text.encode()).hexdigest()
    if sample["seed"] != seed:
        draws_differ(member, "seed", seed, sample["seed"])
    if night[:10] != sample["date"]:
        draws_differ(member, "date", night[:10], sample["date"])


def _check_rows(member: str, sample: Mapping[str, Any], rows: list[Any]) -> None:
    """Rule 2."""
    strata = {one["stratum"]: one for one in sample["strata"]}
    seed, before = bytes.fromhex(sample["seed"]), ""
    for number, row in enumerate(rows, 2):
        event, stratum, _, _, value, ppt, weighted = row
        if event <= before:
            draws_differ(member, f"line {number}", f"an id after {before}, once", event)
        before = event
        if stratum not in strata:
            draws_differ(member, f"line {number}, stratum", "one of the sample manifest", stratum)
        found = drawn_ppt(value, strata[stratum])
        if ppt != found or not ppt:
            draws_differ(member, f"line {number}, {event}, pi_ppt", found, ppt)
        drawn = int.from_bytes(hmac.digest(seed, event.encode(), "sha256"), "big")
        if drawn * _WHOLE >= ppt << 256:
            share = drawn * _WHOLE >> 256
            draws_differ(
                member, f"line {number}, {event}", f"a draw below pi {ppt}", f"draw {share}"
            )
        if weighted != expanded(value, ppt):
            where = f"line {number}, {event}, weighted_value_units"
            draws_differ(member, where, expanded(value, ppt), weighted)
    if len(rows) != sample["sampled"]:
        draws_differ(member, "number of outputs", sample["sampled"], len(rows))


def _check_counts(
    member: str,
    sample: Mapping[str, Any],
    outputs: Mapping[str, Any],
    payable: list[Any],
    rows: list[Any],
) -> None:
    """Rule 3."""
    manifest = f"{_SAMPLES}{member.removeprefix(DRAWS_PREFIX).removesuffix('.jsonl')}{_MANIFEST}"
    for one in sample["strata"]:
        least, name = one["certainty_min_units"], one["stratum"]
        mine = [row for row in rows if row[1] == name]
        certain = [row[4] for row in mine if least and row[4] >= least]
        counts = {
            "certain": len(certain),
            "rest_units": one["value_units"] - sum(certain),
            "rest_size": one["size"] - one["certain"],
        }
        for key, value in counts.items():
            if one[key] != value:
                draws_differ(manifest, f"stratum {name}, {key}", f"{value} by the draws", one[key])
        if len(mine) > one["outputs"]:
            draws_differ(
                manifest, f"stratum {name}, outputs", f"{len(mine)} or more", one["outputs"]
            )
    population = sample["population"]
    sums = {key: sum(one[key] for one in sample["strata"]) for key in ("outputs", "value_units")}
    logged = outputs["counts"]["payable"]
    for key, value in sums.items():
        if sample["strata"] and population[key] != value:
            draws_differ(manifest, f"population, {key}", f"{value} by its strata", population[key])
        if sample["strata"] and logged[key] != value:
            where = f"evidence/outputs{manifest.removeprefix('evidence/sample')}"
            draws_differ(where, f"payable, {key}", f"{value} by the sample's strata", logged[key])
    if sum(count[2] for count in payable) != logged["outputs"]:
        counted = sum(count[2] for count in payable)
        draws_differ(member, "line 1, payable", f"{logged['outputs']} outputs in all", counted)


def json_lines(pack: OpenPack, member: str) -> Iterator[Any]:
    """Read the lines of a draws or frame file, each in canonical form."""
    for number, line in enumerate(pack.lines(member), 1):
        try:
            value = json.loads(line)
            written = canonical_json(value) + b"\n"
        except ValueError:
            written = b""
        if written != line:
            draws_differ(
                member, f"line {number}", "one JSON value in canonical form", repr(line[:80])
            )
        yield value


def night_manifest(pack: OpenPack, name: str) -> Mapping[str, Any]:
    """Read a manifest of the evidence."""
    try:
        document = json.loads(pack.read(name))
    except (KeyError, ValueError):
        document = None
    if not isinstance(document, dict):
        draws_differ(name, "", "a manifest in JSON", "none that can be read")
    return document


def draws_differ(member: str, place: str, expected: object, found: object) -> NoReturn:
    """Refuse a number that does not follow: step 14."""
    raise VerificationError(14, member, place, expected, found, _UNCHANGED)
