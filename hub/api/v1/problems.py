# SPDX-License-Identifier: Apache-2.0
"""Every error as ``application/problem+json``, by one table.

``code`` is the stable word that programs compare; ``type`` is where ``docs/api.md``
explains it; ``retry`` says whether the very same request may succeed later.
Source: RFC 9457.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from hub import errors
from hub.api.v1 import errors as http_errors
from hub.api.v1.resources import Problem

MEDIA_TYPE: Final = "application/problem+json"

STATUSES: Final[Mapping[type[errors.HubError], HTTPStatus]] = {
    http_errors.RequestMalformedError: HTTPStatus.BAD_REQUEST,
    http_errors.CursorInvalidError: HTTPStatus.BAD_REQUEST,
    http_errors.IdempotencyKeyMissingError: HTTPStatus.BAD_REQUEST,
    errors.ApiKeyInvalidError: HTTPStatus.UNAUTHORIZED,
    http_errors.ScopeMissingError: HTTPStatus.FORBIDDEN,
    http_errors.RouteUnknownError: HTTPStatus.NOT_FOUND,
    errors.UserUnknownError: HTTPStatus.NOT_FOUND,
    errors.AddressUnknownError: HTTPStatus.NOT_FOUND,
    errors.DepositUnknownError: HTTPStatus.NOT_FOUND,
    errors.WithdrawalUnknownError: HTTPStatus.NOT_FOUND,
    errors.SweepUnknownError: HTTPStatus.NOT_FOUND,
    errors.ApiKeyUnknownError: HTTPStatus.NOT_FOUND,
    errors.WebhookUnknownError: HTTPStatus.NOT_FOUND,
    http_errors.MethodNotAllowedError: HTTPStatus.METHOD_NOT_ALLOWED,
    errors.UserExistsError: HTTPStatus.CONFLICT,
    errors.WithdrawalExistsError: HTTPStatus.CONFLICT,
    errors.WithdrawalFinalError: HTTPStatus.CONFLICT,
    errors.WebhooksOffError: HTTPStatus.CONFLICT,
    http_errors.BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    http_errors.MediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.RefusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    http_errors.RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.FaultError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.HubError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status of the nearest class counts."""

_FAULT_RETRY_S: Final = 1


def status_of(kind: type[errors.HubError]) -> HTTPStatus:
    """Choose the status of an error.

    Args:
        kind: Its class.

    Returns:
        The status of the nearest class in the table.
    """
    return next(STATUSES[base] for base in kind.__mro__ if base in STATUSES)


def problem(error: errors.HubError, *, request_id: str) -> web.Response:
    """Make the reply for an error.

    Args:
        error: What was raised. A broken invariant's message stays in the log.
        request_id: The request's.

    Returns:
        The reply, with ``Retry-After`` where waiting helps.
    """
    status = status_of(type(error))
    hidden = status is HTTPStatus.INTERNAL_SERVER_ERROR
    retry = isinstance(error, errors.FaultError)
    body = Problem(
        type=f"api.md#{error.code}",
        title=status.phrase,
        status=status.value,
        code=error.code,
        detail="see the hub's log" if hidden else str(error),
        request_id=request_id,
        retry=retry,
    )
    reply = web.Response(
        status=status.value, body=msgspec.json.encode(body), content_type=MEDIA_TYPE
    )
    if status is HTTPStatus.UNAUTHORIZED:
        reply.headers["WWW-Authenticate"] = 'Bearer realm="saltkeep"'
    if retry:
        wait_s = getattr(error, "retry_after_s", _FAULT_RETRY_S)
        reply.headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    return reply
