# SPDX-License-Identifier: Apache-2.0
"""The order of Argon2 runs: seen from one thread that is held up by a gate."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.argon2_engines import DerivationError
from appliance.derivation_queue import DerivationQueue, Purpose
from appliance.errors import DeferredError

MAX_WAITING = 200


class Line:
    """A queue whose only thread is held up until everything was put."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(1)
        self.queue = DerivationQueue(self.threads, max_waiting=MAX_WAITING)
        self.gate = threading.Event()
        self.served: list[str] = []
        self.results: list[asyncio.Future[None]] = []

    def hold(self) -> None:
        started = threading.Event()

        def wait() -> None:
            started.set()
            self.gate.wait(10)

        self.results += self.queue.put([wait], Purpose.SIGNATURE)
        started.wait(10)

    def put(self, name: str, runs: int, purpose: Purpose = Purpose.SIGNATURE) -> None:
        jobs = [self.job(f"{name}{number}") for number in range(runs)]
        self.results += self.queue.put(jobs, purpose)

    def job(self, name: str) -> Callable[[], None]:
        return lambda: self.served.append(name)

    async def let_go(self) -> list[str]:
        self.gate.set()
        await asyncio.gather(*self.results)
        return self.served


@pytest.fixture
def line() -> Iterator[Line]:
    opened = Line()
    yield opened
    opened.gate.set()
    opened.queue.close()


async def test_a_small_request_is_not_held_up_by_a_large_one(line: Line) -> None:
    line.hold()
    line.put("large", 60)
    line.put("small", 1)
    assert (await line.let_go()).index("small0") == 1


async def test_two_requests_of_one_size_take_turns(line: Line) -> None:
    line.hold()
    line.put("a", 3)
    line.put("b", 3)
    assert await line.let_go() == ["a0", "b0", "a1", "b1", "a2", "b2"]


async def test_signatures_come_before_new_addresses(line: Line) -> None:
    line.hold()
    line.put("new", 2, Purpose.ADDRESS)
    line.put("sign", 12)
    assert (await line.let_go())[:12] == [f"sign{n}" for n in range(12)]


async def test_new_addresses_have_their_turn_under_endless_signatures(
    line: Line,
) -> None:
    """One more bundle comes whenever one input was signed."""
    served: list[str] = []
    line.queue = DerivationQueue(line.threads, max_waiting=10_000)
    for _ in range(2):
        line.put("sign", 1)
    line.results += line.queue.put([lambda: served.append("new")], Purpose.ADDRESS)
    for bundles in range(200):
        line.put("sign", 1)
        line.put("sign", 1)
        await line.results[bundles]
        if served:
            break
    assert served, "overtaken by more than 64"


async def test_short_work_waits_for_nobody(line: Line) -> None:
    line.hold()
    line.put("sign", 30)
    line.put("kernel", 1, Purpose.KERNEL)
    assert (await line.let_go())[0] == "kernel0"


async def test_what_waits_is_given_up_at_once_and_what_runs_goes_on(
    line: Line,
) -> None:
    line.hold()
    line.put("sign", 3)
    line.put("kernel", 1, Purpose.KERNEL)
    line.queue.give_up()
    held, *waiting = line.results
    for one in waiting:  # the gate is shut still
        with pytest.raises(DerivationError, match="going down"):
            await one
    assert not held.done()
    with pytest.raises(RuntimeError):
        line.put("late", 1)
    line.gate.set()
    await held
    assert line.served == []


async def test_too_many_are_deferred_whole(line: Line) -> None:
    line.hold()
    line.put("first", MAX_WAITING - 1)
    with pytest.raises(DeferredError, match="max_waiting") as caught:
        line.put("more", 2)
    assert caught.value.code == "derivations-queued"
    assert caught.value.retry_after_s > 0
    line.put("last", 1)
    line.put("kernel", 1, Purpose.KERNEL)
    served = await line.let_go()
    assert len(served) == MAX_WAITING + 1
    assert not any(name.startswith("more") for name in served)


async def test_addresses_leave_half_of_the_line_to_signatures(line: Line) -> None:
    """A hub that fills its pool must not have its own sweeps put off."""
    line.hold()
    line.put("address", MAX_WAITING // 2, Purpose.ADDRESS)
    with pytest.raises(DeferredError):
        line.put("more", 1, Purpose.ADDRESS)
    line.put("sign", MAX_WAITING // 2)
    with pytest.raises(DeferredError):
        line.put("late", 1)
    assert (await line.let_go())[0] == "sign0"


async def test_what_is_spent_already_is_never_put_off(line: Line) -> None:
    line.hold()
    line.put("first", MAX_WAITING)
    line.put("export", 1, Purpose.CUSTODY)
    assert "export0" in await line.let_go()


async def test_one_request_may_be_larger_than_the_limit(line: Line) -> None:
    line.hold()
    line.put("only", MAX_WAITING + 1)
    assert len(await line.let_go()) == MAX_WAITING + 1


async def test_what_a_run_raises_reaches_its_caller_and_stops_nobody(
    line: Line,
) -> None:
    def fail() -> None:
        raise ValueError("of this run")

    (failing,) = line.queue.put([fail], Purpose.SIGNATURE)
    line.put("next", 1)
    with pytest.raises(ValueError, match="of this run"):
        await failing
    assert await line.let_go() == ["next0"]


async def test_an_ended_queue_takes_nothing(line: Line) -> None:
    line.queue.close()
    with pytest.raises(RuntimeError):
        line.put("late", 1)
    assert not line.queue._waiting


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from(Purpose)), max_size=12))
def test_every_run_is_served_once_and_each_request_in_order(
    requests: list[tuple[int, Purpose]],
) -> None:
    async def serve() -> None:
        line = Line()
        line.hold()
        for number, (runs, purpose) in enumerate(requests):
            line.put(f"{number}.", runs, purpose)
        served = await line.let_go()
        line.queue.close()
        for number, (runs, _) in enumerate(requests):
            own = [name for name in served if name.startswith(f"{number}.")]
            assert own == [f"{number}.{position}" for position in range(runs)]
        assert len(served) == sum(runs for runs, _ in requests)

    asyncio.run(serve())
