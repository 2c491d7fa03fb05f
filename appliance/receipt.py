# SPDX-License-Identifier: Apache-2.0
"""Deposit-address receipts: a compact JWS that a front end checks by itself.

The identity key in the HSM signs, so a taken-over hub can not show a user an
address of its own. The key is pinned from the print-out of ``init``.

Source: RFC 7515 (JWS compact serialisation), RFC 7518 section 3.4 (ES256: r, s),
RFC 7638 (key id: JWK thumbprint).
"""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

RECEIPT_TYPE: Final = "saltkeep-address+jws"
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


def make_receipt(
    claims: dict[str, Any], *, point: bytes, sign_digest: Callable[[bytes], bytes]
) -> str:
    """Return the receipt for these claims.

    Args:
        claims: network, address, generation, security_level, commitment,
            user_commitment, issued_at.
        point: The identity key, for the key id.
        sign_digest: ECDSA P-256 in the HSM: 32-byte digest to r, s (64 bytes).

    Returns:
        header.payload.signature, each base64url without padding.
    """
    header = {"alg": "ES256", "kid": key_id(point), "typ": RECEIPT_TYPE}
    signed = f"{_encode(_canonical(header))}.{_encode(_canonical(claims))}"
    digest = hashlib.sha256(signed.encode("ascii")).digest()
    return f"{signed}.{_encode(sign_digest(digest))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
