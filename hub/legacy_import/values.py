# SPDX-License-Identifier: Apache-2.0
"""What an import writes: ``plan`` makes it, ``hub.store.imports`` writes it."""

from dataclasses import dataclass

from hub.model import AddressState, EventReason, SweepState, WithdrawalState


@dataclass(frozen=True, slots=True, kw_only=True)
class OldEvent:
    """A line of the history, as it was told before.

    Attributes:
        reason: Why a balance changed.
        amount_i: By how much, in iota, signed.
        at_ms: When, milliseconds since 1970.
        bundle_hash: The sweep concerned, else empty.
        tail_hash: The deposit's tail, else empty.
        withdrawal_uuid: The withdrawal concerned, else empty.
        message: The deposit's message, else empty.
    """

    reason: EventReason
    amount_i: int
    at_ms: int
    bundle_hash: str = ""
    tail_hash: str = ""
    withdrawal_uuid: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to open.

    Attributes:
        identifier: Its name, as it was.
        available_i: What it may spend, in iota.
        pending_i: What its waiting withdrawals reserve.
        events: Its history.
    """

    identifier: str
    available_i: int
    pending_i: int
    events: tuple[OldEvent, ...]


@dataclass(frozen=True, slots=True)
class NewDeposit:
    """Value that came and was never swept."""

    tail_hash: str
    amount_i: int
    message: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class NewAddress:
    """An address to record.

    Attributes:
        address: 81 trytes.
        seed_uuid: 64 characters.
        owner: Identifier of its account; the hub owner's for a hub address.
        state: Open or spent.
        balance_i: What it holds, in iota.
        created_at_ms: When it was made.
        deposits: What of it came when; empty for a hub address.
        events: Its history.
    """

    address: str
    seed_uuid: str
    owner: str
    state: AddressState
    balance_i: int
    created_at_ms: int
    deposits: tuple[NewDeposit, ...]
    events: tuple[OldEvent, ...]


@dataclass(frozen=True, slots=True)
class NewSweep:
    """A sweep to record.

    Attributes:
        bundle_hash: 81 trytes.
        essence: As a draft is stored; empty where the old trytes are no bundle.
        signed_trytes: In order of index.
        state: Signed, attached or confirmed.
        remainder: Address and iota of what came back, if anything.
        inputs: Addresses of ours and what they gave.
        signed_at_ms: When the old Hub booked it.
        tails: Hash, whether it is confirmed, and when.
    """

    bundle_hash: str
    essence: str
    signed_trytes: tuple[str, ...]
    state: SweepState
    remainder: tuple[str, int] | None
    inputs: tuple[tuple[str, int], ...]
    signed_at_ms: int
    tails: tuple[tuple[str, bool, int], ...]


@dataclass(frozen=True, slots=True)
class NewWithdrawal:
    """A withdrawal to record; ``bundle_hash`` names the sweep that paid it."""

    uuid: str
    identifier: str
    amount_i: int
    payout_address: str
    tag: str
    state: WithdrawalState
    bundle_hash: str
    requested_at_ms: int
    cancelled_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything, in the order it is written."""

    accounts: tuple[NewAccount, ...]
    addresses: tuple[NewAddress, ...]
    sweeps: tuple[NewSweep, ...]
    withdrawals: tuple[NewWithdrawal, ...]
