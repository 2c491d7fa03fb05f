# SPDX-License-Identifier: Apache-2.0
"""The HSM and its worker, on a real SoftHSM2 token."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.config import load_config
from appliance.errors import ApplianceError, HsmError, PinRefusedError, VaultError
from appliance.hsm import Hsm, TokenAccess
from appliance.installation import Paths, open_hsm, token_access
from appliance.pytest_plugin import ApplianceProcess, make_appliance
from appliance.vault import Vault
from appliance.wire import Fault, IssueAddress, Issued, Signed
from hsm_profiles import ProfileError, load_profile
from tests.appliance.box import Box, command
from tests.appliance.bundles import bundle, new_uuid
from trinary.memory import LockedBuffer


@pytest.fixture
def hsm(folder: Path) -> Iterator[Hsm]:
    opened = open_hsm(load_config(folder / "appliance.toml"))
    yield opened
    opened.close()


def vault_of(folder: Path, hsm: Hsm) -> Vault:
    return Vault(folder / "state" / "vault.json", hsm=hsm, allow_unlocked=True)


# --- where the worker comes from -----------------------------------------------------


def test_nothing_in_the_folder_we_start_in_is_imported(
    folder: Path, tmp_path: Path
) -> None:
    """The worker is handed the PIN."""
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("pkcs11", "appliance", "trinary", "json"):
        text = f"open({str(trap / 'sprung')!r}, 'w').close()\nraise SystemExit(1)\n"
        (trap / f"{name}.py").write_text(text)
    program = (
        "from pathlib import Path\n"
        "from appliance.config import load_config\n"
        "from appliance.installation import open_hsm\n"
        f"hsm = open_hsm(load_config(Path({str(folder / 'appliance.toml')!r})))\n"
        "print(len(hsm.mac(b'x', label='nothing')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=trap,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "found 0" in done.stderr, done.stderr  # the worker ran, and said so
    assert not (trap / "sprung").exists()


# --- PIN ---------------------------------------------------------------------------


def test_a_wrong_pin_is_tried_once_and_bars_every_login(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logins are counted by workers: one login is the first thing each does."""
    (folder / "pin").write_text("wrong-pin")
    config = load_config(folder / "appliance.toml")
    hsm = open_hsm(config)
    started = []
    start = Hsm._start
    monkeypatch.setattr(Hsm, "_start", lambda self: started.append(1) or start(self))
    worker = subprocess.Popen
    workers: list[subprocess.Popen[bytes]] = []

    def counted(*arguments: object, **keywords: object) -> subprocess.Popen[bytes]:
        workers.append(worker(*arguments, **keywords))
        return workers[-1]

    monkeypatch.setattr("appliance.hsm.subprocess.Popen", counted)
    for _ in range(5):
        with pytest.raises(PinRefusedError):
            hsm.mac(b"x", label="any")
    assert len(workers) == 1
    assert len(started) == 5
    hsm.close()
    latch = folder / "state" / "pin.latch"
    assert latch.read_text() == "PinIncorrect\n"
    assert (folder / "pin.latch").read_text() == "PinIncorrect\n"  # for `probe`
    again = open_hsm(config)
    with pytest.raises(PinRefusedError, match="clear-pin"):
        again.mac(b"x", label="any")
    again.close()
    assert len(workers) == 1


def test_a_pin_latch_that_can_not_be_written_still_bars_the_second_login(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pin").write_text("wrong-pin")
    hsm = open_hsm(load_config(folder / "appliance.toml"))
    (folder / "state").rename(folder / "away")
    workers = []
    worker = subprocess.Popen

    def counted(*arguments: object, **keywords: object) -> subprocess.Popen[bytes]:
        workers.append(1)
        return worker(*arguments, **keywords)

    monkeypatch.setattr("appliance.hsm.subprocess.Popen", counted)
    for _ in range(3):
        with pytest.raises(PinRefusedError):
            hsm.mac(b"x", label="any")
    assert len(workers) == 1
    hsm.close()


async def test_a_wrong_pin_leaves_the_appliance_unready_and_says_what_to_do(
    folder: Path,
) -> None:
    (folder / "pin").write_text("wrong-pin")
    box = Box(folder)
    for _ in range(3):
        assert not await box.appliance.check()
    status = await box.status()
    assert status.state == "unready"
    assert "clear-pin" in status.reason
    await box.close()
    done = await asyncio.to_thread(command, folder, "clear-pin", answer="y\n")
    assert "cleared" in done.stdout
    assert not (folder / "state" / "pin.latch").exists()


def test_a_pin_that_is_no_text_is_refused_without_showing_it(folder: Path) -> None:
    (folder / "pin").write_bytes(b"\xff\xfe\xfd\xfc")
    hsm = open_hsm(load_config(folder / "appliance.toml"))
    with pytest.raises(HsmError) as error:
        hsm.mac(b"x", label="any")
    assert "UTF-8" in str(error.value)
    assert "0xff" not in str(error.value)
    hsm.close()


# --- the worker ----------------------------------------------------------------------


async def test_a_killed_worker_is_replaced_and_the_request_succeeds(box: Box) -> None:
    hsm = box.appliance.life.hsm
    coin = await box.coin()
    for _ in range(3):
        worker = hsm.worker_pid
        assert worker
        os.kill(worker, signal.SIGKILL)
        request = IssueAddress(request_id="i", seed_uuid=new_uuid())
        await box.expect(request, Issued)
        assert hsm.worker_pid != worker
    await box.expect(bundle([coin]), Signed)
    assert hsm.restarts == 3


async def test_a_worker_killed_in_the_middle_of_use_does_no_harm(box: Box) -> None:
    """A request that met two kills is a fault, and is asked for again."""
    hsm = box.appliance.life.hsm

    async def issue() -> str:
        request = IssueAddress(request_id="i", seed_uuid=new_uuid())
        while isinstance(reply := await box.ask(request), Fault):
            assert (reply.code, reply.retry) == ("hsm", True), reply
        assert isinstance(reply, Issued), reply
        return reply.address

    work = [asyncio.create_task(issue()) for _ in range(12)]
    for _ in range(60):
        await asyncio.sleep(0.01)
        worker = hsm.worker_pid
        with contextlib.suppress(ProcessLookupError):  # it was reaped just now
            if worker:
                os.kill(worker, signal.SIGKILL)
    assert hsm.restarts
    assert len(set(await asyncio.gather(*work))) == 12


async def test_a_request_that_met_two_kills_is_a_fault_and_succeeds_when_asked_again(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Hsm._start
    starts = []

    def start_and_die(self: Hsm) -> object:
        worker = start(self)
        starts.append(worker)
        worker._process.kill()
        worker._process.wait()
        return worker

    await asyncio.to_thread(box.appliance.life.hsm.disconnect)
    request = IssueAddress(request_id="i", seed_uuid=new_uuid())
    with monkeypatch.context() as patch:
        patch.setattr(Hsm, "_start", start_and_die)
        reply = await box.expect(request, Fault)
    assert (reply.code, reply.retry) == ("hsm", True)
    assert len(starts) == 2
    await box.expect(request, Issued)


def test_a_token_that_was_closed_is_a_fault_and_never_logs_in_again(hsm: Hsm) -> None:
    hsm.close()
    with pytest.raises(HsmError, match="closed"):
        hsm.mac(b"x", label="any")
    assert hsm.worker_pid is None


async def test_a_hung_worker_is_replaced_at_its_deadline(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    configure("hsm", "call_timeout_s = 0.5")
    box = Box(folder)
    await box.appliance.check()
    worker = box.appliance.life.hsm.worker_pid
    assert worker
    os.kill(worker, signal.SIGSTOP)
    start_s = time.monotonic()
    await box.coin()
    assert 0.4 < time.monotonic() - start_s < 5
    assert box.appliance.life.hsm.worker_pid != worker
    await box.close()


async def test_hanging_for_good_is_a_fault_and_mends_itself(
    folder: Path,
    configure: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure("hsm", "call_timeout_s = 0.3")
    box = Box(folder)
    await box.appliance.check()
    start = Hsm._start

    def start_and_hang(self: Hsm) -> object:
        worker = start(self)
        os.kill(worker.pid, signal.SIGSTOP)
        return worker

    os.kill(box.appliance.life.hsm.worker_pid or 0, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(Hsm, "_start", start_and_hang)
        request = IssueAddress(request_id="i", seed_uuid=new_uuid())
        reply = await box.expect(request, Fault)
    assert reply.code == "hsm"
    assert reply.retry
    await box.expect(request, Issued)
    await box.close()


def test_an_answer_of_the_wrong_size_ends_the_worker(hsm: Hsm) -> None:
    label = "saltkeep-kek-0001"
    small = bytearray(5)
    with pytest.raises(HsmError):
        hsm._call({"op": "random", "bytes": 64}, into=memoryview(small))
    assert hsm.worker_pid is None
    with pytest.raises(HsmError, match="found 0"):  # in step again
        hsm.mac(b"x", label=label)


def test_the_worker_dies_with_its_parent(process: ApplianceProcess) -> None:
    process.start()
    assert process.process
    pid = process.process.pid
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [c for t in threads for c in (t / "children").read_text().split()]
    assert len(children) == 1
    process.kill()
    for _ in range(100):
        if not Path(f"/proc/{children[0]}").exists():
            return
        time.sleep(0.02)
    raise AssertionError("the worker is still there")


# --- keys and vault ------------------------------------------------------------------


def test_the_vault_opens_and_gives_the_salt_only_in_locked_memory(
    folder: Path, hsm: Hsm
) -> None:
    vault = vault_of(folder, hsm)
    with vault.open_salt(1) as salt:
        assert salt.size == vault.issuing.salt_bytes == 32
        assert any(salt.view)
    with pytest.raises(VaultError, match="no generation 2"):
        vault.open_salt(2)


def test_an_extractable_key_is_refused(folder: Path, hsm: Hsm) -> None:
    vault = json.loads((folder / "state" / "vault.json").read_text())
    assert vault["mac"]
    script = (
        "import sys, pkcs11; from pkcs11 import *;"
        "token = pkcs11.lib(sys.argv[1]).get_token(token_label='saltkeep');"
        "s = token.open(rw=True, user_pin=sys.stdin.read());"
        "a = Attribute;"
        "s.generate_key(KeyType.AES, 256, store=True, label='weak',"
        " template={a.EXTRACTABLE: True, a.SENSITIVE: True, a.PRIVATE: True})"
    )
    access = token_access(load_config(folder / "appliance.toml"))
    subprocess.run(
        [sys.executable, "-c", script, access.module],
        env=os.environ | access.environment,
        input=(folder / "pin").read_text(),
        text=True,
        check=True,
    )
    with pytest.raises(HsmError, match="EXTRACTABLE"):
        hsm.require_safe_key(label="weak")


def test_no_byte_of_the_vault_is_free(folder: Path, hsm: Hsm) -> None:
    path = folder / "state" / "vault.json"
    content = path.read_bytes()
    positions = {*range(0, len(content), 29), *range(len(content) - 90, len(content))}
    for position in sorted(positions):
        for bit in (0x01, 0x20):  # 0x20 is the case of a letter
            damaged = bytearray(content)
            damaged[position] ^= bit
            path.write_bytes(damaged)
            with pytest.raises((VaultError, HsmError)):
                vault_of(folder, hsm)
    path.write_bytes(content + b"\n")
    with pytest.raises(VaultError):
        vault_of(folder, hsm)
    path.write_bytes(content)
    vault_of(folder, hsm).check_health()


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff", b"[1]"])
def test_a_file_that_is_no_vault_is_refused(
    folder: Path, hsm: Hsm, content: bytes | None
) -> None:
    path = folder / "state" / "vault.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VaultError):
        vault_of(folder, hsm)


def test_a_vault_of_another_token_is_refused(folder: Path, tmp_path: Path) -> None:
    other = make_appliance(tmp_path / "other").folder
    shutil.copy(other / "state" / "vault.json", folder / "state" / "vault.json")
    hsm = open_hsm(load_config(folder / "appliance.toml"))
    with pytest.raises(ApplianceError):
        vault_of(folder, hsm)
    hsm.close()


async def test_a_vault_with_the_journal_of_another_is_sealed(
    folder: Path, tmp_path: Path
) -> None:
    other = make_appliance(tmp_path / "other").folder
    shutil.copy(other / "state" / "journal.db", folder / "state" / "journal.db")
    box = Box(folder)
    assert not await box.appliance.check()
    assert (await box.status()).state == "sealed"
    await box.close()


def test_init_never_runs_twice_over_an_appliance(folder: Path) -> None:
    policy = str(folder / "policy.toml")
    done = command(folder, "init", "--network", "devnet", "--policy", policy)
    assert done.returncode == 1
    assert "is initialised" in done.stderr
    assert command(folder, "init", "--network", "devnet").returncode == 2


def test_paths_and_profiles_are_strict(tmp_path: Path) -> None:
    assert load_profile("softhsm2").tier == "tested"
    with pytest.raises(ProfileError, match="known"):
        load_profile("../softhsm2")
    assert Paths(tmp_path).journal.parent == tmp_path


def test_nothing_shows_a_pin(folder: Path, hsm: Hsm) -> None:
    pin = (folder / "pin").read_text()
    access = token_access(load_config(folder / "appliance.toml"))
    with LockedBuffer(len(pin), allow_unlocked=True) as buffer:
        buffer.view[:] = pin.encode()
        shown = [repr(hsm), str(hsm), repr(Hsm(access, buffer)), repr(buffer)]
    assert isinstance(access, TokenAccess)
    assert not [text for text in shown if pin in text]
