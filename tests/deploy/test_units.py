# SPDX-License-Identifier: Apache-2.0
"""The units' sandbox, judged by systemd, and the programs inside the part of it that
can be had without systemd: no memory that is writable and executable at once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.pytest_plugin import CHEAP_ARGON2, make_appliance

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
MOST_EXPOSED = {"saltkeep-appliance.service": 1.5, "saltkeep-hub.service": 1.5}
_PR_SET_MDWE = 65
_PR_MDWE_REFUSE_EXEC_GAIN = 1
_EINVAL = 22


@pytest.mark.parametrize("name", MOST_EXPOSED)
def test_a_unit_is_hardly_exposed(name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / name],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= MOST_EXPOSED[name]


DENY = f"""
import ctypes, sys
library = ctypes.CDLL(None, use_errno=True)
if library.prctl({_PR_SET_MDWE}, {_PR_MDWE_REFUSE_EXEC_GAIN}, 0, 0, 0) != 0:
    sys.exit(ctypes.get_errno())
"""
"""As MemoryDenyWriteExecute= of a unit, for the rest of a program."""


def denied(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script where no memory may be writable and executable."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DENY + script],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def denies() -> None:
    code = denied("").returncode
    if code == _EINVAL:
        pytest.skip("this kernel is older than 6.3 and can not deny it by itself")
    assert code == 0


@pytest.mark.usefixtures("denies")
def test_the_appliance_issues_without_memory_that_is_writable_and_executable(
    tmp_path: Path,
) -> None:
    box = make_appliance(tmp_path / "box", CHEAP_ARGON2)
    done = denied(f"""
import asyncio
from pathlib import Path
from tests.appliance.box import Box
async def issue():
    box = Box(Path({str(box.folder)!r}))
    assert await box.appliance.check(), box.appliance.life.unready
    await box.coin()
    await box.close()
asyncio.run(issue())
""")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("denies")
def test_python_s_own_callbacks_are_what_would_not_work() -> None:
    """Otherwise the test above would say nothing."""
    script = "import cffi; cffi.FFI().callback('int(int)', lambda one: one)"
    assert "MemoryError" in denied(script).stderr


@pytest.mark.usefixtures("denies")
def test_the_hub_s_modules_load_in_the_same_way() -> None:
    done = denied(
        "import hub.service, hub.api.grpc_server, iota, firmware_bridge.panel"
    )
    assert done.returncode == 0, done.stderr
