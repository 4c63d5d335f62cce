"""Create the tables of the book.

Why: the book needs its accounts, entries, postings, seals, periods, accesses, checkpoints,
balance snapshots and the erasable side table of personal data.

Locks: none that matter; nothing exists yet.
Old code: there is none.
Downgrade: drops the tables and with them the book. Refused while the book has entries.

Revision ID: 0001
Revises: nothing
Create Date: 2026-11-22
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The differences between the two databases, and nothing else, stand here.
WORDS = {
    "sqlite": {
        "text": "TEXT",
        "whole": "INTEGER",
        "bytes": "BLOB",
        "time": "TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
        "strict": " STRICT",
        "clustered": " WITHOUT ROWID, STRICT",
        "entry_has_seal": ",\n    CONSTRAINT fk_journal_entry_entry_id_seal "
        "FOREIGN KEY(entry_id) REFERENCES seal (entry_id) DEFERRABLE INITIALLY DEFERRED",
        "seal_has_entry": ",\n    CONSTRAINT fk_seal_entry_id_journal_entry "
        "FOREIGN KEY(entry_id) REFERENCES journal_entry (entry_id)",
        "posting_has": ",\n    CONSTRAINT fk_posting_account_id_currency_account "
        "FOREIGN KEY(account_id, currency) REFERENCES account (account_id, currency)"
        ",\n    CONSTRAINT fk_posting_ledger_seq_seal "
        "FOREIGN KEY(ledger_seq) REFERENCES seal (ledger_seq) DEFERRABLE INITIALLY DEFERRED",
    },
    "postgresql": {
        "text": 'TEXT COLLATE "C"',
        "whole": "BIGINT",
        "bytes": "BYTEA",
        "time": "TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp()",
        "strict": "",
        "clustered": "",
        # Kept by the triggers posting_accept and seal_accept, set by set; see triggers_postgresql.
        "entry_has_seal": "",
        "seal_has_entry": "",
        "posting_has": "",
    },
}

STATEMENTS = (
    """CREATE TABLE account (
    account_id {text} NOT NULL,
    currency {text} NOT NULL,
    CONSTRAINT pk_account PRIMARY KEY (account_id, currency),
    CONSTRAINT ck_account_category_known CHECK (substr(account_id, 1, 7) IN ('Assets:',
        'Equity:', 'Income:') OR substr(account_id, 1, 9) = 'Expenses:' OR
        substr(account_id, 1, 12) = 'Liabilities:'),
    CONSTRAINT ck_account_account_id_length CHECK (length(account_id) <= 200),
    CONSTRAINT ck_account_currency_length CHECK (length(currency) BETWEEN 5 AND 11)
){clustered}""",
    """CREATE TABLE access_log (
    ledger_seq {whole} NOT NULL,
    actor {text} NOT NULL,
    role {text} NOT NULL,
    action {text} NOT NULL,
    object_id {text} NOT NULL,
    reason {text} NOT NULL,
    leaf_hash {bytes} NOT NULL,
    recorded_at {time} NOT NULL,
    CONSTRAINT pk_access_log PRIMARY KEY (ledger_seq),
    CONSTRAINT ck_access_log_ledger_seq_in_range CHECK (ledger_seq BETWEEN 1 AND
        9007199254740991),
    CONSTRAINT ck_access_log_leaf_hash_length CHECK (length(leaf_hash) = 32)
){strict}""",
    """CREATE TABLE balance_snapshot (
    account_id {text} NOT NULL,
    currency {text} NOT NULL,
    ledger_seq {whole} NOT NULL,
    units {whole} NOT NULL,
    CONSTRAINT pk_balance_snapshot PRIMARY KEY (account_id, currency, ledger_seq)
){clustered}""",
    """CREATE TABLE checkpoint (
    size {whole} NOT NULL,
    root {bytes} NOT NULL,
    note {text} NOT NULL,
    frontier {text} NOT NULL,
    recorded_at {time} NOT NULL,
    CONSTRAINT pk_checkpoint PRIMARY KEY (size),
    CONSTRAINT ck_checkpoint_size_positive CHECK (size >= 1),
    CONSTRAINT ck_checkpoint_root_length CHECK (length(root) = 32)
){strict}""",
    """CREATE TABLE journal_entry (
    entry_id {text} NOT NULL,
    scope {text} NOT NULL,
    "key" {text} NOT NULL,
    kind {text} NOT NULL,
    period {text} NOT NULL,
    effective_on {text} NOT NULL,
    description {text} NOT NULL,
    prepared_by {text} NOT NULL,
    approved_by {text},
    reverses {text},
    evidence {text} NOT NULL,
    payload_sha256 {text} NOT NULL,
    CONSTRAINT pk_journal_entry PRIMARY KEY (entry_id),
    CONSTRAINT uq_journal_entry_scope_key UNIQUE (scope, "key"),
    CONSTRAINT fk_journal_entry_reverses_journal_entry FOREIGN KEY(reverses) REFERENCES
        journal_entry (entry_id){entry_has_seal},
    CONSTRAINT ck_journal_entry_kind_known CHECK (kind IN ('accrual', 'earning',
        'apportionment', 'recoupment', 'advance', 'guarantee', 'reserve', 'tax',
        'conversion', 'adjustment', 'reversal', 'hold', 'release', 'close', 'payout',
        'opening')),
    CONSTRAINT ck_journal_entry_taking_back CHECK ((kind IN ('reversal', 'release')) =
        (reverses IS NOT NULL)),
    CONSTRAINT ck_journal_entry_approver_is_another CHECK (approved_by IS NULL OR
        approved_by <> prepared_by),
    CONSTRAINT ck_journal_entry_approved CHECK (approved_by IS NOT NULL OR kind NOT IN
        ('adjustment', 'reversal', 'close', 'payout')),
    CONSTRAINT ck_journal_entry_times_well_formed CHECK (length(period) = 7 AND
        length(effective_on) = 10),
    CONSTRAINT ck_journal_entry_payload_sha256_length CHECK (length(payload_sha256) = 64)
){strict}""",
    """CREATE UNIQUE INDEX uq_journal_entry_reverses ON journal_entry (reverses) WHERE
        reverses IS NOT NULL""",
    """CREATE TABLE ledger_head (
    id INTEGER NOT NULL,
    size {whole} NOT NULL,
    claimed {whole} NOT NULL,
    CONSTRAINT pk_ledger_head PRIMARY KEY (id),
    CONSTRAINT ck_ledger_head_one_row CHECK (id = 1),
    CONSTRAINT ck_ledger_head_not_negative CHECK (size >= 0 AND claimed >= 0)
){strict}""",
    """CREATE TABLE personal_commitment (
    commitment {text} NOT NULL,
    party_id {text} NOT NULL,
    field {text} NOT NULL,
    recorded_at {time} NOT NULL,
    CONSTRAINT pk_personal_commitment PRIMARY KEY (commitment),
    CONSTRAINT ck_personal_commitment_length CHECK (length(commitment) = 64)
){strict}""",
    """CREATE INDEX ix_personal_commitment_party_id ON personal_commitment (party_id)""",
    """CREATE TABLE settlement_period (
    period {text} NOT NULL,
    action {text} NOT NULL,
    prepared_by {text} NOT NULL,
    approved_by {text},
    ledger_seq {whole} NOT NULL,
    leaf_hash {bytes} NOT NULL,
    recorded_at {time} NOT NULL,
    CONSTRAINT pk_settlement_period PRIMARY KEY (period, action),
    CONSTRAINT uq_settlement_period_ledger_seq UNIQUE (ledger_seq),
    CONSTRAINT ck_settlement_period_action_known CHECK (action IN ('open', 'close')),
    CONSTRAINT ck_settlement_period_close_approved CHECK (action = 'open' OR (approved_by
        IS NOT NULL AND approved_by <> prepared_by)),
    CONSTRAINT ck_settlement_period_period_well_formed CHECK (length(period) = 7),
    CONSTRAINT ck_settlement_period_ledger_seq_in_range CHECK (ledger_seq BETWEEN 1 AND
        9007199254740991),
    CONSTRAINT ck_settlement_period_leaf_hash_length CHECK (length(leaf_hash) = 32)
){strict}""",
    """CREATE TABLE personal_datum (
    commitment {text} NOT NULL,
    party_id {text} NOT NULL,
    field {text} NOT NULL,
    value {text} NOT NULL,
    salt {bytes} NOT NULL,
    CONSTRAINT pk_personal_datum PRIMARY KEY (commitment),
    CONSTRAINT ck_personal_datum_salt_length CHECK (length(salt) = 32),
    CONSTRAINT fk_personal_datum_commitment_personal_commitment FOREIGN KEY(commitment)
        REFERENCES personal_commitment (commitment)
){strict}""",
    """CREATE INDEX ix_personal_datum_party_id ON personal_datum (party_id)""",
    """CREATE TABLE seal (
    entry_id {text} NOT NULL,
    ledger_seq {whole} NOT NULL,
    effective_on {text} NOT NULL,
    posting_count INTEGER NOT NULL,
    leaf_hash {bytes} NOT NULL,
    recorded_at {time} NOT NULL,
    CONSTRAINT pk_seal PRIMARY KEY (entry_id),
    CONSTRAINT uq_seal_ledger_seq UNIQUE (ledger_seq){seal_has_entry},
    CONSTRAINT ck_seal_posting_count_min CHECK (posting_count >= 2),
    CONSTRAINT ck_seal_ledger_seq_in_range CHECK (ledger_seq BETWEEN 1 AND
        9007199254740991),
    CONSTRAINT ck_seal_leaf_hash_length CHECK (length(leaf_hash) = 32)
){strict}""",
    """CREATE INDEX ix_seal_effective_on ON seal (effective_on, ledger_seq)""",
    """CREATE TABLE posting (
    ledger_seq {whole} NOT NULL,
    line_no INTEGER NOT NULL,
    entry_id {text} NOT NULL,
    account_id {text} NOT NULL,
    currency {text} NOT NULL,
    units {whole} NOT NULL,
    CONSTRAINT pk_posting PRIMARY KEY (ledger_seq, line_no),
    CONSTRAINT ck_posting_units_bounded CHECK (units <> 0 AND units BETWEEN
        -10000000000000000 AND 10000000000000000),
    CONSTRAINT ck_posting_line_no_positive CHECK (line_no >= 1){posting_has}
){clustered}""",
    "CREATE INDEX ix_posting_account_id ON posting (account_id, currency, ledger_seq, units)",
    "INSERT INTO ledger_head (id, size, claimed) VALUES (1, 0, 0)",
)

# PostgreSQL wants the table to exist before a key points to it.
ENTRY_HAS_SEAL = (
    "ALTER TABLE journal_entry ADD CONSTRAINT fk_journal_entry_entry_id_seal "
    "FOREIGN KEY(entry_id) REFERENCES seal (entry_id) DEFERRABLE INITIALLY DEFERRED"
)

TABLES = (
    "posting",
    "seal",
    "journal_entry",
    "account",
    "access_log",
    "balance_snapshot",
    "checkpoint",
    "ledger_head",
    "settlement_period",
    "personal_datum",
    "personal_commitment",
)


def upgrade() -> None:
    """Create the tables and the one row of the head."""
    dialect = op.get_bind().dialect.name
    for statement in STATEMENTS:
        op.execute(statement.format(**WORDS[dialect]))
    if dialect == "postgresql":
        op.execute(ENTRY_HAS_SEAL)


def downgrade() -> None:
    """Drop the tables, unless the book has entries."""
    bind = op.get_bind()
    if bind.exec_driver_sql("SELECT count(*) FROM seal").scalar():
        raise RuntimeError(
            "the book has entries and this downgrade would drop them; nothing was changed. "
            "Keep revision 0001, or start a new book in another database"
        )
    if bind.dialect.name == "postgresql":
        op.execute("ALTER TABLE journal_entry DROP CONSTRAINT fk_journal_entry_entry_id_seal")
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
