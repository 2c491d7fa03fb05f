# SPDX-License-Identifier: Apache-2.0
"""Keccak-384 against safe-pysha3, Kerl against PyOTA, and checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sha3 import keccak_384 as reference_keccak_384

from trinary.errors import ChecksumError, InvalidTrytesError, LengthError
from trinary.kerl import checksum, keccak_384, kerl, split_checksum, with_checksum
from trinary.trytes import TRYTE_ALPHABET, last_trit_is_zero

if TYPE_CHECKING:
    from tests.trinary.conftest import Draws, Oracle

addresses = st.text(TRYTE_ALPHABET, min_size=81, max_size=81)


@pytest.mark.parametrize("length", range(301))
def test_keccak_384_is_the_reference_at_every_length(length: int, draws: Draws) -> None:
    data = draws.data(length)
    assert keccak_384(data) == reference_keccak_384(data).digest()


def test_keccak_384_of_a_megabyte_is_the_reference(draws: Draws) -> None:
    data = draws.data(1 << 20)
    assert keccak_384(data) == reference_keccak_384(data).digest()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_keccak_384_reads_any_buffer(kind: type) -> None:
    assert keccak_384(kind(b"salt")) == reference_keccak_384(b"salt").digest()


def test_pyota_hashes_the_same(oracle: Oracle, draws: Draws) -> None:
    for _ in range(2000):
        trytes = draws.trytes(81)
        assert kerl(trytes) == oracle.kerl(trytes)


@pytest.mark.parametrize("words", range(1, 41))
def test_pyota_hashes_inputs_of_any_length_the_same(
    words: int, oracle: Oracle, draws: Draws
) -> None:
    for _ in range(3):
        trytes = draws.trytes(81 * words)
        assert kerl(trytes) == oracle.kerl(trytes)


def test_the_last_trit_of_each_word_does_not_count(draws: Draws) -> None:
    start = draws.trytes(80)
    # 9, I and R differ in the last trit only.
    assert kerl(start + "9") == kerl(start + "I") == kerl(start + "R")
    assert kerl(start + "9") != kerl(start + "A")


@pytest.mark.parametrize("length", [0, 1, 80, 82, 161, 163])
def test_an_input_of_no_whole_words_is_refused(length: int) -> None:
    with pytest.raises(LengthError, match=f"got {length}$"):
        kerl("A" * length)


def test_an_input_that_is_not_trytes_is_refused() -> None:
    with pytest.raises(InvalidTrytesError, match=r"position 100$"):
        kerl("A" * 100 + "1" + "A" * 61)


@given(addresses)
@settings(deadline=None)
def test_a_checksum_comes_off_as_it_was_put_on(address: str) -> None:
    long = with_checksum(address)
    assert long == address + checksum(address)
    assert split_checksum(long) == address
    assert last_trit_is_zero(kerl(address))


def test_pyota_makes_the_same_checksums(oracle: Oracle, draws: Draws) -> None:
    for _ in range(50):
        address = draws.trytes(80) + "9"
        assert checksum(address) == oracle.checksum(address)


@given(addresses, st.integers(0, 89), st.sampled_from(TRYTE_ALPHABET))
@settings(deadline=None, max_examples=300)
def test_one_wrong_tryte_breaks_the_checksum(
    address: str, position: int, tryte: str
) -> None:
    good = with_checksum(address)
    wrong = good[:position] + tryte + good[position + 1 :]
    # The 81st tryte's last trit is not hashed, so it may change unnoticed.
    if wrong == good or position == 80:
        return
    with pytest.raises(ChecksumError):
        split_checksum(wrong)


@pytest.mark.parametrize("length", [0, 81, 89, 91])
def test_an_address_with_checksum_has_90_trytes(length: int) -> None:
    with pytest.raises(LengthError, match=f"90 trytes, got {length}$"):
        split_checksum("A" * length)


@pytest.mark.parametrize("length", [0, 80, 82, 90])
def test_an_address_without_checksum_has_81_trytes(length: int) -> None:
    for function in (checksum, with_checksum):
        with pytest.raises(LengthError, match=f"81 trytes, got {length}$"):
            function("A" * length)
