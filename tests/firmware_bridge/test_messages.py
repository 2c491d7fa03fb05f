# SPDX-License-Identifier: Apache-2.0
"""Messages and their CBOR: one encoding, read alike by us, the firmware and cbor2."""

import dataclasses
import json
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import flat_cbor, messages
from firmware_bridge.errors import MessageError
from firmware_bridge.firmware import cbor as device_cbor

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "vectors-frames.json").read_text()
)
VALUES = (
    st.booleans()
    | st.integers(0, 2**64 - 1)
    | st.integers(0, 300)
    | st.binary(max_size=40)
    | st.text("aZ9é→😀", max_size=30)
)
MAPS = st.dictionaries(st.integers(-24, 23), VALUES, max_size=10)


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda v: v["class"])
def test_golden_messages_are_read_and_written_again(vector: dict[str, str]) -> None:
    payload = bytes.fromhex(vector["payload"])
    message = messages.decode(int(vector["type"]), payload)
    assert type(message).__name__ == vector["class"]
    assert messages.encode(message) == payload
    assert cbor2.loads(payload) == device_cbor.decode(payload)


@given(fields=MAPS)
def test_cbor2_writes_the_same_bytes(fields: dict[int, flat_cbor.Value]) -> None:
    data = flat_cbor.encode(fields)
    assert data == cbor2.dumps(fields, canonical=True)
    assert flat_cbor.decode(data) == fields
    known = {key: value for key, value in fields.items() if key >= 0}
    assert device_cbor.decode(data) == known
    assert device_cbor.encode(known) == flat_cbor.encode(known)


@given(data=st.binary(max_size=60) | MAPS.map(flat_cbor.encode).map(lambda d: d[:-1]))
def test_whatever_is_read_is_the_one_encoding(data: bytes) -> None:
    try:
        fields = flat_cbor.decode(data)
    except MessageError:
        assert device_cbor.decode(data) is None
    else:
        assert flat_cbor.encode(fields) == data
        assert device_cbor.decode(data) is not None


REFUSED = {
    "nothing": "",
    "no map": "80",
    "indefinite map": "bfff",
    "long form of a short number": "a1011817",
    "keys out of order": "a202000100",
    "a key twice": "a201000100",
    "something after": "a1010000",
    "nested": "a101a0",
    "a list": "a10180",
    "null": "a101f6",
    "a float": "a101f90000",
    "a tag": "a101c100",
    "a negative value": "a10120",
    "not UTF-8": "a10161ff",
    "cut off": "a10142ff",
    "an indefinite text": "a1017f60ff",
    "a text as a key": "a1616100",
    "a reserved length": "a1011c",
}


@pytest.mark.parametrize("what", REFUSED)
def test_anything_but_a_flat_deterministic_map_is_refused(what: str) -> None:
    data = bytes.fromhex(REFUSED[what])
    with pytest.raises(MessageError):
        flat_cbor.decode(data)
    assert device_cbor.decode(data) is None


@pytest.mark.parametrize(
    "fields", [{24: 1}, {-25: 1}, {1: -1}, {1: 2**64}, dict.fromkeys(range(-24, 24), 0)]
)
def test_what_has_no_encoding_is_not_written(fields: dict[int, int]) -> None:
    with pytest.raises(MessageError):
        flat_cbor.encode(fields)


def test_an_unknown_critical_key_is_refused_and_another_is_ignored() -> None:
    plain = {0: 3, 1: "switch"}
    read = messages.decode(0x3F, flat_cbor.encode({**plain, -1: "more"}))
    assert read == messages.Refusal(request=3, code="switch")
    with pytest.raises(MessageError, match="critical key 2"):
        messages.decode(0x3F, flat_cbor.encode({**plain, 2: 1}))


BROKEN: dict[str, tuple[int, dict[int, flat_cbor.Value]]] = {
    "a type that is unknown": (0x7E, {}),
    "a field that is missing": (0x3F, {0: 1}),
    "a boolean for a number": (0x3F, {0: True, 1: "x"}),
    "bytes for a text": (0x3F, {0: 1, 1: b"x"}),
    "a text too long": (0x3F, {0: 1, 1: "x" * 33}),
    "a nonce too short": (0x03, {1: bytes(15)}),
    "a number too great": (0x12, {1: 3}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_message_that_breaks_its_rules_is_refused(what: str) -> None:
    kind, fields = BROKEN[what]
    with pytest.raises(MessageError):
        messages.decode(kind, flat_cbor.encode(fields))


def test_types_and_classes_are_one_to_one_and_fit_a_frame() -> None:
    assert len(messages.TYPES) == len(messages.Message.__args__)
    for kind in messages.TYPES.values():
        assert all("rule" in field.metadata for field in dataclasses.fields(kind))
    longest = messages.PresenceRequest(
        request=2**32 - 1,
        nonce=bytes(16),
        digest=bytes(32),
        text="x" * 96,
        timeout_ms=120_000,
    )
    assert len(messages.encode(longest)) <= 256


def test_a_pairing_key_is_not_shown() -> None:
    assert "07" not in repr(messages.PairRequest(key=bytes([7]) * 32))
