# SPDX-License-Identifier: Apache-2.0
"""The codec: round trips, refusals, and PyOTA's opinion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trinary.errors import InvalidTrytesError, LengthError, ValueRangeError
from trinary.memory import LockedBuffer
from trinary.trytes import (
    TRYTE_ALPHABET,
    bytes_from_trytes,
    int_from_trytes,
    is_trytes,
    last_trit_is_zero,
    require_trytes,
    trits_from_trytes,
    trytes_from_bytes,
    trytes_from_int,
    trytes_from_trits,
    write_trytes,
)

if TYPE_CHECKING:
    from tests.trinary.conftest import Draws, Oracle

LARGEST = (3**242 - 1) // 2

trytes_81 = st.text(TRYTE_ALPHABET, min_size=81, max_size=81)
words = st.integers(-LARGEST, LARGEST)
# Near the edges of the range of a word, and of 48 bytes.
edges = st.one_of(
    st.integers(LARGEST - 3, LARGEST + 3),
    st.integers(-LARGEST - 3, -LARGEST + 3),
    st.integers(2**383 - 3, 2**383 - 1),
    st.integers(-(2**383), -(2**383) + 3),
    st.integers(-3, 3),
    st.integers(-(2**383), 2**383 - 1),
)
no_deadline = settings(deadline=None, max_examples=500)


def in_range(value: int) -> int:
    """Bring a number into the range of a word, in the open."""
    return (value + LARGEST) % 3**242 - LARGEST


@given(trytes_81)
@no_deadline
def test_trytes_survive_bytes_but_for_the_last_trit(trytes: str) -> None:
    back = trits_from_trytes(trytes_from_bytes(bytes_from_trytes(trytes)))
    assert back == [*trits_from_trytes(trytes)[:-1], 0]


@given(words)
@no_deadline
def test_a_word_is_its_number_in_bytes_and_in_trytes(value: int) -> None:
    data = value.to_bytes(48, "big", signed=True)
    trytes = trytes_from_int(value, length_trytes=81)
    assert trytes_from_bytes(data) == trytes
    assert bytes_from_trytes(trytes) == data


@given(edges)
@no_deadline
def test_any_48_bytes_are_brought_into_range(value: int) -> None:
    data = value.to_bytes(48, "big", signed=True)
    assert int_from_trytes(trytes_from_bytes(data)) == in_range(value)


@given(st.binary(min_size=48, max_size=48))
@no_deadline
def test_words_from_bytes_end_in_a_zero_trit(data: bytes) -> None:
    assert last_trit_is_zero(trytes_from_bytes(data))


@given(st.binary(max_size=100).filter(lambda data: len(data) != 48))
def test_bytes_of_another_size_are_refused(data: bytes) -> None:
    with pytest.raises(LengthError, match=f"got {len(data)}"):
        trytes_from_bytes(data)


@given(st.text(TRYTE_ALPHABET, min_size=1, max_size=200))
@no_deadline
def test_numbers_survive_trytes(trytes: str) -> None:
    value = int_from_trytes(trytes)
    assert trytes_from_int(value, length_trytes=len(trytes)) == trytes


@given(st.text(TRYTE_ALPHABET, max_size=200))
@no_deadline
def test_trits_survive_trytes(trytes: str) -> None:
    trits = trits_from_trytes(trytes)
    assert trytes_from_trits(trits) == trytes
    assert len(trits) == 3 * len(trytes)
    if trytes:
        number = sum(trit * 3**place for place, trit in enumerate(trits))
        assert number == int_from_trytes(trytes)


@given(st.integers(1, 40), st.integers(1, 10**6))
@no_deadline
def test_a_number_too_large_for_its_trytes_is_refused(length: int, above: int) -> None:
    largest = (27**length - 1) // 2
    assert trytes_from_int(largest, length_trytes=length) == "M" * length
    assert trytes_from_int(-largest, length_trytes=length) == "N" * length
    for value in (largest + above, -largest - above):
        with pytest.raises(ValueRangeError):
            trytes_from_int(value, length_trytes=length)


@given(st.text(max_size=90))
@no_deadline
def test_any_text_is_trytes_or_refused(text: str) -> None:
    good = all(character in TRYTE_ALPHABET for character in text)
    assert is_trytes(text) is good
    if good:
        assert require_trytes(text, what="text") == text
    else:
        first = next(i for i, c in enumerate(text) if c not in TRYTE_ALPHABET)
        with pytest.raises(InvalidTrytesError, match=f"position {first}$"):
            require_trytes(text, what="text")


@given(st.text(min_size=81, max_size=81))
def test_81_characters_of_anything_never_crash_the_codec(text: str) -> None:
    if is_trytes(text):
        return
    for function in (bytes_from_trytes, int_from_trytes, last_trit_is_zero):
        with pytest.raises(InvalidTrytesError):
            function(text)


@pytest.mark.parametrize(
    "bad", ["a", "0", " ", "\n", "\0", "é", "\uff21", "\ud800", "-"]
)
@pytest.mark.parametrize("position", [0, 40, 80])
def test_one_bad_character_is_found_where_it_is(bad: str, position: int) -> None:
    text = "A" * position + bad + "A" * (80 - position)
    with pytest.raises(InvalidTrytesError, match=f"position {position}$"):
        bytes_from_trytes(text)


def test_a_trailing_newline_is_not_overlooked() -> None:
    assert not is_trytes("ABC\n")
    with pytest.raises(InvalidTrytesError):
        require_trytes("ABC\n", what="text")


@pytest.mark.parametrize("length", [0, 1, 80, 82, 162])
def test_trytes_of_another_length_are_refused(length: int) -> None:
    for function in (bytes_from_trytes, last_trit_is_zero):
        with pytest.raises(LengthError, match=f"81 trytes, got {length}"):
            function("A" * length)


def test_a_message_never_shows_what_was_refused() -> None:
    with pytest.raises(InvalidTrytesError) as refusal:
        bytes_from_trytes("SECRETSEED" * 8 + "!")
    assert "SECRET" not in str(refusal.value)
    assert "!" not in str(refusal.value)


def test_lengths_may_be_a_choice() -> None:
    assert require_trytes("A" * 90, lengths=(81, 90), what="address") == "A" * 90
    with pytest.raises(LengthError, match=r"\(81, 90\), got 82"):
        require_trytes("A" * 82, lengths=(81, 90), what="address")
    assert is_trytes("A" * 81, length=81)
    assert not is_trytes("A" * 81, length=90)


@pytest.mark.parametrize("length", [0, 2674, 5000])
def test_no_number_is_read_from_no_trytes_or_too_many(length: int) -> None:
    with pytest.raises(LengthError):
        int_from_trytes("9" * length)


@pytest.mark.parametrize("trits", [[1], [0, 1, 0, 1]])
def test_trits_that_make_no_whole_tryte_are_refused(trits: list[int]) -> None:
    with pytest.raises(LengthError):
        trytes_from_trits(trits)


@pytest.mark.parametrize("bad", [2, -2, 13, 10**9])
def test_what_is_no_trit_is_refused(bad: int) -> None:
    with pytest.raises(ValueRangeError, match=r"position 1$"):
        trytes_from_trits([0, bad, 0])


def test_no_length_to_write_a_number_in_is_refused() -> None:
    with pytest.raises(LengthError):
        trytes_from_int(0, length_trytes=0)


def test_exactly_nine_trytes_have_a_zero_last_trit() -> None:
    zero = [t for t in TRYTE_ALPHABET if last_trit_is_zero("A" * 80 + t)]
    assert zero == [t for t in TRYTE_ALPHABET if trits_from_trytes(t)[2] == 0]
    assert "".join(sorted(zero)) == "9ABCDWXYZ"


def test_pyota_converts_the_same(oracle: Oracle, draws: Draws) -> None:
    for _ in range(2000):
        trytes, data = draws.trytes(81), draws.data(48)
        assert bytes_from_trytes(trytes) == oracle.bytes_from_trytes(trytes)
        assert trytes_from_bytes(data) == oracle.trytes_from_bytes(data)


def test_pyota_reads_the_same_numbers(oracle: Oracle, draws: Draws) -> None:
    for _ in range(2000):
        trytes = draws.trytes(1 + draws.below(81))
        assert int_from_trytes(trytes) == oracle.int_from_trytes(trytes)


@given(st.binary(min_size=48, max_size=48))
def test_trytes_are_written_into_locked_memory_as_into_a_text(data: bytes) -> None:
    with LockedBuffer(81, allow_unlocked=True) as written:
        write_trytes(data, written)
        assert bytes(written.view).decode("ascii") == trytes_from_bytes(data)


@pytest.mark.parametrize(("data", "room"), [(47, 81), (49, 81), (48, 80), (48, 82)])
def test_trytes_are_written_only_where_they_fit(data: int, room: int) -> None:
    with LockedBuffer(room, allow_unlocked=True) as written:
        with pytest.raises(LengthError):
            write_trytes(bytes(data), written)
        assert not any(written.view)
