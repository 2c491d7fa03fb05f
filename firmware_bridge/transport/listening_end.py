# SPDX-License-Identifier: Apache-2.0
"""What an appliance has on its line: one handshake and one session at most; no I/O.

A new session takes the place of the old one, and whatever the old one still had to be
told is told nobody: a reply belongs to the session its request came in.
"""

from dataclasses import dataclass, field
from typing import Final

from firmware_bridge.frames import Channel, Frame, FrameDecoder
from firmware_bridge.transport.handshake import (
    Agreed,
    FindKey,
    ListenerHandshake,
    Stranger,
)
from firmware_bridge.transport.parts import Kind, Rejected, Rejection, Whole
from firmware_bridge.transport.session import End, GivenUp, Limits, Session

_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Visit:
    """A session and whose it is.

    Attributes:
        key_id: Whose.
        session: The session.
        asked: Numbers that wait for their reply.
    """

    key_id: bytes
    session: Session
    asked: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Heard:
    """What some bytes meant.

    Attributes:
        requests: Those that came whole, or were not taken.
        strangers: Why somebody was turned away, for the log.
    """

    requests: list[tuple[Visit, Whole | Rejected]] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


class ListeningEnd:
    """The appliance's end of one line.

    Args:
        find: Returns the pre-shared key of an id, if its owner may connect.
        limits: What is taken.
        retry_s: See ``session.retry_s``.

    Attributes:
        visit: The session there is.
    """

    def __init__(self, find: FindKey, *, limits: Limits, retry_s: float) -> None:
        self.visit: Visit | None = None
        self._handshake = ListenerHandshake(find)
        self._limits = limits
        self._retry_s = retry_s
        self._decoder = FrameDecoder()
        self._out = bytearray()

    def receive(self, data: bytes, *, now_s: float) -> Heard:
        """Take bytes from the line.

        Args:
            data: Any bytes.
            now_s: The monotonic time.

        Returns:
            What they meant.
        """
        heard, rest = Heard(), data
        while rest:
            arrival, rest = self._decoder.feed_until_frame(rest)
            if isinstance(arrival, Frame):
                self._take(arrival, heard, now_s)
        return heard

    def _take(self, frame: Frame, heard: Heard, now_s: float) -> None:
        if frame.channel is Channel.CONTROL:
            try:
                agreed = self._handshake.receive(frame)
            except Stranger as stranger:
                heard.strangers.append(str(stranger))
            else:
                if agreed is not None:
                    self._begin(agreed, now_s)
            self._out += self._handshake.says
        elif frame.channel is Channel.TRANSPORT and self.visit is not None:
            self._keep(self.visit, frame, heard, now_s)

    def _begin(self, agreed: Agreed, now_s: float) -> None:
        session = Session(
            End.APPLIANCE,
            agreed.ciphers.to_client,
            self._limits,
            self._retry_s,
        )
        self.drop()
        self.visit = Visit(agreed.key_id, session)
        self._decoder.keys[Channel.TRANSPORT] = agreed.ciphers.to_appliance
        session.say(Kind.READY, 0, now_s=now_s)

    def _keep(self, visit: Visit, frame: Frame, heard: Heard, now_s: float) -> None:
        for event in visit.session.receive(frame, now_s=now_s):
            match event:
                case Whole() | Rejected():
                    heard.requests.append((visit, self._admit(visit, event)))
                case GivenUp():  # the work goes on, and nobody is told of it
                    visit.asked.discard(event.number)
        if visit.session.failed:
            self.drop()

    def _admit(self, visit: Visit, arrived: Whole | Rejected) -> Whole | Rejected:
        under_way = len(visit.asked) + visit.session.unread
        if isinstance(arrived, Whole) and under_way >= self._limits.most:
            arrived = Rejected(arrived.number, Rejection.TOO_MANY)
        visit.asked.add(arrived.number)
        return arrived

    def tick(self, now_s: float) -> Heard:
        """Repeat what is due, drop a session that is dead.

        Args:
            now_s: The monotonic time.

        Returns:
            Requests that did not go on.
        """
        heard = Heard()
        if self.visit is not None:
            for event in self.visit.session.tick(now_s):
                if isinstance(event, Rejected):
                    self.visit.asked.add(event.number)
                    heard.requests.append((self.visit, event))
            if self.visit.session.failed:
                self.drop()
        return heard

    def reply(self, visit: Visit, whole: Whole, *, now_s: float) -> bool:
        """Answer a request, if its session is still the one there is.

        Args:
            visit: The session it came in.
            whole: The reply.
            now_s: The monotonic time.

        Returns:
            Whether anybody is told.
        """
        if self.visit is not visit or whole.number not in visit.asked:
            return False
        visit.asked.discard(whole.number)
        visit.session.send(Kind.REPLY, whole, now_s=now_s)
        return True

    def drop(self) -> None:
        """End the session."""
        self.visit = None
        self._decoder.keys.pop(Channel.TRANSPORT, None)

    @property
    def settled(self) -> bool:
        """Whether nobody waits for anything."""
        return self.visit is None or (not self.visit.asked and self.visit.session.idle)

    @property
    def deadline_s(self) -> float:
        """When ``tick`` has something to do."""
        return _NEVER if self.visit is None else self.visit.session.deadline_s

    def take_output(self) -> bytes:
        """Return the bytes for the line, once."""
        out = bytes(self._out)
        self._out.clear()
        if self.visit is not None:
            out += self.visit.session.take_output()
        return out
