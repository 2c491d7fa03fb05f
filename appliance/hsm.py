# SPDX-License-Identifier: Apache-2.0
"""The appliance's side of the HSM: a supervised worker process and its verbs.

One worker process owns the module (``appliance.hsm_worker``). Each call has a
deadline; a worker that hangs or dies is killed, started and logged in again and
the call is made once more; after that the fault is reported and the next call
starts over. A refused PIN is never tried again: it leaves a latch file that bars
every login until an operator removes it with ``saltkeep-appliance clear-pin``.

All calls block: run them in a thread, never on the event loop.
"""

import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.errors import HsmError, PinRefusedError
from hsm_profiles import HsmProfile
from trinary.memory import LockedBuffer

_log = logging.getLogger(__name__)
_INHERITED: Final = ("PATH", "LANG", "LD_PRELOAD", "ASAN_OPTIONS")
_START_TIMEOUT_S: Final = 30.0
_MAKE_TIMEOUT_S: Final = 120.0  # a TPM looks for RSA primes for half a minute
DATA_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A 32-byte data key as the HSM protects it.

    Attributes:
        kek_label: The key-encryption key.
        wrap: Mechanism, of ``hsm_profiles.WRAPS``.
        nonce: Nonce or IV, hex; empty for RSA.
        ciphertext: Hex.
    """

    kek_label: str
    wrap: str
    nonce: str
    ciphertext: str


@dataclass(frozen=True, slots=True)
class TokenAccess:
    """How to reach and open one token.

    Attributes:
        profile: What this kind of token can do.
        module: Path of the PKCS#11 module.
        token_label: Which token.
        environment: Extra environment variables of the worker.
        call_timeout_s: Deadline of one call, in seconds.
        pin_latch: File whose presence bars every login; written when the token
            refuses the PIN.
        other_latches: Further files of that kind.
        careful: Do not even log in where the token shows wrong PINs before.
    """

    profile: HsmProfile
    module: str
    token_label: str
    environment: dict[str, str]
    call_timeout_s: float
    pin_latch: Path
    other_latches: tuple[Path, ...] = ()
    careful: bool = False


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What a token says of itself.

    Attributes:
        serial: Its serial number; some modules give every token the same.
        maker: Manufacturer.
        model: Model.
        firmware: Version of its firmware.
    """

    serial: str
    maker: str
    model: str
    firmware: str


class _Worker:
    """One running worker process and the socket to it."""

    def __init__(self, environment: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        inherited = {k: os.environ[k] for k in _INHERITED if k in os.environ}
        # -P and the root folder: it is handed the PIN, so nothing in the folder we
        # were started in may be imported; our own package comes from where it is.
        given = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path]
        search = os.pathsep.join([*given, str(Path(__file__).resolve().parents[1])])
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", "appliance.hsm_worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=inherited | environment | {"PYTHONPATH": search},
            stdin=subprocess.DEVNULL,
            cwd="/",
        )
        theirs.close()
        self._socket = ours

    def call(
        self,
        header: dict[str, Any],
        body: bytes | memoryview,
        *,
        timeout_s: float,
        into: memoryview | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        """Send one frame and read the answer, its body into ``into`` if given.

        Args:
            header: What to do.
            body: With what; never copied.
            timeout_s: How long the worker may be silent.
            into: Receives the body of the answer.

        Returns:
            Header and body of the answer; no body where it went into ``into``.

        Raises:
            ConnectionError: If the answer is none; other errors of the socket
                pass. After any of them the stream is out of step: kill it.
        """
        self._socket.settimeout(timeout_s)
        text = json.dumps(header).encode()
        self._socket.sendall(len(text).to_bytes(4) + text + len(body).to_bytes(4))
        self._socket.sendall(body)
        try:
            reply = json.loads(self._read(self._read_size()))
        except ValueError as error:
            raise ConnectionError("the HSM worker answered nonsense") from error
        size = self._read_size()
        if into is None:
            return reply, self._read(size)
        expected = 0 if reply["error"] else len(into)
        if size != expected:
            raise ConnectionError(f"{size} bytes came, {expected} were expected")
        self._read_into(into[:size])
        return reply, b""

    def _read_size(self) -> int:
        return int.from_bytes(self._read(4))

    def _read(self, size: int) -> bytes:
        data = bytearray(size)
        self._read_into(memoryview(data))
        return bytes(data)

    def _read_into(self, target: memoryview) -> None:
        done = 0
        while done < len(target):
            count = self._socket.recv_into(target[done:])
            if not count:
                raise ConnectionResetError("the HSM worker ended")
            done += count

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End the process and reap it."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


class Hsm:
    """The verbs the appliance needs from a token; thread-safe, one at a time.

    Args:
        access: Which token and how to open it.
        pin: The PIN in locked memory; kept, and wiped by ``close``.
    """

    def __init__(self, access: TokenAccess, pin: LockedBuffer) -> None:
        self._access = access
        self._pin = pin
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._pin_refused = False
        self._info: TokenInfo | None = None
        self._closed = False
        self.restarts = 0

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, while there is one."""
        worker = self._worker
        return worker.pid if worker is not None else None

    @property
    def profile(self) -> HsmProfile:
        """What this kind of token can do."""
        return self._access.profile

    @property
    def token_label(self) -> str:
        """Label of the token."""
        return self._access.token_label

    @property
    def info(self) -> TokenInfo:
        """What the token said of itself at the last login; logs in if need be.

        Raises:
            HsmError: If the token is away.
        """
        if self._info is None:
            with self._lock:
                self._call_locked({"op": "random", "bytes": 1}, b"", None)
        if self._info is None:
            raise HsmError("the token has not said what it is")
        return self._info

    def __repr__(self) -> str:
        return f"Hsm(token_label={self._access.token_label!r}, pin=REDACTED)"

    def generate_key(self, *, role: str, label: str, key_id: bytes) -> None:
        """Make a non-extractable key, or take the one that an external tool made.

        Args:
            role: ``kek`` (wraps data keys), ``mac`` or ``identity`` (EC P-256).
            label: Its label, not in use yet.
            key_id: Its CKA_ID.

        Raises:
            HsmError: If the token refuses, or the tool made none.
        """
        if self.profile.keys.made_by == "external-tool":
            self.disconnect()  # some modules see new keys in a new process only
        header = {"op": "generate", "role": role, "label": label}
        self._call(header | {"id": key_id.hex()})

    def require_safe_key(self, *, label: str) -> None:
        """Refuse a key that could leave the token.

        Args:
            label: Which key; exactly one must carry the label.

        Raises:
            HsmError: If it is missing, ambiguous or extractable.
        """
        unsafe = self._call({"op": "check-key", "label": label})[0]["unsafe"]
        if unsafe:
            raise HsmError(f"HSM key {label!r} is not as made: {', '.join(unsafe)}")

    def wrap(self, data_key: memoryview, *, kek_label: str, aad: bytes) -> WrappedKey:
        """Encrypt a 32-byte data key under the KEK."""
        wrap = self.profile.wrap.mechanisms[0]
        header = {"op": "encrypt", "label": kek_label, "wrap": wrap, "aad": aad.hex()}
        reply, ciphertext = self._call(header, data_key)
        return WrappedKey(kek_label, wrap, reply["nonce"], ciphertext.hex())

    def unwrap(self, wrapped: WrappedKey, *, aad: bytes, into: memoryview) -> None:
        """Decrypt a data key straight into a 32-byte locked buffer.

        Raises:
            HsmError: If the token refuses or the key was altered.
        """
        header = {"op": "decrypt", "label": wrapped.kek_label, "wrap": wrapped.wrap}
        header |= {"nonce": wrapped.nonce, "aad": aad.hex()}
        self._call(header, bytes.fromhex(wrapped.ciphertext), into=into)

    def mac(self, data: bytes, *, label: str) -> bytes:
        """Authenticate ``data``: HMAC-SHA256 (32 bytes) or ECDSA (64 bytes)."""
        return self._call({"op": "mac", "label": label}, data)[1]

    def mac_matches(self, data: bytes, tag: bytes, *, label: str) -> bool:
        """Say whether ``mac`` made ``tag`` over ``data``."""
        header = {"op": "check-mac", "label": label, "tag": tag.hex()}
        return bool(self._call(header, data)[0]["matches"])

    def sign_digest(self, digest: bytes, *, label: str) -> bytes:
        """Return an ECDSA P-256 signature of a SHA-256 digest: r, s (64 bytes)."""
        return self._call({"op": "sign", "label": label}, digest)[1]

    def public_point(self, *, label: str) -> bytes:
        """Return the identity key's uncompressed EC point (65 bytes)."""
        return self._call({"op": "public-key", "label": label})[1]

    def destroy_key(self, *, label: str) -> None:
        """Destroy a key for ever, both halves of a pair.

        Args:
            label: Which; exactly one key must carry it.
        """
        self._call({"op": "destroy", "label": label})

    def read_object(self, *, label: str, into: memoryview) -> int:
        """Read a private data object, or a secret that may leave, into locked memory.

        Args:
            label: Of the object; exactly one must carry it.
            into: Filled up with zeros.

        Returns:
            Its length in bytes.
        """
        header = {"op": "read-object", "label": label, "room": len(into)}
        return int(self._call(header, into=into)[0]["bytes"])

    def random_into(self, target: memoryview) -> None:
        """Fill ``target`` with the token's random bytes XOR the system's."""
        self._call({"op": "random", "bytes": len(target)}, into=target)
        with (
            LockedBuffer(len(target), allow_unlocked=True) as other,
            open("/dev/urandom", "rb", buffering=0) as system,  # noqa: PTH123 - readinto
        ):
            if system.readinto(other.view) != len(target):
                raise HsmError("the system gave too few random bytes")
            for position, byte in enumerate(other.view):
                target[position] ^= byte

    def probe(self, check: str, *, prefix: str) -> dict[str, Any]:
        """Make one check in a worker process that does nothing else.

        Args:
            check: Of ``probe_checks.CHECKS``, or ``clean``.
            prefix: Begins the label of every object made.

        Returns:
            What was found; outcome ``no`` where the worker hung or died.
        """
        header = {"op": "probe", "check": check, "prefix": prefix}
        with self._lock:
            self._stop()
            try:
                timeout_s = _MAKE_TIMEOUT_S
                found, _ = self._start().call(header, b"", timeout_s=timeout_s)
            except OSError as error:
                detail = f"the worker hung or died: {error}"
                return {"outcome": "no", "detail": detail, "broken": True}
            finally:
                self._stop()
        if found["error"]:
            return {"outcome": "no", "detail": found["message"], "broken": True}
        return found

    def disconnect(self) -> None:
        """End the worker; the next call starts one and logs in again.

        Some modules never find their keys again once the token was away.
        """
        with self._lock:
            self._stop()

    def close(self) -> None:
        """End the worker and wipe the PIN."""
        with self._lock:
            self._closed = True
            self._stop()
            self._pin.close()

    def _call(
        self,
        header: dict[str, Any],
        body: bytes | memoryview = b"",
        *,
        into: memoryview | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        with self._lock:
            return self._call_locked(header, body, into)

    def _call_locked(
        self, header: dict[str, Any], body: bytes | memoryview, into: memoryview | None
    ) -> tuple[dict[str, Any], bytes]:
        try:
            reply, data = self._attempt(header, body, into)
        except OSError:  # the worker hung or died: once more with a new one
            self._stop()
            self.restarts += 1
            reply, data = self._second_attempt(header, body, into)
        if reply["error"]:
            raise HsmError(f"HSM {header['op']}: {reply['message']}")
        return reply, data

    def _second_attempt(
        self, header: dict[str, Any], body: bytes | memoryview, into: memoryview | None
    ) -> tuple[dict[str, Any], bytes]:
        try:
            return self._attempt(header, body, into)
        except OSError as error:
            self._stop()
            raise HsmError(
                f"the HSM worker failed twice on {header['op']}: {error}; check the"
                " token and its module"
            ) from error

    def _attempt(
        self, header: dict[str, Any], body: bytes | memoryview, into: memoryview | None
    ) -> tuple[dict[str, Any], bytes]:
        worker = self._worker or self._start()
        timeout_s = self._access.call_timeout_s
        if header["op"] == "generate":
            timeout_s = max(timeout_s, _MAKE_TIMEOUT_S)
        reply, data = worker.call(header, body, timeout_s=timeout_s, into=into)
        if reply["error"] == "session":  # a new worker has a new session
            raise ConnectionAbortedError(reply["message"])
        return reply, data

    def _start(self) -> _Worker:
        access = self._access
        if self._closed:
            raise HsmError("this token is closed: the appliance stops, or has left it")
        set_latches = [
            latch
            for latch in (access.pin_latch, *access.other_latches)
            if latch.exists()
        ]
        if self._pin_refused or set_latches:
            named = set_latches or [access.pin_latch]
            raise PinRefusedError(
                f"the token refused the PIN before ({named[0]}); correct the"
                " PIN, then run `saltkeep-appliance clear-pin`"
            )
        self._require_pin_form()
        worker = _Worker(access.environment)
        header = {"op": "open", "module": access.module, "careful": access.careful}
        header |= {"token_label": access.token_label}
        header |= {"profile": msgspec.to_builtins(access.profile)}
        try:
            reply, _ = worker.call(header, self._pin.view, timeout_s=_START_TIMEOUT_S)
        except OSError:
            worker.kill()
            raise
        if reply["error"]:
            worker.kill()
            self._raise_login_error(reply)
        self._worker = worker
        self._info = TokenInfo(
            reply["serial"], reply["maker"], reply["model"], reply["firmware"]
        )
        return worker

    def _require_pin_form(self) -> None:
        """Do not spend one of the token's tries on what can be no PIN of it."""
        login = self.profile.login
        if not re.fullmatch(login.pin_pattern.encode(), self._pin.view, re.DOTALL):
            raise HsmError(
                f"the PIN is not of the form that {self.profile.title} takes:"
                f" {login.pin_form}. It was not tried",
                code="pin-form",
            )

    def _raise_login_error(self, reply: dict[str, Any]) -> None:
        if reply["error"] != "pin":
            raise HsmError(f"cannot open the token: {reply['message']}")
        self._pin_refused = True
        self._write_pin_latch(reply["message"])
        raise PinRefusedError(
            f"the token refused the PIN ({reply['message']}); not tried again, since"
            " tokens lock themselves. Correct it, then `saltkeep-appliance clear-pin`"
        )

    def _write_pin_latch(self, reason: str) -> None:
        """Bar every login of later processes too; this one's is barred already."""
        for latch in (self._access.pin_latch, *self._access.other_latches):
            try:
                with latch.open("w") as file:
                    file.write(reason + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:  # no dead worker either: no second login
                _log.critical("the PIN latch can not be written: %s", error.strerror)

    def _stop(self) -> None:
        if self._worker is not None:
            with suppress(OSError):
                self._worker.kill()
            self._worker = None


def initialise_token(
    access: TokenAccess, *, officer_pin: memoryview, user_pin: memoryview
) -> None:
    """Initialise a free slot of the module as a new token.

    Args:
        access: Module, label and environment; nothing is opened.
        officer_pin: The security officer's PIN.
        user_pin: The PIN the appliance will log in with.

    Raises:
        HsmError: If the profile needs the vendor's own tool, or a call fails.
    """
    if access.profile.keys.initialise != "c-init-token":
        raise HsmError(
            f"{access.profile.title} is initialised with its vendor's tool; see"
            " docs/hsm.md"
        )
    worker = _Worker(access.environment)
    header: dict[str, Any] = {"op": "init-token", "module": access.module}
    header |= {"init": access.profile.module.init}
    header |= {"token_label": access.token_label}
    header |= {"officer_bytes": len(officer_pin)}
    size = len(officer_pin) + len(user_pin)
    try:
        with LockedBuffer(size, allow_unlocked=True) as pins:
            pins.view[: len(officer_pin)] = officer_pin
            pins.view[len(officer_pin) :] = user_pin
            reply, _ = worker.call(header, pins.view, timeout_s=_START_TIMEOUT_S)
    except OSError as error:
        raise HsmError(f"token initialisation ended early: {error}") from error
    finally:
        worker.kill()
    if reply["error"]:
        raise HsmError(f"token initialisation failed: {reply['message']}")
