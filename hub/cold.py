# SPDX-License-Identifier: Apache-2.0
"""Cold storage: value kept where neither the hub nor its appliance can spend it.

A cold address belongs to the exchange; its key is in a safe, not here. What is moved
there is paid out by an ordinary sweep, stays in our books as an asset, and comes back
as a deposit to the hub owner. A Winternitz address is spent from once: as soon as
something is to come back from it, nothing more is sent there.
"""

import uuid as uuids
from typing import Final

from hub.addresses import AddressIssuer, SpentOracle, new_address, require_unspent
from hub.errors import (
    AddressIneligibleError,
    AmountInvalidError,
    ColdStorageError,
    InsufficientBalanceError,
)
from hub.model import Address, WithdrawalUuid
from hub.store import Store, Transaction
from trinary.trytes import last_trit_is_zero

MAX_LABEL: Final = 64


async def add_cold_address(
    store: Store, oracle: SpentOracle, *, label: str, address: Address
) -> None:
    """Record an address of the exchange's own.

    Args:
        store: The database.
        oracle: The nodes: an address that was spent from is refused.
        label: What people call it, 1-64 characters.
        address: 81 trytes, checksum verified.

    Raises:
        ColdStorageError: If it can not be one, or is recorded already.
        AddressIneligibleError: If its last trit is not zero.
    """
    if not 0 < len(label.strip()) <= MAX_LABEL:
        raise ColdStorageError("a label has 1-64 characters")
    if not last_trit_is_zero(address):
        raise AddressIneligibleError("the address's last trit is not zero")
    async with store.reading() as tx:
        own = await tx.addresses.find(address)
    if own is not None:
        raise ColdStorageError("this address is the hub's: the appliance has its key")
    await require_unspent(store, oracle, address)
    await store.run(lambda tx: tx.cold.add(label.strip(), address))


async def move_to_cold(
    store: Store, oracle: SpentOracle, *, label: str, amount_i: int
) -> WithdrawalUuid:
    """Ask for a move; the next sweeps carry it after what waits already.

    Args:
        store: The database.
        oracle: The nodes.
        label: Which cold address.
        amount_i: Iota, positive, and not more than what no withdrawal waits for.

    Returns:
        The name it can be followed and cancelled by.

    Raises:
        ColdStorageError: If nothing more may go there.
        AmountInvalidError: If the amount is not positive.
    """
    if amount_i <= 0:
        raise AmountInvalidError(f"{amount_i} i can not be moved")
    async with store.reading() as tx:
        cold = await tx.cold.by_label(label)
    await require_unspent(store, oracle, cold.address)
    uuid = WithdrawalUuid(str(uuids.uuid4()))

    async def move(tx: Transaction) -> None:
        found = await tx.cold.by_label(label)
        if found.closed:
            raise ColdStorageError(f"{label!r} is closed: its key may have signed")
        free_i = await tx.addresses.total_i() - await tx.withdrawals.waiting_i()
        if amount_i > free_i:
            message = f"{max(free_i, 0)} i are here that no withdrawal waits for"
            raise InsufficientBalanceError(message)
        owner = await tx.accounts.owner()
        await tx.withdrawals.request_cold_move(
            uuid, owner.account_id, found, amount_i=amount_i
        )

    await store.run(move)
    return uuid


async def bring_back(
    store: Store, issuer: AddressIssuer, oracle: SpentOracle, *, label: str
) -> Address:
    """Get an address to pay to from a cold address, which is closed by this.

    Args:
        store: The database.
        issuer: The appliance.
        oracle: The nodes.
        label: Which cold address.

    Returns:
        A fresh address of the hub owner's. Pay everything there: what stays on an
        address whose key has signed is in danger.

    Raises:
        ColdStorageError: If a sweep is still to pay to it: it would arrive at a
            spent address.
    """

    async def close(tx: Transaction) -> None:
        found = await tx.cold.by_label(label)
        if found.on_the_way_i:
            message = f"{found.on_the_way_i} i are on the way to {label!r}: wait"
            raise ColdStorageError(message)
        await tx.cold.close(found.cold_id)

    await store.run(close)
    async with store.reading() as tx:
        owner = await tx.accounts.owner()
    return await new_address(store, owner, issuer=issuer, oracle=oracle)


async def book_return(store: Store, *, label: str, amount_i: int) -> None:
    """Say that a confirmed deposit of the owner's was value from a cold address.

    Args:
        store: The database.
        label: Which cold address.
        amount_i: Iota; ``InsufficientBalanceError`` if the owner's account or the
            cold address has less.

    Raises:
        AmountInvalidError: If the amount is not positive.
    """
    if amount_i <= 0:
        raise AmountInvalidError(f"{amount_i} i can not have come back")

    async def book(tx: Transaction) -> None:
        cold = await tx.cold.by_label(label)
        owner = await tx.accounts.owner()
        await tx.cold.book_return(cold.cold_id, owner.account_id, amount_i=amount_i)

    await store.run(book)
