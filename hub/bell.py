# SPDX-License-Identifier: Apache-2.0
"""A bell that hints ring, and the early rounds of a flow that hears it.

A ring says "look now" and nothing else: the round asks the nodes and believes what it
always believes. However often the bell rings, a round that is early comes no sooner
than a pause after the one before, and the rounds that come by the clock come all the
same.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


class Bell:
    """Remembers that it was rung, not how often."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    @property
    def is_rung(self) -> bool:
        """Whether a ring waits to be heard."""
        return self._rung.is_set()

    def ring(self) -> None:
        """Ask for a round."""
        self._rung.set()

    def hush(self) -> None:
        """Forget earlier rings: a round that begins now answers them."""
        self._rung.clear()

    async def heard(self) -> None:
        """Wait until it was rung."""
        await self._rung.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyRounds:
    """What a flow does when its bell rings.

    Attributes:
        one_round: One early round; lets no failure out.
        least_pause_s: Between the end of a round and an early one, in seconds; or as
            long as that round took, if it took longer: half of the time at most is
            spent on hints.
        bell: Rung by hints.
    """

    one_round: Callable[[], Awaitable[None]]
    least_pause_s: float
    bell: Bell = field(default_factory=Bell)

    async def run_until(
        self, at_s: float, *, stop: asyncio.Future[None], lasted_s: float
    ) -> None:
        """Run early rounds until it is time for the next one by the clock.

        Args:
            at_s: When that is, by the loop's clock, in seconds.
            stop: Done when the flow is not ours any more.
            lasted_s: How long the round before took, in seconds.
        """
        loop = asyncio.get_running_loop()
        while not stop.done() and loop.time() < at_s:
            pause_s = min(max(self.least_pause_s, lasted_s), at_s - loop.time())
            await asyncio.wait([stop], timeout=pause_s)
            if not await self._heard_before(at_s, stop):
                return
            began_s = loop.time()
            self.bell.hush()
            await self.one_round()
            lasted_s = loop.time() - began_s

    async def _heard_before(self, at_s: float, stop: asyncio.Future[None]) -> bool:
        left_s = at_s - asyncio.get_running_loop().time()
        hearing = asyncio.ensure_future(self.bell.heard())
        try:
            await asyncio.wait(
                [stop, hearing],
                timeout=max(left_s, 0.0),
                return_when=asyncio.FIRST_COMPLETED,
            )
            return hearing.done() and not stop.done() and left_s > 0
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
