# SPDX-License-Identifier: Apache-2.0
"""The devnet's own purse: pays anybody from a seed that everybody can read.

It spends each of its addresses once and passes the remainder to the next, and
builds a payment on the one before it, so that several fit into one milestone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from hub.devnet.config import SUPPLY_I, DevnetConfig
from hub.devnet.drafting import Entry, draft, make_signable, signature, with_signature
from hub.devnet.errors import FaucetEmptyError
from hub.devnet.node import Node
from hub.devnet.tangle import Record
from trinary.bundle import Transaction
from trinary.winternitz import address

FAUCET_SEED: Final = b"saltkeep devnet faucet: worthless".ljust(48, b".")
FAUCET_LEVEL: Final = 2
_TAG: Final = "DEVNET9FAUCET".ljust(27, "9")


@dataclass(frozen=True, slots=True)
class Payment:
    """A signed bundle of the faucet.

    Args:
        txs: Its transactions, index 0 first, not attached.
        after: The tail that it must be confirmed after, if any.
    """

    txs: tuple[Transaction, ...]
    after: str | None


@cache
def faucet_address(index: int) -> str:
    """Derive an address of the faucet.

    Args:
        index: From 0.

    Returns:
        81 trytes.
    """
    return address(FAUCET_SEED, level=FAUCET_LEVEL, index=index)


def genesis_balances(config: DevnetConfig) -> dict[str, int]:
    """Say who owns what at index 0.

    Args:
        config: Names the owner, and the faucet's part.

    Returns:
        Address to iota; sums to the supply.
    """
    if config.genesis_address is None:
        return {faucet_address(0): SUPPLY_I}
    balances = {config.genesis_address: SUPPLY_I - config.faucet_i}
    if config.faucet_i:
        balances[faucet_address(0)] = config.faucet_i
    return balances


def pay(node: Node, *, to: str, amount_i: int, timestamp_s: int) -> Payment:
    """Sign a payment from the first address of the faucet that can afford it.

    Args:
        node: Tells what the faucet owns, confirmed or pending.
        to: 81 trytes.
        amount_i: In iota, above 0.
        timestamp_s: Seconds since the Unix epoch.

    Returns:
        The payment, to be attached.

    Raises:
        FaucetEmptyError: No address of the faucet holds that much.
    """
    index = 0
    while (held_i := _available_i(node, faucet_address(index))) < amount_i:
        if not node.tangle.by_address.get(faucet_address(index)):
            raise FaucetEmptyError(f"the faucet can not pay {amount_i} iota")
        index += 1
    source = faucet_address(index)
    fresh = index + 1
    while node.tangle.by_address.get(faucet_address(fresh)):
        fresh += 1
    entries = [
        Entry(to, amount_i, _TAG),
        Entry(source, -held_i, _TAG),
        Entry(source, 0, _TAG),
    ]
    if held_i > amount_i:
        entries.append(Entry(faucet_address(fresh), held_i - amount_i, _TAG))
    txs = make_signable(draft(entries, timestamp_s=timestamp_s))
    fragments = signature(
        FAUCET_SEED, index=index, level=FAUCET_LEVEL, signed_hash=txs[0].bundle
    )
    signed = with_signature(txs, first=1, fragments=fragments)
    return Payment(tuple(signed), _pending_tail(node, source))


def _available_i(node: Node, owner: str) -> int:
    pending = {
        (record.tx.bundle, record.tx.current_index): record.tx.value_i
        for record in _pending(node, owner)
    }
    return node.balances.get(owner, 0) + sum(pending.values())


def _pending_tail(node: Node, owner: str) -> str | None:
    for record in _pending(node, owner):
        for member in node.tangle.by_bundle.get(record.tx.bundle):
            if member in node.bundles and member not in node.confirmations:
                return member
    return None


def _pending(node: Node, owner: str) -> Iterator[Record]:
    """Yield what will still change an address's balance.

    An attachment that was overtaken by another one of its bundle stays unconfirmed
    for ever: counting it would count the same value twice.
    """
    for tx_hash in node.tangle.by_address.get(owner):
        record = node.tangle.get(tx_hash)
        if record is None or tx_hash in node.confirmations:
            continue
        if not node.has_moved(record.tx.bundle):
            yield record
