# SPDX-License-Identifier: Apache-2.0
"""A salt typed at a terminal: over a real pty, never shown."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appliance.pytest_plugin import CHEAP_ARGON2
from tests.appliance.box import Box

SALT = "abcdefghijklmnopqrstuvwxyz"


def typed(folder: Path, *lines: str) -> tuple[int, str]:
    """Run ``init`` on a terminal and type at its prompts; returns what it shows."""
    command = [sys.executable, "-m", "appliance", "--config"]
    command += [str(folder / "appliance.toml"), "init", "--network", "devnet"]
    command += ["--policy", str(folder / "policy.toml"), "--salt-from", "prompt"]
    command += [*CHEAP_ARGON2, "--level", "2"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, left = b"", list(lines)
    deadline_s = time.monotonic() + 40
    while time.monotonic() < deadline_s:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break
        if left and shown.decode().count("the salt") + len(left) > len(lines):
            time.sleep(0.3)  # the echo is off by now
            os.write(ours, left.pop(0).encode() + b"\n")
    os.close(ours)
    return process.wait(20), shown.decode()


@pytest.fixture
def unmade(folder: Path) -> Path:
    """A token and a configuration, and an empty state folder."""
    shutil.rmtree(folder / "state")
    for number in (1, 2):
        signature = folder / f"policy.toml.operator-{number}.sig"
        key = folder / "operators" / f"operator-{number}.key"
        subprocess.run(
            [
                *(sys.executable, "-m", "appliance", "policy", "sign"),
                *(str(folder / "policy.toml"), "--key", str(key)),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        assert signature.exists()
    return folder


async def test_a_salt_is_typed_twice_and_never_shown(unmade: Path) -> None:
    code, shown = typed(unmade, SALT, SALT)
    assert code == 0, shown
    assert SALT not in shown
    box = Box(unmade)
    assert await box.appliance.check(), box.appliance.life.unready
    vault = box.appliance.life.require_running().vault
    with vault.open_salt(1) as salt:
        assert bytes(salt.view) == SALT.encode()
    await box.close()


def test_two_lines_that_differ_make_nothing(unmade: Path) -> None:
    code, shown = typed(unmade, SALT, SALT[::-1])
    assert code == 1
    assert "differ; nothing was done" in shown
    assert not (unmade / "state" / "vault.json").exists()
    assert json.dumps(SALT) not in shown
