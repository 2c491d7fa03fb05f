# SPDX-License-Identifier: Apache-2.0
"""Who did what by ``/v1`` or the dashboard: a row per effect, in its transaction."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, insert, select

from hub.store.api_schema import api_audit
from hub.store.context import Context

_COLUMNS: Final = ("actor", "request_id", "operation", "subject", "created_at_ms")
NEW_AUDIT_LINE: Final = insert(api_audit).values(
    {name: bindparam(f"audit_{name}") for name in _COLUMNS}
)
"""Takes what ``audit_row`` returns, also as a part of another statement."""


@dataclass(frozen=True, slots=True)
class Done:
    """An effect that is to be written down.

    Attributes:
        actor: The API key's id, ``operator:NAME``, or ``cli``.
        request_id: At most 64 characters.
        operation: Its name.
        subject: What it was about.
    """

    actor: str
    request_id: str
    operation: str
    subject: str


def audit_row(done: Done, *, now_ms: int) -> dict[str, str | int]:
    """Return the values of a line.

    Args:
        done: What was done.
        now_ms: When, milliseconds since 1970.

    Returns:
        The parameters of ``NEW_AUDIT_LINE``.
    """
    return {
        "audit_actor": done.actor,
        "audit_request_id": done.request_id,
        "audit_operation": done.operation,
        "audit_subject": done.subject,
        "audit_created_at_ms": now_ms,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One effect.

    Attributes:
        row: Its row.
        actor: The API key's id, ``operator:NAME``, or ``cli``.
        request_id: The request, as in log and reply.
        operation: Its name in the OpenAPI document.
        subject: What it was about: the path.
        created_at_ms: Milliseconds since 1970.
    """

    row: int
    actor: str
    request_id: str
    operation: str
    subject: str
    created_at_ms: int


class Audit:
    """The audit inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection

    async def add(self, done: Done) -> None:
        """Write down an effect of this transaction.

        Args:
            done: What was done.
        """
        row = audit_row(done, now_ms=self._context.now_ms)
        await self._connection.execute(NEW_AUDIT_LINE, row)

    async def page(
        self, *, before_id: int | None, limit: int, actor: str | None = None
    ) -> list[AuditLine]:
        """Page through the audit, the newest first.

        Args:
            before_id: The last row of the page before; None to begin.
            limit: At most this many.
            actor: Only this one's, if given.

        Returns:
            The next page.
        """
        query = select(api_audit).order_by(api_audit.c.id.desc()).limit(limit)
        if before_id is not None:
            query = query.where(api_audit.c.id < before_id)
        if actor is not None:
            query = query.where(api_audit.c.actor == actor)
        return [
            AuditLine(
                row=row.id,
                actor=row.actor,
                request_id=row.request_id,
                operation=row.operation,
                subject=row.subject,
                created_at_ms=row.created_at_ms,
            )
            for row in await self._connection.execute(query)
        ]
