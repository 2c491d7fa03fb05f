# SPDX-License-Identifier: Apache-2.0
"""From a seed UUID and the salt to a seed, an address, a signature.

A seed is Argon2(seed UUID, salt), 48 bytes, read as a Kerl word whose last trit
is 0; the address index is always 0. Everything secret stays in locked buffers:
Argon2 reads the salt from one, works in a reused arena and writes the seed into
another; the kernel reads the seed from there. Argon2 wipes the arena itself.

One run costs ``memory_kib`` of arena and about half a second at 128 MiB; runs go
to a fixed number of threads, so memory is bounded by threads times arena.

Source: the derivation is that of Hub 1.4.4 (hub/crypto), with its known answers
in tests/vectors; the arena is handed over through ``argon2.low_level.core``.
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal, TypeVar

import msgspec
from _argon2_cffi_bindings import lib
from argon2 import low_level

from appliance.errors import BrokenInvariantError, FaultError
from trinary import winternitz
from trinary.errors import TrinaryError
from trinary.memory import HugeArena, LockedBuffer

SEED_BYTES: Final = 48
_KIB: Final = 1024
_NICENESS: Final = 5
_ARGON2_VERSION: Final = 0x13  # RFC 9106
_MEMORY_ALLOCATION_ERROR: Final = -22  # ARGON2_MEMORY_ALLOCATION_ERROR
_VARIANTS: Final = {
    "argon2i": low_level.Type.I.value,
    "argon2id": low_level.Type.ID.value,
}
_Result = TypeVar("_Result")


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


class Arena:
    """Argon2's working memory, mapped once and used by one run at a time."""

    def __init__(self, size_bytes: int, *, allow_unlocked: bool) -> None:
        self.memory = HugeArena(size_bytes, allow_unlocked=allow_unlocked)
        ffi: Any = low_level.ffi

        def allocate(memory: Any, wanted_bytes: int) -> int:  # noqa: ANN401 - cffi
            if wanted_bytes > self.memory.size_bytes:
                return _MEMORY_ALLOCATION_ERROR
            memory[0] = ffi.cast("uint8_t *", self.memory.address)
            return 0

        self.allocate = ffi.callback("int(uint8_t **, size_t)", allocate)
        self.release = ffi.callback("void(uint8_t *, size_t)", lambda *_: None)


def regenerate_seed(
    seed_uuid: str,
    salt: LockedBuffer,
    parameters: Argon2Parameters,
    *,
    arena: Arena,
    into: LockedBuffer,
) -> None:
    """Run Argon2 from locked memory to locked memory.

    Args:
        seed_uuid: 64 ASCII characters.
        salt: The salt, whole.
        parameters: Cost and variant.
        arena: At least ``memory_kib`` large.
        into: Receives the 48 bytes.

    Raises:
        DerivationError: If Argon2 returns anything but its OK.
    """
    ffi: Any = low_level.ffi
    password = ffi.new("uint8_t[]", seed_uuid.encode("ascii"))
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
            "allocate_cbk": arena.allocate,
            "free_cbk": arena.release,
            "flags": lib.ARGON2_DEFAULT_FLAGS,
        },
    )
    status = low_level.core(context, _VARIANTS[parameters.variant])
    if status != lib.ARGON2_OK:
        reason = low_level.error_to_str(status)
        raise DerivationError(f"Argon2 returned {status}: {reason}")


class Seeds:
    """Seeds of one request, alive in locked memory until the block ends."""

    def __init__(self, buffers: Sequence[LockedBuffer], *, level: int) -> None:
        self._buffers = buffers
        self._level = level

    def address(self, position: int) -> str:
        """Return the address of one seed (81 trytes)."""
        return winternitz.address(self._buffers[position].view, level=self._level)

    def addresses(self) -> list[str]:
        """Return the address of every seed, in order."""
        return [self.address(position) for position in range(len(self._buffers))]

    def sign(self, position: int, *, bundle_hash: str, address: str) -> list[str]:
        """Sign a bundle hash with one seed's key and verify the result.

        Only ``appliance.signing`` calls this, after the journal's commit.

        Args:
            position: Which seed.
            bundle_hash: 81 trytes.
            address: As it was issued; the signature must verify against it.

        Returns:
            One fragment of 2187 trytes per security level.

        Raises:
            BrokenInvariantError: If the signature does not verify.
        """
        seed = self._buffers[position].view
        fragments = winternitz.sign(seed, level=self._level, bundle_hash=bundle_hash)
        if not winternitz.verify(
            address=address,
            fragments=fragments,
            bundle_hash=bundle_hash,
        ):
            raise BrokenInvariantError("a signature just made does not verify")
        return fragments

    def sealed(
        self, position: int, *, address: str, encrypt: Callable[[memoryview], bytes]
    ) -> bytes:
        """Return one seed encrypted; the plain one stays where it is.

        Only ``appliance.seed_export`` calls this, after the journal's commit.

        Args:
            position: Which seed.
            address: As it was issued.
            encrypt: Reads the 48 bytes in place.

        Returns:
            What ``encrypt`` made of it.

        Raises:
            BrokenInvariantError: If the seed is not that of the address.
        """
        if self.address(position) != address:
            raise BrokenInvariantError(
                "the seed derives to another address than was issued for it",
                code="derivations-disagree",
            )
        return encrypt(self._buffers[position].view)

    def close(self) -> None:
        """Wipe and unmap every seed."""
        for buffer in self._buffers:
            buffer.close()

    def __repr__(self) -> str:
        return f"Seeds(count={len(self._buffers)}, REDACTED)"


class Derivation:
    """A fixed set of threads with an arena each.

    Args:
        workers: How many; 0 means one per core.
        memory_kib: Arena of each, the largest any generation needs.
        memory_budget_mib: Ceiling on all arenas together.
        allow_unlocked: Go on where memory can not be locked.
    """

    def __init__(
        self,
        *,
        workers: int,
        memory_kib: int,
        memory_budget_mib: int,
        allow_unlocked: bool,
    ) -> None:
        affordable = memory_budget_mib * _KIB // memory_kib
        if affordable < 1:
            raise DerivationError(
                f"one Argon2 run needs {memory_kib // _KIB} MiB, the budget"
                f" derivation.memory_budget_mib is {memory_budget_mib}"
            )
        self.workers = min(workers or len(os.sched_getaffinity(0)), affordable)
        self._allow_unlocked = allow_unlocked
        self._arenas: queue.SimpleQueue[Arena] = queue.SimpleQueue()
        for _ in range(self.workers):
            self._arenas.put(Arena(memory_kib * _KIB, allow_unlocked=allow_unlocked))
        self._threads = ThreadPoolExecutor(
            self.workers, thread_name_prefix="argon2", initializer=_yield_to_the_loop
        )

    async def seeds(
        self,
        seed_uuids: Sequence[str],
        *,
        salt: LockedBuffer,
        parameters: Argon2Parameters,
        level: int,
    ) -> Seeds:
        """Regenerate seeds, one Argon2 run each, as many at once as threads.

        Args:
            seed_uuids: Which.
            salt: Of their generation; taken over, wiped when the last run ends.
            parameters: Of their generation.
            level: Security level of their generation.

        Returns:
            The seeds; close them.

        Raises:
            DerivationError: If any run fails; no seed is left behind.
            asyncio.CancelledError: If the caller gave up.
        """
        buffers: list[LockedBuffer] = []
        jobs: list[asyncio.Future[None]] = []
        seeds = Seeds(buffers, level=level)
        failed: list[BaseException] = []
        try:
            for uuid in seed_uuids:
                buffer = LockedBuffer(SEED_BYTES, allow_unlocked=self._allow_unlocked)
                buffers.append(buffer)
                jobs.append(self._run(self._regenerate, uuid, salt, parameters, buffer))
        except (RuntimeError, TrinaryError) as error:  # closed meanwhile, no memory
            failed.append(error)
        # The threads read the salt and write the seeds whatever becomes of us:
        # nothing is wiped before the last of them is done.
        runs = asyncio.gather(*jobs, return_exceptions=True)
        try:
            outcomes = await asyncio.shield(runs)
        except asyncio.CancelledError:
            runs.add_done_callback(lambda _: salt.close())
            runs.add_done_callback(lambda _: seeds.close())
            raise
        salt.close()
        failed += [error for error in outcomes if isinstance(error, BaseException)]
        if failed:
            seeds.close()
            raise DerivationError(f"no seed was derived: {failed[0]}") from failed[0]
        return seeds

    async def compute(self, work: Callable[[], _Result]) -> _Result:
        """Run kernel work on one of the threads, off the event loop.

        Args:
            work: What to run.

        Returns:
            Its result.

        Raises:
            DerivationError: If the threads ended: the appliance goes down.
        """
        try:
            running = self._run(work)
        except RuntimeError as error:
            raise DerivationError("the appliance is going down") from error
        return await running

    def _regenerate(
        self,
        seed_uuid: str,
        salt: LockedBuffer,
        parameters: Argon2Parameters,
        into: LockedBuffer,
    ) -> None:
        arena = self._arenas.get()
        try:
            regenerate_seed(seed_uuid, salt, parameters, arena=arena, into=into)
        finally:
            self._arenas.put(arena)

    def _run(
        self, work: Callable[..., _Result], *arguments: object
    ) -> asyncio.Future[_Result]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, work, *arguments)

    def close(self) -> None:
        """End the threads and unmap the arenas."""
        self._threads.shutdown()
        while not self._arenas.empty():
            self._arenas.get().memory.close()


def _yield_to_the_loop() -> None:
    """Let the event loop run first where threads and cores are equally many.

    Linux keeps a niceness for each thread; lowering one's own needs no privilege.
    """
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
