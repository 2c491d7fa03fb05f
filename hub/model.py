# SPDX-License-Identifier: Apache-2.0
"""The hub's values and the states they pass through; pure.

A text becomes one of these identifiers at the edge, once; past it the type is
trusted. The states and their transition table stand in ``hub.states``.
"""

from dataclasses import dataclass, field
from typing import Final, NewType

from hub.states import (
    TRANSITIONS,
    AccountKind,
    AddressState,
    CreditPolicy,
    DepositState,
    EventReason,
    NoticeReason,
    SweepState,
    WithdrawalState,
    require_transition,
    sources_of,
)

__all__ = [
    "FEE_IDENTIFIER",
    "MAX_SUPPLY_I",
    "OWNER_IDENTIFIER",
    "TRANSITIONS",
    "Account",
    "AccountId",
    "AccountKind",
    "Address",
    "AddressId",
    "AddressState",
    "BundleHash",
    "ColdAddress",
    "ColdId",
    "CreditPolicy",
    "Deposit",
    "DepositId",
    "DepositState",
    "Event",
    "EventReason",
    "Happening",
    "HeadToken",
    "Hindrance",
    "IssuedAddress",
    "NoticeReason",
    "OwnAddress",
    "SeedUuid",
    "SeenDeposit",
    "Sweep",
    "SweepId",
    "SweepInput",
    "SweepPlan",
    "SweepState",
    "Tag",
    "Tail",
    "TransactionHash",
    "UserId",
    "Withdrawal",
    "WithdrawalId",
    "WithdrawalState",
    "WithdrawalUuid",
    "require_transition",
    "sources_of",
]

UserId = NewType("UserId", str)
"""An account's name as the exchange gave it, 1-64 characters."""
AccountId = NewType("AccountId", int)
AddressId = NewType("AddressId", int)
ColdId = NewType("ColdId", int)
DepositId = NewType("DepositId", int)
SweepId = NewType("SweepId", int)
WithdrawalId = NewType("WithdrawalId", int)
Address = NewType("Address", str)
"""81 trytes, without checksum."""
BundleHash = NewType("BundleHash", str)
"""81 trytes."""
TransactionHash = NewType("TransactionHash", str)
"""81 trytes."""
SeedUuid = NewType("SeedUuid", str)
"""64 characters of the base64 alphabet; names a key, gives none."""
WithdrawalUuid = NewType("WithdrawalUuid", str)
"""RFC 4122, lower case, 36 characters."""
Tag = NewType("Tag", str)
"""27 trytes."""

MAX_SUPPLY_I: Final = (3**33 - 1) // 2
"""All iota there are. Source: IRI, TransactionViewModel.SUPPLY."""
OWNER_IDENTIFIER: Final = UserId("saltkeep:owner")
"""The account of the hub's owner; it exists from the first migration on."""
FEE_IDENTIFIER: Final = UserId("saltkeep:fee")
"""The account fees are transferred to; it exists from the first migration on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account with its four balances, each never negative.

    Attributes:
        account_id: Its row.
        identifier: Its name, unique over all kinds.
        kind: Whose money it is.
        available_i: Spendable, in iota.
        unswept_i: Confirmed on its deposit addresses and not yet credited.
        pending_i: In withdrawals requested and not yet paid.
        quarantined_i: Held back on its deposit addresses.
        created_at_ms: Milliseconds since 1970.
    """

    account_id: AccountId
    identifier: UserId
    kind: AccountKind
    available_i: int
    unswept_i: int
    pending_i: int
    quarantined_i: int
    created_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedAddress:
    """An address fresh from the appliance, receipt verified.

    Attributes:
        address: 81 trytes.
        seed_uuid: What the appliance derives its key from.
        generation: The salt generation it belongs to.
        security_level: 1, 2 or 3.
        receipt: Compact JWS of the appliance's identity key.
    """

    address: Address
    seed_uuid: SeedUuid = field(repr=False)
    generation: int
    security_level: int
    receipt: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAddress:
    """An address of ours as stored.

    Attributes:
        address_id: Its row.
        account_id: Whose deposits it receives; the owner's for hub addresses.
        kind: The kind of that account.
        issued: Address, seed UUID, generation, level and receipt.
        state: What it may still be used for.
        balance_i: What the ledger says it holds, in iota.
        created_at_ms: Milliseconds since 1970.
    """

    address_id: AddressId
    account_id: AccountId
    kind: AccountKind
    issued: IssuedAddress
    state: AddressState
    balance_i: int
    created_at_ms: int

    @property
    def address(self) -> Address:
        """The 81 trytes."""
        return self.issued.address


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDeposit:
    """One output to an address of ours in a confirmed bundle.

    Attributes:
        tail_hash: Tail transaction of the confirmed bundle.
        bundle_hash: That bundle.
        address: Where the value went.
        transaction_index: Its place in the bundle.
        amount_i: Iota, positive.
        message: Signature-or-message trytes kept on request, else empty.
    """

    tail_hash: TransactionHash
    bundle_hash: BundleHash
    address: Address
    transaction_index: int
    amount_i: int
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """A deposit as stored.

    Attributes:
        deposit_id: Its row.
        address_id: The address that received it.
        account_id: Whose it is.
        seen: What the Tangle shows.
        state: How far it has come.
        sweep_id: The sweep that takes it, once one is planned.
        created_at_ms: When the hub saw it confirmed, milliseconds since 1970.
    """

    deposit_id: DepositId
    address_id: AddressId
    account_id: AccountId
    seen: SeenDeposit
    state: DepositState
    sweep_id: SweepId | None
    created_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A withdrawal as stored.

    Attributes:
        withdrawal_id: Its row.
        uuid: Its public name.
        account_id: Whose balance pays it.
        amount_i: Iota, positive.
        payout_address: Where it goes.
        tag: 27 trytes of the payout transaction.
        state: How far it has come.
        sweep_id: The sweep that pays it, once one is planned.
        requested_at_ms: Milliseconds since 1970.
        cancelled_at_ms: Milliseconds since 1970, once cancelled.
        maker: The API key that asked, or a dialect's name; empty for an operator's.
        approved_by: The API key that approved; empty if none did.
        authorisation: Compact JWS of the exchange for the appliance, or empty.
        refused_sweep_id: The sweep it was in that was refused last, if any was.
    """

    withdrawal_id: WithdrawalId
    uuid: WithdrawalUuid
    account_id: AccountId
    amount_i: int
    payout_address: Address
    tag: Tag
    state: WithdrawalState
    sweep_id: SweepId | None
    requested_at_ms: int
    cancelled_at_ms: int | None
    maker: str = ""
    approved_by: str = ""
    authorisation: str = field(default="", repr=False)
    refused_sweep_id: SweepId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdAddress:
    """An address of the exchange's whose key is neither here nor in the appliance.

    Attributes:
        cold_id: Its row.
        label: What people call it.
        address: 81 trytes.
        balance_i: What it holds or is about to receive, in iota.
        closed: Whether something was brought back from it: nothing more goes there,
            its key may have signed.
        on_the_way_i: The part of the balance that no signed sweep carries yet, in iota.
    """

    cold_id: ColdId
    label: str
    address: Address
    balance_i: int
    closed: bool
    on_the_way_i: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepInput:
    """An address a sweep empties.

    Attributes:
        address_id: The address.
        amount_i: All that the ledger says it holds, in iota.
    """

    address_id: AddressId
    amount_i: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """A sweep as planned: everything that is needed to ask the appliance again.

    Attributes:
        bundle_hash: Of the finished, unsigned bundle.
        essence: The unsigned bundle, in the planner's own text form.
        inputs: In the order of the bundle.
        withdrawal_ids: Paid by the bundle, the oldest first.
        remainder_address_id: Ours; None when nothing is left over.
        remainder_i: What is left over, in iota.
    """

    bundle_hash: BundleHash
    essence: str = field(repr=False)
    inputs: tuple[SweepInput, ...]
    withdrawal_ids: tuple[WithdrawalId, ...]
    remainder_address_id: AddressId | None
    remainder_i: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindrance:
    """What the last attempt to have a sweep signed came to, when it was not signed.

    Attributes:
        code: The appliance's word, or that of an error.
        message: For people.
        since_ms: When this code came first in a row, milliseconds since 1970.
        last_ms: When it was written down last; it may have come again since.
    """

    code: str
    message: str
    since_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep as stored.

    Attributes:
        sweep_id: Its row.
        plan: What was planned.
        state: How far it has come.
        signed_trytes: One string of 2673 trytes per transaction, in the order
            of their index and without proof of work; empty before ``signed``.
        planned_at_ms: Milliseconds since 1970.
        signed_at_ms: Milliseconds since 1970, once signed.
        confirmed_at_ms: Milliseconds since 1970, once confirmed.
        refusal_code: The appliance's word, once refused.
        hindrance: Why it is not signed, as far as anybody was told; None once it is.
        promotions: How often an attachment of it was promoted.
        promoted_at_ms: When that was last, milliseconds since 1970.
        journal_sequence: Where the appliance's journal stood when the signatures came:
            their entry is this one or shortly before it. None: not signed, or signed
            by a hub that did not note it.
    """

    sweep_id: SweepId
    plan: SweepPlan
    state: SweepState
    signed_trytes: tuple[str, ...] = field(repr=False)
    planned_at_ms: int
    signed_at_ms: int | None
    confirmed_at_ms: int | None
    refusal_code: str
    hindrance: Hindrance | None = None
    promotions: int = 0
    promoted_at_ms: int | None = None
    journal_sequence: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """One attachment of a sweep.

    Attributes:
        tail_hash: The bundle's transaction 0 as attached.
        sweep_id: Which sweep.
        confirmed: Whether the quorum shows it confirmed.
        created_at_ms: When we attached or found it, milliseconds since 1970.
    """

    tail_hash: TransactionHash
    sweep_id: SweepId
    confirmed: bool
    created_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadToken:
    """The head of the appliance's journal as it authenticated it.

    Attributes:
        journal_id: Which journal, 32 hex characters.
        epoch: Rises by one with each restore.
        sequence: Number of the last row.
        hash: SHA-256 of that row, hex.
        mac: The appliance's authentication of the fields above, hex.
    """

    journal_id: str
    epoch: int
    sequence: int
    hash: str
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What one line of the event history says, whatever kind it is.

    Attributes:
        position: Its place in the published order, from 1 on without a gap.
        reason: Why a balance or a state changed.
        user_id: The account's identifier.
        address: The address concerned, else empty.
        amount_i: By how much, in iota, signed.
        bundle_hash: The sweep concerned, else empty.
        tail_hash: The tail transaction concerned, else empty.
        withdrawal_uuid: The withdrawal concerned, else empty.
        message: The deposit's message trytes, or what is to be said; else empty.
        created_at_ms: Milliseconds since 1970.
    """

    position: int
    reason: EventReason | NoticeReason
    user_id: UserId
    address: str
    amount_i: int
    bundle_hash: str
    tail_hash: str
    withdrawal_uuid: str
    message: str
    created_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the event history.

    Attributes:
        event_id: Its row; rises in the order of writing.
        reason: Why a balance changed.
        user_id: The account's identifier.
        address: The address concerned, else empty.
        amount_i: By how much, in iota, signed.
        bundle_hash: The sweep concerned, else empty.
        tail_hash: The deposit's tail transaction, else empty.
        withdrawal_uuid: The withdrawal concerned, else empty.
        message: The deposit's message trytes, else empty.
        created_at_ms: Milliseconds since 1970.
    """

    event_id: int
    reason: EventReason
    user_id: UserId
    address: str
    amount_i: int
    bundle_hash: str
    tail_hash: str
    withdrawal_uuid: str
    message: str
    created_at_ms: int
