# SPDX-License-Identifier: Apache-2.0
"""What the hub does with bundles: the kernel against PyOTA and pyota-ccurl.

PyOTA finds the counter against 13 by hashing again and again; both search the same
bundle from the same counter, so both hash it equally often.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks.native import NativePeer
from benchmarks.rounds import Figure, at_least, at_most, medians_ms
from hub.model import Address
from hub.tangle import (
    Draft,
    DraftInput,
    DraftOutput,
    draft_bundle,
    finish,
    read_draft,
    require_valid,
)
from trinary import winternitz
from trinary.bundle import parse_transaction
from trinary.curl import transaction_hash
from trinary.kerl import with_checksum

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import iota

_LEVEL = 2
_SIZES = (20, 40, 60)
_AMOUNT_I = 1_000
_TIMESTAMP_S = 1_700_000_000
_OUTPUTS = 2
_MANY = 50


def measure(*, rounds: int) -> Iterator[Figure]:
    """Measure bundles of 20 to 60 transactions, and single transactions.

    Args:
        rounds: How often each candidate runs; PyOTA's slow ones at most three times.

    Yields:
        One figure per comparison.
    """
    for size in _SIZES:
        yield from _drafts(size, rounds=min(rounds, 3))
    trytes = _signed(_SIZES[0])
    with NativePeer("ccurl") as ccurl:
        ccurl.run("parse", trytes[0])
        found = medians_ms(
            {
                "ours": lambda: [_read(trytes[0]) for _ in range(_MANY)],
                "pyota": lambda: iota.Transaction.from_tryte_string(trytes[0]),
                "ccurl": lambda: ccurl.run("parse", trytes[0]),
            },
            rounds=rounds,
        )
    ours_ms = found["ours"] / _MANY
    yield at_least(
        "a transaction parsed and hashed, kernel : PyOTA",
        50,
        ours_ms=ours_ms,
        peer_ms=found["pyota"],
    )
    yield at_least(
        "a transaction parsed and hashed, kernel : PyOTA with pyota-ccurl",
        1,
        ours_ms=ours_ms,
        peer_ms=found["ccurl"],
        note="built for this processor",
    )
    yield _checksums(rounds=rounds)


def _read(trytes: str) -> str:
    parse_transaction(trytes)
    return transaction_hash(trytes)


def _checksums(*, rounds: int) -> Figure:
    address = _address(0)
    found = medians_ms(
        {
            "ours": lambda: [with_checksum(address) for _ in range(_MANY)],
            "pyota": lambda: iota.Address(address).with_valid_checksum(),
        },
        rounds=rounds,
    )
    return at_least(
        "checksum of an address, kernel : PyOTA",
        10,
        ours_ms=found["ours"] / _MANY,
        peer_ms=found["pyota"],
    )


def _drafts(size: int, *, rounds: int) -> Iterator[Figure]:
    """Compare making a draft, and ask what of a bundle's way is PyOTA.

    Yields:
        One figure per comparison.

    Raises:
        ValueError: If the two find different bundles.
    """
    inputs, outputs = _parts(size)
    peer_hash = _by_pyota(inputs, outputs)
    if draft_bundle(inputs, outputs, timestamp_s=_TIMESTAMP_S).bundle_hash != peer_hash:
        raise ValueError("the hub and PyOTA finalise a bundle differently")
    trytes = _signed(size)
    found = medians_ms(
        {
            "ours": lambda: draft_bundle(inputs, outputs, timestamp_s=_TIMESTAMP_S),
            "pyota": lambda: _by_pyota(inputs, outputs),
            "kernel": lambda: [read_draft(trytes) for _ in range(_MANY)],
            "check": lambda: require_valid(trytes),
        },
        rounds=rounds,
    )
    yield at_least(
        f"a bundle of {size} built and finalised, the hub's way : PyOTA alone",
        1,
        ours_ms=found["ours"],
        peer_ms=found["pyota"],
        note="ours has one hash by PyOTA in it, to be agreed with",
    )
    yield at_most(
        f"a signed bundle of {size} read and hashed, kernel : checked by PyOTA",
        0.05,
        ours_ms=found["kernel"] / _MANY,
        peer_ms=found["check"],
        note="the check is made once, in a process of its own",
    )


def _parts(size: int) -> tuple[list[DraftInput], list[DraftOutput]]:
    count = (size - _OUTPUTS) // _LEVEL
    inputs = [DraftInput(_address(n), _AMOUNT_I, _LEVEL) for n in range(count)]
    total_i = _AMOUNT_I * count
    outputs = [DraftOutput(_address(count), total_i - 1), DraftOutput(_address(0), 1)]
    return inputs, [outputs[0], replace(outputs[1], address=_address(count + 1))]


def _address(number: int) -> Address:
    return Address(winternitz.address(_seed(number), level=_LEVEL))


def _seed(number: int) -> bytes:
    return number.to_bytes(48, "big")


def _by_pyota(inputs: Sequence[DraftInput], outputs: Sequence[DraftOutput]) -> str:
    proposed = iota.ProposedBundle()
    proposed.add_inputs(
        iota.Address(
            one.address, balance=one.amount_i, key_index=0, security_level=_LEVEL
        )
        for one in inputs
    )
    for output in outputs:
        proposed.add_transaction(
            iota.ProposedTransaction(
                address=iota.Address(output.address), value=output.amount_i
            )
        )
    for transaction in proposed:
        transaction.timestamp = _TIMESTAMP_S
    proposed.finalize()
    return str(proposed.hash)


def _signed(size: int) -> tuple[str, ...]:
    inputs, outputs = _parts(size)
    draft: Draft = draft_bundle(inputs, outputs, timestamp_s=_TIMESTAMP_S)
    return finish(
        draft,
        {
            _LEVEL * number: winternitz.sign(
                _seed(number), bundle_hash=draft.bundle_hash, level=_LEVEL
            )
            for number in range(len(inputs))
        },
    )
