# SPDX-License-Identifier: Apache-2.0
"""A real MQTT broker on the loopback, started and stopped by a test."""

import socket
import subprocess
import time
from pathlib import Path

_START_TIMEOUT_S = 20.0
_PROGRAMS = ("/usr/sbin/mosquitto", "mosquitto")


class Broker:
    """Keeps its port when it is stopped, so that it can come back.

    Args:
        folder: For its configuration and log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = self._folder / "mosquitto.conf"
        # As root it would change to a user who may not read the folder.
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n"
        )
        program = _PROGRAMS[0] if Path(_PROGRAMS[0]).exists() else _PROGRAMS[1]
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-c", str(config)], stdout=log, stderr=log
            )
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline_s or self._process.poll() is not None:
                raise RuntimeError((self._folder / "mosquitto.log").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
