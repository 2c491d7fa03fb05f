# SPDX-License-Identifier: Apache-2.0
"""How the hub is: for load balancers, for monitors and for the curious."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from hub.api.v1.operations import Call, Operation
from hub.api.v1.resources import Health, Node, Part, Stats, Status
from hub.api_keys import Scope
from hub.errors import HubError
from hub.node_health import NodeHealth
from hub.store import Store

_PROBE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ConditionOperations:
    """What tells how the hub is.

    Attributes:
        store: The database.
        appliance: Says in a word how the appliance is; raises when it is away.
        nodes: Raises when no quorum of nodes is synchronised.
        node_health: How each node does; asks none.
        refused: Requests turned away before a key was known, by reason.
    """

    store: Store
    appliance: Callable[[], Awaitable[str]]
    nodes: Callable[[], Awaitable[object]]
    node_health: Callable[[], Sequence[NodeHealth]]
    refused: Mapping[str, int]

    def operations(self) -> list[Operation]:
        """List them."""
        return [
            Operation(
                name="get-health",
                method="GET",
                path="/v1/health",
                summary="Answer, without a key and without any work.",
                scope=None,
                reply=Health,
                read=self.get_health,
            ),
            Operation(
                name="get-status",
                method="GET",
                path="/v1/status",
                summary="Say how database, appliance and nodes are.",
                scope=Scope.READ,
                reply=Status,
                read=self.get_status,
            ),
            Operation(
                name="get-stats",
                method="GET",
                path="/v1/stats",
                summary="Add up what users may spend.",
                scope=Scope.READ,
                reply=Stats,
                read=self.get_stats,
            ),
        ]

    async def get_health(self, _call: Call) -> Health:
        """Answer."""
        return Health(status="serving")

    async def get_status(self, _call: Call) -> Status:
        """Ask all three at once, each with a deadline."""
        async with self.store.reading() as tx:
            last_position = await tx.published.last_position()
        database, appliance, nodes = await asyncio.gather(
            _part(self._database), _part(self.appliance), _part(self._synced)
        )
        if appliance.ok and appliance.detail != "ready":
            appliance = Part(ok=False, detail=appliance.detail)
        return Status(
            ok=database.ok and appliance.ok and nodes.ok,
            database=database,
            appliance=appliance,
            nodes=nodes,
            each_node=[Node(**asdict(node)) for node in self.node_health()],
            last_position=last_position,
        )

    async def get_stats(self, _call: Call) -> Stats:
        """Add up; ``saltkeep-hub audit`` is what recomputes the books."""
        async with self.store.reading() as tx:
            users_i = await tx.accounts.total_available_i()
        return Stats(
            users_available_i=users_i,
            refused_before_authentication=dict(self.refused),
        )

    async def _database(self) -> str:
        await self.store.ping()
        return "answers"

    async def _synced(self) -> str:
        await self.nodes()
        return "synchronised"


async def _part(probe: Callable[[], Awaitable[str]]) -> Part:
    try:
        async with asyncio.timeout(_PROBE_S):
            return Part(ok=True, detail=await probe())
    except HubError as error:
        return Part(ok=False, detail=error.code)
    except TimeoutError:
        return Part(ok=False, detail="time-out")
