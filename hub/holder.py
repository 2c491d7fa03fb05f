# SPDX-License-Identifier: Apache-2.0
"""Who this hub is to the others: a name in its state folder, held by one process."""

import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hub.errors import ConfigError

_NAME_FILE: Final = "holder"
_LOCK_FILE: Final = "hub.lock"
_HOST_CHARACTERS: Final = 40


@contextmanager
def held_name(state_dir: Path) -> Iterator[str]:
    """Hold the name of the hub whose state folder this is.

    The kernel lets go of the lock when the process ends, however it ends: so a hub
    that was killed and started again takes its own leases back without waiting.

    Args:
        state_dir: A folder of this hub alone; another hub has another one.

    Yields:
        The name, at most 64 characters.

    Raises:
        ConfigError: If another process runs a hub from this folder, or it can not be
            written.
    """
    try:
        lock = os.open(state_dir / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"hub.state_dir: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield f"{socket.gethostname()[:_HOST_CHARACTERS]}:{_name_in(state_dir)}"
    except BlockingIOError as error:
        raise ConfigError("hub.state_dir: another hub runs from this folder") from error
    finally:
        os.close(lock)


def _name_in(state_dir: Path) -> str:
    file = state_dir / _NAME_FILE
    if not file.exists():
        file.write_text(secrets.token_hex(8), encoding="ascii")
    return file.read_text(encoding="ascii").strip()[:16]
