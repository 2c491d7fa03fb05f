# SPDX-License-Identifier: Apache-2.0
"""The state file, and the program `python -m hub.devnet`."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hub.devnet.config import DevnetConfig, Dialect
from hub.devnet.embedded import running_devnet
from hub.devnet.errors import StateFileError
from tests.hub.devnet.process import ROOT, ask, devnet_process
from tests.hub.devnet.world import STRANGER, Wallet, funded, message, plain, put


async def test_a_network_is_the_same_after_a_restart(tmp_path: Path) -> None:
    wallet = Wallet()
    config = plain(Dialect.HORNET, state_path=tmp_path / "state.sqlite")
    async with running_devnet(config) as devnet:
        await funded(devnet, wallet)
        for receiver in (STRANGER, wallet.address(1)):
            await put(devnet, wallet.spend(amount_i=100, to={receiver: 100}))
        devnet.faults.set("conflicting-spend", value=True)
        await devnet.tick()
        (pending,) = await put(devnet, message())
        before = devnet.node
    async with running_devnet(config) as devnet:
        after = devnet.node
        assert after.balances == before.balances
        assert after.milestones == before.milestones
        assert after.confirmations == before.confirmations
        assert after.milestone_transactions == before.milestone_transactions
        assert list(after.tips) == list(before.tips) == [pending.hash]
        assert after.is_spent(wallet.address(), forget_confirmed=False)
        await devnet.deposit(STRANGER, 1)
        await devnet.tick()
        assert devnet.node.balances[STRANGER] == 1


async def test_a_state_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    async with running_devnet(plain(Dialect.IRI, state_path=path)):
        pass
    other = DevnetConfig(genesis_address=STRANGER, state_path=path)
    with pytest.raises(StateFileError):
        async with running_devnet(other):
            pass


def test_what_was_stored_survives_a_kill(tmp_path: Path) -> None:
    state = ["--state", str(tmp_path / "state.sqlite"), "--tick-s", "0"]
    with devnet_process(*state) as (process, url):
        payment = {"address": STRANGER, "amount_i": 7}
        ask(url, payment, "/devnet/late-deposit")
        tail = ask(url, payment, "/devnet/deposit")["tail"]
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    with devnet_process(*state) as (_, url):
        query = {"command": "getBalances", "addresses": [STRANGER]}
        assert ask(url, query)["balances"] == ["7"]
        assert ask(url, query)["milestoneIndex"] == 2
        (trytes,) = ask(url, {"command": "getTrytes", "hashes": [tail]})["trytes"]
        assert trytes != "9" * 2673
        ask(url, {}, "/devnet/tick")
        assert ask(url, query)["balances"] == ["14"]


def test_the_program_ticks_and_stops_on_a_signal() -> None:
    with devnet_process("--tick-s", "0.1", "--dialect", "hornet") as (process, url):
        index = 0
        while index < 3:
            info = ask(url, {"command": "getNodeInfo"})
            index = info["latestMilestoneIndex"]
        assert info["appName"] == "HORNET"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert process.stderr.read() == ""


def test_the_program_explains_a_wrong_option() -> None:
    command = [sys.executable, "-m", "hub.devnet", "--mwm", "99"]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ended.returncode == 1
    assert "min_weight_magnitude must be from 1 to 14" in ended.stderr
