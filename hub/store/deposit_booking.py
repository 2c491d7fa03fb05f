# SPDX-License-Identifier: Apache-2.0
"""How a deposit is booked, by where it arrived; pure."""

from hub import ledger
from hub.model import (
    AddressState,
    CreditPolicy,
    DepositState,
    EventReason,
    OwnAddress,
    SeenDeposit,
)
from hub.store.events import NewEvent


def state_on_arrival(address_state: AddressState, credit: CreditPolicy) -> DepositState:
    """Decide how far a deposit comes on its arrival.

    Args:
        address_state: Of the address that received it.
        credit: The policy in force.

    Returns:
        Quarantined on a spent address; credited at once only by the policy and
        only where the next sweep is free to take it; else confirmed.
    """
    if address_state is AddressState.SPENT:
        return DepositState.QUARANTINED
    if address_state is AddressState.OPEN and credit is CreditPolicy.CONFIRMATION:
        return DepositState.CREDITED
    return DepositState.CONFIRMED


def posting_of(
    seen: SeenDeposit, own: OwnAddress, state: DepositState
) -> ledger.Posting:
    """Book a deposit.

    Args:
        seen: What the Tangle shows.
        own: The address that received it.
        state: How far it comes.

    Returns:
        The posting.
    """
    where = (own.address_id, own.account_id)
    if state is DepositState.QUARANTINED:
        return ledger.deposit_quarantined(*where, amount_i=seen.amount_i)
    at_once = state is DepositState.CREDITED
    credit = CreditPolicy.CONFIRMATION if at_once else CreditPolicy.SWEEP
    return ledger.deposit_seen(*where, amount_i=seen.amount_i, credit=credit)


def events_of(
    seen: SeenDeposit, own: OwnAddress, state: DepositState
) -> list[NewEvent]:
    """List the events of a deposit's arrival.

    Args:
        seen: What the Tangle shows.
        own: The address that received it.
        state: How far it comes.

    Returns:
        None while it is quarantined, one on the address, one more when credited.
    """
    if state is DepositState.QUARANTINED:
        return []  # nobody may act on it before it is released
    events = [arrival(seen, own)]
    if state is DepositState.CREDITED:
        events.append(
            NewEvent(
                reason=EventReason.DEPOSIT,
                account_id=own.account_id,
                address_id=own.address_id,
                amount_i=seen.amount_i,
                tail_hash=seen.tail_hash,
            )
        )
    return events


def arrival(seen: SeenDeposit, own: OwnAddress) -> NewEvent:
    """Make the event that a deposit is on its address.

    Args:
        seen: What the Tangle shows.
        own: The address that received it.

    Returns:
        The event.
    """
    return NewEvent(
        reason=EventReason.UA_DEPOSIT,
        account_id=own.account_id,
        address_id=own.address_id,
        amount_i=seen.amount_i,
        tail_hash=seen.tail_hash,
        message=seen.message,
    )
