# SPDX-License-Identifier: Apache-2.0
"""Addresses: read at the edge, and drawn fresh for each deposit.

``parse_address`` turns a client's text into an ``Address``; ``new_address`` asks
the appliance for one, makes sure that nobody has spent from it, and records it
before anybody is told.
"""

import logging
from collections.abc import Sequence
from typing import Final, Protocol

from failpoints import failpoint
from hub.errors import (
    AddressMalformedError,
    AddressSpentError,
    ApplianceUnavailableError,
    ChecksumInvalidError,
)
from hub.model import (
    Account,
    Address,
    AddressState,
    IssuedAddress,
)
from hub.receipts import user_commitment
from hub.store import Store, Transaction
from trinary.errors import TrinaryError
from trinary.kerl import split_checksum
from trinary.trytes import is_trytes

MAX_DRAWS: Final = 3
"""How many addresses are tried before the appliance or the nodes must be odd."""
_log = logging.getLogger(__name__)


class AddressIssuer(Protocol):
    """Issues addresses whose keys only the appliance can derive."""

    async def issue(self, user_commitment: str) -> IssuedAddress:
        """Issue an address nobody has seen, its receipt verified.

        Args:
            user_commitment: SHA-256 in hex; empty for the hub's owner.
        """


class ReadyAddresses(Protocol):
    """Addresses that were issued before anybody asked."""

    def take(self) -> IssuedAddress | None:
        """Take one out for good; None when there is none."""


class SpentOracle(Protocol):
    """Knows which addresses were spent from, anywhere."""

    async def were_spent(self, addresses: Sequence[Address]) -> Sequence[bool]:
        """Say for each address whether a node knows of a spend.

        Args:
            addresses: 81 trytes each.
        """


def parse_address(text: str, *, checksum: bool) -> Address:
    """Read an address a client sent.

    Args:
        text: 81 trytes, or 90 with the checksum.
        checksum: Whether the nine last trytes must be there and be right.

    Returns:
        81 trytes.

    Raises:
        ChecksumInvalidError: If the checksum is missing or wrong, whatever the
            length of the text.
        AddressMalformedError: If it is not 81 trytes.
    """
    if checksum:
        try:
            return Address(split_checksum(text))
        except TrinaryError as error:
            message = "the address does not end with its checksum"
            raise ChecksumInvalidError(message) from error
    if not is_trytes(text, length=81):
        message = f"an address is 81 trytes, these are {len(text)} characters"
        raise AddressMalformedError(message)
    return Address(text)


async def was_spent(store: Store, oracle: SpentOracle, address: Address) -> bool:
    """Say whether an address was spent from, by our records or a node's.

    A pruned node forgets spends; our records do not. They answer first, and need
    no node.

    Args:
        store: The database.
        oracle: The nodes.
        address: Any address.

    Returns:
        True if either knows of a spend.
    """
    state = await _state_of(store, address)
    return await _is_spent(state, oracle, address)


async def new_address(
    store: Store,
    account: Account,
    *,
    issuer: AddressIssuer,
    oracle: SpentOracle,
    ready: ReadyAddresses | None = None,
) -> Address:
    """Take a ready deposit address for an account, or draw one, and record it.

    Args:
        store: The database.
        account: Whose deposits it will receive.
        issuer: The appliance.
        oracle: The nodes.
        ready: Where to look first.

    Returns:
        An address that no record and no node knows to be spent; recorded.
    """
    issued = await draw_address(
        store, account, issuer=issuer, oracle=oracle, ready=ready
    )

    async def record(tx: Transaction) -> None:
        await tx.addresses.add(account.account_id, issued)
        failpoint("hub.address.before-commit")

    await store.run(record)
    failpoint("hub.address.recorded")
    return issued.address


async def draw_address(
    store: Store,
    account: Account,
    *,
    issuer: AddressIssuer,
    oracle: SpentOracle,
    ready: ReadyAddresses | None = None,
) -> IssuedAddress:
    """Take a ready address for an account, or draw one; the caller records it.

    Args:
        store: The database.
        account: Whose deposits it will receive.
        issuer: The appliance.
        oracle: The nodes.
        ready: Where to look first.

    Returns:
        An address that no record and no node knows to be spent.

    Raises:
        ApplianceUnavailableError: If none of ``MAX_DRAWS`` addresses was fresh.
    """
    taken = None if ready is None else ready.take()
    if taken is not None:
        return taken
    commitment = user_commitment(account.identifier)
    for _ in range(MAX_DRAWS):
        issued = await issuer.issue(commitment)
        failpoint("hub.address.issued")
        if await is_fresh(store, issued, oracle=oracle):
            return issued
        _log.warning("address not fresh, drawing another: %s", issued.address)
    message = f"{MAX_DRAWS} addresses in a row were not fresh"
    raise ApplianceUnavailableError(message)


async def _state_of(store: Store, address: Address) -> AddressState | None:
    async with store.looking() as tx:
        own = await tx.addresses.find(address)
    return None if own is None else own.state


async def _is_spent(
    state: AddressState | None, oracle: SpentOracle, address: Address
) -> bool:
    if state is AddressState.SPENT:
        return True
    return (await oracle.were_spent([address]))[0]


async def require_unspent(store: Store, oracle: SpentOracle, address: Address) -> None:
    """Insist that nothing is sent to an address that was spent from.

    Args:
        store: The database.
        oracle: The nodes.
        address: Where value is to go; ``AddressSpentError`` if it was spent from.
    """
    await refuse_spent(await _state_of(store, address), oracle, address)


async def refuse_spent(
    state: AddressState | None, oracle: SpentOracle, address: Address
) -> None:
    """Do as ``require_unspent``, for whoever has looked at our records already.

    Args:
        state: What our records say of the address; None if it is none of ours.
        oracle: The nodes.
        address: Where value is to go.

    Raises:
        AddressSpentError: If it was spent from.
    """
    if await _is_spent(state, oracle, address):
        message = f"{address} was already spent from"
        raise AddressSpentError(message)


async def is_fresh(store: Store, issued: IssuedAddress, *, oracle: SpentOracle) -> bool:
    """Say whether an address may be given to somebody.

    Args:
        store: The database.
        issued: As the appliance answered.
        oracle: The nodes.

    Returns:
        True if no record of ours has it or its UUID, and no node a spend from it.
    """
    async with store.reading() as tx:
        recorded = await tx.addresses.is_recorded(
            seed_uuid=issued.seed_uuid, text=issued.address
        )
    return not recorded and not (await oracle.were_spent([issued.address]))[0]
