# SPDX-License-Identifier: Apache-2.0
"""Argon2 with our reused arena against argon2-cffi's plain call."""

import base64
import os
from collections.abc import Iterator

from argon2.low_level import Type, hash_secret_raw

from appliance.argon2_engines import (
    SEED_BYTES,
    Arena,
    Argon2Parameters,
    Engine,
    regenerate_seed,
)
from benchmarks.rounds import Figure, at_least, medians_ms
from trinary.memory import LockedBuffer

_KIB = 1024


def measure(*, rounds: int) -> Iterator[Figure]:
    """Measure one seed at the full 128 MiB.

    Args:
        rounds: How often each candidate runs.

    Yields:
        One figure.

    Raises:
        ValueError: If the two give different seeds.
    """
    parameters = Argon2Parameters()
    uuid = base64.b64encode(os.urandom(48)).decode()
    secret = os.urandom(32)
    arena = Arena(parameters.memory_kib * _KIB, allow_unlocked=True)
    with (
        LockedBuffer(len(secret), allow_unlocked=True) as salt,
        LockedBuffer(SEED_BYTES, allow_unlocked=True) as seed,
    ):
        salt.view[:] = secret

        def plain() -> bytes:
            return hash_secret_raw(
                uuid.encode(),
                secret,
                time_cost=parameters.time_cost,
                memory_cost=parameters.memory_kib,
                parallelism=parameters.parallelism,
                hash_len=SEED_BYTES,
                type=Type.ID,
            )

        def reused() -> None:
            regenerate_seed(
                uuid,
                salt,
                parameters,
                engine=Engine.REFERENCE,
                arena=arena,
                into=seed,
            )

        reused()
        if bytes(seed.view) != plain():
            raise ValueError("arena and plain call disagree")
        found = medians_ms({"ours": reused, "plain": plain}, rounds=rounds)
        huge_kib = arena.memory.huge_kib()
    yield at_least(
        "Argon2id 128 MiB, reused arena : hash_secret_raw",
        1.2,
        ours_ms=found["ours"],
        peer_ms=found["plain"],
        note=f"AnonHugePages of the arena: {huge_kib} KiB",
    )
    arena.memory.close()
