# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub`` as its operator meets it."""

import asyncio
import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from hub.devnet.config import DevnetConfig
from hub.devnet.embedded import running_devnet
from tests.flows.hub_process import HubProcess
from tests.flows.world import Appliance, hub_table
from tests.hub.api.old_client import OldClient

NOWHERE = "http://127.0.0.1:9"


def program(tmp_path: Path, appliance: Appliance, node: str = NOWHERE) -> HubProcess:
    return HubProcess(hub_table(appliance, [(node, "iri")], tmp_path), tmp_path)


def run(hub: HubProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hub", "--config", str(hub.configuration)]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False
    )


async def test_a_port_that_is_taken_is_one_line_and_exit_1(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        table: dict[str, Any] = hub_table(
            shared_appliance, [(NOWHERE, "iri")], tmp_path
        )
        port = taken.getsockname()[1]
        table["api"]["legacy"]["listen"] = f"127.0.0.1:{port}"
        done = run(HubProcess(table, tmp_path), "serve")
    assert done.returncode == 1
    assert "config-invalid: [api.legacy] listen" in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_hub_serves_while_node_and_appliance_are_away_and_stops_cleanly(
    template: Path, tmp_path: Path
) -> None:
    """W10: nothing that is away keeps it from starting, answering and stopping."""
    hub = program(tmp_path, Appliance(template, port=9))
    hub.start()
    try:
        await hub.ask("CreateUser", userId="alice")
        reply = await hub.ask("GetBalance", userId="alice")
        assert reply["available"] == "0"
    finally:
        assert hub.stop() == 0
    assert "Traceback" not in hub.log()


async def test_the_doctor_asks_the_appliance(
    appliance: Appliance, tmp_path: Path
) -> None:
    hub = program(tmp_path, appliance)
    what = f"appliance https://127.0.0.1:{appliance.port}"
    levels = []
    for _ in range(2):
        done = run(hub, "--json", "doctor")
        found = {one["what"]: one for one in json.loads(done.stdout)}
        levels.append(found[what]["level"])
        appliance.stop()
    assert levels == ["ok", "failure"]


async def test_audit_finds_a_balance_that_no_entry_explains(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    hub = program(tmp_path, shared_appliance)
    assert run(hub, "migrate").returncode == 0
    sound = run(hub, "audit")
    assert (sound.returncode, sound.stderr) == (0, "")
    with contextlib.closing(sqlite3.connect(tmp_path / "hub.db")) as books:
        books.execute("UPDATE account SET available_i = 5")
        books.commit()
    broken = run(hub, "audit")
    assert broken.returncode == 3
    assert "stored 5" in broken.stdout


async def test_latched_books_are_released_by_audit_once_they_are_sound(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    hub = program(tmp_path, shared_appliance)
    assert run(hub, "migrate").returncode == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "hub.db")) as books:
        books.execute("INSERT INTO books_latch VALUES (1, 'odd', 7)")
        books.execute("UPDATE account SET available_i = 5")
        books.commit()
        assert run(hub, "audit", "--release").returncode == 3
        books.execute("UPDATE account SET available_i = 0")
        books.commit()
    latched = run(hub, "audit")
    assert latched.returncode == 3
    assert "no balance changes: odd" in latched.stdout
    assert "audit --release" in latched.stdout
    assert run(hub, "audit", "--release").returncode == 0
    assert run(hub, "audit").returncode == 0


async def test_the_next_sweep_is_shown_and_not_done(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    async with running_devnet(DevnetConfig(min_weight_magnitude=1)) as devnet:
        hub = program(tmp_path, shared_appliance, devnet.url)
        done = await asyncio.to_thread(run, hub, "next-sweep")
    assert (done.returncode, done.stdout) == (0, "nothing to sweep\n")


@pytest.mark.parametrize("command", ["audit", "next-sweep"])
def test_a_database_without_tables_is_one_line(
    command: str, template: Path, tmp_path: Path
) -> None:
    done = run(program(tmp_path, Appliance(template, port=9)), command)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "url",
    ["sqlite:///hub.db", "no url", "oracle+none://x", "postgresql+none://u:hush@h/d"],
)
@pytest.mark.parametrize("command", ["migrate", "serve", "audit"])
def test_a_database_url_without_an_async_driver_is_one_line(
    url: str, command: str, template: Path, tmp_path: Path
) -> None:
    table = hub_table(Appliance(template, port=9), [(NOWHERE, "iri")], tmp_path)
    table["hub"]["database_url"] = url
    done = run(HubProcess(table, tmp_path), command)
    assert done.returncode == 1
    assert done.stderr.startswith("config-invalid: hub.database_url must name")
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr


@pytest.mark.parametrize("command", ["migrate", "serve"])
def test_a_database_that_can_not_be_opened_is_one_line(
    command: str, template: Path, tmp_path: Path
) -> None:
    table = hub_table(Appliance(template, port=9), [(NOWHERE, "iri")], tmp_path)
    table["hub"]["database_url"] = "sqlite+aiosqlite:////nope/hub.db"
    done = run(HubProcess(table, tmp_path), command)
    assert done.returncode == 1
    assert done.stderr.startswith("database-unavailable: ")
    assert done.stderr.count("\n") == 1


def test_a_revision_that_is_none_is_one_line(template: Path, tmp_path: Path) -> None:
    hub = program(tmp_path, Appliance(template, port=9))
    assert run(hub, "migrate").returncode == 0
    done = run(hub, "migrate", "bogus", "--yes")
    assert done.returncode == 1
    assert done.stderr.startswith("refused: there is no revision 'bogus'; there are ")
    assert done.stderr.count("\n") == 1


async def test_the_flags_of_an_old_hub_serve_its_grpc_clients(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    async with running_devnet(DevnetConfig(min_weight_magnitude=1)) as devnet:
        table = hub_table(shared_appliance, [(devnet.url, "iri")], tmp_path)
        table["api"]["legacy"] = {}
        table["attachments"] = {}
        hub = HubProcess(table, tmp_path)
        flags = tmp_path / "hub.flags"
        flags.write_text(
            "--listenAddress=127.0.0.1:0\n--minWeightMagnitude=1\n--numThreadsHttp=8\n"
        )
        hub.start(arguments=["--flagfile", str(flags)])
        try:
            target = hub.url.removeprefix("grpc://")
            async with grpc.aio.insecure_channel(target) as channel:
                client = OldClient(channel)
                await client.call("CreateUser", userId="alice")
                reply = await client.ask("GetDepositAddress", userId="alice")
                owner = await client.ask("GetAddressInfo", address=reply.address)
        finally:
            assert hub.stop() == 0
    assert owner.userId == "alice"
    assert "--numThreadsHttp is ignored: one event loop serves all" in hub.log()
    assert "Traceback" not in hub.log()
