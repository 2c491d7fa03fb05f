# SPDX-License-Identifier: Apache-2.0
"""Bundles as the nodes show them, put together again and checked.

Anybody can store single transactions that name a bundle hash of their choice; only
what is complete, in order and really hashes to its name is a bundle here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub.model import Address, BundleHash, TransactionHash
from hub.node import FoundTransaction
from hub.nodes import Nodes
from trinary.bundle import Essence, bundle_hash
from trinary.errors import TrinaryError
from trinary.winternitz import verify


@dataclass(frozen=True, slots=True)
class SeenBundle:
    """One attachment of a bundle.

    Attributes:
        transactions: In order of index, complete.
        confirmed: Whether the quorum shows it confirmed.
    """

    transactions: tuple[FoundTransaction, ...]
    confirmed: bool = False

    @property
    def tail(self) -> TransactionHash:
        """The hash of its transaction 0."""
        return self.transactions[0].hash

    @property
    def name(self) -> BundleHash:
        """Its bundle hash."""
        return BundleHash(self.transactions[0].content.bundle)


def rebuild(
    tail: FoundTransaction, known: Mapping[TransactionHash, FoundTransaction]
) -> tuple[FoundTransaction, ...] | None:
    """Follow a tail along its trunk.

    Args:
        tail: A transaction with index 0.
        known: Everything found of its bundle, by hash.

    Returns:
        Its transactions; None if a part is missing or out of its place, or if
        they do not hash to the bundle hash.
    """
    chain = [tail]
    while len(chain) <= tail.content.last_index:
        following = known.get(TransactionHash(chain[-1].content.trunk))
        if following is None or following.content.current_index != len(chain):
            return None
        chain.append(following)
    contents = [found.content for found in chain]
    name, last_index = tail.content.bundle, tail.content.last_index
    if any(c.bundle != name or c.last_index != last_index for c in contents):
        return None
    essences = [
        Essence(
            address=content.address,
            value_i=content.value_i,
            obsolete_tag=content.obsolete_tag,
            timestamp_s=content.timestamp_s,
            current_index=content.current_index,
            last_index=content.last_index,
        )
        for content in contents
    ]
    return tuple(chain) if bundle_hash(essences) == name else None


def is_signed_for(bundle: SeenBundle, address: Address) -> bool:
    """Say whether a bundle takes value from an address with its real signature.

    A bundle with a made-up signature can not confirm and costs a stranger nothing.

    Args:
        bundle: What the nodes show.
        address: 81 trytes.

    Returns:
        True only if the signature verifies.
    """
    contents = [found.content for found in bundle.transactions]
    for index, content in enumerate(contents):
        if content.address != address or content.value_i >= 0:
            continue
        fragments = [content.signature_message]
        for later in contents[index + 1 :]:
            if later.address != address or later.value_i:
                break
            fragments.append(later.signature_message)
        for count in range(1, len(fragments) + 1):
            if _verifies(address, fragments[:count], bundle.name):
                return True
    return False


async def bundles_named(nodes: Nodes, names: Sequence[BundleHash]) -> list[SeenBundle]:
    """Return every attachment the nodes know of some bundles.

    Args:
        nodes: The quorum.
        names: Bundle hashes.

    Returns:
        The whole ones, each with its confirmation.
    """
    if not names:
        return []
    parts = await nodes.transactions_of(names)
    known = {part.hash: part for part in parts}
    chains = [rebuild(p, known) for p in parts if p.content.current_index == 0]
    whole = [chain for chain in chains if chain is not None]
    confirmed = await nodes.confirmed([chain[0].hash for chain in whole])
    return [SeenBundle(chain, confirmed[chain[0].hash]) for chain in whole]


async def bundles_at(nodes: Nodes, addresses: Sequence[Address]) -> list[SeenBundle]:
    """Return every attachment of the bundles that move value at some addresses.

    Args:
        nodes: The quorum.
        addresses: 81 trytes each.

    Returns:
        The whole ones, each with its confirmation.
    """
    touching = await nodes.transactions_at(addresses)
    names = {BundleHash(t.content.bundle) for t in touching if t.content.value_i}
    return await bundles_named(nodes, sorted(names))


def _verifies(address: str, fragments: Sequence[str], name: str) -> bool:
    try:
        return verify(address=address, fragments=fragments, bundle_hash=name)
    except TrinaryError:
        return False
