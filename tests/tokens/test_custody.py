# SPDX-License-Identifier: Apache-2.0
"""What custody rests on, shown on each kind of token."""

import hashlib
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    encode_dss_signature,
)

from appliance.errors import HsmError, PinRefusedError, VaultError
from appliance.hsm import Hsm, WrappedKey
from appliance.vault import seal, unseal
from appliance.wire import Signed
from hsm_profiles import WRAPS, WrapMechanism
from tests.appliance.bundles import bundle
from tests.tokens.appliances import Installation, alone
from tests.tokens.conftest import expect_skip
from tests.tokens.tokens import Token
from trinary.memory import LockedBuffer

AAD = bytes(range(32))
ROTATIONS = ("rotate-kek", "rotate-mac", "rotate-identity")


@pytest.fixture
def hsm(token: Token) -> Iterator[Hsm]:
    opened = token.open()
    yield opened
    opened.close()


def made(hsm: Hsm, role: str) -> str:
    label = f"test-{role}-{secrets.token_hex(4)}"
    hsm.generate_key(role=role, label=label, key_id=secrets.token_bytes(8))
    return label


def with_wrap(token: Token, mechanism: WrapMechanism) -> Token:
    """Return the token with a profile that seals by one mechanism only."""
    wrap = msgspec.structs.replace(token.profile.wrap, mechanisms=[mechanism])
    profile = msgspec.structs.replace(token.profile, wrap=wrap)
    return Token(profile, token.label, token.folder, token.environment)


@pytest.mark.capability("a key can not leave")
def test_keys_are_made_so_that_they_can_not_leave(hsm: Hsm) -> None:
    for role in ("kek", "mac"):
        hsm.require_safe_key(label=made(hsm, role))
    with pytest.raises(HsmError, match="found 0"):
        hsm.require_safe_key(label="nobody")


@pytest.mark.capability("data key by ")
@pytest.mark.parametrize("mechanism", WRAPS)
def test_a_data_key_comes_back_as_it_went_in(
    token: Token, mechanism: WrapMechanism
) -> None:
    if mechanism not in token.profile.wrap.mechanisms:
        expect_skip(token, f"does not wrap by {mechanism}")
    hsm = with_wrap(token, mechanism).open()
    label = made(hsm, "kek")
    for _ in range(2):
        key, back = bytearray(secrets.token_bytes(32)), bytearray(32)
        wrapped = hsm.wrap(memoryview(key), kek_label=label, aad=AAD)
        assert wrapped.wrap == mechanism
        assert bytes(key) not in bytes.fromhex(wrapped.ciphertext)
        hsm.unwrap(wrapped, aad=AAD, into=memoryview(back))
        assert back == key
    hsm.close()


@pytest.mark.capability("secret sealed, damage found")
def test_a_sealed_secret_opens_only_as_it_was_sealed(hsm: Hsm) -> None:
    label = made(hsm, "kek")
    with LockedBuffer(21, allow_unlocked=True) as secret:
        secret.view[:] = secrets.token_bytes(21)
        envelope = seal(secret.view, purpose="test", aad=AAD, hsm=hsm, kek_label=label)
        with LockedBuffer(21, allow_unlocked=True) as opened:
            unseal(envelope, aad=AAD, hsm=hsm, into=opened.view)
            assert bytes(opened.view) == bytes(secret.view)
            with pytest.raises((VaultError, HsmError)):
                unseal(envelope, aad=b"other", hsm=hsm, into=opened.view)
    damaged = bytearray(bytes.fromhex(envelope.data_key))
    damaged[3] ^= 1
    wrapped = WrappedKey(label, envelope.wrap, envelope.wrap_nonce, damaged.hex())
    back = bytearray(32)
    try:
        hsm.unwrap(wrapped, aad=AAD, into=memoryview(back))
    except HsmError:
        return
    assert envelope.wrap == "aes-cbc"  # the vault's MAC and the inner tag find it


@pytest.mark.capability("a refusal harms no later call")
def test_after_a_refused_ciphertext_the_next_call_succeeds(hsm: Hsm) -> None:
    label = made(hsm, "kek")
    key, back = bytearray(secrets.token_bytes(32)), bytearray(32)
    wrapped = hsm.wrap(memoryview(key), kek_label=label, aad=AAD)
    short = replace(wrapped, ciphertext=wrapped.ciphertext[:-2])
    for _ in range(2):
        with pytest.raises(HsmError):
            hsm.unwrap(short, aad=AAD, into=memoryview(back))
        hsm.unwrap(wrapped, aad=AAD, into=memoryview(back))
        assert back == key


@pytest.mark.capability("vault authenticated")
def test_what_is_authenticated_can_not_be_changed(hsm: Hsm) -> None:
    label, other = made(hsm, "mac"), made(hsm, "mac")
    data = secrets.token_bytes(9000)
    tag = hsm.mac(data, label=label)
    assert hsm.mac_matches(data, tag, label=label)
    assert not hsm.mac_matches(data + b"x", tag, label=label)
    assert not hsm.mac_matches(data, tag, label=other)
    assert not hsm.mac_matches(data, tag[:-1] + bytes([tag[-1] ^ 1]), label=label)
    assert not hsm.mac_matches(data, b"", label=label)


@pytest.mark.capability("receipts signed (ES256)")
def test_the_identity_key_signs_what_its_public_half_verifies(
    token: Token, hsm: Hsm
) -> None:
    if token.profile.identity.mechanism == "none":
        expect_skip(token, "makes no identity keys")
    label = made(hsm, "identity")
    digest = hashlib.sha256(b"receipt").digest()
    signature = hsm.sign_digest(digest, label=label)
    r, s = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
    key = ec.EllipticCurvePublicKey.from_encoded_point(
        ec.SECP256R1(), hsm.public_point(label=label)
    )
    key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(hashes.SHA256())))


@pytest.mark.capability("random bytes")
def test_random_bytes_do_not_repeat(hsm: Hsm) -> None:
    drawn = [bytearray(5000), bytearray(5000)]
    for target in drawn:
        hsm.random_into(memoryview(target))
        assert len(set(target)) == 256
    assert drawn[0] != drawn[1]


@pytest.mark.capability("retired key destroyed")
def test_a_destroyed_key_is_gone(hsm: Hsm) -> None:
    for role in ("kek", "mac"):
        label = made(hsm, role)
        hsm.destroy_key(label=label)
        with pytest.raises(HsmError, match="found 0"):
            hsm.require_safe_key(label=label)


@pytest.mark.capability("worker killed, call made again")
def test_a_killed_worker_is_replaced_and_the_call_succeeds(hsm: Hsm) -> None:
    label = made(hsm, "mac")
    tag = hsm.mac(b"data", label=label)
    worker = hsm.worker_pid
    assert worker
    os.kill(worker, signal.SIGKILL)
    assert hsm.mac_matches(b"data", tag, label=label)
    assert hsm.worker_pid != worker
    assert hsm.restarts == 1


@pytest.mark.capability("wrong PIN tried once")
def test_a_wrong_pin_is_tried_once_and_latched(scratch: Token) -> None:
    right = scratch.pin_file.read_text()
    scratch.pin_file.write_text("0" * len(right))
    hsm = scratch.open()
    for _ in range(3):
        with pytest.raises(PinRefusedError):
            hsm.mac(b"data", label="any")
    hsm.close()
    latch = scratch.folder / "pin.latch"
    assert latch.exists()
    scratch.pin_file.write_text(right)
    barred = scratch.open()
    with pytest.raises(PinRefusedError, match="clear-pin"):
        barred.mac(b"data", label="any")
    barred.close()
    latch.unlink()  # and the token was not locked by it
    again = scratch.open()
    assert again.info.model
    again.close()


@pytest.mark.capability("PIN of a wrong form not tried")
def test_a_pin_of_a_wrong_form_never_reaches_the_token(scratch: Token) -> None:
    scratch.pin_file.write_text("x" * 129)
    pattern = scratch.profile.login.pin_pattern
    if pattern == ".{4,255}":
        scratch.pin_file.write_text("xyz")
    hsm = scratch.open()
    with pytest.raises(HsmError, match="was not tried"):
        hsm.mac(b"data", label="any")
    assert hsm.worker_pid is None
    hsm.close()


@pytest.mark.capability("appliance: init, issue, sign")
async def test_an_appliance_is_made_issues_and_signs(
    token: Token, install: Callable[[Token], Installation]
) -> None:
    appliance = install(token)
    await appliance.init()
    box = await appliance.start()
    await box.expect(bundle([await box.coin(), await box.coin()]), Signed)
    assert (await box.status()).hsm.startswith(token.profile.id)
    await box.close()


@pytest.mark.capability("appliance: each key rotated")
async def test_each_key_is_rotated_and_the_appliance_still_signs(
    token: Token, install: Callable[[Token], Installation]
) -> None:
    appliance = install(token)
    await appliance.init()
    box = await appliance.start()
    coin = await box.coin()
    for ceremony in ROTATIONS:
        await alone(box, ceremony)
    await box.expect(bundle([coin]), Signed)
    await box.close()
    box = await appliance.start()
    await box.close()
