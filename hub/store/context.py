# SPDX-License-Identifier: Apache-2.0
"""What every query runs in: one connection inside one transaction."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.model import AccountId, UserId

_NAMES: Final = 100_000


class Names:
    """Rows of accounts by their names, which never change once they are committed.

    About 200 bytes a name; the oldest are forgotten.
    """

    def __init__(self) -> None:
        self._rows: OrderedDict[UserId, AccountId] = OrderedDict()

    def get(self, name: UserId) -> AccountId | None:
        """Return the row of a name, if it is remembered."""
        return self._rows.get(name)

    def remember(self, name: UserId, row: AccountId) -> None:
        """Remember a row that another transaction has committed."""
        self._rows[name] = row
        if len(self._rows) > _NAMES:
            self._rows.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Context:
    """An open transaction.

    Attributes:
        connection: The connection that holds it.
        now_ms: When it began, milliseconds since 1970. On SQLite it was read
            with the write lock held, so that it rises from one to the next.
        names: Accounts that earlier transactions have found.
    """

    connection: AsyncConnection
    now_ms: int
    names: Names
