# SPDX-License-Identifier: Apache-2.0
"""Stop and wait, one end at a time, on a clock that the test turns."""

import pytest

from firmware_bridge.errors import MessageError
from firmware_bridge.frames import Channel, Flags, Frame, FrameDecoder
from firmware_bridge.link import QUEUE_MAX, Arrived, FrameAlarm, Link

KEY = bytearray(range(32))


def sent(link: Link) -> list[Frame]:
    decoder = FrameDecoder()
    decoder.keys[Channel.PANEL] = KEY
    arrived = decoder.feed(link.take_output())
    return [item for item in arrived if isinstance(item, Frame)]


def ack(sequence: int) -> Frame:
    return Frame(0, Flags.ACK, Channel.PANEL, sequence)


def data(sequence: int) -> Frame:
    return Frame(0x20, Flags.NONE, Channel.PANEL, sequence, b"x")


@pytest.fixture
def link() -> Link:
    return Link(Channel.PANEL, key=KEY)


def test_one_message_is_under_way_and_the_next_waits_for_its_acknowledgement(
    link: Link,
) -> None:
    link.send(1, b"a", now_s=0)
    link.send(2, b"b", now_s=0)
    assert [frame.payload for frame in sent(link)] == [b"a"]
    assert link.receive(ack(2), now_s=0) is Arrived.STALE
    assert not sent(link)
    assert link.receive(ack(1), now_s=0) is Arrived.ACKNOWLEDGED
    assert [(frame.sequence, frame.payload) for frame in sent(link)] == [(2, b"b")]
    assert link.receive(ack(1), now_s=0) is Arrived.STALE
    assert not link.idle
    link.receive(ack(2), now_s=0)
    assert link.idle


def test_it_is_repeated_five_times_200_ms_apart_and_then_given_up(link: Link) -> None:
    link.send(1, b"a", now_s=10)
    (first,) = sent(link)
    times = []
    for step in range(400):
        link.tick(10 + step * 0.01)
        if (again := sent(link)) and not link.failed:
            assert again == [first]
            times.append(round(step * 0.01, 2))
        if link.failed:
            break
    assert times == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert link.failed
    assert link.deadline_s == float("inf")


def test_a_message_is_new_once_and_only_in_its_turn(link: Link) -> None:
    assert link.receive(data(2), now_s=0) is Arrived.STALE
    assert not sent(link), "what can not come yet is not acknowledged"
    assert link.receive(data(1), now_s=0) is Arrived.NEW
    assert link.receive(data(1), now_s=0) is Arrived.REPEATED
    assert sent(link) == [ack(1), ack(1)]
    assert link.receive(data(2), now_s=0) is Arrived.NEW
    assert link.receive(data(1), now_s=0) is Arrived.STALE
    assert link.receive(data(0), now_s=0) is Arrived.STALE


def test_a_queue_that_nobody_empties_is_refused(link: Link) -> None:
    for _ in range(QUEUE_MAX + 1):
        link.send(1, b"", now_s=0)
    with pytest.raises(MessageError):
        link.send(1, b"", now_s=0)


def test_the_alarm_is_raised_once_until_a_minute_was_quiet() -> None:
    alarm = FrameAlarm(per_minute=3)
    assert [alarm.count(second) for second in range(6)] == [
        *(False, False, False),
        *(True, False, False),
    ]
    assert [alarm.count(100 + second) for second in range(4)] == [
        *(False, False, False),
        True,
    ]


def test_bad_frames_that_are_spread_out_are_ordinary() -> None:
    alarm = FrameAlarm(per_minute=3)
    assert not any(alarm.count(second * 21.0) for second in range(100))
