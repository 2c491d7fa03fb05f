# SPDX-License-Identifier: Apache-2.0
"""A whole custody set-up for one test: appliance process, devnet, hub, all real."""

import asyncio
import datetime as dt
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.argon2_engines import Argon2Parameters
from appliance.ceremony import FirstGeneration
from appliance.client import ApplianceClient, endpoint_of
from appliance.softhsm import SoftHsmOptions, make_softhsm_appliance
from appliance.wire import GetStatus, JournalRow, StatusReport
from hub.addresses import new_address
from hub.config import parse
from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.embedded import RunningDevnet, running_devnet
from hub.devnet.faults import FaultValue
from hub.model import (
    Account,
    Address,
    OwnAddress,
    Sweep,
    SweepState,
    UserId,
    Withdrawal,
    WithdrawalUuid,
)
from hub.service import Hub, open_hub
from hub.tangle import BundleDesk
from hub.withdrawals import WithdrawalWish, request_withdrawal
from trinary.winternitz import address as derive

NETWORK = "devnet"
MIN_WEIGHT_MAGNITUDE = 1
CHEAP = Argon2Parameters(memory_kib=256, time_cost=1)
_READY_S = 30.0
_FIRST_PORT = 20_000
_PORTS = 12_000
DESK = BundleDesk()
"""Shared: starting its process costs more than most stories."""


class Clock:
    """The machine's clock, moved ahead by hand."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def advance(self, *, by_s: float) -> None:
        self.ahead_ms += int(by_s * 1000)


@dataclass
class Appliance:
    """An appliance in a process of its own."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def configuration(self) -> Path:
        return self.folder / "appliance.toml"

    @property
    def pin(self) -> str:
        lines = self.configuration.read_text().splitlines()
        return next(x.split('"')[1] for x in lines if "server_spki_sha256" in x)

    def start(self) -> None:
        """Start it, at the same port as before, and wait until it listens."""
        command = [sys.executable, "-m", "appliance", "--config"]
        command += [str(self.configuration), "serve"]
        log = (self.folder / "log").open("a")
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | self.environment,
        )
        log.close()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert str(self.port) in line, (self.folder / "log").read_text()

    def stop(self, *, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def set_policy(self, *lines: str) -> None:
        """Put limits in force; restart to apply them."""
        head, _, tail = self.configuration.read_text().partition("[policy]\n")
        clients = tail[tail.index("[[clients]]") :]
        policy = "\n".join(lines)
        self.configuration.write_text(f"{head}[policy]\n{policy}\n\n{clients}")

    def client(self, name: str) -> ApplianceClient:
        endpoint = endpoint_of(self.configuration, name=name, port=self.port)
        return ApplianceClient(endpoint)

    async def wait_ready(self) -> None:
        """Wait until every check of its start has passed."""
        deadline_s = time.monotonic() + _READY_S
        async with self.client("auditor") as client:
            while time.monotonic() < deadline_s:
                report = await client.ask(GetStatus(request_id="wait"))
                if isinstance(report, StatusReport) and report.state == "ready":
                    return
                await asyncio.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    async def journal(self) -> list[JournalRow]:
        async with self.client("auditor") as client:
            return await client.journal()

    def verify_journal(self) -> None:
        command = [sys.executable, "-m", "appliance", "--config"]
        command += [str(self.configuration), "journal", "verify"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


async def make_appliance(folder: Path) -> Appliance:
    options = SoftHsmOptions(FirstGeneration(NETWORK, 2, CHEAP), port=0, workers=2)
    now = dt.datetime.fromtimestamp(time.time_ns() / 1e9, dt.UTC)
    await make_softhsm_appliance(folder, options, now=now)
    return Appliance(folder)


def copy_appliance(template: Path, folder: Path) -> Appliance:
    """Copy an appliance that was never started; it becomes one of its own."""
    shutil.copytree(template, folder)
    port = free_port()
    for name in ("appliance.toml", "softhsm2.conf"):
        text = (folder / name).read_text()
        text = text.replace(str(template), str(folder))
        (folder / name).write_text(text.replace("port = 0", f"port = {port}"))
    return Appliance(folder, port)


def free_port() -> int:
    """Return a port that nobody has, and that no outgoing connection is given.

    A port of the range that the system draws from may be taken by any client before
    the server under test has bound it.
    """
    while True:
        port = _FIRST_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def hub_table(
    appliance: Appliance,
    nodes: Sequence[tuple[str, str]],
    folder: Path,
    /,
    **sections: dict[str, object],
) -> dict[str, Any]:
    """Return a hub's configuration as ``tomllib`` would read it."""
    tls = appliance.folder / "tls"
    table: dict[str, Any] = {
        "hub": {
            "database_url": f"sqlite+aiosqlite:///{folder / 'hub.db'}",
            "state_dir": str(folder),
            "network": NETWORK,
        },
        "api": {"legacy": {"listen": "127.0.0.1:0"}},
        "appliance": {
            "url": f"https://127.0.0.1:{appliance.port}",
            "ca": str(tls / "ca.pem"),
            "certificate": str(tls / "hub.pem"),
            "key": str(tls / "hub.key"),
            "server_spki_sha256": appliance.pin,
            "identity_key": str(appliance.folder / "identity.pem"),
            "timeout_s": 10.0,
        },
        "nodes": {
            "quorum": len(nodes) // 2 + 1,
            "timeout_s": 2.0,
            "endpoints": [{"url": url, "dialect": dialect} for url, dialect in nodes],
        },
        "addresses": {},
        "deposits": {},
        "sweeps": {},
        "reconciler": {},
        "withdrawals": {},
        "attachments": {"min_weight_magnitude": MIN_WEIGHT_MAGNITUDE},
    }
    if "transport" in sections.get("appliance", {}):
        del table["appliance"]  # another way there: nothing of this one goes with it
    for name, values in sections.items():
        table[name] = table.get(name, {}) | values
    return table


@dataclass
class World:
    """Everything a story needs."""

    hub: Hub
    devnet: RunningDevnet
    appliance: Appliance
    clock: Clock

    def trouble(self, name: str, *, value: FaultValue = True) -> None:
        """Throw one of the devnet's fault switches."""
        self.devnet.faults.set(name, value)

    async def user(self, name: str) -> Account:
        await self.hub.store.run(lambda tx: tx.accounts.create(UserId(name)))
        return await self.account(name)

    async def account(self, name: str) -> Account:
        async with self.hub.store.reading() as tx:
            return await tx.accounts.by_identifier(UserId(name))

    async def deposit_address(self, name: str) -> Address:
        return await new_address(
            self.hub.store,
            await self.account(name),
            issuer=self.hub.signer,
            oracle=self.hub.nodes,
        )

    async def pay_in(self, address: Address, amount_i: int) -> None:
        """Pay somebody and let it be confirmed and booked."""
        await self.devnet.deposit(address, amount_i)
        await self.devnet.tick()
        await self.hub.deposits.tick()

    async def funded_user(self, name: str, amount_i: int) -> Address:
        """Return the deposit address of a new user who paid in."""
        await self.user(name)
        address = await self.deposit_address(name)
        await self.pay_in(address, amount_i)
        return address

    async def withdraw(
        self, name: str, amount_i: int, *, to: str | None = None, tag: str = ""
    ) -> tuple[WithdrawalUuid, Address]:
        payout = Address(to or outside_address())
        wish = WithdrawalWish(
            user_id=UserId(name), amount_i=amount_i, payout_address=payout, tag=tag
        )
        uuid = await request_withdrawal(self.hub.store, self.hub.nodes, wish)
        return uuid, payout

    async def sweep(self) -> None:
        """Plan, sign, attach and confirm what there is to do."""
        await self.hub.sweeps.tick()
        await self.settle()

    async def settle(self) -> None:
        """Attach and confirm what is signed."""
        await self.hub.attachments.tick()
        await self.devnet.tick()
        await self.hub.attachments.tick()
        await self.hub.deposits.tick()

    async def sweeps(self, *states: SweepState) -> list[Sweep]:
        async with self.hub.store.reading() as tx:
            return await tx.sweeps.in_state(*(states or tuple(SweepState)))

    async def withdrawal(self, uuid: WithdrawalUuid) -> Withdrawal:
        async with self.hub.store.reading() as tx:
            return await tx.withdrawals.by_uuid(uuid)

    async def own(self, address: Address) -> OwnAddress:
        async with self.hub.store.reading() as tx:
            found = await tx.addresses.find(address)
        assert found is not None
        return found

    async def on_tangle(self, address: str) -> int:
        return self.devnet.node.balances.get(address, 0)

    async def require_sound(self) -> None:
        """Books balance; nodes hold at least what the ledger says, sweeps aside."""
        async with self.hub.store.reading() as tx:
            report = await tx.books.verify()
        assert report.sound, report


def outside_address() -> str:
    return derive(secrets.token_bytes(48), level=2)


@asynccontextmanager
async def running_world(
    appliance: Appliance,
    folder: Path,
    /,
    *,
    dialect: Dialect = Dialect.IRI,
    **sections: dict[str, object],
) -> AsyncGenerator[World]:
    """Run a devnet and a hub against a running appliance."""
    clock = Clock()
    config = DevnetConfig(min_weight_magnitude=MIN_WEIGHT_MAGNITUDE, dialect=dialect)
    async with AsyncExitStack() as stack:
        devnet = await stack.enter_async_context(running_devnet(config, clock_ms=clock))
        nodes = [(devnet.url, dialect.value)]
        table = hub_table(appliance, nodes, folder, **sections)
        hub = await stack.enter_async_context(
            open_hub(parse(table, folder=folder), clock=clock, desk=DESK)
        )
        await hub.signer.status()
        world = World(hub, devnet, appliance, clock)
        yield world
        await world.require_sound()
