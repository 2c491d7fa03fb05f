# SPDX-License-Identifier: Apache-2.0
"""What runs here, as one hash: every file of the firmware and the board's own."""

import hashlib

FILES = (
    "cbor.py",
    "cobs.py",
    "commands.py",
    "control.py",
    "frame.py",
    "guard.py",
    "hal.py",
    "identity.py",
    "link.py",
    "logbook.py",
    "mac.py",
    "main.py",
    "memory.py",
    "question.py",
    "sentinel.py",
)


def firmware_hash(folder: str, hal: str) -> bytes:
    """Hash the firmware with a board's ``hal``: names, sizes and contents.

    A simulator's hash is another one than a board's, so that a list of trusted
    firmware can not confuse them.
    """
    state = hashlib.sha256()
    for name in FILES + (hal,):  # noqa: RUF005 - MicroPython
        with open(folder + "/" + name, "rb") as file:
            content = file.read()
        state.update(name.encode() + b"\x00" + len(content).to_bytes(4, "big"))
        state.update(content)
    return state.digest()
