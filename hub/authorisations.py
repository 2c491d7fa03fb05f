# SPDX-License-Identifier: Apache-2.0
"""Withdrawals that the exchange has signed, as far as a hub can look at them; pure.

The signature is the appliance's business: a hub holds no key to check it with, and
its word would count for nothing. But one for another withdrawal would have the whole
sweep refused, so what it says is compared before it is stored.
"""

import base64
import binascii
import json
from typing import Final

from hub.errors import AuthorisationInvalidError
from hub.model import Address, Tag, WithdrawalUuid

MAX_CHARACTERS: Final = 4096
_PARTS: Final = 3


def require_fitting(
    text: str, *, uuid: WithdrawalUuid, address: Address, amount_i: int, tag: Tag
) -> None:
    """Insist that an authorisation names exactly this withdrawal.

    Args:
        text: Compact JWS.
        uuid: The withdrawal's public name.
        address: Where it goes, 81 trytes.
        amount_i: Iota.
        tag: 27 trytes.

    Raises:
        AuthorisationInvalidError: If it is none, or names another.
    """
    claims = _claims_of(text)
    wanted: dict[str, object] = {
        "withdrawal": uuid,
        "address": address,
        "amount_i": amount_i,
        "tag": tag,
    }
    differing = [name for name, value in wanted.items() if claims.get(name) != value]
    if differing:
        message = f"the authorisation differs in {', '.join(differing)}"
        raise AuthorisationInvalidError(message)


def _claims_of(text: str) -> dict[str, object]:
    parts = text.split(".")
    if len(parts) != _PARTS or len(text) > MAX_CHARACTERS:
        message = f"a compact JWS has three parts and {MAX_CHARACTERS} characters"
        raise AuthorisationInvalidError(message)
    padded = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        claims = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        message = "the authorisation's payload is no JSON in base64url"
        raise AuthorisationInvalidError(message) from error
    if not isinstance(claims, dict):
        message = "the authorisation's payload is no JSON object"
        raise AuthorisationInvalidError(message)
    return claims
