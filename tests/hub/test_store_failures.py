# SPDX-License-Identifier: Apache-2.0
"""Lost races are run again, a lost database is said, and a commit never repeated."""

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from hub.errors import DatabaseUnavailableError, OutcomeUnknownError
from hub.model import UserId
from hub.store import Store, Transaction
from hub.store import store as store_module
from hub.store.failures import Verdict, judge
from tests.hub import bookkeeping as books
from tests.hub.databases import Postgresql


class StateError(Exception):
    """As asyncpg's errors arrive through SQLAlchemy."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


def failure(sqlstate: str, *, lost: bool = False) -> DBAPIError:
    return DBAPIError(
        "statement", {}, StateError(sqlstate), connection_invalidated=lost
    )


@pytest.mark.parametrize(
    ("sqlstate", "lost", "before", "at_commit"),
    [
        ("40001", False, Verdict.RUN_AGAIN, Verdict.RUN_AGAIN),
        ("40P01", False, Verdict.RUN_AGAIN, Verdict.RUN_AGAIN),
        ("57P01", False, Verdict.AWAY, Verdict.UNKNOWN),
        ("08006", False, Verdict.AWAY, Verdict.UNKNOWN),
        ("", True, Verdict.AWAY, Verdict.UNKNOWN),
        ("40003", False, Verdict.UNKNOWN, Verdict.UNKNOWN),
        ("23505", False, Verdict.FAILED, Verdict.FAILED),
    ],
)
def test_what_a_failure_means_depends_on_whether_commit_was_sent(
    sqlstate: str, *, lost: bool, before: Verdict, at_commit: Verdict
) -> None:
    assert judge(failure(sqlstate, lost=lost), committing=False) is before
    assert judge(failure(sqlstate, lost=lost), committing=True) is at_commit


@pytest.fixture
def databases(postgresql: Postgresql) -> Postgresql:
    """In this file: PostgreSQL alone."""
    return postgresql


async def pid_of(tx: Transaction) -> int:
    result = await tx.accounts._connection.exec_driver_sql("SELECT pg_backend_pid()")
    return int(result.scalar_one())


def end_session(postgresql: Postgresql, pid: int) -> None:
    with postgresql.server.connect("postgres") as admin:
        admin.run(f"SELECT pg_terminate_backend({pid})")


async def test_a_race_that_is_lost_is_run_again(store: Store) -> None:
    ana = await books.funded_user(store, "ana", 10)
    attempts = 0

    async def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await tx.accounts.by_id(ana)
        if attempts == 1:
            await books.request_withdrawal(store, ana, 1)  # another transaction wins
        await tx.withdrawals.request(
            "00000000-0000-4000-8000-0000000000aa",  # type: ignore[arg-type]
            ana,
            amount_i=2,
            payout_address=books.trytes(),  # type: ignore[arg-type]
            tag="9" * 27,  # type: ignore[arg-type]
        )

    await store.run(work)
    assert attempts == 2
    async with store.reading() as tx:
        assert (await tx.accounts.by_id(ana)).pending_i == 3


async def test_races_lost_without_end_are_a_fault_that_may_be_retried(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_ATTEMPTS", 3)
    ana = await books.funded_user(store, "ana", 10)

    async def work(tx: Transaction) -> None:
        await tx.accounts.by_id(ana)
        await books.request_withdrawal(store, ana, 1)
        await tx.accounts.create(UserId("never"))
        await tx.withdrawals.request(
            "00000000-0000-4000-8000-0000000000ab",  # type: ignore[arg-type]
            ana,
            amount_i=1,
            payout_address=books.trytes(),  # type: ignore[arg-type]
            tag="9" * 27,  # type: ignore[arg-type]
        )

    with pytest.raises(DatabaseUnavailableError, match="3 attempts"):
        await store.run(work)
    async with store.reading() as tx:
        assert (await tx.accounts.by_id(ana)).pending_i == 3
        assert not await tx.accounts.ids_of([UserId("never")])


async def test_a_connection_lost_before_the_commit_is_no_loss(
    store: Store, postgresql: Postgresql
) -> None:
    attempts = 0

    async def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await tx.accounts.create(UserId("ana"))
        if attempts == 1:
            end_session(postgresql, await pid_of(tx))
            await asyncio.sleep(0.2)
            await tx.accounts.owner()

    await store.run(work)
    assert attempts == 2
    async with store.reading() as tx:
        assert await tx.accounts.ids_of([UserId("ana")])


async def test_a_connection_lost_while_committing_is_said_and_never_run_again(
    store: Store, postgresql: Postgresql
) -> None:
    attempts = 0

    async def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await tx.accounts.create(UserId("ana"))
        end_session(postgresql, await pid_of(tx))

    with pytest.raises(OutcomeUnknownError):
        await store.run(work)
    assert attempts == 1


async def test_sessions_that_the_server_ended_are_replaced_unnoticed(
    store: Store, postgresql: Postgresql
) -> None:
    async with store.reading() as one, store.reading() as two:
        pids = [await pid_of(one), await pid_of(two)]
    for pid in pids:
        end_session(postgresql, pid)
    await asyncio.sleep(0.2)
    for read in (store.reading, store.looking, store.transaction):
        async with read() as tx:
            assert await pid_of(tx) not in pids


async def test_a_refusal_of_the_database_is_no_race(store: Store) -> None:
    attempts = 0

    async def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await tx.accounts._connection.exec_driver_sql(
            "UPDATE account SET available_i = -1"
        )

    with pytest.raises(IntegrityError):
        await store.run(work)
    assert attempts == 1


async def test_a_server_that_is_away_is_a_fault() -> None:
    away = Store("postgresql+asyncpg://u@127.0.0.1:9/d", clock=books.ManualClock())
    with pytest.raises(DatabaseUnavailableError):
        async with away.reading() as tx:
            await tx.accounts.owner()
    with pytest.raises(DatabaseUnavailableError):
        await away.migrate()
    await away.close()
