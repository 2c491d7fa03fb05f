# SPDX-License-Identifier: Apache-2.0
"""The listener's key and certificate, and how they are replaced while it listens.

A new key is made here and never leaves: what goes out is a request for the CA. When
the certificate comes back it is checked and journalled, and then both files are put
in place. A crash between the two renames is mended at the next start: whatever lies
beside as ``.next`` and fits was journalled before.

Connections that are open keep the certificate they began with; the next ones get the
new one. A client that pins the server's key must know the new pin beforehand.
"""

import datetime as dt
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.certificates import public_pin, spki_sha256
from appliance.config import Listen
from appliance.durable import sync_folder, write_durably
from appliance.errors import BadRequestError, ConfigError
from failpoints import failpoint

_SERVER_AUTH: Final = ExtendedKeyUsageOID.SERVER_AUTH
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


def server_context(listen: Listen) -> ssl.SSLContext:
    """Return TLS 1.3 only, no tickets, client certificates required.

    Raises:
        ConfigError: If a file is missing or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(listen.certificate, listen.key)
        context.load_verify_locations(listen.client_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"TLS files of [listen]: {error}") from error
    return context


@dataclass(slots=True)
class TlsIdentity:
    """Key and certificate of one listener.

    Attributes:
        listen: Where their files lie.
    """

    listen: Listen
    _contexts: list[ssl.SSLContext] = field(default_factory=list)

    def context(self) -> ssl.SSLContext:
        """Return a context that follows every later change of the certificate."""
        self._settle()
        context = server_context(self.listen)
        self._contexts.append(context)
        return context

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate in force."""
        return _load(Path(self.listen.certificate).read_bytes())

    @property
    def pin(self) -> str:
        """SHA-256 of the public key in force, hex."""
        return spki_sha256(self.certificate)

    def request(self) -> tuple[str, str]:
        """Make the next key, unless it is made, and ask for its certificate.

        Returns:
            The request in PEM, for the CA; the pin of the new key.
        """
        if not self._next_key.exists():
            private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            write_durably(self._next_key, private)
        failpoint("tls.key-made")
        key = self._load_next_key()
        now = self.certificate
        builder = x509.CertificateSigningRequestBuilder().subject_name(now.subject)
        for extension in now.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                builder = builder.add_extension(
                    extension.value, critical=extension.critical
                )
        asked = builder.sign(key, hashes.SHA256())
        pem = asked.public_bytes(serialization.Encoding.PEM).decode()
        return pem, public_pin(key.public_key())

    def require_installable(self, pem: str, *, now: dt.datetime) -> x509.Certificate:
        """Check a certificate that the CA gave.

        Args:
            pem: It, with what the CA puts behind it.
            now: The time.

        Returns:
            It.

        Raises:
            BadRequestError: If it is not of the key in force or the next one, not in
                force, not a server's, or for other hosts.
        """
        try:
            found = _load(pem.encode())
        except ValueError as error:
            raise BadRequestError(f"no certificate in PEM: {error}") from error
        pin = spki_sha256(found)
        if pin not in {self.pin, self._next_pin()}:
            raise BadRequestError(
                "the certificate is of another key than was asked for; run"
                " `ceremony rotate-tls` without a certificate for the request"
            )
        if not found.not_valid_before_utc <= now < found.not_valid_after_utc:
            raise BadRequestError("the certificate is not in force now")
        usage = _extension(found, x509.ExtendedKeyUsage)
        if usage is None or list(usage) != [_SERVER_AUTH]:
            raise BadRequestError("the certificate is not for serverAuth alone")
        hosts = _extension(found, x509.SubjectAlternativeName)
        if hosts != _extension(self.certificate, x509.SubjectAlternativeName):
            raise BadRequestError("the certificate names other hosts than before")
        return found

    def install(self, pem: str) -> None:
        """Put a checked, journalled certificate in force, with its key.

        Args:
            pem: As in ``require_installable``.
        """
        write_durably(self._next_certificate, pem.encode())
        failpoint("tls.certificate-written")
        self._settle()
        for context in self._contexts:
            context.load_cert_chain(self.listen.certificate, self.listen.key)

    def _settle(self) -> None:
        """Finish a change that was journalled; do nothing where there is none."""
        if not self._next_certificate.exists():
            return
        pin = spki_sha256(_load(self._next_certificate.read_bytes()))
        key = Path(self.listen.key)
        if pin == self._next_pin():
            self._next_key.rename(key)
            sync_folder(key.parent)
            failpoint("tls.key-switched")
        self._next_certificate.rename(self.listen.certificate)
        sync_folder(key.parent)
        failpoint("tls.switched")

    @property
    def _next_key(self) -> Path:
        key = Path(self.listen.key)
        return key.with_name(f"{key.name}.next")

    @property
    def _next_certificate(self) -> Path:
        certificate = Path(self.listen.certificate)
        return certificate.with_name(f"{certificate.name}.next")

    def _next_pin(self) -> str:
        if not self._next_key.exists():
            return ""
        return public_pin(self._load_next_key().public_key())

    def _load_next_key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self._next_key.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"{self._next_key} is no key that this program made")
        return key


def _load(pem: bytes) -> x509.Certificate:
    """Load the first certificate of a PEM file.

    Returns:
        It.

    Raises:
        ValueError: If there is none.
    """
    try:
        return x509.load_pem_x509_certificate(pem)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
