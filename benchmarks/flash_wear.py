# SPDX-License-Identifier: Apache-2.0
"""How many counts of a panel cost how many erasures: ``micropython flash_wear.py``.

Runs the firmware's own record on MicroPython's littlefs, on a memory device that counts
what is erased. From the repository's root, where ``micropython`` is the unix port::

    MICROPYPATH=. micropython -X heapsize=64m benchmarks/flash_wear.py 600000

Its geometry is that of an RP2040 board with 2 MB of flash. In the subset of Python that
MicroPython knows.
"""

import os
import sys

import vfs

from firmware_bridge.firmware.memory import Memory

BLOCKS = 352
BLOCK_BYTES = 4096
PAGE_BYTES = 256
FILES = 20
"""Of the firmware, in a folder of their own as on a board; never written again."""
COUNT, SIZE, ERASE = 4, 5, 6
"""What a block device is asked.

Source: MicroPython's documentation, class AbstractBlockDev.
"""


class CountingFlash:
    """A block device in memory."""

    def __init__(self) -> None:
        self.data = bytearray(b"\xff" * (BLOCKS * BLOCK_BYTES))
        self.erased = bytes(b"\xff" * BLOCK_BYTES)
        self.erasures = [0] * BLOCKS

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        """Read a part of a block."""
        start = block * BLOCK_BYTES + offset
        buffer[:] = memoryview(self.data)[start : start + len(buffer)]

    def writeblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        """Write a part of a block that is erased."""
        start = block * BLOCK_BYTES + offset
        self.data[start : start + len(buffer)] = buffer

    def ioctl(self, request: int, block: int) -> int:
        """Tell the geometry; erase a block."""
        if request == ERASE:
            self.erasures[block] += 1
            self.writeblocks(block, self.erased)
        return {COUNT: BLOCKS, SIZE: BLOCK_BYTES}.get(request, 0)


class Board:
    """Stores as ``hal_rp2`` does."""

    def load(self, _: str) -> None:
        """Return nothing: a new device."""
        return

    def store(self, name: str, data: bytes) -> None:
        """Replace a file whole."""
        write(name + ".new", data)
        # MicroPython has no pathlib.
        os.rename("/flash/" + name + ".new", "/flash/" + name + ".bin")  # noqa: PTH104


def write(name: str, data: bytes) -> None:
    """Write a file below the folder where the device is mounted."""
    with open("/flash/" + name, "wb") as file:  # noqa: PTH123
        file.write(data)


def main(counts: int) -> None:
    """Count, and print what it took.

    Args:
        counts: How often.
    """
    flash = CountingFlash()
    vfs.VfsLfs2.mkfs(flash, progsize=PAGE_BYTES)
    vfs.mount(vfs.VfsLfs2(flash, progsize=PAGE_BYTES), "/flash")
    os.mkdir("/flash/lib")  # noqa: PTH102
    for number in range(FILES):
        write(f"lib/{number}", bytes(3000))
    write("main.py", bytes(100))
    write("log.bin", bytes(5440))
    before = list(flash.erasures)
    memory = Memory(Board())
    memory.key = bytes(range(32))
    for _ in range(counts):
        memory.counter += 1
        memory.save()
    # MicroPython's zip knows no ``strict``.
    worn = [flash.erasures[block] - before[block] for block in range(BLOCKS)]
    print("counts", counts, "erasures", sum(worn), "in the block with most", max(worn))


main(int(sys.argv[1]))
