# SPDX-License-Identifier: Apache-2.0
"""The rows of a Hub 1.4 database; amounts in iota, times in milliseconds since 1970.

Source: Hub 1.4.4, schema/.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

AddressKey: TypeAlias = tuple[bool, int]
"""Whether it is a hub address, and its row: two tables count on their own."""

CREDITED: Final = 0
"""user_account_balance: a sweep credited a deposit; other reasons follow."""
BOUGHT: Final = 1
CANCELLED: Final = 2
WITHDRAWN: Final = 3
SOLD: Final = 4
CAME: Final = 0
"""user_address_balance, hub_address_balance: value came."""
WENT: Final = 1
"""... or a sweep took it."""


@dataclass(frozen=True, slots=True)
class OldUser:
    """A row of user_account."""

    row: int
    identifier: str
    balance_i: int


@dataclass(frozen=True, slots=True)
class OldAddress:
    """A row of user_address or hub_address.

    Attributes:
        key: Its table and row.
        address: 81 trytes.
        seed_uuid: 64 characters.
        user: Row of its user; None for a hub address.
        balance_i: What the old Hub believed to be there.
        created_at_ms: When it was made.
        in_cold_storage: An operator moved it out of the Hub's hands.
    """

    key: AddressKey
    address: str
    seed_uuid: str
    user: int | None
    balance_i: int
    created_at_ms: int
    in_cold_storage: bool = False


@dataclass(frozen=True, slots=True)
class OldSweep:
    """A row of sweep."""

    row: int
    bundle_hash: str
    trytes: str
    into_hub_address: int
    confirmed: bool
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class OldTail:
    """A row of sweep_tails."""

    hash: str
    sweep: int
    confirmed: bool
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class OldWithdrawal:
    """A row of withdrawal."""

    row: int
    uuid: str
    user: int
    amount_i: int
    payout_address: str
    tag: str
    sweep: int | None
    requested_at_ms: int
    cancelled_at_ms: int | None


@dataclass(frozen=True, slots=True)
class OldAccountEntry:
    """A row of user_account_balance."""

    user: int
    amount_i: int
    reason: int
    sweep: int | None
    withdrawal: int | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class OldAddressEntry:
    """A row of user_address_balance or hub_address_balance."""

    address: AddressKey
    amount_i: int
    reason: int
    tail_hash: str
    message: str
    sweep: int | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class OldBooks:
    """Everything, read in one transaction.

    Attributes:
        users: user_account.
        addresses: user_address, then hub_address.
        sweeps: sweep.
        tails: sweep_tails.
        withdrawals: withdrawal.
        account_entries: user_account_balance.
        address_entries: user_address_balance, then hub_address_balance.
        signed_uuids: signed_uuids.
    """

    users: tuple[OldUser, ...]
    addresses: tuple[OldAddress, ...]
    sweeps: tuple[OldSweep, ...]
    tails: tuple[OldTail, ...]
    withdrawals: tuple[OldWithdrawal, ...]
    account_entries: tuple[OldAccountEntry, ...]
    address_entries: tuple[OldAddressEntry, ...]
    signed_uuids: frozenset[str]

    @property
    def waiting(self) -> list[OldWithdrawal]:
        """Withdrawals that no sweep has taken and nobody cancelled."""
        return [
            one
            for one in self.withdrawals
            if one.sweep is None and one.cancelled_at_ms is None
        ]
