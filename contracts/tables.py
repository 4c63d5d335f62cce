"""The rows in which parties, works and agreements are kept.

These classes hold no rules of their own: a SQLModel table class does not validate when it is
built. The frozen dataclasses of `party`, `work` and `agreement` do, and `store` converts.

1. The naming convention is set here, before any model of the product is defined, because a
   constraint that has no name cannot be found again by a migration.
2. Rows are only ever inserted. An agreement, a split sheet or a party record that changes gets
   a new version; what a statement cited last year is still there to be read.
3. Money is whole units with its currency beside it, a share a numerator and a denominator.
4. `recorded_at` is written by the database, never by the caller.
5. No names, addresses, bank or tax numbers: personal data lives in the erasable side table of
   the ledger, and the columns here hold opaque ids.
"""

from datetime import date, datetime

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, ForeignKeyConstraint
from sqlalchemy import func as sql_function
from sqlmodel import Field, SQLModel

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
SQLModel.metadata.naming_convention = NAMING_CONVENTION

ID_CHARACTERS_MAX = 128
SHA256_CHARACTERS = 64
SHARE_IN_RANGE = (
    "share_denominator > 0 AND share_numerator > 0 AND share_numerator <= share_denominator"
)


def _recorded_at() -> Column[datetime]:
    """Return a fresh column that the database fills with the time of the insert."""
    return Column(
        "recorded_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=sql_function.current_timestamp(),
    )


class PartyRow(SQLModel, table=True):
    """A party to agreements: a creator, a payee, a publisher or the operator; ids only."""

    __tablename__ = "party"

    party_id: str = Field(primary_key=True, max_length=ID_CHARACTERS_MAX)
    kind: str = Field(max_length=32)
    payee_id: str = Field(max_length=ID_CHARACTERS_MAX, index=True)
    recorded_at: datetime | None = Field(default=None, sa_column=_recorded_at())


class PartyIdentifierRow(SQLModel, table=True):
    """An outside identifier of a party, such as (isni, 0000...)."""

    __tablename__ = "party_identifier"

    party_id: str = Field(
        primary_key=True, foreign_key="party.party_id", max_length=ID_CHARACTERS_MAX
    )
    scheme: str = Field(primary_key=True, max_length=32)
    value: str = Field(primary_key=True, max_length=512)


class SourceRow(SQLModel, table=True):
    """Where works came from: a book, a site, a repository, a package or a dataset."""

    __tablename__ = "source"

    source_id: str = Field(primary_key=True, max_length=ID_CHARACTERS_MAX)
    kind: str = Field(max_length=32)
    title: str = Field(max_length=512)
    version: str = Field(default="", max_length=128)
    licence: str = Field(default="", max_length=256)


class WorkRow(SQLModel, table=True):
    """A work: the unit that earns."""

    __tablename__ = "work"

    work_id: str = Field(primary_key=True, max_length=ID_CHARACTERS_MAX)
    title: str = Field(max_length=512)
    source_id: str | None = Field(
        default=None, foreign_key="source.source_id", max_length=ID_CHARACTERS_MAX, index=True
    )
    licence: str = Field(default="", max_length=256)
    recorded_at: datetime | None = Field(default=None, sa_column=_recorded_at())


class WorkIdentifierRow(SQLModel, table=True):
    """An outside identifier of a work, such as (isbn, 978...) or (doi, 10....)."""

    __tablename__ = "work_identifier"

    work_id: str = Field(primary_key=True, foreign_key="work.work_id", max_length=ID_CHARACTERS_MAX)
    scheme: str = Field(primary_key=True, max_length=32)
    value: str = Field(primary_key=True, max_length=512)


class WorkSplitRow(SQLModel, table=True):
    """One party's share of one work for one right, from a date on, in one version of the sheet."""

    __tablename__ = "work_split"
    __table_args__ = (
        CheckConstraint(
            SHARE_IN_RANGE,
            name="share_in_range",
        ),
        CheckConstraint(
            "effective_to IS NULL OR effective_to > effective_from", name="interval_forward"
        ),
    )

    work_id: str = Field(primary_key=True, foreign_key="work.work_id", max_length=ID_CHARACTERS_MAX)
    right_id: str = Field(primary_key=True, max_length=32, default="*")
    version: int = Field(primary_key=True, default=1)
    effective_from: date = Field(primary_key=True)
    party_id: str = Field(
        primary_key=True, foreign_key="party.party_id", max_length=ID_CHARACTERS_MAX, index=True
    )
    effective_to: date | None = Field(default=None)
    share_numerator: int = Field(sa_type=BigInteger)
    share_denominator: int = Field(sa_type=BigInteger)
    recorded_at: datetime | None = Field(default=None, sa_column=_recorded_at())


class WorkDocumentRow(SQLModel, table=True):
    """A document of the corpus and the work it belongs to, since when that is known."""

    __tablename__ = "work_document"

    document_id: str = Field(primary_key=True, max_length=ID_CHARACTERS_MAX)
    version: int = Field(primary_key=True, default=1)
    work_id: str = Field(foreign_key="work.work_id", max_length=ID_CHARACTERS_MAX, index=True)
    recorded_at: datetime | None = Field(default=None, sa_column=_recorded_at())


class AgreementRow(SQLModel, table=True):
    """One immutable version of one agreement: its text, the digest of the text, its signature."""

    __tablename__ = "agreement"
    __table_args__ = (
        CheckConstraint("version >= 1", name="version_positive"),
        CheckConstraint(
            "effective_to IS NULL OR effective_to > effective_from", name="interval_forward"
        ),
        CheckConstraint("status IN ('draft', 'active', 'ended')", name="status_known"),
    )

    agreement_id: str = Field(primary_key=True, max_length=ID_CHARACTERS_MAX)
    version: int = Field(primary_key=True)
    status: str = Field(max_length=16, default="active")
    licensor: str = Field(foreign_key="party.party_id", max_length=ID_CHARACTERS_MAX, index=True)
    licensee: str = Field(max_length=ID_CHARACTERS_MAX)
    payee_id: str = Field(max_length=ID_CHARACTERS_MAX)
    currency: str = Field(max_length=16)
    effective_from: date
    effective_to: date | None = Field(default=None)
    payload: str
    payload_sha256: str = Field(max_length=SHA256_CHARACTERS)
    signer: str | None = Field(default=None, max_length=256)
    signature: str | None = Field(default=None, max_length=256)
    approved_by: str | None = Field(default=None, max_length=ID_CHARACTERS_MAX)
    recorded_at: datetime | None = Field(default=None, sa_column=_recorded_at())


class AgreementStepRow(SQLModel, table=True):
    """Who prepared, approved or withdrew an agreement version; one row a step."""

    __tablename__ = "agreement_step"
    __table_args__ = (
        ForeignKeyConstraint(
            ["agreement_id", "version"], ["agreement.agreement_id", "agreement.version"]
        ),
        CheckConstraint("step IN ('prepared', 'approved', 'withdrawn')", name="step_known"),
    )

    agreement_id: str = Field(primary_key=True, max_length=ID_CHARACTERS_MAX)
    version: int = Field(primary_key=True)
    step: str = Field(primary_key=True, max_length=16)
    party_id: str = Field(max_length=ID_CHARACTERS_MAX)
    recorded_at: datetime | None = Field(default=None, sa_column=_recorded_at())


class ImportEvidenceRow(SQLModel, table=True):
    """A machine-readable term as it was found (RSL, robots, AIPREF): evidence, never money."""

    __tablename__ = "import_evidence"

    evidence_id: str = Field(primary_key=True, max_length=ID_CHARACTERS_MAX)
    kind: str = Field(max_length=32)
    vocabulary: str = Field(max_length=128)
    location: str = Field(max_length=2048)
    acquired_at: str = Field(max_length=32)
    payload: str
    payload_sha256: str = Field(max_length=SHA256_CHARACTERS)
    agreement_id: str | None = Field(default=None, max_length=ID_CHARACTERS_MAX, index=True)
    recorded_at: datetime | None = Field(default=None, sa_column=_recorded_at())


class AgreementDraftRow(SQLModel, table=True):
    """An unfinished agreement text made from evidence; a person completes it, it never pays."""

    __tablename__ = "agreement_draft"

    draft_id: str = Field(primary_key=True, max_length=ID_CHARACTERS_MAX)
    evidence_id: str = Field(
        foreign_key="import_evidence.evidence_id", max_length=ID_CHARACTERS_MAX, index=True
    )
    payload: str
    payload_sha256: str = Field(max_length=SHA256_CHARACTERS)
    recorded_at: datetime | None = Field(default=None, sa_column=_recorded_at())


class WorkDecisionRow(SQLModel, table=True):
    """Who decided a version of a work's sheet of shares, and why."""

    __tablename__ = "work_decision"

    work_id: str = Field(primary_key=True, foreign_key="work.work_id", max_length=ID_CHARACTERS_MAX)
    version: int = Field(primary_key=True)
    party_id: str = Field(max_length=ID_CHARACTERS_MAX)
    reason: str = Field(max_length=1000)
    recorded_at: datetime | None = Field(default=None, sa_column=_recorded_at())


class FxRateRow(SQLModel, table=True):
    """What one unit of one currency was worth in another on a date, and who said so."""

    __tablename__ = "fx_rate"
    __table_args__ = (
        CheckConstraint("rate_numerator > 0 AND rate_denominator > 0", name="rate_positive"),
    )

    from_code: str = Field(primary_key=True, max_length=8)
    to_code: str = Field(primary_key=True, max_length=8)
    rate_on: date = Field(primary_key=True)
    source: str = Field(primary_key=True, max_length=128)
    rate_numerator: int = Field(sa_type=BigInteger)
    rate_denominator: int = Field(sa_type=BigInteger)
    recorded_at: datetime | None = Field(default=None, sa_column=_recorded_at())


class DisputeRow(SQLModel, table=True):
    """A claim on a share of a work that others also claim, opened or resolved; one row a step."""

    __tablename__ = "dispute"
    __table_args__ = (
        ForeignKeyConstraint(["work_id"], ["work.work_id"]),
        CheckConstraint("step IN ('opened', 'resolved', 'withdrawn')", name="step_known"),
        CheckConstraint(
            SHARE_IN_RANGE,
            name="share_in_range",
        ),
    )

    dispute_id: str = Field(primary_key=True, max_length=ID_CHARACTERS_MAX)
    step: str = Field(primary_key=True, max_length=16)
    work_id: str = Field(max_length=ID_CHARACTERS_MAX, index=True)
    right_id: str = Field(default="*", max_length=32)
    party_id: str = Field(foreign_key="party.party_id", max_length=ID_CHARACTERS_MAX, index=True)
    share_numerator: int = Field(sa_type=BigInteger)
    share_denominator: int = Field(sa_type=BigInteger)
    effective_on: date
    decided_by: str | None = Field(default=None, max_length=ID_CHARACTERS_MAX)
    recorded_at: datetime | None = Field(default=None, sa_column=_recorded_at())
