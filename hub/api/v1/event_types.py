# SPDX-License-Identifier: Apache-2.0
"""What ``/v1`` calls each kind of event; pure."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from hub.api.v1.errors import RequestMalformedError
from hub.api.v1.resources import Event
from hub.model import EventReason, Happening, NoticeReason

Reason: TypeAlias = EventReason | NoticeReason

TYPES: Final[Mapping[Reason, str]] = {
    EventReason.UA_DEPOSIT: "deposit.confirmed",
    EventReason.DEPOSIT: "deposit.credited",
    EventReason.UA_SWEEP: "address.swept",
    EventReason.INBOUND: "hub-address.received",
    EventReason.OUTBOUND: "hub-address.swept",
    EventReason.BUY: "transfer.received",
    EventReason.SELL: "transfer.sent",
    EventReason.WITHDRAWAL: "withdrawal.requested",
    EventReason.WITHDRAWAL_CANCELED: "withdrawal.cancelled",
    NoticeReason.WITHDRAWAL_APPROVED: "withdrawal.approved",
    NoticeReason.WITHDRAWAL_AUTHORISED: "withdrawal.authorised",
    NoticeReason.WITHDRAWAL_PLANNED: "withdrawal.planned",
    NoticeReason.WITHDRAWAL_RELEASED: "withdrawal.released",
    NoticeReason.WITHDRAWAL_PAID: "withdrawal.paid",
    NoticeReason.WITHDRAWAL_CONFIRMED: "withdrawal.confirmed",
    NoticeReason.SWEEP_PLANNED: "sweep.planned",
    NoticeReason.SWEEP_REFUSED: "sweep.refused",
    NoticeReason.SWEEP_SIGNED: "sweep.signed",
    NoticeReason.SWEEP_ATTACHED: "sweep.attached",
    NoticeReason.SWEEP_CONFIRMED: "sweep.confirmed",
    NoticeReason.WEBHOOK_DISABLED: "webhook.disabled",
}
_REASONS: Final = {name: reason for reason, name in TYPES.items()}


def reasons_of(types: list[str]) -> list[Reason]:
    """Read the names of types.

    Args:
        types: Names of the table.

    Returns:
        What the database calls them; empty: all.

    Raises:
        RequestMalformedError: If one is unknown.
    """
    unknown = [name for name in types if name not in _REASONS]
    if unknown:
        raise RequestMalformedError(f"no such type of event: {unknown[0]:.64}")
    return [_REASONS[name] for name in types]


def event_of(happening: Happening) -> Event:
    """Show an event.

    Args:
        happening: As stored.

    Returns:
        As ``/v1`` tells it.
    """
    return Event(
        position=happening.position,
        type=TYPES[happening.reason],
        user_id=happening.user_id,
        amount_i=happening.amount_i,
        address=happening.address or None,
        bundle_hash=happening.bundle_hash or None,
        tail_hash=happening.tail_hash or None,
        withdrawal_uuid=happening.withdrawal_uuid or None,
        message=happening.message or None,
        created_at_ms=happening.created_at_ms,
    )
