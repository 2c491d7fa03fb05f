# SPDX-License-Identifier: Apache-2.0
"""What waits, and for how long: queries whose cost grows with what waits alone."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, func, select

from hub.states import SweepState, WithdrawalState
from hub.store.context import Context
from hub.store.schema import event, sweep, withdrawal

_OPEN_WITHDRAWALS: Final = (
    WithdrawalState.AWAITING_APPROVAL,
    WithdrawalState.AWAITING_AUTHORISATION,
    WithdrawalState.REQUESTED,
    WithdrawalState.PLANNED,
)
_OPEN_SWEEPS: Final = (SweepState.PLANNED, SweepState.SIGNED, SweepState.ATTACHED)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Things of one kind that are in one state.

    Attributes:
        state: Which.
        count: How many.
        oldest_s: How long the oldest has existed, in seconds; 0 if there is none.
    """

    state: str
    count: int
    oldest_s: float


class Figures:
    """Counts inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._connection = context.connection
        self._now_ms = context.now_ms

    async def sweeps(self) -> list[Waiting]:
        """Count sweeps that are neither confirmed nor refused."""
        return await self._waiting(
            sweep.c.state, sweep.c.planned_at_ms, states=_OPEN_SWEEPS
        )

    async def withdrawals(self) -> list[Waiting]:
        """Count withdrawals that no signed sweep pays yet."""
        return await self._waiting(
            withdrawal.c.state, withdrawal.c.requested_at_ms, states=_OPEN_WITHDRAWALS
        )

    async def unpublished_events(self) -> int:
        """Count events that no reader has been told of."""
        query = select(func.count()).where(event.c.position.is_(None))
        return int((await self._connection.execute(query)).scalar_one())

    async def _waiting(
        self,
        state: "Column[Any]",
        since_ms: "Column[Any]",
        *,
        states: Sequence[enum.Enum],
    ) -> list[Waiting]:
        names = [one.value for one in states]
        query = (
            select(state, func.count(), func.min(since_ms))
            .where(state.in_(names))
            .group_by(state)
        )
        rows = {row[0]: row for row in await self._connection.execute(query)}
        found = []
        for name in names:
            _, count, oldest_ms = rows.get(name, (name, 0, self._now_ms))
            age_s = max(0, self._now_ms - oldest_ms) / 1000
            found.append(Waiting(name, count, age_s))
        return found
