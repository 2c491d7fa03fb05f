# SPDX-License-Identifier: Apache-2.0
"""From the front page to why a withdrawal is not out in two clicks: five causes."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from argon2 import PasswordHasher

from appliance.wire import (
    GetStatus,
    PendingActs,
    ProposeAct,
    SealNow,
    StatusReport,
    Unseal,
)
from hub.api.dashboard.app import Dashboard
from hub.config import DashboardSection
from hub.errors import FaultError
from hub.model import UserId, WithdrawalUuid
from hub.operators import Role
from hub.passwords import Passwords
from hub.service import dashboard_ports
from hub.withdrawal_rules import WithdrawalRules
from hub.withdrawals import WithdrawalWish, request_withdrawal
from tests.browser import Browser, running_browser
from tests.flows.world import World, copy_appliance, outside_address, running_world

PASSWORD = "correct horse battery"
CHEAP = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
Cause = Callable[[World], Awaitable[WithdrawalUuid]]


@asynccontextmanager
async def watched(world: World) -> AsyncGenerator[tuple[Browser, str]]:
    """Serve the dashboard of a hub to somebody who is logged in."""
    hashed = await CHEAP.hash(PASSWORD)
    await world.hub.store.run(
        lambda tx: tx.operators.add("ana", role=Role.VIEWER, password_hash=hashed)
    )
    ports = dashboard_ports(world.hub)
    made = Dashboard(DashboardSection(), ports, passwords=CHEAP)
    async with (
        TestServer(made.application(), skip_url_asserts=True) as server,
        running_browser() as browser,
    ):
        url = str(server.make_url("")).rstrip("/")
        await browser.log_in(url, "ana", PASSWORD)
        yield browser, url


async def require_two_clicks(
    world: World, uuid: WithdrawalUuid, *, code: str, then: str, says: str
) -> None:
    await world.hub.surroundings.tick()
    async with watched(world) as (browser, url):
        await browser.open(url + "/")
        await browser.click(f"a[href='/withdrawals/{uuid}']")
        assert code in await browser.text("#why")
        await browser.click("#why a")
        assert (await browser.where()).removeprefix(url).startswith(then)
        assert says in await browser.text("main")
        assert await browser.complaints() == []


async def unsynced(world: World) -> WithdrawalUuid:
    uuid, _ = await world.withdraw("alice", 150)
    world.trouble("unsynced")
    return uuid


async def sealed(world: World) -> WithdrawalUuid:
    uuid, _ = await world.withdraw("alice", 150)
    async with world.appliance.client("operator-1") as operator:
        await operator.ask(SealNow(request_id="x", reason="a drill"))
    with pytest.raises(FaultError):
        await world.hub.sweeps.tick()
    return uuid


async def refused(world: World) -> WithdrawalUuid:
    uuid, _ = await world.withdraw("alice", 150)
    for _ in range(3):
        await world.sweep()
    return uuid


async def unapproved(world: World) -> WithdrawalUuid:
    wish = WithdrawalWish(
        user_id=UserId("alice"), amount_i=150, payout_address=outside_address()
    )
    rules = WithdrawalRules(approve_above_i=99)
    return await request_withdrawal(
        world.hub.store, world.hub.nodes, wish, rules=rules, maker="support"
    )


async def unconfirmed(world: World) -> WithdrawalUuid:
    uuid, _ = await world.withdraw("alice", 150)
    world.trouble("stalled-confirmation")
    await world.sweep()
    return uuid


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cause", "policy", "code", "then", "says"),
    [
        (unsynced, "", "nodes-unsynced", "/nodes", "http://127.0.0.1"),
        (sealed, "", "appliance-sealed", "/appliances", "sealed"),
        (
            refused,
            "max_outside_per_bundle_i = 100",
            "refused:policy-per-bundle",
            "/sweeps/",
            "policy-per-bundle",
        ),
        (unapproved, "", "awaiting-approval", "/approvals", "of scope approve"),
        (unconfirmed, "", "unconfirmed", "/sweeps/", "attached"),
    ],
)
async def test_two_clicks_lead_to_the_cause(  # noqa: PLR0913 - a table
    cause: Cause,
    *,
    policy: str,
    code: str,
    then: str,
    says: str,
    template: Path,
    tmp_path: Path,
) -> None:
    appliance = copy_appliance(template, tmp_path / "box")
    appliance.set_policy(policy)
    appliance.start()
    try:
        await appliance.wait_ready()
        async with running_world(appliance, tmp_path) as world:
            await world.funded_user("alice", 500)
            await world.sweep()
            uuid = await cause(world)
            await require_two_clicks(world, uuid, code=code, then=then, says=says)
    finally:
        appliance.stop()


@pytest.mark.slow
async def test_an_act_that_waits_is_shown_with_all_that_it_asks(
    template: Path, tmp_path: Path
) -> None:
    appliance = copy_appliance(template, tmp_path / "box")
    appliance.start()
    tls = appliance.folder / "tls"
    auditor = {
        "auditor_certificate": str(tls / "auditor.pem"),
        "auditor_key": str(tls / "auditor.key"),
    }
    try:
        await appliance.wait_ready()
        async with running_world(appliance, tmp_path, reconciler=auditor) as world:
            async with appliance.client("operator-1") as operator:
                await operator.ask(SealNow(request_id="x", reason="a drill"))
                report = await operator.expect(GetStatus(request_id="x"), StatusReport)
                act = Unseal(request_id="", latch_id=report.latch_id)
                proposed = await operator.expect(
                    ProposeAct(request_id="x", act=act), PendingActs
                )
            async with watched(world) as (browser, url):
                await browser.open(url + "/approvals")
                shown = await browser.text("#acts")
                assert f"unseal latch_id {report.latch_id}" in shown
                assert f"approve {proposed.acts[0].id} --key FILE" in shown
                assert "Proposed by operator-1; approved by nobody yet, 2 must" in shown
                assert await browser.complaints() == []
    finally:
        appliance.stop()
