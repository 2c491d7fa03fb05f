# SPDX-License-Identifier: Apache-2.0
"""How nodes and appliances are, as this process saw them last: for explanations.

A page must not wait until a node's deadline has passed, so that a loop looks and
readers are given what it has seen.
"""

import asyncio
from typing import Final

from hub.appliances import Appliances
from hub.clock import Clock
from hub.errors import ApplianceUnavailableError, NodeUnavailableError
from hub.explanation import ApplianceSeen, NodesSeen
from hub.nodes import Nodes
from hub.signer import StatusReport

LOOK_S: Final = 5.0
"""Pause between two looks, in seconds."""


class Surroundings:
    """Looks at nodes and appliances, and remembers since when they are as they are.

    Args:
        nodes: The quorum.
        appliances: All of them.
        clock: The time.
    """

    def __init__(self, nodes: Nodes, appliances: Appliances, *, clock: Clock) -> None:
        self._nodes = nodes
        self._appliances = appliances
        self._clock = clock
        self._problem: str | None = None
        self._since_ms: int | None = None
        self._seen: dict[str, ApplianceSeen] = {}

    async def tick(self) -> None:
        """Look once, at all of them at once."""
        places = self._appliances.places
        await asyncio.gather(self._look_at_nodes(), *map(self._ask, places))

    @property
    def nodes(self) -> NodesSeen | None:
        """The nodes; None: nobody has looked yet."""
        if self._problem is None:
            return None
        return NodesSeen(
            problem=self._problem,
            since_ms=self._since_ms,
            each=tuple(self._nodes.health()),
        )

    @property
    def appliances(self) -> tuple[ApplianceSeen, ...]:
        """Each appliance that was asked, in the order configured."""
        places = self._appliances.places
        return tuple(self._seen[place] for place in places if place in self._seen)

    async def _look_at_nodes(self) -> None:
        try:
            await self._nodes.require_synced()
        except NodeUnavailableError as error:
            if not self._problem:
                self._since_ms = self._clock()
            self._problem = str(error) or error.code
        else:
            self._problem, self._since_ms = "", None

    async def _ask(self, place: str) -> None:
        try:
            seen = _seen(place, await self._appliances.status_of(place))
        except ApplianceUnavailableError as error:
            seen = ApplianceSeen(place=place, state="away", reason=str(error))
        before = self._seen.get(place)
        same = before is not None and before.state == seen.state
        self._seen[place] = ApplianceSeen(
            place=place,
            state=seen.state,
            reason=seen.reason,
            latch_id=seen.latch_id,
            since_ms=before.since_ms if before and same else self._clock(),
        )


def _seen(place: str, report: StatusReport) -> ApplianceSeen:
    return ApplianceSeen(
        place=place,
        state=report.state,
        reason=report.reason,
        latch_id=report.latch_id,
    )
