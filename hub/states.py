# SPDX-License-Identifier: Apache-2.0
"""The states things pass through, and the one table of what may follow what; pure.

``require_transition`` is the only judge of a change. The rest of the hub imports
these names from ``hub.model``.
"""

import enum
from collections.abc import Mapping
from typing import Final, TypeVar

from hub.errors import TransitionError


class AccountKind(enum.Enum):
    """Whose money an account holds."""

    USER = "user"
    """A customer of the exchange."""
    OWNER = "owner"
    """The hub's owner: hub addresses belong to it, and what arrives there."""
    FEE = "fee"
    """Where the exchange collects fees."""


class CreditPolicy(enum.Enum):
    """When a confirmed deposit becomes spendable by its user."""

    SWEEP = "sweep"
    """When a signed sweep has taken it off the deposit address (legacy)."""
    CONFIRMATION = "confirmation"
    """At once."""


class AddressState(enum.Enum):
    """What an address may still be used for."""

    OPEN = "open"
    """Receives; may become an input of the next sweep."""
    RESERVED = "reserved"
    """An input of a sweep that is planned and not yet signed or refused."""
    SPENT = "spent"
    """Its key has signed; never an input again, what arrives is quarantined."""
    QUARANTINED = "quarantined"
    """Holds value nobody can explain; not swept until an operator releases it."""


class DepositState(enum.Enum):
    """How far a deposit has come."""

    CONFIRMED = "confirmed"
    """On the address; its user cannot spend it yet."""
    CREDITED = "credited"
    """In its user's available balance."""
    QUARANTINED = "quarantined"
    """Held back: on a spent address, or without a history that explains it."""


class WithdrawalState(enum.Enum):
    """How far a withdrawal has come."""

    AWAITING_APPROVAL = "awaiting-approval"
    """Reserved; no sweep takes it before another key than its maker's approved."""
    AWAITING_AUTHORISATION = "awaiting-authorisation"
    """Reserved; no sweep takes it before the exchange's signature has come."""
    REQUESTED = "requested"
    """Reserved from the user's balance; may still be cancelled."""
    PLANNED = "planned"
    """An output of a planned sweep; too late to cancel."""
    PAID = "paid"
    """An output of a signed sweep."""
    CANCELLED = "cancelled"
    """Given back to the user."""


class SweepState(enum.Enum):
    """How far a sweep has come."""

    PLANNED = "planned"
    """Stored whole, unsigned; the appliance may be asked, any number of times."""
    REFUSED = "refused"
    """The appliance will never sign it: inputs and withdrawals were released."""
    SIGNED = "signed"
    """Signed and booked; not yet sent to a node."""
    ATTACHED = "attached"
    """At least one tail was sent to a node."""
    CONFIRMED = "confirmed"
    """The quorum shows one tail confirmed; never attached again."""


class EventReason(enum.Enum):
    """Why a balance changed, in the words of the legacy event history.

    Source: Hub 1.4.4, hub/commands/converter.
    """

    DEPOSIT = "DEPOSIT"
    """A deposit was credited to an account."""
    BUY = "BUY"
    """A transfer batch gave tokens to an account."""
    WITHDRAWAL = "WITHDRAWAL"
    """A withdrawal was requested; negative."""
    WITHDRAWAL_CANCELED = "WITHDRAWAL_CANCELED"
    """A withdrawal was given back."""
    SELL = "SELL"
    """A transfer batch took tokens from an account; negative."""
    UA_DEPOSIT = "UA_DEPOSIT"
    """A deposit was confirmed on a user's address."""
    UA_SWEEP = "UA_SWEEP"
    """A sweep emptied a user's address; negative."""
    INBOUND = "INBOUND"
    """A sweep's remainder went to a hub address."""
    OUTBOUND = "OUTBOUND"
    """A sweep emptied a hub address; negative."""


class NoticeReason(enum.Enum):
    """What else the event history tells, and only ``/v1`` shows.

    The legacy streams ask for members of ``EventReason`` and never meet these.
    """

    WITHDRAWAL_APPROVED = "WITHDRAWAL_APPROVED"
    """Another key than its maker's has approved it."""
    WITHDRAWAL_AUTHORISED = "WITHDRAWAL_AUTHORISED"
    """The exchange's signature on a withdrawal has come."""
    WITHDRAWAL_PLANNED = "WITHDRAWAL_PLANNED"
    """A planned sweep pays it: too late to cancel."""
    WITHDRAWAL_RELEASED = "WITHDRAWAL_RELEASED"
    """Its sweep was refused; it waits again."""
    WITHDRAWAL_PAID = "WITHDRAWAL_PAID"
    """The sweep that pays it is signed."""
    WITHDRAWAL_CONFIRMED = "WITHDRAWAL_CONFIRMED"
    """The sweep that pays it is confirmed."""
    SWEEP_PLANNED = "SWEEP_PLANNED"
    """Stored whole, unsigned."""
    SWEEP_REFUSED = "SWEEP_REFUSED"
    """The appliance will never sign it."""
    SWEEP_SIGNED = "SWEEP_SIGNED"
    """Signed and booked."""
    SWEEP_ATTACHED = "SWEEP_ATTACHED"
    """The first of its tails was sent to a node."""
    SWEEP_CONFIRMED = "SWEEP_CONFIRMED"
    """The quorum shows one tail confirmed."""
    WEBHOOK_DISABLED = "WEBHOOK_DISABLED"
    """A webhook failed for too long; nothing is sent to it any more."""


State = TypeVar("State", bound=enum.Enum)

TRANSITIONS: Final[Mapping[enum.Enum, frozenset[enum.Enum]]] = {
    AddressState.OPEN: frozenset({AddressState.RESERVED, AddressState.QUARANTINED}),
    AddressState.RESERVED: frozenset(
        {AddressState.OPEN, AddressState.SPENT, AddressState.QUARANTINED}
    ),
    AddressState.SPENT: frozenset(),
    AddressState.QUARANTINED: frozenset({AddressState.OPEN}),
    DepositState.CONFIRMED: frozenset(
        {DepositState.CREDITED, DepositState.QUARANTINED}
    ),
    DepositState.CREDITED: frozenset(),
    DepositState.QUARANTINED: frozenset({DepositState.CONFIRMED}),
    WithdrawalState.AWAITING_APPROVAL: frozenset(
        {
            WithdrawalState.AWAITING_AUTHORISATION,
            WithdrawalState.REQUESTED,
            WithdrawalState.CANCELLED,
        }
    ),
    WithdrawalState.AWAITING_AUTHORISATION: frozenset(
        {WithdrawalState.REQUESTED, WithdrawalState.CANCELLED}
    ),
    WithdrawalState.REQUESTED: frozenset(
        {WithdrawalState.PLANNED, WithdrawalState.CANCELLED}
    ),
    WithdrawalState.PLANNED: frozenset(
        {WithdrawalState.REQUESTED, WithdrawalState.PAID}
    ),
    WithdrawalState.PAID: frozenset(),
    WithdrawalState.CANCELLED: frozenset(),
    SweepState.PLANNED: frozenset({SweepState.SIGNED, SweepState.REFUSED}),
    SweepState.REFUSED: frozenset(),
    SweepState.SIGNED: frozenset({SweepState.ATTACHED, SweepState.CONFIRMED}),
    SweepState.ATTACHED: frozenset({SweepState.CONFIRMED}),
    SweepState.CONFIRMED: frozenset(),
}
"""From each state to the states it may become; everything else is a defect."""


def require_transition(current: State, target: State) -> None:
    """Insist that ``current`` may become ``target``.

    Args:
        current: The state as stored.
        target: The state wanted.

    Raises:
        TransitionError: If the table does not allow it.
    """
    if target not in TRANSITIONS[current]:
        message = f"{current} can not become {target}"
        raise TransitionError(message)


def sources_of(target: State) -> frozenset[State]:
    """List the states that may become ``target``.

    Args:
        target: The state wanted.

    Returns:
        Every state of the same machine whose row names it.
    """
    return frozenset(
        state for state in type(target) if target in TRANSITIONS.get(state, ())
    )
