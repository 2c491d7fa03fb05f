# SPDX-License-Identifier: Apache-2.0
"""What the event history says when a sweep is signed; pure."""

from collections.abc import Collection, Sequence

from hub.model import (
    AccountKind,
    Deposit,
    EventReason,
    OwnAddress,
    SweepInput,
    SweepPlan,
)
from hub.store.events import NewEvent


def events_of_signing(
    plan: SweepPlan, addresses: Collection[OwnAddress], taken: Sequence[Deposit]
) -> list[NewEvent]:
    """List the events of a sweep's signature.

    Args:
        plan: The sweep.
        addresses: Its inputs and its remainder address.
        taken: The deposits it credits.

    Returns:
        One event per input, one for the remainder, one per deposit credited.
    """
    by_id = {own.address_id: own for own in addresses}
    events = [_spent(plan, by_id[spent.address_id], spent) for spent in plan.inputs]
    if plan.remainder_address_id is not None:
        rest = by_id[plan.remainder_address_id]
        events.append(_inbound(plan, rest))
    events += [_credited(plan, deposit) for deposit in taken]
    return events


def _spent(plan: SweepPlan, own: OwnAddress, spent: SweepInput) -> NewEvent:
    is_user = own.kind is AccountKind.USER
    return NewEvent(
        reason=EventReason.UA_SWEEP if is_user else EventReason.OUTBOUND,
        account_id=own.account_id,
        address_id=own.address_id,
        amount_i=-spent.amount_i,
        bundle_hash=plan.bundle_hash,
    )


def _inbound(plan: SweepPlan, rest: OwnAddress) -> NewEvent:
    return NewEvent(
        reason=EventReason.INBOUND,
        account_id=rest.account_id,
        address_id=rest.address_id,
        amount_i=plan.remainder_i,
        bundle_hash=plan.bundle_hash,
    )


def _credited(plan: SweepPlan, deposit: Deposit) -> NewEvent:
    return NewEvent(
        reason=EventReason.DEPOSIT,
        account_id=deposit.account_id,
        address_id=deposit.address_id,
        amount_i=deposit.seen.amount_i,
        bundle_hash=plan.bundle_hash,
        tail_hash=deposit.seen.tail_hash,
    )
