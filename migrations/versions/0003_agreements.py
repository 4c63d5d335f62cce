"""Create the tables of parties, works and agreements.

Why: what influence is worth, and to whom, is decided by agreements; a statement of last year
must still find the version that it cites.

Locks: none that matter; nothing exists yet.
Old code: there is none.
Downgrade: drops the tables; what was loaded can be loaded again from the agreement files.

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-22
"""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SHARE_IN_RANGE = (
    "share_denominator > 0 AND share_numerator > 0 AND share_numerator <= share_denominator"
)


def upgrade() -> None:
    """Create the tables, those that others point to first."""
    _create_1()
    _create_2()
    _create_3()
    _create_4()
    _create_5()


def _create_1() -> None:
    op.create_table(
        "fx_rate",
        sa.Column("from_code", sqlmodel.sql.sqltypes.AutoString(length=8), nullable=False),
        sa.Column("to_code", sqlmodel.sql.sqltypes.AutoString(length=8), nullable=False),
        sa.Column("rate_on", sa.Date(), nullable=False),
        sa.Column("source", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("rate_numerator", sa.BigInteger(), nullable=False),
        sa.Column("rate_denominator", sa.BigInteger(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "rate_numerator > 0 AND rate_denominator > 0", name=op.f("ck_fx_rate_rate_positive")
        ),
        sa.PrimaryKeyConstraint(
            "from_code", "to_code", "rate_on", "source", name=op.f("pk_fx_rate")
        ),
    )
    op.create_table(
        "import_evidence",
        sa.Column("evidence_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("kind", sqlmodel.sql.sqltypes.AutoString(length=32), nullable=False),
        sa.Column("vocabulary", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("location", sqlmodel.sql.sqltypes.AutoString(length=2048), nullable=False),
        sa.Column("acquired_at", sqlmodel.sql.sqltypes.AutoString(length=32), nullable=False),
        sa.Column("payload", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("payload_sha256", sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
        sa.Column("agreement_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=True),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("evidence_id", name=op.f("pk_import_evidence")),
    )
    op.create_index(
        op.f("ix_import_evidence_agreement_id"), "import_evidence", ["agreement_id"], unique=False
    )
    op.create_table(
        "party",
        sa.Column("party_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("kind", sqlmodel.sql.sqltypes.AutoString(length=32), nullable=False),
        sa.Column("payee_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("party_id", name=op.f("pk_party")),
    )
    op.create_index(op.f("ix_party_payee_id"), "party", ["payee_id"], unique=False)


def _create_2() -> None:
    op.create_table(
        "source",
        sa.Column("source_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("kind", sqlmodel.sql.sqltypes.AutoString(length=32), nullable=False),
        sa.Column("title", sqlmodel.sql.sqltypes.AutoString(length=512), nullable=False),
        sa.Column("version", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("licence", sqlmodel.sql.sqltypes.AutoString(length=256), nullable=False),
        sa.PrimaryKeyConstraint("source_id", name=op.f("pk_source")),
    )
    op.create_table(
        "agreement",
        sa.Column("agreement_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sqlmodel.sql.sqltypes.AutoString(length=16), nullable=False),
        sa.Column("licensor", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("licensee", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("payee_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("currency", sqlmodel.sql.sqltypes.AutoString(length=16), nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("effective_to", sa.Date(), nullable=True),
        sa.Column("payload", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("payload_sha256", sqlmodel.sql.sqltypes.AutoString(length=64), nullable=False),
        sa.Column("signer", sqlmodel.sql.sqltypes.AutoString(length=256), nullable=True),
        sa.Column("signature", sqlmodel.sql.sqltypes.AutoString(length=256), nullable=True),
        sa.Column("approved_by", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=True),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "status IN ('draft', 'active', 'ended')", name=op.f("ck_agreement_status_known")
        ),
        sa.CheckConstraint(
            "effective_to IS NULL OR effective_to > effective_from",
            name=op.f("ck_agreement_interval_forward"),
        ),
        sa.CheckConstraint("version >= 1", name=op.f("ck_agreement_version_positive")),
        sa.ForeignKeyConstraint(
            ["licensor"], ["party.party_id"], name=op.f("fk_agreement_licensor_party")
        ),
        sa.PrimaryKeyConstraint("agreement_id", "version", name=op.f("pk_agreement")),
    )
    op.create_index(op.f("ix_agreement_licensor"), "agreement", ["licensor"], unique=False)


def _create_3() -> None:
    op.create_table(
        "party_identifier",
        sa.Column("party_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("scheme", sqlmodel.sql.sqltypes.AutoString(length=32), nullable=False),
        sa.Column("value", sqlmodel.sql.sqltypes.AutoString(length=512), nullable=False),
        sa.ForeignKeyConstraint(
            ["party_id"], ["party.party_id"], name=op.f("fk_party_identifier_party_id_party")
        ),
        sa.PrimaryKeyConstraint("party_id", "scheme", "value", name=op.f("pk_party_identifier")),
    )
    op.create_table(
        "work",
        sa.Column("work_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("title", sqlmodel.sql.sqltypes.AutoString(length=512), nullable=False),
        sa.Column("source_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=True),
        sa.Column("licence", sqlmodel.sql.sqltypes.AutoString(length=256), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["source.source_id"], name=op.f("fk_work_source_id_source")
        ),
        sa.PrimaryKeyConstraint("work_id", name=op.f("pk_work")),
    )
    op.create_index(op.f("ix_work_source_id"), "work", ["source_id"], unique=False)


def _create_4() -> None:
    op.create_table(
        "dispute",
        sa.Column("dispute_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("step", sqlmodel.sql.sqltypes.AutoString(length=16), nullable=False),
        sa.Column("work_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("right_id", sqlmodel.sql.sqltypes.AutoString(length=32), nullable=False),
        sa.Column("party_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("share_numerator", sa.BigInteger(), nullable=False),
        sa.Column("share_denominator", sa.BigInteger(), nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("decided_by", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=True),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "step IN ('opened', 'resolved', 'withdrawn')", name=op.f("ck_dispute_step_known")
        ),
        sa.CheckConstraint(
            SHARE_IN_RANGE,
            name=op.f("ck_dispute_share_in_range"),
        ),
        sa.ForeignKeyConstraint(
            ["party_id"], ["party.party_id"], name=op.f("fk_dispute_party_id_party")
        ),
        sa.ForeignKeyConstraint(
            ["work_id"], ["work.work_id"], name=op.f("fk_dispute_work_id_work")
        ),
        sa.PrimaryKeyConstraint("dispute_id", "step", name=op.f("pk_dispute")),
    )
    op.create_index(op.f("ix_dispute_party_id"), "dispute", ["party_id"], unique=False)
    op.create_index(op.f("ix_dispute_work_id"), "dispute", ["work_id"], unique=False)
    op.create_table(
        "work_document",
        sa.Column("document_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("work_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["work_id"], ["work.work_id"], name=op.f("fk_work_document_work_id_work")
        ),
        sa.PrimaryKeyConstraint("document_id", "version", name=op.f("pk_work_document")),
    )
    op.create_index(op.f("ix_work_document_work_id"), "work_document", ["work_id"], unique=False)


def _create_5() -> None:
    op.create_table(
        "work_identifier",
        sa.Column("work_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("scheme", sqlmodel.sql.sqltypes.AutoString(length=32), nullable=False),
        sa.Column("value", sqlmodel.sql.sqltypes.AutoString(length=512), nullable=False),
        sa.ForeignKeyConstraint(
            ["work_id"], ["work.work_id"], name=op.f("fk_work_identifier_work_id_work")
        ),
        sa.PrimaryKeyConstraint("work_id", "scheme", "value", name=op.f("pk_work_identifier")),
    )
    op.create_table(
        "work_split",
        sa.Column("work_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("right_id", sqlmodel.sql.sqltypes.AutoString(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("party_id", sqlmodel.sql.sqltypes.AutoString(length=128), nullable=False),
        sa.Column("effective_to", sa.Date(), nullable=True),
        sa.Column("share_numerator", sa.BigInteger(), nullable=False),
        sa.Column("share_denominator", sa.BigInteger(), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("CURRENT_TIMESTAMP"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "effective_to IS NULL OR effective_to > effective_from",
            name=op.f("ck_work_split_interval_forward"),
        ),
        sa.CheckConstraint(
            SHARE_IN_RANGE,
            name=op.f("ck_work_split_share_in_range"),
        ),
        sa.ForeignKeyConstraint(
            ["party_id"], ["party.party_id"], name=op.f("fk_work_split_party_id_party")
        ),
        sa.ForeignKeyConstraint(
            ["work_id"], ["work.work_id"], name=op.f("fk_work_split_work_id_work")
        ),
        sa.PrimaryKeyConstraint(
            "work_id",
            "right_id",
            "version",
            "effective_from",
            "party_id",
            name=op.f("pk_work_split"),
        ),
    )
    op.create_index(op.f("ix_work_split_party_id"), "work_split", ["party_id"], unique=False)


def downgrade() -> None:
    """Drop the tables, those that point to others first."""
    op.drop_index(op.f("ix_work_split_party_id"), table_name="work_split")
    op.drop_table("work_split")
    op.drop_table("work_identifier")
    op.drop_index(op.f("ix_work_document_work_id"), table_name="work_document")
    op.drop_table("work_document")
    op.drop_index(op.f("ix_dispute_work_id"), table_name="dispute")
    op.drop_index(op.f("ix_dispute_party_id"), table_name="dispute")
    op.drop_table("dispute")
    op.drop_index(op.f("ix_work_source_id"), table_name="work")
    op.drop_table("work")
    op.drop_table("party_identifier")
    op.drop_index(op.f("ix_agreement_licensor"), table_name="agreement")
    op.drop_table("agreement")
    op.drop_table("source")
    op.drop_index(op.f("ix_party_payee_id"), table_name="party")
    op.drop_table("party")
    op.drop_index(op.f("ix_import_evidence_agreement_id"), table_name="import_evidence")
    op.drop_table("import_evidence")
    op.drop_table("fx_rate")
