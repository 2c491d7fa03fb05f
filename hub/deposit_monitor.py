# SPDX-License-Identifier: Apache-2.0
"""The deposit monitor: looks at the addresses that milestones name.

With HORNET nodes a round costs what the changes cost, however many addresses there
are; that each address has its turn is a flow of its own (``address_rounds``). IRI nodes
do not tell what changed: with them every round is a look at every address.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hub.address_rounds import PAGE_ADDRESSES
from hub.deposits import AddressLooks
from hub.errors import MilestoneLostError, NodeUnavailableError
from hub.milestones import MilestoneFollower, batched
from hub.model import AddressId, OwnAddress
from hub.nodes import Nodes
from hub.store import Store

_log = logging.getLogger(__name__)

_PATIENCE_LOOKS: Final = 3
"""Looks that may fail one after another before the nodes must be away."""


class DepositMonitor:
    """Follows milestones; after a start or a gap it looks at every address once.

    Args:
        store: The database.
        nodes: The quorum.
        looks: Compares and books.
    """

    def __init__(self, store: Store, nodes: Nodes, looks: AddressLooks) -> None:
        self._store = store
        self._nodes = nodes
        self._looks = looks
        self._milestones = MilestoneFollower(nodes)

    async def tick(self) -> int:
        """Book what has newly arrived.

        Returns:
            How many deposits were booked.

        Raises:
            NodeUnavailableError: If nodes failed; what was booked stays booked.
        """
        return await self._round(_Tick(judge=True))

    async def early(self) -> int:
        """Book what has newly arrived, before the time; else as ``tick``.

        Value without a history is not counted as seen once more: a hint must not
        shorten the time that nodes have to find it.

        Returns:
            How many deposits were booked.
        """
        return await self._round(_Tick(judge=False))

    async def _round(self, tick: "_Tick") -> int:
        reached = (await self._nodes.require_synced()).index
        if self._milestones.follow(reached):
            try:
                await self._look_where_named(reached, tick)
            except MilestoneLostError as error:
                _log.warning("%s: looking at every address", error)
                await self._look_everywhere(reached, tick)
        else:
            await self._look_everywhere(reached, tick)
        if tick.failure is not None:
            raise tick.failure
        return tick.booked

    async def _look_where_named(self, reached: int, tick: "_Tick") -> None:
        """Look at addresses that new milestones touched or that are not settled.

        One look an address and tick: it counts as one sight of odd value, and it is
        as new as ``reached``, whichever milestone named the address.
        """
        async for touched in self._milestones.changes(reached):
            for texts in batched(touched, PAGE_ADDRESSES):
                async with self._store.reading() as tx:
                    ours = await tx.addresses.find_many(texts)
                await self._look_once(ours, tick, since=reached)
        for ids in self._looks.unsettled():
            async with self._store.reading() as tx:
                ours = await tx.addresses.with_ids(ids)
            await self._look_once(ours, tick, since=reached)

    async def _look_everywhere(self, reached: int, tick: "_Tick") -> None:
        last_id = AddressId(0)
        while True:
            async with self._store.reading() as tx:
                page = await tx.addresses.after(last_id, limit=PAGE_ADDRESSES)
            if not page:
                break
            last_id = page[-1].address_id
            rest = [own for own in page if own.address_id not in tick.looked_at]
            await self._try(rest, tick)
        self._milestones.start(reached)

    async def _look_once(
        self, ours: Sequence[OwnAddress], tick: "_Tick", *, since: int
    ) -> None:
        new = [own for own in ours if own.address_id not in tick.looked_at]
        tick.looked_at.update(own.address_id for own in new)
        await self._try(new, tick, since=since)

    async def _try(
        self, ours: Sequence[OwnAddress], tick: "_Tick", *, since: int = 0
    ) -> None:
        """Look at some addresses; those that can not be looked at come again.

        Raises:
            NodeUnavailableError: If several looks in a row failed: nodes are away.
        """
        if not ours:
            return
        try:
            tick.booked += await self._looks.look(ours, since=since, judge=tick.judge)
        except NodeUnavailableError as error:
            tick.failure, tick.failures = error, tick.failures + 1
            if tick.failures >= _PATIENCE_LOOKS:
                raise
        else:
            tick.failures = 0


@dataclass(slots=True)
class _Tick:
    """How one tick gets on: what was booked, and what could not be looked at."""

    judge: bool
    booked: int = 0
    failures: int = 0
    failure: NodeUnavailableError | None = None
    looked_at: set[AddressId] = field(default_factory=set)
