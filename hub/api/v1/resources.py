# SPDX-License-Identifier: Apache-2.0
"""What ``/v1`` answers with: the shapes, from which the OpenAPI document is made.

Amounts are JSON integers in iota, all of them below 2^53; times are JSON integers,
milliseconds since 1970. Only msgspec is needed to import this: the client does.
"""

from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

Iota = Annotated[int, Meta(ge=-9007199254740991, le=9007199254740991)]
TimeMs = Annotated[int, Meta(ge=0, le=9007199254740991)]
Item = TypeVar("Item")


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One answer."""


class Problem(Resource, frozen=True, kw_only=True):
    """An error, in the form of RFC 9457."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    retry: bool


class Page(Resource, Generic[Item], frozen=True, kw_only=True):
    """One page of a list; ``next_cursor`` is null on the last one."""

    items: list[Item]
    next_cursor: str | None


class Health(Resource, frozen=True, kw_only=True):
    """The listener answers."""

    status: str


class Part(Resource, frozen=True, kw_only=True):
    """How one part of the hub is."""

    ok: bool
    detail: str


class Node(Resource, frozen=True, kw_only=True):
    """How one node does, as the process that answers has met it."""

    url: str
    dialect: str
    last_answer_ms: int | None
    latency_ms: int | None
    failures: int
    paused_s: float
    milestone_index: int | None
    lag: int | None
    stale: bool
    outvoted_balances: int
    outvoted_confirmations: int
    outvoted_diffs: int


class Status(Resource, frozen=True, kw_only=True):
    """How the hub and what it depends on are."""

    ok: bool
    database: Part
    appliance: Part
    nodes: Part
    each_node: list[Node]
    last_position: int


class Stats(Resource, frozen=True, kw_only=True):
    """Totals."""

    users_available_i: Iota
    refused_before_authentication: dict[str, int]


class Balances(Resource, frozen=True, kw_only=True):
    """An account's four balances, none of them negative."""

    available_i: Iota
    unswept_i: Iota
    pending_i: Iota
    quarantined_i: Iota


class User(Resource, frozen=True, kw_only=True):
    """A user, or the owner's or the fee account."""

    user_id: str
    kind: str
    balances: Balances
    created_at_ms: TimeMs


class DepositAddress(Resource, frozen=True, kw_only=True):
    """An address of ours, with the appliance's receipt over it."""

    address: str
    checksum: str
    address_with_checksum: str
    user_id: str
    state: str
    balance_i: Iota
    generation: int
    security_level: int
    receipt: str
    created_at_ms: TimeMs


class SpentReport(Resource, frozen=True, kw_only=True):
    """Whether an address was spent from, by our records or the nodes'."""

    address: str
    spent: bool


class Deposit(Resource, frozen=True, kw_only=True):
    """One output of a confirmed bundle to an address of ours."""

    deposit_id: int
    user_id: str
    address: str
    address_with_checksum: str
    amount_i: Iota
    state: str
    tail_hash: str
    bundle_hash: str
    transaction_index: int
    message: str
    created_at_ms: TimeMs


class Withdrawal(Resource, frozen=True, kw_only=True):
    """A withdrawal."""

    uuid: str
    user_id: str
    amount_i: Iota
    address: str
    address_with_checksum: str
    tag: str
    state: str
    made_by: str
    approved_by: str | None
    authorised: bool
    sweep_bundle_hash: str | None
    requested_at_ms: TimeMs
    cancelled_at_ms: TimeMs | None


class Finding(Resource, frozen=True, kw_only=True):
    """One thing that is wrong with a withdrawal."""

    code: str
    detail: str
    retry: bool


class WithdrawalCheck(Resource, frozen=True, kw_only=True):
    """What a pre-flight check found; nothing was reserved."""

    payable: bool
    needs_approval: bool
    needs_authorisation: bool
    findings: list[Finding]


class TransferBatch(Resource, frozen=True, kw_only=True):
    """A batch that was booked."""

    accounts: int
    moved_i: Iota
    booked_at_ms: TimeMs


class SweepInput(Resource, frozen=True, kw_only=True):
    """An address that a sweep empties."""

    address: str
    amount_i: Iota


class Sweep(Resource, frozen=True, kw_only=True):
    """A bundle that moves deposits to us and pays withdrawals."""

    bundle_hash: str
    state: str
    inputs: list[SweepInput]
    withdrawals: list[str]
    remainder_address: str | None
    remainder_i: Iota
    refusal_code: str | None
    planned_at_ms: TimeMs
    signed_at_ms: TimeMs | None
    confirmed_at_ms: TimeMs | None


class Tail(Resource, frozen=True, kw_only=True):
    """One attachment of a sweep."""

    tail_hash: str
    confirmed: bool
    created_at_ms: TimeMs


class SweepTails(Resource, frozen=True, kw_only=True):
    """A sweep with its attachments, the newest first."""

    sweep: Sweep
    tails: list[Tail]


class SweepTrytes(Resource, frozen=True, kw_only=True):
    """A signed sweep's transactions, without proof of work, in order of index."""

    bundle_hash: str
    trytes: list[str]


class Explanation(Resource, frozen=True, kw_only=True):
    """Why a withdrawal or a sweep is as it is.

    ``standing`` says whether anybody must act: ``done``, ``moving`` or ``held``. What
    to look at is ``look``, and of many the one that ``subject`` names.
    """

    code: str
    standing: str
    headline: str
    detail: str
    cure: str
    since_ms: TimeMs | None
    look: str | None
    subject: str | None
    also: list[str]


class Event(Resource, frozen=True, kw_only=True):
    """What happened; ``position`` is also the id to tell duplicates by."""

    position: int
    type: str
    user_id: str
    amount_i: Iota
    address: str | None
    bundle_hash: str | None
    tail_hash: str | None
    withdrawal_uuid: str | None
    message: str | None
    created_at_ms: TimeMs


class EventPage(Resource, frozen=True, kw_only=True):
    """Events in the order of their positions; go on with ``after=last_position``."""

    items: list[Event]
    last_position: int


class ApiKey(Resource, frozen=True, kw_only=True):
    """An API key without its secret."""

    key_id: str
    name: str
    scopes: list[str]
    created_at_ms: TimeMs
    expires_at_ms: TimeMs | None
    revoked_at_ms: TimeMs | None
    last_used_at_ms: TimeMs | None


class ApiKeyMade(Resource, frozen=True, kw_only=True):
    """A key as it is shown once; null when a retry asks for it again."""

    key: ApiKey
    secret: str | None

    def __repr__(self) -> str:
        """Return the key without its secret."""
        return f"ApiKeyMade({self.key.key_id})"


class AuditLine(Resource, frozen=True, kw_only=True):
    """Who did what."""

    actor: str
    request_id: str
    operation: str
    subject: str
    created_at_ms: TimeMs


class Webhook(Resource, frozen=True, kw_only=True):
    """An endpoint that events are posted to."""

    webhook_id: str
    url: str
    types: list[str]
    state: str
    position: int
    failures: int
    failing_since_ms: TimeMs | None
    next_attempt_at_ms: TimeMs | None
    created_at_ms: TimeMs


class WebhookMade(Resource, frozen=True, kw_only=True):
    """A webhook with the secret that its receiver verifies with."""

    webhook: Webhook
    secret: str | None

    def __repr__(self) -> str:
        """Return the webhook without its secret."""
        return f"WebhookMade({self.webhook.webhook_id})"


class Delivery(Resource, frozen=True, kw_only=True):
    """One attempt at delivering an event; ``status`` 0 means no reply."""

    position: int
    attempt: int
    status: int
    error: str
    duration_ms: int
    created_at_ms: TimeMs


class RedeliveryOrder(Resource, frozen=True, kw_only=True):
    """What will be delivered once more."""

    first_position: int
    last_position: int
