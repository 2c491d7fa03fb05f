# SPDX-License-Identifier: Apache-2.0
"""Leases of the flows, the latch of the books, and an index to add balances up."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_HELD = sa.text("balance_i > 0")


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(
        sa.String(length, collation="C"), "postgresql"
    )


def upgrade() -> None:
    """Add the two tables and the index."""
    op.create_table(
        "lease",
        sa.Column("flow", _text(32), nullable=False),
        sa.Column("holder", _text(64), nullable=False),
        sa.Column("fencing_token", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "fencing_token > 0", name=op.f("ck_lease_fencing_token_positive")
        ),
        sa.PrimaryKeyConstraint("flow", name=op.f("pk_lease")),
    )
    op.create_table(
        "books_latch",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("found_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_books_latch_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_books_latch")),
    )
    op.create_index(
        "ix_address_held",
        "address",
        ["balance_i"],
        postgresql_where=_HELD,
        sqlite_where=_HELD,
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_index("ix_address_held", table_name="address")
    op.drop_table("books_latch")
    op.drop_table("lease")
