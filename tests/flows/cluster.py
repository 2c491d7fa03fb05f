# SPDX-License-Identifier: Apache-2.0
"""Several hubs of one exchange: processes on one PostgreSQL with one appliance."""

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pg8000.native

from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.embedded import RunningDevnet, running_devnet
from hub.devnet.faults import FaultValue
from hub.service import LEASED
from tests.flows.hub_process import HubProcess
from tests.flows.test_crash_hub import require_single_use
from tests.flows.world import (
    MIN_WEIGHT_MAGNITUDE,
    Appliance,
    hub_table,
    outside_address,
)
from tests.hub.databases import Postgresql

LEASE_S = 1.5
FLOWS = set(LEASED)
PAID_IN_I = 100
PAID_OUT_I = 30
PATIENCE_S = 40.0
_POLL_S = 0.2


class Cluster:
    """Hubs that may be killed and frozen, and users who go to any that answers."""

    def __init__(
        self,
        hubs: list[HubProcess],
        devnet: RunningDevnet,
        appliance: Appliance,
        connection: pg8000.native.Connection,
    ) -> None:
        self.hubs = hubs
        self.devnet = devnet
        self.appliance = appliance
        self._connection = connection
        self._serial = itertools.count(1)
        self.payments: list[str] = []

    def query(self, sql: str) -> list[list[Any]]:
        return list(self._connection.run(sql))

    def progress(self) -> str:
        """Tell what is in which state, for a test that waited in vain."""
        counts = [
            self.query(f"SELECT '{name}', state, count(*) FROM {name} GROUP BY 2")  # noqa: S608
            for name in ("sweep", "withdrawal", "deposit")
        ]
        return f"{self.arrived()} of {len(self.payments)} payments arrived; {counts}"

    def keep_evidence(self, folder: Path) -> None:
        """Write every table, and what the network and the payments came to."""
        folder.mkdir()
        tables = "SELECT relname FROM pg_stat_user_tables ORDER BY 1"
        for (table,) in self.query(tables):
            rows = self.query(f"SELECT to_jsonb(t)::text FROM {table} t")  # noqa: S608
            (folder / f"{table}.jsonl").write_text("".join(f"{r}\n" for (r,) in rows))
        balances = "".join(f"{a} {i}\n" for a, i in self.devnet.node.balances.items())
        (folder / "balances").write_text(balances)
        lost = [b for b in self.payments if not self.devnet.node.has_moved(b)]
        (folder / "payments-lost").write_text("".join(f"{b}\n" for b in lost))
        print(f"evidence: {folder.parent}")

    def holders(self) -> dict[str, HubProcess | None]:
        """Return who runs which flow now."""
        by_name = {
            (hub.folder / "holder").read_text(): hub
            for hub in self.hubs
            if (hub.folder / "holder").exists()
        }
        now = "extract(epoch FROM clock_timestamp()) * 1000"
        rows = self.query(f"SELECT flow, holder FROM lease WHERE expires_at_ms > {now}")  # noqa: S608
        return {flow: by_name.get(who.rpartition(":")[2]) for flow, who in rows}

    async def runs_all(self, hub: HubProcess) -> None:
        """Wait until one hub holds every flow."""
        await self.until(lambda: self.holders() == dict.fromkeys(FLOWS, hub))

    async def until(
        self, done: Callable[[], bool], *, patience_s: float = PATIENCE_S
    ) -> None:
        async with asyncio.timeout(patience_s):
            while not done():
                await asyncio.sleep(_POLL_S)

    async def story(self, hub: HubProcess) -> str:
        """Play one user's story, through one hub, until the payout is confirmed."""
        user, address = await self.paying_user(hub)
        await self.pay_in(address)
        async with asyncio.timeout(PATIENCE_S):
            while (await hub.ask("GetBalance", userId=user))["available"] == "0":
                await asyncio.sleep(_POLL_S)
        payout = await self.withdraw(hub, user)
        balances = self.devnet.node.balances
        await self.until(lambda: balances.get(payout, 0) == PAID_OUT_I)
        return user

    async def pay_in(self, address: str) -> None:
        tail = await self.devnet.deposit(address, PAID_IN_I)
        record = self.devnet.node.tangle.get(tail)
        assert record is not None
        self.payments.append(record.tx.bundle)

    def arrived(self) -> int:
        """Count the payments that are confirmed, by whichever attachment.

        A troubled network loses some.
        """
        return sum(self.devnet.node.has_moved(bundle) for bundle in self.payments)

    def trouble(self, name: str, value: FaultValue) -> None:
        """Throw one of the devnet's switches; None: off."""
        self.devnet.faults.set(name, value)

    async def paying_user(self, hub: HubProcess) -> tuple[str, str]:
        user = f"user-{next(self._serial)}"
        await hub.ask("CreateUser", userId=user)
        return user, (await hub.ask("GetDepositAddress", userId=user))["address"]

    async def withdraw(self, hub: HubProcess, user: str) -> str:
        payout = outside_address()
        amount = str(PAID_OUT_I)
        await hub.ask("UserWithdraw", userId=user, amount=amount, payoutAddress=payout)
        return payout

    def settled(self) -> bool:
        """Say whether nothing is under way any more."""
        done = "('confirmed', 'refused')"
        open_sweeps = f"SELECT 1 FROM sweep WHERE state NOT IN {done}"  # noqa: S608
        waiting = "SELECT 1 FROM withdrawal WHERE state IN ('requested', 'planned')"
        booked = self.query("SELECT count(*) FROM deposit WHERE state = 'credited'")
        all_booked = booked == [[self.arrived()]]
        return not self.query(open_sweeps) and not self.query(waiting) and all_booked

    async def require_right(self, *, patience_s: float = PATIENCE_S) -> None:
        """Compare books, network and journal: nothing twice, nothing lost."""
        try:
            await self.until(self.settled, patience_s=patience_s)
        except TimeoutError:
            raise AssertionError(self.progress()) from None
        audit = await asyncio.to_thread(self.hubs[0].audit)
        assert audit.returncode == 0, audit.stdout + audit.stderr
        paid = self.query(
            "SELECT payout_address, sum(amount_i)::bigint FROM withdrawal"
            " WHERE state = 'paid' GROUP BY 1"
        )
        balances = self.devnet.node.balances
        for payout, amount_i in paid:
            assert balances.get(payout, 0) == amount_i
        users = "SELECT sum(available_i)::bigint FROM account WHERE kind = 'user'"
        out_i = sum(amount_i for _, amount_i in paid)
        assert self.query(users) == [[self.arrived() * PAID_IN_I - out_i]]
        for address, balance_i in self.query(
            "SELECT address, balance_i FROM address WHERE balance_i > 0"
        ):
            assert balances.get(address, 0) == balance_i
        await asyncio.to_thread(self.appliance.verify_journal)
        require_single_use(await self.appliance.journal())

    def was_fenced(self, hub: HubProcess) -> bool:
        """Say whether a write of a hub was refused, since another runs the flow."""
        told = re.search(r"token \d+ was overtaken|lease is not held", hub.log())
        return told is not None


@asynccontextmanager
async def running_cluster(
    appliance: Appliance, folder: Path, postgresql: Postgresql, *, hubs: int = 2
) -> AsyncGenerator[Cluster]:
    """Run a devnet and lay out hubs that are not started yet."""
    config = DevnetConfig(
        min_weight_magnitude=MIN_WEIGHT_MAGNITUDE, dialect=Dialect.HORNET, tick_s=0.2
    )
    url = postgresql.empty()
    password = folder / "password"
    password.touch(0o600)
    password.write_text(postgresql.server.password)
    async with running_devnet(config) as devnet:
        nodes = [(devnet.url, "hornet")]
        made = []
        for number in range(hubs):
            own = folder / f"hub{number}"
            own.mkdir()
            table = hub_table(appliance, nodes, own, **_sections(url, password))
            made.append(HubProcess(table, own))
        try:
            with postgresql.server.connect(url.rpartition("/")[2]) as connection:
                yield Cluster(made, devnet, appliance, connection)
        finally:
            for hub in made:
                hub.kill()
            postgresql.drop(url)


def _sections(url: str, password: Path) -> dict[str, dict[str, object]]:
    user, _, server = url.partition("@")
    pauses: dict[str, object] = {"interval_s": 0.1}
    return {
        "hub": {
            "database_url": f"{user.rpartition(':')[0]}@{server}",
            "database_password_file": str(password),
            "database_pool_size": 5,
            "lease_s": LEASE_S,
        },
        "deposits": pauses | {"credit": "confirmation"},
        "sweeps": pauses,
        "attachments": pauses,
    }


async def ask_any(
    hubs: list[HubProcess], command: str, **fields: object
) -> dict[str, Any] | None:
    """Ask the first hub that answers; None if none does or one breaks off."""
    for hub in hubs:
        try:
            async with asyncio.timeout(10):
                return await hub.ask(command, **fields)
        except (aiohttp.ClientConnectorError, TimeoutError):
            continue
        except aiohttp.ClientError:
            return None
    return None
