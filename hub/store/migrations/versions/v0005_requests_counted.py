# SPDX-License-Identifier: Apache-2.0
"""What each account has ever requested: a limit is kept by comparing one number.

To add up an account's withdrawals inside the transaction that writes the next one
reads the page of the index that every other withdrawal is being written to; on
PostgreSQL most of what ran at the same time had to be run again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the counter; it only ever rises, so it may begin anywhere."""
    op.add_column(
        "account",
        sa.Column(
            "requested_i", sa.BigInteger(), nullable=False, server_default=sa.text("0")
        ),
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_column("account", "requested_i")
