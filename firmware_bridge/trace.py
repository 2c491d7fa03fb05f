# SPDX-License-Identifier: Apache-2.0
"""What went over a line, to look at later: a file of JSON lines.

A trace holds frames as they were. It holds no key: a pairing is not recorded.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from firmware_bridge import cobs
from firmware_bridge.errors import MessageError
from firmware_bridge.frames import BadFrame, Channel, Flags, Frame, read_unchecked
from firmware_bridge.messages import Message, PairRequest, decode

_WAYS: Final = {"in": "panel", "out": "host"}


class TraceWriter:
    """Writes a trace.

    Args:
        file: Open for writing text.
        clock_s: The monotonic time.
    """

    def __init__(self, file: TextIO, *, clock_s: Callable[[], float]) -> None:
        self._file = file
        self._clock_s = clock_s
        self._start_s = clock_s()

    def tap(self, way: str, data: bytes) -> None:
        """Write bytes down as they pass.

        Args:
            way: ``in`` from the panel, ``out`` to it.
            data: The bytes.
        """
        at_s = round(self._clock_s() - self._start_s, 6)
        line = {"at_s": at_s, "way": way, "data": data.hex()}
        self._file.write(json.dumps(line) + "\n")


@dataclass(frozen=True, slots=True)
class Passed:
    """One frame of a trace.

    Attributes:
        at_s: Seconds since the trace began.
        sender: ``panel`` or ``host``.
        what: The message's name with its fields, an acknowledgement, or why the
            frame was bad.
    """

    at_s: float
    sender: str
    what: str


def replay(path: Path) -> Iterator[Passed]:
    """Read a trace, frame by frame.

    Tags can not be checked without the session's keys and are taken as they are.

    Args:
        path: The file.

    Yields:
        What passed, in order.

    Raises:
        MessageError: If the file is no trace.
    """
    pending = dict.fromkeys(_WAYS, b"")
    for line in path.read_text().splitlines():
        try:
            piece = json.loads(line)
            at_s, way = float(piece["at_s"]), str(piece["way"])
            heard = pending[way] + bytes.fromhex(piece["data"])
        except (ValueError, KeyError, TypeError) as error:
            raise MessageError(f"{path.name} is no trace") from error
        *whole, pending[way] = heard.split(cobs.DELIMITER)
        for stuffed in filter(None, whole):
            yield Passed(at_s, _WAYS[way], describe(read_unchecked(stuffed)))


def describe(arrival: Frame | BadFrame) -> str:
    """Say what a frame is, in one line."""
    if isinstance(arrival, BadFrame):
        return f"bad frame: {arrival.value}"
    if arrival.flags & Flags.ACK:
        return f"acknowledges {arrival.sequence}"
    try:
        said = _shown(decode(arrival.kind, arrival.payload))
    except MessageError as error:
        said = f"type {arrival.kind:#04x}: {error}"
    return said if arrival.channel is Channel.CONTROL else f"{arrival.sequence} {said}"


def _shown(message: Message) -> str:
    if isinstance(message, PairRequest):
        return repr(message)  # shows no key
    parts = []
    for field in dataclasses.fields(message):
        name, value = field.name, getattr(message, field.name)
        text = value.hex() if isinstance(value, bytes) else repr(value)
        parts.append(f"{name}={text}")
    return f"{type(message).__name__}({', '.join(parts)})"
