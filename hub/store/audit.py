# SPDX-License-Identifier: Apache-2.0
"""Who did what by ``/v1``: one row per effect, in the effect's own transaction."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import insert, select

from hub.store.api_schema import api_audit
from hub.store.context import Context

_NEW: Final = insert(api_audit)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One effect.

    Attributes:
        row: Its row.
        actor: The API key's id, or ``cli``.
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

    async def add(
        self, *, actor: str, request_id: str, operation: str, subject: str
    ) -> None:
        """Write down an effect of this transaction.

        Args:
            actor: The API key's id, or ``cli``.
            request_id: At most 64 characters.
            operation: Its name.
            subject: What it was about.
        """
        await self._connection.execute(
            _NEW,
            {
                "actor": actor,
                "request_id": request_id,
                "operation": operation,
                "subject": subject,
                "created_at_ms": self._context.now_ms,
            },
        )

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
