"""Read robots.txt and AIPREF snapshots as evidence: what a site preferred when it was fetched.

Three things are read of a text, line by line, in the groups that robots.txt makes:

    Content-Usage: train-ai=n          an AIPREF preference, also as a lone header value
    Content-Signal: ai-train=no        a content signal
    License: https://...               where an RSL licence lies

1. A preference holds as of the fetch and is not retroactive, so the time of acquisition is kept,
   and the number of the draft whose labels were read: they changed between drafts.
2. Any disallow wins over any allow. What is not mentioned is unknown, and unknown permits nothing.
3. A preference is no agreement and no offer: it never creates money owed. The draft made of it is
   for a person, who may find an agreement that overrides it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from contracts.errors import BadFilesError, Fault
from contracts.usage import Use

# AIPREF vocabulary by draft number; the labels of draft 08 hold until a later one is listed here.
AIPREF_LABELS: dict[int, dict[str, frozenset[Use]]] = {
    8: {
        "train-ai": frozenset({Use.TRAIN, Use.FINETUNE}),
        "ai-use": frozenset({Use.RAG_INPUT, Use.OUTPUT_INFLUENCE}),
        "search": frozenset({Use.SEARCH}),
    }
}
SIGNAL_LABELS: dict[str, frozenset[Use]] = {
    "ai-train": frozenset({Use.TRAIN, Use.FINETUNE}),
    "ai-input": frozenset({Use.RAG_INPUT, Use.OUTPUT_INFLUENCE}),
    "search": frozenset({Use.SEARCH}),
}
_ANSWERS = {"y": True, "yes": True, "n": False, "no": False}


@dataclass(frozen=True, slots=True)
class Preference:
    """One label with its answer, as a text gave it.

    Args:
        agent: the user agent of its group; * for all.
        path: the path it is about; / where none is named.
        label: as written.
        allowed: yes or no; None where the answer or the label is not known.
        uses: our uses that the label covers; empty where it is not known.
    """

    agent: str
    path: str
    label: str
    allowed: bool | None
    uses: frozenset[Use]


@dataclass(frozen=True, slots=True)
class PreferenceSnapshot:
    """A text as evidence, with the preferences read from it.

    Args:
        kind: robots or aipref.
        vocabulary: the vocabularies that were read, with the draft number.
        location: where it was found.
        acquired_at: when it was fetched, ISO 8601 with zone.
        sha256: digest of the bytes.
        preferences: in the order of the text.
        licences: places of RSL licences it names.
    """

    kind: str
    vocabulary: str
    location: str
    acquired_at: str
    sha256: str
    preferences: tuple[Preference, ...]
    licences: tuple[str, ...] = ()

    @property
    def allowed(self) -> frozenset[Use]:
        """The uses that somebody allowed and nobody disallowed."""
        yes = {use for p in self.preferences if p.allowed for use in p.uses}
        return frozenset(yes - self.disallowed)

    @property
    def disallowed(self) -> frozenset[Use]:
        """The uses that somebody disallowed."""
        return frozenset(use for p in self.preferences if p.allowed is False for use in p.uses)

    @property
    def conflicts(self) -> tuple[str, ...]:
        """What contradicts what, and what was not understood, for the person who decides."""
        yes = {use for p in self.preferences if p.allowed for use in p.uses}
        found = [
            f"{use.value} is allowed and disallowed; read as disallowed"
            for use in sorted(yes & self.disallowed)
        ]
        return tuple(
            found
            + [
                f"{p.label} is not known in {self.vocabulary}; read as unknown"
                for p in self.preferences
                if p.allowed is None
            ]
        )


def read_preferences(
    data: bytes, *, kind: str, location: str, acquired_at: str, draft: int
) -> PreferenceSnapshot:
    """Read a robots.txt, or the value of a Content-Usage header, as it was fetched.

    Args:
        data: its bytes.
        kind: robots or aipref.
        location: where it was found.
        acquired_at: when it was fetched, ISO 8601 with zone; it applies as of then.
        draft: the number of the AIPREF vocabulary draft in force then.

    Returns:
        The snapshot; a text without any preference is one too.

    Raises:
        BadFilesError: not UTF-8, or a draft whose labels are not known here.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFilesError([Fault(location, 1, "(file)", str(error), "UTF-8 text")]) from error
    if draft not in AIPREF_LABELS:
        known = ", ".join(str(number) for number in sorted(AIPREF_LABELS))
        expected = f"a draft of the AIPREF vocabulary whose labels are known: {known}"
        raise BadFilesError([Fault(location, 1, "draft", str(draft), expected)])
    if kind == "aipref" and ":" not in text.partition("\n")[0]:
        text = f"Content-Usage: {text}"
    preferences: list[Preference] = []
    licences: list[str] = []
    for agent, name, value in _fields(text):
        if name == "content-usage":
            preferences += _labels(agent, value, AIPREF_LABELS[draft])
        elif name == "content-signal":
            preferences += _labels(agent, value, SIGNAL_LABELS)
        elif name == "license":
            licences.append(value)
    return PreferenceSnapshot(
        kind,
        f"AIPREF vocabulary draft {draft:02d}; Content-Signal",
        location,
        acquired_at,
        hashlib.sha256(data).hexdigest(),
        tuple(preferences),
        tuple(licences),
    )


def _fields(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (agent, field, value) for each field of a robots.txt, remarks left out."""
    agent = "*"
    for line in text.splitlines():
        name, colon, value = line.partition("#")[0].partition(":")
        if not colon:
            continue
        name, value = name.strip().lower(), value.strip()
        if name == "user-agent":
            agent = value or "*"
        yield agent, name, value


def _labels(agent: str, value: str, known: dict[str, frozenset[Use]]) -> Iterator[Preference]:
    """Yield the preferences of one field: an optional path, then label=answer pairs."""
    path = "/"
    if value.startswith("/"):
        path, _, value = value.partition(" ")
    for pair in value.replace(";", ",").split(","):
        label, _, answer = (part.strip().lower() for part in pair.partition("="))
        if label:
            uses = known.get(label, frozenset())
            yield Preference(agent, path, label, _ANSWERS.get(answer) if uses else None, uses)


def draft_of_preferences(snapshot: PreferenceSnapshot) -> str:
    """Write a snapshot as an agreement text that a person has to complete.

    The text does not load as it is: a preference names no licensor, no date and no price.
    """
    uses = ", ".join(sorted(use.value for use in snapshot.allowed))
    refused = ", ".join(sorted(use.value for use in snapshot.disallowed)) or "none"
    lines = [
        "# DRAFT from a preference; not an agreement until a person completes and signs it.",
        f"# evidence: {snapshot.kind}, {snapshot.location}, fetched {snapshot.acquired_at}",
        f"# sha256: {snapshot.sha256}",
        f"# vocabulary: {snapshot.vocabulary}; a preference is not retroactive",
        f"# disallowed: {refused}",
        *(f"# licence: {licence}" for licence in snapshot.licences),
        *(f"# conflict: {conflict}" for conflict in snapshot.conflicts),
        "format: byline-agreement/1",
        "# to decide: agreement_id, version, licensor, licensee, effective_from, works",
        "terms:",
        "  - term_id: preference",
        f"    if: {{use: [{uses}]}}" if uses else "    # nothing is allowed: unlicensed",
        "    # to decide: then, the basis and the price",
    ]
    return "\n".join(lines) + "\n"
