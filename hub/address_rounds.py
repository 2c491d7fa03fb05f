# SPDX-License-Identifier: Apache-2.0
"""Every address in its turn: a flow of its own beside the deposit monitor.

What milestones did not tell (they were pruned, or came while no hub ran) is found
when the round comes by. The pages are spread evenly over ``full_look_s``; what an
outage held up is made up for a few pages at a time. Only a place is kept, nothing that
grows with the number of addresses. IRI nodes tell no changes: with them the monitor
looks at everything itself, and there are no rounds.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final

from hub.clock import Clock
from hub.deposits import AddressLooks
from hub.errors import NodeUnavailableError
from hub.model import AddressId, OwnAddress
from hub.nodes import Nodes
from hub.store import Store

_log = logging.getLogger(__name__)

STEP_S: Final = 1.0
"""How often the flow looks whether a page is due."""
PAGE_ADDRESSES: Final = 500
PAGES_TOGETHER: Final = 4
"""Pages looked at at the same time, at most."""
PAGES_AT_ONCE: Final = 8
"""Pages of one step at most: after an outage the rest waits for the next steps."""
_PATIENCE_LOOKS: Final = 3
"""Looks that may fail one after another before the flow pauses."""
_MILLISECONDS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSettings:
    """How the look at all addresses is spread.

    Attributes:
        full_look_s: Within this time it must come by every address, in seconds.
        interval_s: Between two looks at what is not settled, in seconds; so often
            there is at least one page, and so long is the pause after a failure.
        page_addresses: How many are looked at together.
    """

    full_look_s: float
    interval_s: float
    page_addresses: int = PAGE_ADDRESSES


class AddressRounds:
    """Looks at every address within the time allowed, and then again.

    Args:
        store: The database.
        nodes: The quorum.
        looks: Compares and books; of this flow alone.
        settings: How the looks are spread.
        clock: The time.
    """

    def __init__(
        self,
        store: Store,
        nodes: Nodes,
        looks: AddressLooks,
        *,
        settings: RoundSettings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._looks = looks
        self._settings = settings
        self._clock = clock
        self._after_id = AddressId(0)
        self._stepped_at_ms = clock()
        self._checked_at_ms = clock()
        self._failed_at_ms = 0
        self._due_pages = 0.0
        self._failures = 0

    async def tick(self) -> int:
        """Look at the pages that are due by now.

        Returns:
            How many deposits were booked. If nodes fail the round goes on after a
            pause, where it stopped.
        """
        now_ms = self._clock()
        elapsed_s = max(now_ms - self._stepped_at_ms, 0) / _MILLISECONDS
        self._stepped_at_ms = now_ms
        if not self._nodes.tell_diffs:
            return 0
        interval_ms = self._settings.interval_s * _MILLISECONDS
        check = abs(now_ms - self._checked_at_ms) >= interval_ms
        await self._note_due(elapsed_s, at_least=1 if check else 0)
        paused = abs(now_ms - self._failed_at_ms) < interval_ms
        if self._due_pages < 1 or paused:
            return 0
        if check:
            self._checked_at_ms = now_ms
        try:
            await self._nodes.require_synced()
            return await self._step(check_unsettled=check)
        except NodeUnavailableError as error:
            self._failed_at_ms = now_ms
            pause_s = self._settings.interval_s
            _log.warning("address rounds: %s; next try in %g s", error, pause_s)
            return 0

    async def _note_due(self, elapsed_s: float, *, at_least: int) -> None:
        async with self._store.looking() as tx:
            addresses = await tx.addresses.newest_id()
        round_pages = max(math.ceil(addresses / self._settings.page_addresses), 1)
        due = self._due_pages + pages_due(
            addresses,
            elapsed_s=elapsed_s,
            full_look_s=self._settings.full_look_s,
            page_addresses=self._settings.page_addresses,
        )
        self._due_pages = min(max(due, at_least), round_pages)

    async def _step(self, *, check_unsettled: bool) -> int:
        booked = 0
        if check_unsettled:
            for ids in self._looks.unsettled():
                async with self._store.reading() as tx:
                    ours = await tx.addresses.with_ids(ids)
                booked += await self._look(ours, judge=True)
        for _ in range(PAGES_AT_ONCE // PAGES_TOGETHER):
            pages = await self._next_pages()
            booked += sum(
                await _all_of([self._look(page, judge=False) for page in pages])
            )
        return booked

    async def _next_pages(self) -> list[list[OwnAddress]]:
        """Read pages that are due, not beyond the end of a round."""
        pages: list[list[OwnAddress]] = []
        while self._due_pages >= 1 and len(pages) < PAGES_TOGETHER:
            pages.append(await self._next_page())
            self._due_pages -= 1
            if not self._after_id:
                break
        return pages

    async def _next_page(self) -> list[OwnAddress]:
        """Read the page whose turn it is; after the last one begin anew."""
        limit = self._settings.page_addresses
        async with self._store.reading() as tx:
            page = await tx.addresses.after(self._after_id, limit=limit)
        self._after_id = page[-1].address_id if len(page) == limit else AddressId(0)
        return page

    async def _look(self, ours: Sequence[OwnAddress], *, judge: bool) -> int:
        """Look at some addresses; those that can not be looked at come again.

        A page may hold what was looked at just now: only the looks at what is not
        settled judge, one an interval.

        Returns:
            How many deposits were booked.

        Raises:
            NodeUnavailableError: If several looks in a row failed.
        """
        try:
            booked = await self._looks.look(ours, judge=judge)
        except NodeUnavailableError as error:
            self._failures += 1
            if self._failures >= _PATIENCE_LOOKS:
                raise
            _log.warning("address rounds: %d not looked at: %s", len(ours), error)
            return 0
        self._failures = 0
        return booked


async def _all_of(looks: Sequence[Awaitable[int]]) -> list[int]:
    """Await all, then raise what one of them raised, if any."""
    results = await asyncio.gather(*looks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if isinstance(result, int)]


def pages_due(
    addresses: int, *, elapsed_s: float, full_look_s: float, page_addresses: int
) -> float:
    """Return the share of a round that a time asks for; pure.

    Args:
        addresses: How many there are.
        elapsed_s: Since the last share, in seconds.
        full_look_s: What a round may take, in seconds.
        page_addresses: Addresses of a page.

    Returns:
        Pages, a fraction among them; at most all of them.
    """
    share = min(max(elapsed_s, 0.0) / full_look_s, 1.0)
    return addresses * share / page_addresses
