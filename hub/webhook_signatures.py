# SPDX-License-Identifier: Apache-2.0
"""Signatures of webhooks: made by the hub, verified by the receiver; pure.

A receiver checks HMAC-SHA256 over ``id.timestamp.body`` with its endpoint's secret.
That secret is derived from a nonce in the database and a key in a file, so that a
copy of the database alone forges nothing, and a hub can still sign after a restart.
Source: the Standard Webhooks specification, symmetric scheme ``v1``.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

PREFIX: Final = "whsec_"
TOLERANCE_S: Final = 300
"""How far a receiver lets a time stamp be from its own clock, in seconds."""
_LABEL: Final = b"saltkeep webhook secret v1\0"
_VERSION: Final = "v1,"
_STAMP: Final = re.compile(r"[0-9]{1,12}")


class SignatureInvalidError(Exception):
    """The request is not signed with this secret, or is too old."""


def derive_secret(key: bytes, nonce: str) -> str:
    """Derive an endpoint's secret.

    Args:
        key: From the key file.
        nonce: The endpoint's 32 random bytes, 64 hex characters.

    Returns:
        ``whsec_`` and 32 bytes in base64.
    """
    drawn = hmac.new(key, _LABEL + bytes.fromhex(nonce), hashlib.sha256).digest()
    return PREFIX + base64.b64encode(drawn).decode()


def sign(secret: str, *, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Sign a message.

    Args:
        secret: As ``derive_secret`` returns it.
        message_id: The event's id.
        timestamp_s: When it is sent, seconds since 1970.
        body: What is posted.

    Returns:
        The value of ``webhook-signature``.
    """
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    made = hmac.new(key, signed, hashlib.sha256).digest()
    return _VERSION + base64.b64encode(made).decode()


def verify(
    secret: str, headers: Mapping[str, str], body: bytes, *, now_s: float
) -> str:
    """Verify a message; the receiver's half.

    Args:
        secret: Of the endpoint.
        headers: Of the request; names in lower case, or a mapping that ignores case.
        body: As received, before any parsing.
        now_s: Seconds since 1970.

    Returns:
        The event's id, by which a repeated delivery is known.

    Raises:
        SignatureInvalidError: If it is not signed, or too old or too new.
    """
    message_id = headers.get("webhook-id", "")
    stamp = headers.get("webhook-timestamp", "")
    shown = headers.get("webhook-signature", "").split()
    if not _STAMP.fullmatch(stamp) or abs(now_s - int(stamp)) > TOLERANCE_S:
        raise SignatureInvalidError("the time stamp is missing or out of tolerance")
    try:
        wanted = sign(secret, message_id=message_id, timestamp_s=int(stamp), body=body)
    except binascii.Error as error:
        raise SignatureInvalidError("the secret is none") from error
    if not any(hmac.compare_digest(one.encode(), wanted.encode()) for one in shown):
        raise SignatureInvalidError("no signature fits")
    return message_id
