# SPDX-License-Identifier: Apache-2.0
"""Where secrets are and are not: arguments, environment, logs, memory."""

import contextlib
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.argon2_engines import Argon2Parameters
from appliance.client import ApplianceClient, endpoint_of
from appliance.derivation import Derivation
from appliance.errors import ConfigError
from appliance.pytest_plugin import CHEAP_ARGON2, ApplianceProcess, make_appliance
from appliance.wire import IssueAddress, Issued, Signed
from channel import ChannelError, client_context
from tests.appliance.box import Box, command
from tests.appliance.bundles import Coin, bundle, new_uuid
from tests.appliance.memory_scan import children, hashed, occurrences
from trinary.memory import LockedBuffer

CHEAP = Argon2Parameters(time_cost=1, memory_kib=256)


async def use(client: ApplianceClient) -> list[Coin]:
    coins = []
    for _ in range(4):
        uuid = new_uuid()
        request = IssueAddress(request_id="i", seed_uuid=uuid)
        coins.append(Coin(uuid, (await client.expect(request, Issued)).address))
    await client.expect(bundle(coins[:3]), Signed)
    return coins


async def seeds_of(
    coins: list[Coin], salt: bytes, parameters: Argon2Parameters = CHEAP
) -> list[bytes]:
    derivation = Derivation(
        workers=1,
        memory_kib=parameters.memory_kib,
        memory_budget_mib=1 + parameters.memory_kib // 1024,
        allow_unlocked=True,
    )
    buffer = LockedBuffer(len(salt), allow_unlocked=True)
    buffer.view[:] = salt
    seeds = await derivation.seeds(
        [coin.seed_uuid for coin in coins], salt=buffer, parameters=parameters, level=2
    )
    with contextlib.closing(seeds), contextlib.closing(derivation):
        assert seeds.addresses() == [coin.address for coin in coins]
        return [bytes(buffer.view) for buffer in seeds._buffers]


def imported(folder: Path, salt: bytes) -> ApplianceProcess:
    path = folder / "salt"
    path.touch(mode=0o600)
    path.write_bytes(salt)
    box = folder / "box"
    return make_appliance(box, [*CHEAP_ARGON2, "--salt-from", str(path)])


async def test_after_use_no_salt_and_no_seed_is_left_in_memory(tmp_path: Path) -> None:
    """As root sees it: every readable page of both processes.

    The PIN is where it must be to log in again: once, in a locked buffer.
    """
    salt = secrets.token_hex(16).encode()
    appliance = imported(tmp_path, salt)
    appliance.start()
    try:
        async with appliance.client("hub") as client:
            coins = await use(client)
        assert appliance.process
        serve = appliance.process.pid
        (worker,) = children(serve)
        for needle in [salt, salt[:16], salt[16:], *await seeds_of(coins, salt)]:
            assert occurrences(serve, hashed(needle)) == []
            assert occurrences(worker, hashed(needle)) == []
        pin = (tmp_path / "box" / "pin").read_bytes()
        assert occurrences(serve, hashed(pin)) == ["anonymous"]
    finally:
        appliance.stop()


def test_the_scan_finds_what_is_there() -> None:
    """Otherwise the test above would say nothing."""
    needle = secrets.token_hex(16)
    script = "import sys; x = sys.stdin.readline(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin
        assert child.stdout
        child.stdin.write(f"{needle}\n")
        child.stdin.flush()
        child.stdout.readline()
        assert occurrences(child.pid, hashed(needle.encode()))
        assert not occurrences(child.pid, hashed(needle.encode()[::-1]))
        child.kill()


async def test_no_secret_stands_in_arguments_environment_or_log(
    tmp_path: Path,
) -> None:
    salt = secrets.token_hex(16).encode()
    appliance = imported(tmp_path, salt)
    appliance.start()
    try:
        async with appliance.client("hub") as client:
            coins = await use(client)
        assert appliance.process
        texts = [appliance.log_path.read_bytes()]
        for pid in (appliance.process.pid, *children(appliance.process.pid)):
            texts += [proc(pid, "cmdline"), proc(pid, "environ")]
    finally:
        appliance.stop()
    pin = (tmp_path / "box" / "pin").read_bytes()
    needles = [salt, pin, *(coin.seed_uuid.encode() for coin in coins)]
    assert not [needle for needle in needles for text in texts if needle in text]
    state = [
        path.read_bytes()
        for path in (tmp_path / "box").rglob("*")
        if path.is_file() and path.name != "pin"
    ]
    assert not [text for text in state if salt in text or pin in text]


def proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def test_the_process_locks_its_memory(process: ApplianceProcess) -> None:
    process.start()
    assert process.process
    status = proc(process.process.pid, "status").decode().splitlines()
    (locked,) = [line for line in status if line.startswith("VmLck")]
    assert int(locked.split()[1]) > 10_000


@pytest.mark.parametrize(
    "harden",
    [
        "from appliance.hardening import harden_process as h; h(allow_unlocked=True)",
        "from trinary.memory import make_undumpable as m; m()",  # the HSM worker
    ],
)
def test_a_hardened_process_can_not_be_dumped(harden: str) -> None:
    script = f"import ctypes; {harden}; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout == "0\n"


def test_exceptions_of_secrets_files_name_the_file_only(folder: Path) -> None:
    pin = (folder / "pin").read_text()
    (folder / "pin").write_text(pin * 20)
    done = command(folder, "serve")
    assert done.returncode == 1
    assert "has 1 to 255 bytes" in done.stderr
    assert pin not in done.stderr + done.stdout


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_pin_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    (folder / "pin").chmod(mode)
    done = command(folder, "serve")
    assert done.returncode == 1
    assert "0600" in done.stderr


@pytest.mark.parametrize("name", ["state", "tls/appliance.key"])
def test_what_others_can_read_is_not_served_from(folder: Path, name: str) -> None:
    (folder / name).chmod(0o755 if name == "state" else 0o644)
    with pytest.raises(ConfigError, match=r"make it 0[67]00"):
        Box(folder)


def test_a_client_s_key_that_others_can_read_is_refused(folder: Path) -> None:
    (folder / "tls" / "hub.key").chmod(0o640)
    with pytest.raises(ChannelError, match="0600"):
        client_context(endpoint_of(folder / "appliance.toml", name="hub").files)
