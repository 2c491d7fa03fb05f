# SPDX-License-Identifier: Apache-2.0
"""Proof of work: found, checked by others, cancelled, refused."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from trinary._kernel import ffi, lib
from trinary.curl import transaction_hash
from trinary.errors import (
    CancelledError,
    InvalidTrytesError,
    LengthError,
    ValueRangeError,
)
from trinary.pow import Cancel, find_nonce, weight_magnitude
from trinary.trytes import is_trytes

if TYPE_CHECKING:
    from tests.trinary.conftest import Draws, Oracle

NEVER = 81
"""A magnitude that no search reaches."""


@pytest.mark.parametrize("magnitude", range(1, 10))
def test_a_nonce_gives_the_weight_asked_for(magnitude: int, draws: Draws) -> None:
    for _ in range(5):
        trytes = draws.trytes(2673)
        nonce = find_nonce(trytes, min_weight_magnitude=magnitude)
        assert is_trytes(nonce, length=27)
        found = transaction_hash(trytes[:-27] + nonce)
        assert weight_magnitude(found) >= magnitude


def test_pyota_sees_the_weight_too(oracle: Oracle, draws: Draws) -> None:
    trytes = draws.trytes(2673)
    nonce = find_nonce(trytes, min_weight_magnitude=9)
    assert oracle.curl(trytes[:-27] + nonce).endswith("999")


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_any_number_of_threads_finds_a_nonce(threads: int, draws: Draws) -> None:
    trytes = draws.trytes(2673)
    nonce = find_nonce(trytes, min_weight_magnitude=7, threads=threads)
    assert weight_magnitude(transaction_hash(trytes[:-27] + nonce)) >= 7


def test_two_searches_find_different_nonces() -> None:
    trytes = "9" * 2673
    found = {find_nonce(trytes, min_weight_magnitude=1) for _ in range(10)}
    assert len(found) > 1


def test_the_nonce_that_is_there_does_not_matter(draws: Draws) -> None:
    start = draws.trytes(2646)
    nonce = find_nonce(start + draws.trytes(27), min_weight_magnitude=5)
    assert weight_magnitude(transaction_hash(start + nonce)) >= 5


@pytest.mark.parametrize("threads", [1, None])
def test_cancelling_stops_a_search_soon(threads: int | None) -> None:
    cancel = Cancel()
    timer = threading.Timer(0.1, cancel.cancel)
    timer.start()
    with pytest.raises(CancelledError):
        find_nonce(
            "9" * 2673, min_weight_magnitude=NEVER, threads=threads, cancel=cancel
        )
    stopped = time.monotonic()
    timer.join()
    assert cancel.cancelled
    assert time.monotonic() - stopped < 0.1


def test_the_interpreter_goes_on_during_a_search() -> None:
    cancel = Cancel()
    ended: list[float] = []

    def search() -> None:
        with pytest.raises(CancelledError):
            find_nonce("9" * 2673, min_weight_magnitude=NEVER, cancel=cancel)
        ended.append(time.monotonic())

    thread = threading.Thread(target=search)
    thread.start()
    time.sleep(0.2)
    cancelled = time.monotonic()
    cancel.cancel()
    thread.join(timeout=10)
    assert ended
    assert ended[0] - cancelled < 0.1


def test_a_cancelled_flag_stays_cancelled() -> None:
    cancel = Cancel()
    assert not cancel.cancelled
    cancel.cancel()
    cancel.cancel()
    for _ in range(3):
        with pytest.raises(CancelledError):
            find_nonce("9" * 2673, min_weight_magnitude=NEVER, cancel=cancel)


@pytest.mark.parametrize("magnitude", [-1, 0, 244, 2**31, 2**64])
def test_a_magnitude_out_of_range_is_refused(magnitude: int) -> None:
    with pytest.raises(ValueRangeError):
        find_nonce("9" * 2673, min_weight_magnitude=magnitude)


@pytest.mark.parametrize("threads", [-1, 0, 730, 2**64])
def test_a_number_of_threads_out_of_range_is_refused(threads: int) -> None:
    with pytest.raises(ValueRangeError):
        find_nonce("9" * 2673, min_weight_magnitude=1, threads=threads)


@pytest.mark.parametrize("length", [0, 2646, 2672, 2674])
def test_a_transaction_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(LengthError):
        find_nonce("9" * length, min_weight_magnitude=1)


def test_a_transaction_that_is_not_trytes_is_refused() -> None:
    with pytest.raises(InvalidTrytesError):
        find_nonce("9" * 2672 + "z", min_weight_magnitude=1)


@pytest.mark.parametrize(
    ("ending", "zeros"),
    [("M", 0), ("D", 1), ("A", 2), ("M9", 3), ("A9", 5), ("B99", 7), ("A999", 11)],
)
def test_weight_is_the_number_of_zero_trits_at_the_end(ending: str, zeros: int) -> None:
    assert weight_magnitude("M" * (81 - len(ending)) + ending) == zeros


def test_a_hash_of_zeros_weighs_243() -> None:
    assert weight_magnitude("9" * 81) == 243


@pytest.mark.parametrize("length", [0, 80, 82])
def test_a_hash_of_another_length_has_no_weight(length: int) -> None:
    with pytest.raises(LengthError):
        weight_magnitude("9" * length)


@pytest.mark.parametrize("width_bits", [128, 256])
def test_every_vector_width_finds_nonces(width_bits: int, draws: Draws) -> None:
    if width_bits > lib.sk_pow_width_bits():
        pytest.skip("this processor has no such vectors")
    trytes = draws.trytes(2673)
    out = ffi.new("char[27]")
    status = lib.sk_pow(
        trytes.encode("ascii"),
        2673,
        8,
        2,
        b"9" * 27,
        27,
        width_bits,
        ffi.new("int32_t *"),
        out,
    )
    assert status == lib.SK_OK
    nonce = ffi.buffer(out)[:].decode("ascii")
    assert weight_magnitude(transaction_hash(trytes[:-27] + nonce)) >= 8
