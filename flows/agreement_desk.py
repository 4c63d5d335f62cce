"""What `byline agreements` does: bring texts in, let a second person approve, show versions.

1. A signed text comes in as a draft in the database; its signature is checked against the keys in
   `keys/agreement-signers.pub`, one `NAME BASE64` a line, never against a key of its own.
2. Approved by somebody else than its preparer, its text is written to `agreements/`, where the
   nights and the close read it. It is never changed in place.
3. Offers and preferences of others are kept as evidence with an unfinished text each. They create
   no money owed: the text does not load before a person has completed and signed it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import date as Date  # noqa: N812 - `date` is a field elsewhere
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from contracts.agreement import Agreement, AgreementBook
from contracts.errors import Fault, SignatureError
from contracts.importers.native import SUFFIXES, parse_agreements
from contracts.importers.preferences import draft_of_preferences, read_preferences
from contracts.importers.rsl import draft_agreement, read_rsl
from contracts.party import Party
from contracts.signature import AGREEMENT, verify_agreement
from contracts.store_desk import AgreementDesk, Evidence, StoredVersion
from contracts.work import load_catalogue
from flows.artefacts import write_bytes
from flows.books import open_books, read_agreements
from flows.errors import AgreementDeskError
from flows.workspace import Workspace

KINDS = ("rsl", "robots", "aipref")
AIPREF_DRAFT = 8
_HIDDEN = frozenset({"payload", "payload_sha256", "signer", "signature", "terms", "version"})


@contextmanager
def open_desk(workspace: Workspace) -> Iterator[AgreementDesk]:
    """Open the database of the books for agreements, for the length of a `with` block."""
    with open_books(workspace) as books:
        yield AgreementDesk(books.engine)


def lint(workspace: Workspace | None, paths: Sequence[Path]) -> AgreementBook:
    """Check files or folders of agreements in one pass.

    Args:
        workspace: whose parties may be named without being declared again; None for none.
        paths: files, or folders whose .yaml files are read.

    Returns:
        What they declare.

    Raises:
        BadFilesError: every fault of every file.
    """
    texts: dict[str, str] = {}
    faults: list[Fault] = []
    for path in _files(paths):
        try:
            texts[str(path)] = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError) as error:
            faults.append(Fault(str(path), 1, "(file)", str(error), "a UTF-8 text file"))
    known = known_parties(workspace) if workspace else {}
    return parse_agreements(texts, faults=faults, known_parties=known)


def import_native(workspace: Workspace, paths: Sequence[Path], prepared_by: str) -> AgreementBook:
    """Store signed agreement files as drafts, all of them or none.

    Args:
        workspace: whose database and trusted keys.
        paths: files or folders.
        prepared_by: who brings them in.

    Returns:
        The versions that are drafts now.

    Raises:
        BadFilesError: every fault of every file.
        SignatureError: a text is not signed by a trusted key.
        StoreConflictError: a version is stored with another text.
    """
    book = lint(workspace, paths)
    keys = trusted_keys(workspace)
    for agreement in book.agreements:
        verify_agreement(agreement, keys)
    named = {a.licensor for a in book.agreements} | {a.payee_id for a in book.agreements}
    parties = {**known_parties(workspace), **book.parties}
    mine = {name: parties[name] for name in sorted(named) if name in parties}
    with open_desk(workspace) as desk:
        desk.prepare(AgreementBook(book.agreements, mine), prepared_by)
    return book


def import_offer(
    workspace: Workspace,
    path: Path,
    kind: str,
    *,
    location: str,
    acquired_at: str,
    draft: int = AIPREF_DRAFT,
    profiles: Sequence[str] = (),
) -> Evidence:
    """Keep an RSL document, a robots.txt or an AIPREF preference as evidence with its drafts.

    Args:
        workspace: whose database.
        path: the file as it was fetched.
        kind: rsl, robots or aipref.
        location: where it was found.
        acquired_at: when, ISO 8601 with zone.
        draft: the AIPREF vocabulary draft in force then.
        profiles: RSL reporting profiles that we can serve.

    Returns:
        The evidence, with one unfinished text for each offer.

    Raises:
        BadFilesError: the file is not what it should be.
        AgreementDeskError: the time has no zone.
    """
    _check_time(acquired_at)
    data = path.read_bytes()
    if kind == "rsl":
        document = read_rsl(
            data, location=location, acquired_at=acquired_at, known_profiles=profiles
        )
        older = f", older words {', '.join(document.drafts)}" if document.drafts else ""
        vocabulary = f"RSL 1.0 as read on {acquired_at[:10]}{older}"
        drafts = tuple(draft_agreement(document, offer) for offer in document.offers)
    else:
        snapshot = read_preferences(
            data, kind=kind, location=location, acquired_at=acquired_at, draft=draft
        )
        vocabulary, drafts = snapshot.vocabulary, (draft_of_preferences(snapshot),)
    evidence = Evidence(kind, vocabulary, location, acquired_at, data.decode("utf-8"), drafts)
    with open_desk(workspace) as desk:
        desk.save_evidence(evidence)
    return evidence


def approve(workspace: Workspace, agreement_id: str, version: int, approved_by: str) -> Path:
    """Approve a draft and put its text where the nights and the close read it.

    Args:
        workspace: whose database and folder.
        agreement_id: the agreement.
        version: its version.
        approved_by: who approves: somebody else than the preparer.

    Returns:
        The file of the agreement.

    Raises:
        UnknownVersionError: there is no such draft.
        ApprovalRefusedError: the preparer would approve his own work.
        AgreementDeskError: the folder has this version with another text.
    """
    book = read_agreements(workspace) if workspace.agreements.exists() else AgreementBook()
    with open_desk(workspace) as desk:
        stored = desk.version(agreement_id, version)
        for other in book.agreements:
            same = (other.agreement_id, other.version) == (agreement_id, version)
            if same and other.payload_sha256 != stored.agreement.payload_sha256:
                raise AgreementDeskError(
                    f"{other.name} lies in {workspace.agreements} with the text "
                    f"{other.payload_sha256[:16]}, the draft has "
                    f"{stored.agreement.payload_sha256[:16]}; nothing was approved. Give the new "
                    f"terms a new version"
                )
        agreement = desk.approve(agreement_id, version, approved_by)
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in agreement_id)
    path = workspace.agreements / f"{name}.v{version}.yaml"
    known = {(a.agreement_id, a.version) for a in book.agreements}
    if (agreement_id, version) not in known:
        _declare_parties(workspace, book, agreement)
        write_bytes(path, agreement.payload.encode("utf-8"))
    return path


def list_versions(workspace: Workspace, on: Date | None = None) -> list[dict[str, Any]]:
    """Give every version with its days in force and its standing.

    Args:
        workspace: whose folder and database.
        on: only versions in force on this day; None for all.

    Returns:
        One mapping a version, by agreement and version.
    """
    book = read_agreements(workspace) if workspace.agreements.exists() else AgreementBook()
    with open_desk(workspace) as desk:
        stored = {(s.agreement.agreement_id, s.agreement.version): s for s in desk.versions()}
    found = {(a.agreement_id, a.version): a for a in book.agreements}
    rows = []
    for key in sorted(found.keys() | stored.keys()):
        agreement = found[key] if key in found else stored[key].agreement
        if on is not None and not (key in found and book.holds_on(agreement, on)):
            continue
        rows.append(_row(book, agreement, stored.get(key), paying=key in found))
    return rows


def find_version(workspace: Workspace, agreement_id: str, version: int | None) -> Agreement:
    """Find a version in the folder or among the drafts; the highest one when None.

    Raises:
        AgreementDeskError: there is none.
    """
    book = read_agreements(workspace) if workspace.agreements.exists() else AgreementBook()
    with open_desk(workspace) as desk:
        every = [*book.agreements, *(stored.agreement for stored in desk.versions())]
    mine = {a.version: a for a in every if a.agreement_id == agreement_id}
    wanted = max(mine, default=0) if version is None else version
    if wanted not in mine:
        known = ", ".join(str(number) for number in sorted(mine)) or "none"
        raise AgreementDeskError(
            f"agreement {agreement_id} v{wanted} is neither in {workspace.agreements} nor a "
            f"draft; known versions: {known}. `byline agreements list` names all"
        )
    return mine[wanted]


def list_drafts(workspace: Workspace) -> list[str]:
    """Name the unfinished texts that were made of evidence."""
    with open_desk(workspace) as desk:
        return sorted(desk.drafts())


def find_text(workspace: Workspace, name: str, version: int | None) -> tuple[str, str]:
    """Find the text of an agreement version, or of an unfinished draft by its id.

    Returns:
        What it is, and its text.

    Raises:
        AgreementDeskError: there is neither.
    """
    with open_desk(workspace) as desk:
        drafts = desk.drafts()
    if name in drafts:
        return f"unfinished draft {name}", drafts[name]
    agreement = find_version(workspace, name, version)
    return agreement.name, agreement.payload


def differences(old: Agreement, new: Agreement) -> list[dict[str, str]]:
    """Compare two versions field by field and term by term.

    Args:
        old: one version.
        new: the other.

    Returns:
        For each difference the field, what it was and what it is; a term that is not in one of
        them is written as nothing there.
    """
    found = [
        {"field": item.name, "was": _shown(before), "is": _shown(after)}
        for item in fields(Agreement)
        if item.name not in _HIDDEN
        and (before := getattr(old, item.name)) != (after := getattr(new, item.name))
    ]
    terms = [{term.term_id: term for term in version.terms} for version in (old, new)]
    for term_id in sorted(terms[0].keys() | terms[1].keys()):
        first, second = (side.get(term_id) for side in terms)
        if first is None or second is None:
            row = {"field": f"terms[{term_id}]", "was": _shown(first), "is": _shown(second)}
            found.append(row)
            continue
        found += [
            {"field": f"terms[{term_id}].{item.name}", "was": _shown(before), "is": _shown(after)}
            for item in fields(first)
            if (before := getattr(first, item.name)) != (after := getattr(second, item.name))
        ]
    return found


def trusted_keys(workspace: Workspace, kind: str = AGREEMENT) -> dict[str, Ed25519PublicKey]:
    """Read the keys whose signatures count, by signer.

    Args:
        workspace: whose `keys/KIND-signers.pub`.
        kind: what they sign.

    Raises:
        SignatureError: there is no such file, or a line is not a key.
    """
    path = workspace.home / "keys" / f"{kind}-signers.pub"
    if not path.exists():
        raise SignatureError(
            f"{path} is missing, so no signature can be checked and nothing was done; write "
            f"one line a trusted signer into it: NAME BASE64-OF-THE-PUBLIC-KEY"
        )
    keys = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, _, text = line.partition("#")[0].strip().partition(" ")
        if not name:
            continue
        try:
            raw = base64.b64decode(text.strip(), validate=True)
            keys[name] = Ed25519PublicKey.from_public_bytes(raw)
        except (binascii.Error, ValueError) as error:
            raise SignatureError(
                f"{path}, line {number}: the key of {name} is not 32 bytes in base64 ({error}); "
                f"nothing was imported. Ask the signer for the key again"
            ) from error
    return keys


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(item for item in path.iterdir() if item.suffix in SUFFIXES)
        else:
            yield path


def known_parties(workspace: Workspace) -> dict[str, Party]:
    """Give the parties that the workspace knows: of its agreements, then of its catalogue."""
    known: dict[str, Party] = {}
    if workspace.catalogue.exists():
        known |= load_catalogue(workspace.catalogue).parties
    if workspace.agreements.exists():
        known |= read_agreements(workspace).parties
    return known


def _declare_parties(workspace: Workspace, book: AgreementBook, agreement: Agreement) -> None:
    """Declare the parties an approved text names and no file of the folder declares yet."""
    missing = sorted({agreement.licensor, agreement.payee_id} - book.parties.keys())
    for party_id in missing:
        name = "".join(c if c.isalnum() or c in "._-" else "-" for c in party_id)
        text = f"format: byline-parties/1\nparties:\n  - party_id: {party_id}\n"
        write_bytes(workspace.agreements / f"party.{name}.yaml", text.encode("utf-8"))


def _row(
    book: AgreementBook, agreement: Agreement, stored: StoredVersion | None, *, paying: bool
) -> dict[str, Any]:
    """Describe one version."""
    until = book.superseded_on(agreement) if paying else None
    ends = min((day for day in (until, agreement.effective_to) if day is not None), default=None)
    return {
        "agreement_id": agreement.agreement_id,
        "version": agreement.version,
        "licensor": agreement.licensor,
        "effective_from": agreement.effective_from.isoformat(),
        "holds_until": ends.isoformat() if ends else None,
        "status": "in the folder" if paying else (stored.status if stored else ""),
        "signed_by": agreement.signer,
        "prepared_by": stored.prepared_by if stored else "",
        "approved_by": stored.approved_by if stored else "",
        "sha256": agreement.payload_sha256,
    }


def _shown(value: object) -> str:
    return "nothing" if value is None or value in ("", ()) else str(value)


def _check_time(text: str) -> None:
    """Refuse a time of acquisition without its zone."""
    try:
        has_zone = datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        has_zone = False
    if not has_zone:
        raise AgreementDeskError(
            f"the time of acquisition must be written like 2026-11-20T10:00:00Z, got {text!r}; a "
            f"preference holds as of its fetch, so nothing was kept without it"
        )
