# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at every failpoint of the hub, in one story that must still come right.

The hub is the real program against a real appliance and a devnet. At each failpoint
a user's whole story is under way: the process freezes there, is killed from outside
and started again. At the end every balance is right and the journal shows no key
that signed two bundles.
"""

import asyncio
import contextlib
import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from appliance.wire import JournalRow
from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.embedded import RunningDevnet, running_devnet
from tests.flows.hub_process import HubProcess, wait_until
from tests.flows.world import (
    MIN_WEIGHT_MAGNITUDE,
    Appliance,
    hub_table,
    outside_address,
)

ROOT = Path(__file__).parents[2]
PAID_IN_I = 100
PAID_OUT_I = 30
_PATIENCE_S = 30.0

API = (
    "hub.address.issued",
    "hub.address.before-commit",
    "hub.address.recorded",
    "hub.withdrawal.checked",
    "hub.withdrawal.before-commit",
    "hub.withdrawal.reserved",
)
DEPOSITS = ("hub.deposit.before-record", "hub.deposit.after-record")
SWEEPS = (
    "hub.sweep.remainder-issued",
    "hub.sweep.after-remainder",
    "hub.sweep.before-plan",
    "hub.sweep.after-plan",
    "hub.sweep.before-sign",
    "hub.sweep.after-sign",
    "hub.sweep.before-store-signed",
    "hub.sweep.after-store-signed",
)
ATTACHMENTS = (
    "hub.attach.before-attach",
    "hub.attach.after-work",
    "hub.attach.after-record",
    "hub.attach.before-send",
    "hub.attach.after-send",
    "hub.attach.before-confirm",
    "hub.attach.after-confirm",
)
REFUSALS = ("hub.sweep.before-release", "hub.sweep.after-release")
UNEXPLAINED = ("hub.deposit.before-quarantine",)
ELSEWHERE = (  # tests/hub/test_crashes.py: no appliance and no node take part
    "hub.cancellation.before-commit",
    "hub.cancellation.done",
    "hub.transfer.before-commit",
    "hub.transfer.done",
    # where /v1 is killed: test_v1_processes
    "hub.authorisation.before-commit",
    "hub.events.published",
    "hub.webhook.posted",
    # where a certificate's installation is killed: test_certificates
    "hub.certificate.written",
    "hub.certificate.key-switched",
    # and where an import is killed: tests/hub/legacy_import
    "hub.import.before-commit",
    "hub.import.after-commit",
    "hub.import.adopted",
)


def test_every_failpoint_of_the_hub_is_crashed_at() -> None:
    source = "".join(path.read_text() for path in (ROOT / "hub").rglob("*.py"))
    named = set(re.findall(r'failpoint\("(hub\.[a-z.-]+)"\)', source))
    covered = [*API, *DEPOSITS, *SWEEPS, *ATTACHMENTS, *REFUSALS, *UNEXPLAINED]
    assert named == {*covered, *ELSEWHERE}


@dataclass
class Story:
    """Users who pay in and withdraw, whatever happens to the hub."""

    hub: HubProcess
    devnet: RunningDevnet
    appliance: Appliance
    paid_in: list[str] = field(default_factory=list)
    payouts: list[str] = field(default_factory=list)

    async def act(self) -> str:
        """Play one user's story to its end."""
        user = f"user-{len(self.payouts)}"
        payout = outside_address()
        self.payouts.append(payout)
        await self.hub.ask("CreateUser", userId=user)
        reply = await self.hub.ask("GetDepositAddress", userId=user)
        await self.devnet.deposit(reply["address"], PAID_IN_I)
        self.paid_in.append(user)
        await self.until(user, PAID_IN_I)
        amount = str(PAID_OUT_I)
        await self.hub.ask(
            "UserWithdraw", userId=user, amount=amount, payoutAddress=payout
        )
        balances = self.devnet.node.balances
        await wait_until(lambda: balances.get(payout, 0) == PAID_OUT_I)
        return user

    async def until(self, user: str, amount_i: int) -> None:
        while True:
            reply = await self.hub.ask("GetBalance", userId=user)
            if int(reply["available"]) >= amount_i:
                return
            await asyncio.sleep(0.05)

    async def crash_at(self, failpoint: str) -> None:
        """Let a story begin, kill the hub where it freezes."""
        self.hub.start(failpoint)
        acting = asyncio.create_task(self.act())
        try:
            await self.hub.frozen()
        finally:
            self.hub.kill()
            acting.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
                await acting

    async def finish(self) -> None:
        """Play one more story and wait until everything has settled."""
        self.hub.start()
        async with asyncio.timeout(_PATIENCE_S):
            await self.act()
            await wait_until(lambda: not self.unfinished())
        assert self.hub.stop() == 0

    def query(self, sql: str) -> list[Any]:
        path = self.hub.folder / "hub.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return connection.execute(sql).fetchall()

    def unfinished(self) -> bool:
        done = "('confirmed', 'refused')"
        sweeps = f"SELECT id FROM sweep WHERE state NOT IN {done}"  # noqa: S608
        waiting = "SELECT id FROM withdrawal WHERE state IN ('requested', 'planned')"
        deposits = self.query("SELECT id FROM deposit WHERE state = 'credited'")
        booked = len(deposits) == len(self.paid_in)
        return bool(self.query(sweeps) or self.query(waiting)) or not booked

    async def require_right(self) -> None:
        """Compare every balance with what was paid in and out."""
        audit = self.hub.audit()
        assert audit.returncode == 0, audit.stdout + audit.stderr
        paid: dict[object, object] = dict(
            self.query(
                "SELECT payout_address, sum(amount_i) FROM withdrawal"
                " WHERE state = 'paid' GROUP BY 1"
            )
        )
        for payout in self.payouts:
            expected_i = paid.get(payout, 0)
            assert self.devnet.node.balances.get(payout, 0) == expected_i
        users = "SELECT sum(available_i) FROM account WHERE kind = 'user'"
        total_i = len(self.paid_in) * PAID_IN_I - len(paid) * PAID_OUT_I
        assert self.query(users) == [(total_i,)]
        ours = self.query("SELECT address, balance_i FROM address WHERE balance_i > 0")
        for address, balance_i in ours:
            assert self.devnet.node.balances.get(str(address), 0) == balance_i
        self.appliance.verify_journal()
        require_single_use(await self.appliance.journal())


def require_single_use(rows: Sequence[JournalRow]) -> None:
    hashes = defaultdict(set)
    for row in rows:
        if row.kind == "signed":
            payload = json.loads(row.payload)
            for commitment in payload["commitments"]:
                hashes[commitment].add(payload["bundle_hash"])
    assert hashes
    assert all(len(signed) == 1 for signed in hashes.values())


@asynccontextmanager
async def story_at(appliance: Appliance, folder: Path) -> AsyncGenerator[Story]:
    config = DevnetConfig(
        min_weight_magnitude=MIN_WEIGHT_MAGNITUDE, dialect=Dialect.HORNET, tick_s=0.2
    )
    pauses: dict[str, object] = {"interval_s": 0.1}
    async with running_devnet(config) as devnet:
        table = hub_table(
            appliance,
            [(devnet.url, "hornet")],
            folder,
            deposits=pauses,
            sweeps=pauses,
            attachments=pauses,
        )
        hub = HubProcess(table, folder)
        try:
            yield Story(hub, devnet, appliance)
        finally:
            hub.kill()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "failpoints", [API, DEPOSITS, SWEEPS, ATTACHMENTS], ids=lambda names: names[0][4:9]
)
async def test_the_story_comes_right_after_sigkill_at(
    failpoints: Sequence[str], shared_appliance: Appliance, tmp_path: Path
) -> None:
    async with story_at(shared_appliance, tmp_path) as story:
        for failpoint in failpoints:
            await story.crash_at(failpoint)
        await story.finish()
        await story.require_right()


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_refused_withdrawal_survives_sigkill_and_can_be_cancelled(
    appliance: Appliance, tmp_path: Path
) -> None:
    appliance.stop()
    appliance.set_policy(f"max_outside_per_bundle_i = {PAID_OUT_I - 1}")
    appliance.start()
    await appliance.wait_ready()
    async with story_at(appliance, tmp_path) as story:
        for failpoint in REFUSALS:
            await story.crash_at(failpoint)
        story.hub.start()
        rows = story.query("SELECT uuid, payout_address FROM withdrawal")
        async with asyncio.timeout(_PATIENCE_S):
            for uuid, _ in rows:
                await _cancel(story.hub, str(uuid))
            users = "SELECT sum(available_i) FROM account WHERE kind = 'user'"
            whole_i = len(story.paid_in) * PAID_IN_I
            await wait_until(lambda: story.query(users) == [(whole_i,)])
        assert story.hub.stop() == 0
        assert rows
        assert story.hub.audit().returncode == 0
        require_single_use(await appliance.journal())


async def _cancel(hub: HubProcess, uuid: str) -> None:
    """Cancel; not possible while a plan holds the withdrawal."""
    while True:
        reply = await hub.ask("UserWithdrawCancel", uuid=uuid)
        if str(reply["success"]) == "true":
            return
        await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_unexplained_value_is_quarantined_once_after_sigkill(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    async with story_at(shared_appliance, tmp_path) as story:
        story.devnet.faults.set("pruned-history", value=True)
        await story.crash_at(*UNEXPLAINED)
        story.hub.start()
        async with asyncio.timeout(_PATIENCE_S):
            await wait_until(lambda: bool(story.query("SELECT id FROM deposit")))
        await asyncio.sleep(1)
        assert story.hub.stop() == 0
        deposits = story.query("SELECT state, amount_i FROM deposit")
        assert deposits == [("quarantined", PAID_IN_I)]
        assert story.hub.audit().returncode == 0
