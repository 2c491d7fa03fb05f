# SPDX-License-Identifier: Apache-2.0
"""Withdrawals: checked in the legacy order, reserved in one transaction.

The order of checks is part of the contract: a client that sends two faults at
once must be told of the same one as by Hub 1.4.4. The balance is looked at
twice: once for the order, before the nodes are asked; and once in the statement
that reserves it, which alone decides.
"""

import uuid as uuids
from dataclasses import dataclass, field
from typing import Final

from failpoints import failpoint
from hub import tracing
from hub.addresses import SpentOracle, parse_address, refuse_spent
from hub.authorisations import require_fitting
from hub.errors import (
    AddressIneligibleError,
    AmountInvalidError,
    ApprovalRefusedError,
    InsufficientBalanceError,
    TagInvalidError,
    WithdrawalLimitError,
    WithdrawalUnknownError,
)
from hub.model import (
    Account,
    AccountId,
    Address,
    Tag,
    UserId,
    Withdrawal,
    WithdrawalState,
    WithdrawalUuid,
)
from hub.store import Store, Transaction
from hub.store.withdrawals import Requested
from hub.withdrawal_rules import NO_RULES, WithdrawalRules
from trinary.trytes import is_trytes, last_trit_is_zero

TAG_TRYTES: Final = 27
_WAITS: Final = {
    "wait for approval": {WithdrawalState.AWAITING_APPROVAL},
    "wait for authorisation": {WithdrawalState.AWAITING_AUTHORISATION},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalWish:
    """What a client asks for, unchecked.

    Attributes:
        user_id: Whose balance pays.
        amount_i: Iota; any integer.
        payout_address: Text that should be an address.
        tag: Text that should be at most 27 trytes.
        validate_checksum: Whether the address must carry its checksum.
        uuid: Its public name, chosen by the client; empty: we draw one.
        authorisation: Compact JWS of the exchange for the appliance, or empty.
    """

    user_id: UserId
    amount_i: int
    payout_address: str
    tag: str = ""
    validate_checksum: bool = False
    uuid: str = ""
    authorisation: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedWithdrawal:
    """A withdrawal that may be reserved; see ``hub.model.Withdrawal``.

    ``requested`` is what the account had requested when it was looked at; None where
    there is no limit.
    """

    uuid: WithdrawalUuid
    account_id: AccountId
    amount_i: int
    payout_address: Address
    tag: Tag
    state: WithdrawalState
    maker: str
    authorisation: str = field(repr=False)
    requested: Requested | None = None


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
    store: Store,
    oracle: SpentOracle,
    wish: WithdrawalWish,
    *,
    rules: WithdrawalRules = NO_RULES,
    maker: str = "",
) -> WithdrawalUuid:
    """Reserve a withdrawal.

    Args:
        store: The database.
        oracle: The nodes.
        wish: What the client asks for. Everything that is wrong with it raises a
            ``RefusedError`` of its own, the first in the legacy order.
        rules: What is asked of it beyond a balance.
        maker: Who asks: an API key's id or a dialect's name.

    Returns:
        The new withdrawal's public name.
    """
    with tracing.step("check"):
        checked = await check_withdrawal(store, oracle, wish, rules=rules, maker=maker)
    with tracing.step("book"):
        await store.run(lambda tx: reserve_withdrawal(tx, checked, rules=rules))
    failpoint("hub.withdrawal.reserved")
    return checked.uuid


async def check_withdrawal(
    store: Store,
    oracle: SpentOracle,
    wish: WithdrawalWish,
    *,
    rules: WithdrawalRules = NO_RULES,
    maker: str = "",
) -> CheckedWithdrawal:
    """Check a withdrawal in the legacy order, the nodes last; nothing is written.

    Args:
        store: The database.
        oracle: The nodes.
        wish: What the client asks for.
        rules: As in ``request_withdrawal``.
        maker: As there.

    Returns:
        What ``reserve_withdrawal`` takes.
    """
    require_amount(wish.amount_i)
    payout_address = _require_receivable(wish)
    tag = parse_tag(wish.tag)
    async with store.looking() as tx:
        since_ms = rules.since_ms(tx.now_ms)
        look = await tx.withdrawals.look(wish.user_id, payout_address, since_ms)
    require_covered(look.account, wish.amount_i)
    await refuse_spent(look.address_state, oracle, payout_address)
    failpoint("hub.withdrawal.checked")
    checked = CheckedWithdrawal(
        uuid=parse_uuid(wish.uuid or str(uuids.uuid4())),
        account_id=look.account.account_id,
        amount_i=wish.amount_i,
        payout_address=payout_address,
        tag=tag,
        state=rules.state_on_request(
            wish.amount_i, authorised=bool(wish.authorisation)
        ),
        maker=maker,
        authorisation=wish.authorisation,
        requested=look.requested,
    )
    if wish.authorisation:
        require_fitting(
            wish.authorisation,
            uuid=checked.uuid,
            address=payout_address,
            amount_i=wish.amount_i,
            tag=tag,
        )
    return checked


async def reserve_withdrawal(
    tx: Transaction, checked: CheckedWithdrawal, *, rules: WithdrawalRules = NO_RULES
) -> None:
    """Reserve what was checked; balance and limit decide once more, and for good.

    Args:
        tx: The transaction, which may hold more.
        checked: What ``check_withdrawal`` returned.
        rules: What it was checked by.
    """
    ceiling_i = None
    if checked.requested is not None:
        # What came after the look has raised the counter, and counts in full.
        room_i = rules.room_i(checked.requested.since_i)
        ceiling_i = checked.requested.ever_i + room_i - checked.amount_i
    await tx.withdrawals.request(
        checked.uuid,
        checked.account_id,
        amount_i=checked.amount_i,
        payout_address=checked.payout_address,
        tag=checked.tag,
        state=checked.state,
        maker=checked.maker,
        authorisation=checked.authorisation,
        unless_above_i=ceiling_i,
    )
    request = tracing.current()
    request.about(tracing.of_withdrawal(checked.uuid).made())
    request.tell(amount_i=checked.amount_i, state=checked.state.value)
    failpoint("hub.withdrawal.before-commit")


def require_room(
    requested: Requested | None, rules: WithdrawalRules, *, asked_i: int
) -> None:
    """Insist that an account stays within its limit, as far as a look can tell.

    Args:
        requested: What was looked up; None when there is no limit.
        rules: The limit.
        asked_i: What is to be requested next, in iota.

    Raises:
        WithdrawalLimitError: If it would be too much.
    """
    if requested is None:
        return
    room_i = rules.room_i(requested.since_i)
    if asked_i > room_i:
        message = f"{asked_i} i are more than the {room_i} i left within the limit"
        raise WithdrawalLimitError(message)


async def approve_withdrawal(
    tx: Transaction, uuid: WithdrawalUuid, *, checker: str, rules: WithdrawalRules
) -> None:
    """Approve a withdrawal that somebody else has asked for.

    Args:
        tx: The transaction, which may hold more.
        uuid: Its public name.
        checker: The API key that approves.
        rules: What it waits for next.

    Raises:
        ApprovalRefusedError: If it waits for none, or its maker approves it.
    """
    found = await tx.withdrawals.by_uuid(uuid, lock=True)
    if found.state is not WithdrawalState.AWAITING_APPROVAL:
        message = f"withdrawal {uuid} is {found.state.value}: it waits for no approval"
        raise ApprovalRefusedError(message)
    if checker == found.maker:
        message = "the key that asked for a withdrawal can not approve it"
        raise ApprovalRefusedError(message)
    state = rules.state_once_approved(
        found.amount_i, authorised=bool(found.authorisation)
    )
    await _tell_wait(tx, found, "wait for approval")
    await tx.withdrawals.approve(found, checker=checker, state=state)


async def authorise_withdrawal(
    tx: Transaction, uuid: WithdrawalUuid, authorisation: str
) -> None:
    """Attach the exchange's signature to a withdrawal that was requested.

    Args:
        tx: The transaction, which may hold more.
        uuid: Its public name.
        authorisation: Compact JWS over this withdrawal.
    """
    found = await tx.withdrawals.by_uuid(uuid, lock=True)
    require_fitting(
        authorisation,
        uuid=uuid,
        address=found.payout_address,
        amount_i=found.amount_i,
        tag=found.tag,
    )
    await _tell_wait(tx, found, "wait for authorisation")
    await tx.withdrawals.authorise(uuid, authorisation)
    failpoint("hub.authorisation.before-commit")


async def _tell_wait(tx: Transaction, found: Withdrawal, name: str) -> None:
    """Tell the trace of a wait that the request under way ends, if it does."""
    request, subject = tracing.current(), tracing.of_withdrawal(found.uuid)
    request.about(subject.made())
    if tracing.is_on() and found.state in _WAITS[name]:
        request.waited(name, subject, since_ms=await tx.withdrawals.since_ms(found))


async def give_back(tx: Transaction, uuid: WithdrawalUuid) -> None:
    """Cancel a withdrawal.

    Args:
        tx: The transaction, which may hold more.
        uuid: Its public name.
    """
    found = await tx.withdrawals.cancel(uuid)
    request, subject = tracing.current(), tracing.of_withdrawal(uuid)
    request.about(subject.made())
    request.lived(
        "withdrawal",
        subject,
        since_ms=found.requested_at_ms,
        amount_i=found.amount_i,
        state=WithdrawalState.CANCELLED.value,
    )


async def cancel_withdrawal(store: Store, uuid: WithdrawalUuid) -> None:
    """Give a withdrawal back that no sweep has taken.

    Args:
        store: The database.
        uuid: Its public name; ``WithdrawalUnknownError`` or
            ``WithdrawalFinalError`` say why it stays as it is.
    """

    async def cancel(tx: Transaction) -> None:
        await give_back(tx, uuid)
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


def require_amount(amount_i: int) -> None:
    """Insist on a positive amount.

    Args:
        amount_i: Iota.

    Raises:
        AmountInvalidError: If it is none.
    """
    if amount_i <= 0:
        message = f"{amount_i} i can not be withdrawn"
        raise AmountInvalidError(message)


def _require_receivable(wish: WithdrawalWish) -> Address:
    address = parse_address(wish.payout_address, checksum=wish.validate_checksum)
    require_last_trit(address)
    return address


def require_last_trit(address: Address) -> None:
    """Insist on an address whose key can exist.

    Args:
        address: 81 trytes.

    Raises:
        AddressIneligibleError: If its last trit is not zero.
    """
    if not last_trit_is_zero(address):
        message = "the address's last trit is not zero: its key can not exist"
        raise AddressIneligibleError(message)


def require_covered(account: Account, amount_i: int) -> None:
    """Insist that an account has enough, as far as a look can tell.

    Args:
        account: As it was read.
        amount_i: Iota.

    Raises:
        InsufficientBalanceError: If it has less.
    """
    if account.available_i < amount_i:
        message = f"{account.available_i} i are available, {amount_i} i were asked"
        raise InsufficientBalanceError(message)
