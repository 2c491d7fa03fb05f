# SPDX-License-Identifier: Apache-2.0
"""A policy that opens the dangerous doors, and bundles to pass them with."""

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from appliance.intent import computed_hash
from appliance.policy_file import policy_digest
from appliance.wire import (
    Act,
    Done,
    MineBundle,
    MiningReport,
    MiningStatus,
    SecondSignature,
    SetPolicy,
    Signed,
    SignTransfer,
)
from tests.appliance.box import Box, sign_with
from tests.appliance.bundles import Coin, bundle

ROOT = Path(__file__).parents[2]
OPEN = "[doors]\nsecond_signatures = true\nleast_bits = 70\n"
TRIES = 200_000


def next_policy(folder: Path, version: int, more: str) -> SetPolicy:
    """Return a next policy, signed by two operators; ``more`` are its last lines."""
    text = (folder / "policy.toml").read_text()
    text = text.replace("version = 1", f"version = {version}") + f"\n{more}"
    digest = policy_digest(text)
    names = ("operator-1", "operator-2")
    signatures = [sign_with(folder, name, digest) for name in names]
    return SetPolicy(request_id="p", text=text, signatures=signatures)


async def put_policy(box: Box, version: int, more: str) -> None:
    await box.expect(next_policy(box.folder, version, more), Done, name="operator-1")


def officer() -> tuple[X25519PrivateKey, str]:
    """Return an officer's key, and the lines of the policy that name it."""
    key = X25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    return key, f'[[officers]]\nname = "olga"\nkey = "{public}"\n'


async def spent_coin(box: Box) -> tuple[Coin, SignTransfer]:
    """Return a coin whose key has signed, and the bundle it signed."""
    coin = await box.coin()
    first = bundle([coin])
    await box.expect(first, Signed)
    return coin, first


async def mined(
    box: Box, request: SignTransfer, *, tries: int = TRIES, name: str = "hub"
) -> SignTransfer:
    """Have the appliance mine a bundle; return it with the best tag."""
    ask = MineBundle(
        request_id="m",
        transactions=request.transactions,
        inputs=request.inputs,
        own_outputs=request.own_outputs,
        tries=tries,
    )
    report = await box.expect(ask, MiningReport, name=name)
    while report.state == "running":
        await asyncio.sleep(0.02)
        status = MiningStatus(request_id="s", job=report.job)
        report = await box.expect(status, MiningReport, name=name)
    assert report.state == "done", report
    return with_tag(request, report.obsolete_tag)


def with_tag(request: SignTransfer, tag: str) -> SignTransfer:
    """Return a bundle with another counter in transaction 0."""
    first, *rest = request.transactions
    transactions = [msgspec.structs.replace(first, obsolete_tag=tag), *rest]
    return msgspec.structs.replace(
        request, transactions=transactions, bundle_hash=computed_hash(transactions)
    )


def second(
    request: SignTransfer, spent_inputs: Sequence[int] = (0,)
) -> SecondSignature:
    """Return the act that asks for a bundle's signatures through the door."""
    return SecondSignature(
        request_id="",
        purpose="recover-funds",
        transactions=request.transactions,
        bundle_hash=request.bundle_hash,
        inputs=request.inputs,
        spent_inputs=list(spent_inputs),
        own_outputs=request.own_outputs,
        authorisations=request.authorisations,
    )


_ONE_ACT = """\
import asyncio, sys
from pathlib import Path
import msgspec
from appliance.wire import Act
from tests.appliance.box import Box

async def main():
    box = Box(Path(sys.argv[1]))
    assert await box.appliance.check()
    box.appliance.life.running.heads.anchored = True
    act = msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=Act)
    proposed = await box.propose(act)
    await box.approve(proposed, 1)
    await box.approve(proposed, 2)

asyncio.run(main())
"""


def killed_at(folder: Path, act: Act, failpoint: str) -> None:
    """Have an act done in a process of its own; kill that at a failpoint."""
    marker, file = folder / "reached", folder / "act.json"
    file.write_bytes(msgspec.json.encode(act))
    variables = {
        "SALTKEEP_FAILPOINT": failpoint,
        "SALTKEEP_FAILPOINT_FILE": str(marker),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", _ONE_ACT, str(folder), str(file)]
    child = subprocess.Popen(command, env=os.environ | variables, cwd=ROOT)
    deadline_s = time.monotonic() + 60
    while not marker.exists() or not marker.read_text():
        assert child.poll() is None, "it ended before the failpoint"
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    os.kill(int(marker.read_text()), signal.SIGKILL)
    child.wait()


async def anchored(folder: Path) -> Box:
    """Return an appliance started again, its head vouched for."""
    box = Box(folder)
    assert await box.appliance.check(), box.appliance.life.unready
    box.appliance.life.require_running().heads.anchored = True
    return box
