# SPDX-License-Identifier: Apache-2.0
"""Which Argon2 run is next: signatures before new addresses, nobody kept for ever.

A run's rank is how many were served before it came, and its place in its own request.
So a request with one input is not held up by one with sixty that came before it, and
ranks only rise: whatever waits is the least one day. Runs for new addresses are put
``_HANDICAP`` ranks back: that many signatures may overtake them.
"""

import asyncio
import enum
import heapq
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from appliance.argon2_engines import DerivationError
from appliance.errors import DeferredError

_Result = TypeVar("_Result")

_HANDICAP: Final = 64
"""Ranks: the inputs of one large bundle."""
_AT_ONCE: Final = -1
_RETRY_AFTER_S: Final = 5.0


class Purpose(enum.Enum):
    """What a run is for."""

    KERNEL = "kernel"
    """Short work on seeds that are there: it frees them, and never waits in line."""
    SIGNATURE = "signature"
    """A bundle waits for it."""
    CUSTODY = "custody"
    """What must not be put off: a key that is journalled as spent, a canary's check."""
    ADDRESS = "address"
    """A new address; the hub keeps some ready."""


_NEVER_PUT_OFF: Final = frozenset({Purpose.KERNEL, Purpose.CUSTODY})


@dataclass(order=True, slots=True)
class _Job:
    rank: int
    number: int
    run: Callable[[], Any] = field(compare=False)
    result: "Future[Any]" = field(compare=False)


class DerivationQueue:
    """What waits for the threads.

    Args:
        threads: They run what is next; ended by ``close``.
        max_waiting: Runs that may wait; more are refused.
    """

    def __init__(self, threads: ThreadPoolExecutor, *, max_waiting: int) -> None:
        self._threads = threads
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._waiting: list[_Job] = []
        self._number = 0
        self._served = 0
        self._closed = False

    def put(
        self, runs: Sequence[Callable[[], _Result]], purpose: Purpose
    ) -> "list[asyncio.Future[_Result]]":
        """Let runs of one request wait for the threads.

        Args:
            runs: In the order they are wanted.
            purpose: What they are for.

        Returns:
            Their results to be.

        Raises:
            DeferredError: ``derivations-queued`` if too many wait; none was taken.
            RuntimeError: If the threads have ended; none was taken.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the threads have ended")
            self._require_room(len(runs), purpose)
            jobs = [
                self._job(run, position, purpose) for position, run in enumerate(runs)
            ]
            for job in jobs:
                # In this order: if the threads have ended, nothing is left waiting.
                self._threads.submit(self._serve)
                heapq.heappush(self._waiting, job)
        return [asyncio.wrap_future(job.result) for job in jobs]

    @property
    def waiting(self) -> int:
        """How many runs wait for a thread."""
        return len(self._waiting)

    def give_up(self) -> None:
        """Fail what waits and take nothing more; what runs goes on to its end.

        A seal can not wait for a line of derivations, each with a salt to read.
        """
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, []
        for job in waiting:
            if job.result.set_running_or_notify_cancel():
                job.result.set_exception(DerivationError("the appliance is going down"))

    def close(self) -> None:
        """Give up what waits, wait for what runs, and end the threads."""
        self.give_up()
        self._threads.shutdown()

    def _require_room(self, more: int, purpose: Purpose) -> None:
        if purpose in _NEVER_PUT_OFF or not self._waiting:
            return
        waiting = len(self._waiting)
        # Addresses fill half of it at most, or a hub that fills its pool would have
        # its own sweeps put off.
        limit = self._max_waiting // (2 if purpose is Purpose.ADDRESS else 1)
        if waiting + more > limit:
            raise DeferredError(
                "derivations-queued",
                f"{waiting} derivations wait, {more} more are too many: the limit is"
                f" {limit}, by derivation.max_waiting {self._max_waiting}",
                retry_after_s=_RETRY_AFTER_S,
            )

    def _job(self, run: Callable[[], Any], position: int, purpose: Purpose) -> _Job:
        self._number += 1
        rank = self._served + position
        if purpose is Purpose.KERNEL:
            rank = _AT_ONCE
        elif purpose is Purpose.ADDRESS:
            rank += _HANDICAP
        return _Job(rank, self._number, run, Future())

    def _serve(self) -> None:
        """Run what is next; called once for each that was put."""
        with self._lock:
            if not self._waiting:
                return  # given up
            job = heapq.heappop(self._waiting)
            self._served += job.rank != _AT_ONCE
        if not job.result.set_running_or_notify_cancel():
            return
        try:
            job.result.set_result(job.run())
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            job.result.set_exception(error)
