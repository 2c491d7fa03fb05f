# SPDX-License-Identifier: Apache-2.0
"""Keys and MACs: known answers, the firmware's own, and pyca/cryptography's."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import MessageError
from firmware_bridge.firmware import mac
from firmware_bridge.firmware.control import Session
from firmware_bridge.keys import (
    Greeting,
    derive,
    device_mac,
    hkdf,
    host_mac,
    require_key,
    wipe,
)

VECTOR = json.loads(
    (Path(__file__).parents[1] / "vectors" / "vectors-frames.json").read_text()
)["keys"]
KEY = bytearray.fromhex(VECTOR["pairing_key"])
GREETING = Greeting(
    host_nonce=bytes.fromhex(VECTOR["host_nonce"]),
    device_nonce=bytes.fromhex(VECTOR["device_nonce"]),
    boot_id=bytes.fromhex(VECTOR["boot_id"]),
    firmware_hash=bytes.fromhex(VECTOR["firmware_hash"]),
)


@given(key=st.binary(min_size=1, max_size=140), said=st.binary(max_size=200))
def test_the_firmware_s_hmac_is_hmac(key: bytes, said: bytes) -> None:
    assert mac.hmac(key, said[:7], said[7:]) == hmac.digest(key, said, "sha256")
    assert mac.sha256(said) == hashlib.sha256(said).digest()


@given(
    key=st.binary(min_size=32, max_size=32),
    salt=st.binary(max_size=64),
    info=st.binary(max_size=80),
)
def test_three_implementations_derive_the_same_key(
    key: bytes, salt: bytes, info: bytes
) -> None:
    oracle = HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)
    assert bytes(hkdf(bytearray(key), salt=salt, info=info)) == oracle
    assert mac.hkdf(key, salt, info) == oracle


def test_the_handshake_s_values_are_the_golden_ones_on_both_sides() -> None:
    keys = derive(KEY, GREETING)
    assert device_mac(KEY, GREETING).hex() == VECTOR["device_mac"]
    assert host_mac(KEY, GREETING).hex() == VECTOR["host_mac"]
    assert keys.to_device.hex() == VECTOR["to_device"]
    assert keys.to_host.hex() == VECTOR["to_host"]
    assert keys.evidence.hex() == VECTOR["evidence"]
    salt = GREETING.host_nonce + GREETING.device_nonce
    bound = GREETING.boot_id + GREETING.firmware_hash
    device = Session(bytes(KEY), salt, bound)
    assert device.receive_key == keys.to_device
    assert device.evidence == keys.evidence


def test_nobody_can_answer_with_the_other_side_s_proof() -> None:
    assert device_mac(KEY, GREETING) != host_mac(KEY, GREETING)


def test_wiped_keys_are_zeros_and_are_not_shown() -> None:
    keys = derive(KEY, GREETING)
    assert keys.to_host.hex() not in repr(keys)
    keys.wipe()
    assert not any((*keys.to_device, *keys.to_host, *keys.evidence))
    gone = bytearray(b"x" * 32)
    wipe(gone)
    with pytest.raises(MessageError):
        require_key(gone)
    with pytest.raises(MessageError):
        require_key(bytearray(b"x" * 31))


def test_comparing_says_no_to_any_difference() -> None:
    assert mac.same(b"abc", b"abc")
    assert not mac.same(b"abc", b"abd")
    assert not mac.same(b"abc", b"ab")
