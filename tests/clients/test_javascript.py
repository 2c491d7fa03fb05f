# SPDX-License-Identifier: Apache-2.0
"""An unmodified JavaScript client lives a whole story on each dialect.

`tests/clients/javascript/install` fetches the client the first time; without
node the tests fail, unless SALTKEEP_NO_NODE=1 says that this is meant.
"""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hub.devnet.process import ask, devnet_process

JAVASCRIPT = Path(__file__).parent / "javascript"
SUPPLY_I = 2_779_530_283_277_761

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("SALTKEEP_NO_NODE") == "1", reason="SALTKEEP_NO_NODE=1"
    ),
    pytest.mark.timeout(180),
]


@dataclass(frozen=True)
class Story:
    """What happened, as the client printed it."""

    dialect: str
    sent: dict[str, object]
    confirmed: dict[str, object]


@pytest.fixture(scope="module", autouse=True)
def client() -> None:
    assert shutil.which("node"), "node is missing; SALTKEEP_NO_NODE=1 skips this"
    assert shutil.which("npm"), "npm is missing; SALTKEEP_NO_NODE=1 skips this"
    with (Path(tempfile.gettempdir()) / "saltkeep-npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of pytest's workers at a time
        done = subprocess.run(
            [JAVASCRIPT / "install"], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=["iri", "hornet"])
def story(request: pytest.FixtureRequest) -> Iterator[Story]:
    genesis = tell("http://unused", "address")["genesis"]
    options = ["--genesis-address", genesis, "--dialect", request.param]
    with devnet_process(*options, "--tick-s", "0") as (_, url):
        sent = tell(url, "send")
        ask(url, {}, "/devnet/tick")
        argument = json.dumps({"tail": sent["tail"], "bundle": sent["bundle"]})
        yield Story(request.param, sent, tell(url, "confirm", argument))


def tell(url: str, *step: str) -> dict[str, object]:
    done = subprocess.run(
        ["node", JAVASCRIPT / "story.js", url, *step],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_client_reads_node_information(story: Story) -> None:
    assert story.sent["info"]["appName"] == story.dialect.upper()
    assert story.sent["info"]["latestMilestoneIndex"] == 1


def test_a_sent_transfer_is_pending_and_its_address_spent(story: Story) -> None:
    pending = story.sent["pending"]
    assert sorted(story.sent["values"]) == sorted(
        [1_000_000, -SUPPLY_I, 0, SUPPLY_I - 1_000_000]
    )
    assert pending["balances"] == [SUPPLY_I, 0, 0]
    assert pending["states"] == [False]
    assert pending["spent"] == [True, False, False]
    assert set(pending["hashes"]) == set(story.sent["hashes"])


def test_the_client_reattaches_and_promotes(story: Story) -> None:
    assert {tx["bundle"] for tx in story.sent["replayed"]} == {story.sent["bundle"]}
    assert not {tx["hash"] for tx in story.sent["replayed"]} & set(story.sent["hashes"])
    assert story.sent["promotable"] is True
    head_branch = story.sent["promotion"][0][-1]
    assert head_branch == story.sent["tail"]


def test_a_milestone_confirms_the_transfer_once(story: Story) -> None:
    assert story.confirmed["balances"] == [0, 1_000_000, SUPPLY_I - 1_000_000]
    assert story.confirmed["states"] == [True]
    assert story.confirmed["spent"] == [True, False, False]


def test_the_client_reads_the_bundle_back(story: Story) -> None:
    assert story.confirmed["values"] == story.sent["values"]
