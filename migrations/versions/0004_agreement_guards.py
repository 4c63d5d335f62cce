"""Keep who prepared and approved an agreement, and guard the rows of contracts by trigger.

Why: a statement of last year cites an agreement version; the database itself must refuse to
change it, and to let one person alone put new terms into force.

Locks: short. Adds three tables and triggers; no table is rewritten and no row is read.
Old code: keeps working, since it never updated or deleted a row of contracts.
Downgrade: drops the triggers and the three tables, unless they hold who approved what.

Revision ID: 0004
Revises: 0003
Create Date: 2026-11-22
"""

from typing import Any

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

from contracts import triggers

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ADDED = ("agreement_step", "agreement_draft", "work_decision")


def upgrade() -> None:
    """Create the tables, then every trigger."""
    bind = op.get_bind()
    op.create_table(
        "agreement_step",
        _text("agreement_id", 128),
        sa.Column("version", sa.Integer(), nullable=False),
        _text("step", 16),
        _text("party_id", 128),
        _recorded_at(),
        sa.CheckConstraint(
            "step IN ('prepared', 'approved', 'withdrawn')",
            name=op.f("ck_agreement_step_step_known"),
        ),
        sa.ForeignKeyConstraint(
            ["agreement_id", "version"],
            ["agreement.agreement_id", "agreement.version"],
            name=op.f("fk_agreement_step_agreement_id_version_agreement"),
        ),
        sa.PrimaryKeyConstraint("agreement_id", "version", "step", name=op.f("pk_agreement_step")),
    )
    op.create_table(
        "agreement_draft",
        _text("draft_id", 128),
        _text("evidence_id", 128),
        sa.Column("payload", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        _text("payload_sha256", 64),
        _recorded_at(),
        sa.ForeignKeyConstraint(
            ["evidence_id"],
            ["import_evidence.evidence_id"],
            name=op.f("fk_agreement_draft_evidence_id_import_evidence"),
        ),
        sa.PrimaryKeyConstraint("draft_id", name=op.f("pk_agreement_draft")),
    )
    op.create_index(
        op.f("ix_agreement_draft_evidence_id"), "agreement_draft", ["evidence_id"], unique=False
    )
    op.create_table(
        "work_decision",
        _text("work_id", 128),
        sa.Column("version", sa.Integer(), nullable=False),
        _text("party_id", 128),
        _text("reason", 1000),
        _recorded_at(),
        sa.ForeignKeyConstraint(
            ["work_id"], ["work.work_id"], name=op.f("fk_work_decision_work_id_work")
        ),
        sa.PrimaryKeyConstraint("work_id", "version", name=op.f("pk_work_decision")),
    )
    for statement in triggers.create_statements(bind.dialect.name):
        bind.exec_driver_sql(statement)


def downgrade() -> None:
    """Drop the triggers and the tables, refusing to lose an approval."""
    bind = op.get_bind()
    for table in ADDED:
        count = bind.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()  # noqa: S608
        if count:
            raise RuntimeError(
                f"table {table} has {count} rows that say who decided what; nothing was changed. "
                f"Keep revision 0004, or export them first"
            )
    for statement in triggers.drop_statements(bind.dialect.name):
        bind.exec_driver_sql(statement)
    op.drop_table("work_decision")
    op.drop_index(op.f("ix_agreement_draft_evidence_id"), table_name="agreement_draft")
    op.drop_table("agreement_draft")
    op.drop_table("agreement_step")


def _text(name: str, characters: int) -> sa.Column[Any]:
    return sa.Column(name, sqlmodel.sql.sqltypes.AutoString(length=characters), nullable=False)


def _recorded_at() -> sa.Column[Any]:
    return sa.Column(
        "recorded_at",
        sa.DateTime(timezone=True),
        server_default=sa.text("CURRENT_TIMESTAMP"),
        nullable=False,
    )
