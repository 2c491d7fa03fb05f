# SPDX-License-Identifier: Apache-2.0
"""How IRI 1.8.6 reads a request, and what it says when it can not.

Source: IRI 1.8.6 service/API.java, getParameterAsList and its siblings.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from hub.devnet.errors import ApiError
from trinary.trytes import is_trytes

MAX_REQUESTS_LIST: Final = 1_000
TOO_MUCH: Final = "Could not complete request"
NO_PARAMETER: Final = "Invalid parameters"


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
        raise ApiError(f"Invalid JSON syntax: {error}") from error
    if parsed is None:
        raise ApiError(
            f"Invalid request payload: '{body.decode()}'",
            HTTPStatus.INTERNAL_SERVER_ERROR,
            field="exception",
        )
    if not isinstance(parsed, dict):
        raise ApiError("Invalid JSON syntax: expected an object")
    return parsed


def read_list(parameters: Mapping[str, object], name: str, length: int) -> list[str]:
    """Read a list of texts.

    Args:
        parameters: Of the request.
        name: Of the parameter.
        length: Trytes of each, or 0 to leave them unchecked.

    Returns:
        The list.

    Raises:
        ApiError: It is missing, too long or holds something else.
    """
    if name not in parameters:
        raise ApiError(NO_PARAMETER)
    values = parameters[name]
    if not isinstance(values, list):
        raise ApiError(f"Invalid {name} input")
    if len(values) > MAX_REQUESTS_LIST:
        raise ApiError(TOO_MUCH)
    if not all(_is_text(value, length) for value in values):
        raise ApiError(f"Invalid {name} input")
    return values


def read_text(parameters: Mapping[str, object], name: str, length: int) -> str:
    """Read a text.

    Args:
        parameters: Of the request.
        name: Of the parameter.
        length: In trytes.

    Returns:
        The text.

    Raises:
        ApiError: It is missing or something else.
    """
    if name not in parameters:
        raise ApiError(NO_PARAMETER)
    value = parameters[name]
    if not isinstance(value, str) or not _is_text(value, length):
        raise ApiError(f"Invalid {name} input")
    return value


def read_integer(parameters: Mapping[str, object], name: str) -> int:
    """Read a number.

    Args:
        parameters: Of the request.
        name: Of the parameter.

    Returns:
        The number, cut to a whole one as Java does.

    Raises:
        ApiError: It is missing or something else.
    """
    if name not in parameters:
        raise ApiError(NO_PARAMETER)
    value = parameters[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ApiError(f"Invalid {name} input")
    return int(value)


def _is_text(value: object, length: int) -> bool:
    if not isinstance(value, str):
        return False
    return length == 0 or is_trytes(value, length=length)
