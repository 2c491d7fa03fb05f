# SPDX-License-Identifier: Apache-2.0
"""Leases, the latch of the books, and what serialisable transactions stumbled over.

``entry`` loses its reference to ``posting``: on PostgreSQL the check of it reads the
page of the index that every other posting is being written to, so that nearly every
posting made at the same time had to be run again. The two are written by one
statement and compared by the watch over the books.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ROW = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_REFERENCE = "fk_entry_posting_id_posting"
_HELD = sa.text("balance_i > 0")


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(
        sa.String(length, collation="C"), "postgresql"
    )


def _entry(*constraints: sa.Constraint) -> sa.Table:
    """Return ``entry`` as v0003 left it, with or without its reference."""
    return sa.Table(
        "entry",
        sa.MetaData(),
        sa.Column("id", _ROW, nullable=False),
        sa.Column("posting_id", _ROW, nullable=False),
        sa.Column("book", _text(16), nullable=False),
        sa.Column("ref_id", _ROW, nullable=False),
        sa.Column("amount_i", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "book IN ('address', 'available', 'unswept', 'pending', 'quarantined',"
            " 'cold')",
            name="ck_entry_book_known",
        ),
        sa.CheckConstraint("amount_i <> 0", name="ck_entry_amount_i_not_zero"),
        sa.PrimaryKeyConstraint("id", name="pk_entry"),
        sa.UniqueConstraint(
            "posting_id", "book", "ref_id", name="uq_entry_posting_id_book_ref_id"
        ),
        sa.Index("ix_entry_book_entry_ref_id", "book", "ref_id"),
        *constraints,
    )


def _on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _drop_reference() -> None:
    if _on_sqlite():
        with op.batch_alter_table("entry", copy_from=_entry(), recreate="always"):
            return
    op.drop_constraint(_REFERENCE, "entry", type_="foreignkey")
    # Room for the next version of a row beside it: an update then touches no index.
    op.execute("ALTER TABLE account SET (fillfactor = 70)")


def _put_reference_back() -> None:
    if _on_sqlite():
        column = sa.Column("id", _ROW, primary_key=True)
        posting = sa.Table("posting", sa.MetaData(), column)
        reference = sa.ForeignKeyConstraint(
            ["posting_id"], [posting.c.id], name=_REFERENCE
        )
        table = _entry(reference)
        with op.batch_alter_table("entry", copy_from=table, recreate="always"):
            return
    op.create_foreign_key(_REFERENCE, "entry", "posting", ["posting_id"], ["id"])
    op.execute("ALTER TABLE account RESET (fillfactor)")


def upgrade() -> None:
    """Add the two tables and the index; take the reference away."""
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

    _drop_reference()


def downgrade() -> None:
    """Take them away again."""
    _put_reference_back()
    op.drop_index("ix_address_held", table_name="address")
    op.drop_table("books_latch")
    op.drop_table("lease")
