# SPDX-License-Identifier: Apache-2.0
"""The first schema: accounts, addresses, deposits, withdrawals, sweeps, books."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ROW = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TABLES = (
    "account",
    "appliance_head",
    "posting",
    "address",
    "entry",
    "event",
    "sweep",
    "deposit",
    "sweep_input",
    "tail",
    "withdrawal",
)


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(
        sa.String(length, collation="C"), "postgresql"
    )


def upgrade() -> None:
    """Create every table and the two accounts that always exist."""
    _create_account()
    _create_appliance_head()
    _create_posting()
    _create_address()
    _create_entry()
    _create_event()
    _create_sweep()
    _create_deposit()
    _create_sweep_input()
    _create_tail()
    _create_withdrawal()
    _open_own_accounts()


def downgrade() -> None:
    """Drop every table."""
    for name in reversed(_TABLES):
        op.drop_table(name)


def _open_own_accounts() -> None:
    for identifier, kind in (("saltkeep:owner", "owner"), ("saltkeep:fee", "fee")):
        op.execute(
            sa.text(
                "INSERT INTO account (identifier, kind, available_i, unswept_i,"
                " pending_i, quarantined_i, created_at_ms)"
                " VALUES (:identifier, :kind, 0, 0, 0, 0, 0)"
            ).bindparams(identifier=identifier, kind=kind)
        )


def _create_account() -> None:
    op.create_table(
        "account",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("identifier", _text(64), nullable=False),
        sa.Column("kind", _text(8), nullable=False),
        sa.Column("available_i", sa.BigInteger(), nullable=False),
        sa.Column("unswept_i", sa.BigInteger(), nullable=False),
        sa.Column("pending_i", sa.BigInteger(), nullable=False),
        sa.Column("quarantined_i", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('user', 'owner', 'fee')", name=op.f("ck_account_kind_known")
        ),
        sa.CheckConstraint(
            "available_i >= 0", name=op.f("ck_account_available_i_not_negative")
        ),
        sa.CheckConstraint(
            "pending_i >= 0", name=op.f("ck_account_pending_i_not_negative")
        ),
        sa.CheckConstraint(
            "quarantined_i >= 0", name=op.f("ck_account_quarantined_i_not_negative")
        ),
        sa.CheckConstraint(
            "unswept_i >= 0", name=op.f("ck_account_unswept_i_not_negative")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("identifier", name=op.f("uq_account_identifier")),
    )


def _create_appliance_head() -> None:
    op.create_table(
        "appliance_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("journal_id", _text(64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", _text(64), nullable=False),
        sa.Column("mac", _text(128), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_appliance_head_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appliance_head")),
    )


def _create_posting() -> None:
    op.create_table(
        "posting",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("kind", _text(16), nullable=False),
        sa.Column("reference", _text(128), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('deposit', 'quarantine', 'release', 'sweep', 'withdrawal', "
            "'cancellation', 'transfer')",
            name=op.f("ck_posting_kind_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posting")),
    )


def _create_address() -> None:
    op.create_table(
        "address",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("address", _text(81), nullable=False),
        sa.Column("seed_uuid", _text(64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("security_level", sa.Integer(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("account_id", _ROW, nullable=False),
        sa.Column("state", _text(16), nullable=False),
        sa.Column("balance_i", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'reserved', 'spent', 'quarantined')",
            name=op.f("ck_address_state_known"),
        ),
        sa.CheckConstraint(
            "balance_i >= 0", name=op.f("ck_address_balance_i_not_negative")
        ),
        sa.CheckConstraint(
            "length(address) = 81", name=op.f("ck_address_address_length")
        ),
        sa.CheckConstraint(
            "length(seed_uuid) = 64", name=op.f("ck_address_seed_uuid_length")
        ),
        sa.CheckConstraint(
            "security_level BETWEEN 1 AND 3",
            name=op.f("ck_address_security_level_known"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_address_account_id_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address")),
        sa.UniqueConstraint("address", name=op.f("uq_address_address")),
        sa.UniqueConstraint("seed_uuid", name=op.f("uq_address_seed_uuid")),
    )
    op.create_index(
        op.f("ix_address_account_id"), "address", ["account_id"], unique=False
    )
    op.create_index(
        op.f("ix_address_state_address_balance_i"),
        "address",
        ["state", "balance_i"],
        unique=False,
    )


def _create_entry() -> None:
    op.create_table(
        "entry",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("posting_id", _ROW, nullable=False),
        sa.Column("book", _text(16), nullable=False),
        sa.Column("ref_id", _ROW, nullable=False),
        sa.Column("amount_i", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "book IN ('address', 'available', 'unswept', 'pending', 'quarantined')",
            name=op.f("ck_entry_book_known"),
        ),
        sa.CheckConstraint("amount_i <> 0", name=op.f("ck_entry_amount_i_not_zero")),
        sa.ForeignKeyConstraint(
            ["posting_id"], ["posting.id"], name=op.f("fk_entry_posting_id_posting")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entry")),
        sa.UniqueConstraint(
            "posting_id", "book", "ref_id", name=op.f("uq_entry_posting_id_book_ref_id")
        ),
    )
    op.create_index(
        op.f("ix_entry_book_entry_ref_id"), "entry", ["book", "ref_id"], unique=False
    )


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("reason", _text(24), nullable=False),
        sa.Column("account_id", _ROW, nullable=False),
        sa.Column("address_id", _ROW, nullable=True),
        sa.Column("amount_i", sa.BigInteger(), nullable=False),
        sa.Column("bundle_hash", _text(81), nullable=False),
        sa.Column("tail_hash", _text(81), nullable=False),
        sa.Column("withdrawal_uuid", _text(36), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_event_account_id_account")
        ),
        sa.ForeignKeyConstraint(
            ["address_id"], ["address.id"], name=op.f("fk_event_address_id_address")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index(
        op.f("ix_event_account_id_event_created_at_ms"),
        "event",
        ["account_id", "created_at_ms"],
        unique=False,
    )
    op.create_index(
        op.f("ix_event_created_at_ms"), "event", ["created_at_ms"], unique=False
    )


def _create_sweep() -> None:
    op.create_table(
        "sweep",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("bundle_hash", _text(81), nullable=False),
        sa.Column("state", _text(16), nullable=False),
        sa.Column("essence", sa.Text(), nullable=False),
        sa.Column("signed_trytes", sa.Text(), nullable=False),
        sa.Column("remainder_address_id", _ROW, nullable=True),
        sa.Column("remainder_i", sa.BigInteger(), nullable=False),
        sa.Column("planned_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("signed_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("confirmed_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("refusal_code", _text(64), nullable=False),
        sa.CheckConstraint(
            "(state IN ('planned', 'refused')) = (signed_at_ms IS NULL)",
            name=op.f("ck_sweep_signed_has_time"),
        ),
        sa.CheckConstraint(
            "state IN ('planned', 'refused', 'signed', 'attached', 'confirmed')",
            name=op.f("ck_sweep_state_known"),
        ),
        sa.CheckConstraint(
            "(remainder_i = 0) = (remainder_address_id IS NULL)",
            name=op.f("ck_sweep_no_zero_remainder"),
        ),
        sa.CheckConstraint(
            "remainder_i >= 0", name=op.f("ck_sweep_remainder_i_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["remainder_address_id"],
            ["address.id"],
            name=op.f("fk_sweep_remainder_address_id_address"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweep")),
        sa.UniqueConstraint("bundle_hash", name=op.f("uq_sweep_bundle_hash")),
    )
    op.create_index(
        op.f("ix_sweep_remainder_address_id"),
        "sweep",
        ["remainder_address_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_sweep_signed_at_ms"), "sweep", ["signed_at_ms"], unique=False
    )
    op.create_index(op.f("ix_sweep_state"), "sweep", ["state"], unique=False)


def _create_deposit() -> None:
    op.create_table(
        "deposit",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("tail_hash", _text(81), nullable=False),
        sa.Column("bundle_hash", _text(81), nullable=False),
        sa.Column("address_id", _ROW, nullable=False),
        sa.Column("transaction_index", sa.Integer(), nullable=False),
        sa.Column("amount_i", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("state", _text(16), nullable=False),
        sa.Column("sweep_id", _ROW, nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('confirmed', 'credited', 'quarantined')",
            name=op.f("ck_deposit_state_known"),
        ),
        sa.CheckConstraint("amount_i > 0", name=op.f("ck_deposit_amount_i_positive")),
        sa.ForeignKeyConstraint(
            ["address_id"], ["address.id"], name=op.f("fk_deposit_address_id_address")
        ),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweep.id"], name=op.f("fk_deposit_sweep_id_sweep")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deposit")),
        sa.UniqueConstraint(
            "tail_hash",
            "address_id",
            "transaction_index",
            name=op.f("uq_deposit_tail_hash_address_id_transaction_index"),
        ),
    )
    op.create_index(
        op.f("ix_deposit_address_id_deposit_state"),
        "deposit",
        ["address_id", "state"],
        unique=False,
    )
    op.create_index(op.f("ix_deposit_sweep_id"), "deposit", ["sweep_id"], unique=False)


def _create_sweep_input() -> None:
    op.create_table(
        "sweep_input",
        sa.Column("sweep_id", _ROW, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("address_id", _ROW, nullable=False),
        sa.Column("amount_i", sa.BigInteger(), nullable=False),
        sa.Column("live", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "amount_i > 0", name=op.f("ck_sweep_input_amount_i_positive")
        ),
        sa.CheckConstraint("live = 1", name=op.f("ck_sweep_input_live_or_null")),
        sa.ForeignKeyConstraint(
            ["address_id"],
            ["address.id"],
            name=op.f("fk_sweep_input_address_id_address"),
        ),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweep.id"], name=op.f("fk_sweep_input_sweep_id_sweep")
        ),
        sa.PrimaryKeyConstraint("sweep_id", "position", name=op.f("pk_sweep_input")),
        sa.UniqueConstraint(
            "address_id", "live", name=op.f("uq_sweep_input_address_id_live")
        ),
    )


def _create_tail() -> None:
    op.create_table(
        "tail",
        sa.Column("hash", _text(81), nullable=False),
        sa.Column("sweep_id", _ROW, nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweep.id"], name=op.f("fk_tail_sweep_id_sweep")
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_tail")),
    )
    op.create_index(op.f("ix_tail_sweep_id"), "tail", ["sweep_id"], unique=False)


def _create_withdrawal() -> None:
    op.create_table(
        "withdrawal",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("uuid", _text(36), nullable=False),
        sa.Column("account_id", _ROW, nullable=False),
        sa.Column("amount_i", sa.BigInteger(), nullable=False),
        sa.Column("payout_address", _text(81), nullable=False),
        sa.Column("tag", _text(27), nullable=False),
        sa.Column("state", _text(24), nullable=False),
        sa.Column("sweep_id", _ROW, nullable=True),
        sa.Column("requested_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("cancelled_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(state = 'cancelled') = (cancelled_at_ms IS NOT NULL)",
            name=op.f("ck_withdrawal_cancelled_has_time"),
        ),
        sa.CheckConstraint(
            "(state IN ('planned', 'paid')) = (sweep_id IS NOT NULL)",
            name=op.f("ck_withdrawal_sweep_known"),
        ),
        sa.CheckConstraint(
            "state IN ('requested', 'planned', 'paid', 'cancelled')",
            name=op.f("ck_withdrawal_state_known"),
        ),
        sa.CheckConstraint(
            "amount_i > 0", name=op.f("ck_withdrawal_amount_i_positive")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["account.id"],
            name=op.f("fk_withdrawal_account_id_account"),
        ),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweep.id"], name=op.f("fk_withdrawal_sweep_id_sweep")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_withdrawal")),
        sa.UniqueConstraint("uuid", name=op.f("uq_withdrawal_uuid")),
    )
    op.create_index(
        op.f("ix_withdrawal_account_id"), "withdrawal", ["account_id"], unique=False
    )
    op.create_index(
        op.f("ix_withdrawal_state_withdrawal_requested_at_ms"),
        "withdrawal",
        ["state", "requested_at_ms"],
        unique=False,
    )
    op.create_index(
        op.f("ix_withdrawal_sweep_id"), "withdrawal", ["sweep_id"], unique=False
    )
