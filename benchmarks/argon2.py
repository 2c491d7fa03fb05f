# SPDX-License-Identifier: Apache-2.0
"""argon2-cffi: the wheel's plain call, our arena, and a build for this processor."""

import base64
import os
from collections.abc import Iterator

from argon2.low_level import Type, hash_secret_raw

from appliance.argon2_engines import (
    SEED_BYTES,
    Argon2Parameters,
    Engine,
    regenerate_seed,
)
from benchmarks.native import NativePeer
from benchmarks.rounds import Figure, at_least, medians_ms
from trinary.memory import HugeArena, LockedBuffer

_KIB = 1024
_SALT_BYTES = 32


class Candidates:
    """One seed at the full 128 MiB, by the argon2-cffi that is imported here.

    Raises:
        ValueError: If the two ways give different seeds.
    """

    def __init__(self) -> None:
        self._parameters = Argon2Parameters()
        self._uuid = base64.b64encode(os.urandom(SEED_BYTES)).decode()
        self._salt = LockedBuffer(_SALT_BYTES, allow_unlocked=True)
        self._salt.view[:] = os.urandom(_SALT_BYTES)
        self._seed = LockedBuffer(SEED_BYTES, allow_unlocked=True)
        size_bytes = self._parameters.memory_kib * _KIB
        self._arena = HugeArena(size_bytes, allow_unlocked=True)
        self.reused()
        if bytes(self._seed.view) != self.plain():
            raise ValueError("arena and plain call disagree")

    @property
    def huge_kib(self) -> int:
        """How much of the arena lies in huge pages, in KiB."""
        return self._arena.huge_kib()

    def plain(self) -> bytes:
        """Return the seed by argon2-cffi's own call, with fresh memory."""
        return hash_secret_raw(
            self._uuid.encode(),
            bytes(self._salt.view),
            time_cost=self._parameters.time_cost,
            memory_cost=self._parameters.memory_kib,
            parallelism=self._parameters.parallelism,
            hash_len=SEED_BYTES,
            type=Type.ID,
        )

    def reused(self) -> None:
        """Compute the seed by argon2-cffi in our arena."""
        regenerate_seed(
            self._uuid,
            self._salt,
            self._parameters,
            engine=Engine.REFERENCE,
            arena=self._arena,
            into=self._seed,
        )


def measure(*, rounds: int) -> Iterator[Figure]:
    """Measure one seed.

    Args:
        rounds: How often each candidate runs.

    Yields:
        What the arena gains, what a build from source gains, and what both do.
    """
    wheel = Candidates()
    with NativePeer("argon2") as built:
        built.run("argon2-arena")  # maps its memory
        found = medians_ms(
            {
                "plain": wheel.plain,
                "reused": wheel.reused,
                "built": lambda: built.run("argon2-plain"),
                "both": lambda: built.run("argon2-arena"),
            },
            rounds=rounds,
        )
    yield at_least(
        "Argon2id 128 MiB, reused arena : hash_secret_raw",
        1.2,
        ours_ms=found["reused"],
        peer_ms=found["plain"],
        note=f"AnonHugePages of the arena: {wheel.huge_kib} KiB",
    )
    yield at_least(
        "Argon2id 128 MiB, argon2-cffi built for this processor : the wheel",
        1.2,
        ours_ms=found["built"],
        peer_ms=found["plain"],
        note="scripts/native; both by hash_secret_raw",
    )
    yield at_least(
        "Argon2id 128 MiB, that build in our arena : hash_secret_raw of the wheel",
        1.5,
        ours_ms=found["both"],
        peer_ms=found["plain"],
    )
