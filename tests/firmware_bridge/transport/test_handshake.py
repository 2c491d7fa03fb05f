# SPDX-License-Identifier: Apache-2.0
"""The handshake and the session, without a line: what a forger and a recorder get."""

import secrets
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from firmware_bridge.errors import NotAuthenticError
from firmware_bridge.frames import BadFrame, Channel, Flags, Frame, FrameDecoder, encode
from firmware_bridge.transport.handshake import (
    Agreed,
    ClientHandshake,
    ListenerHandshake,
    Step,
    Stranger,
)
from firmware_bridge.transport.listening_end import ListeningEnd
from firmware_bridge.transport.pairing_keys import Greeting, agree, key_id_of
from firmware_bridge.transport.parts import Kind, Rejected, Whole
from firmware_bridge.transport.session import End, Limits, Session

RETRY_S = 0.2
LIMITS = Limits(largest_bytes=10_000, most=4, patience_s=5)
KEY = bytes(range(32))


def frames(data: bytes) -> list[Frame]:
    return [one for one in FrameDecoder().feed(data) if isinstance(one, Frame)]


def knows(*keys: bytes) -> ListenerHandshake:
    known = {key_id_of(key): key for key in keys}
    return ListenerHandshake(
        lambda key_id: bytearray(known[key_id]) if key_id in known else None
    )


@dataclass
class Ends:
    """A client and an appliance that talk by hand."""

    client: ClientHandshake
    listener: ListenerHandshake
    said: list[bytes] = field(default_factory=list)

    def challenge(self) -> Agreed:
        """Go as far as the client's proof."""
        (hello,) = frames(self.client.tick(0))
        assert self.listener.receive(hello) is None
        (challenge,) = frames(self.listener.says)
        agreed = self.client.receive(challenge)
        assert agreed is not None
        return agreed

    def agree(self) -> tuple[Agreed, Agreed]:
        ours = self.challenge()
        (proof,) = frames(self.client.tick(0))
        theirs = self.listener.receive(proof)
        assert theirs is not None
        return ours, theirs


def ends(client_key: bytes = KEY, *known: bytes) -> Ends:
    client = ClientHandshake(bytearray(client_key), retry_s=RETRY_S)
    return Ends(client, knows(*(known or (KEY,))))


HEADER = bytes(10)


def test_both_sides_get_the_same_session() -> None:
    ours, theirs = ends().agree()
    assert theirs.key_id == ours.key_id == key_id_of(KEY)
    for way in ("to_appliance", "to_client"):
        sealed = getattr(ours.ciphers, way).seal(HEADER, b"text")
        assert b"text" not in sealed
        assert getattr(theirs.ciphers, way).open(HEADER, sealed) == b"text"


def test_each_direction_and_each_session_has_a_key_of_its_own() -> None:
    first, second = ends().agree()[0], ends().agree()[0]
    made = [first.ciphers.to_appliance, first.ciphers.to_client]
    made += [second.ciphers.to_appliance, second.ciphers.to_client]
    assert len({one.seal(HEADER, b"text") for one in made}) == 4


def test_who_has_the_pre_shared_key_later_opens_no_recorded_session() -> None:
    """The whole handshake was recorded too; both X25519 keys are gone."""
    pair = ends()
    (hello,) = frames(pair.client.tick(0))
    pair.listener.receive(hello)
    (challenge,) = frames(pair.listener.says)
    ours = pair.client.receive(challenge)
    assert ours is not None
    sealed = ours.ciphers.to_appliance.seal(HEADER, b"amount")
    client_public, appliance_public = challenge.payload[:32], challenge.payload[32:64]
    recorded = Greeting(
        key_id=key_id_of(KEY),
        client_public=client_public,
        appliance_public=appliance_public,
    )
    for peer in (client_public, appliance_public):
        guess = agree(bytearray(KEY), recorded, X25519PrivateKey.generate(), peer=peer)
        assert guess.to_appliance.open(HEADER, sealed) is None


def test_an_appliance_with_another_key_is_found_out() -> None:
    pair = ends()
    (hello,) = frames(pair.client.tick(0))
    forger = ListenerHandshake(lambda _key_id: bytearray(secrets.token_bytes(32)))
    forger.receive(hello)
    (challenge,) = frames(forger.says)
    with pytest.raises(NotAuthenticError):
        pair.client.receive(challenge)


def test_a_client_that_only_knows_the_id_gets_no_session() -> None:
    pair = ends()
    pair.challenge()
    for mac in (bytes(32), secrets.token_bytes(32), b""):
        frame = Frame(Step.PROOF, Flags.NONE, Channel.CONTROL, 0, mac)
        with pytest.raises(Stranger):
            pair.listener.receive(frame)


def test_an_unknown_key_is_refused_and_told_so() -> None:
    pair = ends(secrets.token_bytes(32), KEY)
    (hello,) = frames(pair.client.tick(0))
    with pytest.raises(Stranger, match="unknown"):
        pair.listener.receive(hello)
    (refused,) = frames(pair.listener.says)
    with pytest.raises(NotAuthenticError):
        pair.client.receive(refused)


def test_a_recorded_handshake_can_not_be_played_again() -> None:
    pair = ends()
    (hello,) = frames(pair.client.tick(0))
    pair.listener.receive(hello)
    pair.client.receive(frames(pair.listener.says)[0])
    (proof,) = frames(pair.client.tick(0))
    assert pair.listener.receive(proof) is not None
    assert pair.listener.receive(proof) is None  # none is pending
    pair.listener.receive(hello)
    with pytest.raises(Stranger):  # the appliance drew another key meanwhile
        pair.listener.receive(proof)


def test_a_repeated_hello_gets_the_same_challenge() -> None:
    pair = ends()
    (hello,) = frames(pair.client.tick(0))
    pair.listener.receive(hello)
    first = pair.listener.says
    pair.listener.receive(hello)
    assert pair.listener.says == first


def test_a_public_key_that_gives_no_secret_is_refused() -> None:
    hello = b"\x01" + key_id_of(KEY) + bytes(32)
    frame = Frame(Step.HELLO, Flags.NONE, Channel.CONTROL, 0, hello)
    with pytest.raises(Stranger):
        knows(KEY).receive(frame)


def test_a_client_that_nobody_follows_begins_anew() -> None:
    """The appliance started again between challenge and proof."""
    pair, now_s = ends(), 0.0
    pair.challenge()
    pair.listener = knows(KEY)
    kinds = []
    for _ in range(9):
        kinds += [frame.kind for frame in frames(pair.client.tick(now_s))]
        now_s += RETRY_S
    assert kinds[0] == Step.PROOF
    assert kinds[-1] == Step.HELLO


@pytest.mark.parametrize("place", range(0, 60, 7))
def test_a_frame_that_was_changed_is_none_of_the_session(place: int) -> None:
    ours, theirs = ends().agree()
    key = ours.ciphers.to_appliance
    frame = Frame(Kind.REQUEST, Flags.NONE, Channel.TRANSPORT, 1, bytes(40))
    header_and_body = encode(frame, key)
    decoder = FrameDecoder()
    decoder.keys[Channel.TRANSPORT] = theirs.ciphers.to_appliance
    (whole,) = decoder.feed(header_and_body)
    assert whole == frame
    changed = bytearray(header_and_body)
    changed[place + 1] ^= 0x10
    assert all(isinstance(one, BadFrame) for one in decoder.feed(bytes(changed)))


# --- a session in which the client breaks the rules ------------------------------


class Rogue:
    """A client with a key and no manners."""

    def __init__(self) -> None:
        self.end = ListeningEnd(
            lambda _key_id: bytearray(KEY), limits=LIMITS, retry_s=RETRY_S
        )
        client = ClientHandshake(bytearray(KEY), retry_s=RETRY_S)
        self.end.receive(client.tick(0), now_s=0)
        agreed = client.receive(frames(self.end.take_output())[0])
        assert agreed is not None
        self.key = agreed.ciphers.to_appliance
        self.end.receive(client.tick(0), now_s=0)
        self.sent = 0

    def send(
        self, kind: int, payload: bytes, *, now_s: float = 0
    ) -> list[Whole | Rejected]:
        self.sent += 1
        frame = Frame(kind, Flags.NONE, Channel.TRANSPORT, self.sent, payload)
        heard = self.end.receive(encode(frame, self.key), now_s=now_s)
        return [request for _, request in heard.requests]


def first(number: int, length: int, content: bytes) -> bytes:
    return number.to_bytes(4) + bytes(2) + length.to_bytes(4) + content


BROKEN = {
    "a kind that is none": (0x77, b""),
    "a reply from a client": (Kind.REPLY, first(1, 0, b"")),
    "more than was announced": (Kind.REQUEST, first(1, 2, b"abc")),
    "no number": (Kind.GIVE_UP, b"ab"),
    "a first part cut short": (Kind.REQUEST, b"ab"),
    "a part of nothing": (Kind.PART, b"\0\0\0\1"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_client_that_breaks_the_rules_loses_its_session(what: str) -> None:
    rogue = Rogue()
    assert rogue.send(Kind.REQUEST, first(9, 2, b"ok")) == [Whole(9, 0, b"ok")]
    assert rogue.send(*BROKEN[what]) == []
    assert rogue.end.visit is None


def test_requests_without_end_are_not_kept() -> None:
    """Half a request each: as many as are taken at once, and no more."""
    rogue = Rogue()
    answers = [rogue.send(Kind.REQUEST, first(n, 100, b"half")) for n in range(6)]
    assert [len(one) for one in answers] == [0, 0, 0, 0, 1, 1]


def test_half_a_request_is_dropped_after_a_while() -> None:
    rogue = Rogue()
    rogue.send(Kind.REQUEST, first(3, 100, b"half"))
    acknowledgement = Frame(0, Flags.ACK, Channel.TRANSPORT, 1)
    rogue.end.receive(encode(acknowledgement, rogue.key), now_s=1)
    assert not rogue.end.tick(LIMITS.patience_s - 0.1).requests
    ((_, rejected),) = rogue.end.tick(LIMITS.patience_s).requests
    assert rejected.number == 3


def test_a_session_that_nobody_acknowledges_is_dropped() -> None:
    rogue, now_s = Rogue(), 0.0
    for _ in range(10):
        now_s += RETRY_S
        rogue.end.tick(now_s)
    assert rogue.end.visit is None


def test_a_frame_is_acted_on_once() -> None:
    rogue = Rogue()
    assert rogue.send(Kind.REQUEST, first(1, 2, b"ok"))
    rogue.sent -= 1
    assert rogue.send(Kind.REQUEST, first(1, 2, b"ok")) == []
    assert rogue.end.visit is not None


def test_a_session_shows_no_key() -> None:
    ours, _ = ends().agree()
    session = Session(End.CLIENT, ours.ciphers.to_appliance, LIMITS, RETRY_S)
    assert "REDACTED" in repr(ours)
    assert KEY.hex() not in repr(session)
