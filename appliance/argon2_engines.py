# SPDX-License-Identifier: Apache-2.0
"""Two implementations of Argon2, from locked memory to locked memory.

``KERNEL`` is our own fill loop, as fast as memory goes (``trinary.argon2``);
``REFERENCE`` is argon2-cffi. They share arenas. An address is issued only after both
have derived it.

Source: RFC 9106; the arena is handed to argon2-cffi through ``argon2.low_level.core``.
"""

import enum
from typing import Any, Final, Literal

import msgspec
from _argon2_cffi_bindings import lib
from argon2 import low_level

from appliance.errors import FaultError
from trinary.argon2 import argon2_into
from trinary.errors import TrinaryError
from trinary.memory import HugeArena, LockedBuffer

SEED_BYTES: Final = 48
_ARGON2_VERSION: Final = 0x13  # RFC 9106
_ALLOCATE: Final = "int (*)(uint8_t **, size_t)"
_RELEASE: Final = "void (*)(uint8_t *, size_t)"
_VARIANTS: Final = {
    "argon2i": low_level.Type.I.value,
    "argon2id": low_level.Type.ID.value,
}


class Engine(enum.Enum):
    """Which implementation runs."""

    KERNEL = "kernel"
    REFERENCE = "reference"


class Argon2Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Argon2's cost; belongs to a salt generation and never changes with it.

    Attributes:
        variant: ``argon2id`` or, for the oldest imported salts, ``argon2i``.
        time_cost: Passes.
        memory_kib: Memory in KiB.
        parallelism: Lanes.
    """

    variant: Literal["argon2i", "argon2id"] = "argon2id"
    time_cost: int = 4
    memory_kib: int = 131_072
    parallelism: int = 1


class DerivationError(FaultError):
    """Argon2 said no; its return code stands in the message."""

    code = "derivation"


def regenerate_seed(
    seed_uuid: str,
    salt: LockedBuffer,
    parameters: Argon2Parameters,
    *,
    engine: Engine,
    arena: HugeArena,
    into: LockedBuffer,
) -> None:
    """Run Argon2 from locked memory to locked memory; the arena is wiped after it.

    Args:
        seed_uuid: 64 ASCII characters.
        salt: The salt, whole.
        parameters: Cost and variant.
        engine: Which implementation.
        arena: At least ``memory_kib`` large.
        into: Receives the 48 bytes.

    Raises:
        DerivationError: If Argon2 returns anything but its OK.
    """
    if engine is Engine.REFERENCE:
        _by_reference(seed_uuid, salt, parameters, arena=arena, into=into)
        return
    try:
        argon2_into(
            seed_uuid.encode("ascii"),
            salt,
            variant=parameters.variant,
            time_cost=parameters.time_cost,
            memory_kib=parameters.memory_kib,
            parallelism=parameters.parallelism,
            arena=arena,
            out=into,
        )
    except TrinaryError as error:
        raise DerivationError(f"the kernel's Argon2: {error}") from error


def _by_reference(
    seed_uuid: str,
    salt: LockedBuffer,
    parameters: Argon2Parameters,
    *,
    arena: HugeArena,
    into: LockedBuffer,
) -> None:
    ffi: Any = low_level.ffi
    password = ffi.new("uint8_t[]", seed_uuid.encode("ascii"))
    with arena.lent() as (allocate, release):
        context = ffi.new(
            "argon2_context *",
            {
                "version": _ARGON2_VERSION,
                "out": ffi.cast("uint8_t *", into.address),
                "outlen": SEED_BYTES,
                "pwd": password,
                "pwdlen": len(seed_uuid),
                "salt": ffi.cast("uint8_t *", salt.address),
                "saltlen": salt.size,
                "secret": ffi.NULL,
                "secretlen": 0,
                "ad": ffi.NULL,
                "adlen": 0,
                "t_cost": parameters.time_cost,
                "m_cost": parameters.memory_kib,
                "lanes": parameters.parallelism,
                "threads": parameters.parallelism,
                "allocate_cbk": ffi.cast(_ALLOCATE, allocate),
                "free_cbk": ffi.cast(_RELEASE, release),
                "flags": lib.ARGON2_DEFAULT_FLAGS,
            },
        )
        status = low_level.core(context, _VARIANTS[parameters.variant])
    if status != lib.ARGON2_OK:
        reason = low_level.error_to_str(status)
        raise DerivationError(f"Argon2 returned {status}: {reason}")
