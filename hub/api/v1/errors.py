# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with an HTTP request before any flow is asked.

::

    RefusedError
    ├── RequestMalformedError        request-malformed
    ├── CursorInvalidError           cursor-invalid
    ├── IdempotencyKeyMissingError   idempotency-key-missing
    ├── ScopeMissingError            scope-missing
    ├── RouteUnknownError            route-unknown
    ├── MethodNotAllowedError        method-not-allowed
    ├── BodyTooLargeError            body-too-large
    └── MediaTypeError               media-type
    FaultError
    └── RateLimitedError             rate-limited
"""

from hub.errors import FaultError, RefusedError


class RequestMalformedError(RefusedError):
    """The request is not JSON, or lacks or exceeds what the document asks for."""

    code = "request-malformed"


class CursorInvalidError(RefusedError):
    """The cursor is none of ours, or of another list or other filters."""

    code = "cursor-invalid"


class IdempotencyKeyMissingError(RefusedError):
    """This operation needs an ``Idempotency-Key`` of 1-128 visible characters."""

    code = "idempotency-key-missing"


class ScopeMissingError(RefusedError):
    """The API key is valid and may not do this."""

    code = "scope-missing"


class RouteUnknownError(RefusedError):
    """There is nothing at this path."""

    code = "route-unknown"


class MethodNotAllowedError(RefusedError):
    """The path exists and does not take this method."""

    code = "method-not-allowed"


class BodyTooLargeError(RefusedError):
    """The body is larger than the configuration allows."""

    code = "body-too-large"


class MediaTypeError(RefusedError):
    """The body is not declared as ``application/json``."""

    code = "media-type"


class RateLimitedError(FaultError):
    """The API key has spent its allowance; wait and send the same again.

    Attributes:
        retry_after_s: Until when, in seconds.
    """

    code = "rate-limited"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
