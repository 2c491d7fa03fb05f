# SPDX-License-Identifier: Apache-2.0
"""Pairing: a device takes a key while a person holds its button in MAINTENANCE.

The key crosses the line once, in the clear: pair at the bench, by a short cable.
"""

import asyncio
import hmac
import time
from dataclasses import dataclass
from typing import Final

from firmware_bridge.errors import NoAnswerError, NotAuthenticError, PairingRefusedError
from firmware_bridge.frames import Frame, FrameDecoder
from firmware_bridge.keys import paired_mac, require_key
from firmware_bridge.messages import (
    PROTOCOL,
    ControlRefusal,
    Hello,
    HelloAsk,
    Message,
    Paired,
    PairRequest,
)
from firmware_bridge.serial_line import SerialLine
from firmware_bridge.session import control_frame, read_control

_AGAIN_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class PairedPanel:
    """A device that has taken a key.

    Attributes:
        boot_id: Of its present start, 16 bytes.
        firmware_hash: What it runs, 32 bytes; put it on the list of trusted firmware
            if it is the one you installed.
    """

    boot_id: bytes
    firmware_hash: bytes


async def pair(
    device: str, key: bytearray, *, baud: int = 115200, timeout_s: float = 30.0
) -> PairedPanel:
    """Give a device a key; waits for a person to turn the switch and hold the button.

    Args:
        device: The serial device.
        key: 32 random bytes; the caller keeps and wipes them.
        baud: Bits per second.
        timeout_s: For the person.

    Returns:
        What the device then proved with the key.

    Raises:
        PairingRefusedError: It has a key already, or could not store this one.
        NotAuthenticError: It answered with another key.
        NoAnswerError: It did not speak, or nobody held the button, in time.
    """
    require_key(key)
    line = SerialLine(device, baud=baud)
    try:
        return await _pair(line, key, until_s=time.monotonic() + timeout_s)
    finally:
        line.close()


async def hello(device: str, *, baud: int = 115200, timeout_s: float = 2.0) -> Hello:
    """Ask a device who it is; nothing of the answer is proved.

    Args:
        device: The serial device.
        baud: Bits per second.
        timeout_s: For the answer.

    Returns:
        What it says.

    Raises:
        NoAnswerError: Nobody answered.
    """
    line = SerialLine(device, baud=baud)
    try:
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            for said in await _exchange(line, HelloAsk(protocol=PROTOCOL)):
                if isinstance(said, Hello):
                    return said
    finally:
        line.close()
    raise NoAnswerError("no panel answered")


async def _pair(line: SerialLine, key: bytearray, *, until_s: float) -> PairedPanel:
    refusal = "no answer"
    while time.monotonic() < until_s:
        for said in await _exchange(line, PairRequest(key=bytes(key))):
            if isinstance(said, ControlRefusal):
                refusal = said.code
                if refusal not in {"switch", "button"}:
                    raise PairingRefusedError(refusal)
            elif isinstance(said, Paired):
                return _proved(said, key)
    raise NoAnswerError(f"the panel was not paired in time: {refusal}")


def _proved(said: Paired, key: bytearray) -> PairedPanel:
    expected = paired_mac(key, boot_id=said.boot_id, firmware_hash=said.firmware_hash)
    if not hmac.compare_digest(expected, said.mac):
        raise NotAuthenticError("the panel proved another key than it was given")
    return PairedPanel(said.boot_id, said.firmware_hash)


async def _exchange(line: SerialLine, message: Message) -> list[Message]:
    """Say something, wait a moment, and return what was said meanwhile."""
    line.write(control_frame(message))
    decoder, said = FrameDecoder(), []
    until_s = time.monotonic() + _AGAIN_S
    while time.monotonic() < until_s:
        await asyncio.sleep(0.01)
        for arrival in decoder.feed(line.read()):
            if isinstance(arrival, Frame):
                message_read = read_control(arrival)
                said += [message_read] if message_read is not None else []
        if said:
            await asyncio.sleep(_AGAIN_S if said[0].kind == ControlRefusal.kind else 0)
            break
    return said
