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
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.mechanisms import GCMParams
from pkcs11.util.ec import encode_named_curve_parameters

from appliance.errors import ApplianceError
from appliance.token_init import initialise_token
from trinary.memory import make_undumpable

_PR_SET_PDEATHSIG: Final = 1
_GCM_NONCE_BYTES: Final = 12
_CBC_IV_BYTES: Final = 16
_HARD: Final = {
    Attribute.EXTRACTABLE: False,
    Attribute.SENSITIVE: True,
    Attribute.PRIVATE: True,
}
_PIN_ERRORS: Final = (
    pkcs11.exceptions.PinIncorrect,
    pkcs11.exceptions.PinInvalid,
    pkcs11.exceptions.PinExpired,
    pkcs11.exceptions.PinLocked,
    pkcs11.exceptions.PinLenRange,
)
_Header = dict[str, Any]


class _WorkerError(ApplianceError):
    """Something this worker says no to itself."""


class Worker:
    """Answers one request after another on the logged-in session.

    Args:
        module: Path of the PKCS#11 module.
    """

    def __init__(self, module: str) -> None:
        self._library = pkcs11.lib(module)
        self._session: Any = None

    def open(self, header: _Header, body: bytes) -> tuple[_Header, bytes]:
        """Log in to the one token with this label; body: the PIN."""
        tokens = list(self._library.get_tokens(token_label=header["token_label"]))
        if len(tokens) != 1:
            raise _WorkerError(
                f"expected one token labelled {header['token_label']!r}, found"
                f" {len(tokens)}"
            )
        try:
            pin = body.decode()
        except UnicodeDecodeError:  # its text would show a byte of the PIN
            raise _WorkerError("the PIN is not UTF-8") from None
        self._session = tokens[0].open(rw=True, user_pin=pin)
        return {"serial": tokens[0].serial.hex()}, b""

    def generate(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """Make a key that can not leave the token; ``role`` says which kind."""
        label = header["label"]
        if list(self._session.get_objects({Attribute.LABEL: label})):
            raise _WorkerError(f"a key labelled {label!r} is there already")
        identity = bytes.fromhex(header["id"])
        if header["role"] == "identity":
            self._generate_identity(label, identity)
            return {}, b""
        wrapping = header["role"] == "kek"
        self._session.generate_key(
            KeyType.AES if wrapping else KeyType.GENERIC_SECRET,
            header["bits"],
            store=True,
            label=label,
            id=identity,
            capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
            if wrapping
            else MechanismFlag.SIGN | MechanismFlag.VERIFY,
            template=_HARD,
        )
        return {}, b""

    def _generate_identity(self, label: str, identity: bytes) -> None:
        curve = self._session.create_domain_parameters(
            KeyType.EC,
            {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        curve.generate_keypair(
            store=True,
            label=label,
            id=identity,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            private_template=_HARD,
        )

    def check_key(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """Say whether a key is what a key here must be: not extractable."""
        private = self._key(header["label"], ObjectClass(header["class"]))
        unsafe = [
            attribute.name
            for attribute, wanted in _HARD.items()
            if private[attribute] is not wanted
        ]
        return {"unsafe": unsafe}, b""

    def encrypt(self, header: _Header, body: bytes) -> tuple[_Header, bytes]:
        """Wrap a 32-byte data key; reply header holds nonce or IV."""
        size = _GCM_NONCE_BYTES if header["wrap"] == "aes-gcm" else _CBC_IV_BYTES
        nonce = os.urandom(size)
        mechanism, parameter = _cipher(header["wrap"], nonce, header["aad"])
        ciphertext = self._secret(header["label"]).encrypt(
            body, mechanism=mechanism, mechanism_param=parameter
        )
        return {"nonce": nonce.hex()}, bytes(ciphertext)

    def decrypt(self, header: _Header, body: bytes) -> tuple[_Header, bytes]:
        """Unwrap a data key."""
        mechanism, parameter = _cipher(
            header["wrap"], bytes.fromhex(header["nonce"]), header["aad"]
        )
        return {}, bytes(
            self._secret(header["label"]).decrypt(
                body, mechanism=mechanism, mechanism_param=parameter
            )
        )

    def mac(self, header: _Header, body: bytes) -> tuple[_Header, bytes]:
        """HMAC-SHA256 of the body."""
        key = self._secret(header["label"])
        return {}, bytes(key.sign(body, mechanism=Mechanism.SHA256_HMAC))

    def sign(self, header: _Header, body: bytes) -> tuple[_Header, bytes]:
        """ECDSA P-256 over a SHA-256 digest; r and s, 32 bytes each."""
        key = self._key(header["label"], ObjectClass.PRIVATE_KEY)
        return {}, bytes(key.sign(body, mechanism=Mechanism.ECDSA))

    def public_key(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """EC point of the identity key, uncompressed (65 bytes)."""
        key = self._key(header["label"], ObjectClass.PUBLIC_KEY)
        point = bytes(key[Attribute.EC_POINT])
        return {}, point[-65:]

    def destroy(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """Destroy a key for ever, both halves of a pair."""
        keys = [
            self._key(header["label"], ObjectClass(number))
            for number in header["classes"]
        ]
        for key in keys:
            key.destroy()
        return {}, b""

    def random(self, header: _Header, _: bytes) -> tuple[_Header, bytes]:
        """Random bytes of the token."""
        return {}, bytes(self._session.generate_random(header["bytes"] * 8))

    def _secret(self, label: str) -> Any:  # noqa: ANN401 - untyped library
        return self._key(label, ObjectClass.SECRET_KEY)

    def _key(self, label: str, kind: ObjectClass) -> Any:  # noqa: ANN401
        found = list(
            self._session.get_objects({Attribute.LABEL: label, Attribute.CLASS: kind})
        )
        if len(found) != 1:
            raise _WorkerError(
                f"expected one {kind.name} labelled {label!r}, found {len(found)}"
            )
        return found[0]


def _cipher(wrap: str, nonce: bytes, aad: str) -> tuple[Mechanism, Any]:
    if wrap == "aes-gcm":
        return Mechanism.AES_GCM, GCMParams(nonce, bytes.fromhex(aad), 128)
    return Mechanism.AES_CBC, nonce


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
    except (pkcs11.PKCS11Error, _WorkerError) as error:
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
    worker = Worker(header["module"])
    handlers = {
        "open": worker.open,
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
