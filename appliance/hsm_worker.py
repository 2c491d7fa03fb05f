# SPDX-License-Identifier: Apache-2.0
"""The process that alone loads the PKCS#11 module: one thread, one login.

Started by ``appliance.hsm`` as ``python -m appliance.hsm_worker FD`` with one
end of a socket pair. A module that hangs or crashes takes only this process
with it; python-pkcs11 starts modules without locking, so there is one thread.

A frame is: length of the header (4 bytes, big endian), a JSON header, length of
the body (4 bytes), the body (binary; a PIN, a data key, or what is to be signed).

python-pkcs11 hands plaintext over as ``bytes``, which can not be wiped: this
process is undumpable, dies with its parent, and is documented as holding copies.
"""

import ctypes
import json
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import pkcs11
from pkcs11 import TokenFlag

from appliance.errors import ApplianceError
from appliance.pkcs11_module import load
from appliance.token_init import initialise_token
from appliance.token_keys import TokenKeys
from hsm_profiles import HsmProfile
from trinary.memory import make_undumpable

_PR_SET_PDEATHSIG: Final = 1
_PIN_ERRORS: Final = (
    pkcs11.exceptions.PinIncorrect,
    pkcs11.exceptions.PinInvalid,
    pkcs11.exceptions.PinExpired,
    pkcs11.exceptions.PinLocked,
    pkcs11.exceptions.PinLenRange,
)
_SESSION_ERRORS: Final = (
    pkcs11.exceptions.OperationActive,  # a failed call before was never ended
    pkcs11.exceptions.OperationNotInitialized,
    pkcs11.exceptions.SessionHandleInvalid,
    pkcs11.exceptions.SessionClosed,
    pkcs11.exceptions.UserNotLoggedIn,
    pkcs11.exceptions.DeviceRemoved,
    pkcs11.exceptions.TokenNotPresent,
)
_TRIES_LEFT: Final = (
    TokenFlag.USER_PIN_COUNT_LOW,
    TokenFlag.USER_PIN_FINAL_TRY,
    TokenFlag.USER_PIN_LOCKED,
)
_Header = dict[str, Any]


class _WorkerError(ApplianceError):
    """Something this worker says no to itself."""


class Worker:
    """Answers one request after another on the logged-in session.

    Args:
        module: Path of the PKCS#11 module.
        profile: What this kind of token can do.
    """

    def __init__(self, module: str, profile: HsmProfile) -> None:
        self._library = load(module, profile.module.init)
        self._profile = profile
        self._session: Any = None
        self._keys: TokenKeys | None = None

    def open(self, header: _Header, body: bytes) -> tuple[_Header, bytes]:
        """Log in to the one token with this label; body: the PIN."""
        tokens = list(self._library.get_tokens(token_label=header["token_label"]))
        if len(tokens) != 1:
            raise _WorkerError(
                f"expected one token labelled {header['token_label']!r}, found"
                f" {len(tokens)}"
            )
        token = tokens[0]
        low = [str(flag.name) for flag in _TRIES_LEFT if token.flags & flag]
        if low and header["careful"]:
            raise _WorkerError(
                f"not logged in: the token shows {', '.join(low)}; log in once with"
                " its own tool and the right PIN first"
            )
        try:
            pin = body.decode()
        except UnicodeDecodeError:  # its text would show a byte of the PIN
            raise _WorkerError("the PIN is not UTF-8") from None
        self._session = token.open(rw=True, user_pin=pin)
        self._keys = TokenKeys(self._session, self._profile)
        about = {
            "serial": token.serial,
            "maker": token.manufacturer_id,
            "model": token.model,
            "firmware": ".".join(map(str, token.slot.firmware_version)),
        }
        return {name: _text(value) for name, value in about.items()}, b""

    @property
    def keys(self) -> TokenKeys:
        """The keys of the session.

        Raises:
            _WorkerError: If nobody has logged in.
        """
        if self._keys is None:
            raise _WorkerError("nobody has logged in")
        return self._keys

    def generate(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """Make a key that can not leave the token; ``role`` says which kind."""
        key_id = bytes.fromhex(header["id"])
        self.keys.provide(header["role"], header["label"], key_id)
        return {}, b""

    def check_key(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """Say whether a key is what a key here must be: not extractable."""
        return {"unsafe": self.keys.unsafe_attributes(header["label"])}, b""

    def encrypt(self, header: _Header, body: bytes) -> tuple[_Header, bytes]:
        """Wrap a 32-byte data key; reply header holds nonce or IV."""
        nonce, wrapped = self.keys.wrap(
            body,
            label=header["label"],
            mechanism=header["wrap"],
            aad=bytes.fromhex(header["aad"]),
        )
        return {"nonce": nonce.hex()}, wrapped

    def decrypt(self, header: _Header, body: bytes) -> tuple[_Header, bytes]:
        """Unwrap a data key."""
        return {}, self.keys.unwrap(
            body,
            label=header["label"],
            mechanism=header["wrap"],
            nonce=bytes.fromhex(header["nonce"]),
            aad=bytes.fromhex(header["aad"]),
        )

    def mac(self, header: _Header, body: bytes) -> tuple[_Header, bytes]:
        """Authenticate the body."""
        return {}, self.keys.mac(body, label=header["label"])

    def check_mac(self, header: _Header, body: bytes) -> tuple[_Header, bytes]:
        """Say whether a tag belongs to the body."""
        tag = bytes.fromhex(header["tag"])
        return {"matches": self.keys.mac_matches(body, tag, label=header["label"])}, b""

    def sign(self, header: _Header, body: bytes) -> tuple[_Header, bytes]:
        """ECDSA P-256 over a SHA-256 digest; r and s, 32 bytes each."""
        return {}, self.keys.sign(body, label=header["label"])

    def public_key(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """EC point of the identity key, uncompressed (65 bytes)."""
        return {}, self.keys.point(label=header["label"])

    def destroy(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """Destroy a key for ever, both halves of a pair."""
        self.keys.destroy(header["label"])
        return {}, b""

    def random(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """Random bytes of the token."""
        return {}, self.keys.random(header["bytes"])

    def probe(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """Make one check of ``probe``."""
        from appliance.probe_checks import Checks  # noqa: PLC0415 - not in service

        checks = Checks(self._session, self._profile, header["prefix"])
        return checks.run(header["check"]), b""

    def read_object(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """Value of a private data object, filled up to a fixed size."""
        value = self.keys.secret_object(header["label"])
        if len(value) > header["room"]:
            raise _WorkerError(f"the object has more than {header['room']} bytes")
        return {"bytes": len(value)}, value.ljust(header["room"], b"\0")


def _text(value: bytes | str) -> str:
    """Return a token's own words without what fills them up."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return text.strip(" \0")


def _receive(connection: socket.socket) -> tuple[_Header, bytes]:
    parts = []
    for _ in range(2):
        size = int.from_bytes(_receive_exactly(connection, 4))
        parts.append(_receive_exactly(connection, size))
    return json.loads(parts[0]), parts[1]


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise SystemExit(0)  # the parent is gone
        data += chunk
    return data


def _send(connection: socket.socket, header: _Header, body: bytes) -> None:
    text = json.dumps(header).encode()
    connection.sendall(len(text).to_bytes(4) + text + len(body).to_bytes(4) + body)


def _answer(
    handlers: Mapping[str, Callable[[_Header, bytes], tuple[_Header, bytes]]],
    header: _Header,
    body: bytes,
) -> tuple[_Header, bytes]:
    try:
        reply, data = handlers[header["op"]](header, body)
    except _PIN_ERRORS as error:
        return {"error": "pin", "message": type(error).__name__}, b""
    except _SESSION_ERRORS as error:
        return {"error": "session", "message": type(error).__name__}, b""
    except (pkcs11.PKCS11Error, ApplianceError) as error:
        return {"error": "hsm", "message": f"{type(error).__name__}: {error}"}, b""
    return {"error": "", **reply}, data


def main() -> None:
    """Serve requests from the inherited socket until it closes."""
    make_undumpable()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    connection = socket.socket(fileno=int(sys.argv[1]))
    header, body = _receive(connection)
    if header["op"] == "init-token":
        _send(connection, *_answer({"init-token": initialise_token}, header, body))
        return
    profile = msgspec.convert(header["profile"], HsmProfile)
    try:
        worker = Worker(header["module"], profile)
    except (pkcs11.PKCS11Error, ApplianceError) as error:
        message = f"{type(error).__name__}: {error}"
        _send(connection, {"error": "hsm", "message": message}, b"")
        return
    handlers = {
        "open": worker.open,
        "check-mac": worker.check_mac,
        "read-object": worker.read_object,
        "probe": worker.probe,
        "generate": worker.generate,
        "check-key": worker.check_key,
        "encrypt": worker.encrypt,
        "decrypt": worker.decrypt,
        "mac": worker.mac,
        "sign": worker.sign,
        "public-key": worker.public_key,
        "destroy": worker.destroy,
        "random": worker.random,
    }
    while True:
        _send(connection, *_answer(handlers, header, body))
        header, body = _receive(connection)


if __name__ == "__main__":
    main()
