# SPDX-License-Identifier: Apache-2.0
"""The ceremony of recover-funds.md, by its commands, against a real process."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import msgspec

from appliance.pytest_plugin import ApplianceProcess
from appliance.wire import (
    Done,
    Fetched,
    IssueAddress,
    Issued,
    MineBundle,
    MiningReport,
    SecondSignature,
    Signed,
)
from tests.appliance.bundles import Coin, bundle, new_address, new_uuid
from tests.appliance.door import OPEN, next_policy
from trinary.winternitz import verify


async def prepared(process: ApplianceProcess) -> Coin:
    """Open the door; return a coin whose key has signed."""
    async with process.client("hub") as hub, process.client("operator-1") as operator:
        uuid = new_uuid()
        issue = IssueAddress(request_id="i", seed_uuid=uuid)
        coin = Coin(uuid, (await hub.expect(issue, Issued)).address)
        await hub.expect(bundle([coin]), Signed)
        await operator.expect(next_policy(process.folder, 2, OPEN), Done)
    return coin


def run(process: ApplianceProcess, *words: str) -> subprocess.CompletedProcess[str]:
    port = process.url.rsplit(":", 1)[1]
    options = ["--config", str(process.config_path), "--port", port]
    return subprocess.run(
        [sys.executable, "-m", "appliance", *options, *words],
        capture_output=True,
        check=False,
        text=True,
    )


def done(process: ApplianceProcess, *words: str) -> str:
    found = run(process, *words)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_late_value_is_recovered_by_the_commands(
    process: ApplianceProcess, tmp_path: Path
) -> None:
    process.start()
    coin = asyncio.run(prepared(process))
    receiver = new_address()
    draft, out = tmp_path / "late.json", tmp_path / "signed.json"
    words = ["recover", "draft", coin.address, "250", "--to", receiver]
    done(process, *words, "--out", str(draft))
    assert run(process, *words, "--out", str(draft)).returncode == 1  # never over it
    before = msgspec.json.decode(draft.read_bytes(), type=SecondSignature)
    assert before.inputs[0].seed_uuid == coin.seed_uuid
    told = done(process, "recover", "mine", str(draft), "--tries", "200000")
    assert "200000 tags tried" in told
    mined = msgspec.json.decode(draft.read_bytes(), type=SecondSignature)
    assert mined.bundle_hash != before.bundle_hash
    assert mined.transactions[1:] == before.transactions[1:]
    told = done(process, "recover", "propose", str(draft))
    assert receiver in told
    act_id = told.split("approve ")[1].split(" ")[0]
    for number in (1, 2):
        key = process.folder / "operators" / f"operator-{number}.key"
        told = done(process, "approve", act_id, "--key", str(key), "--yes")
    assert f"fetch bundle {mined.bundle_hash}" in told
    done(process, "recover", "fetch", mined.bundle_hash, "--out", str(out))
    fetched = msgspec.json.decode(out.read_bytes(), type=Fetched)
    assert verify(
        address=coin.address,
        fragments=fetched.signatures[0].fragments,
        bundle_hash=mined.bundle_hash,
    )
    assert "rows verified" in done(process, "journal", "verify")
    assert "recover-funds" in done(process, "journal", "tail")


def test_a_search_is_looked_at_and_cancelled_by_its_job(
    process: ApplianceProcess, tmp_path: Path
) -> None:
    process.start()
    coin = asyncio.run(prepared(process))
    request = bundle([coin])

    async def begin() -> str:
        ask = MineBundle(
            request_id="m",
            transactions=request.transactions,
            inputs=request.inputs,
            tries=1_000_000_000,
        )
        async with process.client("operator-1") as operator:
            return (await operator.expect(ask, MiningReport)).job

    job = asyncio.run(begin())
    assert json.loads(done(process, "recover", "status", job))["state"] == "running"
    draft = tmp_path / "late.json"
    words = ["recover", "draft", coin.address, "5", "--to", new_address()]
    done(process, *words, "--out", str(draft))
    busy = run(process, "recover", "mine", str(draft), "--tries", "10")
    assert busy.returncode == 1
    assert job in busy.stderr  # whoever must can end it
    assert json.loads(done(process, "recover", "cancel", job))["state"] == "cancelled"


def test_what_can_not_be_drafted_is_said(
    process: ApplianceProcess, tmp_path: Path
) -> None:
    process.start()
    asyncio.run(prepared(process))
    out = str(tmp_path / "late.json")
    words = ["recover", "draft", new_address(), "5", "--to", new_address()]
    foreign = run(process, *words, "--out", out)
    assert "was not issued here" in foreign.stderr
    (tmp_path / "no.json").write_text("{}")
    none = run(process, "recover", "propose", str(tmp_path / "no.json"))
    assert "is no draft" in none.stderr
