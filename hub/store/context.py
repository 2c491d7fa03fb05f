# SPDX-License-Identifier: Apache-2.0
"""What every query runs in: one connection inside one transaction."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Context:
    """An open transaction.

    Attributes:
        connection: The connection that holds it.
        now_ms: When it began, milliseconds since 1970. On SQLite it was read
            with the write lock held, so that it rises from one to the next.
    """

    connection: AsyncConnection
    now_ms: int
