# SPDX-License-Identifier: Apache-2.0
"""Withdrawals the exchange itself has signed: compact JWS, carried by the hub.

A taken-over hub can ask for any payment its limits allow; one above the policy's
threshold needs a statement by a key the hub does not hold. It names withdrawal,
address, amount and tag, holds for one journal until it expires, and is used once.

Source: RFC 7515 (compact serialisation), RFC 7518 section 3.4 (ES256), RFC 8037
(EdDSA with Ed25519). The algorithm is pinned with each key: the token's own ``alg``
must name it and is never a choice.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from appliance.errors import RefusedError
from appliance.intent import Transfer, TransferOutput
from appliance.policy_file import Issuer
from appliance.wire import ShownTransaction

AUTHORISATION_TYPE: Final = "saltkeep-withdrawal+jws"
_CODE: Final = "authorisation"
_COORDINATE_BYTES: Final = 32


class Authorisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the exchange allows.

    Attributes:
        aud: The journal id of the appliance it is meant for.
        network: The network's name.
        withdrawal: Its uuid, chosen by the exchange; used once.
        address: Who is paid, 81 trytes.
        amount_i: How much, in iota.
        tag: The output's obsolete tag, 27 trytes.
        exp: When it ends, seconds since 1970.
        iss: The issuer's id, as the policy names it.
    """

    aud: str
    network: str
    withdrawal: str
    address: str
    amount_i: int
    tag: str
    exp: int
    iss: str


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str


def read_authorisation(
    text: str,
    issuers: Sequence[Issuer],
    *,
    journal_id: str,
    network: str,
    now_s: int,
) -> Authorisation:
    """Check one authorisation.

    Args:
        text: The compact JWS.
        issuers: Keys of the policy in force.
        journal_id: Of this appliance.
        network: Of this appliance.
        now_s: Policy time.

    Returns:
        What it allows.

    Raises:
        RefusedError: ``authorisation``, with what does not fit.
    """
    header, claims, signed, signature = _split(text)
    issuer = next((one for one in issuers if one.id == header.kid), None)
    if issuer is None or claims.iss != header.kid:
        raise RefusedError(_CODE, f"no issuer {header.kid:.80} in the policy")
    if header.typ != AUTHORISATION_TYPE or header.alg != issuer.algorithm:
        raise RefusedError(
            _CODE, f"expected type {AUTHORISATION_TYPE} by {issuer.algorithm}"
        )
    if not _verifies(issuer, signature, signed):
        raise RefusedError(_CODE, f"not signed by issuer {issuer.id}")
    if (claims.aud, claims.network) != (journal_id, network):
        raise RefusedError(_CODE, "it is meant for another appliance or network")
    if claims.exp <= now_s:
        raise RefusedError(_CODE, f"withdrawal {claims.withdrawal:.80}: it has expired")
    return claims


def match_outputs(
    transfer: Transfer, authorisations: Sequence[Authorisation]
) -> dict[int, Authorisation]:
    """Find the one output that each authorisation allows.

    Args:
        transfer: What is asked.
        authorisations: Checked.

    Returns:
        The authorisation of each output that has one, by the output's index.

    Raises:
        RefusedError: ``authorisation`` if one fits no output that is still without,
            or two name the same withdrawal.
    """
    found: dict[int, Authorisation] = {}
    names = {(one.iss, one.withdrawal) for one in authorisations}
    if len(names) != len(authorisations):
        raise RefusedError(_CODE, "two authorisations name the same withdrawal")
    for one in authorisations:
        fitting = [
            output.index
            for output in transfer.outputs
            if output.index not in found
            and _fits(one, output, transfer.transactions[output.index])
        ]
        if not fitting:
            raise RefusedError(
                _CODE,
                f"withdrawal {one.withdrawal:.80} fits no output: address, amount and"
                " tag must all be the same",
            )
        found[fitting[0]] = one
    return found


def _fits(one: Authorisation, output: TransferOutput, shown: ShownTransaction) -> bool:
    wanted = (one.address, one.amount_i, one.tag)
    return wanted == (output.address, output.amount_i, shown.obsolete_tag)


def _split(text: str) -> tuple[_Header, Authorisation, bytes, bytes]:
    try:
        signed, _, signature = text.rpartition(".")
        header, _, payload = signed.partition(".")
        return (
            msgspec.json.decode(_decode(header), type=_Header),
            msgspec.json.decode(_decode(payload), type=Authorisation),
            signed.encode("ascii"),
            _decode(signature),
        )
    except (msgspec.DecodeError, ValueError, binascii.Error) as error:
        raise RefusedError(_CODE, f"no compact JWS of this kind: {error}") from error


def _verifies(issuer: Issuer, signature: bytes, signed: bytes) -> bool:
    key = load_pem_public_key(issuer.key.encode())
    try:
        if issuer.algorithm == "EdDSA" and isinstance(key, Ed25519PublicKey):
            key.verify(signature, signed)
            return True
        if issuer.algorithm == "ES256" and isinstance(key, ec.EllipticCurvePublicKey):
            halves = signature[:_COORDINATE_BYTES], signature[_COORDINATE_BYTES:]
            if len(halves[1]) != _COORDINATE_BYTES:
                return False
            r, s = (int.from_bytes(half) for half in halves)
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
            return True
    except InvalidSignature:
        return False
    return False


def _decode(text: str) -> bytes:
    return base64.b64decode(
        text + "=" * (-len(text) % 4), altchars=b"-_", validate=True
    )
