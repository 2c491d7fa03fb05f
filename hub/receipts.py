# SPDX-License-Identifier: Apache-2.0
"""Receipts of deposit addresses: the appliance's word, checked without the hub; pure.

The hub checks every receipt before it stores an address. A back end checks it once
more, with a copy of the identity key that did not come through the hub: then a hub
that was taken over can not show customers an address of its own.
"""

import contextlib
import hashlib
from dataclasses import dataclass
from typing import Any, Final

import jwt

RECEIPT_TYPE: Final = "saltkeep-address+jws"
_LABEL: Final = b"saltkeep user commitment v1\0"
_PEM_END: Final = "-----END PUBLIC KEY-----"
_ALGORITHMS: Final = ("ES256",)


@dataclass(frozen=True, slots=True)
class PinnedIdentity:
    """What receipts are checked against; not to be fetched through the hub.

    Attributes:
        pem: The appliance's identity key as ``init`` printed it; several while it
            is being rotated.
        network: The network's name.
        pooled: The hub keeps addresses ready: their receipts name no user, and one
            that names nobody is taken as well.
    """

    pem: str
    network: str
    pooled: bool = False


class ReceiptMismatchError(Exception):
    """The receipt is not of the pinned key, or not of this address and user."""


def user_commitment(user_id: str) -> str:
    """Commit to a user without naming them.

    Args:
        user_id: The account's identifier.

    Returns:
        SHA-256 over a label and the identifier, in hex: a front end that knows
        the identifier can check the receipt against it.
    """
    return hashlib.sha256(_LABEL + user_id.encode()).hexdigest()


def decode_receipt(receipt: str, identity_pem: str) -> dict[str, Any]:
    """Decode a receipt with the first pinned key that signed it.

    Args:
        receipt: Compact JWS.
        identity_pem: One or more public keys, PEM.

    Returns:
        ``header`` and ``payload``; ``jwt.InvalidTokenError`` if no key fits.
    """
    *keys, last = identity_pem.strip().removesuffix(_PEM_END).split(_PEM_END)
    for key in keys:
        with contextlib.suppress(jwt.InvalidSignatureError):
            return jwt.decode_complete(
                receipt, key + _PEM_END, algorithms=list(_ALGORITHMS)
            )
    return jwt.decode_complete(receipt, last + _PEM_END, algorithms=list(_ALGORITHMS))


def require_receipt(
    receipt: str, identity: PinnedIdentity, *, address: str, user_id: str
) -> None:
    """Insist that the appliance issued an address for a user.

    Args:
        receipt: Compact JWS.
        identity: What it is checked against.
        address: 81 trytes.
        user_id: Whose deposits it is to receive.

    Raises:
        ReceiptMismatchError: If it says anything else, or nothing that is signed.
    """
    try:
        decoded = decode_receipt(receipt, identity.pem)
    except (jwt.InvalidTokenError, ValueError, TypeError) as error:
        raise ReceiptMismatchError(f"not signed by the pinned key: {error}") from error
    claims = decoded["payload"]
    users = {user_commitment(user_id), *([""] if identity.pooled else [])}
    if decoded["header"].get("typ") != RECEIPT_TYPE:
        raise ReceiptMismatchError("this is no receipt of an address")
    fits = (claims.get("address"), claims.get("network")) == (address, identity.network)
    if not fits or claims.get("user_commitment") not in users:
        raise ReceiptMismatchError("the receipt is of another address, user or network")
