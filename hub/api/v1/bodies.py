# SPDX-License-Identifier: Apache-2.0
"""What ``/v1`` is asked with: bodies and query parameters, read strictly.

An unknown field is refused, and so is a number that is spelt as a text. Only msgspec
is needed to import this: the client does.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_PAGE = 200
UserName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00]+$")]
NewUserName = Annotated[
    str, Meta(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+~-]*$")
]
AmountI = Annotated[int, Meta(ge=-9007199254740991, le=9007199254740991)]
AddressText = Annotated[str, Meta(max_length=128)]
Uuid = Annotated[
    str,
    Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"),
]
Jws = Annotated[
    str,
    Meta(max_length=4096, pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"),
]
Cursor = Annotated[str, Meta(max_length=256)]
Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
Position = Annotated[int, Meta(ge=0, le=9007199254740991)]
TimeMs = Annotated[int, Meta(ge=0, le=9007199254740991)]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]
ScopeName = Literal["read", "deposit", "withdraw", "approve", "transfer", "admin"]
AccountName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00]+$")]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One body, or the query parameters of one request."""


class NewUser(Asked, frozen=True, kw_only=True):
    """Open a user."""

    user_id: NewUserName


class NewWithdrawal(Asked, frozen=True, kw_only=True):
    """Ask for a withdrawal, or check one.

    ``address`` is 81 trytes, or 90 with the checksum. Without the checksum it is
    taken only when ``require_checksum`` is false. ``uuid`` may be chosen, so that an
    ``authorisation`` can name it.
    """

    user_id: UserName
    amount_i: AmountI
    address: AddressText
    tag: Annotated[str, Meta(max_length=64)] = ""
    require_checksum: bool = True
    uuid: Uuid | None = None
    authorisation: Jws | None = None


class Authorisation(Asked, frozen=True, kw_only=True):
    """Bring the exchange's signature on a withdrawal: a compact JWS."""

    authorisation: Jws


class Transfer(Asked, frozen=True, kw_only=True):
    """What one account gains (positive) or loses."""

    user_id: AccountName
    amount_i: AmountI


class NewTransferBatch(Asked, frozen=True, kw_only=True):
    """Move tokens between accounts: all or nothing; the amounts add up to zero."""

    transfers: Annotated[list[Transfer], Meta(min_length=1, max_length=10_000)]


class NewApiKey(Asked, frozen=True, kw_only=True):
    """Make an API key."""

    name: Name
    scopes: Annotated[list[ScopeName], Meta(min_length=1, max_length=6)]
    expires_at_ms: TimeMs | None = None


class NewWebhook(Asked, frozen=True, kw_only=True):
    """Register an endpoint; no types means all of them."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    types: Annotated[
        list[Annotated[str, Meta(max_length=64)]], Meta(max_length=40)
    ] = []


class Redelivery(Asked, frozen=True, kw_only=True):
    """Have events delivered once more: one, or all of a range."""

    first_position: Annotated[int, Meta(ge=1, le=9007199254740991)]
    last_position: Annotated[int, Meta(ge=1, le=9007199254740991)] | None = None


class NoQuery(Asked, frozen=True, kw_only=True):
    """No query parameters."""


class ListQuery(Asked, frozen=True, kw_only=True):
    """Which page."""

    limit: Limit = 50
    cursor: Cursor | None = None


class DepositQuery(ListQuery, frozen=True, kw_only=True):
    """Which deposits."""

    user_id: UserName | None = None
    state: Literal["confirmed", "credited", "quarantined"] | None = None


class WithdrawalQuery(ListQuery, frozen=True, kw_only=True):
    """Which withdrawals."""

    user_id: UserName | None = None
    state: (
        Literal[
            "awaiting-approval",
            "awaiting-authorisation",
            "requested",
            "planned",
            "paid",
            "cancelled",
        ]
        | None
    ) = None


class SweepQuery(ListQuery, frozen=True, kw_only=True):
    """Which sweeps."""

    state: Literal["planned", "refused", "signed", "attached", "confirmed"] | None = (
        None
    )


class AuditQuery(ListQuery, frozen=True, kw_only=True):
    """Whose deeds."""

    actor: Annotated[str, Meta(max_length=16, pattern=r"^[a-z0-9]+$")] | None = None


class EventQuery(Asked, frozen=True, kw_only=True):
    """Which events: those after a position, of some types, of one user.

    ``types`` is a list with commas between.
    """

    after: Position = 0
    limit: Limit = 50
    types: Annotated[str, Meta(max_length=1000)] | None = None
    user_id: UserName | None = None


class StreamQuery(Asked, frozen=True, kw_only=True):
    """As ``EventQuery``; the header ``Last-Event-ID`` takes the place of ``after``."""

    after: Position | None = None
    types: Annotated[str, Meta(max_length=1000)] | None = None
    user_id: UserName | None = None
