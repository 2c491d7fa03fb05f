# SPDX-License-Identifier: Apache-2.0
"""Pre-shared keys of clients on serial lines, as files.

``serial-key make`` draws one at either end; a person carries the file to the other, and
``serial-key install`` puts it into the folder on the appliance's host, under its id.
Neither lets anybody in: only configuration or a ceremony does, by the id.
"""

from pathlib import Path
from typing import Final

from appliance.durable import write_durably
from appliance.errors import ConfigError
from firmware_bridge.errors import BridgeError, MessageError
from firmware_bridge.key_file import make_key, read_key
from firmware_bridge.keys import require_key, wipe
from firmware_bridge.transport.pairing_keys import key_id_of

_PRIVATE_FOLDER: Final = 0o700


def make_serial_key(path: Path) -> str:
    """Draw a key and write it to a new file.

    Args:
        path: The file; mode 0600.

    Returns:
        Its id, 64 hex characters, which is no secret.

    Raises:
        ConfigError: If the file is there already, or can not be written.
    """
    try:
        make_key(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", code="file") from error
    return serial_key_id(path)


def serial_key_id(path: Path) -> str:
    """Return the id of the key in a file, 64 hex characters.

    Args:
        path: The file.

    Returns:
        The id.

    Raises:
        ConfigError: If it holds no key, or is open to others.
    """
    key = _read(path)
    try:
        return key_id_of(key).hex()
    finally:
        wipe(key)


def install_serial_key(path: Path, folder: Path) -> str:
    """Copy a key into the appliance's folder, under its id; safe to repeat.

    Args:
        path: The file that ``make_serial_key`` wrote.
        folder: The appliance's; made if it is missing.

    Returns:
        The key's id.

    Raises:
        ConfigError: If a file can not be read or written.
    """
    key = _read(path)
    try:
        key_id = key_id_of(key)
        folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        write_durably(_file_of(folder, key_id), bytes(key))
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}", code="file") from error
    finally:
        wipe(key)
    return key_id.hex()


def find_key(folder: Path, key_id: bytes) -> bytearray:
    """Read the key of an id.

    Args:
        folder: The appliance's.
        key_id: 32 bytes.

    Returns:
        The key, for the caller to wipe.

    Raises:
        MessageError: If the file is open to others, or its key has another id.
    """
    key = read_key(_file_of(folder, key_id))
    if len(key) == 0 or key_id_of(key) != key_id:
        wipe(key)
        raise MessageError("the key in the file has another id")
    return key


def has_key(folder: Path, key_id: str) -> bool:
    """Say whether the key of an id, in hex, lies in the appliance's folder."""
    return _file_of(folder, bytes.fromhex(key_id)).is_file()


def _file_of(folder: Path, key_id: bytes) -> Path:
    return folder / f"{key_id.hex()}.key"


def _read(path: Path) -> bytearray:
    """Read a key from a file.

    Returns:
        It, for the caller to wipe.

    Raises:
        ConfigError: If there is none.
    """
    try:
        key = read_key(path)
        require_key(key)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", code="file") from error
    except BridgeError as error:
        raise ConfigError(f"{path}: {error}", code="file") from error
    return key
