# SPDX-License-Identifier: Apache-2.0
"""The C functions themselves: each wrong argument has its code, none crashes.

The Python face checks before the kernel does, so these calls go around it. Run
with the sanitizers (`make test-asan`), they also show that nothing is read or
written out of bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trinary._kernel import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.trinary.conftest import Draws

GOOD = b"A" * 81
SEED = bytes(48)


def out(size: int) -> object:
    return ffi.new(f"char[{size}]")


def octets(data: bytes) -> object:
    """Hand over exactly these bytes, in memory of their own."""
    return ffi.new("uint8_t[]", data)


def to_bytes(text: bytes) -> int:
    return lib.sk_bytes_from_trytes(text, len(text), ffi.new("uint8_t[48]"))


def to_trytes(data: bytes) -> int:
    return lib.sk_trytes_from_bytes(octets(data), len(data), out(81))


def kerl(text: bytes) -> int:
    return lib.sk_kerl(text, len(text), out(81))


def curl(text: bytes, rounds: int = 81) -> int:
    return lib.sk_curl(text, len(text), rounds, out(81))


def normalise(text: bytes) -> int:
    return lib.sk_normalise(text, len(text), ffi.new("int8_t[81]"))


def address(seed: bytes = SEED, level: int = 1, index: int = 0) -> int:
    return lib.sk_address(octets(seed), len(seed), level, index, out(81))


def sign(
    seed: bytes = SEED, level: int = 1, text: bytes = GOOD, room: int = 2187
) -> int:
    return lib.sk_sign(
        octets(seed), len(seed), level, 0, text, len(text), out(room), room
    )


def from_signature(fragments: bytes, text: bytes = GOOD) -> int:
    return lib.sk_address_from_signature(
        fragments, len(fragments), text, len(text), out(81)
    )


def search(
    text: bytes = b"9" * 2673,
    magnitude: int = 1,
    threads: int = 1,
    start: bytes = b"9" * 27,
    width_bits: int = 0,
) -> int:
    cancel = ffi.new("int32_t *")
    return lib.sk_pow(
        text,
        len(text),
        magnitude,
        threads,
        start,
        len(start),
        width_bits,
        cancel,
        out(27),
    )


def exposure(values: int, value: int = 0) -> int:
    reach = ffi.new(f"int8_t[{values}]", [value] * values)
    return lib.sk_exposure(reach, values, ffi.new("double *"))


def mine(
    text: bytes = b"9" * 162,
    values: int = 27,
    value: int = 0,
    count: int = 1,
    threads: int = 1,
) -> int:
    return lib.sk_mine(
        text,
        len(text),
        ffi.new(f"int8_t[{values}]", [value] * values),
        values,
        ffi.new(f"double[{values * 27}]"),
        count,
        threads,
        ffi.new("int32_t *"),
        ffi.new("sk_mined *"),
    )


# Of all tags only the last one is left; of all but the last, the second word.
LAST_TAG = b"9" * 108 + b"M" * 27 + b"9" * 27


def interpolate(xs: bytes, x: int = 255) -> int:
    values = octets(bytes(len(xs) * 16))
    return lib.sk_interpolate(xs, values, len(xs), 16, x, ffi.new("uint8_t[16]"))


def argon2(**changes: int) -> int:
    fields = {
        "variant": lib.SK_ARGON2_ID,
        "passes": 1,
        "memory_kib": 16,
        "lanes": 2,
        "arena_bytes": 16 * 1024,
        "out_bytes": 4,
        **changes,
    }
    # 16 KiB from the next multiple of 64 on, and then some bytes further.
    arena = ffi.new("uint8_t[]", 17 * 1024)
    first = -int(ffi.cast("uintptr_t", arena)) % 64 + fields.pop("shift", 0)
    pointers = {
        "arena": ffi.cast("uint8_t *", arena) + first,  # type: ignore[operator]
        "out": ffi.new("uint8_t[4]"),
    }
    return lib.sk_argon2(ffi.new("sk_argon2_request *", {**fields, **pointers}))


def map_locked(size_bytes: int) -> int:
    mapping = ffi.new("sk_mapping *")
    status = lib.sk_map_locked(size_bytes, mapping)
    lib.sk_unmap(mapping)
    return status


LENGTH, TRYTE, RANGE = lib.SK_ERR_LENGTH, lib.SK_ERR_TRYTE, lib.SK_ERR_RANGE

REFUSED: dict[str, tuple[int, Callable[[], int]]] = {
    "bytes of no trytes": (LENGTH, lambda: to_bytes(b"")),
    "bytes of 80 trytes": (LENGTH, lambda: to_bytes(b"A" * 80)),
    "bytes of 82 trytes": (LENGTH, lambda: to_bytes(b"A" * 82)),
    "bytes of a bad first tryte": (TRYTE, lambda: to_bytes(b"a" + b"A" * 80)),
    "bytes of a bad last tryte": (TRYTE, lambda: to_bytes(b"A" * 80 + b"\xff")),
    "trytes of no bytes": (LENGTH, lambda: to_trytes(b"")),
    "trytes of 47 bytes": (LENGTH, lambda: to_trytes(bytes(47))),
    "trytes of 49 bytes": (LENGTH, lambda: to_trytes(bytes(49))),
    "kerl of nothing": (LENGTH, lambda: kerl(b"")),
    "kerl of 80": (LENGTH, lambda: kerl(b"A" * 80)),
    "kerl of a bad tryte": (TRYTE, lambda: kerl(b"A" * 161 + b"\0")),
    "curl of nothing": (LENGTH, lambda: curl(b"")),
    "curl of 82": (LENGTH, lambda: curl(b"A" * 82)),
    "curl of a bad tryte": (TRYTE, lambda: curl(b"A" * 161 + b"@")),
    "curl of no rounds": (RANGE, lambda: curl(GOOD, 0)),
    "curl of 82 rounds": (RANGE, lambda: curl(GOOD, 82)),
    "normalise 80": (LENGTH, lambda: normalise(b"A" * 80)),
    "normalise a bad tryte": (TRYTE, lambda: normalise(b"A" * 80 + b"[")),
    "address of a short seed": (LENGTH, lambda: address(bytes(47))),
    "address of a long seed": (LENGTH, lambda: address(bytes(49))),
    "address at level 0": (RANGE, lambda: address(level=0)),
    "address at level 4": (RANGE, lambda: address(level=4)),
    "address at the lowest level": (RANGE, lambda: address(level=-(2**31))),
    "address at index -1": (RANGE, lambda: address(index=-1)),
    "sign with a short seed": (LENGTH, lambda: sign(bytes(47))),
    "sign at level 0": (RANGE, lambda: sign(level=0)),
    "sign at level 4": (RANGE, lambda: sign(level=4, room=4 * 2187)),
    "sign into too little room": (LENGTH, lambda: sign(room=2186)),
    "sign into too much room": (LENGTH, lambda: sign(room=2188)),
    "sign at level 3 into one fragment": (LENGTH, lambda: sign(level=3)),
    "sign 80 trytes": (LENGTH, lambda: sign(text=b"A" * 80)),
    "sign a bad tryte": (TRYTE, lambda: sign(text=b"A" * 80 + b" ")),
    "no fragments": (LENGTH, lambda: from_signature(b"")),
    "part of a fragment": (LENGTH, lambda: from_signature(b"9" * 2186)),
    "a fragment and a bit": (LENGTH, lambda: from_signature(b"9" * 2268)),
    "four fragments": (LENGTH, lambda: from_signature(b"9" * 8748)),
    "a fragment with a bad tryte": (
        TRYTE,
        lambda: from_signature(b"9" * 2186 + b"!"),
    ),
    "fragments of 80 trytes": (
        LENGTH,
        lambda: from_signature(b"9" * 2187, b"A" * 80),
    ),
    "fragments of a bad hash": (
        TRYTE,
        lambda: from_signature(b"9" * 2187, b"A" * 80 + b"-"),
    ),
    "work on 2672 trytes": (LENGTH, lambda: search(b"9" * 2672)),
    "work on a bad tryte": (TRYTE, lambda: search(b"9" * 2672 + b"x")),
    "work for no weight": (RANGE, lambda: search(magnitude=0)),
    "work for too much weight": (RANGE, lambda: search(magnitude=244)),
    "work on no thread": (RANGE, lambda: search(threads=0)),
    "work on 730 threads": (RANGE, lambda: search(threads=730)),
    "work from a short start": (LENGTH, lambda: search(start=b"9" * 26)),
    "work from a bad start": (TRYTE, lambda: search(start=b"9" * 26 + b"+")),
    "work on 64 bits": (RANGE, lambda: search(width_bits=64)),
    "work on -128 bits": (RANGE, lambda: search(width_bits=-128)),
    "exposure of nothing": (LENGTH, lambda: exposure(0)),
    "exposure of 26 values": (LENGTH, lambda: exposure(26)),
    "exposure of four fragments": (LENGTH, lambda: exposure(108)),
    "exposure beyond 13": (RANGE, lambda: exposure(27, 14)),
    "exposure below -14": (RANGE, lambda: exposure(81, -15)),
    "mine nothing": (LENGTH, lambda: mine(b"")),
    "mine half a transaction": (LENGTH, lambda: mine(b"9" * 243)),
    "mine 1001 transactions": (LENGTH, lambda: mine(b"9" * 162 * 1001)),
    "mine a bad tryte": (TRYTE, lambda: mine(b"9" * 323 + b"a")),
    "mine for no key": (LENGTH, lambda: mine(values=0)),
    "mine for four fragments": (LENGTH, lambda: mine(values=108)),
    "mine beyond 13": (RANGE, lambda: mine(value=14)),
    "mine no tag": (RANGE, lambda: mine(count=0)),
    "mine too many tags": (RANGE, lambda: mine(count=lib.SK_MINE_MAX + 1)),
    "mine on no thread": (RANGE, lambda: mine(threads=0)),
    "mine on 730 threads": (RANGE, lambda: mine(threads=730)),
    "mine past the last tag": (RANGE, lambda: mine(LAST_TAG, count=2)),
    "a polynomial through nothing": (RANGE, lambda: interpolate(b"")),
    "a polynomial through 17": (RANGE, lambda: interpolate(bytes(range(17)))),
    "a polynomial through one twice": (RANGE, lambda: interpolate(b"\x01\x02\x01")),
    "a polynomial at -1": (RANGE, lambda: interpolate(b"\x01", -1)),
    "a polynomial at 256": (RANGE, lambda: interpolate(b"\x01", 256)),
    "argon2 of no variant": (RANGE, lambda: argon2(variant=0)),
    "argon2 of variant 3": (RANGE, lambda: argon2(variant=3)),
    "argon2 without a pass": (RANGE, lambda: argon2(passes=0)),
    "argon2 without a lane": (RANGE, lambda: argon2(lanes=0)),
    "argon2 on too many lanes": (RANGE, lambda: argon2(lanes=2**24)),
    "argon2 in too little memory": (RANGE, lambda: argon2(memory_kib=15)),
    "argon2 in no memory": (RANGE, lambda: argon2(memory_kib=0, lanes=1)),
    "argon2 in too much memory": (RANGE, lambda: argon2(memory_kib=2**31)),
    "argon2 between cache lines": (RANGE, lambda: argon2(shift=8)),
    "argon2 in a small arena": (LENGTH, lambda: argon2(arena_bytes=16 * 1024 - 1)),
    "argon2 into 3 bytes": (LENGTH, lambda: argon2(out_bytes=3)),
    "argon2 of 4 GiB of password": (LENGTH, lambda: argon2(password_bytes=2**32)),
    "argon2 of 4 GiB of salt": (LENGTH, lambda: argon2(salt_bytes=2**32)),
    "argon2 of 4 GiB of secret": (LENGTH, lambda: argon2(secret_bytes=2**32)),
    "argon2 of 4 GiB of more": (LENGTH, lambda: argon2(associated_bytes=2**32)),
    "map nothing": (RANGE, lambda: map_locked(0)),
    "map too much": (RANGE, lambda: map_locked(2**63)),
}


@pytest.mark.parametrize(("status", "call"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_argument_has_its_code(status: int, call: Callable[[], int]) -> None:
    assert call() == status


@pytest.mark.parametrize("byte", range(256))
def test_only_trytes_are_trytes(byte: int) -> None:
    text = b"A" * 40 + bytes([byte]) + b"A" * 40
    good = bytes([byte]) in b"9ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    expected = lib.SK_OK if good else TRYTE
    for function in (to_bytes, kerl, curl, normalise):
        assert function(text) == expected


def test_random_lengths_and_bytes_are_answered(draws: Draws) -> None:
    functions = (to_bytes, to_trytes, kerl, curl, normalise, address, from_signature)
    for _ in range(2000):
        function = functions[draws.below(len(functions))]
        length = (0, 27, 48, 81, 162, 2187, 4374)[draws.below(7)] + draws.below(3) - 1
        data = draws.data(max(length, 0))
        assert function(data) in {lib.SK_OK, LENGTH, TRYTE}


def test_counting_up_passes_over_full_trytes() -> None:
    # All-M trits of the counter wrap around to all-N on the first step.
    assert search(magnitude=7, start=b"M" * 27) == lib.SK_OK
    assert search(magnitude=7, start=b"M" * 27, width_bits=128) == lib.SK_OK


def test_argon2_needs_no_more_than_it_says() -> None:
    assert argon2() == lib.SK_OK


def test_the_last_tag_is_mined() -> None:
    assert mine(LAST_TAG) == lib.SK_OK


def test_unmapping_twice_does_nothing() -> None:
    mapping = ffi.new("sk_mapping *")
    assert lib.sk_map_locked(1, mapping) in {lib.SK_OK, lib.SK_ERR_LOCK}
    assert lib.sk_unmap(mapping) == lib.SK_OK
    assert lib.sk_unmap(mapping) == lib.SK_OK
