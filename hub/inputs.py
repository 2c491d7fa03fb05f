# SPDX-License-Identifier: Apache-2.0
"""Which addresses may be inputs of a sweep, as the quorum of nodes shows them."""

from collections import defaultdict
from collections.abc import Sequence

from hub.model import Address, BundleHash, OwnAddress
from hub.nodes import Nodes


async def settled_inputs(
    nodes: Nodes, candidates: Sequence[OwnAddress]
) -> list[OwnAddress]:
    """Keep the addresses that may be swept now.

    Args:
        nodes: The quorum.
        candidates: Addresses with a balance in the ledger.

    Returns:
        Those whose balance at the quorum is the ledger's and on which no
        unconfirmed transaction moves value.
    """
    if not candidates:
        return []
    addresses = [own.address for own in candidates]
    balances = await nodes.balances(addresses)
    moving = await _moving(nodes, addresses)
    return [
        own
        for own in candidates
        if balances.get(own.address) == own.balance_i and own.address not in moving
    ]


async def _moving(nodes: Nodes, addresses: Sequence[Address]) -> set[str]:
    """Return addresses with a value transaction that is not confirmed in any tail."""
    touching = [t for t in await nodes.transactions_at(addresses) if t.content.value_i]
    names = sorted({BundleHash(t.content.bundle) for t in touching})
    parts = await nodes.transactions_of(names)
    tails = [part for part in parts if part.content.current_index == 0]
    confirmed = await nodes.confirmed([tail.hash for tail in tails])
    done: defaultdict[str, bool] = defaultdict(bool)
    for tail in tails:
        done[tail.content.bundle] |= confirmed[tail.hash]
    return {t.content.address for t in touching if not done[t.content.bundle]}
