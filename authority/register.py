# SPDX-License-Identifier: Apache-2.0
"""The authority's folder: its key, its certificate, and a log of all it has issued.

The key is encrypted by its passphrase. A certificate is logged, on the disk, before it
is handed out: there is none that the log does not know.
"""

import datetime as dt
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from authority.issuing import (
    IssueError,
    Role,
    Wish,
    issue,
    make_root,
    serial_of,
    spki_sha256,
)

_KEY: Final = "root.key"
_CERTIFICATE: Final = "ca.pem"
_LOG: Final = "issued.jsonl"
_SERIAL_BYTES: Final = 20
LEAST_PASSPHRASE: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """One line of the log.

    Attributes:
        serial: The certificate's number, hex.
        name: Its common name.
        role: What it is for.
        hosts: Of a server.
        key: SHA-256 of its public key, hex.
        issued: When, ISO 8601, UTC.
        ends: When it ends, the same.
        certificate: It, in PEM.
    """

    serial: str
    name: str
    role: str
    hosts: tuple[str, ...]
    key: str
    issued: str
    ends: str
    certificate: str


class Register:
    """An authority in a folder.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def certificate_file(self) -> Path:
        """What everybody may have, and must trust."""
        return self._folder / _CERTIFICATE

    def create(self, name: str, passphrase: bytes, *, now: dt.datetime) -> None:
        """Make the authority.

        Args:
            name: Its common name.
            passphrase: What its key is encrypted by.
            now: The time.

        Raises:
            IssueError: If there is one, or the passphrase is too short.
        """
        if len(passphrase) < LEAST_PASSPHRASE:
            raise IssueError(f"a passphrase has {LEAST_PASSPHRASE} bytes or more")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any((self._folder / one).exists() for one in (_KEY, _CERTIFICATE, _LOG)):
            raise IssueError(f"there is an authority in {self._folder}")
        key = ec.generate_private_key(ec.SECP256R1())
        serial = serial_of(os.urandom(_SERIAL_BYTES))
        root = make_root(name, key, serial=serial, now=now)
        encrypted = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase),
        )
        write_new(self._folder / _KEY, encrypted, mode=0o600)
        write_new(self._folder / _LOG, b"", mode=0o600)
        pem = root.public_bytes(serialization.Encoding.PEM)
        write_new(self.certificate_file, pem, mode=0o644)

    def root(self) -> x509.Certificate:
        """Return the authority's certificate.

        Raises:
            IssueError: If there is none.
        """
        try:
            return x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        except (OSError, ValueError) as error:
            raise IssueError(f"no authority in {self._folder}: {error}") from error

    def issue(
        self,
        wish: Wish,
        role: Role,
        passphrase: bytes,
        *,
        days: int,
        now: dt.datetime,
    ) -> Issued:
        """Certify a key and log it.

        Args:
            wish: What was asked for.
            role: What it is for.
            passphrase: Of the authority's key.
            days: How long it holds.
            now: The time.

        Returns:
            The line of the log. ``IssueError`` if it is not certified.
        """
        made = issue(
            self.root(),
            self._key(passphrase),
            wish,
            role,
            serial=serial_of(os.urandom(_SERIAL_BYTES)),
            days=days,
            now=now,
        )
        line = Issued(
            serial=f"{made.serial_number:x}",
            name=wish.name,
            role=role.value,
            hosts=wish.hosts,
            key=spki_sha256(wish.key),
            issued=now.isoformat(timespec="seconds"),
            ends=made.not_valid_after_utc.isoformat(timespec="seconds"),
            certificate=made.public_bytes(serialization.Encoding.PEM).decode(),
        )
        self._log(line)
        return line

    def issued(self) -> Iterator[Issued]:
        """Read the log, the oldest first; ``IssueError`` if it can not be read."""
        try:
            for text in (self._folder / _LOG).read_text().splitlines():
                fields = json.loads(text)
                yield Issued(**fields | {"hosts": tuple(fields["hosts"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise IssueError(f"the log can not be read: {error}") from error

    def _key(self, passphrase: bytes) -> ec.EllipticCurvePrivateKey:
        try:
            key = serialization.load_pem_private_key(
                (self._folder / _KEY).read_bytes(), passphrase
            )
        except OSError as error:
            raise IssueError(f"no authority in {self._folder}: {error}") from error
        except (ValueError, TypeError) as error:
            raise IssueError("the passphrase is wrong") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise IssueError("the authority's key is none of this program's")
        if spki_sha256(key.public_key()) != spki_sha256(self.root().public_key()):
            raise IssueError("the authority's key and certificate do not fit")
        return key

    def _log(self, line: Issued) -> None:
        descriptor = os.open(self._folder / _LOG, os.O_WRONLY | os.O_APPEND)
        with os.fdopen(descriptor, "a") as file:
            file.write(json.dumps(asdict(line)) + "\n")
            file.flush()
            os.fsync(file.fileno())


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that is not there yet; durable on return.

    Args:
        path: Where it goes.
        data: The whole content.
        mode: Its permissions.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
