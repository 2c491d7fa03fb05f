# SPDX-License-Identifier: Apache-2.0
"""The tables of the dashboard: operators, their sessions, and samples of balances."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
)

from hub.operators import Role
from hub.store.schema import ROW, identifier, metadata

_ROLES: Final = ", ".join(f"'{role.value}'" for role in Role)

operator: Final = Table(
    "operator",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("name", identifier(32), nullable=False, unique=True),
    Column("role", identifier(16), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("disabled_at_ms", BigInteger),
    CheckConstraint(f"role IN ({_ROLES})", name="role_known"),
)

operator_session: Final = Table(
    "operator_session",
    metadata,
    # SHA-256 of the token: who reads the database can not take a session over.
    Column("digest", identifier(64), primary_key=True),
    Column("operator_id", ROW, ForeignKey("operator.id"), nullable=False),
    Column("peer", identifier(64), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
    Index(None, "operator_id"),
    Index(None, "seen_at_ms"),
)

balance_sample: Final = Table(
    "balance_sample",
    metadata,
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("assets_i", BigInteger, nullable=False),
    Column("liabilities_i", BigInteger, nullable=False),
)

reserve_sample: Final = Table(
    "reserve_sample",
    metadata,
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("tangle_i", BigInteger, nullable=False),
    Column("books_i", BigInteger, nullable=False),
    # Addresses that no quorum agreed on: what they hold is not in ``tangle_i``.
    Column("unknown", BigInteger, nullable=False),
)
