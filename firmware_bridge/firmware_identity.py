# SPDX-License-Identifier: Apache-2.0
"""The hash that the reference firmware of this very release has on a board."""

from pathlib import Path
from typing import Literal

from firmware_bridge import firmware
from firmware_bridge.firmware import identity


def firmware_hash(board: Literal["host", "rp2"]) -> bytes:
    """Compute what to put on the list of trusted firmware.

    Args:
        board: Which hardware layer: ``rp2`` for RP2040-class boards, ``host`` for the
            simulator, which no production list should name.

    Returns:
        SHA-256, 32 bytes.
    """
    folder = Path(next(iter(firmware.__path__)))
    return identity.firmware_hash(str(folder), f"hal_{board}.py")
