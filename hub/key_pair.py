# SPDX-License-Identifier: Apache-2.0
"""A key and its certificate on this machine, and how both are replaced.

A new key is made here, beside the one in force, and never leaves: what goes out is a
request. The certificate that comes back is checked and written beside the old one; then
key and certificate are renamed, in this order. Whatever lies beside was checked before,
so ``settle`` finishes what a crash between the two left undone.
"""

import contextlib
import datetime as dt
import hashlib
import ipaddress
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
    PrivateKeyTypes,
    PublicKeyTypes,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from failpoints import failpoint
from hub.config import Config
from hub.errors import CertificateRefusedError

_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Where a key and its certificate lie, and what they are for.

    Attributes:
        certificate: PEM, the chain behind it.
        key: PEM, mode 0600.
        is_server: Whether it is shown by a listener; else by a client.
    """

    certificate: Path
    key: Path
    is_server: bool

    @property
    def next_key(self) -> Path:
        """Where a key lies that has no certificate yet."""
        return self.key.with_name(f"{self.key.name}.next")

    @property
    def next_certificate(self) -> Path:
        """Where a checked certificate lies for a moment."""
        return self.certificate.with_name(f"{self.certificate.name}.next")

    def chain(self) -> list[x509.Certificate]:
        """Return the certificate in force and what is behind it.

        Raises:
            CertificateRefusedError: If there is none.
        """
        try:
            return read_chain(self.certificate.read_bytes())
        except OSError as error:
            message = f"{self.certificate.name}: {error.strerror}"
            raise CertificateRefusedError(message) from error

    def request(self, name: str, hosts: Sequence[str]) -> tuple[str, str]:
        """Make the next key, unless it is made, and ask for its certificate.

        Args:
            name: Common name.
            hosts: DNS names and IP addresses, of a server.

        Returns:
            The request in PEM, for the authority; the SHA-256 of the new public key.

        Raises:
            CertificateRefusedError: If hosts are missing, or given for a client.
        """
        if self.is_server != bool(hosts):
            said = "needs its hosts" if self.is_server else "has no hosts"
            message = f"the certificate of a {self._what} {said}"
            raise CertificateRefusedError(message)
        if not self.next_key.exists():
            fresh = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            _write(self.next_key, fresh, mode=_PRIVATE)
            self._hand_over()
        key = self._load_next_key()
        builder = x509.CertificateSigningRequestBuilder().subject_name(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        )
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        asked = builder.sign(key, hashes.SHA256())
        pem = asked.public_bytes(serialization.Encoding.PEM).decode()
        return pem, spki_sha256(key.public_key())

    def install(self, pem: bytes, authority: bytes, *, now: dt.datetime) -> str:
        """Check a certificate and put it in force, with its key.

        Args:
            pem: What the authority gave: the certificate, the chain behind it.
            authority: PEM of the certificate it must come from.
            now: The time.

        Returns:
            The SHA-256 of its public key. ``CertificateRefusedError`` if it does not
            fit; then nothing is changed.
        """
        self.settle()
        chain = read_chain(pem)
        self._require_fitting(chain, read_chain(authority), now=now)
        _write(self.next_certificate, pem, mode=_PUBLIC)
        failpoint("hub.certificate.written")
        self.settle()
        return spki_sha256(chain[0].public_key())

    def settle(self) -> None:
        """Finish a change that was begun; do nothing where there is none.

        Raises:
            CertificateRefusedError: If the files can not be moved from here.
        """
        try:
            self._settle()
        except OSError as error:
            message = f"{error.filename}: {error.strerror}; run `certificate install`"
            raise CertificateRefusedError(message) from error

    def _hand_over(self) -> None:
        """Give the next key the owner of the one in force: root may have made it."""
        with contextlib.suppress(OSError):
            owner = self.key.stat()
            os.chown(self.next_key, owner.st_uid, owner.st_gid)

    def _settle(self) -> None:
        if not self.next_certificate.exists():
            return
        chain = read_chain(self.next_certificate.read_bytes())
        if spki_sha256(chain[0].public_key()) == self._next_pin():
            self.next_key.rename(self.key)
            _sync(self.key.parent)
            failpoint("hub.certificate.key-switched")
        self.next_certificate.rename(self.certificate)
        _sync(self.certificate.parent)

    def _require_fitting(
        self,
        chain: Sequence[x509.Certificate],
        authority: Sequence[x509.Certificate],
        *,
        now: dt.datetime,
    ) -> None:
        leaf = chain[0]
        if spki_sha256(leaf.public_key()) not in {self._pin(), self._next_pin()}:
            raise CertificateRefusedError(
                "it is of another key than the one in force or the one asked for"
            )
        if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
            raise CertificateRefusedError("it is not in force now")
        if _usages(leaf) != [self._usage]:
            message = f"it is not for a {self._what} alone (extended key usage)"
            raise CertificateRefusedError(message)
        _require_issued(chain, authority)

    @property
    def _what(self) -> str:
        return "server" if self.is_server else "client"

    @property
    def _usage(self) -> x509.ObjectIdentifier:
        usages = ExtendedKeyUsageOID
        return usages.SERVER_AUTH if self.is_server else usages.CLIENT_AUTH

    def _pin(self) -> str:
        if not self.key.exists():
            return ""
        return spki_sha256(_load_key(self.key).public_key())

    def _next_pin(self) -> str:
        if not self.next_key.exists():
            return ""
        return spki_sha256(self._load_next_key().public_key())

    def _load_next_key(self) -> ec.EllipticCurvePrivateKey:
        key = _load_key(self.next_key)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            message = f"{self.next_key.name} is no key that this program made"
            raise CertificateRefusedError(message)
        return key


def pairs_of(config: Config) -> dict[str, KeyPair]:
    """Return every pair that a configuration names, by its section."""
    api, appliance, auditor = config.api, config.appliance, config.reconciler
    metrics, traces, board = config.metrics, config.tracing, config.dashboard
    named = {
        "appliance": (appliance.certificate, appliance.key, False),
        "reconciler": (auditor.auditor_certificate, auditor.auditor_key, False),
        "tracing": (traces.tls_certificate, traces.tls_key, False),
        "api.legacy": (api.legacy.tls_certificate, api.legacy.tls_key, True),
        "api.grpc": (api.grpc.tls_certificate, api.grpc.tls_key, True),
        "api.v1": (api.v1.tls_certificate, api.v1.tls_key, True),
        "metrics": (metrics.tls_certificate, metrics.tls_key, True),
        "dashboard": (board.tls_certificate, board.tls_key, True),
    }
    return {
        section: KeyPair(certificate, key, is_server)
        for section, (certificate, key, is_server) in named.items()
        if certificate is not None and key is not None
    }


def read_chain(pem: bytes) -> list[x509.Certificate]:
    """Read certificates.

    Args:
        pem: At least one.

    Returns:
        Them, in their order.

    Raises:
        CertificateRefusedError: If it is none.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateRefusedError("this is no certificate in PEM") from error


def spki_sha256(key: CertificatePublicKeyTypes | PublicKeyTypes) -> str:
    """Return the SHA-256 of a public key (SPKI), 64 hex characters."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """Return the hosts that a certificate names."""
    try:
        names = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return []
    return [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]


def name_of(certificate: x509.Certificate) -> str:
    """Return a certificate's common name."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _require_issued(
    chain: Sequence[x509.Certificate], authority: Sequence[x509.Certificate]
) -> None:
    """Insist that each is issued by the next, and the last by the authority."""
    for below, above in itertools.pairwise(chain):
        _require_issuer(below, [above])
    _require_issuer(chain[-1], authority)


def _require_issuer(below: x509.Certificate, above: Sequence[x509.Certificate]) -> None:
    for one in above:
        if below == one:
            return  # the authority stands at the end of the chain itself
        try:
            below.verify_directly_issued_by(one)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return
    raise CertificateRefusedError("it does not come from this authority")


def _usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return []
    return list(found.value)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _load_key(path: Path) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateRefusedError(f"{path.name} is no key in PEM") from error


def _write(path: Path, data: bytes, *, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
