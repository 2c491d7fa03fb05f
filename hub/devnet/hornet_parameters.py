# SPDX-License-Identifier: Apache-2.0
"""How HORNET 0.5.6 reads a request, and what it says when it can not.

Source: HORNET 0.5.6 plugins/webapi/api.go.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from hub.devnet.errors import ApiError
from trinary.trytes import is_trytes

_HASH: Final = 81
_HASH_WITH_CHECKSUM: Final = 90


def parse(body: bytes) -> Mapping[str, object]:
    """Read the body.

    Args:
        body: As received.

    Returns:
        The parameters, ``command`` among them.

    Raises:
        ApiError: It is not a JSON object.
    """
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise ApiError("error parsing command") from error
    if not isinstance(parsed, dict):
        raise ApiError("error parsing command")
    return parsed


def read_list(parameters: Mapping[str, object], name: str) -> list[str]:
    """Read a list of texts.

    Args:
        parameters: Of the request.
        name: Of the parameter.

    Returns:
        The list; empty when it is missing.

    Raises:
        ApiError: It is something else.
    """
    values = parameters.get(name) or []
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise ApiError(
            f"internal error: invalid {name}", HTTPStatus.INTERNAL_SERVER_ERROR
        )
    return values


def read_hash(parameters: Mapping[str, object], name: str) -> str:
    """Read a transaction hash.

    Args:
        parameters: Of the request.
        name: Of the parameter, such as ``trunkTransaction``.

    Returns:
        81 trytes.

    Raises:
        ApiError: It is missing or something else.
    """
    value = parameters.get(name)
    if isinstance(value, str) and is_trytes(value, length=_HASH):
        return value
    short = name.removesuffix("Transaction")
    raise ApiError(f"invalid {short} hash supplied")


def plain_address(address: str) -> str:
    """Cut an address's checksum off, unchecked as HORNET left it.

    Args:
        address: 81 or 90 trytes.

    Returns:
        81 trytes.

    Raises:
        ApiError: It is no address.
    """
    if len(address) in {_HASH, _HASH_WITH_CHECKSUM} and is_trytes(address):
        return address[:_HASH]
    raise ApiError(f"Invalid address: {address}")
