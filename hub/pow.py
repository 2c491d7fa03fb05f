# SPDX-License-Identifier: Apache-2.0
"""Proof of work: a signed bundle becomes one that nodes accept.

Every nonce is checked here before it is used, whoever found it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from hub.errors import NodeUnavailableError
from hub.model import TransactionHash
from hub.nodes import Nodes
from trinary.bundle import Transaction, parse_transaction, serialise_transaction
from trinary.curl import transaction_hash
from trinary.errors import TrinaryError
from trinary.pow import Cancel, find_nonce, weight_magnitude

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
        previous, head_trunk = "", trunk
        for text in reversed(trytes):
            transaction = parse_transaction(text)
            stamped = replace(
                transaction,
                trunk=previous or head_trunk,
                branch=branch if not previous else head_trunk,
                tag=_tag(transaction),
                attachment_timestamp_ms=self._clock_ms(),
                attachment_lower=0,
                attachment_upper=_LATEST_ATTACHMENT,
            )
            draft = serialise_transaction(stamped)
            nonce = find_nonce(
                draft, min_weight_magnitude=self._min_weight_magnitude, cancel=cancel
            )
            attached.append(serialise_transaction(replace(stamped, nonce=nonce)))
            previous = transaction_hash(attached[-1])
        return attached[::-1]


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
        for node in self._nodes.clients:
            try:
                attached = await node.attach(
                    trytes,
                    trunk=trunk,
                    branch=branch,
                    min_weight_magnitude=self._min_weight_magnitude,
                    timeout_s=_REMOTE_TIMEOUT_S,
                )
                require_attachment_of(
                    trytes, attached, min_weight_magnitude=self._min_weight_magnitude
                )
            except NodeUnavailableError as error:
                failure = error
            else:
                return attached
        raise failure


class FallbackProofOfWork:
    """The first engine that works, in the order configured.

    Args:
        engines: At least one.
    """

    def __init__(self, engines: Sequence[ProofOfWork]) -> None:
        self._engines = engines

    async def attach(
        self, trytes: Sequence[str], *, trunk: str, branch: str
    ) -> list[str]:
        """Attach a bundle; a node that refuses remote work is passed over.

        Returns:
            Attached transactions in order of index.

        Raises:
            NodeUnavailableError: If no engine could.
        """
        failure = NodeUnavailableError("no proof-of-work engine is configured")
        for engine in self._engines:
            try:
                return await engine.attach(trytes, trunk=trunk, branch=branch)
            except NodeUnavailableError as error:
                failure = error
        raise failure


def require_attachment_of(
    trytes: Sequence[str], attached: Sequence[str], *, min_weight_magnitude: int
) -> None:
    """Check that somebody else's work is of our bundle and weighs enough.

    Args:
        trytes: What was given, in order of index.
        attached: What came back, in order of index.
        min_weight_magnitude: Trailing zero trits the network asks for.

    Raises:
        NodeUnavailableError: If anything but the attachment fields changed, or
            a hash is too light.
    """
    try:
        same = [_essential(text) for text in trytes] == [
            _essential(text) for text in attached
        ]
        heavy = all(
            weight_magnitude(transaction_hash(text)) >= min_weight_magnitude
            for text in attached
        )
    except TrinaryError as error:
        raise NodeUnavailableError(f"a node attached no bundle: {error}") from error
    if not (same and heavy):
        raise NodeUnavailableError("a node attached another bundle, or too light")


def tail_hash(attached: Sequence[str]) -> TransactionHash:
    """Return the hash of transaction 0."""
    return TransactionHash(transaction_hash(attached[0]))


def _tag(transaction: Transaction) -> str:
    """Fill an empty tag from the obsolete one, as nodes do."""
    return transaction.obsolete_tag if transaction.tag == _NO_TAG else transaction.tag


def _essential(text: str) -> Transaction:
    transaction = parse_transaction(text)
    return replace(
        transaction,
        trunk=_NO_TAG * 3,
        branch=_NO_TAG * 3,
        tag=_NO_TAG,
        attachment_timestamp_ms=0,
        attachment_lower=0,
        attachment_upper=0,
        nonce=_NO_TAG,
    )
