# SPDX-License-Identifier: Apache-2.0
"""Somebody else's wallet: plain PyOTA against a node, no hub code at all."""

import secrets
import warnings
from collections.abc import Mapping

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import iota

_ALPHABET = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SEED_TRYTES = 81
_LEVEL = 2


class Wallet:
    """Holds a seed of its own and spends its addresses one after another.

    Args:
        min_weight_magnitude: Of the network.
    """

    def __init__(self, *, min_weight_magnitude: int) -> None:
        self._seed = "".join(secrets.choice(_ALPHABET) for _ in range(_SEED_TRYTES))
        self._min_weight_magnitude = min_weight_magnitude
        self._next_index = 0
        self._balance_i = 0

    def address(self) -> str:
        """Return the current address, 81 trytes."""
        generator = iota.crypto.addresses.AddressGenerator(
            self._seed, security_level=_LEVEL
        )
        return str(generator.get_addresses(self._next_index)[0].address)

    def receive(self, amount_i: int) -> None:
        """Note what the current address holds, in iota."""
        self._balance_i = amount_i

    def send(self, node_url: str, amounts_i: Mapping[str, int]) -> str:
        """Pay several receivers in one bundle; the node does the proof of work.

        Args:
            node_url: Where the node answers.
            amounts_i: Iota by address.

        Returns:
            The tail transaction's hash.
        """
        api = iota.Iota(node_url, seed=self._seed)
        source = iota.Address(
            self.address(),
            balance=self._balance_i,
            key_index=self._next_index,
            security_level=_LEVEL,
        )
        self._next_index += 1
        sent = api.send_transfer(
            depth=3,
            transfers=[
                iota.ProposedTransaction(iota.Address(address), value=amount_i)
                for address, amount_i in amounts_i.items()
            ],
            inputs=[source],
            change_address=iota.Address(self.address()),
            min_weight_magnitude=self._min_weight_magnitude,
        )
        self._balance_i -= sum(amounts_i.values())
        return str(sent["bundle"].tail_transaction.hash)
