# SPDX-License-Identifier: Apache-2.0
"""Shares: against a field made of logarithms, and what they must not give."""

from __future__ import annotations

import hashlib
import hmac
import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from trinary._kernel import ffi, lib
from trinary.errors import LengthError, ShareDigestError, ValueRangeError
from trinary.memory import LockedBuffer
from trinary.shares import SHARES_MAX, Share, combine, split_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.trinary.conftest import Draws

SECRET = b"a salt to be kept, 32 bytes long"

# The powers of 3, which are all numbers of the field but 0, by the rule that
# 3 n = 2 n + n and 2 n is reduced by the polynomial when it has nine bits.
POWERS = [1]
for _ in range(254):
    last = POWERS[-1]
    POWERS.append(last ^ (last << 1) ^ (0x11B if last >= 128 else 0))
LOGARITHMS = {number: at for at, number in enumerate(POWERS)}


def times(left: int, right: int) -> int:
    if not left or not right:
        return 0
    return POWERS[(LOGARITHMS[left] + LOGARITHMS[right]) % 255]


def divided(left: int, right: int) -> int:
    return times(left, POWERS[-LOGARITHMS[right] % 255])


def value_at(points: Sequence[tuple[int, bytes]], x: int) -> bytes:
    result = bytearray(len(points[0][1]))
    for own_x, value in points:
        weight = 1
        for other_x, _ in points:
            if other_x != own_x:
                weight = divided(times(weight, x ^ other_x), own_x ^ other_x)
        for at, byte in enumerate(value):
            result[at] ^= times(weight, byte)
    return bytes(result)


def kernels_value_at(points: Sequence[tuple[int, bytes]], x: int) -> bytes:
    size_bytes = len(points[0][1])
    out = ffi.new(f"uint8_t[{size_bytes}]")
    values = ffi.new("uint8_t[]", b"".join(value for _, value in points))
    xs = bytes(own_x for own_x, _ in points)
    assert lib.sk_interpolate(xs, values, len(xs), size_bytes, x, out) == lib.SK_OK
    return ffi.buffer(out)[:]


@pytest.fixture
def kept() -> Iterator[ExitStack]:
    """Close the shares of a test after it."""
    with ExitStack() as stack:
        yield stack


def split(kept: ExitStack, secret: bytes, threshold: int, count: int) -> list[Share]:
    shares = split_secret(secret, threshold=threshold, count=count, allow_unlocked=True)
    for share in shares:
        kept.enter_context(share.value)
    return shares


def share(kept: ExitStack, x: int, value: bytes) -> Share:
    buffer = kept.enter_context(LockedBuffer(len(value), allow_unlocked=True))
    buffer.view[:] = value
    return Share(x=x, value=buffer)


def secret_of(shares: Sequence[Share]) -> bytes:
    found = combine(shares, threshold=len(shares), allow_unlocked=True)
    with found as secret:
        return bytes(secret.view)


def test_the_test_has_all_of_the_field() -> None:
    assert len(LOGARITHMS) == 255
    # FIPS 197, section 4.2.
    assert times(0x57, 0x83) == 0xC1
    assert times(0x57, 0x13) == 0xFE


def test_products_and_quotients_are_the_fields() -> None:
    # A line through (0, 0) and (x, 1): its value at y is y / x.
    for x in range(1, 256):
        for y in range(256):
            found = kernels_value_at([(0, b"\0"), (x, b"\1")], y)
            assert found[0] == divided(y, x)


def test_any_polynomial_is_read_off_right(draws: Draws) -> None:
    for count in range(1, 17):
        for _ in range(20):
            free = list(range(256))
            xs = [free.pop(draws.below(len(free))) for _ in range(count)]
            points = [(x, draws.data(1 + draws.below(40))) for x in xs]
            size_bytes = len(points[0][1])
            points = [(x, (value * 40)[:size_bytes]) for x, value in points]
            x = draws.below(256)
            assert kernels_value_at(points, x) == value_at(points, x)


def test_a_polynomial_goes_through_its_points(draws: Draws) -> None:
    points = [(x, draws.data(32)) for x in (0, 1, 7, 254, 255)]
    for x, value in points:
        assert kernels_value_at(points, x) == value


@pytest.mark.parametrize("threshold", range(1, SHARES_MAX + 1))
def test_enough_shares_give_the_secret(threshold: int, kept: ExitStack) -> None:
    shares = split(kept, SECRET, threshold, SHARES_MAX)
    assert [share.x for share in shares] == list(range(SHARES_MAX))
    assert secret_of(shares[:threshold]) == SECRET
    assert secret_of(shares[::-1][:threshold]) == SECRET


def test_any_three_of_five_give_the_secret(kept: ExitStack) -> None:
    shares = split(kept, SECRET, 3, 5)
    for chosen in itertools.permutations(shares, 3):
        assert secret_of(chosen) == SECRET


@pytest.mark.parametrize("size_bytes", [16, 18, 32, 64, 4094])
def test_secrets_of_any_even_length_are_split(
    size_bytes: int, kept: ExitStack, draws: Draws
) -> None:
    secret = draws.data(size_bytes)
    shares = split(kept, secret, 2, 3)
    assert {share.value.size for share in shares} == {size_bytes}
    assert secret_of(shares[1:]) == secret


def test_shares_lie_as_slip_39_says(kept: ExitStack) -> None:
    for threshold in range(2, 8):
        shares = split(kept, SECRET, threshold, threshold + 1)
        points = [(share.x, bytes(share.value.view)) for share in shares]
        assert value_at(points[1:], 255) == SECRET
        assert value_at(points[:-1], 255) == SECRET
        digest = value_at(points[1:], 254)
        expected = hmac.new(digest[4:], SECRET, hashlib.sha256).digest()
        assert digest[:4] == expected[:4]


def test_shares_made_elsewhere_are_combined(kept: ExitStack, draws: Draws) -> None:
    key = draws.data(28)
    digest = hmac.new(key, SECRET, hashlib.sha256).digest()[:4] + key
    points = [(2, draws.data(32)), (254, digest), (255, SECRET)]
    shares = [share(kept, x, value_at(points, x)) for x in (15, 4, 9)]
    assert secret_of(shares) == SECRET


def test_with_a_threshold_of_one_each_share_is_the_secret(kept: ExitStack) -> None:
    for one in split(kept, SECRET, 1, 3):
        assert bytes(one.value.view) == SECRET
        assert secret_of([one]) == SECRET


def test_one_share_less_gives_nothing(kept: ExitStack) -> None:
    shares = split(kept, SECRET, 3, 5)
    with pytest.raises(ShareDigestError):
        secret_of(shares[:2])


def test_splitting_twice_gives_other_shares(kept: ExitStack) -> None:
    first, second = (split(kept, SECRET, 2, 2) for _ in range(2))
    for left, right in zip(first, second, strict=True):
        assert bytes(left.value.view) != bytes(right.value.view)
    with pytest.raises(ShareDigestError):
        secret_of([first[0], second[1]])


def test_every_wrong_bit_of_a_share_is_noticed(kept: ExitStack, draws: Draws) -> None:
    secret = draws.data(16)
    first, second = split(kept, secret, 2, 2)
    value = bytes(first.value.view)
    for bit in range(128):
        wrong = (int.from_bytes(value, "big") ^ (1 << bit)).to_bytes(16, "big")
        with pytest.raises(ShareDigestError):
            secret_of([share(kept, 0, wrong), second])


def test_a_share_under_another_number_is_noticed(kept: ExitStack) -> None:
    first, second = split(kept, SECRET, 2, 2)
    with pytest.raises(ShareDigestError):
        secret_of([share(kept, 5, bytes(first.value.view)), second])


def test_a_secret_in_a_locked_buffer_is_left_as_it_was(kept: ExitStack) -> None:
    with LockedBuffer(32, allow_unlocked=True) as secret:
        secret.view[:] = SECRET
        shares = split_secret(secret, threshold=2, count=2, allow_unlocked=True)
        for one in shares:
            kept.enter_context(one.value)
        assert bytes(secret.view) == SECRET
    assert secret_of(shares) == SECRET


def test_combining_leaves_the_shares_as_they_were(kept: ExitStack) -> None:
    shares = split(kept, SECRET, 2, 2)
    before = [bytes(share.value.view) for share in shares]
    secret_of(shares)
    assert [bytes(share.value.view) for share in shares] == before


def test_a_share_does_not_print_its_value(kept: ExitStack) -> None:
    one = share(kept, 1, b"k" * 16)
    assert "kk" not in repr(one)
    assert "REDACTED" in repr(one)


@pytest.mark.parametrize("size_bytes", [0, 1, 14, 15, 17, 33])
def test_a_secret_too_short_or_odd_is_refused(size_bytes: int, kept: ExitStack) -> None:
    with pytest.raises(LengthError, match=f"got {size_bytes}$"):
        split(kept, bytes(size_bytes), 2, 3)


@pytest.mark.parametrize("size_bytes", [2, 17])
def test_shares_too_short_or_odd_are_refused(size_bytes: int, kept: ExitStack) -> None:
    with pytest.raises(LengthError):
        secret_of([share(kept, x, bytes(size_bytes)) for x in range(2)])


@pytest.mark.parametrize(
    ("threshold", "count"), [(0, 1), (-1, 2), (3, 2), (1, 17), (17, 17)]
)
def test_numbers_of_shares_out_of_range_are_refused(
    threshold: int, count: int, kept: ExitStack
) -> None:
    with pytest.raises(ValueRangeError):
        split(kept, SECRET, threshold, count)


@pytest.mark.parametrize("xs", [(1, 1), (0, 16), (-1, 0), (254, 0)])
def test_shares_of_impossible_numbers_are_refused(
    xs: tuple[int, int], kept: ExitStack
) -> None:
    with pytest.raises(ValueRangeError):
        secret_of([share(kept, x, SECRET) for x in xs])


def test_shares_of_two_lengths_are_refused(kept: ExitStack) -> None:
    with pytest.raises(LengthError):
        secret_of([share(kept, 0, bytes(16)), share(kept, 1, bytes(18))])


@pytest.mark.parametrize("given", [0, 1, 3])
def test_more_or_fewer_shares_than_the_threshold_are_refused(
    given: int, kept: ExitStack
) -> None:
    shares = split(kept, SECRET, 2, 3)[:given]
    with pytest.raises(ValueRangeError, match=f"expected 2, got {given}$"):
        combine(shares, threshold=2, allow_unlocked=True)


def test_random_numbers_fill_all_of_a_buffer() -> None:
    for size_bytes in (0, 1, 31, 5000):
        seen = bytearray(size_bytes)
        for _ in range(12):
            out = ffi.new(f"uint8_t[{size_bytes}]")
            assert lib.sk_random(out, size_bytes) == lib.SK_OK
            for at, byte in enumerate(ffi.buffer(out)[:]):
                seen[at] |= byte
        # 12 times zero at one place: one in 256^12.
        assert 0 not in seen
