# SPDX-License-Identifier: Apache-2.0
"""Which addresses may be inputs of a sweep, as the quorum of nodes shows them.

A deposit under way would arrive at a spent address, so an unconfirmed incoming
bundle holds an address back; but anybody can send such bundles without end, so it
does for ``MAX_HOLD_MS`` and no longer. What then arrives late is quarantined. A
spend that carries the address's real signature and is not ours is another matter:
somebody has the key, or our records are older than the truth. That address is left
alone until people have looked.
"""

import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from hub.clock import Clock
from hub.history import SeenBundle, bundles_at, bundles_named, is_signed_for
from hub.model import Address, BundleHash, OwnAddress
from hub.nodes import Nodes

_log = logging.getLogger(__name__)

MAX_HOLD_MS: Final = 1_800_000
"""Longest that strangers can hold an address back; as long as tails are promoted."""


class InputGate:
    """Remembers since when which address is held back.

    Args:
        nodes: The quorum.
        clock: The time.
    """

    def __init__(self, nodes: Nodes, *, clock: Clock) -> None:
        self._nodes = nodes
        self._clock = clock
        self._held_since_ms: dict[Address, int] = {}

    async def settled(self, candidates: Sequence[OwnAddress]) -> list[OwnAddress]:
        """Keep the addresses that may be planned as inputs now.

        Args:
            candidates: Addresses with a balance in the ledger.

        Returns:
            Those whose balance at the quorum is the ledger's and that nothing
            unconfirmed holds back.
        """
        if not candidates:
            return []
        balances = await self._nodes.balances([own.address for own in candidates])
        exact = [
            own for own in candidates if balances.get(own.address) == own.balance_i
        ]
        held = await self._held([own.address for own in exact])
        return [own for own in exact if own.address not in held]

    async def delay_of(
        self, name: BundleHash, inputs: Sequence[tuple[Address, int]]
    ) -> str:
        """Say what keeps a planned bundle from being signed now.

        Args:
            name: The bundle.
            inputs: Each address and what the bundle takes from it, in iota.

        Returns:
            For people; empty, for nothing, if the quorum shows at least that much on
            each and nothing holds one back. More than planned does not stop it: the
            appliance may have signed already, its answer lost, so there is no other
            way to end the plan; what is left is quarantined. Also empty if nodes know
            the bundle.
        """
        addresses = [address for address, _ in inputs]
        balances = await self._nodes.balances(addresses)
        short = [a for a, amount_i in inputs if balances.get(a, -1) < amount_i]
        held = await self._held(addresses, ours=name)
        if not short and not held:
            return ""
        if await bundles_named(self._nodes, [name]):
            return ""  # signed before: our records are older than the truth
        _log.warning(
            "sweep waits bundle=%s short=%s held=%s", name, short, sorted(held)
        )
        less = [f"less than planned on {address}" for address in short]
        moves = [f"an unconfirmed bundle moves {address}" for address in sorted(held)]
        return "; ".join(less + moves)

    async def _held(
        self, addresses: Sequence[Address], *, ours: BundleHash | None = None
    ) -> set[Address]:
        if not addresses:
            return set()
        bundles = await bundles_at(self._nodes, addresses)
        done = {bundle.name for bundle in bundles if bundle.confirmed}
        open_ones = [b for b in bundles if b.name not in done and b.name != ours]
        held = self._foreign_spends(addresses, open_ones)
        moving = _receivers(open_ones)
        now_ms = self._clock()
        for address in addresses:
            if address not in moving:
                self._held_since_ms.pop(address, None)
            elif now_ms - self._held_since_ms.setdefault(address, now_ms) < MAX_HOLD_MS:
                held.add(address)
        return held

    def _foreign_spends(
        self, addresses: Sequence[Address], bundles: Sequence[SeenBundle]
    ) -> set[Address]:
        found = set()
        for bundle in bundles:
            for address in addresses:
                if is_signed_for(bundle, address):
                    _log.critical(
                        "a bundle we do not know spends address=%s bundle=%s: stop and"
                        " find out who signed it",
                        address,
                        bundle.name,
                    )
                    found.add(address)
        return found


def _receivers(bundles: Sequence[SeenBundle]) -> AbstractSet[str]:
    return {
        found.content.address
        for bundle in bundles
        for found in bundle.transactions
        if found.content.value_i > 0
    }
