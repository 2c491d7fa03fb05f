# SPDX-License-Identifier: Apache-2.0
"""The tables. Columns only; what changes them is one module per noun.

Money is BIGINT iota. Identifiers compare by bytes: SQLite's default, collation
``C`` on PostgreSQL. Every rule that a posting checks under its locks stands here
once more as a constraint, as the second net.
"""

import enum
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from hub.ledger import Book, PostingKind
from hub.model import (
    AccountKind,
    AddressState,
    DepositState,
    SweepState,
    WithdrawalState,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ROW: Final = BigInteger().with_variant(Integer(), "sqlite")
"""Row numbers; SQLite counts up only in an INTEGER primary key."""


def identifier(length: int) -> String:
    """Return the type of a text compared by bytes, at most ``length`` long."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def _one_of(column: str, states: type[enum.Enum]) -> CheckConstraint:
    values = ", ".join(f"'{state.value}'" for state in states)
    return CheckConstraint(f"{column} IN ({values})", name=f"{column}_known")


def _not_negative(*columns: str) -> list[CheckConstraint]:
    return [CheckConstraint(f"{c} >= 0", name=f"{c}_not_negative") for c in columns]


account: Final = Table(
    "account",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("identifier", identifier(64), nullable=False, unique=True),
    Column("kind", identifier(8), nullable=False),
    Column("available_i", BigInteger, nullable=False),
    Column("unswept_i", BigInteger, nullable=False),
    Column("pending_i", BigInteger, nullable=False),
    Column("quarantined_i", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    # All that was ever requested of limited withdrawals: it only rises.
    Column("requested_i", BigInteger, nullable=False, server_default=text("0")),
    _one_of("kind", AccountKind),
    *_not_negative("available_i", "unswept_i", "pending_i", "quarantined_i"),
)

address: Final = Table(
    "address",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("address", identifier(81), nullable=False, unique=True),
    Column("seed_uuid", identifier(64), nullable=False, unique=True),
    Column("generation", Integer, nullable=False),
    Column("security_level", Integer, nullable=False),
    Column("receipt", Text, nullable=False),
    Column("account_id", ROW, ForeignKey("account.id"), nullable=False),
    Column("state", identifier(16), nullable=False),
    Column("balance_i", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("length(address) = 81", name="address_length"),
    CheckConstraint("length(seed_uuid) = 64", name="seed_uuid_length"),
    CheckConstraint("security_level BETWEEN 1 AND 3", name="security_level_known"),
    _one_of("state", AddressState),
    *_not_negative("balance_i"),
    Index(None, "account_id"),
    Index(None, "state", "balance_i"),
    Index(
        "ix_address_held",
        "balance_i",
        postgresql_where=text("balance_i > 0"),
        sqlite_where=text("balance_i > 0"),
    ),
)

sweep: Final = Table(
    "sweep",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("bundle_hash", identifier(81), nullable=False, unique=True),
    Column("state", identifier(16), nullable=False),
    Column("essence", Text, nullable=False),
    Column("signed_trytes", Text, nullable=False),
    Column("remainder_address_id", ROW, ForeignKey("address.id")),
    Column("remainder_i", BigInteger, nullable=False),
    Column("planned_at_ms", BigInteger, nullable=False),
    Column("signed_at_ms", BigInteger),
    Column("confirmed_at_ms", BigInteger),
    Column("refusal_code", identifier(64), nullable=False),
    # Why it is not signed: told to people, and decides nothing.
    Column("hindrance_code", identifier(64), nullable=False, server_default=""),
    Column("hindrance_message", Text, nullable=False, server_default=""),
    Column("hindrance_since_ms", BigInteger),
    Column("hindrance_last_ms", BigInteger),
    Column("promotions", Integer, nullable=False, server_default=text("0")),
    Column("promoted_at_ms", BigInteger),
    # Where the appliance's journal stood when the signatures came.
    Column("journal_sequence", BigInteger),
    CheckConstraint(
        "(remainder_i = 0) = (remainder_address_id IS NULL)", name="no_zero_remainder"
    ),
    CheckConstraint(
        "(state IN ('planned', 'refused')) = (signed_at_ms IS NULL)",
        name="signed_has_time",
    ),
    _one_of("state", SweepState),
    *_not_negative("remainder_i"),
    Index(None, "state"),
    Index(None, "planned_at_ms"),
    Index(None, "signed_at_ms"),
    Index(None, "remainder_address_id"),
)

sweep_input: Final = Table(
    "sweep_input",
    metadata,
    Column("sweep_id", ROW, ForeignKey("sweep.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("address_id", ROW, ForeignKey("address.id"), nullable=False),
    Column("amount_i", BigInteger, nullable=False),
    # 1 while the sweep lives, NULL once refused: an address is an input of at
    # most one sweep that may ever be signed.
    Column("live", Integer),
    UniqueConstraint("address_id", "live"),
    CheckConstraint("amount_i > 0", name="amount_i_positive"),
    CheckConstraint("live = 1", name="live_or_null"),
)

deposit: Final = Table(
    "deposit",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("tail_hash", identifier(81), nullable=False),
    Column("bundle_hash", identifier(81), nullable=False),
    Column("address_id", ROW, ForeignKey("address.id"), nullable=False),
    Column("transaction_index", Integer, nullable=False),
    Column("amount_i", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    Column("state", identifier(16), nullable=False),
    Column("sweep_id", ROW, ForeignKey("sweep.id")),
    Column("created_at_ms", BigInteger, nullable=False),
    UniqueConstraint("tail_hash", "address_id", "transaction_index"),
    CheckConstraint("amount_i > 0", name="amount_i_positive"),
    _one_of("state", DepositState),
    Index(None, "address_id", "state"),
    Index(None, "sweep_id"),
    Index(None, "state"),
    Index(None, "bundle_hash"),
)

withdrawal: Final = Table(
    "withdrawal",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("uuid", identifier(36), nullable=False, unique=True),
    Column("account_id", ROW, ForeignKey("account.id"), nullable=False),
    Column("amount_i", BigInteger, nullable=False),
    Column("payout_address", identifier(81), nullable=False),
    Column("tag", identifier(27), nullable=False),
    Column("state", identifier(24), nullable=False),
    Column("sweep_id", ROW, ForeignKey("sweep.id")),
    Column("requested_at_ms", BigInteger, nullable=False),
    Column("cancelled_at_ms", BigInteger),
    Column("authorisation", Text, nullable=False, server_default=""),
    Column("maker", identifier(16), nullable=False, server_default=""),
    Column("approved_by", identifier(16), nullable=False, server_default=""),
    # No foreign key: it only tells people where to look.
    Column("refused_sweep_id", ROW),
    CheckConstraint("amount_i > 0", name="amount_i_positive"),
    CheckConstraint(
        "(state IN ('planned', 'paid')) = (sweep_id IS NOT NULL)", name="sweep_known"
    ),
    CheckConstraint(
        "(state = 'cancelled') = (cancelled_at_ms IS NOT NULL)",
        name="cancelled_has_time",
    ),
    _one_of("state", WithdrawalState),
    Index(None, "state", "requested_at_ms"),
    Index(None, "sweep_id"),
    Index(None, "account_id"),
    Index(None, "payout_address"),
)

tail: Final = Table(
    "tail",
    metadata,
    Column("hash", identifier(81), primary_key=True),
    Column("sweep_id", ROW, ForeignKey("sweep.id"), nullable=False),
    Column("confirmed", Boolean(create_constraint=False), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Index(None, "sweep_id"),
)

cold_address: Final = Table(
    "cold_address",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("label", identifier(64), nullable=False, unique=True),
    Column("address", identifier(81), nullable=False, unique=True),
    Column("balance_i", BigInteger, nullable=False),
    Column("closed", Boolean(create_constraint=False), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("length(address) = 81", name="address_length"),
    *_not_negative("balance_i"),
)

cold_move: Final = Table(
    "cold_move",
    metadata,
    Column("withdrawal_uuid", identifier(36), primary_key=True),
    Column("cold_address_id", ROW, ForeignKey("cold_address.id"), nullable=False),
    Index(None, "cold_address_id"),
)

posting: Final = Table(
    "posting",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("kind", identifier(16), nullable=False),
    Column("reference", identifier(128), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    _one_of("kind", PostingKind),
)

entry: Final = Table(
    "entry",
    metadata,
    Column("id", ROW, primary_key=True),
    # No foreign key: under serialisable isolation each check of it would collide
    # with every posting written at the same time. Both come from one statement.
    Column("posting_id", ROW, nullable=False),
    Column("book", identifier(16), nullable=False),
    Column("ref_id", ROW, nullable=False),
    Column("amount_i", BigInteger, nullable=False),
    UniqueConstraint("posting_id", "book", "ref_id"),
    CheckConstraint("amount_i <> 0", name="amount_i_not_zero"),
    _one_of("book", Book),
    Index(None, "book", "ref_id"),
)

event: Final = Table(
    "event",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("reason", identifier(24), nullable=False),
    Column("account_id", ROW, ForeignKey("account.id"), nullable=False),
    Column("address_id", ROW, ForeignKey("address.id")),
    Column("amount_i", BigInteger, nullable=False),
    Column("bundle_hash", identifier(81), nullable=False),
    Column("tail_hash", identifier(81), nullable=False),
    Column("withdrawal_uuid", identifier(36), nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    # Given after commit, by the publisher: ids may become visible out of order.
    Column("position", BigInteger),
    Index(None, "account_id", "created_at_ms"),
    Index(None, "created_at_ms"),
    Index(None, "position", unique=True),
)

appliance_head: Final = Table(
    "appliance_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("journal_id", identifier(64), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", identifier(64), nullable=False),
    Column("mac", identifier(128), nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

lease: Final = Table(
    "lease",
    metadata,
    Column("flow", identifier(32), primary_key=True),
    Column("holder", identifier(64), nullable=False),
    # Rises with every change of hands; a row is never deleted, or it would begin anew.
    Column("fencing_token", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    CheckConstraint("fencing_token > 0", name="fencing_token_positive"),
)

books_latch: Final = Table(
    "books_latch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("found_at_ms", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
