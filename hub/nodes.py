# SPDX-License-Identifier: Apache-2.0
"""Nodes are not trusted: what a quorum of them says is what the hub believes.

``NodeClient`` speaks to one node of either dialect; ``Nodes`` asks all of them at
once and keeps what at least ``quorum`` agree on, address by address and bundle by
bundle. A node that errs, lags or lies is outvoted; too few answers are a fault.
Every call is cut into batches the nodes accept.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import aiohttp

from hub.errors import NodeUnavailableError
from hub.model import Address, BundleHash, TransactionHash
from trinary.bundle import Transaction, parse_transaction
from trinary.curl import transaction_hash
from trinary.errors import TrinaryError

_log = logging.getLogger(__name__)
Dialect = Literal["iri", "hornet"]

FRESH_MILESTONE_S: Final = 300
"""Oldest milestone the hub acts on. Source: Hub 1.4.4, user address monitor."""
SOLID_LAG: Final = 1
"""A solid milestone one behind the latest is normal while it is being solidified."""
_BATCH_ADDRESSES: Final = 1000  # reported limits of IRI and HORNET
_BATCH_FIND: Final = 100  # HORNET cuts off at 1000 results without a word
_BATCH_HASHES: Final = 500
_ALL_NINES: Final = "9" * 2673
_MILLISECONDS: Final = 1000
_Value = TypeVar("_Value", bound=Hashable)
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Milestone:
    """The milestone a node builds on.

    Attributes:
        index: Its number.
        timestamp_s: When it was issued, seconds since 1970.
    """

    index: int
    timestamp_s: int


@dataclass(frozen=True, slots=True)
class FoundTransaction:
    """A transaction as a node stores it, its hash recomputed.

    Attributes:
        hash: 81 trytes.
        content: Its fields.
    """

    hash: TransactionHash
    content: Transaction


@dataclass(frozen=True, slots=True)
class TailHealth:
    """What to do about an unconfirmed tail.

    Attributes:
        promote: It can still confirm; help it.
        reattach: It can not any more.
    """

    promote: bool
    reattach: bool


class NodeClient:
    """One node.

    Args:
        url: ``http(s)://host:port``.
        dialect: Its software.
        session: Shared by all nodes.
        timeout_s: Deadline of one request.
    """

    def __init__(
        self,
        url: str,
        *,
        dialect: Dialect,
        session: aiohttp.ClientSession,
        timeout_s: float,
    ) -> None:
        self.url = url
        self.dialect = dialect
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def command(
        self,
        name: str,
        parameters: Mapping[str, object] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Send one command.

        Args:
            name: Of the command.
            parameters: Its fields.
            timeout_s: Another deadline than usual.

        Returns:
            The reply.

        Raises:
            NodeUnavailableError: If none came, or it was an error.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_s) if timeout_s else self._timeout
        try:
            async with self._session.post(
                self.url,
                json={"command": name, **(parameters or {})},
                headers={"X-IOTA-API-Version": "1"},
                timeout=timeout,
            ) as response:
                reply = await response.json(content_type=None)
                status = response.status
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            what = str(error) or type(error).__name__
            raise NodeUnavailableError(f"{self.url} {name}: {what}") from error
        if status != 200 or not isinstance(reply, dict) or "error" in reply:  # noqa: PLR2004
            raise NodeUnavailableError(f"{self.url} {name}: {status} {reply}")
        return reply

    async def solid_milestone(self) -> Milestone:
        """Return the solid milestone.

        Returns:
            Its index and time.

        Raises:
            NodeUnavailableError: If the node is not solid or does not have it.
        """
        info = await self.command("getNodeInfo")
        latest = int(info["latestMilestoneIndex"])
        solid = int(info["latestSolidSubtangleMilestoneIndex"])
        if latest - solid > SOLID_LAG or solid <= 0:
            raise NodeUnavailableError(
                f"{self.url} is not solid: milestone {solid} of {latest}"
            )
        found = await self.transactions([TransactionHash(info["latestMilestone"])])
        if not found:
            raise NodeUnavailableError(f"{self.url} lacks its latest milestone")
        content = found[0].content
        timestamp_s = content.timestamp_s or content.attachment_timestamp_ms // 1000
        return Milestone(solid, timestamp_s)

    async def balances(self, addresses: Sequence[Address]) -> dict[Address, int]:
        """Return confirmed balances in iota."""
        found: dict[Address, int] = {}
        for batch in _batches(addresses, _BATCH_ADDRESSES):
            reply = await self.command(
                "getBalances", {"addresses": batch, "threshold": 100}
            )
            amounts = [int(text) for text in reply["balances"]]
            found |= dict(zip(batch, amounts, strict=True))
        return found

    async def were_spent(self, addresses: Sequence[Address]) -> list[bool]:
        """Return whether each address was spent from, as this node remembers."""
        states: list[bool] = []
        for batch in _batches(addresses, _BATCH_ADDRESSES):
            reply = await self.command("wereAddressesSpentFrom", {"addresses": batch})
            states += [bool(state) for state in reply["states"]]
        return states

    async def find(
        self, *, addresses: Sequence[str] = (), bundles: Sequence[str] = ()
    ) -> list[TransactionHash]:
        """Return hashes of transactions at any address, or of any bundle."""
        found: list[TransactionHash] = []
        kind, values = ("addresses", addresses) if addresses else ("bundles", bundles)
        for batch in _batches(values, _BATCH_FIND):
            reply = await self.command("findTransactions", {kind: batch})
            found += [TransactionHash(text) for text in reply["hashes"]]
        return list(dict.fromkeys(found))

    async def transactions(
        self, hashes: Sequence[TransactionHash]
    ) -> list[FoundTransaction]:
        """Return those transactions the node really has, hashes recomputed."""
        found: list[FoundTransaction] = []
        for batch in _batches(hashes, _BATCH_HASHES):
            reply = await self.command("getTrytes", {"hashes": batch})
            for wanted, trytes in zip(batch, reply["trytes"], strict=True):
                found += await asyncio.to_thread(_checked, wanted, trytes)
        return found

    async def confirmed(
        self, tails: Sequence[TransactionHash]
    ) -> dict[TransactionHash, bool]:
        """Return whether each tail is confirmed, as this node sees it."""
        states: dict[TransactionHash, bool] = {}
        tips: list[str] = []
        if tails and self.dialect == "iri":
            info = await self.command("getNodeInfo")
            tips = [info["latestMilestone"]]
        for batch in _batches(tails, _BATCH_ADDRESSES):
            reply = await self.command(
                "getInclusionStates", {"transactions": batch, "tips": tips}
            )
            states |= dict(zip(batch, map(bool, reply["states"]), strict=True))
        return states

    async def tail_health(self, tail: TransactionHash) -> TailHealth:
        """Say whether a tail wants promotion or reattachment.

        HORNET's checkConsistency is always true: getTipInfo knows (HORNET 0.5.6).

        Returns:
            What to do about it.
        """
        if self.dialect == "hornet":
            info = await self.command("getTipInfo", {"tailTransaction": tail})
            return TailHealth(
                bool(info["shouldPromote"]),
                bool(info["shouldReattach"] or info["conflicting"]),
            )
        reply = await self.command("checkConsistency", {"tails": [tail]})
        return TailHealth(bool(reply["state"]), not reply["state"])

    async def tips(
        self, *, depth: int, reference: str | None = None
    ) -> tuple[TransactionHash, TransactionHash]:
        """Return trunk and branch for a new attachment."""
        extra = {"reference": reference} if reference else {}
        reply = await self.command(
            "getTransactionsToApprove", {"depth": depth, **extra}
        )
        trunk, branch = reply["trunkTransaction"], reply["branchTransaction"]
        return TransactionHash(trunk), TransactionHash(branch)

    async def attach(
        self,
        trytes: Sequence[str],
        *,
        trunk: str,
        branch: str,
        min_weight_magnitude: int,
        timeout_s: float,
    ) -> list[str]:
        """Let the node do the proof of work; head first in, order of index out."""
        reply = await self.command(
            "attachToTangle",
            {
                "trunkTransaction": trunk,
                "branchTransaction": branch,
                "minWeightMagnitude": min_weight_magnitude,
                "trytes": list(reversed(trytes)),
            },
            timeout_s=timeout_s,
        )
        return [str(text) for text in reply["trytes"]]

    async def send(self, trytes: Sequence[str]) -> None:
        """Store and broadcast attached transactions."""
        await self.command("storeTransactions", {"trytes": list(trytes)})
        await self.command("broadcastTransactions", {"trytes": list(trytes)})


def _checked(wanted: str, trytes: str) -> list[FoundTransaction]:
    """Return the transaction if the trytes really hash to what was asked for."""
    if trytes == _ALL_NINES:
        return []
    try:
        if transaction_hash(trytes) != wanted:
            return []
        return [FoundTransaction(TransactionHash(wanted), parse_transaction(trytes))]
    except TrinaryError:
        return []


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
        by_index = sorted(found, key=lambda m: m.index, reverse=True)
        milestone = by_index[self._quorum - 1]
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
        """Ask the first node that answers."""
        return await self._first(lambda node: node.tail_health(tail))

    async def tips(
        self, *, depth: int, reference: str | None = None
    ) -> tuple[TransactionHash, TransactionHash]:
        """Ask the first node that answers."""
        return await self._first(lambda n: n.tips(depth=depth, reference=reference))

    async def send(self, trytes: Sequence[str]) -> None:
        """Store and broadcast at every node; one success is enough.

        Raises:
            NodeUnavailableError: If no node took it.
        """
        results = await asyncio.gather(
            *(node.send(trytes) for node in self.clients), return_exceptions=True
        )
        errors = [r for r in results if isinstance(r, BaseException)]
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
        self, ask: Callable[[NodeClient], Awaitable[_Item]]
    ) -> list[_Item]:
        """Ask every node at once.

        Returns:
            The answers that came, at least the quorum.

        Raises:
            NodeUnavailableError: If fewer than the quorum answered.
        """
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
        if len(answers) < self._quorum:
            raise NodeUnavailableError(
                f"{len(answers)} of {len(self.clients)} nodes answered,"
                f" {self._quorum} must agree"
            )
        return answers

    async def _first(self, ask: Callable[[NodeClient], Awaitable[_Item]]) -> _Item:
        failure = NodeUnavailableError("no node is configured")
        for node in self.clients:
            try:
                return await ask(node)
            except NodeUnavailableError as error:
                _log.warning("node %s", error)
                failure = error
        raise failure

    def _agreed(
        self, keys: Sequence[_Value], answers: Iterable[Mapping[_Value, int]]
    ) -> dict[_Value, int]:
        agreed: dict[_Value, int] = {}
        listed = list(answers)
        for key in keys:
            votes = Counter(answer[key] for answer in listed if key in answer)
            value, count = votes.most_common(1)[0] if votes else (0, 0)
            if count >= self._quorum:
                agreed[key] = value
        return agreed


def _batches(items: Sequence[_Item], size: int) -> Iterable[list[_Item]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
