# SPDX-License-Identifier: Apache-2.0
"""Appliance, devnet and hub as three processes, each with its own configuration."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_POLL_S = 0.1
_MARK = ".saltkeep-demo"
NETWORK = "devnet"
MIN_WEIGHT_MAGNITUDE = 9


class DemoError(Exception):
    """Something did not come up; the message says where its log lies."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the three listen on 127.0.0.1; the hub twice."""

    appliance: int
    devnet: int
    hub: int
    dashboard: int

    @staticmethod
    def choose() -> "Ports":
        """Return the usual ports, or free ones where those are taken."""
        return Ports(*(_usual_or_free(port) for port in (9443, 14265, 8888, 8080)))


class Processes:
    """The three processes of a demonstration.

    Args:
        folder: Where all their files go; emptied first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        stop_earlier(folder)
        _empty(folder)
        self.ports = Ports.choose()
        self._running: dict[str, subprocess.Popen[str]] = {}

    @property
    def appliance_config(self) -> Path:
        """The appliance's configuration."""
        return self.folder / "appliance" / "appliance.toml"

    @property
    def hub_config(self) -> Path:
        """The hub's configuration."""
        return self.folder / "hub.toml"

    @property
    def node_url(self) -> str:
        """Where the devnet node answers."""
        return f"http://127.0.0.1:{self.ports.devnet}"

    @property
    def hub_url(self) -> str:
        """Where the hub's legacy REST API answers."""
        return f"http://127.0.0.1:{self.ports.hub}"

    @property
    def dashboard_url(self) -> str:
        """Where the hub's dashboard is."""
        return f"http://127.0.0.1:{self.ports.dashboard}/"

    def make_appliance(self) -> dict[str, str]:
        """Run the appliance's ceremony.

        Returns:
            What it prints.

        Raises:
            DemoError: If it fails.
        """
        done = subprocess.run(
            [
                *_python("appliance"),
                "--json",
                "init",
                "--softhsm",
                str(self.folder / "appliance"),
                "--network",
                NETWORK,
                "--listen-port",
                str(self.ports.appliance),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise DemoError(f"init failed: {done.stdout}{done.stderr}")
        made: dict[str, str] = json.loads(done.stdout)
        return made

    def start_appliance(self) -> None:
        """Start the appliance; it is ready when its status says so."""
        config = str(self.appliance_config)
        self._start("appliance", [*_python("appliance"), "--config", config, "serve"])
        self._wait("appliance", self._appliance_ready)

    def start_devnet(self, genesis_address: str) -> None:
        """Start the devnet with all funds on one address."""
        command = [*_python("hub.devnet"), "--listen"]
        command += [f"127.0.0.1:{self.ports.devnet}", "--tick-s", "1"]
        command += ["--mwm", str(MIN_WEIGHT_MAGNITUDE)]
        command += ["--state", str(self.folder / "devnet.db")]
        command += ["--genesis-address", genesis_address]
        self._start("devnet", command)
        self._wait("devnet", lambda: _answers(self.ports.devnet))

    def start_hub(self) -> None:
        """Write the hub's configuration and start it."""
        self.hub_config.write_text(self._hub_configuration())
        config = str(self.hub_config)
        self._start("hub", [*_python("hub"), "--config", config, "serve"])
        self._wait("hub", lambda: _answers(self.ports.hub))

    def appliance_command(self, *arguments: str, width: int = 110) -> str:
        """Run one command of the appliance's command line.

        Args:
            *arguments: The command and its arguments.
            width: Columns its tables may fill.

        Returns:
            Its output.
        """
        config = str(self.appliance_config)
        return _run_tool("appliance", "--config", config, *arguments, width=width)

    def hub_command(self, *arguments: str) -> str:
        """Run one command of the hub's command line; return its output."""
        return _run_tool("hub", "--config", str(self.hub_config), *arguments)

    def _remember(self) -> None:
        """Leave the process ids for the next demonstration to stop."""
        pids = [process.pid for process in self._running.values()]
        (self.folder / "pids.json").write_text(json.dumps(pids))

    def stop(self) -> None:
        """Stop hub, devnet and appliance, in this order."""
        for name in ("hub", "devnet", "appliance"):
            process = self._running.pop(name, None)
            if process is not None:
                process.terminate()
                try:
                    process.wait(_STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self._remember()

    def _start(self, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.log").open("w") as log:
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self._remember()

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        log = self.folder / f"{name}.log"
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._running[name].poll() is not None:
                raise DemoError(f"the {name} ended; its log:\n{log.read_text()}")
            if ready():
                return
            time.sleep(_POLL_S)
        raise DemoError(f"the {name} is not ready; its log:\n{log.read_text()}")

    def _appliance_ready(self) -> bool:
        if not _answers(self.ports.appliance):
            return False
        try:
            self.appliance_command("status")
        except DemoError:
            return False
        return True

    def _hub_configuration(self) -> str:
        box = self.folder / "appliance"
        pin = next(
            line.split('"')[1]
            for line in self.appliance_config.read_text().splitlines()
            if line.startswith("# server_spki_sha256")
        )
        return f"""\
# The hub of the demonstration. It holds no key: only the path to the appliance.
[hub]
database_url = "sqlite+aiosqlite:///{self.folder / "hub.db"}"
state_dir = "{self.folder}"
network = "{NETWORK}"

[api.legacy]
listen = "127.0.0.1:{self.ports.hub}"

[dashboard]
listen = "127.0.0.1:{self.ports.dashboard}"

[appliance]
url = "https://127.0.0.1:{self.ports.appliance}"
ca = "{box / "tls" / "ca.pem"}"
certificate = "{box / "tls" / "hub.pem"}"
key = "{box / "tls" / "hub.key"}"
server_spki_sha256 = "{pin}"
identity_key = "{box / "identity.pem"}"

[nodes]
quorum = 1

[[nodes.endpoints]]
url = "{self.node_url}"
dialect = "iri"

[deposits]
interval_s = 1.0

[sweeps]
interval_s = 1.0

[attachments]
interval_s = 1.0
min_weight_magnitude = {MIN_WEIGHT_MAGNITUDE}
"""


def _empty(folder: Path) -> None:
    """Make the folder anew, if it is an earlier demonstration's or none.

    Raises:
        DemoError: If something else lies there.
    """
    mark = folder / _MARK
    if folder.exists() and any(folder.iterdir()):
        if not mark.exists() and not (folder / "hub.toml").exists():
            raise DemoError(f"{folder} holds something that is not of a demonstration")
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark.write_text("made by `make demo`, emptied by the next one\n")


def stop_earlier(folder: Path) -> None:
    """Stop what an earlier demonstration left running."""
    try:
        pids = json.loads((folder / "pids.json").read_text())
    except (OSError, ValueError):
        return
    for pid in pids:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if str(folder).encode() in command:
                os.kill(pid, signal.SIGTERM)
        except OSError:
            continue
    deadline_s = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline_s and any(map(_lives, pids)):
        time.sleep(_POLL_S)


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _run_tool(module: str, *arguments: str, width: int = 110) -> str:
    """Run a command line to its end.

    Returns:
        Its output.

    Raises:
        DemoError: If it fails.
    """
    done = subprocess.run(
        [*_python(module), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": str(width)},
    )
    if done.returncode:
        raise DemoError(f"{module} {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _usual_or_free(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def node_command(url: str, command: str, **fields: object) -> dict[str, object]:
    """Send one command to the node; return its reply."""
    request = urllib.request.Request(  # noqa: S310 - our own loopback address
        url,
        data=json.dumps({"command": command, **fields}).encode(),
        headers={"X-IOTA-API-Version": "1", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_READY_TIMEOUT_S) as response:  # noqa: S310
        reply: dict[str, object] = json.loads(response.read())
        return reply
