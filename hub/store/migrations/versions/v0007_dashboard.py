# SPDX-License-Identifier: Apache-2.0
"""The dashboard: operators, sessions, samples of balances, and what it looks up.

An actor of the audit may be an operator's name now. What a sweep's signatures were
journalled as is noted; a hub of before leaves it empty.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_ROW = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INDEXES = (
    ("ix_withdrawal_payout_address", "withdrawal", "payout_address"),
    ("ix_deposit_state", "deposit", "state"),
    ("ix_deposit_bundle_hash", "deposit", "bundle_hash"),
)


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(
        sa.String(length, collation="C"), "postgresql"
    )


def _actor(*, was: int, becomes: int) -> None:
    with op.batch_alter_table("api_audit") as batch:
        batch.alter_column(
            "actor",
            existing_type=_text(was),
            existing_nullable=False,
            type_=_text(becomes),
            postgresql_using=f"left(actor, {becomes})",
        )


def upgrade() -> None:
    """Add tables, indexes and the column; widen the audit's actor."""
    op.create_table(
        "operator",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("name", _text(32), nullable=False),
        sa.Column("role", _text(16), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "role IN ('viewer', 'operator', 'admin')",
            name=op.f("ck_operator_role_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator")),
        sa.UniqueConstraint("name", name=op.f("uq_operator_name")),
    )
    op.create_table(
        "operator_session",
        sa.Column("digest", _text(64), nullable=False),
        sa.Column("operator_id", _ROW, nullable=False),
        sa.Column("peer", _text(64), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["operator_id"],
            ["operator.id"],
            name=op.f("fk_operator_session_operator_id_operator"),
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_operator_session")),
    )
    for column in ("operator_id", "seen_at_ms"):
        op.create_index(
            op.f(f"ix_operator_session_{column}"), "operator_session", [column]
        )
    op.create_table(
        "balance_sample",
        sa.Column("at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("assets_i", sa.BigInteger(), nullable=False),
        sa.Column("liabilities_i", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("at_ms", name=op.f("pk_balance_sample")),
    )
    op.create_table(
        "reserve_sample",
        sa.Column("at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tangle_i", sa.BigInteger(), nullable=False),
        sa.Column("books_i", sa.BigInteger(), nullable=False),
        sa.Column("unknown", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("at_ms", name=op.f("pk_reserve_sample")),
    )
    op.add_column("sweep", sa.Column("journal_sequence", sa.BigInteger()))
    for name, table, column in _INDEXES:
        op.create_index(name, table, [column])
    _actor(was=16, becomes=64)


def downgrade() -> None:
    """Take them away; longer names of actors are cut."""
    op.execute("UPDATE api_audit SET actor = substr(actor, 1, 16)")
    _actor(was=64, becomes=16)
    for name, table, _ in _INDEXES:
        op.drop_index(name, table_name=table)
    op.drop_column("sweep", "journal_sequence")
    for table in ("reserve_sample", "balance_sample", "operator_session", "operator"):
        op.drop_table(table)
