# SPDX-License-Identifier: Apache-2.0
"""Argon2 from locked memory to locked memory, as fast as memory goes.

The kernel has its own fill loop: vectors as wide as the processor's, and the
block that is needed next already on its way while this one is worked on. It
works in an arena that is mapped once and wiped after each use. ``argon2-cffi``
is the reference that it has to agree with.

Source: RFC 9106, version 0x13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from trinary._kernel import ffi, lib
from trinary.errors import KernelFaultError, LengthError, ValueRangeError
from trinary.memory import LockedBuffer

if TYPE_CHECKING:
    from trinary._kernel import CData
    from trinary.memory import HugeArena, SecretBuffer

Variant = Literal["argon2i", "argon2id"]

PARALLELISM_MAX: Final = 2**24 - 1
MEMORY_KIB_PER_LANE: Final = 8
MEMORY_KIB_MAX: Final = 2**31 - 1
TIME_COST_MAX: Final = 2**32 - 1
OUT_MIN_BYTES: Final = 4
SALT_MIN_BYTES: Final = 8
_KIB: Final = 1024
_VARIANTS: Final = {"argon2i": lib.SK_ARGON2_I, "argon2id": lib.SK_ARGON2_ID}


def argon2_into(  # noqa: PLR0913 - RFC 9106 has that many
    password: SecretBuffer,
    salt: SecretBuffer,
    *,
    variant: Variant,
    time_cost: int,
    memory_kib: int,
    parallelism: int,
    arena: HugeArena,
    out: LockedBuffer | bytearray | memoryview,
) -> None:
    """Run Argon2 on this thread, without the interpreter lock.

    Lanes are computed one after the other: ``parallelism`` changes the result
    and not the speed. An arena serves one run at a time.

    Args:
        password: Any number of bytes; read in place.
        salt: 8 bytes or more; read in place.
        variant: ``argon2i`` or ``argon2id``.
        time_cost: Passes, 1 or more.
        memory_kib: 8 per lane or more.
        parallelism: Lanes, 1 or more.
        arena: At least ``memory_kib`` large; wiped afterwards.
        out: Receives the tag, as long as it is: 4 bytes or more.

    Raises:
        LengthError: The salt, the arena or ``out`` is too small.
        ValueRangeError: A number is out of range.
        KernelFaultError: The kernel refused nevertheless.
    """
    _require_costs(time_cost, memory_kib, parallelism)
    pointers = {
        "password": _pointer(password),
        "salt": _pointer(salt),
        "out": _pointer(out, writable=True),
    }
    _require_at_least(SALT_MIN_BYTES, len(pointers["salt"]), what="salt")
    _require_at_least(OUT_MIN_BYTES, len(pointers["out"]), what="out")
    _require_at_least(memory_kib * _KIB, arena.size_bytes, what="arena")
    view = arena.view  # keeps the memory while the kernel is in it
    request = ffi.new(
        "sk_argon2_request *",
        {
            "variant": _VARIANTS[variant],
            "passes": time_cost,
            "memory_kib": memory_kib,
            "lanes": parallelism,
            "arena": ffi.from_buffer("uint8_t[]", view),
            "arena_bytes": arena.size_bytes,
            **pointers,
            **{f"{name}_bytes": len(at) for name, at in pointers.items()},
        },
    )
    status = lib.sk_argon2(request)
    if status != lib.SK_OK:
        msg = f"Argon2 failed with status {status}"
        raise KernelFaultError(msg)


def _pointer(data: SecretBuffer, *, writable: bool = False) -> CData:
    """Point C at a buffer, in place.

    Args:
        data: A buffer, or anything else with the buffer protocol.
        writable: Refuse one that may only be read.

    Returns:
        A pointer that keeps the buffer alive.
    """
    buffer = data.view if isinstance(data, LockedBuffer) else data
    return ffi.from_buffer("uint8_t[]", buffer, require_writable=writable)


def _require_costs(time_cost: int, memory_kib: int, parallelism: int) -> None:
    """Refuse costs that RFC 9106, or memory, does not have.

    Args:
        time_cost: Passes.
        memory_kib: Memory in KiB.
        parallelism: Lanes.

    Raises:
        ValueRangeError: One is out of range.
    """
    if not 1 <= time_cost <= TIME_COST_MAX:
        msg = f"time cost: expected 1 to {TIME_COST_MAX}, got {time_cost}"
        raise ValueRangeError(msg)
    if not 1 <= parallelism <= PARALLELISM_MAX:
        msg = f"parallelism: expected 1 to {PARALLELISM_MAX}, got {parallelism}"
        raise ValueRangeError(msg)
    least_kib = MEMORY_KIB_PER_LANE * parallelism
    if not least_kib <= memory_kib <= MEMORY_KIB_MAX:
        msg = f"memory: expected {least_kib} to {MEMORY_KIB_MAX} KiB, got {memory_kib}"
        raise ValueRangeError(msg)


def _require_at_least(least_bytes: int, size_bytes: int, *, what: str) -> None:
    """Refuse a buffer that is too small.

    Args:
        least_bytes: How large it has to be.
        size_bytes: How large it is.
        what: Its name, for the message.

    Raises:
        LengthError: It is smaller.
    """
    if size_bytes < least_bytes:
        msg = f"{what}: expected at least {least_bytes} bytes, got {size_bytes}"
        raise LengthError(msg)
