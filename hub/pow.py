# SPDX-License-Identifier: Apache-2.0
"""Proof of work: a signed bundle becomes one that nodes accept.

Every nonce is checked before it is used, whoever found it; engines of another kind are
one more ``ProofOfWork``, as ``pow_iccfpga`` is: a module on a serial line.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from hub.errors import NodeUnavailableError
from hub.model import TransactionHash
from hub.nodes import Nodes
from trinary.bundle import Transaction, parse_transaction, serialise_transaction
from trinary.curl import transaction_hash
from trinary.errors import TrinaryError
from trinary.pow import Cancel, find_nonce, weight_magnitude

_log = logging.getLogger(__name__)

_LATEST_ATTACHMENT: Final = (3**27 - 1) // 2  # the upper bound nodes set themselves
_NO_TAG: Final = "9" * 27
_REMOTE_TIMEOUT_S: Final = 300.0


class ProofOfWork(Protocol):
    """Somebody who finds nonces."""

    async def attach(
        self, trytes: Sequence[str], *, trunk: str, branch: str
    ) -> list[str]:
        """Attach a bundle.

        Args:
            trytes: 2673 each, in order of index.
            trunk: What the head approves first.
            branch: What every transaction approves second.

        Returns:
            The same with trunk, branch, times and nonces, in order of index.
        """


class LocalProofOfWork:
    """The kernel on all cores.

    Args:
        min_weight_magnitude: Trailing zero trits the network asks for.
        clock_ms: The time in milliseconds since 1970.
    """

    def __init__(
        self, *, min_weight_magnitude: int, clock_ms: Callable[[], int]
    ) -> None:
        self._min_weight_magnitude = min_weight_magnitude
        self._clock_ms = clock_ms

    async def attach(
        self, trytes: Sequence[str], *, trunk: str, branch: str
    ) -> list[str]:
        """Attach a bundle; cancelling the task stops the search.

        Returns:
            Attached transactions in order of index.

        Raises:
            asyncio.CancelledError: When it was cancelled.
        """
        cancel = Cancel()
        try:
            return await asyncio.to_thread(
                self._attach, list(trytes), trunk, branch, cancel
            )
        except asyncio.CancelledError:
            cancel.cancel()
            raise

    def _attach(
        self, trytes: list[str], trunk: str, branch: str, cancel: Cancel
    ) -> list[str]:
        attached: list[str] = []
        place = Place(trunk, branch)
        for text in reversed(trytes):
            draft = place.draft(text, now_ms=self._clock_ms())
            nonce = find_nonce(
                draft, min_weight_magnitude=self._min_weight_magnitude, cancel=cancel
            )
            attached.append(draft[: -len(nonce)] + nonce)
            place = place.below(attached[-1])
        return attached[::-1]


@dataclass(frozen=True, slots=True)
class Place:
    """What the next transaction of a bundle approves, from the head down.

    Attributes:
        trunk: What the head approves first.
        branch: What the head approves second.
        previous: The hash of the transaction above; empty for the head.
    """

    trunk: str
    branch: str
    previous: str = ""

    def draft(self, text: str, *, now_ms: int) -> str:
        """Put a transaction here.

        Args:
            text: The signed transaction.
            now_ms: The time in milliseconds since 1970.

        Returns:
            The same with trunk, branch, tag and times; only the nonce is missing.
        """
        transaction = parse_transaction(text)
        return serialise_transaction(
            replace(
                transaction,
                trunk=self.previous or self.trunk,
                branch=self.trunk if self.previous else self.branch,
                tag=_tag(transaction),
                attachment_timestamp_ms=now_ms,
                attachment_lower=0,
                attachment_upper=_LATEST_ATTACHMENT,
            )
        )

    def below(self, attached: str) -> "Place":
        """Return the place under a transaction that has its nonce."""
        return replace(self, previous=transaction_hash(attached))


class RemoteProofOfWork:
    """A node's attachToTangle.

    Args:
        nodes: Asked in order.
        min_weight_magnitude: Trailing zero trits the network asks for.
    """

    def __init__(self, nodes: Nodes, *, min_weight_magnitude: int) -> None:
        self._nodes = nodes
        self._min_weight_magnitude = min_weight_magnitude

    async def attach(
        self, trytes: Sequence[str], *, trunk: str, branch: str
    ) -> list[str]:
        """Attach a bundle at the first node that does it right.

        Returns:
            Attached transactions in order of index.

        Raises:
            NodeUnavailableError: If none does.
        """
        failure = NodeUnavailableError("no node is configured")
        for node in self._nodes.ready_first(self._nodes.clients):
            try:
                attached = await node.attach(
                    trytes,
                    trunk=trunk,
                    branch=branch,
                    min_weight_magnitude=self._min_weight_magnitude,
                    timeout_s=_REMOTE_TIMEOUT_S,
                )
                require_attachment_of(
                    trytes,
                    attached,
                    trunk=trunk,
                    branch=branch,
                    min_weight_magnitude=self._min_weight_magnitude,
                )
            except NodeUnavailableError as error:
                failure = error
            else:
                return attached
        raise failure


class CheckedProofOfWork:
    """The first engine that works, in the order configured, for a checked bundle.

    The check comes first, since it may take longer than tips stay fresh: a bundle that
    is attached to stale tips can not confirm. Each engine gets tips of its own.

    Args:
        engines: At least one.
        check: Refuses a bundle that another implementation than ours finds wrong; run
            on every one, whoever attaches it.
    """

    def __init__(
        self,
        engines: Sequence[ProofOfWork],
        *,
        check: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        self._engines = engines
        self._check = check

    async def attach(
        self,
        trytes: Sequence[str],
        *,
        tips: Callable[[], Awaitable[tuple[str, str]]],
    ) -> list[str]:
        """Attach a bundle; a node that refuses remote work is passed over.

        Args:
            trytes: 2673 each, in order of index.
            tips: Chooses what the head approves, trunk first.

        Returns:
            Attached transactions in order of index: of the very bundle that was
            checked.

        Raises:
            NodeUnavailableError: If there are no tips, or no engine could.
        """
        await self._check(trytes)  # a wrong one, no other engine would mend
        failure = NodeUnavailableError("no proof-of-work engine is configured")
        for engine in self._engines:
            trunk, branch = await tips()
            try:
                attached = await engine.attach(trytes, trunk=trunk, branch=branch)
                require_unchanged(trytes, attached)
            except NodeUnavailableError as error:
                _log.warning("%s: the next engine is tried: %s", _name(engine), error)
                failure = error
            else:
                return attached
        raise failure


def _name(engine: ProofOfWork) -> str:
    return type(engine).__name__


def require_attachment_of(
    trytes: Sequence[str],
    attached: Sequence[str],
    *,
    trunk: str,
    branch: str,
    min_weight_magnitude: int,
) -> None:
    """Check somebody else's work: our bundle, in its place, heavy enough.

    Args:
        trytes: What was given, in order of index.
        attached: What came back, in order of index.
        trunk: What the head was to approve first.
        branch: What the head was to approve second.
        min_weight_magnitude: Trailing zero trits the network asks for.

    Raises:
        NodeUnavailableError: If anything but times and nonces is not as it must be.
    """
    try:
        parsed = [parse_transaction(text) for text in attached]
        hashes = [transaction_hash(text) for text in attached]
        heavy = all(weight_magnitude(h) >= min_weight_magnitude for h in hashes)
        same = is_attachment_of(trytes, parsed)
    except TrinaryError as error:
        raise NodeUnavailableError(f"a node attached no bundle: {error}") from error
    trunks = [*hashes[1:], trunk]
    branches = [trunk] * (len(parsed) - 1) + [branch]
    placed = [(t.trunk, t.branch) for t in parsed] == list(
        zip(trunks, branches, strict=True)
    )
    if not (same and placed and heavy):
        raise NodeUnavailableError("a node attached another bundle, or too light")


def require_unchanged(trytes: Sequence[str], attached: Sequence[str]) -> None:
    """Check that an engine attached the bundle it was given.

    Args:
        trytes: What was given, in order of index.
        attached: What came back, in order of index.

    Raises:
        NodeUnavailableError: If more than place, times and nonces differ.
    """
    try:
        same = is_attachment_of(trytes, [parse_transaction(text) for text in attached])
    except TrinaryError as error:
        raise NodeUnavailableError(f"no bundle was attached: {error}") from error
    if not same:
        raise NodeUnavailableError("another bundle was attached")


def is_attachment_of(trytes: Sequence[str], attached: Sequence[Transaction]) -> bool:
    """Say whether an attachment is of our bundle, signatures and tags included.

    Args:
        trytes: The signed bundle, in order of index.
        attached: What somebody attached, in order of index.

    Returns:
        True if nothing but place, times and nonces differs.
    """
    ours = [_essential(parse_transaction(text)) for text in trytes]
    return ours == [_essential(transaction) for transaction in attached]


def tail_hash(attached: Sequence[str]) -> TransactionHash:
    """Return the hash of transaction 0."""
    return TransactionHash(transaction_hash(attached[0]))


def _tag(transaction: Transaction) -> str:
    """Fill an empty tag from the obsolete one, as nodes do."""
    return transaction.obsolete_tag if transaction.tag == _NO_TAG else transaction.tag


def _essential(transaction: Transaction) -> Transaction:
    return replace(
        transaction,
        trunk=_NO_TAG * 3,
        branch=_NO_TAG * 3,
        tag=_tag(transaction),
        attachment_timestamp_ms=0,
        attachment_lower=0,
        attachment_upper=0,
        nonce=_NO_TAG,
    )
