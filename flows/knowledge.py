"""What was known when: the agreements and the catalogue as they are, and as an entry cites them.

1. An entry of the book cites the digests of the agreements and of the catalogue it rests on. Both
   are kept under their digests in `evidence/`, so what was known then can be read back later.
2. What is learned later never changes what was booked: a night is checked, and a closed period
   worked out again, with what was known then. The open period is divided with what is known now.
3. A stored agreement version that has another text today was changed in place, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from contracts.agreement import AgreementBook
from contracts.catalogue import Catalogue, load_catalogue
from flows.artefacts import canonical_json, read_manifest, sha256_bytes, sha256_file, write_bytes
from flows.books import read_agreements
from flows.errors import CloseError
from flows.workspace import Workspace

AGREEMENTS_FORMAT = "byline-agreements-list/1"
SHOWN_HEX = 16


@dataclass(frozen=True)
class Knowledge:
    """Agreements and catalogue as they were known at one time.

    Args:
        book: the agreements.
        catalogue: the works and who owns them.
        agreements_sha256: digest of the list of the agreements' digests.
        catalogue_sha256: digest of the catalogue's file.
    """

    book: AgreementBook
    catalogue: Catalogue
    agreements_sha256: str
    catalogue_sha256: str

    @property
    def digests(self) -> tuple[str, str]:
        """What tells one state of knowledge from another."""
        return self.agreements_sha256, self.catalogue_sha256


class KnowledgeBase:
    """The present knowledge of a workspace, and every earlier one that the book cites.

    Args:
        workspace: whose files.
        book: the agreements as they are now; read from the workspace when None.
    """

    def __init__(self, workspace: Workspace, book: AgreementBook | None = None) -> None:
        self._workspace = workspace
        self._book = read_agreements(workspace) if book is None else book
        self._earlier: dict[tuple[str, str], Knowledge] = {}

    @cached_property
    def present(self) -> Knowledge:
        """What is known now; its agreements' list and its catalogue are kept as evidence."""
        path = self._workspace.require(
            self._workspace.catalogue, "whoever keeps the catalogue of works"
        )
        digest = keep_catalogue(self._workspace)
        listed = agreements_digest(self._workspace, self._book)
        return Knowledge(self._book, load_catalogue(path), listed, digest)

    def cited(self, evidence: Mapping[str, str]) -> Knowledge:
        """Give what was known by the digests that an entry or a close cites.

        Args:
            evidence: the digests under `agreements` and `catalogue`.

        Raises:
            CloseError: a text was changed in place or is gone.
        """
        now = self.present
        key = (
            evidence.get("agreements", now.agreements_sha256),
            evidence.get("catalogue", now.catalogue_sha256),
        )
        if key == now.digests:
            return now
        if key not in self._earlier:
            self._earlier[key] = Knowledge(self._book_of(key[0]), self._catalogue_of(key[1]), *key)
        return self._earlier[key]

    def _book_of(self, digest: str) -> AgreementBook:
        """Give the versions that were known, each with the text it had."""
        if digest == self.present.agreements_sha256:
            return self._book
        path = agreements_list(self._workspace, digest)
        _check_kept(path, digest)
        listed = read_manifest(path, AGREEMENTS_FORMAT)["agreements"]
        wanted = {(row["agreement"], row["version"]): row["sha256"] for row in listed}
        found = {(a.agreement_id, a.version): a for a in self._book.agreements}
        for (name, version), sha256 in sorted(wanted.items()):
            agreement = found.get((name, version))
            now = agreement.payload_sha256 if agreement else "no such file"
            if now != sha256:
                raise CloseError(
                    f"agreement {name} v{version} was settled under the text {sha256}, found "
                    f"{now}; versions are never changed in place. Nothing was divided; restore "
                    f"the text and give the new terms a new version"
                )
        kept = tuple(agreement for key, agreement in found.items() if key in wanted)
        return AgreementBook(kept, self._book.parties, self._book.works)

    def _catalogue_of(self, digest: str) -> Catalogue:
        if digest == self.present.catalogue_sha256:
            return self.present.catalogue
        path = catalogue_copy(self._workspace, digest)
        _check_kept(path, digest)
        return load_catalogue(path)


def keep_catalogue(workspace: Workspace) -> str:
    """Keep the catalogue as it is now under its digest, and give the digest."""
    data = workspace.catalogue.read_bytes()
    digest = sha256_bytes(data)
    _keep(catalogue_copy(workspace, digest), data, digest)
    return digest


def catalogue_copy(workspace: Workspace, digest: str) -> Path:
    """Name the kept copy of a catalogue."""
    return workspace.root / "evidence" / f"catalogue-{digest[:SHOWN_HEX]}.json"


def agreements_digest(workspace: Workspace, book: AgreementBook) -> str:
    """Write down the digests of all agreement texts and give the digest of that list.

    The list lies in `evidence/` under its own digest, so an old list is never lost when an
    agreement is added.

    Args:
        workspace: where the list is written.
        book: the agreements.
    """
    texts = [
        {"agreement": a.agreement_id, "version": a.version, "sha256": a.payload_sha256}
        for a in book.agreements
    ]
    data = canonical_json({"format": AGREEMENTS_FORMAT, "agreements": texts})
    digest = sha256_bytes(data)
    _keep(agreements_list(workspace, digest), data, digest)
    return digest


def agreements_list(workspace: Workspace, digest: str) -> Path:
    """Name the file that lists the agreements' digests."""
    return workspace.root / "evidence" / f"agreements-{digest[:SHOWN_HEX]}.json"


def listed_texts(workspace: Workspace, digest: str) -> frozenset[str]:
    """Give the digests of the agreement texts in a kept list."""
    path = agreements_list(workspace, digest)
    _check_kept(path, digest)
    listed = read_manifest(path, AGREEMENTS_FORMAT)["agreements"]
    return frozenset(str(row["sha256"]) for row in listed)


def _keep(path: Path, data: bytes, digest: str) -> None:
    """Write evidence under its digest; a file that is not what its name says is put right."""
    found = path.stat() if path.exists() else None
    if found is None or not _is_whole(path, digest, found.st_mtime_ns, found.st_size):
        write_bytes(path, data)


@lru_cache(maxsize=256)
def _is_whole(path: Path, digest: str, _changed_ns: int, _size: int) -> bool:
    """Say whether a kept file is what its name says; looked at once while it is not touched."""
    return sha256_file(path) == digest


def _check_kept(path: Path, digest: str) -> None:
    """Refuse evidence that is gone or was altered."""
    found = sha256_file(path) if path.exists() else "no such file"
    if found != digest:
        raise CloseError(
            f"{path}: the book cites {digest}, found {found}; what was known then cannot be read "
            f"back and nothing was divided. Restore the file from a backup or an audit pack"
        )
