# SPDX-License-Identifier: Apache-2.0
"""Double-entry postings and what must hold for each; pure.

The books are of two sides. *Assets*: what each address of ours holds on the
Tangle, and what cold storage holds or is about to receive. *Liabilities*: what we
owe each account, as available, unswept (on a deposit address, not yet credited),
pending (in a withdrawal) or quarantined. A posting changes both sides by the same
sum, so that at any time

    sum of all addresses and cold storage
        == sum of all four liabilities of all accounts,

and no balance ever falls below zero. The store applies a posting under row
locks and with the same two rules as CHECK constraints.
"""

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hub.errors import (
    BatchInvalidError,
    BatchUnbalancedError,
    InsufficientBalanceError,
    LedgerImbalanceError,
)
from hub.model import MAX_SUPPLY_I, AccountId, AddressId, ColdId, CreditPolicy


class Book(enum.Enum):
    """Which balance of an address or account a leg changes."""

    ADDRESS = "address"
    """Asset: what one address holds."""
    COLD = "cold"
    """Asset: what a cold address holds, or is owed by a move under way."""
    AVAILABLE = "available"
    """Liability: what an account may spend."""
    UNSWEPT = "unswept"
    """Liability: confirmed for an account, not yet credited."""
    PENDING = "pending"
    """Liability: reserved for an account's withdrawals."""
    QUARANTINED = "quarantined"
    """Liability: held back for an account."""


ASSETS: Final = frozenset({Book.ADDRESS, Book.COLD})


class PostingKind(enum.Enum):
    """What happened, as the journal of postings names it."""

    DEPOSIT = "deposit"
    """A deposit confirmed."""
    QUARANTINE = "quarantine"
    """A deposit arrived and is held back, or was overtaken by a sweep."""
    RELEASE = "release"
    """A held-back deposit was released by an operator."""
    SWEEP = "sweep"
    """A sweep was signed."""
    WITHDRAWAL = "withdrawal"
    """A withdrawal was requested."""
    CANCELLATION = "cancellation"
    """A withdrawal was cancelled."""
    TRANSFER = "transfer"
    """A transfer batch between accounts."""
    COLD_MOVE = "cold-move"
    """A move to cold storage was asked for."""
    COLD_CANCEL = "cold-cancel"
    """A move to cold storage was called off."""
    COLD_RETURN = "cold-return"
    """Value came back from cold storage."""


@dataclass(frozen=True, slots=True, order=True)
class BalanceKey:
    """One balance: a book and the address or account it is about.

    Attributes:
        book_name: The value of its ``Book``; a text, so that keys have an order.
        ref_id: The row of the address or account.
    """

    book_name: str
    ref_id: int

    @property
    def book(self) -> Book:
        """Which book."""
        return Book(self.book_name)


@dataclass(frozen=True, slots=True)
class Leg:
    """A change of one balance.

    Attributes:
        key: Which balance.
        amount_i: By how much, in iota; never 0.
    """

    key: BalanceKey
    amount_i: int


@dataclass(frozen=True, slots=True)
class Posting:
    """Changes that happen together or not at all.

    Attributes:
        kind: What happened.
        legs: At most one per balance, none of 0, in the order of their keys.
    """

    kind: PostingKind
    legs: tuple[Leg, ...]

    def __post_init__(self) -> None:
        assets_i = sum(x.amount_i for x in self.legs if x.key.book in ASSETS)
        liabilities_i = sum(x.amount_i for x in self.legs if x.key.book not in ASSETS)
        if assets_i != liabilities_i:
            message = f"{self.kind}: assets {assets_i} i, liabilities {liabilities_i} i"
            raise LedgerImbalanceError(message)


def address(address_id: AddressId) -> BalanceKey:
    """Return the balance that is what an address holds."""
    return BalanceKey(Book.ADDRESS.value, address_id)


def cold(cold_id: ColdId) -> BalanceKey:
    """Return the balance that is what a cold address holds or is about to."""
    return BalanceKey(Book.COLD.value, cold_id)


def available(account_id: AccountId) -> BalanceKey:
    """Return the balance that is what an account may spend."""
    return BalanceKey(Book.AVAILABLE.value, account_id)


def unswept(account_id: AccountId) -> BalanceKey:
    """Return the balance confirmed for an account and not yet credited."""
    return BalanceKey(Book.UNSWEPT.value, account_id)


def pending(account_id: AccountId) -> BalanceKey:
    """Return the balance that an account's withdrawals reserve."""
    return BalanceKey(Book.PENDING.value, account_id)


def quarantined(account_id: AccountId) -> BalanceKey:
    """Return the balance held back for an account."""
    return BalanceKey(Book.QUARANTINED.value, account_id)


def _posting(kind: PostingKind, legs: Iterable[tuple[BalanceKey, int]]) -> Posting:
    # Net per balance, drop zeros, put in order.
    net: Counter[BalanceKey] = Counter()
    for key, amount_i in legs:
        net[key] += amount_i
    return Posting(kind, tuple(Leg(k, net[k]) for k in sorted(net) if net[k]))


def _require_amount(amount_i: int) -> None:
    if not 0 < amount_i <= MAX_SUPPLY_I:
        message = f"{amount_i} i is not an amount that can be booked"
        raise LedgerImbalanceError(message)


def deposit_seen(
    address_id: AddressId,
    account_id: AccountId,
    *,
    amount_i: int,
    credit: CreditPolicy,
) -> Posting:
    """Book a confirmed deposit.

    Args:
        address_id: Where it arrived.
        account_id: Whose address that is.
        amount_i: Iota, positive.
        credit: Whether the account may spend it at once.

    Returns:
        Address up; the account's available or unswept balance up.
    """
    _require_amount(amount_i)
    owed = available if credit is CreditPolicy.CONFIRMATION else unswept
    legs = [(address(address_id), amount_i), (owed(account_id), amount_i)]
    return _posting(PostingKind.DEPOSIT, legs)


def deposit_quarantined(
    address_id: AddressId, account_id: AccountId, *, amount_i: int
) -> Posting:
    """Book value that arrived and is held back.

    Args:
        address_id: Where it arrived.
        account_id: Whose address that is.
        amount_i: Iota, positive.

    Returns:
        Address up; the account's quarantined balance up.
    """
    _require_amount(amount_i)
    legs = [(address(address_id), amount_i), (quarantined(account_id), amount_i)]
    return _posting(PostingKind.QUARANTINE, legs)


def quarantine_released(account_id: AccountId, *, amount_i: int) -> Posting:
    """Book that an operator released a held-back deposit.

    Args:
        account_id: Whose it is.
        amount_i: Iota, positive.

    Returns:
        Quarantined down; unswept up: the next sweep credits it.
    """
    _require_amount(amount_i)
    legs = [(quarantined(account_id), -amount_i), (unswept(account_id), amount_i)]
    return _posting(PostingKind.RELEASE, legs)


def funds_recovered(
    address_id: AddressId, account_id: AccountId, *, amount_i: int
) -> Posting:
    """Book held-back value that left a spent address, by approval of operators.

    Args:
        address_id: Where it was.
        account_id: Whose it was.
        amount_i: Iota, positive.

    Returns:
        Address down; the account's quarantined balance down.
    """
    _require_amount(amount_i)
    legs = [(address(address_id), -amount_i), (quarantined(account_id), -amount_i)]
    return _posting(PostingKind.RELEASE, legs)


def deposits_overtaken(amounts_i: Mapping[AccountId, int]) -> Posting:
    """Book deposits that arrived between a sweep's plan and its signature.

    Args:
        amounts_i: What is left behind on spent addresses, per account, in iota.

    Returns:
        Unswept down; quarantined up.
    """
    legs: list[tuple[BalanceKey, int]] = []
    for account_id, amount_i in amounts_i.items():
        legs += [(unswept(account_id), -amount_i), (quarantined(account_id), amount_i)]
    return _posting(PostingKind.QUARANTINE, legs)


def sweep_signed(
    *,
    inputs: Sequence[tuple[AddressId, int]],
    remainder: tuple[AddressId, int] | None,
    payouts: Sequence[tuple[AccountId, int]],
    credits_i: Mapping[AccountId, int],
) -> Posting:
    """Book a sweep the moment its signature exists.

    Args:
        inputs: Addresses emptied and by how much, in iota.
        remainder: Our address that receives the rest and how much, if any.
        payouts: Withdrawals paid: account and amount in iota.
        credits_i: Deposits taken that become available now, per account, in iota.

    Returns:
        Inputs down, remainder up, pending down, unswept to available. Inputs
        that are not remainder plus payouts raise ``LedgerImbalanceError``.
    """
    legs = [(address(address_id), -amount_i) for address_id, amount_i in inputs]
    if remainder is not None:
        legs.append((address(remainder[0]), remainder[1]))
    legs += [(pending(account_id), -amount_i) for account_id, amount_i in payouts]
    for account_id, amount_i in credits_i.items():
        legs += [(unswept(account_id), -amount_i), (available(account_id), amount_i)]
    return _posting(PostingKind.SWEEP, legs)


def withdrawal_requested(account_id: AccountId, *, amount_i: int) -> Posting:
    """Book the reservation of a withdrawal.

    Args:
        account_id: Whose balance pays it.
        amount_i: Iota, positive.

    Returns:
        Available down; pending up.
    """
    _require_amount(amount_i)
    legs = [(available(account_id), -amount_i), (pending(account_id), amount_i)]
    return _posting(PostingKind.WITHDRAWAL, legs)


def withdrawal_cancelled(account_id: AccountId, *, amount_i: int) -> Posting:
    """Book that a withdrawal is given back.

    Args:
        account_id: Whose balance it returns to.
        amount_i: Iota, positive.

    Returns:
        Pending down; available up.
    """
    _require_amount(amount_i)
    legs = [(pending(account_id), -amount_i), (available(account_id), amount_i)]
    return _posting(PostingKind.CANCELLATION, legs)


def cold_move_requested(
    cold_id: ColdId, owner_id: AccountId, *, amount_i: int
) -> Posting:
    """Book that value is to go to cold storage.

    The sweep that carries it pays it out like a withdrawal of the owner's, so it
    stands in the owner's pending balance until then.

    Args:
        cold_id: Where it goes.
        owner_id: The hub owner's account.
        amount_i: Iota, positive.

    Returns:
        Cold storage up; the owner's pending up.
    """
    _require_amount(amount_i)
    legs = [(cold(cold_id), amount_i), (pending(owner_id), amount_i)]
    return _posting(PostingKind.COLD_MOVE, legs)


def cold_move_cancelled(
    cold_id: ColdId, owner_id: AccountId, *, amount_i: int
) -> Posting:
    """Book that value stays here after all.

    Args:
        cold_id: Where it would have gone.
        owner_id: The hub owner's account.
        amount_i: Iota, positive.

    Returns:
        Cold storage down; the owner's pending down.
    """
    _require_amount(amount_i)
    legs = [(cold(cold_id), -amount_i), (pending(owner_id), -amount_i)]
    return _posting(PostingKind.COLD_CANCEL, legs)


def cold_returned(cold_id: ColdId, owner_id: AccountId, *, amount_i: int) -> Posting:
    """Book that a deposit to the owner was value from cold storage.

    Args:
        cold_id: Where it came from.
        owner_id: The hub owner's account, which the deposit was credited to.
        amount_i: Iota, positive.

    Returns:
        Cold storage down; the owner's available down.
    """
    _require_amount(amount_i)
    legs = [(cold(cold_id), -amount_i), (available(owner_id), -amount_i)]
    return _posting(PostingKind.COLD_RETURN, legs)


def transfer_batch(net_i: Mapping[AccountId, int]) -> Posting:
    """Book transfers between accounts, netted per account.

    Args:
        net_i: What each account gains (positive) or loses, in iota.

    Returns:
        The accounts' available balances, changed by that.

    Raises:
        BatchInvalidError: If an amount is zero or beyond the supply.
        BatchUnbalancedError: If the amounts do not add up to zero.
    """
    for account_id, amount_i in net_i.items():
        if not 0 < abs(amount_i) <= MAX_SUPPLY_I:
            message = f"account {account_id}: {amount_i} i can not be transferred"
            raise BatchInvalidError(message)
    if sum(net_i.values()) != 0:
        message = f"the batch adds up to {sum(net_i.values())} i"
        raise BatchUnbalancedError(message)
    legs = [(available(account_id), amount_i) for account_id, amount_i in net_i.items()]
    return _posting(PostingKind.TRANSFER, legs)


def legacy_address(
    address_id: AddressId, owed: BalanceKey, *, amount_i: int
) -> Posting:
    """Book what an address brought over from an old Hub holds.

    Args:
        address_id: Where it lies.
        owed: Whose it is: an account's unswept or quarantined balance, or what the
            hub's owner has.
        amount_i: Iota, positive.

    Returns:
        Address up; what is owed up.
    """
    _require_amount(amount_i)
    legs = [(address(address_id), amount_i), (owed, amount_i)]
    return _posting(PostingKind.DEPOSIT, legs)


def legacy_account(
    owner_id: AccountId, account_id: AccountId, *, available_i: int, pending_i: int
) -> Posting:
    """Book what an account brought over from an old Hub may spend.

    Args:
        owner_id: The hub's owner, who has what lies on hub addresses.
        account_id: The account.
        available_i: Iota it may spend.
        pending_i: Iota that its waiting withdrawals reserve.

    Returns:
        The owner's available down; the account's available and pending up.
    """
    legs = [
        (available(owner_id), -available_i - pending_i),
        (available(account_id), available_i),
        (pending(account_id), pending_i),
    ]
    return _posting(PostingKind.TRANSFER, legs)


def apply(
    posting: Posting, balances_i: Mapping[BalanceKey, int]
) -> Counter[BalanceKey]:
    """Compute the balances after a posting.

    Args:
        posting: What happened.
        balances_i: Before, in iota; absent means 0.

    Returns:
        After, as a new mapping.

    Raises:
        InsufficientBalanceError: If a balance would fall below zero.
    """
    after = Counter(balances_i)
    for leg in posting.legs:
        after[leg.key] += leg.amount_i
        if after[leg.key] < 0:
            message = f"{leg.key} would fall to {after[leg.key]} i"
            raise InsufficientBalanceError(message)
    return after


def totals_i(balances_i: Mapping[BalanceKey, int]) -> tuple[int, int]:
    """Add up both sides of the books.

    Args:
        balances_i: Every balance, in iota.

    Returns:
        Assets and liabilities; equal, or something is broken.
    """
    assets_i = sum(v for k, v in balances_i.items() if k.book in ASSETS)
    return assets_i, sum(balances_i.values()) - assets_i
