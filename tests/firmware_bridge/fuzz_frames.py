# SPDX-License-Identifier: Apache-2.0
"""A coverage-guided fuzzer of everything that reads what a line brought (atheris).

``python tests/firmware_bridge/fuzz_frames.py -atheris_runs=100000``; libFuzzer's own
options work too. ``test_fuzz`` runs it for a bounded number of inputs.

Each input is bytes for both decoders, whole and in two pieces; what one of them accepts
the other must accept with the same content, nothing may raise, and the frame after it
must arrive. Each is also header and payload of a frame whose tag and CRC are right, or
no mutation would get past them; and a message's payload for both CBOR readers.
"""

import sys
import zlib

import atheris

with atheris.instrument_imports(include=["firmware_bridge"]):
    from firmware_bridge import cobs, flat_cbor, messages
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
        tag_of,
    )

KEY = bytearray(range(32))
CHANNEL_AT = 3
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
    assert device_reads(line) == known_to_a_device(arrived)


def known_to_a_device(
    arrived: list[Arrival],
) -> list[tuple[int, int, int, int, bytes]]:
    return [
        (item.kind, int(item.flags), int(item.channel), item.sequence, item.payload)
        for item in arrived
        if isinstance(item, Frame) and item.flags in {Flags.NONE, Flags.ACK}
    ]


def check_signed(data: bytes) -> None:
    """The header's way: a tag and a CRC that are right around whatever it is."""
    control = len(data) > CHANNEL_AT and data[CHANNEL_AT] == Channel.CONTROL
    body = data + (bytes(16) if control else tag_of(data, KEY))
    line = b"\x00" + cobs.encode(body + zlib.crc32(body).to_bytes(4)) + b"\x00"
    arrived = host_reads([line])
    assert len(arrived) == 1
    assert device_reads(line) == known_to_a_device(arrived)


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
    check_signed(data)
    check_frame_around(data)
    check_cbor(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
