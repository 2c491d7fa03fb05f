# SPDX-License-Identifier: Apache-2.0
"""How requests are read: strictly, and each fault with its place in the message."""

import hashlib
import re
import secrets
from typing import Any, Final

import msgspec
from aiohttp import web

from hub.api.v1.bodies import Asked
from hub.api.v1.errors import (
    IdempotencyKeyMissingError,
    MediaTypeError,
    RequestMalformedError,
)
from hub.api.v1.operations import Keyed, Operation

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")
_REQUEST_ID_BYTES: Final = 12


def request_id_of(request: web.Request) -> str:
    """Take the client's request id when it is well formed, else draw one."""
    shown = request.headers.get("X-Request-Id", "")
    if _REQUEST_ID.fullmatch(shown):
        return shown
    return secrets.token_hex(_REQUEST_ID_BYTES)


def read_query(request: web.Request, kind: type[Asked]) -> Asked:
    """Read the query parameters.

    Args:
        request: The request.
        kind: What they must be.

    Returns:
        An instance of ``kind``.

    Raises:
        RequestMalformedError: If one is unknown, repeated or no such value.
    """
    given = dict(request.query)
    if len(given) != len(request.query):
        raise RequestMalformedError("a query parameter is given twice")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise RequestMalformedError(f"query: {error}") from error


async def read_body(request: web.Request, kind: type[Asked]) -> Asked:
    """Read the body.

    Args:
        request: The request.
        kind: What it must be.

    Returns:
        An instance of ``kind``.

    Raises:
        MediaTypeError: If it is not declared as JSON.
        RequestMalformedError: If it is not JSON, or not of this kind.
    """
    if request.content_type != "application/json":
        raise MediaTypeError("the body must be application/json")
    raw = await request.read()
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestMalformedError(f"body: {error}") from error


def read_idempotency_key(request: web.Request, operation: Operation) -> str | None:
    """Read the idempotency key.

    Args:
        request: The request.
        operation: Says whether it must be there.

    Returns:
        The key; None where there is none.

    Raises:
        IdempotencyKeyMissingError: If it must be there and is not, or is none.
    """
    shown = request.headers.get("Idempotency-Key")
    missing = shown is None and operation.keyed is Keyed.REQUIRED
    if missing or (shown is not None and not _IDEMPOTENCY_KEY.fullmatch(shown)):
        raise IdempotencyKeyMissingError(
            "an Idempotency-Key of 1-128 visible characters is needed"
        )
    return shown


def digest_of(request: web.Request, body: Any) -> str:  # noqa: ANN401 - any body type
    """Hash what a request asks for: method, path and the meaning of its body.

    Args:
        request: The request.
        body: As read, so that white space and order of keys do not count.

    Returns:
        SHA-256 in hex.
    """
    head = f"{request.method} {request.rel_url.raw_path}\n".encode()
    return hashlib.sha256(head + msgspec.json.encode(body)).hexdigest()
