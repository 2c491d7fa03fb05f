# SPDX-License-Identifier: Apache-2.0
"""The kernel's own Argon2 against argon2-cffi's plain call."""

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator

from argon2.low_level import Type, hash_secret_raw

from benchmarks.rounds import Figure, at_least, medians_ms
from trinary._kernel import lib
from trinary.argon2 import argon2_into
from trinary.memory import HugeArena

_MEMORY_KIB = 131_072
_PASSES = 4
_OUT_BYTES = 48
_BARS = {128: 1.2, 256: 2.5, 512: 2.5}
_RUNS_PER_THREAD = 3


def measure(*, rounds: int) -> Iterator[Figure]:
    """Measure 128 MiB at each width of vectors, and two threads against one.

    Args:
        rounds: How often each candidate runs.

    Yields:
        One figure per width, and one for two threads.
    """
    password, salt = os.urandom(64), os.urandom(32)
    before = lib.sk_vector_bits()

    def plain() -> bytes:
        return hash_secret_raw(
            password, salt, _PASSES, _MEMORY_KIB, 1, _OUT_BYTES, Type.ID
        )

    expected = plain()

    def ours(arena: HugeArena, bits: int) -> None:
        lib.sk_limit_vector_bits(bits)
        out = bytearray(_OUT_BYTES)
        argon2_into(
            password,
            salt,
            variant="argon2id",
            time_cost=_PASSES,
            memory_kib=_MEMORY_KIB,
            parallelism=1,
            arena=arena,
            out=out,
        )
        lib.sk_limit_vector_bits(before)
        if out != expected:
            raise ValueError("kernel and argon2-cffi disagree")

    def at(arena: HugeArena, bits: int) -> Callable[[], None]:
        return lambda: ours(arena, bits)

    size_bytes = _MEMORY_KIB * 1024
    with (
        HugeArena(size_bytes, allow_unlocked=True) as first,
        HugeArena(size_bytes, allow_unlocked=True) as second,
    ):
        widths = [bits for bits in _BARS if bits <= before]
        runs: dict[str, Callable[[], object]] = {"plain": plain}
        runs |= {str(bits): at(first, bits) for bits in widths}
        found = medians_ms(runs, rounds=rounds)
        for bits in widths:
            yield at_least(
                f"Argon2id 128 MiB, own fill, {bits} bit : hash_secret_raw",
                _BARS[bits],
                ours_ms=found[str(bits)],
                peer_ms=found["plain"],
                note=f"AnonHugePages of the arena: {first.huge_kib()} KiB",
            )
        yield _two_threads(at(first, before), at(second, before), rounds=rounds)


def _two_threads(
    first: Callable[[], None], second: Callable[[], None], *, rounds: int
) -> Figure:
    """Compare the time per hash of two threads with that of one."""
    alone: list[float] = []
    together: list[float] = []
    cores: list[float] = []
    for _ in range(rounds):
        start_s = time.perf_counter()
        _repeat(first)
        alone.append(time.perf_counter() - start_s)
        threads = [threading.Thread(target=_repeat, args=(x,)) for x in (first, second)]
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        together.append((time.perf_counter() - start_s) / 2)
        cores.append((time.process_time() - start_cpu_s) / together[-1] / 2)
    per_hash_ms = 1000 / _RUNS_PER_THREAD
    return at_least(
        "Argon2id 128 MiB, own fill, two threads : one",
        1.7,
        ours_ms=statistics.median(together) * per_hash_ms,
        peer_ms=statistics.median(alone) * per_hash_ms,
        note=f"two threads had {statistics.median(cores):.2f} cores to themselves",
    )


def _repeat(run: Callable[[], None]) -> None:
    for _ in range(_RUNS_PER_THREAD):
        run()
