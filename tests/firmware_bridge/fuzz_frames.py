# SPDX-License-Identifier: Apache-2.0
"""A coverage-guided fuzzer of everything that reads what a line brought (atheris).

``python tests/firmware_bridge/fuzz_frames.py -atheris_runs=100000``; libFuzzer's own
options work too. ``test_fuzz`` runs it for a bounded number of inputs.

Each input is bytes for both decoders, whole and in two pieces; what one of them accepts
the other must accept with the same content, nothing may raise, and the frame after it
must arrive. Each is also a message's payload for both CBOR readers.
"""

import sys

import atheris

with atheris.instrument_imports(include=["firmware_bridge"]):
    from firmware_bridge import flat_cbor, messages
    from firmware_bridge.errors import MessageError
    from firmware_bridge.firmware import cbor as device_cbor
    from firmware_bridge.firmware import frame as device_frame
    from firmware_bridge.frames import (
        Arrival,
        Channel,
        Flags,
        Frame,
        FrameDecoder,
        encode,
    )

KEY = bytearray(range(32))
AFTER = Frame(0x20, Flags.NONE, Channel.PANEL, 7, b"\xa1\x00\x01")
AFTER_LINE = encode(AFTER, KEY)


def host_reads(pieces: list[bytes]) -> list[Arrival]:
    decoder = FrameDecoder()
    decoder.keys[Channel.PANEL] = KEY
    return [arrival for piece in pieces for arrival in decoder.feed(piece)]


def device_reads(data: bytes) -> list[tuple[int, int, int, int, bytes]]:
    return [
        (read.kind, read.flags, read.chan, read.seq, read.payload)
        for read in device_frame.Reader().feed(data)
        if read.authentic(bytes(KEY) if read.chan else None)
    ]


def check_frames(data: bytes) -> None:
    line = data + AFTER_LINE
    arrived = host_reads([line])
    assert arrived[-1] == AFTER, "it did not find its feet again"
    half = len(data) // 2
    assert host_reads([line[:half], line[half:]]) == arrived
    known = [
        (item.kind, int(item.flags), int(item.channel), item.sequence, item.payload)
        for item in arrived
        if isinstance(item, Frame) and item.flags in {Flags.NONE, Flags.ACK}
    ]
    assert device_reads(line) == known


def check_frame_around(data: bytes) -> None:
    """The payload's way: a CRC and a tag that are right, whatever is inside."""
    kind, payload = (data[0], data[1:257]) if data else (0, b"")
    line = encode(Frame(kind, Flags.NONE, Channel.PANEL, 1, payload), KEY)
    assert device_reads(line) == [(kind, 0, 1, 1, payload)]
    try:
        message = messages.decode(kind, payload)
    except MessageError:
        return
    assert messages.decode(kind, messages.encode(message)) == message


def check_cbor(data: bytes) -> None:
    read = device_cbor.decode(data)
    try:
        fields = flat_cbor.decode(data)
    except MessageError:
        assert read is None
    else:
        assert flat_cbor.encode(fields) == data
        assert read == {key: value for key, value in fields.items() if key >= 0}


def check(data: bytes) -> None:
    """Try one input."""
    check_frames(data)
    check_frame_around(data)
    check_cbor(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
