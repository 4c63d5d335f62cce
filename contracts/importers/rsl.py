"""Read RSL documents (Really Simple Licensing) as evidence and as drafts, never as money owed.

1. The document is kept as it was found, with its digest, place and time of acquisition: the
   vocabulary is amended in place, so a version number alone proves nothing.
2. Conflicting terms are resolved to the most restrictive: a prohibition beats a permission, a
   use that no licence permits is not permitted, and every conflict is listed for the person who
   decides.
3. A reporting profile that is not known makes the licence unusable: the use is unlicensed.
4. A draft is not an agreement. It has no licensor we know, no signature and no approval; a
   person completes it, and only the signed result creates money owed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from contracts.errors import BadFilesError, Fault
from contracts.usage import Use

RSL_NAMESPACE = "https://rslstandard.org/rsl"
_TAG = f"{{{RSL_NAMESPACE}}}"

# The words of version 1.0, and those of the 0.9 drafts that are still served.
USES_OF: dict[str, frozenset[Use]] = {
    "all": frozenset(Use),
    "ai-all": frozenset(Use) - {Use.SEARCH},
    "ai-train": frozenset({Use.TRAIN, Use.FINETUNE}),
    "train-ai": frozenset({Use.TRAIN, Use.FINETUNE}),
    "ai-input": frozenset({Use.RAG_INPUT, Use.OUTPUT_INFLUENCE}),
    "ai-index": frozenset({Use.INDEX}),
    "search": frozenset({Use.SEARCH}),
}
PAYMENT_OF = {"inference": "use"}
PAYMENTS = frozenset(
    {"purchase", "subscription", "training", "crawl", "use", "contribution", "attribution", "free"}
)
_ELEMENTS = frozenset(
    {"content", "license", "permits", "prohibits", "payment", "standard", "custom", "amount"}
    | {"accepts", "reporting", "legal", "schema", "alternate", "copyright", "terms", "rsl"}
)


@dataclass(frozen=True, slots=True)
class RslOffer:
    """What one document offers for one piece of content, at its most restrictive.

    Args:
        url: the content, a path as in robots.txt.
        uses: uses permitted by a licence and prohibited by none.
        payment: the payment type; free where none is named.
        amount: the amount as written, empty if none.
        currency: ISO 4217, empty if none.
        standard: the id of a shared licence, empty if none.
        token_needed: whether a licence server must be asked first, even for free content.
        conflicts: what contradicted what, for the person who decides.
    """

    url: str
    uses: frozenset[Use]
    payment: str
    amount: str = ""
    currency: str = ""
    standard: str = ""
    token_needed: bool = False
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RslDocument:
    """A document as evidence, with the offers read from it.

    Args:
        location: where it was found.
        acquired_at: when, as the caller says, ISO 8601 with zone.
        sha256: digest of the bytes.
        offers: one per content element and licence.
        drafts: old words that were found, such as train-ai.
    """

    location: str
    acquired_at: str
    sha256: str
    offers: tuple[RslOffer, ...]
    drafts: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reading:
    """What is collected while a document is read."""

    file: str
    profiles: frozenset[str]
    faults: list[Fault] = field(default_factory=list)
    drafts: set[str] = field(default_factory=set)

    def fault(self, where: str, found: object, expected: str) -> None:
        """Note a fault; the parser keeps no lines, so the place is the element."""
        self.faults.append(Fault(self.file, 1, where, repr(found), expected))


def read_rsl(
    data: bytes, *, location: str, acquired_at: str, known_profiles: Iterable[str] = ()
) -> RslDocument:
    """Read a document as it was fetched.

    Args:
        data: its bytes.
        location: where it was found.
        acquired_at: when it was fetched, ISO 8601 with zone; it applies as of then.
        known_profiles: reporting profiles the licensee can serve.

    Returns:
        The document with its offers, each at its most restrictive.

    Raises:
        BadFilesError: not XML, not RSL, or elements and words the vocabulary does not have.
    """
    reading = _Reading(location, frozenset(known_profiles))
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise BadFilesError([Fault(location, 1, "(file)", "a DTD", "a document without entities")])
    try:
        root = ET.fromstring(data)  # noqa: S314 - entities were refused above
    except ET.ParseError as error:
        line = error.position[0]
        fault = Fault(location, line, "(file)", str(error), "an XML document")
        raise BadFilesError([fault]) from error
    if root.tag != f"{_TAG}rsl":
        reading.fault("(root)", root.tag, f"rsl in the namespace {RSL_NAMESPACE}")
    for element in root.iter():
        name = str(element.tag).removeprefix(_TAG)
        if str(element.tag).startswith(_TAG) and name not in _ELEMENTS:
            reading.fault(name, name, "an element of the RSL vocabulary")
    offers = [
        _offer(content, licence, reading)
        for content in root.iter(f"{_TAG}content")
        for licence in content.iter(f"{_TAG}license")
    ]
    if reading.faults:
        raise BadFilesError(reading.faults)
    digest = hashlib.sha256(data).hexdigest()
    return RslDocument(location, acquired_at, digest, tuple(offers), tuple(sorted(reading.drafts)))


def _offer(content: ET.Element, licence: ET.Element, reading: _Reading) -> RslOffer:
    """Read one licence of one content element."""
    url = content.get("url", "")
    if not url:
        reading.fault("content", "no url", "a url, the path the licence is for")
    permitted = _uses(licence, "permits", reading)
    prohibited = _uses(licence, "prohibits", reading)
    conflicts = [
        f"{use.value} is permitted and prohibited; read as prohibited"
        for use in sorted((permitted or frozenset()) & (prohibited or frozenset()))
    ]
    if permitted is None:
        conflicts.append("no use is permitted by name; read as permitting none")
    uses = (permitted or frozenset()) - (prohibited or frozenset())
    for report in licence.iter(f"{_TAG}reporting"):
        profile = report.get("profile", "")
        if profile not in reading.profiles:
            conflicts.append(f"reporting profile {profile or '(none)'} is not known; unlicensed")
            uses = frozenset()
    payment = licence.find(f"{_TAG}payment")
    kind = "free" if payment is None else payment.get("type", "free")
    if kind in PAYMENT_OF:
        reading.drafts.add(kind)
        kind = PAYMENT_OF[kind]
    if kind not in PAYMENTS:
        reading.fault("payment", kind, f"one of {', '.join(sorted(PAYMENTS))}")
    amount = None if payment is None else payment.find(f"{_TAG}amount")
    if amount is not None and not amount.get("currency"):
        reading.fault("amount", "no currency", "a currency, ISO 4217")
    standard = "" if payment is None else (payment.findtext(f"{_TAG}standard") or "").strip()
    return RslOffer(
        url,
        uses,
        kind,
        "" if amount is None else (amount.text or "").strip(),
        "" if amount is None else amount.get("currency", ""),
        standard,
        bool(content.get("server")),
        tuple(conflicts),
    )


def _uses(licence: ET.Element, element: str, reading: _Reading) -> frozenset[Use] | None:
    """Return the uses a permits or prohibits element names, or None if there is none."""
    found = [e for e in licence.iter(f"{_TAG}{element}") if e.get("type", "usage") == "usage"]
    if not found:
        return None
    if len(found) > 1:
        reading.fault(element, f"{len(found)} of type usage", "at most one of each type")
    uses: set[Use] = set()
    for word in (found[0].text or "").replace(",", " ").split():
        if word not in USES_OF:
            reading.fault(element, word, f"one of {', '.join(sorted(USES_OF))}")
        if word == "train-ai":
            reading.drafts.add(word)
        uses |= USES_OF.get(word, frozenset())
    return frozenset(uses)


def draft_agreement(document: RslDocument, offer: RslOffer) -> str:
    """Write an offer as an agreement text that a person has to complete.

    The text does not load as it is: licensor, dates and prices are left out on purpose, so that
    no draft becomes an agreement by being put into the folder.

    Args:
        document: the document, for its evidence.
        offer: one of its offers.

    Returns:
        YAML with a comment for everything that has to be decided.
    """
    uses = ", ".join(sorted(use.value for use in offer.uses))
    price = f"{offer.amount} {offer.currency}".strip() or "no amount named"
    lines = [
        "# DRAFT from an RSL document; not an agreement until a person completes and signs it.",
        f"# evidence: {document.location}, fetched {document.acquired_at}",
        f"# sha256: {document.sha256}",
        f"# content: {offer.url}; payment: {offer.payment}, {price}",
        *([f"# shared licence: {offer.standard}"] if offer.standard else []),
        *(["# a licence server must be asked for a token first"] if offer.token_needed else []),
        *(f"# conflict: {conflict}" for conflict in offer.conflicts),
        "format: byline-agreement/1",
        "# to decide: agreement_id, version, licensor, licensee, effective_from, works",
        "terms:",
        "  - term_id: offer",
        f"    if: {{use: [{uses}]}}" if uses else "    # nothing is permitted: unlicensed",
        "    # to decide: then, the basis and the price",
    ]
    return "\n".join(lines) + "\n"
