# SPDX-License-Identifier: Apache-2.0
"""Two appliances on one journal in PostgreSQL, each in a process of its own."""

import datetime as dt
import json
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from appliance.argon2_engines import Argon2Parameters
from appliance.ceremony import FirstGeneration
from appliance.config import load_config
from appliance.journal import join_journal
from appliance.journal_database import database_of
from appliance.softhsm import SoftHsmOptions, make_softhsm_appliance
from tests.flows.world import CHEAP, NETWORK, Appliance, free_port
from tests.postgres import Server


async def make_pair(
    server: Server, folder: Path, *, workers: int = 1, argon2: Argon2Parameters = CHEAP
) -> tuple[Appliance, Appliance]:
    """Make two that were never started."""
    password = folder / "journal-password"
    password.touch(mode=0o600)
    password.write_text(server.password)
    journal = (f'database = "{server.url}"', f'password_file = "{password}"')
    options = SoftHsmOptions(
        FirstGeneration(NETWORK, 2, argon2),
        port=free_port(),
        workers=workers,
        journal=journal,
    )
    first = Appliance(folder / "first", options.port)
    now = dt.datetime.fromtimestamp(time.time_ns() / 1e9, dt.UTC)
    await make_softhsm_appliance(first.folder, options, now=now)
    second = Appliance(folder / "second", free_port())
    shutil.copytree(first.folder, second.folder)
    for name in ("appliance.toml", "softhsm2.conf"):
        text = (second.folder / name).read_text()
        text = text.replace(str(first.folder), str(second.folder))
        text = text.replace(f"port = {first.port}", f"port = {second.port}")
        (second.folder / name).write_text(text)
    (second.folder / "state" / "mirror.db").unlink()
    policy = json.loads((first.folder / "state" / "policy.json").read_text())
    database = database_of(load_config(second.configuration))
    join_journal(database, journal_id=policy["journal_id"])
    return first, second


@asynccontextmanager
async def running_pair(
    pair: tuple[Appliance, Appliance],
) -> AsyncGenerator[tuple[Appliance, Appliance]]:
    """Run both."""
    try:
        for appliance in pair:
            appliance.start()
        for appliance in pair:
            await appliance.wait_ready()
        yield pair
    finally:
        for appliance in pair:
            appliance.stop()


def shared(second: Appliance) -> dict[str, object]:
    """Return what a hub's ``[appliance]`` needs for the second one."""
    return {
        "others": [
            {
                "url": f"https://127.0.0.1:{second.port}",
                "server_spki_sha256": second.pin,
            }
        ]
    }
