# SPDX-License-Identifier: Apache-2.0
"""A small private CA, and pins: who may talk to whom.

The CA only says that a certificate was made here; who a client is and what it
may do is decided by the pin of its public key in the configuration.
"""

import datetime as dt
import hashlib
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_DAYS: Final = 3650
_LEAF_DAYS: Final = 397
_BACKDATE: Final = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, folder: Path, name: str) -> None:
        """Write ``name.pem`` and ``name.key`` (mode 0600)."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.pem").write_bytes(certificate_pem(self.certificate))
        private = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = folder / f"{name}.key"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def spki_sha256(certificate: x509.Certificate) -> str:
    """Return the pin of a certificate: SHA-256 of its public key, hex."""
    return public_pin(certificate.public_key())


def public_pin(key: CertificatePublicKeyTypes) -> str:
    """Return the pin of a public key: SHA-256 of its SPKI, hex."""
    return hashlib.sha256(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).hexdigest()


def make_authority(name: str, *, now: dt.datetime) -> KeyPair:
    """Make a self-signed CA.

    Args:
        name: Its common name.
        now: The time, with its zone.

    Returns:
        Certificate and key.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    builder = _builder(subject, subject, key, now=now, days=_CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)  # noqa: FBT003
    builder = builder.add_extension(_usage(certificates=True), critical=True)
    return KeyPair(builder.sign(key, hashes.SHA256()), key)


def make_certificate(
    authority: KeyPair,
    name: str,
    *,
    server: bool,
    now: dt.datetime,
    hosts: tuple[str, ...] = (),
    days: int = _LEAF_DAYS,
) -> KeyPair:
    """Make a certificate for one end of the channel.

    Args:
        authority: The CA.
        name: Common name.
        server: Usage serverAuth, else clientAuth; never both.
        now: The time, with its zone.
        hosts: DNS names and IP addresses of a server.
        days: Lifetime; negative makes an expired one (for tests).

    Returns:
        Certificate and key.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.subject
    builder = _builder(_subject(name), issuer, key, now=now, days=days)
    usage = (
        ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    )
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    builder = builder.add_extension(_usage(certificates=False), critical=True)
    builder = builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
        critical=False,
    )
    if hosts:
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return KeyPair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    now: dt.datetime,
    days: int,
) -> x509.CertificateBuilder:
    start = now - _BACKDATE if days > 0 else now + dt.timedelta(days=2 * days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )
