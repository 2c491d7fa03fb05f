# SPDX-License-Identifier: Apache-2.0
"""The composition root: loops never end, and a bad start says why."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from hub.errors import HubError, InvariantError, NodeUnavailableError
from hub.service import one_round

FAILURES: list[Exception] = [
    NodeUnavailableError("away"),
    InvariantError("odd"),
    HubError("hub"),
    KeyError("a defect"),
    RecursionError(),
    OSError("disk"),
]


async def test_w10_no_failure_of_a_tick_ends_its_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for failure in FAILURES:

        async def tick(failure: Exception = failure) -> None:
            raise failure

        await one_round("flow", tick, interval_s=0.001)
    assert len(caplog.records) == len(FAILURES)
    levels = {record.levelno for record in caplog.records}
    assert levels == {logging.WARNING, logging.ERROR, logging.CRITICAL}


async def test_a_failure_on_the_way_out_does_not_keep_a_flow_running() -> None:
    began = asyncio.Event()

    async def tick() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("no active connection") from None

    task = asyncio.create_task(one_round("flow", tick, interval_s=0.001))
    await began.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def hub(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hub", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_configuration_the_program_says_what_it_needs() -> None:
    done = hub("serve")
    assert done.returncode == 2
    assert "--config" in done.stderr


def test_a_bad_configuration_is_one_line_and_exit_1(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text("[hub]\nunknown = 1\n")
    done = hub("--config", str(path), "serve")
    assert done.returncode == 1
    assert done.stderr.startswith("config-invalid: ")
    assert "Traceback" not in done.stderr


def test_the_reference_lists_every_section() -> None:
    done = hub("config-reference")
    assert done.returncode == 0
    for section in ("hub", "appliance", "nodes", "deposits", "sweeps", "attachments"):
        assert f"`[{section}]`" in done.stdout
