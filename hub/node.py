# SPDX-License-Identifier: Apache-2.0
"""One legacy node over HTTP; nothing it says is believed here.

A reply is an answer only with status 200, within its deadline and size, without
``error`` and of the shape expected; everything else is ``NodeUnavailableError``, so
that a node that lies about the form of things is outvoted like one that is away.
Transactions are hashed again; calls are cut into batches that nodes accept.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

import aiohttp

from hub.errors import NodeRefusedError, NodeUnavailableError
from hub.model import MAX_SUPPLY_I, Address, TransactionHash
from hub.node_health import NodeRecord
from trinary.bundle import Transaction, parse_transaction
from trinary.curl import transaction_hash
from trinary.errors import TrinaryError
from trinary.trytes import is_trytes

_log = logging.getLogger(__name__)
Dialect = Literal["iri", "hornet"]

SOLID_LAG: Final = 1
"""A solid milestone one behind the latest is normal while it is being solidified."""
_BATCH_ADDRESSES: Final = 1000  # reported limits of IRI and HORNET
_BATCH_FIND: Final = 100
_BATCH_HASHES: Final = 500
FIND_LIMIT: Final = 1000
"""HORNET cuts a search off here without a word. Source: HORNET 0.5.6, webapi."""
_TOO_MANY: Final = "Could not complete request"  # IRI beyond 100 000 results
_MAX_REPLY_BYTES: Final = 32 << 20
_ALL_NINES: Final = "9" * 2673
_LONGEST_QUOTE: Final = 300
_MILLISECONDS: Final = 1000
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
class Holdings:
    """What a node says addresses hold.

    Attributes:
        milestone_index: The milestone this was true at; None if it does not say.
        amounts_i: Iota by address.
    """

    milestone_index: int | None
    amounts_i: Mapping[Address, int]


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
        url: ``http(s)://host:port``; before the host ``user:password@`` where the
            node wants it, which ``self.url`` does not show.
        dialect: Its software.
        session: Shared by all nodes.
        timeout_s: Deadline of one request.
        find_limit: Results at which a search counts as cut off.
    """

    def __init__(
        self,
        url: str,
        *,
        dialect: Dialect,
        session: aiohttp.ClientSession,
        timeout_s: float,
        find_limit: int = FIND_LIMIT,
    ) -> None:
        self._target = url
        self.url = _without_password(url)
        self.dialect = dialect
        self.record = NodeRecord()
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._find_limit = find_limit

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
            NodeRefusedError: If the node answered with an error.
            NodeUnavailableError: If no answer came, or none that can be read.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_s) if timeout_s else self._timeout
        try:
            async with self._session.post(
                self._target,
                json={"command": name, **(parameters or {})},
                headers={"X-IOTA-API-Version": "1"},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                reply = json.loads(await _body(response))
                status = response.status
        except (
            TimeoutError,
            aiohttp.ClientError,
            ValueError,
            RecursionError,
        ) as error:
            what = str(error) or type(error).__name__
            raise NodeUnavailableError(f"{self.url} {name}: {what}") from error
        text = f"{self.url} {name}: {status} {str(reply)[:_LONGEST_QUOTE]}"
        if not isinstance(reply, dict):
            raise NodeUnavailableError(text)
        if "error" in reply:
            raise NodeRefusedError(text)
        if status != HTTPStatus.OK:
            raise NodeUnavailableError(text)
        return reply

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Take a reply of another shape for no reply."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, TrinaryError) as error:
            raise NodeUnavailableError(
                f"{self.url} {name}: the reply makes no sense: {error!r}"
            ) from error

    async def solid_milestone(self) -> Milestone:
        """Return the solid milestone.

        Returns:
            Its index and time.

        Raises:
            NodeRefusedError: If the node is not solid or does not have it.
        """
        info = await self.command("getNodeInfo")
        with self._reading("getNodeInfo"):
            latest = int(info["latestMilestoneIndex"])
            solid = int(info["latestSolidSubtangleMilestoneIndex"])
            milestone = TransactionHash(str(info["latestMilestone"]))
        self.record.milestone_index = solid
        if latest - solid > SOLID_LAG or solid <= 0:
            raise NodeRefusedError(
                f"{self.url} is not solid: milestone {solid} of {latest}"
            )
        found = await self.transactions([milestone])
        if not found:
            raise NodeRefusedError(f"{self.url} lacks its latest milestone")
        content = found[0].content
        timestamp_s = (
            content.timestamp_s or content.attachment_timestamp_ms // _MILLISECONDS
        )
        return Milestone(solid, timestamp_s)

    async def balances(self, addresses: Sequence[Address]) -> Holdings:
        """Return confirmed balances, and the oldest milestone they belong to."""
        found: dict[Address, int] = {}
        indexes: list[int] = []
        for batch in _batches(addresses, _BATCH_ADDRESSES):
            reply = await self.command(
                "getBalances", {"addresses": batch, "threshold": 100}
            )
            with self._reading("getBalances"):
                amounts_i = [_amount(text) for text in reply["balances"]]
                found |= dict(zip(batch, amounts_i, strict=True))
                if "milestoneIndex" in reply:
                    indexes.append(int(reply["milestoneIndex"]))
        return Holdings(min(indexes, default=None), found)

    async def ledger_diff(self, index: int) -> dict[Address, int]:
        """Return what a milestone did to the balances; HORNET only.

        Args:
            index: Of the milestone.

        Returns:
            The change of each address it touched, in iota; they sum to zero.

        Raises:
            NodeRefusedError: If the node does not have it, any more or yet.
        """
        reply = await self.command("getLedgerDiff", {"milestoneIndex": index})
        with self._reading("getLedgerDiff"):
            diff = _diff(reply, index)
        if not diff and await self._has_pruned(index):
            raise NodeRefusedError(f"{self.url} has pruned milestone {index}")
        return diff

    async def _has_pruned(self, index: int) -> bool:
        """Tell "nothing moved" from "forgotten": HORNET answers both with {}.

        Source: HORNET 0.5.6, pkg/model/tangle/ledger.go and plugins/webapi/node.go.

        Returns:
            True if its history begins after the milestone.
        """
        info = await self.command("getNodeInfo")
        with self._reading("getNodeInfo"):
            return index <= int(info["milestoneStartIndex"])

    async def were_spent(self, addresses: Sequence[Address]) -> list[bool]:
        """Return whether each address was spent from, as this node remembers."""
        states: list[bool] = []
        for batch in _batches(addresses, _BATCH_ADDRESSES):
            reply = await self.command("wereAddressesSpentFrom", {"addresses": batch})
            with self._reading("wereAddressesSpentFrom"):
                known = [_flag(state) for state in reply["states"]]
                states += [state for state, _ in zip(known, batch, strict=True)]
        return states

    async def find(
        self, *, addresses: Sequence[str] = (), bundles: Sequence[str] = ()
    ) -> list[TransactionHash]:
        """Return hashes of value transactions at addresses, or of any of bundles.

        A search that was cut off is repeated in halves. One address or bundle
        that alone exceeds the limit is named in the log; the others go on.

        Args:
            addresses: Where to look; or
            bundles: what to look for.

        Returns:
            Distinct hashes.
        """
        found: list[TransactionHash] = []
        kind, values = ("addresses", addresses) if addresses else ("bundles", bundles)
        for batch in _batches(values, _BATCH_FIND):
            found += await self._find_some(kind, batch)
        return list(dict.fromkeys(found))

    async def _find_some(self, kind: str, batch: list[str]) -> list[TransactionHash]:
        # Only HORNET knows valueOnly; it keeps strangers' messages out of the limit.
        extra = {"valueOnly": True} if kind == "addresses" else {}
        parameters = {kind: batch, **(extra if self.dialect == "hornet" else {})}
        try:
            reply = await self.command("findTransactions", parameters)
        except NodeUnavailableError as error:
            if _TOO_MANY not in str(error):
                raise
            hashes, complete = [], False
        else:
            with self._reading("findTransactions"):
                hashes = [TransactionHash(str(text)) for text in reply["hashes"]]
            complete = len(hashes) < self._find_limit
        if complete:
            return hashes
        if len(batch) == 1:
            _log.error("%s cuts off the transactions of %s", self.url, batch[0])
            return hashes
        middle = len(batch) // 2
        first = await self._find_some(kind, batch[:middle])
        return first + await self._find_some(kind, batch[middle:])

    async def transactions(
        self, hashes: Sequence[TransactionHash]
    ) -> list[FoundTransaction]:
        """Return those transactions the node really has, hashes recomputed."""
        found: list[FoundTransaction] = []
        for batch in _batches(hashes, _BATCH_HASHES):
            reply = await self.command("getTrytes", {"hashes": batch})
            with self._reading("getTrytes"):
                pairs = list(zip(batch, map(str, reply["trytes"]), strict=True))
            found += await asyncio.to_thread(_checked, pairs)
        return found

    async def confirmed(
        self, tails: Sequence[TransactionHash]
    ) -> dict[TransactionHash, bool]:
        """Return whether each tail is confirmed, as this node sees it."""
        states: dict[TransactionHash, bool] = {}
        tips: list[str] = []
        if tails and self.dialect == "iri":
            info = await self.command("getNodeInfo")
            with self._reading("getNodeInfo"):
                tips = [str(info["latestMilestone"])]
        for batch in _batches(tails, _BATCH_ADDRESSES):
            reply = await self.command(
                "getInclusionStates", {"transactions": batch, "tips": tips}
            )
            with self._reading("getInclusionStates"):
                known = [_flag(state) for state in reply["states"]]
                states |= dict(zip(batch, known, strict=True))
        return states

    async def tail_health(self, tail: TransactionHash) -> TailHealth:
        """Say whether a tail wants promotion or reattachment.

        HORNET's checkConsistency is always true: getTipInfo knows (HORNET 0.5.6).

        Returns:
            What to do about it.
        """
        if self.dialect == "hornet":
            info = await self.command("getTipInfo", {"tailTransaction": tail})
            with self._reading("getTipInfo"):
                reattach = _flag(info["shouldReattach"]) or _flag(info["conflicting"])
                return TailHealth(_flag(info["shouldPromote"]), reattach)
        reply = await self.command("checkConsistency", {"tails": [tail]})
        with self._reading("checkConsistency"):
            consistent = _flag(reply["state"])
        return TailHealth(promote=consistent, reattach=not consistent)

    async def tips(
        self, *, depth: int, reference: str | None = None
    ) -> tuple[TransactionHash, TransactionHash]:
        """Return trunk and branch for a new attachment."""
        extra = {"reference": reference} if reference else {}
        reply = await self.command(
            "getTransactionsToApprove", {"depth": depth, **extra}
        )
        with self._reading("getTransactionsToApprove"):
            trunk = _hash(reply["trunkTransaction"])
            return trunk, _hash(reply["branchTransaction"])

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
        with self._reading("attachToTangle"):
            return [str(text) for text in reply["trytes"]]

    async def send(self, trytes: Sequence[str]) -> None:
        """Store and broadcast attached transactions."""
        await self.command("storeTransactions", {"trytes": list(trytes)})
        await self.command("broadcastTransactions", {"trytes": list(trytes)})


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Return the whole reply, unless it is longer than any honest one."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > _MAX_REPLY_BYTES:
            raise ValueError("the reply is too long")
        chunks.append(chunk)
    return b"".join(chunks)


def _amount(text: object) -> int:
    amount_i = int(str(text))
    if not 0 <= amount_i <= MAX_SUPPLY_I:
        raise ValueError(f"{amount_i} i is no balance")
    return amount_i


def _change(value: object) -> int:
    if type(value) is not int or abs(value) > MAX_SUPPLY_I:
        raise ValueError(f"{value!r} is no change of a balance")
    return value


def _diff(reply: Mapping[str, Any], index: int) -> dict[Address, int]:
    if reply["milestoneIndex"] != index:
        raise ValueError(f"milestone {reply['milestoneIndex']!r}, not {index}")
    diff = {
        Address(_hash(address)): _change(change_i)
        for address, change_i in reply["diff"].items()
    }
    if sum(diff.values()):
        raise ValueError(f"milestone {index} makes or destroys value")
    return diff


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _hash(text: object) -> TransactionHash:
    if not isinstance(text, str) or not is_trytes(text, length=81):
        raise ValueError(f"{text!r} is no hash")
    return TransactionHash(text)


def _checked(pairs: Sequence[tuple[TransactionHash, str]]) -> list[FoundTransaction]:
    """Return those transactions whose trytes hash to what was asked for."""
    found = []
    for wanted, trytes in pairs:
        if trytes == _ALL_NINES:
            continue
        with contextlib.suppress(TrinaryError):
            if transaction_hash(trytes) == wanted:
                found.append(FoundTransaction(wanted, parse_transaction(trytes)))
    return found


def _batches(items: Sequence[_Item], size: int) -> Iterable[list[_Item]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
