# SPDX-License-Identifier: Apache-2.0
"""A secret split so that any few of its shares give it back, and fewer nothing.

This is SLIP-39 at the level of share values: points of a polynomial over
GF(256), x and value, with the secret at x = 255 and a digest at x = 254 that
tells whether what came back is right. How a secret is encrypted before it is
split, how shares are grouped, and how they become words is not done here.

Secrets and shares stay in locked buffers. What the digest's HMAC makes on its
way is in OpenSSL's memory, which it clears; the digest itself is a Python
object, and with the random half of its key unknown it tells nothing.

Source: SLIP-0039, "Sharing a secret" and "Design rationale: Digest".
"""

from __future__ import annotations

import hmac
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from trinary._kernel import ffi, lib
from trinary.errors import (
    KernelFaultError,
    LengthError,
    ShareDigestError,
    ValueRangeError,
)
from trinary.memory import LockedBuffer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trinary.memory import SecretBuffer

SHARES_MAX: Final = 16
SECRET_MIN_BYTES: Final = 16
DIGEST_BYTES: Final = 4
_DIGEST_X: Final = 254
_SECRET_X: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One share.

    Attributes:
        x: Which one it is, 0 to 15.
        value: As long as the secret. Whoever gets the share closes it.
    """

    x: int
    value: LockedBuffer


def split_secret(
    secret: SecretBuffer, *, threshold: int, count: int, allow_unlocked: bool = False
) -> list[Share]:
    """Split a secret into shares.

    Args:
        secret: At least 16 bytes, an even number.
        threshold: How many shares give it back, from 1. With 1 each share is
            the secret itself.
        count: How many shares to make, ``threshold`` to 16.
        allow_unlocked: Go on when the system does not lock memory.

    Returns:
        Shares with x from 0 on, to be closed by the caller.

    Raises:
        ValueRangeError: ``threshold`` or ``count`` is out of range.
    """
    if not 1 <= threshold <= count <= SHARES_MAX:
        msg = f"shares: expected 1 <= threshold <= count <= {SHARES_MAX}"
        raise ValueRangeError(msg)
    view = secret.view if isinstance(secret, LockedBuffer) else memoryview(secret)
    _require_size(len(view))
    polynomial = _Polynomial(
        threshold, size_bytes=len(view), allow_unlocked=allow_unlocked
    )
    with polynomial, ExitStack() as made:
        _choose_points(polynomial, view)
        shares = [
            Share(x=x, value=made.enter_context(polynomial.at(x))) for x in range(count)
        ]
        made.pop_all()
    return shares


def combine(
    shares: Sequence[Share], *, threshold: int, allow_unlocked: bool = False
) -> LockedBuffer:
    """Give a secret back.

    Args:
        shares: Exactly ``threshold`` of them, in any order.
        threshold: As when it was split.
        allow_unlocked: Go on when the system does not lock memory.

    Returns:
        The secret, to be closed by the caller.

    Raises:
        LengthError: The shares are not of one length, or not of a secret's.
        ValueRangeError: There are more or fewer, or two of one x.
        ShareDigestError: They do not belong together, or one is wrong. With a
            threshold of 1 nothing can tell.
    """
    if not 1 <= threshold <= SHARES_MAX or len(shares) != threshold:
        msg = f"shares: expected {threshold}, got {len(shares)}"
        raise ValueRangeError(msg)
    if len({share.x for share in shares}) != threshold:
        msg = "shares: two of them are the same one"
        raise ValueRangeError(msg)
    if not all(0 <= share.x < SHARES_MAX for share in shares):
        msg = "shares: expected x from 0 to 15"
        raise ValueRangeError(msg)
    sizes = {share.value.size for share in shares}
    if len(sizes) != 1:
        msg = f"shares: expected one length, got {sorted(sizes)}"
        raise LengthError(msg)
    size_bytes = sizes.pop()
    _require_size(size_bytes)
    polynomial = _Polynomial(
        threshold, size_bytes=size_bytes, allow_unlocked=allow_unlocked
    )
    with polynomial:
        for share in shares:
            polynomial.add(share.x)[:] = share.value.view
        return _checked_secret(polynomial)


class _Polynomial:
    """Points in locked memory, and the polynomial through them.

    Args:
        size: How many points.
        size_bytes: How long a value is.
        allow_unlocked: Go on when the system does not lock memory.
    """

    def __init__(self, size: int, *, size_bytes: int, allow_unlocked: bool) -> None:
        self.size = size
        self.size_bytes = size_bytes
        self._xs: list[int] = []
        self._allow_unlocked = allow_unlocked
        self._values = LockedBuffer(size * size_bytes, allow_unlocked=allow_unlocked)

    def __enter__(self) -> None:
        """Do nothing yet."""

    def __exit__(self, *_: object) -> None:
        """Wipe the points, whatever happened."""
        self._values.close()

    def add(self, x: int) -> memoryview:
        """Add a point.

        Args:
            x: Where it is.

        Returns:
            The place for its value.
        """
        first = len(self._xs) * self.size_bytes
        self._xs.append(x)
        return self._values.view[first : first + self.size_bytes]

    def at(self, x: int) -> LockedBuffer:
        """Read the polynomial off.

        Args:
            x: Where.

        Returns:
            The value there.

        Raises:
            KernelFaultError: The kernel refused.
        """
        value = LockedBuffer(self.size_bytes, allow_unlocked=self._allow_unlocked)
        status = lib.sk_interpolate(
            bytes(self._xs),
            ffi.from_buffer("uint8_t[]", self._values.view),
            len(self._xs),
            self.size_bytes,
            x,
            ffi.from_buffer("uint8_t[]", value.view),
        )
        if status != lib.SK_OK:
            value.close()
            msg = f"interpolating shares failed with status {status}"
            raise KernelFaultError(msg)
        return value


def _choose_points(polynomial: _Polynomial, secret: memoryview) -> None:
    """Put a polynomial through the secret, its digest and random points.

    Args:
        polynomial: No points yet.
        secret: The secret.
    """
    if polynomial.size == 1:
        polynomial.add(_SECRET_X)[:] = secret
        return
    for x in range(polynomial.size - 2):
        _fill_randomly(polynomial.add(x))
    digest = polynomial.add(_DIGEST_X)
    _fill_randomly(digest[DIGEST_BYTES:])
    digest[:DIGEST_BYTES] = _digest(digest[DIGEST_BYTES:], secret)
    polynomial.add(_SECRET_X)[:] = secret


def _checked_secret(polynomial: _Polynomial) -> LockedBuffer:
    """Read the secret off and compare its digest.

    Args:
        polynomial: Through as many shares as there have to be.

    Returns:
        The secret.

    Raises:
        ShareDigestError: The digest is another's.
    """
    secret = polynomial.at(_SECRET_X)
    if polynomial.size == 1:
        return secret
    with ExitStack() as unless_right:
        unless_right.enter_context(secret)
        with polynomial.at(_DIGEST_X) as digest:
            told, key = digest.view[:DIGEST_BYTES], digest.view[DIGEST_BYTES:]
            if not hmac.compare_digest(told, _digest(key, secret.view)):
                msg = "the shares do not belong together, or one is wrong"
                raise ShareDigestError(msg)
        unless_right.pop_all()
    return secret


def _digest(key: memoryview, secret: memoryview) -> bytes:
    """Compute the digest that goes with a secret.

    Args:
        key: Random, 4 bytes shorter than the secret.
        secret: The secret.

    Returns:
        4 bytes.
    """
    return hmac.digest(key, secret, "sha256")[:DIGEST_BYTES]


def _fill_randomly(place: memoryview) -> None:
    """Fill memory from the system's random numbers, in place.

    Args:
        place: What to fill.

    Raises:
        KernelFaultError: The system has none.
    """
    if lib.sk_random(ffi.from_buffer("uint8_t[]", place), len(place)) != lib.SK_OK:
        msg = "the system gives no random numbers"
        raise KernelFaultError(msg)


def _require_size(size_bytes: int) -> None:
    """Refuse a secret that SLIP-39 does not split.

    Args:
        size_bytes: Its length.

    Raises:
        LengthError: It is too short or odd.
    """
    if size_bytes < SECRET_MIN_BYTES or size_bytes % 2 != 0:
        msg = f"secret: expected an even 16 bytes or more, got {size_bytes}"
        raise LengthError(msg)
