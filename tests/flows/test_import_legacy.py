# SPDX-License-Identifier: Apache-2.0
"""From an old Hub's database to a swept deposit, as its operator does it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from appliance.client import new_request_id
from appliance.wire import (
    ActReport,
    ApproveAct,
    PendingActs,
    ProposeAct,
    RunCeremony,
    act_digest,
)
from tests.appliance.box import sign_with
from tests.appliance.old_salt import SALT, old_address
from tests.flows.hub_process import HubProcess
from tests.flows.world import Appliance, World, hub_table, outside_address
from tests.hub import bookkeeping as books
from tests.hub.legacy_import.old_hub import OldHub, on_sqlite

GENERATION = 2


async def ceremony(appliance: Appliance, act: RunCeremony) -> None:
    """Have two operators run a ceremony."""
    async with appliance.client("operator-1") as operator:
        proposed = await operator.expect(
            ProposeAct(request_id=new_request_id(), act=act), PendingActs
        )
        (pending,) = proposed.acts
        digest = act_digest(pending, journal_id=proposed.journal_id)
        for name in ("operator-1", "operator-2"):
            approval = ApproveAct(
                request_id=new_request_id(),
                act_id=pending.id,
                signature=sign_with(appliance.folder, name, digest),
            )
            await operator.expect(approval, ActReport)


async def take_over_salt(appliance: Appliance) -> None:
    salt = appliance.folder / "old.salt"
    salt.write_text(SALT)
    salt.chmod(0o600)
    await ceremony(
        appliance,
        RunCeremony(
            request_id="",
            ceremony="import-salt",
            subject=str(salt),
            security_level=2,
            argon2="argon2id 1 256",
        ),
    )


async def program(
    hub: HubProcess, old: OldHub, *arguments: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hub", "--json", "--config"]
    command += [str(hub.configuration), "import-legacy", "--source", old.source]
    return await asyncio.to_thread(
        subprocess.run,
        [*command, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


async def test_an_old_database_is_taken_over_and_its_deposits_are_swept(
    own_world: World, tmp_path: Path
) -> None:
    world, appliance = own_world, own_world.appliance
    await take_over_salt(appliance)
    old = on_sqlite(tmp_path)
    ana = old.user("ana")
    spent, fresh = books.issued().seed_uuid, books.issued().seed_uuid
    old.address(ana, old_address(spent), spent)
    old.signed(spent)
    row = old.address(ana, old_address(fresh), fresh)
    old.deposit(row, 40)
    await world.devnet.deposit(old_address(fresh), 40)
    await world.devnet.tick()
    hub = HubProcess(
        hub_table(appliance, [(world.devnet.url, "iri")], tmp_path), tmp_path
    )

    checked = await program(hub, old, "check")
    assert (checked.returncode, json.loads(checked.stdout)["faults"]) == (0, [])
    early = await program(
        hub, old, "run", "--generation", str(GENERATION), "--pause-s", "0"
    )
    assert early.returncode == 1
    assert "import the file of `import-legacy interchange` first" in early.stderr
    file = await program(hub, old, "interchange")
    assert spent not in file.stdout
    await ceremony(
        appliance,
        RunCeremony(
            request_id="",
            ceremony="import-interchange",
            subject=file.stdout.strip(),
        ),
    )
    ahead = await program(hub, old, "adopt", "--generation", str(GENERATION))
    assert ahead.stdout.startswith("1 addresses are adopted")
    done = await program(
        hub, old, "run", "--generation", str(GENERATION), "--pause-s", "0"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["equal"]

    await world.hub.deposits.tick()
    assert (await world.account("ana")).unswept_i == 40  # once, not twice
    await world.sweep()
    assert (await world.account("ana")).available_i == 40
    _, payout = await world.withdraw("ana", 15, to=outside_address())
    await world.sweep()
    assert await world.on_tangle(payout) == 15
    assert await world.on_tangle(old_address(fresh)) == 0
