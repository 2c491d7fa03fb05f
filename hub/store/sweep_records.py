# SPDX-License-Identifier: Apache-2.0
"""Sweeps as they are read: rows, their inputs and their withdrawals put together."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, Select, select

from hub.errors import SweepUnknownError
from hub.model import (
    BundleHash,
    Hindrance,
    Sweep,
    SweepId,
    SweepInput,
    SweepPlan,
    SweepState,
    WithdrawalId,
    WithdrawalUuid,
)
from hub.store.context import Context
from hub.store.schema import sweep, sweep_input, withdrawal
from hub.store.withdrawals import Withdrawals


class SweepRecords:
    """Queries about sweeps inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._connection = context.connection
        self._withdrawals = Withdrawals(context)

    async def by_id(self, sweep_id: SweepId, *, lock: bool = False) -> Sweep:
        """Find a sweep by its row.

        Args:
            sweep_id: Its row.
            lock: Whether to hold its row until the transaction ends.

        Returns:
            The sweep.
        """
        query = select(sweep).where(sweep.c.id == sweep_id)
        return await self._one(query.with_for_update() if lock else query)

    async def by_bundle_hash(self, bundle_hash: BundleHash) -> Sweep:
        """Find a sweep by its bundle; ``SweepUnknownError`` when there is none.

        Args:
            bundle_hash: 81 trytes.

        Returns:
            The sweep, in any state.
        """
        return await self._one(select(sweep).where(sweep.c.bundle_hash == bundle_hash))

    async def is_known(self, bundle_hash: BundleHash) -> bool:
        """Return whether a sweep of ours has this bundle, in any state."""
        query = select(sweep.c.id).where(sweep.c.bundle_hash == bundle_hash)
        return (await self._connection.execute(query)).first() is not None

    async def by_withdrawal(self, uuid: WithdrawalUuid) -> Sweep:
        """Find the sweep a withdrawal is in; ``SweepUnknownError`` when in none.

        Args:
            uuid: The withdrawal's public name.

        Returns:
            The sweep, in any state.
        """
        query = select(sweep).join(withdrawal, withdrawal.c.sweep_id == sweep.c.id)
        return await self._one(query.where(withdrawal.c.uuid == uuid))

    async def in_state(self, *states: SweepState) -> list[Sweep]:
        """List sweeps, the oldest first.

        Args:
            states: In one of these.

        Returns:
            The sweeps.
        """
        wanted = [state.value for state in states]
        query = select(sweep).where(sweep.c.state.in_(wanted)).order_by(sweep.c.id)
        return await self._all(query)

    async def signed_since(self, newer_than_ms: int) -> list[Sweep]:
        """List sweeps by the time they were signed, the oldest first.

        Args:
            newer_than_ms: At or after this time.

        Returns:
            The sweeps.
        """
        query = select(sweep).where(sweep.c.signed_at_ms >= newer_than_ms)
        return await self._all(query.order_by(sweep.c.signed_at_ms, sweep.c.id))

    async def page(
        self, *, before_id: int | None, limit: int, state: SweepState | None = None
    ) -> list[Sweep]:
        """Page through sweeps, the newest first.

        Args:
            before_id: The last row of the page before; None to begin.
            limit: At most this many.
            state: Only those in this state, if given.

        Returns:
            The next page.
        """
        query = select(sweep).order_by(sweep.c.id.desc()).limit(limit)
        if before_id is not None:
            query = query.where(sweep.c.id < before_id)
        if state is not None:
            query = query.where(sweep.c.state == state.value)
        return await self._all(query)

    async def _one(self, query: Select[Any]) -> Sweep:
        found = await self._all(query)
        if not found:
            message = "no such sweep"
            raise SweepUnknownError(message)
        return found[0]

    async def _all(self, query: Select[Any]) -> list[Sweep]:
        rows = (await self._connection.execute(query)).all()
        sweep_ids = [SweepId(row.id) for row in rows]
        inputs = await self._inputs_of(sweep_ids)
        paid: defaultdict[SweepId, list[WithdrawalId]] = defaultdict(list)
        for one in await self._withdrawals.of_sweeps(sweep_ids):
            if one.sweep_id is not None:
                paid[one.sweep_id].append(one.withdrawal_id)
        return [_sweep(row, inputs[row.id], paid[row.id]) for row in rows]

    async def _inputs_of(
        self, sweep_ids: Collection[SweepId]
    ) -> defaultdict[SweepId, list[SweepInput]]:
        query = (
            select(sweep_input)
            .where(sweep_input.c.sweep_id.in_(sweep_ids))
            .order_by(sweep_input.c.sweep_id, sweep_input.c.position)
        )
        inputs: defaultdict[SweepId, list[SweepInput]] = defaultdict(list)
        for row in await self._connection.execute(query):
            spent = SweepInput(address_id=row.address_id, amount_i=row.amount_i)
            inputs[row.sweep_id].append(spent)
        return inputs


def _sweep(
    row: Row[Any], inputs: Sequence[SweepInput], paid: Sequence[WithdrawalId]
) -> Sweep:
    plan = SweepPlan(
        bundle_hash=BundleHash(row.bundle_hash),
        essence=row.essence,
        inputs=tuple(inputs),
        withdrawal_ids=tuple(paid),
        remainder_address_id=row.remainder_address_id,
        remainder_i=row.remainder_i,
    )
    return Sweep(
        sweep_id=SweepId(row.id),
        plan=plan,
        state=SweepState(row.state),
        signed_trytes=tuple(json.loads(row.signed_trytes)),
        planned_at_ms=row.planned_at_ms,
        signed_at_ms=row.signed_at_ms,
        confirmed_at_ms=row.confirmed_at_ms,
        refusal_code=row.refusal_code,
        journal_sequence=row.journal_sequence,
        hindrance=_hindrance(row),
        promotions=row.promotions,
        promoted_at_ms=row.promoted_at_ms,
    )


def _hindrance(row: Row[Any]) -> Hindrance | None:
    if not row.hindrance_code:
        return None
    return Hindrance(
        code=row.hindrance_code,
        message=row.hindrance_message,
        since_ms=row.hindrance_since_ms,
        last_ms=row.hindrance_last_ms,
    )
