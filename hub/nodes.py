# SPDX-License-Identifier: Apache-2.0
"""Nodes are not trusted: what a quorum of them says is what the hub believes.

``Nodes`` asks all of them at once and keeps what at least ``quorum`` agree on,
address by address and tail by tail; where two answers both have a quorum, nothing
is agreed. A node that errs, lags or lies is outvoted; too few answers are a fault.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp

from hub.errors import NodeUnavailableError
from hub.model import Address, BundleHash, TransactionHash
from hub.node import Dialect, FoundTransaction, Milestone, NodeClient, TailHealth

_log = logging.getLogger(__name__)

FRESH_MILESTONE_S: Final = 300
"""Oldest milestone the hub acts on. Source: Hub 1.4.4, user address monitor."""
_MILLISECONDS: Final = 1000
_Value = TypeVar("_Value", bound=Hashable)
_Item = TypeVar("_Item")


class Nodes:
    """All configured nodes and the quorum they must reach.

    Args:
        addresses: URL and dialect of each.
        quorum: How many must agree.
        timeout_s: Deadline of one request.
        clock_ms: The time in milliseconds since 1970.
    """

    def __init__(
        self,
        addresses: Sequence[tuple[str, Dialect]],
        *,
        quorum: int,
        timeout_s: float,
        clock_ms: Callable[[], int],
    ) -> None:
        self._addresses = addresses
        self._quorum = quorum
        self._timeout_s = timeout_s
        self._clock_ms = clock_ms
        self._session: aiohttp.ClientSession | None = None
        self._turn = 0
        self.clients: list[NodeClient] = []

    async def __aenter__(self) -> Self:
        """Open the connections."""
        self._session = aiohttp.ClientSession()
        self.clients = [
            NodeClient(
                url, dialect=dialect, session=self._session, timeout_s=self._timeout_s
            )
            for url, dialect in self._addresses
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def require_synced(self) -> Milestone:
        """Return the newest milestone a quorum of nodes has reached.

        Returns:
            Its index and time.

        Raises:
            NodeUnavailableError: If too few are solid, or it is stale.
        """
        found = await self._ask_all(lambda node: node.solid_milestone())
        # Each reached by a quorum; a liar's number or time is outvoted alone.
        milestone = Milestone(
            sorted((m.index for m in found), reverse=True)[self._quorum - 1],
            sorted((m.timestamp_s for m in found), reverse=True)[self._quorum - 1],
        )
        age_s = self._clock_ms() // _MILLISECONDS - milestone.timestamp_s
        if age_s > FRESH_MILESTONE_S:
            raise NodeUnavailableError(
                f"milestone {milestone.index} is {age_s} s old: the network stands"
            )
        return milestone

    async def balances(self, addresses: Sequence[Address]) -> dict[Address, int]:
        """Return the balances a quorum agrees on; others are left out."""
        answers = await self._ask_all(lambda node: node.balances(addresses))
        return self._agreed(addresses, answers)

    async def were_spent(self, addresses: Sequence[Address]) -> list[bool]:
        """Return for each address whether any node has seen it spent.

        A node's "no" is no proof (it may have forgotten), its "yes" is enough.
        """
        answers = await self._ask_all(lambda node: node.were_spent(addresses))
        return [any(states) for states in zip(*answers, strict=True)]

    async def confirmed(
        self, tails: Sequence[TransactionHash]
    ) -> dict[TransactionHash, bool]:
        """Return for each tail whether a quorum shows it confirmed."""
        if not tails:
            return {}
        answers = await self._ask_all(lambda node: node.confirmed(tails))
        return {
            tail: sum(states.get(tail, False) for states in answers) >= self._quorum
            for tail in tails
        }

    async def transactions_at(
        self, addresses: Sequence[Address]
    ) -> list[FoundTransaction]:
        """Return every transaction any node knows at these addresses."""
        return await self._union(lambda node: node.find(addresses=addresses))

    async def transactions_of(
        self, bundles: Sequence[BundleHash]
    ) -> list[FoundTransaction]:
        """Return every transaction any node knows of these bundles."""
        return await self._union(lambda node: node.find(bundles=bundles))

    async def tail_health(self, tail: TransactionHash) -> TailHealth:
        """Return what most nodes that answered say; one that lags says reattach.

        Returns:
            Reattach if more than half say so, promote if any other does.
        """
        answers = await self._ask_all(lambda node: node.tail_health(tail), at_least=1)
        reattach = 2 * sum(answer.reattach for answer in answers) > len(answers)
        promote = not reattach and any(answer.promote for answer in answers)
        return TailHealth(promote=promote, reattach=reattach)

    async def tips(
        self, *, depth: int, reference: str | None = None
    ) -> tuple[TransactionHash, TransactionHash]:
        """Ask one node, another one each time: one that lies can only delay.

        Args:
            depth: Milestones to walk back.
            reference: A tail that both must approve; a node without it is passed.

        Returns:
            Trunk and branch.

        Raises:
            NodeUnavailableError: If no node offers any.
        """
        self._turn += 1
        failure = NodeUnavailableError("no node is configured")
        for offset in range(len(self.clients)):
            node = self.clients[(self._turn + offset) % len(self.clients)]
            try:
                return await node.tips(depth=depth, reference=reference)
            except NodeUnavailableError as error:
                _log.warning("node %s", error)
                failure = error
        raise failure

    async def send(self, trytes: Sequence[str]) -> None:
        """Store and broadcast at every node; one success is enough.

        Raises:
            NodeUnavailableError: If no node took it.
        """
        results = await asyncio.gather(
            *(node.send(trytes) for node in self.clients), return_exceptions=True
        )
        errors = [r for r in results if isinstance(r, BaseException)]
        for error in errors:
            if not isinstance(error, NodeUnavailableError):
                raise error
        if len(errors) == len(results):
            raise NodeUnavailableError(f"no node stored the bundle: {errors[0]}")

    async def _union(
        self, find: Callable[[NodeClient], Awaitable[list[TransactionHash]]]
    ) -> list[FoundTransaction]:
        async def fetch(node: NodeClient) -> list[FoundTransaction]:
            return await node.transactions(await find(node))

        answers = await self._ask_all(fetch)
        return list({t.hash: t for answer in answers for t in answer}.values())

    async def _ask_all(
        self,
        ask: Callable[[NodeClient], Awaitable[_Item]],
        *,
        at_least: int | None = None,
    ) -> list[_Item]:
        """Ask every node at once.

        Returns:
            The answers that came, at least the quorum (or ``at_least``).

        Raises:
            NodeUnavailableError: If fewer answered.
        """
        wanted = self._quorum if at_least is None else at_least
        results = await asyncio.gather(
            *(ask(node) for node in self.clients), return_exceptions=True
        )
        answers: list[_Item] = []
        for result in results:
            if isinstance(result, NodeUnavailableError):
                _log.warning("node %s", result)
            elif isinstance(result, BaseException):
                raise result
            else:
                answers.append(result)
        if len(answers) < wanted:
            raise NodeUnavailableError(
                f"{len(answers)} of {len(self.clients)} nodes answered, {wanted} must"
            )
        return answers

    def _agreed(
        self, keys: Sequence[_Value], answers: Iterable[Mapping[_Value, int]]
    ) -> dict[_Value, int]:
        agreed: dict[_Value, int] = {}
        listed = list(answers)
        for key in keys:
            votes = Counter(answer[key] for answer in listed if key in answer)
            values = [v for v, count in votes.items() if count >= self._quorum]
            if len(values) == 1:
                agreed[key] = values[0]
        return agreed
