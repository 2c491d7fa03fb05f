# SPDX-License-Identifier: Apache-2.0
"""Real tokens for the custody suite, made from nothing; no PIN in any argv."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from appliance.hsm import Hsm, TokenAccess, initialise_token
from appliance.installation import read_pin
from hsm_profiles import HsmProfile, load_profile

_START_S: Final = 10.0


@dataclass(frozen=True)
class Token:
    """One initialised token."""

    profile: HsmProfile
    label: str
    folder: Path
    environment: dict[str, str]

    @property
    def pin_file(self) -> Path:
        return self.folder / "pin"

    def table(self) -> str:
        """Its ``[hsm]`` table."""
        environment = ", ".join(
            f'{name} = "{value}"' for name, value in self.environment.items()
        )
        return (
            "[hsm]\n"
            f'profile = "{self.profile.id}"\n'
            f'token_label = "{self.label}"\n'
            f'pin_file = "{self.pin_file}"\n'
            f"environment = {{ {environment} }}\n"
        )

    def access(self) -> TokenAccess:
        return TokenAccess(
            profile=self.profile,
            module=self.profile.find_module(),
            token_label=self.label,
            environment=self.environment,
            call_timeout_s=10.0,
            pin_latch=self.folder / "pin.latch",
        )

    def open(self) -> Hsm:
        return Hsm(self.access(), read_pin(str(self.pin_file), allow_unlocked=True))


def _write_pin(folder: Path, size: int = 12) -> str:
    pin = secrets.token_hex(size)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pin").touch(mode=0o600)
    (folder / "pin").write_text(pin)
    return pin


def _initialise(token: Token) -> Token:
    pin = _write_pin(token.folder)
    officer = secrets.token_hex(12)
    initialise_token(
        token.access(),
        officer_pin=memoryview(officer.encode()),
        user_pin=memoryview(pin.encode()),
    )
    return token


class Maker(Protocol):
    """Makes tokens of one kind."""

    def make(self, folder: Path) -> Token: ...

    def scratch(self, folder: Path) -> Token: ...


class SoftHsmMaker:
    """Each token in a folder of its own."""

    profile: Final = "softhsm2"

    def __init__(self, _: ExitStack | None = None) -> None:
        """Need nothing."""

    def make(self, folder: Path) -> Token:
        (folder / "tokens").mkdir(parents=True)
        configuration = folder / "softhsm2.conf"
        configuration.write_text(
            f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n"
        )
        environment = {"SOFTHSM2_CONF": str(configuration)}
        label = f"scratch-{secrets.token_hex(4)}"
        return _initialise(
            Token(load_profile(self.profile), label, folder, environment)
        )

    scratch = make


@dataclass
class SoftTpm:
    """A TPM in software behind a resource manager on a bus of its own."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.folder / 'bus'}",
            "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
            "TPM2_PKCS11_STORE": str(self.folder / "store"),
            "TPM2_PKCS11_BACKEND": "esysdb",
            "TSS2_LOG": "all+NONE",
        }

    def start(self) -> None:
        sock = self.folder / "tpm"
        for name in ("state", "store"):
            (self.folder / name).mkdir(exist_ok=True)
        self._run(
            [
                *("swtpm", "socket", "--tpm2"),
                *("--tpmstate", f"dir={self.folder / 'state'}"),
                *("--server", f"type=unixio,path={sock}"),
                *("--ctrl", f"type=unixio,path={sock}.ctrl"),
                *("--flags", "not-need-init,startup-clear"),
            ],
            until=Path(f"{sock}.ctrl"),
        )
        bus = self.folder / "bus"
        self._run(
            ["dbus-daemon", "--session", "--nofork", f"--address=unix:path={bus}"],
            until=bus,
        )
        self._run(
            ["tpm2-abrmd", "--session", "--allow-root", f"--tcti=swtpm:path={sock}"]
        )

    def _run(self, command: list[str], until: Path | None = None) -> None:
        # Debian's path of ordinary users lacks what the resource manager lies in.
        path = f"{os.environ['PATH']}:/usr/sbin"
        environment = os.environ | self.environment | {"PATH": path}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self.processes.append(process)
        deadline_s = time.monotonic() + _START_S
        while until is not None and not until.exists():
            assert process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline_s, command
            time.sleep(0.02)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.processes.clear()


class TpmMaker:
    """Tokens of one software TPM; a scratch one has a TPM to itself."""

    profile: Final = "tpm2-pkcs11"

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._shared: SoftTpm | None = None

    def _start(self) -> SoftTpm:
        # A short path: a socket's has at most 108 bytes.
        tpm = SoftTpm(Path(tempfile.mkdtemp(prefix="tpm")))
        self._stack.callback(shutil.rmtree, tpm.folder)
        self._stack.callback(tpm.stop)
        tpm.start()
        return tpm

    def make(self, folder: Path) -> Token:
        self._shared = self._shared or self._start()
        return self._make(folder, self._shared)

    def scratch(self, folder: Path) -> Token:
        return self._make(folder, self._start())

    def _make(self, folder: Path, tpm: SoftTpm) -> Token:
        label = f"scratch-{secrets.token_hex(4)}"
        token = Token(load_profile(self.profile), label, folder, tpm.environment)
        deadline_s = time.monotonic() + _START_S
        while True:
            try:
                return _initialise(token)
            except Exception:  # the resource manager is not on its bus yet
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)


_FACTORY_PIN: Final = "87654321"  # of every new openCryptoki token
_INITIALISE: Final = r"""
import ctypes, json, sys
from appliance.token_init import _Module

def buffer(text):
    data = text.encode()
    return ctypes.create_string_buffer(data, len(data))

module_path, slot, label, first, officer, user = json.load(sys.stdin)
module = _Module(module_path, "null")
first, officer, user = map(buffer, (first, officer, user))
session = ctypes.c_ulong()
module.call(9, slot, first, len(first), buffer(label.ljust(32)))  # C_InitToken
module.call(12, slot, 6, None, None, session)  # C_OpenSession
module.call(18, session.value, 0, first, len(first))  # C_Login
module.call(11, session.value, first, len(first), officer, len(officer))  # C_SetPIN
module.call(10, session.value, first, len(first))  # C_InitPIN
module.call(19, session.value)  # C_Logout
module.call(18, session.value, 1, first, len(first))
module.call(11, session.value, first, len(first), user, len(user))
"""


class OpenCryptokiMaker:
    """The soft tokens of ``scripts/with-opencryptoki``, one after the other."""

    profile: Final = "opencryptoki"

    def __init__(self, _: ExitStack) -> None:
        self._slot = 0

    def make(self, folder: Path) -> Token:
        label = f"scratch-{secrets.token_hex(4)}"
        token = Token(load_profile(self.profile), label, folder, {})
        pin = _write_pin(folder, size=4)
        pins = [_FACTORY_PIN, secrets.token_hex(4), pin]
        subprocess.run(
            [sys.executable, "-c", _INITIALISE],
            input=json.dumps([token.profile.find_module(), self._slot, label, *pins]),
            check=True,
            text=True,
        )
        self._slot += 1
        return token

    scratch = make


_MAKE_DATABASE: Final = r"""
import ctypes, json, sys
from appliance.token_init import _Module

module_path, pin = json.load(sys.stdin)
module = _Module(module_path, "nss")
session = ctypes.c_ulong()
module.call(12, 2, 6, None, None, session)  # C_OpenSession, of the database's slot
module.call(18, session.value, 0, ctypes.create_string_buffer(1), 0)  # C_Login
data = pin.encode()
buffer = ctypes.create_string_buffer(data, len(data))
module.call(10, session.value, buffer, len(data))  # C_InitPIN
"""


def make_nss_token(folder: Path) -> Token:
    """Make a database of NSS, whose keys can be got out."""
    database = folder / "database"
    database.mkdir(parents=True)
    parameters = (
        f"configdir='sql:{database}' certPrefix='' keyPrefix='' secmod='secmod.db'"
        " flags= "
    )
    environment = {"SALTKEEP_MODULE_PARAMETERS": parameters}
    token = Token(
        load_profile("nss-softokn"), "NSS Certificate DB", folder, environment
    )
    pin = _write_pin(folder)
    subprocess.run(
        [sys.executable, "-c", _MAKE_DATABASE],
        input=json.dumps([token.profile.find_module(), pin]),
        env=os.environ | environment,
        check=True,
        text=True,
    )
    return token


MAKERS: Final = {
    maker.profile: maker for maker in (SoftHsmMaker, TpmMaker, OpenCryptokiMaker)
}
