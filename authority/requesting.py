# SPDX-License-Identifier: Apache-2.0
"""A key and a request for its certificate, where no other program makes them."""

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from authority.issuing import IssueError, names_of, spki_sha256
from authority.register import write_new


def make_request(path: Path, name: str, hosts: Sequence[str]) -> tuple[str, str]:
    """Make a key in a new file, and ask for its certificate.

    Args:
        path: Where the key goes, mode 0600; nothing may be there.
        name: Common name.
        hosts: DNS names and IP addresses, of a server.

    Returns:
        The request in PEM; the SHA-256 of the public key.

    Raises:
        IssueError: If the key can not be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if hosts:
        names = x509.SubjectAlternativeName(names_of(hosts))
        builder = builder.add_extension(names, critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    try:
        write_new(path, private, mode=0o600)
    except OSError as error:
        raise IssueError(f"{path}: {error.strerror}") from error
    return pem.decode(), spki_sha256(key.public_key())
