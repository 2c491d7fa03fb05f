# SPDX-License-Identifier: Apache-2.0
"""Addresses and signatures, against PyOTA and against themselves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trinary.errors import (
    InvalidTrytesError,
    LengthError,
    MemoryClosedError,
    SecurityLevelError,
    ValueRangeError,
)
from trinary.memory import LockedBuffer
from trinary.trytes import TRYTE_ALPHABET, trytes_from_bytes
from trinary.winternitz import (
    INDEX_MAX,
    LEVELS,
    address,
    address_from_signature,
    normalise,
    seed_bytes_from_trytes,
    sign,
    sign_fragment_count,
    used_fragments_contain_13,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.trinary.conftest import Draws, Oracle

HASH = "SALTKEEP9" * 9
hashes = st.text(TRYTE_ALPHABET, min_size=81, max_size=81)


@pytest.mark.parametrize("level", LEVELS)
def test_pyota_derives_the_same_addresses(
    level: int, oracle: Oracle, draws: Draws
) -> None:
    for _ in range(10):
        raw, index = draws.data(48), draws.below(10**9)
        expected = oracle.address(trytes_from_bytes(raw), level=level, index=index)
        assert address(raw, level=level, index=index) == expected


@pytest.mark.parametrize("level", LEVELS)
def test_pyota_derives_the_same_from_seeds_in_trytes(
    level: int, oracle: Oracle, draws: Draws
) -> None:
    for _ in range(3):
        seed = draws.trytes(81)
        expected = oracle.address(seed, level=level, index=0)
        assert address(seed_bytes_from_trytes(seed), level=level) == expected


@pytest.mark.parametrize("level", LEVELS)
def test_pyota_signs_the_same(level: int, oracle: Oracle, draws: Draws) -> None:
    for _ in range(10):
        raw, index, text = draws.data(48), draws.below(10**9), draws.trytes(81)
        seed = trytes_from_bytes(raw)
        expected = oracle.sign(seed, level=level, index=index, bundle_hash=text)
        assert sign(raw, level=level, index=index, bundle_hash=text) == expected


@pytest.mark.parametrize("level", LEVELS)
def test_pyota_accepts_our_signatures(level: int, oracle: Oracle, draws: Draws) -> None:
    raw, text = draws.data(48), draws.trytes(81)
    fragments = sign(raw, level=level, bundle_hash=text)
    assert oracle.accepts(address(raw, level=level), fragments, text)


def test_pyota_normalises_the_same(oracle: Oracle, draws: Draws) -> None:
    for _ in range(2000):
        text = draws.trytes(81)
        assert list(normalise(text)) == oracle.normalise(text)


@pytest.mark.parametrize("tryte", TRYTE_ALPHABET)
def test_pyota_normalises_the_extremes_the_same(tryte: str, oracle: Oracle) -> None:
    assert list(normalise(tryte * 81)) == oracle.normalise(tryte * 81)


@given(hashes)
@settings(deadline=None)
def test_each_third_of_a_normalised_hash_sums_to_zero(text: str) -> None:
    values = normalise(text)
    assert all(-13 <= value <= 13 for value in values)
    assert [sum(values[at : at + 27]) for at in (0, 27, 54)] == [0, 0, 0]


@given(st.binary(min_size=48, max_size=48), st.sampled_from(LEVELS), hashes)
@settings(deadline=None, max_examples=100)
def test_what_is_signed_verifies(seed: bytes, level: int, text: str) -> None:
    fragments = sign(seed, level=level, bundle_hash=text)
    own = address(seed, level=level)
    assert len(fragments) == sign_fragment_count(level) == level
    assert address_from_signature(fragments, text) == own
    assert verify(address=own, fragments=fragments, bundle_hash=text)


@pytest.mark.parametrize("level", LEVELS)
def test_one_changed_tryte_fails_to_verify(level: int, draws: Draws) -> None:
    seed, text = draws.data(48), draws.trytes(81)
    own = address(seed, level=level)
    fragments = sign(seed, level=level, bundle_hash=text)
    for _ in range(20):
        which, at = draws.below(level), draws.below(2187)
        changed = list(fragments)
        # The 81st tryte's last trit is not hashed: take another place.
        at -= at % 81 == 80
        tryte = "A" if changed[which][at] != "A" else "B"
        changed[which] = changed[which][:at] + tryte + changed[which][at + 1 :]
        assert not verify(address=own, fragments=changed, bundle_hash=text)
    other = draws.trytes(81)
    assert not verify(address=own, fragments=fragments, bundle_hash=other)
    assert not verify(address=other, fragments=fragments, bundle_hash=text)


@pytest.mark.parametrize("index", [0, 1, 2**31, 2**32, 2**53, INDEX_MAX - 1, INDEX_MAX])
def test_every_index_has_its_own_address(
    index: int, oracle: Oracle, draws: Draws
) -> None:
    seed = draws.data(48)
    expected = oracle.address(trytes_from_bytes(seed), level=1, index=index)
    assert address(seed, level=1, index=index) == expected


@pytest.mark.parametrize("index", [0, 1, 2, 5])
def test_the_largest_seed_wraps_as_trits_do(index: int, oracle: Oracle) -> None:
    # 242 trits of 1: adding carries into the trit that hashing ignores.
    seed = "M" * 80 + "D"
    raw = seed_bytes_from_trytes(seed)
    expected = oracle.address(seed, level=1, index=index)
    assert address(raw, level=1, index=index) == expected


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_seed_may_be_in_any_buffer(kind: type, draws: Draws) -> None:
    seed = draws.data(48)
    assert address(kind(seed), level=1) == address(seed, level=1)


def test_a_seed_may_be_in_a_locked_buffer_and_is_left_as_it_was(draws: Draws) -> None:
    seed = draws.data(48)
    with LockedBuffer(48, allow_unlocked=True) as locked:
        locked.view[:] = seed
        assert address(locked, level=2) == address(seed, level=2)
        assert sign(locked.view, level=1, bundle_hash=HASH) == sign(
            seed, level=1, bundle_hash=HASH
        )
        assert bytes(locked.view) == seed
    with pytest.raises(MemoryClosedError):
        address(locked, level=2)


CALLS: list[Callable[..., object]] = [
    address,
    partial(sign, bundle_hash=HASH),
]


@pytest.mark.parametrize("call", CALLS, ids=["address", "sign"])
class TestRefusals:
    @pytest.mark.parametrize("size_bytes", [0, 1, 47, 49, 81, 96, 4096])
    def test_a_seed_of_another_size(
        self, call: Callable[..., object], size_bytes: int
    ) -> None:
        with pytest.raises(LengthError, match=f"48 bytes, got {size_bytes}$"):
            call(bytes(size_bytes), level=2)

    @pytest.mark.parametrize("level", [-1, 0, 4, 5, 2**31, 2**64])
    def test_a_level_that_does_not_exist(
        self, call: Callable[..., object], level: int
    ) -> None:
        with pytest.raises(SecurityLevelError):
            call(bytes(48), level=level)

    @pytest.mark.parametrize("index", [-1, -(2**63), 2**63, 2**64])
    def test_an_index_out_of_range(
        self, call: Callable[..., object], index: int
    ) -> None:
        with pytest.raises(ValueRangeError):
            call(bytes(48), level=2, index=index)

    @pytest.mark.parametrize("seed", ["A" * 48, None, 48, [0] * 48])
    def test_a_seed_that_is_no_buffer(
        self, call: Callable[..., object], seed: object
    ) -> None:
        with pytest.raises(TypeError):
            call(seed, level=2)

    def test_a_seed_scattered_in_memory(self, call: Callable[..., object]) -> None:
        with pytest.raises((BufferError, ValueError)):
            call(memoryview(bytes(96))[::2], level=2)


@pytest.mark.parametrize("text", ["", "A" * 80, "A" * 82])
def test_a_hash_of_another_length_is_refused(text: str) -> None:
    fragments = ["9" * 2187]
    for call in (
        lambda: sign(bytes(48), level=1, bundle_hash=text),
        lambda: normalise(text),
        lambda: used_fragments_contain_13(text, level=1),
        lambda: address_from_signature(fragments, text),
    ):
        with pytest.raises(LengthError):
            call()


def test_a_hash_that_is_not_trytes_is_refused() -> None:
    text = "A" * 80 + "?"
    for call in (
        lambda: sign(bytes(48), level=1, bundle_hash=text),
        lambda: normalise(text),
        lambda: address_from_signature(["9" * 2187], text),
    ):
        with pytest.raises(InvalidTrytesError):
            call()


@pytest.mark.parametrize(
    "lengths", [[], [2187] * 4, [2186], [2188], [2187, 81], [6561], [0]]
)
def test_fragments_of_another_shape_are_refused(lengths: list[int]) -> None:
    fragments = ["9" * length for length in lengths]
    with pytest.raises(LengthError):
        address_from_signature(fragments, HASH)
    with pytest.raises(LengthError):
        verify(address=HASH, fragments=fragments, bundle_hash=HASH)


def test_fragments_that_are_not_trytes_are_refused() -> None:
    with pytest.raises(InvalidTrytesError, match="fragment 1"):
        address_from_signature(["9" * 2187, "9" * 2186 + "-"], HASH)


def test_only_the_fragments_a_level_uses_are_looked_at_for_13() -> None:
    # M is 13 and N is -13; each third sums to zero already.
    safe, exposed = "9" * 27, "9" * 25 + "MN"
    table = {
        safe * 3: (False, False, False),
        exposed + safe * 2: (True, True, True),
        safe + exposed + safe: (False, True, True),
        safe * 2 + exposed: (False, False, True),
    }
    for text, expected in table.items():
        found = tuple(used_fragments_contain_13(text, level=level) for level in LEVELS)
        assert found == expected


def test_13_is_looked_for_after_normalising() -> None:
    # The first value takes up the whole sum: M becomes -13, or 9 becomes 13.
    lowered = "M" + "9" * 80
    assert not used_fragments_contain_13(lowered, level=1)
    raised = "9" + "N" + "9" * 79
    assert normalise(raised)[:2] == (13, -13)
    assert used_fragments_contain_13(raised, level=1)


@pytest.mark.parametrize("level", [0, 4])
def test_questions_about_a_level_that_does_not_exist_are_refused(level: int) -> None:
    with pytest.raises(SecurityLevelError):
        sign_fragment_count(level)
    with pytest.raises(SecurityLevelError):
        used_fragments_contain_13(HASH, level=level)


@pytest.mark.parametrize("length", [0, 80, 82, 90])
def test_a_seed_in_trytes_has_81(length: int) -> None:
    with pytest.raises(LengthError) as refusal:
        seed_bytes_from_trytes("S" * length)
    assert "SS" not in str(refusal.value)
