# SPDX-License-Identifier: Apache-2.0
"""The kernel against PyOTA and pyota-pow."""

import os
import statistics
import time
import warnings
from collections.abc import Iterator

from benchmarks import python_kerl
from benchmarks.rounds import Figure, at_least, medians_ms
from trinary import winternitz
from trinary.curl import transaction_hash
from trinary.pow import find_nonce, weight_magnitude
from trinary.trytes import trytes_from_bytes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from iota.crypto.addresses import AddressGenerator
    from pow import ccurl_interface  # the package pyota-pow

_LEVEL = 2
_ADDRESSES_PER_ROUND = 50
_WEIGHT = 11
_SEARCHES = 40


def measure(*, rounds: int) -> Iterator[Figure]:
    """Measure address derivation and proof of work.

    Args:
        rounds: How often each candidate runs.

    Yields:
        One figure per comparison.

    Raises:
        ValueError: If the two derive different addresses.
    """
    seed = os.urandom(48)
    text = trytes_from_bytes(seed)
    expected = str(AddressGenerator(text, security_level=_LEVEL).get_addresses(0)[0])
    if winternitz.address(seed, level=_LEVEL) != expected:
        raise ValueError("kernel and PyOTA derive different addresses")
    if python_kerl.address(seed, level=_LEVEL) != expected:
        raise ValueError("Python's integers and PyOTA derive different addresses")
    found = medians_ms(
        {
            "ours": lambda: [
                winternitz.address(seed, level=_LEVEL)
                for _ in range(_ADDRESSES_PER_ROUND)
            ],
            "pyota": lambda: AddressGenerator(
                text, security_level=_LEVEL
            ).get_addresses(0),
            "python": lambda: python_kerl.address(seed, level=_LEVEL),
        },
        rounds=rounds,
    )
    yield at_least(
        "address, level 2, kernel : PyOTA",
        1000,
        ours_ms=found["ours"] / _ADDRESSES_PER_ROUND,
        peer_ms=found["pyota"],
    )
    yield at_least(
        "address, level 2, kernel : Python's integers and Keccak",
        5,
        ours_ms=found["ours"] / _ADDRESSES_PER_ROUND,
        peer_ms=found["python"],
    )
    yield _measure_work()


def _measure_work() -> Figure:
    """Compare mean search times: the time of one search is exponential."""
    ours: list[float] = []
    peer: list[float] = []
    light = 0
    for _ in range(_SEARCHES):
        trytes = "".join(trytes_from_bytes(os.urandom(48)) for _ in range(33))
        start_s = time.perf_counter()
        nonce = find_nonce(trytes, min_weight_magnitude=_WEIGHT)
        ours.append(time.perf_counter() - start_s)
        attached = trytes[:-27] + nonce
        if weight_magnitude(transaction_hash(attached)) < _WEIGHT:
            raise ValueError("a nonce of ours is too light")
        start_s = time.perf_counter()
        theirs = ccurl_interface.get_powed_tx_trytes(trytes, _WEIGHT)
        peer.append(time.perf_counter() - start_s)
        light += weight_magnitude(transaction_hash(theirs)) < _WEIGHT
    note = f"MWM {_WEIGHT}, mean of {_SEARCHES}; every nonce of ours checked"
    if light:
        note += f"; {light} of the peer's were too light"
    return at_least(
        "proof of work, kernel : pyota-pow",
        13,
        ours_ms=statistics.mean(ours) * 1000,
        peer_ms=statistics.mean(peer) * 1000,
        note=note,
    )
