# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub nodes``, run as an operator runs it, against a devnet."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.embedded import running_devnet
from tests.flows.world import free_port

CONFIGURATION = """
[hub]
database_url = "sqlite+aiosqlite:///{folder}/hub.db"
state_dir = "{folder}"
network = "devnet"
[appliance]
url = "https://127.0.0.1:1"
ca = "ca.pem"
certificate = "hub.pem"
key = "hub.key"
server_spki_sha256 = "{pin}"
identity_key = "identity.pem"
[nodes]
quorum = {quorum}
timeout_s = 2
endpoints = [
  {{ url = "{url}", dialect = "hornet" }},
  {{ url = "http://127.0.0.1:{closed}", dialect = "iri" }},
]
"""


async def run(folder: Path, url: str, *, quorum: int) -> tuple[int, dict[str, Any]]:
    path = folder / "hub.toml"
    closed = free_port()
    path.write_text(
        CONFIGURATION.format(
            folder=folder, url=url, quorum=quorum, pin="a" * 64, closed=closed
        )
    )
    command = [sys.executable, "-m", "hub", "--config", str(path), "--json", "nodes"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out)


async def test_the_operator_sees_which_node_answers_and_whether_they_are_enough(
    tmp_path: Path,
) -> None:
    config = DevnetConfig(min_weight_magnitude=1, dialect=Dialect.HORNET)
    async with running_devnet(config) as devnet:
        await devnet.tick()
        code, said = await run(tmp_path, devnet.url, quorum=1)
        good, away = said["nodes"]
        assert (code, said["problem"]) == (0, "")
        assert good["milestone_index"] == devnet.node.latest.index
        assert (good["failures"], good["lag"]) == (0, 0)
        assert (away["last_answer_ms"], away["failures"]) == (None, 1)
        code, said = await run(tmp_path, devnet.url, quorum=2)
        assert code == 1
        assert said["problem"] == "1 of 2 nodes answered, 2 must"
