"""The rows of the book, for SQLite and PostgreSQL alike.

These classes hold no rules of their own: a SQLModel table class does not validate when it is
built. The frozen dataclasses of `entry`, `access` and `personal` do, `store` converts, and the
triggers of `triggers_sqlite` and `triggers_postgresql` keep what must hold.

    account <-- posting --> seal <--> journal_entry
                             |
                       ledger_head (one row)  <-- access_log, settlement_period

1. `journal_entry` points to its `seal` by a deferred foreign key: no commit without a seal.
2. `ledger_seq` is one gapless count over seals, accesses and period events, in commit order,
   handed out under the lock of the one row of `ledger_head`.
3. On SQLite all tables are STRICT: a text is never stored as a number or the reverse. On
   PostgreSQL texts sort by code point, so both databases list accounts in the same order.
4. Amounts are whole units. Days and periods are ISO texts, which sort as they should.
5. `recorded_at` is written by the database and is no part of any leaf.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

from contracts.tables import NAMING_CONVENTION
from ledger.posting_rules import KINDS

assert SQLModel.metadata.naming_convention == NAMING_CONVENTION, "names must be set first"

LEDGER_TABLES = (
    "account",
    "access_log",
    "balance_snapshot",
    "checkpoint",
    "journal_entry",
    "ledger_head",
    "personal_commitment",
    "personal_datum",
    "posting",
    "seal",
    "settlement_period",
)
UNITS_BOUND = "units <> 0 AND units BETWEEN -10000000000000000 AND 10000000000000000"
STRICT = {"sqlite_strict": True}
CLUSTERED = {"sqlite_strict": True, "sqlite_with_rowid": False}

TEXT = Text().with_variant(Text(collation="C"), "postgresql")
WHOLE = BigInteger().with_variant(Integer(), "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC: TIMESTAMPTZ on PostgreSQL, ISO text with microseconds on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the type of the column by database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse a moment without a time zone and write the rest in UTC."""
        if value is None:
            return None
        assert value.tzinfo is not None, f"{value} has no time zone"
        moment = value.astimezone(UTC)
        if dialect.name == "postgresql":
            return moment
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return a moment that knows it is UTC."""
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return None if value is None else value.astimezone(UTC)


class recorded_now(FunctionElement[datetime]):  # noqa: N801  # Reads as the SQL it is.
    """The present moment, as the database writes it into `recorded_at`."""

    inherit_cache = True


@compiles(recorded_now)
def _now_elsewhere(_element: recorded_now, _compiler: Any, **_: Any) -> str:
    return "clock_timestamp()"


@compiles(recorded_now, "sqlite")
def _now_on_sqlite(_element: recorded_now, _compiler: Any, **_: Any) -> str:
    return "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"


def _text(**options: Any) -> Any:
    return Field(sa_type=TEXT, **options)


def _whole(**options: Any) -> Any:
    return Field(sa_type=WHOLE, **options)


def _recorded_at() -> Any:
    column = Column("recorded_at", UtcTime, nullable=False, server_default=recorded_now())
    return Field(default=None, sa_column=column)


def _digest() -> Any:
    return Field(sa_column=Column("leaf_hash", LargeBinary, nullable=False))


def _places() -> tuple[Any, ...]:
    """Return what every table of leaves has: a place above zero and a hash of 32 bytes."""
    return (
        CheckConstraint("ledger_seq BETWEEN 1 AND 9007199254740991", name="ledger_seq_in_range"),
        CheckConstraint("length(leaf_hash) = 32", name="leaf_hash_length"),
    )


class AccountRow(SQLModel, table=True):
    """An account in one currency; it exists from its first posting on."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint(
            "substr(account_id, 1, 7) IN ('Assets:', 'Equity:', 'Income:') "
            "OR substr(account_id, 1, 9) = 'Expenses:' "
            "OR substr(account_id, 1, 12) = 'Liabilities:'",
            name="category_known",
        ),
        CheckConstraint("length(account_id) <= 200", name="account_id_length"),
        CheckConstraint("length(currency) BETWEEN 5 AND 11", name="currency_length"),
        CLUSTERED,
    )

    account_id: str = _text(primary_key=True)
    currency: str = _text(primary_key=True)


class JournalEntryRow(SQLModel, table=True):
    """The head of an entry: everything but its lines, its place and its seal."""

    __tablename__ = "journal_entry"
    __table_args__ = (
        UniqueConstraint("scope", "key"),
        ForeignKeyConstraint(["reverses"], ["journal_entry.entry_id"]),
        ForeignKeyConstraint(
            ["entry_id"],
            ["seal.entry_id"],
            deferrable=True,
            initially="DEFERRED",
            use_alter=True,
        ),
        Index(
            "uq_journal_entry_reverses",
            "reverses",
            unique=True,
            sqlite_where=text("reverses IS NOT NULL"),
            postgresql_where=text("reverses IS NOT NULL"),
        ),
        CheckConstraint(
            f"kind IN ({', '.join(repr(kind) for kind in KINDS)})",
            name="kind_known",
        ),
        CheckConstraint(
            "(kind IN ('reversal', 'release')) = (reverses IS NOT NULL)", name="taking_back"
        ),
        CheckConstraint(
            "approved_by IS NULL OR approved_by <> prepared_by", name="approver_is_another"
        ),
        CheckConstraint(
            "approved_by IS NOT NULL OR kind NOT IN ('adjustment', 'reversal', 'close', 'payout')",
            name="approved",
        ),
        CheckConstraint(
            "length(period) = 7 AND length(effective_on) = 10", name="times_well_formed"
        ),
        CheckConstraint("length(payload_sha256) = 64", name="payload_sha256_length"),
        STRICT,
    )

    entry_id: str = _text(primary_key=True)
    scope: str = _text()
    key: str = _text()
    kind: str = _text()
    period: str = _text()
    effective_on: str = _text()
    description: str = _text()
    prepared_by: str = _text()
    approved_by: str | None = _text(default=None, nullable=True)
    reverses: str | None = _text(default=None, nullable=True)
    evidence: str = _text()
    payload_sha256: str = _text()


class PostingRow(SQLModel, table=True):
    """One line of an entry, at the place of its entry."""

    __tablename__ = "posting"
    __table_args__ = (
        CheckConstraint(UNITS_BOUND, name="units_bounded"),
        CheckConstraint("line_no >= 1", name="line_no_positive"),
        # On PostgreSQL the trigger posting_accept keeps both references, set by set: it holds
        # under session_replication_role, where foreign keys do not, at a fifth of their cost.
        ForeignKeyConstraint(
            ["account_id", "currency"], ["account.account_id", "account.currency"]
        ).ddl_if(dialect="sqlite"),
        ForeignKeyConstraint(
            ["ledger_seq"], ["seal.ledger_seq"], deferrable=True, initially="DEFERRED"
        ).ddl_if(dialect="sqlite"),
        # It holds the units too, so that a balance is read from the index alone.
        Index("ix_posting_account_id", "account_id", "currency", "ledger_seq", "units"),
        CLUSTERED,
    )

    ledger_seq: int = _whole(primary_key=True)
    line_no: int = Field(primary_key=True, sa_type=Integer)
    entry_id: str = _text()
    account_id: str = _text()
    currency: str = _text()
    units: int = _whole()


class SealRow(SQLModel, table=True):
    """What makes an entry part of the book: its place, the count of its lines, its leaf hash."""

    __tablename__ = "seal"
    __table_args__ = (
        UniqueConstraint("ledger_seq"),
        # On PostgreSQL the trigger seal_accept keeps this reference; see PostingRow.
        ForeignKeyConstraint(["entry_id"], ["journal_entry.entry_id"]).ddl_if(dialect="sqlite"),
        Index("ix_seal_effective_on", "effective_on", "ledger_seq"),
        CheckConstraint("posting_count >= 2", name="posting_count_min"),
        *_places(),
        STRICT,
    )

    entry_id: str = _text(primary_key=True)
    ledger_seq: int = _whole()
    effective_on: str = _text()
    posting_count: int = Field(sa_type=Integer)
    leaf_hash: bytes = _digest()
    recorded_at: datetime | None = _recorded_at()


class LedgerHeadRow(SQLModel, table=True):
    """The one row under whose lock places in the book are given out.

    `size` is the number of leaves. `claimed` is the highest place that a posting asked for on
    PostgreSQL; it is settled at every commit.
    """

    __tablename__ = "ledger_head"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint("size >= 0 AND claimed >= 0", name="not_negative"),
        STRICT,
    )

    id: int = Field(sa_column=Column("id", Integer, primary_key=True, autoincrement=False))
    size: int = _whole()
    claimed: int = _whole()


class AccessLogRow(SQLModel, table=True):
    """One access to a statement, an export, a trace or personal data."""

    __tablename__ = "access_log"
    __table_args__ = (*_places(), STRICT)

    ledger_seq: int = Field(
        sa_column=Column("ledger_seq", WHOLE, primary_key=True, autoincrement=False)
    )
    actor: str = _text()
    role: str = _text()
    action: str = _text()
    object_id: str = _text()
    reason: str = _text()
    leaf_hash: bytes = _digest()
    recorded_at: datetime | None = _recorded_at()


class SettlementPeriodRow(SQLModel, table=True):
    """The opening or the close of a settlement period."""

    __tablename__ = "settlement_period"
    __table_args__ = (
        UniqueConstraint("ledger_seq"),
        CheckConstraint("action IN ('open', 'close')", name="action_known"),
        CheckConstraint(
            "action = 'open' OR (approved_by IS NOT NULL AND approved_by <> prepared_by)",
            name="close_approved",
        ),
        CheckConstraint("length(period) = 7", name="period_well_formed"),
        *_places(),
        STRICT,
    )

    period: str = _text(primary_key=True)
    action: str = _text(primary_key=True)
    prepared_by: str = _text()
    approved_by: str | None = _text(default=None, nullable=True)
    ledger_seq: int = _whole()
    leaf_hash: bytes = _digest()
    recorded_at: datetime | None = _recorded_at()


class CheckpointRow(SQLModel, table=True):
    """A signed checkpoint: the root over the first `size` leaves, and the frontier to go on."""

    __tablename__ = "checkpoint"
    __table_args__ = (
        CheckConstraint("size >= 1", name="size_positive"),
        CheckConstraint("length(root) = 32", name="root_length"),
        STRICT,
    )

    size: int = Field(sa_column=Column("size", WHOLE, primary_key=True, autoincrement=False))
    root: bytes = Field(sa_column=Column("root", LargeBinary, nullable=False))
    note: str = _text()
    frontier: str = _text()
    recorded_at: datetime | None = _recorded_at()


class BalanceSnapshotRow(SQLModel, table=True):
    """The balance of an account after a place in the book: derived, and checked when written."""

    __tablename__ = "balance_snapshot"
    __table_args__ = (CLUSTERED,)

    account_id: str = _text(primary_key=True)
    currency: str = _text(primary_key=True)
    ledger_seq: int = Field(
        sa_column=Column("ledger_seq", WHOLE, primary_key=True, autoincrement=False)
    )
    units: int = _whole()


class PersonalCommitmentRow(SQLModel, table=True):
    """A salted commitment to one personal fact; it stays when the fact is erased."""

    __tablename__ = "personal_commitment"
    __table_args__ = (CheckConstraint("length(commitment) = 64", name="length"), STRICT)

    commitment: str = _text(primary_key=True)
    party_id: str = Field(sa_type=TEXT, index=True)
    field: str = _text()
    recorded_at: datetime | None = _recorded_at()


class PersonalDatumRow(SQLModel, table=True):
    """The fact itself and its salt: the only table of the ledger from which rows are deleted."""

    __tablename__ = "personal_datum"
    __table_args__ = (
        CheckConstraint("length(salt) = 32", name="salt_length"),
        ForeignKeyConstraint(["commitment"], ["personal_commitment.commitment"]),
        STRICT,
    )

    commitment: str = _text(primary_key=True)
    party_id: str = Field(sa_type=TEXT, index=True)
    field: str = _text()
    value: str = _text()
    salt: bytes = Field(sa_column=Column("salt", LargeBinary, nullable=False))
