# SPDX-License-Identifier: Apache-2.0
"""Which URLs events may be posted to; pure.

Whoever registers a webhook chooses where the hub connects to. Plain HTTP is for
loopback; https may go anywhere its owner configured, and a redirect is never
followed: the reply of a stranger must not choose the next address.
"""

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from hub.errors import WebhookUrlRefusedError


def require_allowed_url(url: str) -> None:
    """Insist on https, or on http to loopback.

    Args:
        url: As registered.

    Raises:
        WebhookUrlRefusedError: If it is neither, or carries a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise WebhookUrlRefusedError("this is no URL") from error
    if not parts.hostname or port == 0 or not _is_plain(url):
        raise WebhookUrlRefusedError("this is no URL with a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise WebhookUrlRefusedError("the URL must not carry credentials or a fragment")
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts)):
        return
    raise WebhookUrlRefusedError("the URL must be https, or http to loopback")


def _is_plain(url: str) -> bool:
    return url.isascii() and url.isprintable() and " " not in url


def _is_loopback(parts: SplitResult) -> bool:
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False  # a name may lead anywhere, tomorrow
