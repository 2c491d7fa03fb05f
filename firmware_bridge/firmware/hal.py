# SPDX-License-Identifier: Apache-2.0
"""What the firmware needs of a board; ``hal_host`` and ``hal_rp2`` have it."""

OFF = 0
RUN = 1
MAINTENANCE = 2
ENOENT = 2  # no such file; errno is not on every board


class Hal:
    """A board. Inputs are read again at every step; none of them blocks."""

    model = "none"
    boot_reason = 0  # 0 power on, 1 watchdog, 2 asked for

    def switch(self) -> int:
        """Return where the key switch stands."""
        raise NotImplementedError

    def loops_open(self) -> int:
        """Return which tamper loops are open: 1 case, 2 mesh."""
        raise NotImplementedError

    def confirm(self) -> bool:
        """Say whether the button "yes" is down."""
        raise NotImplementedError

    def deny(self) -> bool:
        """Say whether the button "no" is down."""
        raise NotImplementedError

    def show(self, text: str) -> None:
        """Show a text."""
        raise NotImplementedError

    def random(self, size: int) -> bytes:
        """Draw bytes from the source, unconditioned where the board has such."""
        raise NotImplementedError

    def load(self, name: str) -> bytes | None:
        """Return what was stored last; None if nothing ever was, b"" if unreadable."""
        raise NotImplementedError

    def store(self, name: str, data: bytes) -> None:
        """Store all of it or nothing; return when it is durable."""
        raise NotImplementedError

    def firmware_hash(self) -> bytes:
        """Return SHA-256 over the program that runs."""
        raise NotImplementedError
