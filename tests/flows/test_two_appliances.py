# SPDX-License-Identifier: Apache-2.0
"""A hub whose work two appliances of one journal share; one of them may die."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from appliance.argon2_engines import Argon2Parameters
from appliance.wire import IssueAddress
from hub.errors import ApplianceUnavailableError, HeadConflictError
from hub.model import SweepState, WithdrawalState
from tests.appliance.bundles import new_uuid
from tests.flows.pair import make_pair, running_pair, shared
from tests.flows.world import Appliance, World, copy_appliance, running_world
from tests.postgres import Server

INPUTS = 8
FILLERS = 16
SLOW = Argon2Parameters(memory_kib=32_768, time_cost=2)


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    started = Server()
    try:
        started.start()
        yield started
    finally:
        started.destroy()


@pytest.fixture
async def pair(
    server: Server, tmp_path: Path
) -> AsyncGenerator[tuple[Appliance, Appliance]]:
    async with running_pair(await make_pair(server, tmp_path)) as both:
        yield both


@pytest.fixture
async def world(
    pair: tuple[Appliance, Appliance], tmp_path: Path
) -> AsyncGenerator[World]:
    folder = tmp_path / "hub"
    folder.mkdir()
    first, second = pair
    async with running_world(first, folder, appliance=shared(second)) as made:
        await anchor(made)
        yield made


async def anchor(world: World) -> None:
    for url in world.hub.signer.places:
        await world.hub.signer.status_of(url)


def issued_by(appliance: Appliance) -> int:
    """Return how many addresses one has issued, as its log tells."""
    lines = (appliance.folder / "log").read_text().splitlines()
    return sum("kind=IssueAddress" in x and "reply=Issued" in x for x in lines)


async def test_both_issue_and_what_one_issued_the_other_signs(
    world: World, pair: tuple[Appliance, Appliance]
) -> None:
    for name in ("ana", "ben", "cleo", "dan"):
        await world.user(name)
    addresses = await asyncio.gather(
        *(world.deposit_address(name) for name in ("ana", "ben", "cleo", "dan"))
    )
    assert min(issued_by(appliance) for appliance in pair) > 0
    for address in addresses:
        await world.pay_in(address, 100)
    await world.sweep()
    uuid, payout = await world.withdraw("ana", 60)
    await world.sweep()
    assert (await world.withdrawal(uuid)).state is WithdrawalState.PAID
    assert await world.on_tangle(payout) == 60


@pytest.mark.parametrize(("dead", "how"), [(0, signal.SIGKILL), (1, signal.SIGSTOP)])
async def test_one_of_them_may_die(
    world: World, pair: tuple[Appliance, Appliance], dead: int, how: signal.Signals
) -> None:
    await world.funded_user("ana", 100)
    await world.sweep()
    victim = pair[dead].process
    assert victim is not None
    victim.send_signal(how)
    try:
        uuid, payout = await world.withdraw("ana", 60)
        await world.sweep()
        assert (await world.withdrawal(uuid)).state is WithdrawalState.PAID
        assert await world.on_tangle(payout) == 60
    finally:
        victim.send_signal(signal.SIGCONT)


async def test_one_that_comes_back_works_again(
    world: World, pair: tuple[Appliance, Appliance]
) -> None:
    await world.funded_user("ana", 100)
    pair[1].stop(how=signal.SIGKILL)
    await world.deposit_address("ana")
    pair[1].start()
    await pair[1].wait_ready()
    await anchor(world)
    pair[0].stop(how=signal.SIGKILL)
    await world.deposit_address("ana")
    await world.sweep()
    assert await world.sweeps(SweepState.CONFIRMED)


async def test_with_both_away_nothing_is_lost(
    world: World, pair: tuple[Appliance, Appliance]
) -> None:
    await world.funded_user("ana", 100)
    for appliance in pair:
        appliance.stop()
    with pytest.raises(ApplianceUnavailableError):
        await world.deposit_address("ana")
    pair[1].start()
    await pair[1].wait_ready()
    await anchor_one(world, pair[1])
    await world.deposit_address("ana")


async def anchor_one(world: World, appliance: Appliance) -> None:
    await world.hub.signer.status_of(f"https://127.0.0.1:{appliance.port}")


async def test_an_appliance_of_another_journal_is_given_no_work(
    server: Server, template: Path, tmp_path: Path
) -> None:
    """Somebody names a stranger in the configuration: it must not issue or sign."""
    mine, stranger = (
        copy_appliance(template, tmp_path / "mine"),
        (await make_pair(server, tmp_path))[0],
    )
    try:
        for one in (mine, stranger):
            one.start()
            await one.wait_ready()
        folder = tmp_path / "hub"
        folder.mkdir()
        sections = {
            "others": [
                {
                    "url": f"https://127.0.0.1:{stranger.port}",
                    "server_spki_sha256": stranger.pin,
                    "ca": str(stranger.folder / "tls" / "ca.pem"),
                }
            ]
        }
        async with running_world(mine, folder, appliance=sections) as world:
            with pytest.raises((ApplianceUnavailableError, HeadConflictError)):
                await anchor_one(world, stranger)
            await world.funded_user("ana", 100)
            await world.sweep()
            assert len(await stranger.journal()) == 1
    finally:
        for one in (mine, stranger):
            one.stop()


async def test_a_sweep_that_finds_one_line_full_is_signed_by_the_other(
    server: Server, tmp_path: Path
) -> None:
    """Not only put off: a sweep goes on while somebody else keeps the first busy."""
    made = await make_pair(server, tmp_path, argon2=SLOW)
    configuration = made[0].configuration
    text = configuration.read_text()
    narrow = text.replace("[derivation]\n", f"[derivation]\nmax_waiting = {INPUTS}\n")
    configuration.write_text(narrow)
    async with running_pair(made) as (first, second):
        folder = tmp_path / "hub"
        folder.mkdir()
        async with running_world(first, folder, appliance=shared(second)) as world:
            await anchor(world)
            for number in range(INPUTS):
                await world.funded_user(f"user-{number}", 100)
            fillers = [asyncio.create_task(keep_busy(first)) for _ in range(FILLERS)]
            try:
                await until_full(first)
                await world.sweep()
            finally:
                for filler in fillers:
                    filler.cancel()
                await asyncio.gather(*fillers, return_exceptions=True)
            assert await world.sweeps(SweepState.CONFIRMED)
    assert signings(first) <= {"Deferred"}
    assert signings(second) == {"Signed"}


async def keep_busy(appliance: Appliance) -> None:
    """Ask one appliance alone for addresses, for ever."""
    async with appliance.client("hub") as client:
        while True:
            await client.ask(IssueAddress(request_id="f", seed_uuid=new_uuid()))


async def until_full(appliance: Appliance) -> None:
    log = appliance.folder / "log"
    while "reply=Deferred" not in log.read_text():
        await asyncio.sleep(0.05)


def signings(appliance: Appliance) -> set[str]:
    """Return how one has answered sweeps, as its log tells."""
    lines = (appliance.folder / "log").read_text().splitlines()
    return {
        line.split("reply=")[1].split()[0]
        for line in lines
        if "kind=SignTransfer" in line
    }
