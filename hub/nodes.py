# SPDX-License-Identifier: Apache-2.0
"""Nodes are not trusted: what a quorum of them says is what the hub believes.

``Nodes`` asks all of them at once and keeps what at least ``quorum`` agree on,
address by address and tail by tail; where two answers both have a quorum, nothing
is agreed. A node that errs, lags or lies is outvoted; too few answers are a fault. What
each node is worth is remembered (``health``); one that keeps failing is spared for a
while, unless the quorum needs it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp

from hub.errors import NodeRefusedError, NodeUnavailableError
from hub.model import Address, BundleHash, TransactionHash
from hub.node import Dialect, FoundTransaction, Milestone, NodeClient, TailHealth
from hub.node_health import NodeHealth, Question
from hub.votes import Vote, agreed, counted, dissenting, most_alike

_log = logging.getLogger(__name__)

FRESH_MILESTONE_S: Final = 300
"""Oldest milestone the hub acts on. Source: Hub 1.4.4, user address monitor."""
_MILLISECONDS: Final = 1000
_LONGEST_QUOTE: Final = 300
_Key = TypeVar("_Key", bound=Hashable)
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
        found = await self._ask_all(self._milestone_of)
        # Each reached by a quorum; a liar's number or time is outvoted alone.
        milestone = Milestone(
            sorted((m.index for m in found), reverse=True)[self._quorum - 1],
            sorted((m.timestamp_s for m in found), reverse=True)[self._quorum - 1],
        )
        age_s = self._age_s(milestone)
        if age_s > FRESH_MILESTONE_S:
            raise NodeUnavailableError(
                f"milestone {milestone.index} is {age_s} s old: the network stands"
            )
        return milestone

    async def _milestone_of(self, node: NodeClient) -> Milestone:
        try:
            milestone = await node.solid_milestone()
        except NodeRefusedError:
            node.record.stale = True  # it says itself that it is behind
            raise
        node.record.stale = self._age_s(milestone) > FRESH_MILESTONE_S
        return milestone

    def _age_s(self, milestone: Milestone) -> int:
        return self._clock_ms() // _MILLISECONDS - milestone.timestamp_s

    async def balances(
        self, addresses: Sequence[Address], *, since: int = 0
    ) -> dict[Address, int]:
        """Return the balances a quorum agrees on; others are left out.

        Args:
            addresses: 81 trytes each.
            since: Only what was true at this milestone or later counts.

        Returns:
            Iota by address. A node whose own milestone is too old has no vote.
        """
        answers = await self._ask_each(lambda node: node.balances(addresses))
        votes = [
            Vote(voter, held.milestone_index, held.amounts_i)
            for voter, held in answers
            if not self.clients[voter].record.stale
        ]
        votes = counted(votes, since=since)
        believed = agreed(addresses, votes, quorum=self._quorum)
        self._report(Question.BALANCES, votes, believed)
        return believed

    @property
    def tell_diffs(self) -> bool:
        """Whether enough nodes can say what a milestone changed: HORNET ones."""
        return len(self._hornets()) >= self._quorum

    def _hornets(self) -> list[int]:
        clients = enumerate(self.clients)
        return [number for number, node in clients if node.dialect == "hornet"]

    async def ledger_diff(self, index: int) -> dict[Address, int] | None:
        """Return what a milestone did to the balances, as a quorum tells it.

        Args:
            index: Of a milestone that a quorum has reached.

        Returns:
            Iota by address; None if no quorum will ever say the same: they have
            pruned it, or contradict each other.

        Raises:
            NodeUnavailableError: If nodes are away or not that far; ask again.
        """

        async def ask(node: NodeClient) -> dict[Address, int] | None:
            try:
                return await node.ledger_diff(index)
            except NodeRefusedError as error:
                if (node.record.milestone_index or 0) < index:
                    raise  # it is not there yet
                _log.info("node %s", error)
                return None

        answers = await self._ask_each(ask, among=self._hornets())
        votes = [
            Vote(voter, index, {index: frozenset(diff.items())})
            for voter, diff in answers
            if diff is not None
        ]
        believed = agreed([index], votes, quorum=self._quorum)
        self._report(Question.DIFFS, votes, believed)
        if index in believed:
            return dict(believed[index])
        silent = len(self._hornets()) - len(answers)
        if most_alike(index, votes) + silent >= self._quorum:
            raise NodeUnavailableError(f"no quorum tells milestone {index} yet")
        for vote in votes:
            url, said = self.clients[vote.voter].url, _quoted(vote.said[index])
            _log.warning("node %s tells of milestone %d alone: %s", url, index, said)
        return None

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
        answers = await self._ask_each(lambda node: node.confirmed(tails))
        votes = [
            Vote(voter, self.clients[voter].record.milestone_index, states)
            for voter, states in answers
        ]
        believed = agreed(tails, votes, quorum=self._quorum)
        self._report(Question.CONFIRMATIONS, votes, believed)
        return {
            tail: sum(vote.said.get(tail, False) for vote in votes) >= self._quorum
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
        turn = self._turn % max(len(self.clients), 1)
        in_turn = [*self.clients[turn:], *self.clients[:turn]]
        for node in self.ready_first(in_turn):
            try:
                return await self._asked(
                    node, lambda node: node.tips(depth=depth, reference=reference)
                )
            except NodeUnavailableError as error:
                _log.warning("node %s", error)
                failure = error
        raise failure

    async def send(self, trytes: Sequence[str]) -> None:
        """Store and broadcast at every node that is not spared; one success is enough.

        Raises:
            NodeUnavailableError: If no node took it.
        """
        try:
            await self._ask_each(lambda node: node.send(trytes), at_least=1)
        except NodeUnavailableError as error:
            raise NodeUnavailableError(f"no node stored the bundle: {error}") from error

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
        return [answer for _, answer in await self._ask_each(ask, at_least=wanted)]

    async def _ask_each(
        self,
        ask: Callable[[NodeClient], Awaitable[_Item]],
        *,
        at_least: int | None = None,
        among: Sequence[int] | None = None,
    ) -> list[tuple[int, _Item]]:
        """Ask every node that is not spared, and the others if those do not suffice.

        Args:
            ask: The question.
            at_least: How many must answer; by default the quorum.
            among: The numbers of the nodes to ask; by default all.

        Returns:
            The answers that came, each with the number of its node.

        Raises:
            NodeUnavailableError: If fewer came.
        """
        wanted = self._quorum if at_least is None else at_least
        numbers = range(len(self.clients)) if among is None else among
        spared = [n for n in numbers if self._is_paused(self.clients[n])]
        asked = [n for n in numbers if n not in spared]
        answers = await self._gathered(asked, ask)
        if len(answers) < wanted:
            answers += await self._gathered(spared, ask)
        if len(answers) < wanted:
            raise NodeUnavailableError(
                f"{len(answers)} of {len(numbers)} nodes answered, {wanted} must"
            )
        return answers

    async def _gathered(
        self, numbers: Sequence[int], ask: Callable[[NodeClient], Awaitable[_Item]]
    ) -> list[tuple[int, _Item]]:
        results = await asyncio.gather(
            *(self._asked(self.clients[number], ask) for number in numbers),
            return_exceptions=True,
        )
        answers: list[tuple[int, _Item]] = []
        for number, result in zip(numbers, results, strict=True):
            if isinstance(result, NodeUnavailableError):
                _log.warning("node %s", result)
            elif isinstance(result, BaseException):
                raise result
            else:
                answers.append((number, result))
        return answers

    async def _asked(
        self, node: NodeClient, ask: Callable[[NodeClient], Awaitable[_Item]]
    ) -> _Item:
        """Ask one node and remember how it did."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            answer = await ask(node)
        except NodeRefusedError:
            self._note_answer(node, loop.time() - began_s)
            raise
        except NodeUnavailableError:
            node.record.failed(at_s=loop.time())
            raise
        self._note_answer(node, loop.time() - began_s)
        return answer

    def ready_first(self, clients: Sequence[NodeClient]) -> list[NodeClient]:
        """Put nodes that are spared behind the others, otherwise in their order."""
        return sorted(clients, key=self._is_paused)

    def _note_answer(self, node: NodeClient, latency_s: float) -> None:
        node.record.answered(now_ms=self._clock_ms(), latency_s=latency_s)

    def _is_paused(self, node: NodeClient) -> bool:
        return node.record.is_paused(at_s=asyncio.get_running_loop().time())

    def _report(
        self,
        question: Question,
        votes: Sequence[Vote[_Key, _Value]],
        believed: Mapping[_Key, _Value],
    ) -> None:
        """Count and name who was outvoted, what it said and what the others said."""
        for dissent in dissenting(votes, believed):
            node = self.clients[dissent.voter]
            node.record.outvoted(question)
            _log.warning(
                "node outvoted on %s: %s says of %s %s, the quorum %s; differs in %d",
                question.value,
                node.url,
                dissent.key,
                _quoted(dissent.said),
                _quoted(dissent.agreed),
                dissent.parts,
            )

    def health(self) -> list[NodeHealth]:
        """Return how each node does, in the order configured; asks none."""
        at_s = asyncio.get_running_loop().time()
        reached = sorted(
            (
                node.record.milestone_index
                for node in self.clients
                if node.record.milestone_index is not None
            ),
            reverse=True,
        )
        best = reached[self._quorum - 1] if len(reached) >= self._quorum else None
        return [
            node.record.health(
                url=node.url, dialect=node.dialect, best_index=best, at_s=at_s
            )
            for node in self.clients
        ]


def _quoted(value: object) -> str:
    """Shorten an answer for the log; of a long one, what comes first in order."""
    text = str(sorted(value)) if isinstance(value, frozenset) else str(value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
