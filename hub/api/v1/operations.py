# SPDX-License-Identifier: Apache-2.0
"""One operation of ``/v1``: all that routes, serving and the document need of it.

An operation that changes something is split in two: ``plan`` looks and asks nodes or
appliance, and returns the effect; the effect runs inside one transaction, together
with the idempotency key and the audit line.
"""

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
from aiohttp import web

from hub.api.v1.bodies import Asked, NoQuery
from hub.api_keys import ApiKey, Scope
from hub.errors import HubError
from hub.store import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that was let in and read.

    Attributes:
        key: Who asks; None where everybody may.
        path: The parameters in the path.
        query: Of the operation's query type.
        body: Of the operation's body type; None when it has none.
        request_id: For log, reply and audit.
    """

    key: ApiKey | None
    path: Mapping[str, str]
    query: Any
    body: Any
    request_id: str


class Keyed(enum.Enum):
    """Whether an operation takes an ``Idempotency-Key``."""

    NEVER = "never"
    """It only reads."""
    OPTIONAL = "optional"
    """Repeating it does no harm."""
    REQUIRED = "required"
    """It moves money or makes something."""


Effect: TypeAlias = Callable[[Transaction], Awaitable[msgspec.Struct]]
Read: TypeAlias = Callable[[Call], Awaitable[msgspec.Struct]]
Plan: TypeAlias = Callable[[Call], Awaitable[Effect]]
Stream: TypeAlias = Callable[[Call, web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        name: Its ``operationId``, in the log and in the audit.
        method: HTTP method.
        path: Template below the root, such as ``/v1/users/{user_id}``.
        summary: One sentence for the document.
        scope: What the key must hold; None: everybody may ask.
        reply: Type of the answer.
        query: Type of the query parameters.
        body: Type of the body, if it takes one.
        status: Of success.
        keyed: Whether it takes an idempotency key.
        refusals: What it refuses, apart from what every operation does.
        read: What answers it, for one that only reads.
        plan: What prepares its effect, for one that writes.
        stream: What answers it, for one that goes on answering.
        redact: What a retry is given instead of a reply with a secret.
        draws: Whether its plan leaves something behind, so that a retry must be
            answered before it is planned.
    """

    name: str
    method: str
    path: str
    summary: str
    scope: Scope | None
    reply: Any
    query: type[Asked] = NoQuery
    body: type[Asked] | None = None
    status: int = 200
    keyed: Keyed = Keyed.NEVER
    refusals: tuple[type[HubError], ...] = ()
    read: Read | None = None
    plan: Plan | None = None
    stream: Stream | None = None
    redact: Callable[[Any], msgspec.Struct] | None = None
    draws: bool = False


PATH_PARAMETERS: Final[Mapping[str, Mapping[str, object]]] = {
    "user_id": {"type": "string", "minLength": 1, "maxLength": 64},
    "address": {
        "type": "string",
        "description": "81 trytes, or 90 with the checksum",
        "pattern": "^[9A-Z]{81}([9A-Z]{9})?$",
    },
    "deposit_id": {"type": "integer", "minimum": 1},
    "uuid": {"type": "string", "format": "uuid"},
    "bundle_hash": {"type": "string", "pattern": "^[9A-Z]{81}$"},
    "key_id": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
    "webhook_id": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
}
"""What may stand in a path, as JSON Schema."""
