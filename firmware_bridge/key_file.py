# SPDX-License-Identifier: Apache-2.0
"""A pairing key in a file, for ``saltkeep-panel``; an appliance has a vault."""

import os
import secrets
from pathlib import Path
from typing import Final

from firmware_bridge.errors import MessageError
from firmware_bridge.keys import PAIRING_KEY_BYTES, wipe

_FOREIGN_MODE: Final = 0o077


def make_key(path: Path) -> None:
    """Draw a key and write it to a new file, mode 0600."""
    key = bytearray(secrets.token_bytes(PAIRING_KEY_BYTES))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    wipe(key)


def read_key(path: Path) -> bytearray:
    """Read a key.

    Args:
        path: The file.

    Returns:
        What it holds, for the caller to wipe.

    Raises:
        MessageError: If the file is open to others.
    """
    if path.stat().st_mode & _FOREIGN_MODE:
        raise MessageError(f"{path} is open to others: make it mode 0600")
    key = bytearray(PAIRING_KEY_BYTES + 1)
    with path.open("rb", buffering=0) as file:
        size = file.readinto(key)
    del key[size:]
    return key
