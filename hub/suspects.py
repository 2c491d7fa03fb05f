# SPDX-License-Identifier: Apache-2.0
"""What took part in a refused sweep is tried alone before it is trusted again.

A refusal says no to a whole bundle and seldom to which part of it. Planning the
same parts again would be refused for ever, and one odd address or one large
withdrawal would hold up everybody. So each part becomes a suspect: sweeps go on
without it, and it gets a sweep of its own, which clears it or finds it guilty.

Kept in memory: after a restart a guilty part costs one more refusal.
"""

from collections.abc import Iterable
from typing import TypeAlias

from hub.clock import Clock
from hub.model import AddressId, Sweep, WithdrawalId

Part: TypeAlias = tuple[str, int]
"""``address`` or ``withdrawal`` and its row."""


def address_part(address_id: AddressId) -> Part:
    """Name an input."""
    return "address", address_id


def withdrawal_part(withdrawal_id: WithdrawalId) -> Part:
    """Name a payout."""
    return "withdrawal", withdrawal_id


def parts_of(sweep: Sweep) -> list[Part]:
    """Return the inputs and withdrawals of a sweep."""
    inputs = [address_part(spent.address_id) for spent in sweep.plan.inputs]
    return inputs + [withdrawal_part(paid) for paid in sweep.plan.withdrawal_ids]


class Suspects:
    """The parts of refused sweeps.

    Args:
        wait_ms: How long a guilty part is left out before it is tried again.
        clock: The time.
    """

    def __init__(self, *, wait_ms: int, clock: Clock) -> None:
        self._wait_ms = wait_ms
        self._clock = clock
        self._until_ms: dict[Part, int] = {}

    def __contains__(self, part: object) -> bool:
        """Whether a part must not be swept together with others."""
        return part in self._until_ms

    def may_be_tried(self, part: Part) -> bool:
        """Return whether a suspect may have a sweep of its own now."""
        return self._until_ms.get(part, self._clock() + 1) <= self._clock()

    def refused(self, sweep: Sweep) -> Part | None:
        """Note a refusal.

        Args:
            sweep: What was refused.

        Returns:
            The guilty part if there can be only one; None if all of them are
            suspects from now on.
        """
        parts = parts_of(sweep)
        accused = [part for part in parts if part in self] or parts
        if len(accused) == 1:
            self._until_ms[accused[0]] = self._clock() + self._wait_ms
            return accused[0]
        self._until_ms.update(dict.fromkeys(accused, self._clock()))
        return None

    def cleared(self, parts: Iterable[Part]) -> None:
        """Trust parts again: a sweep with them was signed."""
        for part in parts:
            self._until_ms.pop(part, None)
