# SPDX-License-Identifier: Apache-2.0
"""A sweep of twelve inputs over a serial line: ``python -m benchmarks.serial``.

The appliance answers at once, with as many bytes as it does answer with: the line is
what is measured. On a raw pty, and on ones that hold each byte as long as a UART does.
"""

import asyncio
import string
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from appliance import wire
from appliance.serial_keys import make_serial_key
from firmware_bridge.key_file import read_key
from firmware_bridge.transport.carrier import SerialCarrier
from firmware_bridge.transport.listener import SerialListener
from firmware_bridge.transport.parts import Rejection
from firmware_bridge.transport.session import Limits
from firmware_bridge.transport.wire_pump import BAUD, LinePlace
from tests.simulators.cable import Cable

INPUTS, LEVEL, OUTPUTS = 12, 2, 2
BAUDS = (0, BAUD, 8 * BAUD)
ROUNDS = 3
_TRYTES = "9" + string.ascii_uppercase


def trytes(count: int) -> str:
    """Return text that looks like trytes."""
    return "".join(islice(cycle(_TRYTES), count))


def request() -> bytes:
    """Return the request for a sweep."""
    shown = wire.ShownTransaction(trytes(81), 1_000_000_000, trytes(27), 1_700_000_000)
    return wire.encode(
        wire.SignTransfer(
            request_id="0123456789abcdef",
            head=wire.HeadToken("0" * 32, 1, 1000, "0" * 64, "0" * 64),
            transactions=[shown] * (INPUTS * LEVEL + OUTPUTS),
            bundle_hash=trytes(81),
            inputs=[wire.InputClaim(n, "A" * 64, 1) for n in range(INPUTS)],
            own_outputs=[1],
        )
    )


def reply() -> bytes:
    """Return the reply to it."""
    fragments = [trytes(2187)] * LEVEL
    return wire.encode(
        wire.Signed(
            request_id="0123456789abcdef",
            head=wire.HeadToken("0" * 32, 1, 1001, "0" * 64, "0" * 64),
            bundle_hash=trytes(81),
            signatures=[wire.InputSignature(n, fragments) for n in range(INPUTS)],
        )
    )


class Desk:
    """Lets one key in and answers at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, _key_id: bytes) -> bytearray:
        """Return the key."""
        return read_key(self.path)

    def turned_away(self, why: str) -> None:
        """Nobody is."""

    async def answer(self, _key_id: bytes, body: bytes) -> tuple[int, bytes]:
        """Answer a sweep with its signatures, and anything else with itself."""
        return 200, reply() if len(body) > len(b"status") else body

    def rejected(self, why: Rejection) -> bytes:
        """Nothing is."""
        return why.name.encode()


async def measure(folder: Path, baud: int) -> None:
    """Print how long things take on one line."""
    key = folder / "client.key"
    make_serial_key(key)
    limits = Limits(largest_bytes=wire.MAX_BODY_BYTES, most=32, patience_s=30)
    with Cable(folder, baud=baud) as cable:
        near, far = (LinePlace(end, baud or BAUD) for end in (cable.near, cable.far))
        listener = SerialListener(near, Desk(key), limits=limits)
        listener.start()
        async with SerialCarrier(far, key, timeout_s=60) as client:
            opening_s = await lasting(client, b"status")
            status_s = [await lasting(client, b"status") for _ in range(ROUNDS)]
            sweep_s = [await lasting(client, request()) for _ in range(ROUNDS)]
        await listener.cleanup()
    name = f"{baud} baud" if baud else "raw pty"
    print(
        f"{name:12} handshake and status {opening_s:.3f} s, status"
        f" {min(status_s):.4f} s, sweep {min(sweep_s):.2f} to {max(sweep_s):.2f} s"
    )


async def lasting(client: SerialCarrier, body: bytes) -> float:
    """Return how long a request takes, in seconds."""
    started_s = time.perf_counter()
    await client.carry(body)
    return time.perf_counter() - started_s


async def main() -> None:
    """Measure each speed."""
    print(
        f"{INPUTS} inputs of level {LEVEL}: {len(request())} and {len(reply())} bytes"
    )
    for baud in BAUDS:
        with tempfile.TemporaryDirectory() as folder:
            await measure(Path(folder), baud)


if __name__ == "__main__":
    asyncio.run(main())
