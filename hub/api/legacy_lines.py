# SPDX-License-Identifier: Apache-2.0
"""What subscriptions tell, line by line: a dump, and on from where it ended.

REST takes the dump; gRPC streams may go on. Both read with the same two readers, so
that a dump and what follows it fit together by construction.
"""

import time
from collections.abc import Sequence
from typing import Final

from hub.api.ptree import Branch
from hub.event_tail import EventTail
from hub.model import OWNER_IDENTIFIER, Event, EventReason, Sweep, Withdrawal
from hub.store import Store

STREAMED_REASONS: Final = (
    EventReason.DEPOSIT,
    EventReason.WITHDRAWAL,
    EventReason.WITHDRAWAL_CANCELED,
)
"""Transfers are left out of BalanceSubscription: their sender knows of them."""
USER_ADDRESS_REASONS: Final = (EventReason.UA_DEPOSIT, EventReason.UA_SWEEP)
HUB_ADDRESS_REASONS: Final = (EventReason.INBOUND, EventReason.OUTBOUND)
_SPENDING_REASONS: Final = (EventReason.UA_SWEEP, EventReason.OUTBOUND)


class BalanceLines:
    """What ``BalanceSubscription`` tells: all there is, then what came since.

    Args:
        store: The database.
        newer_than_ms: Not before this time.
    """

    def __init__(self, store: Store, newer_than_ms: int) -> None:
        self._tail = EventTail(
            store,
            _BALANCE_LINES,
            newer_than_ms=newer_than_ms,
            clock_s=time.monotonic,
        )

    async def fresh(self) -> list[Branch]:
        """Read on.

        Returns:
            Changes of user accounts, then of user addresses, then of hub
            addresses, each the oldest first.
        """
        found = await self._tail.fresh()
        return [
            write(event)
            for reasons, write in _BALANCE_KINDS
            for event in found
            if event.reason in reasons and _is_told(event)
        ]


class SweepLines:
    """What ``SweepSubscription`` tells: all there is, then what came since.

    A sweep is signed in the transaction that writes the events of its inputs.

    Args:
        store: The database.
        newer_than_ms: Not before this time.
    """

    def __init__(self, store: Store, newer_than_ms: int) -> None:
        self._store = store
        self._tail = EventTail(
            store,
            _SPENDING_REASONS,
            newer_than_ms=newer_than_ms,
            clock_s=time.monotonic,
        )

    async def fresh(self) -> list[Branch]:
        """Read on.

        Returns:
            One line per signed sweep, the oldest first.
        """
        found = await self._tail.fresh()
        if not found:
            return []
        names = {event.bundle_hash for event in found}
        async with self._store.reading() as tx:
            sweeps = [
                sweep
                for sweep in await tx.sweeps.signed_since(found[0].created_at_ms)
                if sweep.plan.bundle_hash in names
            ]
            paid = await tx.withdrawals.of_sweeps([s.sweep_id for s in sweeps])
        return [sweep_line(sweep, paid) for sweep in sweeps]


def _is_told(event: Event) -> bool:
    # What the owner's own accounts and addresses do is told of hub addresses only.
    return event.reason in HUB_ADDRESS_REASONS or event.user_id != OWNER_IDENTIFIER


def _account_line(event: Event) -> Branch:
    return [
        ("type", "USER_ACCOUNT"),
        ("reason", event.reason.value),
        ("userId", event.user_id),
        ("timestamp", str(event.created_at_ms)),
        ("sweepBundleHash", event.bundle_hash),
        ("withdrawalUuid", event.withdrawal_uuid),
        ("amount", str(event.amount_i)),
    ]


def _user_address_line(event: Event) -> Branch:
    return [
        ("type", "USER_ADDRESS"),
        ("reason", event.reason.value),
        ("userId", event.user_id),
        ("timestamp", str(event.created_at_ms)),
        ("userAddress", event.address),
        ("hash", event.tail_hash or event.bundle_hash),
        ("message", event.message),
        ("amount", str(event.amount_i)),
    ]


def _hub_address_line(event: Event) -> Branch:
    return [
        ("type", "HUB_ADDRESS"),
        ("hubAddress", event.address),
        ("reason", event.reason.value),
        ("timestamp", str(event.created_at_ms)),
        ("sweepBundleHash", event.bundle_hash),
        ("amount", str(event.amount_i)),
    ]


def sweep_line(sweep: Sweep, paid: Sequence[Withdrawal]) -> Branch:
    """Tell of one sweep.

    Args:
        sweep: A signed one.
        paid: Withdrawals, its own among them.

    Returns:
        bundleHash, timestamp and withdrawalUuid repeated.
    """
    line: Branch = [
        ("bundleHash", sweep.plan.bundle_hash),
        ("timestamp", str(sweep.signed_at_ms)),
    ]
    line += [("withdrawalUuid", w.uuid) for w in paid if w.sweep_id == sweep.sweep_id]
    return line


_BALANCE_KINDS: Final = (
    (STREAMED_REASONS, _account_line),
    (USER_ADDRESS_REASONS, _user_address_line),
    (HUB_ADDRESS_REASONS, _hub_address_line),
)
_BALANCE_LINES: Final = (
    *STREAMED_REASONS,
    *USER_ADDRESS_REASONS,
    *HUB_ADDRESS_REASONS,
)
