# SPDX-License-Identifier: Apache-2.0
"""Milestones followed: which addresses each one touched, as a quorum tells it.

A diff is a hint where to look, never a deposit. The last milestone handled is kept
in memory alone: after a start, or a gap, every address is looked at once.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, TypeVar

from hub.errors import MilestoneLostError
from hub.model import Address
from hub.nodes import Nodes

MOST_BEHIND: Final = 1000
"""Milestones asked for one by one; beyond that a look at every address is cheaper."""
_MOST_AHEAD: Final = 10
"""A quorum that flickers names an older milestone; beyond that the network is new."""
_Item = TypeVar("_Item")


class MilestoneFollower:
    """Remembers the last milestone whose changes were looked into.

    Args:
        nodes: The quorum.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._handled: int | None = None

    def follow(self, reached: int) -> bool:
        """Say whether the milestones up to one can be followed.

        Args:
            reached: The newest milestone that a quorum has.

        Returns:
            False if every address must be looked at: nodes do not tell changes,
            none was handled yet, or the gap is too long.
        """
        if not self._nodes.tell_diffs or self._handled is None:
            return False
        return -_MOST_AHEAD <= reached - self._handled <= MOST_BEHIND

    def start(self, reached: int) -> None:
        """Follow from here on: every address was looked at, at this or later."""
        self._handled = reached

    async def changes(self, reached: int) -> AsyncIterator[Sequence[Address]]:
        """Give the addresses touched by each new milestone, the oldest first.

        One is handled once the caller asks for the next: what fails in between is
        given again.

        Args:
            reached: The newest milestone that a quorum has.

        Yields:
            The addresses of one milestone.

        Raises:
            MilestoneLostError: If no quorum tells what one changed.
            NodeUnavailableError: If too few nodes answer; ask again.
        """
        while self._handled is not None and self._handled < reached:
            index = self._handled + 1
            diff = await self._nodes.ledger_diff(index)
            if diff is None:
                raise MilestoneLostError(f"no quorum tells what milestone {index} did")
            yield sorted(diff)
            self._handled = index


def batched(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """Cut a sequence into pieces of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
