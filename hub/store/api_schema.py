# SPDX-License-Identifier: Apache-2.0
"""The tables of the ``/v1`` API: keys, idempotency, audit and webhooks."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
)

from hub.store.schema import ROW, identifier, metadata

api_key: Final = Table(
    "api_key",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("key_id", identifier(16), nullable=False, unique=True),
    Column("name", identifier(64), nullable=False),
    Column("digest", identifier(64), nullable=False),
    Column("scopes", identifier(64), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
    Column("last_used_at_ms", BigInteger),
)

idempotency: Final = Table(
    "idempotency",
    metadata,
    # The primary key is what makes a twin in another process wait for us.
    Column("api_key_id", ROW, ForeignKey("api_key.id"), primary_key=True),
    Column("key", identifier(128), primary_key=True),
    Column("digest", identifier(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Index(None, "expires_at_ms"),
)

api_audit: Final = Table(
    "api_audit",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("actor", identifier(64), nullable=False),
    Column("request_id", identifier(64), nullable=False),
    Column("operation", identifier(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Index(None, "actor"),
)

webhook: Final = Table(
    "webhook",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("webhook_id", identifier(32), nullable=False, unique=True),
    Column("url", Text, nullable=False),
    Column("types", Text, nullable=False),
    # The secret is derived from this and a key file that is not in the database.
    Column("nonce", identifier(64), nullable=False),
    Column("state", identifier(16), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("failing_since_ms", BigInteger),
    Column("next_attempt_at_ms", BigInteger, nullable=False),
    Column("leased_until_ms", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("state IN ('enabled', 'disabled', 'deleted')", name="state_known"),
)

webhook_range: Final = Table(
    "webhook_range",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("webhook_row", ROW, ForeignKey("webhook.id"), nullable=False),
    Column("next_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    Index(None, "webhook_row"),
)

webhook_delivery: Final = Table(
    "webhook_delivery",
    metadata,
    Column("id", ROW, primary_key=True),
    Column("webhook_row", ROW, ForeignKey("webhook.id"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error", identifier(128), nullable=False),
    Column("duration_ms", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Index(None, "webhook_row"),
)
