# SPDX-License-Identifier: Apache-2.0
"""A ready appliance for tests, as a pytest fixture.

``saltkeep_appliance`` is a real ``saltkeep-appliance`` process on a SoftHSM2 token
in a temporary folder, with cheap Argon2 parameters. It needs the package
``softhsm2`` and fails where that is missing; it skips nothing. Heavy modules are
imported when the fixture is used, not when pytest starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from appliance.client import ApplianceClient

CHEAP_ARGON2: Final = ("--argon2-memory-kib", "256", "--argon2-time", "1")
_START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 15.0
_POLL_S: Final = 0.02
_LISTENING: Final = "appliance listening on "


@dataclass(slots=True)
class ApplianceProcess:
    """A ``saltkeep-appliance`` in a folder, running or not.

    Attributes:
        folder: Everything it has; made by ``init --softhsm``.
        environment: Extra environment variables of the process.
        url: ``https://127.0.0.1:port`` while it runs.
        process: The process, while it runs.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def config_path(self) -> Path:
        """Its ``appliance.toml``."""
        return self.folder / "appliance.toml"

    @property
    def log_path(self) -> Path:
        """What it printed since the last start."""
        return self.folder / "serve.log"

    def start(self, *, until: str = " ready journal=") -> None:
        """Start it.

        Args:
            until: Text in its log to wait for.
        """
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [*_command(), "--config", str(self.config_path), "serve"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**_environment(), **self.environment},
            )
        self.wait_for(until)
        lines = self.log_path.read_text().splitlines()
        starts = [line for line in lines if line.startswith(_LISTENING)]
        self.url = starts[0].removeprefix(_LISTENING) if starts else ""

    def wait_for(self, text: str) -> None:
        """Wait until its log holds a text.

        Args:
            text: What to wait for.

        Raises:
            RuntimeError: If the process ends or half a minute passes before.
        """
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while text not in self.log_path.read_text():
            ended = self.process is None or self.process.poll() is not None
            if ended or time.monotonic() > deadline_s:
                log = self.log_path.read_text()
                raise RuntimeError(f"the appliance did not say {text!r}:\n{log}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop it as an administrator would, and wait for it to end."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(_STOP_TIMEOUT_S)
            self.process = None

    def kill(self) -> None:
        """Kill it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(_STOP_TIMEOUT_S)
            self.process = None

    def client(self, name: str) -> ApplianceClient:
        """Return a client; use it with ``async with``.

        Args:
            name: ``hub``, ``operator-1``, ``operator-2`` or ``auditor``.

        Returns:
            A client that holds that certificate.
        """
        from appliance.client import (  # noqa: PLC0415 - heavy
            ApplianceClient,
            endpoint_of,
        )

        port = int(self.url.rsplit(":", 1)[1])
        return ApplianceClient(endpoint_of(self.config_path, name=name, port=port))


def make_appliance(
    folder: Path, options: Sequence[str] = CHEAP_ARGON2
) -> ApplianceProcess:
    """Make an appliance on SoftHSM2; it is not started.

    Args:
        folder: Missing or empty.
        options: Further options of ``saltkeep-appliance init``.

    Returns:
        The appliance.

    Raises:
        RuntimeError: If ``init`` fails, for instance without softhsm2.
    """
    made = subprocess.run(  # noqa: S603 - our own module, no shell
        [
            *_command(),
            *("init", "--softhsm", str(folder), "--network", "devnet"),
            *("--listen-port", "0", *options),
        ],
        capture_output=True,
        check=False,
        text=True,
        env=_environment(),
    )
    if made.returncode:
        raise RuntimeError(
            "no appliance could be made; it needs softhsm2 (Debian: apt-get install"
            f" softhsm2):\n{made.stderr}"
        )
    return ApplianceProcess(folder)


def _command() -> list[str]:
    # -P: a package of the same name in the integrator's folder is not ours.
    return [sys.executable, "-P", "-m", "appliance"]


def _environment() -> dict[str, str]:
    """Return an environment in which our package comes from where it is."""
    given = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path]
    root = str(Path(__file__).resolve().parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join([*given, root])}


@pytest.fixture
def saltkeep_appliance(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ApplianceProcess]:
    """Yield a running appliance; it is stopped when the test ends."""
    appliance = make_appliance(tmp_path_factory.mktemp("appliance") / "box")
    appliance.start()
    try:
        yield appliance
    finally:
        appliance.stop()
