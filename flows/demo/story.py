"""The demo's agreements: who signed what, written as the YAML files a person would write.

Packages are the creators. All of them have signed the same simple agreement (their part of the
pool), but for

    two packages that have signed nothing: their money stands in suspense;
    one work that two packages share, 60 to 40;
    one package that was paid an advance and has to earn it back.

Which packages these are follows from their sizes, so the same environment tells the same story.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from pathlib import Path
from typing import Any

from flows.artefacts import canonical_json, write_bytes
from flows.errors import DemoError

LICENSEE = "operator"
ADVANCE = "2.000000"
UNLICENSED_PLACES = (3, 9)
SHARED_PLACE = 1
CO_CREATOR_PLACE = 6
ADVANCE_PLACE = 2


@dataclass(frozen=True)
class Story:
    """Who plays which part.

    Args:
        unlicensed: the packages without an agreement.
        shared_work: the work that two packages share.
        co_creator: the package that holds 40 % of it.
        advanced: the package with an unrecouped advance.
    """

    unlicensed: tuple[str, ...]
    shared_work: str
    co_creator: str
    advanced: str


def cast(creators: Sequence[str], works: Mapping[str, str]) -> Story:
    """Give every part to a package.

    Args:
        creators: party ids, the largest first.
        works: work id -> its owner.

    Returns:
        The story.

    Raises:
        DemoError: there are too few creators.
    """
    if len(creators) <= max(UNLICENSED_PLACES):
        raise DemoError(
            f"{len(creators)} creators are too few for the demo's story, it needs "
            f"{max(UNLICENSED_PLACES) + 1}; install byline with its dependencies (make demo)"
        )
    owner = creators[SHARED_PLACE]
    return Story(
        unlicensed=tuple(creators[place] for place in UNLICENSED_PLACES),
        shared_work=min(work for work, party in works.items() if party == owner),
        co_creator=creators[CO_CREATOR_PLACE],
        advanced=creators[ADVANCE_PLACE],
    )


def write_agreements(
    folder: Path, catalogue_file: Path, creators: Sequence[str], period_start: Date, pool_id: str
) -> Story:
    """Write parties, agreements and the shared work's split.

    Args:
        folder: gets parties.yaml and one file an agreement.
        catalogue_file: rewritten with the split of the shared work.
        creators: party ids, the largest first.
        period_start: the day the agreements begin and the advance is paid.
        pool_id: the pool they share.

    Returns:
        Who plays which part.
    """
    catalogue = json.loads(catalogue_file.read_bytes())
    works = {work["work_id"]: work["splits"][0]["party_id"] for work in catalogue["works"]}
    story = cast(creators, works)
    for work in catalogue["works"]:
        if work["work_id"] == story.shared_work:
            work["splits"] = [
                {"party_id": works[story.shared_work], "share": "3/5"},
                {"party_id": story.co_creator, "share": "2/5"},
            ]
    write_bytes(catalogue_file, canonical_json(catalogue))
    lines = ["format: byline-parties/1", "parties:"]
    lines += [f"  - party_id: {party}" for party in sorted(creators)]
    lines += [f"  - party_id: {LICENSEE}", "    kind: operator"]
    write_bytes(folder / "parties.yaml", ("\n".join(lines) + "\n").encode())
    for party in sorted(set(creators) - set(story.unlicensed)):
        text = _agreement(party, period_start, pool_id, advanced=party == story.advanced)
        write_bytes(folder / f"{slug(party)}.yaml", text.encode())
    return story


def slug(party_id: str) -> str:
    """Turn an id into a file name."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in party_id)


def works_by_creator(catalogue: Mapping[str, Any]) -> dict[str, int]:
    """Count the works each creator has a share of."""
    count: dict[str, int] = {}
    for work in catalogue["works"]:
        for split in work["splits"]:
            count[split["party_id"]] = count.get(split["party_id"], 0) + 1
    return count


def _agreement(party: str, start: Date, pool_id: str, *, advanced: bool) -> str:
    lines = [
        "# Written by the demo; a real one is signed by both sides.",
        "format: byline-agreement/1",
        f"agreement_id: agr-{slug(party)}",
        "version: 1",
        f"licensor: {party}",
        f"licensee: {LICENSEE}",
        f"effective_from: {start.isoformat()}",
        "currency: USD/6",
        'works: "*"',
        "terms:",
        "  - term_id: pool",
        "    if: {use: [output_influence]}",
        f"    then: {{basis: pool_share, pool: {pool_id}, rate: 100%, method: signed_linear/1}}",
    ]
    if advanced:
        lines += [
            "advances:",
            f"  - {{advance_id: signing, amount: {ADVANCE}, paid_on: {start.isoformat()}}}",
        ]
    return "\n".join(lines) + "\n"
