# SPDX-License-Identifier: Apache-2.0
"""What ``/v1`` needs: positions of events, authorisations, keys, webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ROW = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OLD_STATES = "state IN ('requested', 'planned', 'paid', 'cancelled')"
_NEW_STATES = (
    "state IN ('awaiting-approval', 'awaiting-authorisation', 'requested', 'planned',"
    " 'paid', 'cancelled')"
)
_TABLES = (
    "api_key",
    "idempotency",
    "api_audit",
    "webhook",
    "webhook_range",
    "webhook_delivery",
)


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(
        sa.String(length, collation="C"), "postgresql"
    )


def upgrade() -> None:
    """Add the tables; events written before get their positions when it runs."""
    op.add_column("event", sa.Column("position", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_event_position"), "event", ["position"], unique=True)
    with op.batch_alter_table(
        "withdrawal", copy_from=_withdrawal(_OLD_STATES)
    ) as batch:
        batch.add_column(
            sa.Column("authorisation", sa.Text(), nullable=False, server_default="")
        )
        batch.add_column(
            sa.Column("maker", _text(16), nullable=False, server_default="")
        )
        batch.add_column(
            sa.Column("approved_by", _text(16), nullable=False, server_default="")
        )
        batch.drop_constraint(op.f("ck_withdrawal_state_known"), type_="check")
        batch.create_check_constraint(op.f("ck_withdrawal_state_known"), _NEW_STATES)
    _create_keys()
    _create_webhooks()


def downgrade() -> None:
    """Drop the tables; fails while a withdrawal awaits its authorisation."""
    for name in reversed(_TABLES):
        op.drop_table(name)
    new = _withdrawal(_NEW_STATES)
    new.append_column(
        sa.Column("authorisation", sa.Text(), nullable=False, server_default="")
    )
    for name in ("maker", "approved_by"):
        new.append_column(sa.Column(name, _text(16), nullable=False, server_default=""))
    with op.batch_alter_table("withdrawal", copy_from=new) as batch:
        for name in ("approved_by", "maker", "authorisation"):
            batch.drop_column(name)
        batch.drop_constraint(op.f("ck_withdrawal_state_known"), type_="check")
        batch.create_check_constraint(op.f("ck_withdrawal_state_known"), _OLD_STATES)
    op.drop_index(op.f("ix_event_position"), "event")
    op.drop_column("event", "position")


def _withdrawal(states: str) -> sa.Table:
    # SQLite can not alter a constraint: the table is copied, from this description.
    table = sa.Table(
        "withdrawal",
        sa.MetaData(),
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
        sa.CheckConstraint(states, name=op.f("ck_withdrawal_state_known")),
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
    sa.Index("ix_withdrawal_account_id", table.c.account_id)
    sa.Index(
        "ix_withdrawal_state_withdrawal_requested_at_ms",
        table.c.state,
        table.c.requested_at_ms,
    )
    sa.Index("ix_withdrawal_sweep_id", table.c.sweep_id)
    return table


def _create_keys() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("key_id", _text(16), nullable=False),
        sa.Column("name", _text(64), nullable=False),
        sa.Column("digest", _text(64), nullable=False),
        sa.Column("scopes", _text(64), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("key_id", name=op.f("uq_api_key_key_id")),
    )
    op.create_table(
        "idempotency",
        sa.Column("api_key_id", _ROW, nullable=False),
        sa.Column("key", _text(128), nullable=False),
        sa.Column("digest", _text(64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["api_key_id"],
            ["api_key.id"],
            name=op.f("fk_idempotency_api_key_id_api_key"),
        ),
        sa.PrimaryKeyConstraint("api_key_id", "key", name=op.f("pk_idempotency")),
    )
    op.create_index(
        op.f("ix_idempotency_expires_at_ms"), "idempotency", ["expires_at_ms"]
    )
    op.create_table(
        "api_audit",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("actor", _text(16), nullable=False),
        sa.Column("request_id", _text(64), nullable=False),
        sa.Column("operation", _text(64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_audit")),
    )
    op.create_index(op.f("ix_api_audit_actor"), "api_audit", ["actor"])


def _create_webhooks() -> None:
    op.create_table(
        "webhook",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("webhook_id", _text(32), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("nonce", _text(64), nullable=False),
        sa.Column("state", _text(16), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since_ms", sa.BigInteger(), nullable=True),
        sa.Column("next_attempt_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("leased_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('enabled', 'disabled', 'deleted')",
            name=op.f("ck_webhook_state_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
        sa.UniqueConstraint("webhook_id", name=op.f("uq_webhook_webhook_id")),
    )
    op.create_table(
        "webhook_range",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("webhook_row", _ROW, nullable=False),
        sa.Column("next_position", sa.BigInteger(), nullable=False),
        sa.Column("last_position", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_row"],
            ["webhook.id"],
            name=op.f("fk_webhook_range_webhook_row_webhook"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_range")),
    )
    op.create_index(
        op.f("ix_webhook_range_webhook_row"), "webhook_range", ["webhook_row"]
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("id", _ROW, nullable=False),
        sa.Column("webhook_row", _ROW, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("error", _text(128), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_row"],
            ["webhook.id"],
            name=op.f("fk_webhook_delivery_webhook_row_webhook"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_delivery")),
    )
    op.create_index(
        op.f("ix_webhook_delivery_webhook_row"), "webhook_delivery", ["webhook_row"]
    )
