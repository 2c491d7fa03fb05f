# SPDX-License-Identifier: Apache-2.0
"""Cold storage: addresses whose keys are elsewhere, in a book of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ROW = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_KINDS = (
    "deposit",
    "quarantine",
    "release",
    "sweep",
    "withdrawal",
    "cancellation",
    "transfer",
)
_NEW_KINDS = ("cold-move", "cold-cancel", "cold-return")
_BOOKS = ("address", "available", "unswept", "pending", "quarantined")
_NEW_BOOKS = ("cold",)


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(
        sa.String(length, collation="C"), "postgresql"
    )


def upgrade() -> None:
    """Create the tables; let postings and entries be about cold storage."""
    op.create_table(
        "cold_address",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("label", _text(64), nullable=False),
        sa.Column("address", _text(81), nullable=False),
        sa.Column("balance_i", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "balance_i >= 0", name=op.f("ck_cold_address_balance_i_not_negative")
        ),
        sa.CheckConstraint(
            "length(address) = 81", name=op.f("ck_cold_address_address_length")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cold_address")),
        sa.UniqueConstraint("address", name=op.f("uq_cold_address_address")),
        sa.UniqueConstraint("label", name=op.f("uq_cold_address_label")),
    )
    op.create_table(
        "cold_move",
        sa.Column("withdrawal_uuid", _text(36), nullable=False),
        sa.Column("cold_address_id", _ROW, nullable=False),
        sa.ForeignKeyConstraint(
            ["cold_address_id"],
            ["cold_address.id"],
            name=op.f("fk_cold_move_cold_address_id_cold_address"),
        ),
        sa.PrimaryKeyConstraint("withdrawal_uuid", name=op.f("pk_cold_move")),
    )
    op.create_index(
        op.f("ix_cold_move_cold_address_id"), "cold_move", ["cold_address_id"]
    )
    _change_words(_KINDS, (*_KINDS, *_NEW_KINDS), _BOOKS, (*_BOOKS, *_NEW_BOOKS))


def downgrade() -> None:
    """Drop the tables; refused by the database if anything was booked as cold."""
    _change_words((*_KINDS, *_NEW_KINDS), _KINDS, (*_BOOKS, *_NEW_BOOKS), _BOOKS)
    op.drop_table("cold_move")
    op.drop_table("cold_address")


def _one_of(column: str, words: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(word) for word in words)})"


def _change_words(
    kinds: tuple[str, ...],
    new_kinds: tuple[str, ...],
    books: tuple[str, ...],
    new_books: tuple[str, ...],
) -> None:
    # SQLite can not change a CHECK: alembic copies the table as it is told here.
    posting = sa.Table(
        "posting",
        sa.MetaData(),
        sa.Column("id", _ROW, nullable=False),
        sa.Column("kind", _text(16), nullable=False),
        sa.Column("reference", _text(128), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(_one_of("kind", kinds), name="ck_posting_kind_known"),
        sa.PrimaryKeyConstraint("id", name="pk_posting"),
    )
    with op.batch_alter_table("posting", copy_from=posting) as batch:
        batch.drop_constraint(op.f("ck_posting_kind_known"), type_="check")
        batch.create_check_constraint(
            op.f("ck_posting_kind_known"), sa.text(_one_of("kind", new_kinds))
        )
    entry = sa.Table(
        "entry",
        sa.MetaData(),
        sa.Column("id", _ROW, nullable=False),
        sa.Column("posting_id", _ROW, nullable=False),
        sa.Column("book", _text(16), nullable=False),
        sa.Column("ref_id", _ROW, nullable=False),
        sa.Column("amount_i", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(_one_of("book", books), name="ck_entry_book_known"),
        sa.CheckConstraint("amount_i <> 0", name="ck_entry_amount_i_not_zero"),
        sa.ForeignKeyConstraint(
            ["posting_id"], ["posting.id"], name="fk_entry_posting_id_posting"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_entry"),
        sa.UniqueConstraint(
            "posting_id", "book", "ref_id", name="uq_entry_posting_id_book_ref_id"
        ),
        sa.Index("ix_entry_book_entry_ref_id", "book", "ref_id"),
    )
    with op.batch_alter_table("entry", copy_from=entry) as batch:
        batch.drop_constraint(op.f("ck_entry_book_known"), type_="check")
        batch.create_check_constraint(
            op.f("ck_entry_book_known"), sa.text(_one_of("book", new_books))
        )
