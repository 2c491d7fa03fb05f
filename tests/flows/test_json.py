# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub --json``: every command that prints a result prints one object."""

import asyncio
import json
from pathlib import Path

import pytest

from hub.devnet.config import DevnetConfig
from hub.devnet.embedded import running_devnet
from tests.flows.test_program import program, run
from tests.flows.world import Appliance
from trinary.kerl import with_checksum

COLD = "SALTKEEP9COLD" + "9" * 68


@pytest.mark.slow
async def test_machines_read_what_commands_print(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    config = DevnetConfig(min_weight_magnitude=1)
    async with running_devnet(config) as devnet:
        hub = program(tmp_path, shared_appliance, devnet.url)

        def said(*arguments: str) -> object:
            done = run(hub, "--json", *arguments)
            assert done.returncode == 0, (arguments, done.stdout, done.stderr)
            return json.loads(done.stdout)

        async def ask(*arguments: str) -> object:
            return await asyncio.to_thread(said, *arguments)

        assert await ask("migrate") == {"revision": "head"}
        shown = await ask("migrate", "--show")
        assert isinstance(shown, dict)
        assert shown["revision"].isdigit()
        made = await ask("api-key", "create", "one", "--scope", "read")
        assert isinstance(made, dict)
        assert made["secret"].startswith("saltkeep_")
        [listed] = await ask("api-key", "list")  # type: ignore[misc]
        assert listed["key_id"] == made["key_id"]
        assert listed["holds"] is True
        assert "secret" not in listed
        revoked = await ask("api-key", "revoke", made["key_id"])
        assert revoked == {"key_id": made["key_id"], "holds": False}
        assert await ask("cold", "add", "safe", with_checksum(COLD)) == {
            "label": "safe"
        }
        [cold] = await ask("cold", "list")  # type: ignore[misc]
        assert cold["label"] == "safe"
        assert await ask("next-sweep") == {
            "inputs": [],
            "withdrawals": [],
            "remainder_i": 0,
        }
        assert await ask("quarantine", "list") == []
        audited = await ask("audit")
        assert isinstance(audited, dict)
        assert audited["sound"] is True
        nodes = await ask("nodes")
        assert isinstance(nodes, dict)
        assert len(nodes["nodes"]) == 1
