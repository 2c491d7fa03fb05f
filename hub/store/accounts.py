# SPDX-License-Identifier: Apache-2.0
"""Accounts: users, the hub's owner and the fee account."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Row, Select, bindparam, func, insert, select
from sqlalchemy.exc import IntegrityError

from hub.errors import UserExistsError, UserUnknownError
from hub.model import (
    OWNER_IDENTIFIER,
    Account,
    AccountId,
    AccountKind,
    UserId,
)
from hub.store.context import Context
from hub.store.schema import account

_NAMES_PER_QUERY: Final = 1000
"""Below every database's limit of parameters."""


# Built once: to build a statement costs as much as to run it.
_BY_NAME: Final = select(account).where(account.c.identifier == bindparam("name"))
_LOCKED_BY_NAME: Final = _BY_NAME.with_for_update()
_BY_ROW: Final = select(account).where(account.c.id == bindparam("row"))
_IDS: Final = select(account.c.identifier, account.c.id).where(
    account.c.identifier.in_(bindparam("names", expanding=True))
)


class Accounts:
    """Queries about accounts inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection
        self._created = False

    async def create(self, identifier: UserId) -> AccountId:
        """Open an empty user account.

        Args:
            identifier: Its name, 1-64 characters.

        Returns:
            Its row.

        Raises:
            UserExistsError: If the name is taken, by whatever kind of account.
        """
        statement = (
            insert(account)
            .returning(account.c.id)
            .values(
                identifier=identifier,
                kind=AccountKind.USER.value,
                available_i=0,
                unswept_i=0,
                pending_i=0,
                quarantined_i=0,
                created_at_ms=self._context.now_ms,
            )
        )
        self._created = True
        try:
            result = await self._connection.execute(statement)
        except IntegrityError as error:
            message = f"the identifier {identifier!r} is taken"
            raise UserExistsError(message) from error
        return AccountId(result.scalar_one())

    async def by_identifier(self, identifier: UserId, *, lock: bool = False) -> Account:
        """Find an account by its name.

        Args:
            identifier: Its name.
            lock: Whether to hold its row until the transaction ends.

        Returns:
            The account.
        """
        query = _LOCKED_BY_NAME if lock else _BY_NAME
        return await self._one(query, {"name": identifier})

    async def by_id(self, account_id: AccountId) -> Account:
        """Find an account by its row.

        Args:
            account_id: Its row.

        Returns:
            The account.
        """
        return await self._one(_BY_ROW, {"row": account_id})

    async def owner(self) -> Account:
        """Find the hub owner's account.

        Returns:
            The account that hub addresses belong to.
        """
        return await self.by_identifier(OWNER_IDENTIFIER)

    async def ids_of(self, identifiers: Collection[UserId]) -> dict[UserId, AccountId]:
        """Look up many names at once.

        Args:
            identifiers: Any number of names.

        Returns:
            The rows of those that exist.
        """
        names = self._context.names
        known = {name: names.get(name) for name in identifiers}
        found = {name: row for name, row in known.items() if row is not None}
        missing = sorted(known.keys() - found.keys())
        for start in range(0, len(missing), _NAMES_PER_QUERY):
            some = missing[start : start + _NAMES_PER_QUERY]
            for text, row in await self._connection.execute(_IDS, {"names": some}):
                name = UserId(text)
                found[name] = AccountId(row)
                if not self._created:  # our own may yet be rolled back
                    names.remember(name, found[name])
        return found

    async def total_available_i(self) -> int:
        """Add up what users may spend, in iota; owner and fees left out.

        Returns:
            The sum over user accounts.
        """
        query = select(func.coalesce(func.sum(account.c.available_i), 0)).where(
            account.c.kind == AccountKind.USER.value
        )
        return int((await self._connection.execute(query)).scalar_one())

    async def _one(self, query: Select[Any], which: dict[str, Any]) -> Account:
        row = (await self._connection.execute(query, which)).one_or_none()
        if row is None:
            message = "no such account"
            raise UserUnknownError(message)
        return account_of(row)


def account_of(row: Row[Any]) -> Account:
    """Read an account from its row."""
    return Account(
        account_id=AccountId(row.id),
        identifier=UserId(row.identifier),
        kind=AccountKind(row.kind),
        available_i=row.available_i,
        unswept_i=row.unswept_i,
        pending_i=row.pending_i,
        quarantined_i=row.quarantined_i,
        created_at_ms=row.created_at_ms,
    )
