# SPDX-License-Identifier: Apache-2.0
"""Argon2 against RFC 9106, argon2-cffi and the old Hub's known answers."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Literal

import pytest
from argon2.low_level import Type, hash_secret_raw

from trinary._kernel import ffi, lib
from trinary.argon2 import argon2_into
from trinary.errors import LengthError, MemoryClosedError, ValueRangeError
from trinary.memory import HugeArena, LockedBuffer
from trinary.trytes import trytes_from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.trinary.conftest import Draws, Json

Variant = Literal["argon2i", "argon2id"]

MIB = 1 << 20
FULL_KIB = 131_072
VARIANTS: tuple[Variant, Variant] = ("argon2i", "argon2id")
TYPES = {"argon2i": Type.I, "argon2id": Type.ID}
SALT = b"a salt, in public"


@pytest.fixture(scope="module")
def arena() -> Iterator[HugeArena]:
    with HugeArena(FULL_KIB * 1024, allow_unlocked=True) as one:
        yield one


def argon2(  # noqa: PLR0913 - as many as Argon2 has
    arena: HugeArena,
    password: bytes = b"password",
    salt: bytes = SALT,
    *,
    variant: Variant = "argon2id",
    time_cost: int = 1,
    memory_kib: int = 32,
    parallelism: int = 1,
    out_bytes: int = 48,
) -> bytes:
    out = bytearray(out_bytes)
    argon2_into(
        password,
        salt,
        variant=variant,
        time_cost=time_cost,
        memory_kib=memory_kib,
        parallelism=parallelism,
        arena=arena,
        out=out,
    )
    return bytes(out)


def reference(
    password: bytes,
    salt: bytes,
    *,
    variant: Variant,
    out_bytes: int = 48,
    **costs: int,
) -> bytes:
    return hash_secret_raw(
        password,
        salt,
        time_cost=costs["time_cost"],
        memory_cost=costs["memory_kib"],
        parallelism=costs["parallelism"],
        hash_len=out_bytes,
        type=TYPES[variant],
    )


# RFC 9106, sections 5.2 and 5.3.
RFC_TAGS = {
    "argon2i": "c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8",
    "argon2id": "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659",
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("vector_bits")
def test_the_known_answers_of_rfc_9106(variant: Variant, arena: HugeArena) -> None:
    inputs = {
        "password": bytes([1] * 32),
        "salt": bytes([2] * 16),
        "secret": bytes([3] * 8),
        "associated": bytes([4] * 12),
    }
    pointers = {name: ffi.from_buffer("uint8_t[]", inputs[name]) for name in inputs}
    out = ffi.new("uint8_t[32]")
    request = ffi.new(
        "sk_argon2_request *",
        {
            "variant": lib.SK_ARGON2_I if variant == "argon2i" else lib.SK_ARGON2_ID,
            "passes": 3,
            "memory_kib": 32,
            "lanes": 4,
            "arena": ffi.from_buffer("uint8_t[]", arena.view),
            "arena_bytes": arena.size_bytes,
            "out": out,
            "out_bytes": 32,
            **pointers,
            **{f"{name}_bytes": len(data) for name, data in inputs.items()},
        },
    )
    assert lib.sk_argon2(request) == lib.SK_OK
    assert ffi.buffer(out)[:].hex() == RFC_TAGS[variant]


@pytest.mark.usefixtures("vector_bits")
def test_any_parameters_give_what_argon2_cffi_gives(
    arena: HugeArena, draws: Draws
) -> None:
    for _ in range(600):
        variant = VARIANTS[draws.below(2)]
        lanes = 1 if draws.below(2) else 1 + draws.below(8)
        costs = {
            "time_cost": 1 + draws.below(4),
            "memory_kib": 8 * lanes + draws.below(120),
            "parallelism": lanes,
        }
        out_bytes = 4 + draws.below(200)
        password = draws.data(draws.below(300))
        salt = draws.data(8 + draws.below(200))
        expected = reference(
            password, salt, variant=variant, out_bytes=out_bytes, **costs
        )
        found = argon2(
            arena, password, salt, variant=variant, out_bytes=out_bytes, **costs
        )
        assert found == expected, (variant, out_bytes, costs)


@pytest.mark.parametrize("memory_kib", [8, 9, 11, 12, 511, 512, 516, 520, 2100])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("vector_bits")
def test_segments_of_any_length_are_filled(
    variant: Variant, memory_kib: int, arena: HugeArena
) -> None:
    # A block of addresses serves 128 blocks: segments below, at and above that.
    costs = {"time_cost": 3, "memory_kib": memory_kib, "parallelism": 1}
    expected = reference(b"", SALT, variant=variant, **costs)
    assert argon2(arena, b"", variant=variant, **costs) == expected


@pytest.mark.parametrize("out_bytes", [4, 31, 32, 33, 63, 64, 65, 95, 96, 97, 1024])
def test_tags_of_any_length_are_made(out_bytes: int, arena: HugeArena) -> None:
    costs = {"time_cost": 1, "memory_kib": 8, "parallelism": 1}
    expected = reference(
        b"password", SALT, variant="argon2id", out_bytes=out_bytes, **costs
    )
    assert argon2(arena, out_bytes=out_bytes, **costs) == expected


@pytest.mark.parametrize("length", [*range(8, 150, 3), 4000])
def test_salts_of_any_length_are_taken_in(length: int, arena: HugeArena) -> None:
    costs = {"time_cost": 1, "memory_kib": 8, "parallelism": 1}
    salt = bytes(range(100)) * 40
    expected = reference(b"p", salt[:length], variant="argon2i", **costs)
    assert argon2(arena, b"p", salt[:length], variant="argon2i", **costs) == expected


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_full_memory_gives_what_argon2_cffi_gives(
    variant: Variant, arena: HugeArena, draws: Draws
) -> None:
    password, salt = draws.data(64), draws.data(32)
    costs = {"time_cost": 4, "memory_kib": FULL_KIB, "parallelism": 1}
    expected = reference(password, salt, variant=variant, **costs)
    before = lib.sk_vector_bits()
    try:
        for bits in (128, 256, 512):
            lib.sk_limit_vector_bits(bits)
            assert argon2(arena, password, salt, variant=variant, **costs) == expected
    finally:
        lib.sk_limit_vector_bits(before)


def test_the_old_hubs_uuid_becomes_its_seed(hub_vector: Json, arena: HugeArena) -> None:
    parameters = hub_vector["argon2"]
    tag = argon2(
        arena,
        hub_vector["seed_uuid"].encode("ascii"),
        hub_vector["salt"].encode("ascii"),
        variant=parameters["variant"],
        time_cost=parameters["time_cost"],
        memory_kib=parameters["memory_kib"],
        parallelism=parameters["parallelism"],
        out_bytes=parameters["hash_len_bytes"],
    )
    assert trytes_from_bytes(tag) == hub_vector["seed"]


def test_two_threads_work_in_arenas_of_their_own(draws: Draws) -> None:
    costs = {"time_cost": 2, "memory_kib": 4096, "parallelism": 1}
    wrong: list[bytes] = []

    def work(salts: list[bytes]) -> None:
        with HugeArena(4 * MIB, allow_unlocked=True) as own:
            for salt in salts:
                expected = reference(b"", salt, variant="argon2id", **costs)
                if argon2(own, b"", salt, **costs) != expected:
                    wrong.append(salt)

    threads = [
        threading.Thread(target=work, args=([draws.data(16) for _ in range(8)],))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.usefixtures("vector_bits")
def test_the_arena_is_wiped() -> None:
    with HugeArena(2 * MIB, allow_unlocked=True) as own:
        argon2(own, memory_kib=2048)
        assert not any(own.view)


def test_only_what_is_asked_for_of_the_arena_is_used() -> None:
    with HugeArena(2 * MIB, allow_unlocked=True) as own:
        own.view[100 * 1024 :] = b"k" * (own.size_bytes - 100 * 1024)
        expected = argon2(own, memory_kib=100)
        assert bytes(own.view[100 * 1024 :]) == b"k" * (own.size_bytes - 100 * 1024)
        own.view[: 100 * 1024] = b"k" * (100 * 1024)
        assert argon2(own, memory_kib=100) == expected


def test_everything_may_lie_in_locked_buffers(arena: HugeArena) -> None:
    with (
        LockedBuffer(8, allow_unlocked=True) as password,
        LockedBuffer(17, allow_unlocked=True) as salt,
        LockedBuffer(48, allow_unlocked=True) as out,
    ):
        password.view[:] = b"password"
        salt.view[:] = SALT
        run = partial(
            argon2_into,
            variant="argon2id",
            time_cost=1,
            memory_kib=32,
            parallelism=1,
            arena=arena,
        )
        run(password, salt, out=out)
        assert bytes(out.view) == argon2(arena)
        assert bytes(password.view) == b"password"
        assert bytes(salt.view) == SALT
        run(password.view, memoryview(SALT), out=out.view[:4])
        assert bytes(out.view[:4]) == argon2(arena, out_bytes=4)
    with pytest.raises(MemoryClosedError):
        run(password, SALT, out=bytearray(48))
    with pytest.raises(MemoryClosedError):
        run(b"password", SALT, out=out)


def test_a_closed_arena_is_refused() -> None:
    own = HugeArena(2 * MIB, allow_unlocked=True)
    own.close()
    with pytest.raises(MemoryClosedError):
        argon2(own)


@pytest.mark.parametrize(
    "costs",
    [
        {"time_cost": 0},
        {"time_cost": -1},
        {"time_cost": 2**32},
        {"memory_kib": 7},
        {"memory_kib": 2**31},
        {"memory_kib": 31, "parallelism": 4},
        {"parallelism": 0},
        {"parallelism": 2**24},
    ],
)
def test_costs_out_of_range_are_refused(
    costs: dict[str, int], arena: HugeArena
) -> None:
    with pytest.raises(ValueRangeError):
        argon2(arena, **costs)  # type: ignore[arg-type]


def test_buffers_that_are_too_small_are_refused(arena: HugeArena) -> None:
    with pytest.raises(LengthError, match=r"salt: .* got 7$"):
        argon2(arena, salt=b"7 bytes")
    with pytest.raises(LengthError, match=r"out: .* got 3$"):
        argon2(arena, out_bytes=3)
    with pytest.raises(LengthError, match=r"arena: "):
        argon2(arena, memory_kib=FULL_KIB + 1)


@pytest.mark.parametrize("wrong", ["password", None, 8, [1] * 8])
def test_what_is_no_buffer_is_refused(wrong: object, arena: HugeArena) -> None:
    with pytest.raises(TypeError):
        argon2(arena, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        argon2(arena, b"", wrong)  # type: ignore[arg-type]


def test_a_variant_that_does_not_exist_is_refused(arena: HugeArena) -> None:
    with pytest.raises(KeyError):
        argon2(arena, variant="argon2d")  # type: ignore[arg-type]


def test_nothing_is_written_where_only_reading_is_allowed(arena: HugeArena) -> None:
    with pytest.raises((BufferError, ValueError, TypeError)):
        argon2_into(
            b"",
            SALT,
            variant="argon2i",
            time_cost=1,
            memory_kib=8,
            parallelism=1,
            arena=arena,
            out=memoryview(bytes(48)),
        )
