"""The desk of the contracts store: drafts, approvals, evidence, disputes and decided sheets.

1. An agreement version comes in as a draft with who prepared it and counts once somebody else has
   approved it; the database refuses the preparer's own approval.
2. What was imported from elsewhere is evidence with its place and time of acquisition, and an
   unfinished text beside it. Neither is an agreement.
3. A dispute and a decision about shares are rows of their own; nothing is overwritten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from sqlalchemy.orm import Session

from contracts.agreement import Agreement, AgreementBook
from contracts.errors import ApprovalRefusedError, UnknownVersionError
from contracts.importers.native import parse_agreements
from contracts.party import Party
from contracts.store import ContractStore, agreement_row, parties_of, rows_of, split_row
from contracts.tables import (
    AgreementDraftRow,
    AgreementRow,
    AgreementStepRow,
    DisputeRow,
    ImportEvidenceRow,
    WorkDecisionRow,
    WorkRow,
    WorkSplitRow,
)
from contracts.work import Work


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One agreement version as it stands in the database.

    Args:
        agreement: the version.
        status: draft, approved or withdrawn.
        prepared_by: who brought it in; empty where it was stored without a draft.
        approved_by: who approved it; empty for a draft.
    """

    agreement: Agreement
    status: str
    prepared_by: str = ""
    approved_by: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A machine-readable offer or preference as it was found.

    Args:
        kind: rsl, robots or aipref.
        vocabulary: the vocabulary with its draft or version.
        location: where it was found.
        acquired_at: when it was fetched, ISO 8601 with zone.
        payload: its text.
        drafts: unfinished agreement texts made from it.
    """

    kind: str
    vocabulary: str
    location: str
    acquired_at: str
    payload: str
    drafts: tuple[str, ...] = ()

    @property
    def evidence_id(self) -> str:
        """The id: what, when and where decide it."""
        text = f"{self.kind}\n{self.location}\n{self.acquired_at}\n{self.payload}"
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


@dataclass(frozen=True, slots=True)
class DisputeStep:
    """One step of a dispute: a claim opened, decided or withdrawn.

    Args:
        dispute_id: the dispute.
        step: opened, resolved or withdrawn.
        work_id: the work.
        party_id: the claimant.
        share: what is claimed, or what was decided.
        effective_on: the day it counts from.
        right: the right; * for all.
        decided_by: who decided; empty for a claim.
    """

    dispute_id: str
    step: str
    work_id: str
    party_id: str
    share: Fraction
    effective_on: date
    right: str = "*"
    decided_by: str = ""


class AgreementDesk(ContractStore):
    """The store with what people decide about agreements, works and disputes."""

    def save_parties(self, parties: Iterable[Party]) -> int:
        """Store parties with their identifiers.

        Returns:
            How many rows were new.

        Raises:
            StoreConflictError: a stored party differs; nothing was stored.
        """
        with Session(self._engine) as session, session.begin():
            return self._save_parties(session, parties)

    def prepare(self, book: AgreementBook, prepared_by: str) -> int:
        """Store agreement versions as drafts, with the parties they name.

        Args:
            book: the agreements, as loaded from their files.
            prepared_by: who brings them in.

        Returns:
            How many rows were new.

        Raises:
            StoreConflictError: a stored version has another text; nothing was stored.
        """
        steps = [_step_row(a, "prepared", prepared_by) for a in book.agreements]
        rows = [agreement_row(a, None) | {"status": "draft"} for a in book.agreements]
        with Session(self._engine) as session, session.begin():
            return (
                self._save_parties(session, book.parties.values())
                + self._save(session, AgreementRow, rows)
                + self._save(session, AgreementStepRow, steps)
            )

    def approve(self, agreement_id: str, version: int, approved_by: str) -> Agreement:
        """Approve a draft; the same approval given again changes nothing.

        Raises:
            UnknownVersionError: there is no such version.
            ApprovalRefusedError: it was withdrawn, or its preparer would approve it.
            StoreConflictError: somebody else approved it before.
        """
        stored = self.version(agreement_id, version)
        if stored.status == "withdrawn" or stored.prepared_by in ("", approved_by):
            raise ApprovalRefusedError(
                stored.agreement.name, stored.prepared_by, approved_by, stored.status
            )
        with Session(self._engine) as session, session.begin():
            row = _step_row(stored.agreement, "approved", approved_by)
            self._save(session, AgreementStepRow, [row])
        return stored.agreement

    def version(self, agreement_id: str, version: int) -> StoredVersion:
        """Return one stored version.

        Raises:
            UnknownVersionError: there is no such version.
        """
        for stored in self.versions():
            found = stored.agreement
            if (found.agreement_id, found.version) == (agreement_id, version):
                return stored
        raise UnknownVersionError(agreement_id, version)

    def versions(self) -> list[StoredVersion]:
        """Return every stored version, drafts too, by agreement and version."""
        with Session(self._engine) as session:
            rows = rows_of(session, AgreementRow)
            steps = rows_of(session, AgreementStepRow)
            parties = parties_of(session)
        told = {
            (row["agreement_id"], row["version"], row["step"]): row["party_id"] for row in steps
        }
        found = []
        for row in rows:
            key = (row["agreement_id"], row["version"])
            name = f"agreement {key[0]} v{key[1]}"
            (agreement,) = parse_agreements(
                {name: row["payload"]}, known_parties=parties
            ).agreements
            approved_by = str(told.get((*key, "approved")) or row["approved_by"] or "")
            status = "approved" if approved_by or row["status"] != "draft" else "draft"
            if (*key, "withdrawn") in told:
                status = "withdrawn"
            prepared_by = told.get((*key, "prepared"), "")
            found.append(StoredVersion(agreement, status, prepared_by, approved_by))
        return found

    def save_evidence(self, evidence: Evidence) -> int:
        """Store an offer or a preference as evidence, with its unfinished drafts.

        Returns:
            How many rows were new.
        """
        row = {
            "evidence_id": evidence.evidence_id,
            "kind": evidence.kind,
            "vocabulary": evidence.vocabulary,
            "location": evidence.location,
            "acquired_at": evidence.acquired_at,
            "payload": evidence.payload,
            "payload_sha256": _sha256(evidence.payload),
            "agreement_id": None,
        }
        drafts = [
            {
                "draft_id": f"{evidence.evidence_id}/{number}",
                "evidence_id": evidence.evidence_id,
                "payload": text,
                "payload_sha256": _sha256(text),
            }
            for number, text in enumerate(evidence.drafts, start=1)
        ]
        with Session(self._engine) as session, session.begin():
            return self._save(session, ImportEvidenceRow, [row]) + self._save(
                session, AgreementDraftRow, drafts
            )

    def evidence(self) -> list[Evidence]:
        """Return everything that was imported as evidence, by id."""
        with Session(self._engine) as session:
            drafts = rows_of(session, AgreementDraftRow)
            rows = rows_of(session, ImportEvidenceRow)
        return [
            Evidence(
                row["kind"],
                row["vocabulary"],
                row["location"],
                row["acquired_at"],
                row["payload"],
                tuple(d["payload"] for d in drafts if d["evidence_id"] == row["evidence_id"]),
            )
            for row in rows
        ]

    def drafts(self) -> dict[str, str]:
        """Return the unfinished texts by draft id."""
        with Session(self._engine) as session:
            return {row["draft_id"]: row["payload"] for row in rows_of(session, AgreementDraftRow)}

    def save_disputes(self, steps: Iterable[DisputeStep]) -> int:
        """Store steps of disputes.

        Returns:
            How many were new.

        Raises:
            StoreConflictError: the same step is stored with other content.
        """
        rows = [
            {
                "dispute_id": step.dispute_id,
                "step": step.step,
                "work_id": step.work_id,
                "right_id": step.right,
                "party_id": step.party_id,
                "share_numerator": step.share.numerator,
                "share_denominator": step.share.denominator,
                "effective_on": step.effective_on,
                "decided_by": step.decided_by or None,
            }
            for step in steps
        ]
        with Session(self._engine) as session, session.begin():
            return self._save(session, DisputeRow, rows)

    def disputes(self) -> list[DisputeStep]:
        """Return every step of every dispute, by dispute and step."""
        with Session(self._engine) as session:
            return [
                DisputeStep(
                    row["dispute_id"],
                    row["step"],
                    row["work_id"],
                    row["party_id"],
                    Fraction(row["share_numerator"], row["share_denominator"]),
                    row["effective_on"],
                    row["right_id"],
                    row["decided_by"] or "",
                )
                for row in rows_of(session, DisputeRow)
            ]

    def decide_shares(self, work: Work, decided_by: str, reason: str) -> int:
        """Store a new version of a work's sheet of shares, with who decided it and why.

        Args:
            work: the work with its shares as decided.
            decided_by: who decided.
            reason: why, in one sentence.

        Returns:
            The version of the sheet.
        """
        with Session(self._engine) as session, session.begin():
            sheet = [r for r in rows_of(session, WorkSplitRow) if r["work_id"] == work.work_id]
            decisions = [
                r for r in rows_of(session, WorkDecisionRow) if r["work_id"] == work.work_id
            ]
            known = [row["version"] for row in [*sheet, *decisions]]
            version = max(known, default=0) + 1
            named = {row["work_id"] for row in rows_of(session, WorkRow)}
            if work.work_id not in named:
                self._save_works(session, [Work(work.work_id, work.title)])
            rows = [split_row(work.work_id, part) | {"version": version} for part in work.splits]
            self._save(session, WorkSplitRow, rows)
            decision = {
                "work_id": work.work_id,
                "version": version,
                "party_id": decided_by,
                "reason": reason,
            }
            self._save(session, WorkDecisionRow, [decision])
        return version

    def decisions(self) -> list[Mapping[str, object]]:
        """Return who decided which version of which sheet, and why."""
        with Session(self._engine) as session:
            return [dict(row) for row in rows_of(session, WorkDecisionRow)]


def check_approved(book: AgreementBook, stored: Sequence[StoredVersion]) -> None:
    """Refuse agreements that nobody but their preparer has approved, or with another text.

    Raises:
        UnknownVersionError: a version is not stored.
        ApprovalRefusedError: it is not approved, or its text is not the approved one.
    """
    known = {(s.agreement.agreement_id, s.agreement.version): s for s in stored}
    for agreement in book.agreements:
        found = known.get((agreement.agreement_id, agreement.version))
        if found is None:
            raise UnknownVersionError(agreement.agreement_id, agreement.version)
        same = found.agreement.payload_sha256 == agreement.payload_sha256
        if found.status != "approved" or not same:
            status = found.status if same else "another text than the approved one"
            raise ApprovalRefusedError(agreement.name, found.prepared_by, "(nobody)", status)


def _step_row(agreement: Agreement, step: str, party_id: str) -> dict[str, object]:
    """Make the row of a step."""
    return {
        "agreement_id": agreement.agreement_id,
        "version": agreement.version,
        "step": step,
        "party_id": party_id,
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
