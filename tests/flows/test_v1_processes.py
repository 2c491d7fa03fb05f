# SPDX-License-Identifier: Apache-2.0
"""``/v1`` of the real program, killed between any two steps, and two of it at once."""

import asyncio
import json
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from hub.api.v1.bodies import NewWithdrawal, Transfer
from hub.api_keys import Scope
from hub.client import HubAwayError, HubClient
from hub.clock import system_clock_ms
from hub.model import UserId
from hub.store import Store
from hub.webhook_signatures import verify
from tests.flows.hub_process import HubProcess
from tests.flows.world import Appliance, free_port, hub_table
from tests.hub import bookkeeping as books
from tests.hub.api.v1.serving import add_key
from tests.hub.devnet.process import devnet_process
from trinary.kerl import with_checksum


@pytest.fixture(scope="module")
def node() -> Generator[str]:
    with devnet_process() as (_, url):
        yield url


@dataclass
class Bank:
    """One database, and as many hubs on it as a test starts."""

    store: Store
    key: str
    hubs: list[HubProcess]
    ports: list[int]

    def client(self, number: int = 0, *, attempts: int = 40) -> HubClient:
        url = f"http://127.0.0.1:{self.ports[number]}"
        return HubClient(url, self.key, timeout_s=5, attempts=attempts)

    async def balances(self) -> tuple[int, int]:
        async with self.store.reading() as tx:
            account = await tx.accounts.by_identifier(UserId("ana"))
        return account.available_i, account.pending_i


@pytest.fixture
async def bank(template: Path, tmp_path: Path, node: str) -> AsyncGenerator[Bank]:
    """Two hubs, not started yet; their appliance is away, which they outlive."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}"
    store = Store(url, clock=system_clock_ms)
    await store.migrate()
    await books.funded_user(store, "ana", 100)
    await books.open_user(store, "bob")
    key = await add_key(store, *Scope)
    (tmp_path / "webhook.key").write_text("k" * 48)
    (tmp_path / "webhook.key").chmod(0o600)
    hubs, ports = [], [free_port(), free_port()]
    for number, port in enumerate(ports):
        folder = tmp_path / f"hub{number}"
        folder.mkdir()
        away = Appliance(template, port=9)
        table = hub_table(
            away,
            [(node, "iri")],
            folder,
            sweeps={"interval_s": 3600.0},
            deposits={"interval_s": 3600.0},
        )
        table["hub"]["database_url"] = url
        table["api"]["v1"] = {
            "listen": f"127.0.0.1:{port}",
            "burst": 10_000,
            "webhook_key_file": str(tmp_path / "webhook.key"),
        }
        table["webhooks"] = {"interval_s": 0.05, "timeout_s": 0.5}
        hubs.append(HubProcess(table, folder))
    try:
        yield Bank(store, key, hubs, ports)
    finally:
        for hub in hubs:
            hub.kill()
    async with store.reading() as tx:
        report = await tx.books.verify()
    await store.close()
    assert report.sound


FUNDING = ("deposit.confirmed", "deposit.credited")
"""Events that are there before a test begins."""


def wish(amount_i: int) -> NewWithdrawal:
    address = with_checksum(books.trytes())
    return NewWithdrawal(user_id="ana", amount_i=amount_i, address=address)


@pytest.mark.parametrize(
    ("failpoint", "reserved_i"),
    [
        ("hub.v1.planned", 0),
        ("hub.v1.before-commit", 0),
        ("hub.v1.committed", 4),
    ],
)
async def test_a_kill_at_any_step_of_a_withdrawal_and_a_retry_pay_once(
    failpoint: str, reserved_i: int, bank: Bank
) -> None:
    (hub, _) = bank.hubs
    hub.start(failpoint)
    asked = wish(4)
    async with bank.client() as client:
        # One call from the client's view: it retries under its one key.
        paying = asyncio.create_task(client.withdraw(asked))
        await hub.frozen()
        assert await bank.balances() == (100 - reserved_i, reserved_i)
        hub.kill()
        hub.start()
        made = await paying
        assert (await client.withdrawal(made.uuid)).amount_i == 4
    assert await bank.balances() == (96, 4)


async def test_a_program_that_restarts_too_goes_on_with_its_stored_key(
    bank: Bank,
) -> None:
    (hub, _) = bank.hubs
    hub.start("hub.v1.committed")
    moves = [Transfer(user_id="ana", amount_i=-7), Transfer(user_id="bob", amount_i=7)]
    async with bank.client(attempts=1) as client:
        moving = asyncio.create_task(client.transfer(moves))
        await hub.frozen()
        hub.kill()
        with pytest.raises(HubAwayError) as away:
            await moving
    hub.start()
    async with bank.client() as client:
        booked = await client.transfer(
            moves, idempotency_key=away.value.idempotency_key
        )
    assert booked.moved_i == 7
    assert await bank.balances() == (93, 0)


async def test_twins_at_two_hubs_pay_once(bank: Bank) -> None:
    for hub in bank.hubs:
        hub.start()
    async with bank.client(0) as first, bank.client(1) as second:
        for number in range(8):
            asked = wish(10)  # the last two are covered once, not twice
            made = await asyncio.gather(
                *(
                    client.withdraw(asked, idempotency_key=f"key-{number}")
                    for client in (first, second, first, second)
                )
            )
            assert len({one.uuid for one in made}) == 1
    assert await bank.balances() == (20, 80)


async def test_a_twin_waits_for_the_hub_that_was_first_and_outlives_it(
    bank: Bank,
) -> None:
    """The first is frozen inside its transaction, then killed: the second pays."""
    first, second = bank.hubs
    first.start("hub.v1.before-commit")
    second.start()
    asked = wish(100)
    async with bank.client(0, attempts=1) as one, bank.client(1) as two:
        left = asyncio.create_task(one.withdraw(asked, idempotency_key="k"))
        await first.frozen()
        right = asyncio.create_task(two.withdraw(asked, idempotency_key="k"))
        await asyncio.sleep(0.5)
        first.kill()
        with pytest.raises(HubAwayError):
            await left
        assert (await right).amount_i == 100
    assert await bank.balances() == (0, 100)


@asynccontextmanager
async def receiving() -> AsyncGenerator[tuple[str, list[bytes], dict[str, str]]]:
    taken: list[bytes] = []
    secret: dict[str, str] = {}

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        verify(secret["secret"], request.headers, body, now_s=system_clock_ms() / 1000)
        taken.append(body)
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/", taken, secret
    await runner.cleanup()


async def register(bank: Bank, url: str) -> str:
    async with bank.client() as client:
        made = await client.create_webhook(url)
    assert made.secret is not None
    return made.secret


def positions(taken: list[bytes]) -> list[int]:
    return [json.loads(body)["position"] for body in taken]


async def test_a_kill_between_post_and_cursor_repeats_one_event_and_loses_none(
    bank: Bank,
) -> None:
    (hub, _) = bank.hubs
    async with receiving() as (url, taken, secret):
        hub.start("hub.webhook.posted:3")
        while await published(bank) < len(FUNDING):
            await asyncio.sleep(0.05)
        secret["secret"] = await register(bank, url)
        async with bank.client() as client:
            for _ in range(5):
                await client.withdraw(wish(1))
        await hub.frozen()
        hub.kill()
        hub.start()
        while len(set(positions(taken))) < 5:
            await asyncio.sleep(0.05)
    assert sorted(set(positions(taken))) == [3, 4, 5, 6, 7]
    assert len(taken) == 6  # the third one twice


async def published(bank: Bank) -> int:
    async with bank.store.reading() as tx:
        return await tx.published.last_position()


async def test_a_kill_while_publishing_leaves_an_order_without_a_gap(
    bank: Bank,
) -> None:
    (hub, _) = bank.hubs
    hub.start("hub.events.published:2")
    async with bank.client(attempts=1) as client:

        async def ask_on() -> None:
            while True:
                await client.withdraw(wish(1))

        asking = asyncio.create_task(ask_on())
        await hub.frozen()
        hub.kill()
        await asyncio.gather(asking, return_exceptions=True)
    hub.start()
    async with bank.client() as client:
        for _ in range(3):
            await client.withdraw(wish(1))
        while len((await client.event_page()).items) < 5:
            await asyncio.sleep(0.05)
        page = await client.event_page()
    found = [one.position for one in page.items]
    assert found == list(range(1, len(found) + 1))


async def test_streams_end_when_the_hub_stops_and_it_stops_cleanly(bank: Bank) -> None:
    (hub, _) = bank.hubs
    hub.start()
    seen = asyncio.Event()

    async def follow() -> None:
        async with bank.client() as client:
            async for _ in client.events():
                seen.set()

    following = asyncio.create_task(follow())
    async with asyncio.timeout(20):
        await seen.wait()
    code = await asyncio.to_thread(hub.stop)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert code == 0
    assert "Traceback" not in hub.log()
