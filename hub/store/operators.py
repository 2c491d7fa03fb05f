# SPDX-License-Identifier: Apache-2.0
"""Operators of the dashboard and their sessions, as stored."""

from typing import Any, Final

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from hub.errors import OperatorExistsError, OperatorUnknownError
from hub.operators import Operator, OperatorRow, Role, Session, SessionDigest
from hub.store.context import Context
from hub.store.dashboard_schema import operator, operator_session

_WITH_OPERATOR: Final = select(
    operator_session,
    operator.c.id,
    operator.c.name,
    operator.c.role,
    operator.c.password_hash,
    operator.c.created_at_ms.label("operator_created_at_ms"),
    operator.c.disabled_at_ms,
).join_from(operator_session, operator)


class Operators:
    """Queries about operators inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection

    async def add(self, name: str, *, role: Role, password_hash: str) -> None:
        """Record an operator.

        Args:
            name: As ``parse_name`` returned it.
            role: What it may do.
            password_hash: As ``Passwords.hash`` returned it.

        Raises:
            OperatorExistsError: If the name is taken.
        """
        statement = insert(operator).values(
            name=name,
            role=role.value,
            password_hash=password_hash,
            created_at_ms=self._context.now_ms,
        )
        try:
            await self._connection.execute(statement)
        except IntegrityError as error:
            message = f"there is an operator {name} already"
            raise OperatorExistsError(message) from error

    async def find(self, name: str) -> Operator | None:
        """Find an operator by its name, disabled or not.

        Args:
            name: Any text.

        Returns:
            The operator; None when there is none.
        """
        query = select(operator).where(operator.c.name == name)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _operator(row, row.created_at_ms)

    async def by_name(self, name: str) -> Operator:
        """Find an operator that must exist.

        Args:
            name: Its name.

        Returns:
            The operator.

        Raises:
            OperatorUnknownError: If there is none.
        """
        found = await self.find(name)
        if found is None:
            raise OperatorUnknownError("there is no operator of this name")
        return found

    async def all(self) -> list[Operator]:
        """List the operators by name; there are few."""
        query = select(operator).order_by(operator.c.name)
        rows = await self._connection.execute(query)
        return [_operator(row, row.created_at_ms) for row in rows]

    async def set_password(self, name: str, password_hash: str) -> None:
        """Give an operator another password; its sessions end.

        Args:
            name: Of an operator that exists.
            password_hash: As ``Passwords.hash`` returned it.
        """
        await self._set(name, password_hash=password_hash)

    async def set_role(self, name: str, role: Role) -> None:
        """Give an operator another role; its sessions end.

        Args:
            name: Of an operator that exists.
            role: What it may do.
        """
        await self._set(name, role=role.value)

    async def disable(self, name: str) -> None:
        """Let an operator in no more; its sessions end.

        Args:
            name: Of an operator that exists.
        """
        await self._set(name, disabled_at_ms=self._context.now_ms)

    async def enable(self, name: str) -> None:
        """Let an operator log in again.

        Args:
            name: Of an operator that exists.
        """
        await self._set(name, disabled_at_ms=None)

    async def _set(self, name: str, **columns: str | int | None) -> None:
        found = await self.by_name(name)
        await self._connection.execute(
            update(operator).where(operator.c.id == found.row).values(**columns)
        )
        await self.end_sessions_of(found.row)

    async def open_session(
        self, row: OperatorRow, digest: SessionDigest, *, peer: str
    ) -> None:
        """Record a session that was just opened.

        Args:
            row: Whose it is.
            digest: Of its token.
            peer: The address it was opened from, at most 64 characters.
        """
        now_ms = self._context.now_ms
        await self._connection.execute(
            insert(operator_session).values(
                digest=digest,
                operator_id=row,
                peer=peer,
                created_at_ms=now_ms,
                seen_at_ms=now_ms,
            )
        )

    async def session(self, digest: SessionDigest) -> Session | None:
        """Find a session, over or not.

        Args:
            digest: Of its token.

        Returns:
            The session with its operator; None when there is none.
        """
        query = _WITH_OPERATOR.where(operator_session.c.digest == digest)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _session(row)

    async def sessions(self, *, limit: int) -> list[Session]:
        """List sessions, the one used last first.

        Args:
            limit: At most this many.

        Returns:
            The sessions, those that are over and not yet forgotten among them.
        """
        query = _WITH_OPERATOR.order_by(operator_session.c.seen_at_ms.desc())
        rows = await self._connection.execute(query.limit(limit))
        return [_session(row) for row in rows]

    async def touch(self, digest: SessionDigest) -> None:
        """Record that a session was used.

        Args:
            digest: Of its token.
        """
        await self._connection.execute(
            update(operator_session)
            .where(operator_session.c.digest == digest)
            .values(seen_at_ms=self._context.now_ms)
        )

    async def end_session(self, digest: SessionDigest) -> None:
        """Forget a session; repeatable.

        Args:
            digest: Of its token.
        """
        await self._connection.execute(
            delete(operator_session).where(operator_session.c.digest == digest)
        )

    async def end_sessions_of(self, row: OperatorRow) -> None:
        """Forget every session of an operator.

        Args:
            row: Whose.
        """
        await self._connection.execute(
            delete(operator_session).where(operator_session.c.operator_id == row)
        )

    async def forget_sessions(self, *, unseen_since_ms: int) -> None:
        """Forget sessions that nobody has used for long.

        Args:
            unseen_since_ms: Those last used before this time.
        """
        await self._connection.execute(
            delete(operator_session).where(
                operator_session.c.seen_at_ms < unseen_since_ms
            )
        )


def _operator(row: Row[Any], created_at_ms: int) -> Operator:
    return Operator(
        row=OperatorRow(row.id),
        name=row.name,
        role=Role(row.role),
        password_hash=row.password_hash,
        created_at_ms=created_at_ms,
        disabled_at_ms=row.disabled_at_ms,
    )


def _session(row: Row[Any]) -> Session:
    return Session(
        digest=SessionDigest(row.digest),
        operator=_operator(row, row.operator_created_at_ms),
        peer=row.peer,
        created_at_ms=row.created_at_ms,
        seen_at_ms=row.seen_at_ms,
    )
