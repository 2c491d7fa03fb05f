# SPDX-License-Identifier: Apache-2.0
"""The look at every address, spread over time: pages, a cursor, and how many are due.

What milestones did not tell (they were pruned, or came while no hub ran) is found
when the round comes by. Nothing here grows with the number of addresses.
"""

import math
from collections.abc import Sequence
from typing import Final

from hub.model import AddressId, OwnAddress
from hub.store import Transaction

PAGE_ADDRESSES: Final = 500
_MILLISECONDS: Final = 1000


class AddressRounds:
    """Where the round is.

    Args:
        full_look_s: Within this time it must come by every address, in seconds.
        page_addresses: How many are looked at together.
    """

    def __init__(
        self, *, full_look_s: float, page_addresses: int = PAGE_ADDRESSES
    ) -> None:
        self._full_look_s = full_look_s
        self._page_addresses = page_addresses
        self._after_id = AddressId(0)
        self._looked_at_ms: int | None = None

    def due_pages(self, newest_id: AddressId, *, now_ms: int) -> int:
        """Say how many pages are due since the last call.

        Args:
            newest_id: The newest row; rows are numbered without large gaps.
            now_ms: The time in milliseconds since 1970.

        Returns:
            At least one, at most all.
        """
        before_ms = now_ms if self._looked_at_ms is None else self._looked_at_ms
        self._looked_at_ms = now_ms
        return pages_due(
            newest_id,
            elapsed_s=(now_ms - before_ms) / _MILLISECONDS,
            full_look_s=self._full_look_s,
            page_addresses=self._page_addresses,
        )

    async def page(self, tx: Transaction) -> list[OwnAddress]:
        """Read the page whose turn it is; empty at the end of a round."""
        return await tx.addresses.after(self._after_id, limit=self._page_addresses)

    def turn(self, page: Sequence[OwnAddress]) -> None:
        """Go on after a page was looked at; after the last one, from the start."""
        ended = len(page) < self._page_addresses
        self._after_id = AddressId(0) if ended else page[-1].address_id


def pages_due(
    addresses: int, *, elapsed_s: float, full_look_s: float, page_addresses: int
) -> int:
    """Return a tick's share of a round; pure.

    Args:
        addresses: How many there are.
        elapsed_s: Since the last share, in seconds; a clock set back counts as none.
        full_look_s: What a round may take, in seconds.
        page_addresses: Addresses of a page.

    Returns:
        At least one page, at most all of them.
    """
    share = min(max(elapsed_s, 0.0) / full_look_s, 1.0)
    return max(math.ceil(addresses * share / page_addresses), 1)
