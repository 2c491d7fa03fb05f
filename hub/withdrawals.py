# SPDX-License-Identifier: Apache-2.0
"""Withdrawals: checked in the legacy order, reserved in one transaction.

The order of checks is part of the contract: a client that sends two faults at
once must be told of the same one as by Hub 1.4.4. The balance is looked at
twice: once for the order, before the nodes are asked; and once in the statement
that reserves it, which alone decides.
"""

import uuid as uuids
from dataclasses import dataclass
from typing import Final

from failpoints import failpoint
from hub.addresses import SpentOracle, parse_address, refuse_spent
from hub.errors import (
    AddressIneligibleError,
    AmountInvalidError,
    InsufficientBalanceError,
    TagInvalidError,
    WithdrawalUnknownError,
)
from hub.model import (
    Account,
    Address,
    Tag,
    UserId,
    WithdrawalState,
    WithdrawalUuid,
)
from hub.store import Store, Transaction
from trinary.trytes import is_trytes, last_trit_is_zero

TAG_TRYTES: Final = 27


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalWish:
    """What a client asks for, unchecked.

    Attributes:
        user_id: Whose balance pays.
        amount_i: Iota; any integer.
        payout_address: Text that should be an address.
        tag: Text that should be at most 27 trytes.
        validate_checksum: Whether the address must carry its checksum.
    """

    user_id: UserId
    amount_i: int
    payout_address: str
    tag: str = ""
    validate_checksum: bool = False


def parse_tag(text: str) -> Tag:
    """Read a tag and fill it up.

    Args:
        text: At most 27 trytes.

    Returns:
        27 trytes, padded with 9 on the right.

    Raises:
        TagInvalidError: If it is longer or no trytes.
    """
    padded = text.ljust(TAG_TRYTES, "9")
    if not is_trytes(padded, length=TAG_TRYTES):
        message = "a tag is at most 27 trytes"
        raise TagInvalidError(message)
    return Tag(padded)


def parse_uuid(text: str) -> WithdrawalUuid:
    """Read a withdrawal's public name.

    Args:
        text: RFC 4122, either case.

    Returns:
        The same in lower case.

    Raises:
        WithdrawalUnknownError: If it is no UUID.
    """
    try:
        parsed = uuids.UUID(text)
    except ValueError as error:
        message = "this is no UUID"
        raise WithdrawalUnknownError(message) from error
    if str(parsed) != text.lower():  # UUID() also takes braces, urn: and bare hex
        message = "this is no UUID of 36 characters"
        raise WithdrawalUnknownError(message)
    return WithdrawalUuid(str(parsed))


async def request_withdrawal(
    store: Store, oracle: SpentOracle, wish: WithdrawalWish
) -> WithdrawalUuid:
    """Reserve a withdrawal.

    Args:
        store: The database.
        oracle: The nodes.
        wish: What the client asks for. Everything that is wrong with it raises a
            ``RefusedError`` of its own, the first in the legacy order.

    Returns:
        The new withdrawal's public name.
    """
    payout_address = _require_payable(wish)
    tag = parse_tag(wish.tag)
    async with store.looking() as tx:
        account = await tx.accounts.by_identifier(wish.user_id)
        _require_covered(account, wish.amount_i)
        own = await tx.addresses.find(payout_address)
    await refuse_spent(own, oracle, payout_address)
    failpoint("hub.withdrawal.checked")
    uuid = WithdrawalUuid(str(uuids.uuid4()))

    async def reserve(tx: Transaction) -> None:
        await tx.withdrawals.request(
            uuid,
            account.account_id,
            amount_i=wish.amount_i,
            payout_address=payout_address,
            tag=tag,
        )
        failpoint("hub.withdrawal.before-commit")

    await store.run(reserve)
    failpoint("hub.withdrawal.reserved")
    return uuid


async def cancel_withdrawal(store: Store, uuid: WithdrawalUuid) -> None:
    """Give a withdrawal back that no sweep has taken.

    Args:
        store: The database.
        uuid: Its public name; ``WithdrawalUnknownError`` or
            ``WithdrawalFinalError`` say why it stays as it is.
    """

    async def cancel(tx: Transaction) -> None:
        await tx.withdrawals.cancel(uuid)
        failpoint("hub.cancellation.before-commit")

    await store.run(cancel)
    failpoint("hub.cancellation.done")


async def was_cancelled(store: Store, uuid: WithdrawalUuid) -> bool:
    """Say whether a withdrawal was cancelled.

    Args:
        store: The database.
        uuid: Its public name.

    Returns:
        True if it was; ``WithdrawalUnknownError`` if there is none.
    """
    async with store.reading() as tx:
        found = await tx.withdrawals.by_uuid(uuid)
    return found.state is WithdrawalState.CANCELLED


def _require_payable(wish: WithdrawalWish) -> Address:
    if wish.amount_i <= 0:
        message = f"{wish.amount_i} i can not be withdrawn"
        raise AmountInvalidError(message)
    address = parse_address(wish.payout_address, checksum=wish.validate_checksum)
    if not last_trit_is_zero(address):
        message = "the address's last trit is not zero: its key can not exist"
        raise AddressIneligibleError(message)
    return address


def _require_covered(account: Account, amount_i: int) -> None:
    if account.available_i < amount_i:
        message = f"{account.available_i} i are available, {amount_i} i were asked"
        raise InsufficientBalanceError(message)
