# SPDX-License-Identifier: Apache-2.0
"""What can happen to a frame between two ends, drawn from a seed."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

_Item = TypeVar("_Item")
DELIMITER = b"\x00"


class Dice:
    """Numbers that a seed determines: a failing sequence can be run again."""

    def __init__(self, seed: int) -> None:
        self._blocks = self._stream(seed)
        self._bytes = b""

    @staticmethod
    def _stream(seed: int) -> Iterator[bytes]:
        for count in itertools.count():
            yield hashlib.sha512(f"{seed}/{count}".encode()).digest()

    def bytes(self, size: int) -> bytes:
        while len(self._bytes) < size:
            self._bytes += next(self._blocks)
        drawn, self._bytes = self._bytes[:size], self._bytes[size:]
        return drawn

    def below(self, limit: int) -> int:
        return int.from_bytes(self.bytes(4)) % limit

    def one_in(self, odds: int) -> bool:
        return self.below(odds) == 0

    def choose(self, items: Sequence[_Item]) -> _Item:
        return items[self.below(len(items))]


FAULTS = (
    "drop",
    "flip",
    "duplicate",
    "reorder",
    "delay",
    "truncate",
    "replay",
    "garbage",
)


@dataclass
class Injector:
    """One direction of a bad cable.

    Attributes:
        odds: One frame in so many is hit.
        healthy: Whether it has been mended.
    """

    dice: Dice
    odds: int
    heard: list[bytes] = field(default_factory=list)
    healthy: bool = False

    def pass_on(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return what comes out: delays in ms, and bytes."""
        out = []
        for frame in data.split(DELIMITER):
            if frame:
                self.heard.append(frame)
                out += [
                    (delay, DELIMITER + hit + DELIMITER)
                    for delay, hit in self._hit(frame)
                ]
        return out

    def _hit(  # noqa: C901, PLR0911 - a table
        self, frame: bytes
    ) -> list[tuple[int, bytes]]:
        if self.healthy or not self.dice.one_in(self.odds):
            return [(1, frame)]
        match self.dice.choose(FAULTS):
            case "drop":
                return []
            case "flip":
                return [(1, self._flip(frame))]
            case "duplicate":
                return [(1, frame), (1 + self.dice.below(400), frame)]
            case "reorder":
                return [(2 + self.dice.below(5), frame)]
            case "delay":
                return [(self.dice.below(1500), frame)]
            case "truncate":
                return [(1, frame[: self.dice.below(len(frame))] or b"\x01")]
            case "garbage":
                return [(1, self.dice.bytes(1 + self.dice.below(40))), (1, frame)]
            case _:
                return [(1, frame), (1, self.dice.choose(self.heard))]

    def _flip(self, frame: bytes) -> bytes:
        place = self.dice.below(len(frame))
        flipped = frame[place] ^ (1 << self.dice.below(8))
        return frame[:place] + bytes([flipped]) + frame[place + 1 :]
