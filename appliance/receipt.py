# SPDX-License-Identifier: Apache-2.0
"""What the identity key signs: address receipts and journal checkpoints, as JWS.

A receipt lets a front end check an address by itself: a taken-over hub can not show
a user an address of its own. A checkpoint says where the journal ended, so that a
truncated export is found out. The key is pinned from the print-out of ``init``.

Source: RFC 7515 (JWS compact serialisation), RFC 7518 section 3.4 (ES256: r, s),
RFC 7638 (key id: JWK thumbprint).
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from appliance.errors import RefusedError

RECEIPT_TYPE: Final = "saltkeep-address+jws"
CHECKPOINT_TYPE: Final = "saltkeep-checkpoint+jws"
SUCCESSION_TYPE: Final = "saltkeep-succession+jws"
_PEM_END: Final = b"-----END PUBLIC KEY-----"
_COORDINATE_BYTES: Final = 32


def public_key_pem(point: bytes) -> str:
    """Return the PEM of a P-256 public key given as uncompressed point."""
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def key_id(point: bytes) -> str:
    """Return the JWK thumbprint of a P-256 public key (43 characters)."""
    x, y = point[1 : 1 + _COORDINATE_BYTES], point[1 + _COORDINATE_BYTES :]
    jwk = {"crv": "P-256", "kty": "EC", "x": _encode(x), "y": _encode(y)}
    return _encode(hashlib.sha256(_canonical(jwk)).digest())


def make_statement(
    kind: str,
    claims: dict[str, Any],
    *,
    point: bytes,
    sign_digest: Callable[[bytes], bytes],
) -> str:
    """Return a signed statement.

    Args:
        kind: ``RECEIPT_TYPE`` (claims network, address, generation,
            security_level, commitment, user_commitment, issued_at),
            ``CHECKPOINT_TYPE`` (journal_id, epoch, sequence, hash, issued_at) or
            ``SUCCESSION_TYPE`` (journal_id, previous, key).
        claims: What it says.
        point: The identity key, for the key id.
        sign_digest: ECDSA P-256 in the HSM: 32-byte digest to r, s (64 bytes).

    Returns:
        header.payload.signature, each base64url without padding.
    """
    header = {"alg": "ES256", "kid": key_id(point), "typ": kind}
    signed = f"{_encode(_canonical(header))}.{_encode(_canonical(claims))}"
    digest = hashlib.sha256(signed.encode("ascii")).digest()
    return f"{signed}.{_encode(sign_digest(digest))}"


def read_statement(text: str, *, kind: str, identity_pem: bytes) -> dict[str, Any]:
    """Check a statement's signature and type, and return what it says.

    Args:
        text: The compact JWS.
        kind: The type it must have.
        identity_pem: The pinned identity key, or several one after another.

    Returns:
        Its claims.

    Raises:
        RefusedError: ``statement`` if it is malformed, of another type, or not of
            this key.
    """
    try:
        signed, _, signature = text.strip().rpartition(".")
        header, payload = (json.loads(_decode(part)) for part in signed.split("."))
        raw = _decode(signature)
        keys = _load_keys(identity_pem)
    except (ValueError, binascii.Error) as error:
        raise RefusedError("statement", f"no signed statement: {error}") from error
    if not isinstance(header, dict) or not isinstance(payload, dict):
        raise RefusedError("statement", "no signed statement: JSON objects expected")
    if header.get("alg") != "ES256" or header.get("typ") != kind:
        raise RefusedError("statement", f"not an ES256 statement of type {kind}")
    r, s = raw[:_COORDINATE_BYTES], raw[_COORDINATE_BYTES:]
    der = encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
    if not any(_verifies(key, der, signed) for key in keys):
        raise RefusedError("statement", "not signed by this identity key")
    claims: dict[str, Any] = payload
    return claims


def successors(statements: Sequence[str], *, identity_pem: bytes) -> list[str]:
    """Follow how identity keys named each other, from one that is trusted.

    Args:
        statements: Of succession, the oldest first.
        identity_pem: The pinned key, or several.

    Returns:
        PEM of each key they lead to. Statements of other keys are passed over: of
        before the pinned one, and of after a restore, whose key nobody could name.
        ``RefusedError`` if one that should follow was not signed by the key before.
    """
    trusted = identity_pem
    found: list[str] = []
    for statement in statements:
        if _previous_of(statement) not in map(_thumbprint, _load_keys(trusted)):
            continue
        claims = read_statement(statement, kind=SUCCESSION_TYPE, identity_pem=trusted)
        trusted = str(claims["key"]).encode()
        found.append(str(claims["key"]))
    return found


def _previous_of(statement: str) -> str:
    try:
        return str(json.loads(_decode(statement.split(".")[1]))["previous"])
    except (ValueError, IndexError, KeyError) as error:
        raise RefusedError("statement", "no statement of succession") from error


def _load_keys(pem: bytes) -> list[ec.EllipticCurvePublicKey]:
    """Load one or several public keys written one after another."""
    keys = []
    for block in pem.split(_PEM_END)[:-1]:
        key = serialization.load_pem_public_key(block.strip() + b"\n" + _PEM_END)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise RefusedError("statement", "an identity key is a P-256 public key")
        keys.append(key)
    if not keys:
        raise RefusedError("statement", "there is no identity key in PEM")
    return keys


def _thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    return key_id(
        key.public_bytes(
            serialization.Encoding.X962,
            serialization.PublicFormat.UncompressedPoint,
        )
    )


def _verifies(key: ec.EllipticCurvePublicKey, der: bytes, signed: str) -> bool:
    try:
        key.verify(der, signed.encode("ascii"), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _decode(text: str) -> bytes:
    return base64.b64decode(
        text + "=" * (-len(text) % 4), altchars=b"-_", validate=True
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
