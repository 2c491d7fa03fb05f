# SPDX-License-Identifier: Apache-2.0
"""Simulators of what the API asks of the appliance and of the nodes."""

from collections.abc import Sequence

from hub.errors import ApplianceUnavailableError, NodeUnavailableError
from hub.model import Address, IssuedAddress
from tests.hub.bookkeeping import issued


class SimulatedAppliance:
    """Issues random addresses, or the ones it was told to, in that order."""

    def __init__(self) -> None:
        self.next_addresses: list[str] = []
        self.away = False
        self.commitments: list[str] = []

    async def issue(self, user_commitment: str) -> IssuedAddress:
        if self.away:
            message = "the appliance is away"
            raise ApplianceUnavailableError(message)
        self.commitments.append(user_commitment)
        return issued(self.next_addresses.pop(0) if self.next_addresses else None)


class SimulatedNodes:
    """Know a set of spent addresses."""

    def __init__(self) -> None:
        self.spent: set[str] = set()
        self.away = False

    async def were_spent(self, addresses: Sequence[Address]) -> list[bool]:
        if self.away:
            message = "no node answers"
            raise NodeUnavailableError(message)
        return [address in self.spent for address in addresses]
