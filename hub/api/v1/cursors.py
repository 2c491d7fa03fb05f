# SPDX-License-Identifier: Apache-2.0
"""Cursors of lists: opaque to clients, bound to the list and its filters; pure."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from hub.api.v1.errors import CursorInvalidError


class _Cursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    list_digest: str
    row: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]


def write_cursor(row: int, *, of: str, filters: Mapping[str, object]) -> str:
    """Make the cursor that goes on below a row.

    Args:
        row: The last row of the page, from 1 on.
        of: The list's name.
        filters: What the list was asked for, cursor and limit left out.

    Returns:
        At most 64 characters of base64url.
    """
    cursor = _Cursor(_digest(of, filters), row)
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def read_cursor(text: str, *, of: str, filters: Mapping[str, object]) -> int:
    """Read a cursor back.

    Args:
        text: What the client sent.
        of: The list's name.
        filters: What the list is asked for now.

    Returns:
        The last row of the page before.

    Raises:
        CursorInvalidError: If it is none of ours, or of another list.
    """
    try:
        padded = text + "=" * (-len(text) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        cursor = msgspec.json.decode(raw, type=_Cursor)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise CursorInvalidError("this is no cursor of ours") from error
    if cursor.list_digest != _digest(of, filters):
        raise CursorInvalidError("the cursor is of another list or of other filters")
    return cursor.row


def _digest(of: str, filters: Mapping[str, object]) -> str:
    asked = sorted(
        (name, value) for name, value in filters.items() if value is not None
    )
    return hashlib.sha256(repr((of, asked)).encode()).hexdigest()[:16]
