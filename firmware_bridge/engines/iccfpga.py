# SPDX-License-Identifier: Apache-2.0
"""The ICCFPGA module (CryptoCore): nonces from an FPGA over a UART.

One request is a line of JSON that ends with a carriage return; its reply is a line of
JSON that ends with a newline. Only proof of work is used: the module can keep seeds and
sign hashes blindly, and nothing of that is asked of it.

Source: the API reference of CryptoCore (``iot/0.1/cryptocore`` of the IOTA
documentation): 115200 8N1, ``doPow``, replies with code, command, duration, error.
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Final

from firmware_bridge.errors import EngineError, LineError
from firmware_bridge.serial_line import SerialLine

TRANSACTION_TRYTES: Final = 2673
NONCE_TRYTES: Final = 27
BAUD: Final = 115200
_REPLY_BYTES: Final = 1 << 16  # a transaction is 2673; more is no reply
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """What the module found.

    Attributes:
        trytes: The transaction with its nonce, 2673 trytes.
        duration_ms: How long it says that it took.
    """

    trytes: str
    duration_ms: float


class IccFpga:
    """One module on one line; the line is open while a request is under way.

    Args:
        device: The serial device.
        timeout_s: For one nonce, the transfer of about half a second included.
        baud: Bits per second.
    """

    def __init__(self, device: str, *, timeout_s: float, baud: int = BAUD) -> None:
        self._device = device
        self._timeout_s = timeout_s
        self._baud = baud
        self._turn = asyncio.Lock()

    async def find_nonce(self, trytes: str, *, min_weight_magnitude: int) -> Worked:
        """Have a nonce found; whoever asks checks it.

        Args:
            trytes: The transaction, 2673 trytes; its present nonce is ignored.
            min_weight_magnitude: Trailing zero trits of its hash.

        Returns:
            The transaction as it came back, with nothing but its nonce changed.

        Raises:
            EngineError: The module is not there, silent, or answered nonsense.
        """
        request = {
            "command": "doPow",
            "trytes": [trytes],
            "minWeightMagnitude": min_weight_magnitude,
        }
        async with self._turn:
            reply = await self._ask(request)
        return _worked(reply, trytes)

    async def version(self) -> str:
        """Ask for the module's version.

        Returns:
            What it says.

        Raises:
            EngineError: The module is not there, silent, or answered nonsense.
        """
        async with self._turn:
            reply = await self._ask({"command": "version"})
        said = reply.get("version")
        if not isinstance(said, str):
            raise EngineError("the proof-of-work module tells no version")
        return said

    async def _ask(self, request: dict[str, object]) -> dict[str, object]:
        try:
            line = SerialLine(self._device, baud=self._baud)
        except LineError as error:
            raise EngineError(f"the proof-of-work module: {error}") from error
        try:
            async with asyncio.timeout(self._timeout_s):
                await _write(line, json.dumps(request).encode() + b"\r")
                return await _reply(line, str(request["command"]))
        except TimeoutError:
            raise EngineError(
                f"the proof-of-work module was silent for {self._timeout_s} s"
            ) from None
        except LineError as error:
            raise EngineError(f"the proof-of-work module: {error}") from error
        finally:
            line.close()


async def _write(line: SerialLine, data: bytes) -> None:
    left = data
    while left:
        left = left[line.write(left) :]
        if left:
            await _ready(line, writing=True)


async def _reply(line: SerialLine, command: str) -> dict[str, object]:
    """Read lines until one is the reply; the module may print others in between."""
    pending = b""
    while True:
        await _ready(line, writing=False)
        pending += line.read()
        *lines, pending = pending.split(b"\n")
        for text in lines:
            reply = _parsed(text)
            # A refusal may come without the command it is about.
            if reply is not None and reply.get("command", command) == command:
                return _accepted(reply)
        if len(pending) > _REPLY_BYTES:
            raise EngineError("the proof-of-work module does not stop talking")


def _parsed(text: bytes) -> dict[str, object] | None:
    with contextlib.suppress(ValueError, RecursionError):
        reply = json.loads(text)
        if isinstance(reply, dict) and "code" in reply:
            return reply
    return None


def _accepted(reply: dict[str, object]) -> dict[str, object]:
    if reply.get("code") != _OK:
        raise EngineError(f"the proof-of-work module refused: {reply.get('error')!r}")
    return reply


def _worked(reply: dict[str, object], asked: str) -> Worked:
    trytes = reply.get("trytes")
    found = trytes[0] if isinstance(trytes, list) and len(trytes) == 1 else None
    if not isinstance(found, str) or len(found) != TRANSACTION_TRYTES:
        raise EngineError("the proof-of-work module returned no transaction")
    if found[:-NONCE_TRYTES] != asked[:-NONCE_TRYTES]:
        raise EngineError("the proof-of-work module returned another transaction")
    took = reply.get("duration")
    return Worked(
        trytes=found, duration_ms=float(took) if isinstance(took, int | float) else 0.0
    )


async def _ready(line: SerialLine, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    descriptor = line.fileno()
    if writing:
        loop.add_writer(descriptor, ready.set)
    else:
        loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)
        loop.remove_reader(descriptor)
