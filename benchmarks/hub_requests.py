# SPDX-License-Identifier: Apache-2.0
"""What the clients of ``benchmarks.hub`` send: whole HTTP requests."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trinary.kerl import with_checksum

USERS: Final = 2000
_PAYOUT: Final = "A" * 80 + "9"
_CHECKED: Final = with_checksum(_PAYOUT)


def _request(path: str, wish: object, *headers: str) -> bytes:
    body = json.dumps(wish).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: h",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _two_users() -> tuple[str, str]:
    source = secrets.randbelow(USERS)
    return name_of(source), name_of((source + 1 + secrets.randbelow(USERS - 1)) % USERS)


def _legacy_transfer(_key: str) -> bytes:
    source, target = _two_users()
    legs = [{"userId": source, "amount": -1}, {"userId": target, "amount": 1}]
    return _request("/", {"command": "ProcessTransferBatch", "transfers": legs})


def _legacy_withdrawal(_key: str) -> bytes:
    wish = {
        "command": "UserWithdraw",
        "userId": name_of(secrets.randbelow(USERS)),
        "amount": "1",
        "payoutAddress": _PAYOUT,
        "validateChecksum": "false",
    }
    return _request("/", wish)


def _once(key: str) -> tuple[str, str]:
    drawn = secrets.token_hex(16)
    return f"Authorization: Bearer {key}", f"Idempotency-Key: {drawn}"


def _v1_transfer(key: str) -> bytes:
    source, target = _two_users()
    legs = [{"user_id": source, "amount_i": -1}, {"user_id": target, "amount_i": 1}]
    return _request("/v1/transfer-batches", {"transfers": legs}, *_once(key))


def _v1_withdrawal(key: str) -> bytes:
    name = name_of(secrets.randbelow(USERS))
    wish = {"user_id": name, "amount_i": 1, "address": _CHECKED}
    return _request("/v1/withdrawals", wish, *_once(key))


@dataclass(frozen=True)
class Dialect:
    """How one API is asked.

    Attributes:
        name: As the server's process is told.
        transfer: A whole request, given an API key.
        withdrawal: Likewise.
        refused: In each answer that is not what was wanted.
    """

    name: str
    transfer: Callable[[str], bytes]
    withdrawal: Callable[[str], bytes]
    refused: bytes


LEGACY: Final = Dialect("legacy", _legacy_transfer, _legacy_withdrawal, b'"error"')
V1: Final = Dialect("v1", _v1_transfer, _v1_withdrawal, b'"code"')


def deposit_address(number: int) -> bytes:
    """Return a request for a deposit address.

    Args:
        number: Of the user.

    Returns:
        The whole request.
    """
    wish = {"command": "GetDepositAddress", "userId": name_of(number % USERS)}
    return _request("/", wish)


def name_of(number: int) -> str:
    """Return the identifier of a user."""
    return f"user-{number}"
