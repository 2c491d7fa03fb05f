# SPDX-License-Identifier: Apache-2.0
"""One hub runs a flow at a time; one that lost it can not write any more."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hub.errors import ConfigError, FencedError
from hub.holder import held_name
from hub.leases import Lease, run_leased
from hub.model import UserId
from hub.store import Store, Transaction
from tests.hub.bookkeeping import ManualClock

LONG_S = 60.0
SHORT_S = 0.3
FLOW = "sweeps"


@pytest.fixture
async def other(database_url: str, clock: ManualClock) -> AsyncGenerator[Store]:
    """A second hub's way to the same database."""
    opened = Store(database_url, clock=clock)
    yield opened
    await opened.close()


def lease_of(store: Store, holder: str, *, duration_s: float = LONG_S) -> Lease:
    return Lease(store, FLOW, holder=holder, duration_s=duration_s)


async def expire(store: Store) -> None:
    """Let the time of whoever holds the flow be over."""
    async with store.transaction() as tx:
        await tx.accounts._connection.exec_driver_sql(
            "UPDATE lease SET expires_at_ms=1"
        )


async def write(store: Store, name: str) -> None:
    await store.run(lambda tx: tx.accounts.create(UserId(name)))


async def names(store: Store) -> set[str]:
    async with store.reading() as tx:
        return set(await tx.accounts.ids_of([UserId("one"), UserId("two")]))


async def test_a_flow_is_held_by_one_and_its_token_rises(
    store: Store, other: Store
) -> None:
    one, two = lease_of(store, "one"), lease_of(other, "two")
    assert await one.acquire()
    assert not await two.acquire()
    await one.release()
    assert await two.acquire()
    await two.release()
    async with store.transaction() as tx:
        assert await tx.leases.acquire(FLOW, "three", duration_ms=1000) == 3


async def test_of_many_who_ask_at_once_one_gets_the_flow(
    store: Store, other: Store
) -> None:
    leases = [lease_of(s, f"{n}") for n, s in enumerate([store, other] * 5)]
    assert sum(await asyncio.gather(*(lease.acquire() for lease in leases))) == 1


async def test_a_holder_that_was_overtaken_can_not_write(
    store: Store, other: Store
) -> None:
    one, two = lease_of(store, "one"), lease_of(other, "two")
    assert await one.acquire()
    await write(store.fenced(one), "one")
    await expire(store)
    await write(store.fenced(one), "ONE")  # late, but nobody has taken it
    assert await two.acquire()
    with pytest.raises(FencedError):
        await write(store.fenced(one), "one again")
    await write(other.fenced(two), "two")
    assert await names(store) == {"one", "two"}


async def test_without_a_lease_nothing_is_written(store: Store) -> None:
    with pytest.raises(FencedError):
        await write(store.fenced(lease_of(store, "one")), "one")
    assert await names(store) == set()


async def test_an_expired_lease_that_nobody_took_is_renewed(store: Store) -> None:
    one = lease_of(store, "one", duration_s=SHORT_S)
    assert await one.acquire()
    keeping = asyncio.create_task(one.keep())
    await expire(store)
    await asyncio.sleep(3 * SHORT_S)
    assert not keeping.done()
    async with store.reading() as tx:
        await one(tx)  # still lets through
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_hub_that_stops_lets_the_next_one_in_at_once(
    store: Store, other: Store
) -> None:
    one, two = lease_of(store, "one"), lease_of(other, "two")
    ran = asyncio.Event()

    async def one_round() -> None:
        ran.set()

    loop = asyncio.create_task(run_leased(one, one_round, interval_s=LONG_S))
    async with asyncio.timeout(10):
        await ran.wait()
    assert not await two.acquire()
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
    assert await two.acquire()


async def test_a_round_that_outlives_its_lease_is_fenced_and_the_loop_goes_on(
    store: Store, other: Store
) -> None:
    """As after SIGSTOP: another hub took the flow in the middle of a round."""
    one = lease_of(store, "one", duration_s=SHORT_S)
    two = lease_of(other, "two", duration_s=SHORT_S)
    fenced = store.fenced(one)
    outcomes: list[str] = []
    again = asyncio.Event()

    async def one_round() -> None:
        if outcomes:
            again.set()
            return
        await expire(other)
        assert await two.acquire()
        try:
            await write(fenced, "one")
        except FencedError as error:
            outcomes.append(error.code)

    loop = asyncio.create_task(run_leased(one, one_round, interval_s=0.01))
    async with asyncio.timeout(20):  # two is never renewed: one takes it back
        await again.wait()
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert outcomes == ["fenced"]
    assert await names(store) == set()


# SQLite lets one writer in at a time: there is no such moment.
@pytest.mark.parametrize("databases", ["postgresql"], indirect=True)
async def test_a_transaction_that_began_before_the_takeover_comes_before_it_or_fails(
    store: Store, other: Store
) -> None:
    """The new holder never plans from what the old one changes behind its back."""
    one, two = lease_of(store, "one"), lease_of(other, "two")
    assert await one.acquire()
    overtaken = False

    async def stale(tx: Transaction) -> None:
        nonlocal overtaken
        assert not await tx.accounts.ids_of([UserId("two")])
        if not overtaken:
            overtaken = True
            await expire(other)
            assert await two.acquire()
            await other.fenced(two).run(decide)
        await tx.accounts.create(UserId("one"))

    async def decide(tx: Transaction) -> None:
        assert not await tx.accounts.ids_of([UserId("one")])
        await tx.accounts.create(UserId("two"))

    with pytest.raises(FencedError):
        await store.fenced(one).run(stale)
    assert await names(store) == {"two"}


def test_one_process_runs_from_a_state_folder(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from hub.holder import held_name\n"
        "with held_name(pathlib.Path(sys.argv[1])) as name:\n"
        "    print(name, flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        with pytest.raises(ConfigError, match="another hub"), held_name(tmp_path):
            pass
        process.kill()
    with held_name(tmp_path) as again:
        assert again == name


def test_a_state_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="state_dir"), held_name(tmp_path / "none"):
        pass
