# SPDX-License-Identifier: Apache-2.0
"""The line's formats: two implementations, golden vectors, and hostile bytes."""

import itertools
import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import cobs
from firmware_bridge.errors import MessageError
from firmware_bridge.firmware import cobs as device_cobs
from firmware_bridge.firmware import frame as device_frame
from firmware_bridge.frames import (
    BadFrame,
    Channel,
    Flags,
    Frame,
    FrameDecoder,
    encode,
    payload_limit,
    tag_of,
)

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "vectors-frames.json").read_text()
)
KEY = bytearray(range(32))
# Zeros and long runs without one are what stuffing is about.
RUNS = st.lists(
    st.sampled_from([b"\x00", b"\x01", b"\xff" * 253, b"\x02" * 254, b"\x03" * 255])
    | st.binary(max_size=6)
).map(b"".join)


def decoder(key: bytearray = KEY) -> FrameDecoder:
    made = FrameDecoder()
    made.keys[Channel.PANEL] = key
    made.keys[Channel.TRANSPORT] = key
    return made


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    channel = draw(st.sampled_from(list(Channel)))
    return Frame(
        draw(st.integers(0, 255)),
        draw(st.sampled_from([Flags.NONE, Flags.ACK])),
        channel,
        draw(st.integers(0, 2**32 - 1)),
        draw(st.binary(max_size=payload_limit(channel))),
    )


def written(frame: Frame, key: bytearray = KEY) -> bytes:
    return encode(frame, None if frame.channel is Channel.CONTROL else key)


def test_both_sides_stuff_as_the_golden_vectors_do() -> None:
    for vector in VECTORS["cobs"]:
        plain = bytes.fromhex(vector["plain"])
        stuffed = bytes.fromhex(vector["stuffed"])
        assert cobs.encode(plain) == device_cobs.encode(plain) == stuffed
        assert cobs.decode(stuffed) == device_cobs.decode(stuffed) == plain


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda v: v["name"])
def test_both_sides_write_the_golden_frames(vector: dict[str, object]) -> None:
    head = (vector["type"], vector["flags"], vector["channel"], vector["sequence"])
    kind, flags, chan, seq = (int(str(number)) for number in head)
    payload, line = bytes.fromhex(str(vector["payload"])), str(vector["line"])
    key = bytearray.fromhex(str(vector["key"])) if vector["key"] else None
    frame = Frame(kind, Flags(flags), Channel(chan), seq, payload)
    assert encode(frame, key).hex() == line
    raw = None if key is None else bytes(key)
    assert device_frame.encode(kind, flags, chan, seq, payload, raw).hex() == line
    assert decoder().feed(bytes.fromhex(line)) == [frame]
    (read,) = device_frame.Reader().feed(bytes.fromhex(line))
    assert (read.kind, read.flags, read.chan, read.seq) == (kind, flags, chan, seq)
    assert read.payload == payload
    assert read.authentic(raw)


@given(data=RUNS)
def test_stuffing_is_the_same_on_both_sides_and_leaves_no_zero(data: bytes) -> None:
    stuffed = cobs.encode(data)
    assert stuffed == device_cobs.encode(data)
    assert 0 not in stuffed
    assert len(stuffed) <= cobs.longest_encoding(len(data))
    assert cobs.decode(stuffed) == device_cobs.decode(stuffed) == data


@given(data=RUNS)
def test_both_sides_take_the_same_bytes_for_stuffing(data: bytes) -> None:
    if data:
        assert cobs.decode(data) == device_cobs.decode(data)


@given(frame=frames(), cuts=st.lists(st.integers(0, 1100), max_size=4))
def test_a_frame_arrives_in_whatever_pieces(frame: Frame, cuts: list[int]) -> None:
    line = written(frame)
    ends = [0, *sorted(min(cut, len(line)) for cut in cuts), len(line)]
    reader = decoder()
    arrived = [reader.feed(line[a:b]) for a, b in itertools.pairwise(ends)]
    assert list(itertools.chain(*arrived)) == [frame]


@given(garbage=st.binary(max_size=3000), frame=frames())
def test_after_any_garbage_the_next_frame_is_read(garbage: bytes, frame: Frame) -> None:
    reader = decoder()
    reader.feed(garbage)
    assert reader.feed(written(frame))[-1] == frame


@given(frame=frames(), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_is_accepted(frame: Frame, place: int, bit: int) -> None:
    line = bytearray(written(frame))
    line[place % len(line)] ^= 1 << bit
    arrived = decoder().feed(bytes(line))
    # A flip in a delimiter may leave the whole frame; a flip in it may not.
    assert all(isinstance(item, BadFrame) or item == frame for item in arrived)
    if 0 < place % len(line) < len(line) - 1:
        assert frame not in arrived


@given(frame=frames(), other=st.binary(min_size=32, max_size=32).map(bytearray))
def test_a_frame_of_another_session_is_told_by_its_tag(
    frame: Frame, other: bytearray
) -> None:
    reader = decoder(other)
    arrived = reader.feed(written(frame))
    if frame.channel is Channel.CONTROL or other == KEY:
        assert arrived == [frame]
    else:
        assert arrived == [BadFrame.TAG]
        assert reader.counts[BadFrame.TAG] == 1


def forged(signed: bytes, *, tag: bytes | None = None) -> bytes:
    body = signed + (tag_of(signed, KEY) if tag is None else tag)
    whole = body + zlib.crc32(body).to_bytes(4)
    return b"\x00" + cobs.encode(whole) + b"\x00"


HEADER = bytes.fromhex("01 10 00 01 00000001 0002".replace(" ", ""))
FORGERIES = {
    "another version": (forged(b"\x02" + HEADER[1:] + b"ab"), BadFrame.HEADER),
    "a channel we do not have": (
        forged(HEADER[:3] + b"\x07" + HEADER[4:] + b"ab"),
        BadFrame.HEADER,
    ),
    "a flag we do not have": (
        forged(HEADER[:2] + b"\x40" + HEADER[3:] + b"ab"),
        BadFrame.HEADER,
    ),
    "longer than it says": (forged(HEADER + b"abc"), BadFrame.LENGTH),
    "shorter than it says": (forged(HEADER + b"a"), BadFrame.LENGTH),
    "longer than its channel": (
        forged(HEADER[:8] + (257).to_bytes(2) + bytes(257)),
        BadFrame.LENGTH,
    ),
    "no tag in a session": (forged(HEADER + b"ab", tag=bytes(16)), BadFrame.TAG),
    "a tag on the control channel": (
        forged(HEADER[:3] + b"\x00" + HEADER[4:] + b"ab"),
        BadFrame.TAG,
    ),
    "too short": (b"\x00" + cobs.encode(bytes(29)) + b"\x00", BadFrame.LENGTH),
    "no stuffing": (b"\x00\x09ab\x00", BadFrame.STUFFING),
    "endless": (b"\x01" * 5000 + b"\x00", BadFrame.LENGTH),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_frame_with_a_right_crc_is_still_judged(what: str) -> None:
    line, reason = FORGERIES[what]
    assert decoder().feed(line) == [reason]
    for read in device_frame.Reader().feed(line):
        assert not read.authentic(bytes(KEY) if read.chan else None)


def test_before_the_handshake_no_channel_but_the_control_channel_is_heard() -> None:
    reader = FrameDecoder()
    heard = reader.feed(written(Frame(1, Flags.NONE, Channel.PANEL, 1)))
    assert heard == [BadFrame.NO_SESSION]


def test_what_can_not_be_read_is_not_written() -> None:
    with pytest.raises(MessageError):
        encode(Frame(1, Flags.NONE, Channel.PANEL, 1, bytes(257)), KEY)
    with pytest.raises(MessageError):
        encode(Frame(1, Flags.NONE, Channel.PANEL, 1), None)
    with pytest.raises(MessageError):
        encode(Frame(1, Flags.NONE, Channel.CONTROL, 1), KEY)


def test_endless_noise_takes_no_memory() -> None:
    reader = decoder()
    for _ in range(200):
        reader.feed(b"\x55" * 4096)
    assert len(reader._pending) <= cobs.longest_encoding(1024 + 30)
