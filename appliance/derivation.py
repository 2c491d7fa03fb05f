# SPDX-License-Identifier: Apache-2.0
"""From a seed UUID and the salt to a seed, an address, a signature.

A seed is Argon2(seed UUID, salt), 48 bytes, read as a Kerl word whose last trit
is 0; the address index is always 0. Everything secret stays in locked buffers:
Argon2 reads the salt from one, works in a reused arena and writes the seed into
another; the kernel reads the seed from there (``appliance.argon2_engines``).

Runs go to a fixed number of threads, so memory is bounded by threads times
``memory_kib``; which of those that wait is next, ``appliance.derivation_queue`` says.

Source: the derivation is that of Hub 1.4.4 (hub/crypto), with its known answers
in tests/vectors.
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from appliance.argon2_engines import (
    SEED_BYTES,
    Argon2Parameters,
    DerivationError,
    Engine,
    regenerate_seed,
)
from appliance.derivation_queue import DerivationQueue, Purpose
from appliance.errors import BrokenInvariantError, DeferredError
from trinary import winternitz
from trinary.errors import TrinaryError
from trinary.memory import HugeArena, LockedBuffer

_KIB: Final = 1024
_NICENESS: Final = 5
_Result = TypeVar("_Result")


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
        engine: Which implementation of Argon2 runs.
        max_waiting: Runs that may wait; more are deferred.
    """

    def __init__(
        self,
        *,
        workers: int,
        memory_kib: int,
        memory_budget_mib: int,
        allow_unlocked: bool,
        engine: Engine = Engine.KERNEL,
        max_waiting: int = 240,
    ) -> None:
        affordable = memory_budget_mib * _KIB // memory_kib
        if affordable < 1:
            raise DerivationError(
                f"one Argon2 run needs {memory_kib // _KIB} MiB, the budget"
                f" derivation.memory_budget_mib is {memory_budget_mib}"
            )
        self.workers = min(workers or len(os.sched_getaffinity(0)), affordable)
        self._allow_unlocked = allow_unlocked
        self._arenas: queue.SimpleQueue[HugeArena] = queue.SimpleQueue()
        for _ in range(self.workers):
            self._arenas.put(
                HugeArena(memory_kib * _KIB, allow_unlocked=allow_unlocked)
            )
        self._engine = engine
        self._threads = ThreadPoolExecutor(
            self.workers, thread_name_prefix="argon2", initializer=_yield_to_the_loop
        )
        self._queue = DerivationQueue(self._threads, max_waiting=max_waiting)

    @property
    def engines_of_issuing(self) -> tuple[Engine, Engine]:
        """The two that must agree on an address before it leaves."""
        return self._engine, Engine.REFERENCE

    async def seeds(
        self,
        seed_uuids: Sequence[str],
        *,
        salt: LockedBuffer,
        parameters: Argon2Parameters,
        level: int,
        purpose: Purpose = Purpose.SIGNATURE,
        engines: Sequence[Engine] = (),
    ) -> Seeds:
        """Regenerate seeds, one Argon2 run each, as many at once as threads.

        Args:
            seed_uuids: Which.
            salt: Of their generation; taken over, wiped when the last run ends.
            parameters: Of their generation.
            level: Security level of their generation.
            purpose: What for: signatures come before new addresses.
            engines: One for each UUID; none: the configured one.

        Returns:
            The seeds; close them.

        Raises:
            DerivationError: If any run fails; no seed is left behind.
            DeferredError: ``derivations-queued`` if too many wait; nothing was run.
            asyncio.CancelledError: If the caller gave up.
        """
        buffers: list[LockedBuffer] = []
        jobs: list[asyncio.Future[None]] = []
        seeds = Seeds(buffers, level=level)
        failed: list[BaseException] = []
        chosen = engines or [self._engine] * len(seed_uuids)
        try:
            while len(buffers) < len(seed_uuids):
                buffers.append(self._locked())
            runs = [
                partial(self._regenerate, uuid, salt, parameters, engine, buffer)
                for uuid, engine, buffer in zip(
                    seed_uuids, chosen, buffers, strict=True
                )
            ]
            jobs += self._queue.put(runs, purpose)
        except DeferredError:
            salt.close()
            seeds.close()
            raise
        except (RuntimeError, TrinaryError) as error:  # closed meanwhile, no memory
            failed.append(error)
        # The threads read the salt and write the seeds whatever becomes of us:
        # nothing is wiped before the last of them is done.
        all_runs = asyncio.gather(*jobs, return_exceptions=True)
        try:
            outcomes = await asyncio.shield(all_runs)
        except asyncio.CancelledError:
            all_runs.add_done_callback(lambda _: salt.close())
            all_runs.add_done_callback(lambda _: seeds.close())
            raise
        salt.close()
        failed += [error for error in outcomes if isinstance(error, BaseException)]
        if failed:
            seeds.close()
            raise DerivationError(f"no seed was derived: {failed[0]}") from failed[0]
        return seeds

    def _locked(self) -> LockedBuffer:
        return LockedBuffer(SEED_BYTES, allow_unlocked=self._allow_unlocked)

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
            (running,) = self._queue.put([work], Purpose.KERNEL)
        except RuntimeError as error:
            raise DerivationError("the appliance is going down") from error
        return await running

    def _regenerate(
        self,
        seed_uuid: str,
        salt: LockedBuffer,
        parameters: Argon2Parameters,
        engine: Engine,
        into: LockedBuffer,
    ) -> None:
        arena = self._arenas.get()
        try:
            regenerate_seed(
                seed_uuid, salt, parameters, engine=engine, arena=arena, into=into
            )
        finally:
            self._arenas.put(arena)

    @property
    def waiting(self) -> int:
        """How many runs wait for a thread."""
        return self._queue.waiting

    def give_up(self) -> None:
        """Fail what waits for a thread, at once; ``close`` ends the rest."""
        self._queue.give_up()

    def close(self) -> None:
        """Give up what waits, end the threads and unmap the arenas."""
        self._queue.close()
        while not self._arenas.empty():
            self._arenas.get().close()


def _yield_to_the_loop() -> None:
    """Let the event loop run first where threads and cores are equally many.

    Linux keeps a niceness for each thread; lowering one's own needs no privilege.
    """
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
