# SPDX-License-Identifier: Apache-2.0
"""Small files that are there whole or not at all, also after a power cut."""

import os
from pathlib import Path
from typing import Final

from failpoints import failpoint

_MODE: Final = 0o600


def write_durably(path: Path, data: bytes, *, before_rename: str = "") -> None:
    """Write a private file: temporary, synced, renamed, its folder synced.

    Args:
        path: Where it goes; its folder is there.
        data: The whole content.
        before_rename: A failpoint's name, for crash tests.
    """
    temporary = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(temporary, flags, _MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if before_rename:
        failpoint(before_rename)
    temporary.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have a rename or a removal in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
