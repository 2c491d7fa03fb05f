# SPDX-License-Identifier: Apache-2.0
"""The hub's real program in a process that can be frozen and killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

_PATIENCE_S = 30.0
_POLL_S = 0.02


async def wait_until(done: Callable[[], bool]) -> None:
    """Look again and again; other processes send no events."""
    while not done():
        await asyncio.sleep(_POLL_S)


class LegacyError(Exception):
    """The hub answered with an ``error``."""


class HubProcess:
    """``python -m hub serve``, started as often as a test kills it."""

    def __init__(self, table: dict[str, Any], folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "hub.toml"
        self.configuration.write_text(_toml(table))
        self.url = ""
        self._frozen = folder / "frozen"
        self._process: subprocess.Popen[str] | None = None

    def start(self, failpoint: str = "", *, arguments: Sequence[str] = ()) -> None:
        environment = dict(os.environ)
        self._frozen.unlink(missing_ok=True)
        if failpoint:
            environment["SALTKEEP_FAILPOINT"] = failpoint
            environment["SALTKEEP_FAILPOINT_FILE"] = str(self._frozen)
        command = [sys.executable, "-m", "hub", "--config", str(self.configuration)]
        with (self.folder / "hub.log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, "serve", *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "ready on" in line, self.log()
        self.url = line.split()[-1]

    async def frozen(self) -> None:
        """Wait until the failpoint has stopped the process."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while not self._frozen.exists() or not self._frozen.read_text():
            assert time.monotonic() < deadline_s, self.log()
            assert self._process is not None
            assert self._process.poll() is None, self.log()
            await asyncio.sleep(_POLL_S)

    def pause(self) -> None:
        """Stop it from outside, wherever it is, as a frozen machine would."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, also from a failpoint."""
        self._frozen.unlink(missing_ok=True)
        self._signal(signal.SIGCONT)

    def _signal(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        try:
            code = process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()  # or the next test would be blamed for it
            process.communicate()
            raise
        assert process.stdout is not None
        process.stdout.close()
        return code

    def audit(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hub", "--config", str(self.configuration)]
        return subprocess.run(
            [*command, "audit"], capture_output=True, text=True, check=False
        )

    async def ask(self, command: str, **fields: object) -> dict[str, Any]:
        """Send one legacy command."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url, json={"command": command, **fields}) as response,
        ):
            reply: dict[str, Any] = json.loads(await response.read())
        if "error" in reply:
            raise LegacyError(reply["error"])
        return reply

    def log(self) -> str:
        return (self.folder / "hub.log").read_text()[-20_000:]


def _toml(table: dict[str, Any]) -> str:
    lines: list[str] = []
    for section, values in table.items():
        if section == "api":
            for name, pairs in values.items():
                lines += [f"[api.{name}]", *_pairs(pairs)]
            continue
        lines += [f"[{section}]", *_pairs(values)]
        for entry in values.get("endpoints", []):
            lines += [f"[[{section}.endpoints]]", *_pairs(entry)]
    return "\n".join(lines) + "\n"


def _pairs(values: dict[str, Any]) -> list[str]:
    return [
        f"{name} = {json.dumps(value)}"
        for name, value in values.items()
        if name != "endpoints"
    ]
