# SPDX-License-Identifier: Apache-2.0
"""The main job with nothing but a serial cable between hub and appliance."""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from appliance.client import ApplianceClient, load_endpoint
from hub.errors import ApplianceUnavailableError, ConfigError
from hub.model import SweepState, WithdrawalState
from tests.appliance.serial_box import client_file, new_client, put_on_a_line
from tests.flows.world import Appliance, copy_appliance, running_world
from tests.simulators.cable import Cable


class ApplianceOnALine(Appliance):
    """An appliance in a process of its own, reached over a cable."""

    def client(self, name: str) -> ApplianceClient:
        return ApplianceClient(load_endpoint(client_file(self.folder, name)))


@pytest.fixture
async def cable(tmp_path: Path) -> AsyncGenerator[Cable]:
    with Cable(tmp_path) as plugged:
        yield plugged


@pytest.fixture
async def appliance(
    template: Path, tmp_path: Path, cable: Cable
) -> AsyncGenerator[ApplianceOnALine]:
    folder = tmp_path / "box"
    copy_appliance(template, folder)
    put_on_a_line(folder, here=cable.near, there=cable.far)
    own = ApplianceOnALine(folder)
    own.start()
    try:
        await own.wait_ready()
        yield own
    finally:
        own.stop()


async def command(appliance: Appliance, *arguments: str, name: str) -> tuple[int, str]:
    """Run ``saltkeep-appliance`` as somebody at the other end of the cable does."""
    client = str(client_file(appliance.folder, name))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "appliance", "--client", client, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    return process.returncode or 0, said


def hub_section(cable: Cable, folder: Path) -> dict[str, object]:
    return {
        "transport": "serial",
        "device": cable.far,
        "key_file": str(folder / "clients" / "hub.key"),
        "identity_key": str(folder / "identity.pem"),
        "timeout_s": 10.0,
    }


async def test_a_deposit_and_a_withdrawal_over_a_cable(
    appliance: ApplianceOnALine, cable: Cable, tmp_path: Path
) -> None:
    """With the auditor of the same hub on the same line."""
    auditor = {"auditor_key": str(appliance.folder / "clients" / "auditor.key")}
    section = hub_section(cable, appliance.folder)
    async with running_world(
        appliance, tmp_path, appliance=section, reconciler=auditor
    ) as world:
        await world.funded_user("alice", 1_000)
        await world.sweep()
        uuid, payout = await world.withdraw("alice", 300)
        await world.sweep()
        assert (await world.withdrawal(uuid)).state is WithdrawalState.PAID
        assert await world.on_tangle(payout) == 300
        assert {s.state for s in await world.sweeps()} == {SweepState.CONFIRMED}
        assert not await world.hub.reconciler.whole()
        code, said = await command(appliance, "status", name="auditor")  # in between
        assert code == 0, said
        assert "ready" in said
    signed = [row for row in await appliance.journal() if row.kind == "signed"]
    assert len(signed) == 2
    code, said = await command(appliance, "journal", "verify", name="auditor")
    assert code == 0, said


async def test_a_cable_pulled_out_during_a_sweep_costs_nothing_but_time(
    appliance: ApplianceOnALine, cable: Cable, tmp_path: Path
) -> None:
    section = hub_section(cable, appliance.folder)
    async with running_world(appliance, tmp_path, appliance=section) as world:
        await world.funded_user("alice", 1_000)
        cable.unplug(cable.far)
        with pytest.raises(ApplianceUnavailableError):
            await world.hub.signer.status()
        with pytest.raises(ApplianceUnavailableError):
            await world.hub.sweeps.tick()
        cable.plug(cable.far)
        await world.sweep()
        assert [s.state for s in await world.sweeps()] == [SweepState.CONFIRMED]
        assert (await world.account("alice")).available_i == 1_000


async def test_a_hub_whose_key_others_can_read_does_not_start(
    appliance: ApplianceOnALine, cable: Cable, tmp_path: Path
) -> None:
    section = hub_section(cable, appliance.folder)
    Path(str(section["key_file"])).chmod(0o640)
    with pytest.raises(ConfigError, match="0600"):
        async with running_world(appliance, tmp_path, appliance=section):
            pass


async def test_a_client_is_enrolled_and_revoked_over_a_cable(
    appliance: ApplianceOnALine, cable: Cable
) -> None:
    key_id = new_client(appliance.folder, "hub-2", cable.far)
    code, said = await command(appliance, "status", name="hub-2")
    assert code == 1, said
    assert "does not take this key" in said
    act = f"enrol-client {key_id} --name hub-2 --role hub --yes".split()
    code, said = await command(appliance, "ceremony", *act, name="operator-1")
    assert code == 0, said
    act_id = re.findall("approve ([0-9a-f]{32})", said)[0]
    for number in (1, 2):
        key = str(appliance.folder / "operators" / f"operator-{number}.key")
        code, said = await command(
            appliance, "approve", act_id, "--key", key, "--yes", name="operator-1"
        )
        assert code == 0, said
    code, said = await command(appliance, "status", name="hub-2")
    assert code == 0, said
    revoke = ("ceremony", "revoke-client", "hub-2", "--yes")
    code, said = await command(appliance, *revoke, name="operator-2")
    assert code == 0, said
    code, said = await command(appliance, "status", name="hub-2")
    assert code == 1, said
    verify = ("ceremony", "verify", "--yes")
    code, said = await command(appliance, *verify, name="operator-1")
    assert "4 client keys; the files of 4 are here; serial lines: 1" in said
