# SPDX-License-Identifier: Apache-2.0
"""Why something waits, where every hub can read it and not one hub's log alone.

All of it is told to people and decides nothing: a hub of before leaves it as it is.
``paid_since_i`` finds its sweeps by the index of ``planned_at_ms``.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ROW = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_PLANNED = "ix_sweep_planned_at_ms"


def _code(name: str) -> sa.Column[str]:
    kind = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=False, server_default="")


def _of_sweep() -> list[sa.Column[str] | sa.Column[int]]:
    return [
        _code("hindrance_code"),
        sa.Column("hindrance_message", sa.Text(), nullable=False, server_default=""),
        sa.Column("hindrance_since_ms", sa.BigInteger()),
        sa.Column("hindrance_last_ms", sa.BigInteger()),
        sa.Column(
            "promotions", sa.Integer(), nullable=False, server_default=sa.text("0")
        ),
        sa.Column("promoted_at_ms", sa.BigInteger()),
    ]


def upgrade() -> None:
    """Add what is told, and the index."""
    for column in _of_sweep():
        op.add_column("sweep", column)
    op.add_column("withdrawal", sa.Column("refused_sweep_id", _ROW))
    op.create_index(_PLANNED, "sweep", ["planned_at_ms"])


def downgrade() -> None:
    """Take it away."""
    op.drop_index(_PLANNED, table_name="sweep")
    op.drop_column("withdrawal", "refused_sweep_id")
    for column in _of_sweep():
        op.drop_column("sweep", column.name)
