# SPDX-License-Identifier: Apache-2.0
"""Up from the previous release and back to it, with money under way.

``docs/upgrade.md`` says what an operator does; here it is done, with the programs of
the commit that ``deploy/previous-release`` names.
"""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub.devnet.config import DevnetConfig
from hub.devnet.embedded import RunningDevnet, running_devnet
from tests.flows.hub_process import HubProcess
from tests.flows.world import Appliance, free_port, hub_table

ROOT = Path(__file__).parents[2]
PREVIOUS = (ROOT / "deploy" / "previous-release").read_text().strip()
PATIENCE_S = 45.0
PAYOUT = "PAYOUT9OF9AN9UPGRADE" + "9" * 61

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the sources of the previous release, its kernel built."""
    folder = tmp_path_factory.mktemp("previous")
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", PREVIOUS], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"this clone does not hold {PREVIOUS}: fetch it whole")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    build = [sys.executable, "trinary/build_kernel.py"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    return folder


@dataclass
class Programs:
    """Which release is started from now on: what ``-m`` finds first."""

    monkeypatch: pytest.MonkeyPatch

    def take(self, root: Path) -> None:
        self.monkeypatch.chdir(root)
        self.monkeypatch.setenv("PYTHONPATH", str(root))
        found = self.python("-c", "import hub; print(hub.__file__)")
        assert found.strip() == str(root / "hub" / "__init__.py")

    def python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def programs() -> Iterator[Programs]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Programs(monkeypatch)


async def until(ready: Callable[[], Awaitable[bool]], hub: HubProcess) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not await ready():
        assert time.monotonic() < deadline_s, hub.log()
        await asyncio.sleep(0.3)


async def swept_deposit(hub: HubProcess, devnet: RunningDevnet, user: str) -> None:
    """Have a deposit credited, which takes a signed sweep."""
    await hub.ask("CreateUser", userId=user)
    given = await hub.ask("GetDepositAddress", userId=user)
    await devnet.deposit(given["address"], 700)
    await devnet.tick()

    async def credited() -> bool:
        await devnet.tick()
        return bool((await hub.ask("GetBalance", userId=user))["available"] == "700")

    await until(credited, hub)


def journal_of(appliance: Appliance, programs: Programs) -> str:
    config = ["--config", str(appliance.configuration), "--port", str(appliance.port)]
    return programs.python(
        "-m", "appliance", *config, "--as", "auditor", "journal", "verify"
    )


def must_balance(hub: HubProcess) -> None:
    audited = hub.audit()
    assert audited.returncode == 0, audited.stdout + audited.stderr


async def test_up_from_the_previous_release_and_back(
    previous: Path, tmp_path: Path, programs: Programs
) -> None:
    programs.take(previous)
    box = tmp_path / "box"
    port = free_port()
    made = ["--softhsm", str(box), "--network", "devnet", "--listen-port", str(port)]
    cheap = ["--argon2-memory-kib", "1024", "--argon2-time", "1"]
    programs.python("-m", "appliance", "init", *made, *cheap)
    appliance = Appliance(box, port)
    async with running_devnet(DevnetConfig(min_weight_magnitude=1)) as devnet:
        table = hub_table(
            appliance,
            [(devnet.url, "iri")],
            tmp_path,
            deposits={"interval_s": 0.3},
            sweeps={"interval_s": 0.3},
            attachments={"interval_s": 0.3, "min_weight_magnitude": 1},
        )
        hub = HubProcess(table, tmp_path)
        try:
            appliance.start()
            hub.start()
            await swept_deposit(hub, devnet, "before")
            hub.stop()
            revision = revision_of(tmp_path)
            appliance.stop()

            programs.take(ROOT)
            appliance.start()
            hub.start()
            assert (await hub.ask("GetBalance", userId="before"))["available"] == "700"
            await hub.ask(
                "UserWithdraw",
                userId="before",
                payoutAddress=PAYOUT,
                amount="300",
                validateChecksum=False,
            )
            await swept_deposit(hub, devnet, "after")
            must_balance(hub)
            journal_of(appliance, programs)
            hub.stop()

            programs.python(*hub_program(hub), "migrate", revision, "--yes")
            assert revision_of(tmp_path) == revision
            appliance.stop()
            programs.take(previous)
            appliance.start()
            hub.start()
            assert (await hub.ask("GetBalance", userId="before"))["available"] == "400"
            assert (await hub.ask("GetBalance", userId="after"))["available"] == "700"
            await swept_deposit(hub, devnet, "back")
            must_balance(hub)
            journal_of(appliance, programs)
        finally:
            hub.stop()
            appliance.stop()


def hub_program(hub: HubProcess) -> list[str]:
    return ["-m", "hub", "--config", str(hub.configuration)]


def revision_of(folder: Path) -> str:
    """Read the database's revision, whichever release wrote it."""
    with contextlib.closing(sqlite3.connect(folder / "hub.db")) as books:
        found: tuple[str] = books.execute(
            "SELECT version_num FROM alembic_version"
        ).fetchone()
    return found[0]
