# SPDX-License-Identifier: Apache-2.0
"""Every known answer in tests/vectors, field by field."""

from typing import Any

import pytest

from trinary.bundle import bundle_hash, parse_transaction, serialise_transaction
from trinary.curl import transaction_hash
from trinary.kerl import checksum, keccak_384, kerl
from trinary.trytes import bytes_from_trytes, trytes_from_bytes
from trinary.winternitz import (
    address,
    address_from_signature,
    normalise,
    seed_bytes_from_trytes,
    sign,
    verify,
)

Json = dict[str, Any]
LEVELS = (1, 2, 3)


def spelled_out_key(subseed: str, level: int) -> list[str]:
    """Squeeze a key in the open, as the kernel does out of sight."""
    chunks = []
    digest = keccak_384(bytes_from_trytes(subseed))
    for _ in range(27 * level):
        chunks.append(trytes_from_bytes(digest))
        digest = keccak_384(bytes(byte ^ 0xFF for byte in digest))
    return chunks


def spelled_out_digests(key: list[str]) -> str:
    """Hash a key to its digests in the open."""
    ends = []
    for chunk in key:
        end = chunk
        for _ in range(26):
            end = kerl(end)
        ends.append(end)
    return "".join(kerl("".join(ends[i : i + 27])) for i in range(0, len(ends), 27))


def test_addresses_are_the_known_ones_at_every_level(bundle_vector: Json) -> None:
    seed = seed_bytes_from_trytes(bundle_vector["seed"])
    for level in LEVELS:
        expected = bundle_vector["addresses"][str(level)]
        assert address(seed, level=level) == expected
    level, index = bundle_vector["security"], bundle_vector["index"]
    assert address(seed, level=level, index=index) == bundle_vector["address"]
    assert address(seed, level=level) == bundle_vector["addressIndex0"]


def test_checksums_are_the_known_ones(bundle_vector: Json) -> None:
    assert checksum(bundle_vector["address"]) == bundle_vector["checksum"]


def test_subseed_key_and_digests_lead_to_the_address(bundle_vector: Json) -> None:
    assert bundle_vector["index"] == 0
    subseed = kerl(bundle_vector["seed"])
    assert subseed == bundle_vector["subseed"]
    key = spelled_out_key(subseed, bundle_vector["security"])
    assert key[0] == bundle_vector["keyFirstChunk"]
    assert key[-1] == bundle_vector["keyLastChunk"]
    digests = spelled_out_digests(key)
    assert digests == bundle_vector["digests"]
    assert kerl(digests) == bundle_vector["address"]


def test_bundle_hashes_are_the_known_ones(bundle_vector: Json) -> None:
    transactions = [parse_transaction(t) for t in bundle_vector["bundleTrytes"]]
    essences = [tx.essence for tx in transactions]
    assert bundle_hash(essences) == bundle_vector["bundleHash"]
    assert {tx.bundle for tx in transactions} == {bundle_vector["bundleHash"]}
    assert [tx.current_index for tx in transactions] == list(range(len(essences)))
    assert {tx.last_index for tx in transactions} == {len(essences) - 1}
    assert {tx.timestamp_s for tx in transactions} == {bundle_vector["timestamp"]}
    assert sum(tx.value_i for tx in transactions) == 0


def test_outputs_and_inputs_are_where_the_bundle_says(bundle_vector: Json) -> None:
    transactions = [parse_transaction(t) for t in bundle_vector["bundleTrytes"]]
    paid = {(tx.address, tx.value_i) for tx in transactions if tx.value_i > 0}
    wanted = {(out["address"], out["value"]) for out in bundle_vector["outputs"]}
    assert paid == {pair for pair in wanted if pair[1] > 0}
    for spent in bundle_vector["inputs"]:
        tx = transactions[spent["bundleIndex"]]
        assert (tx.address, tx.value_i) == (spent["address"], -spent["balance"])


def test_transactions_are_read_written_and_hashed(bundle_vector: Json) -> None:
    known = zip(
        bundle_vector["bundleTrytes"], bundle_vector["transactionHashes"], strict=True
    )
    for trytes, expected in known:
        assert serialise_transaction(parse_transaction(trytes)) == trytes
        assert transaction_hash(trytes) == expected


def test_normalised_hashes_are_the_known_ones(bundle_vector: Json) -> None:
    expected = tuple(bundle_vector["normalizedBundleHash"])
    assert normalise(bundle_vector["bundleHash"]) == expected


def test_signatures_are_the_known_ones(bundle_vector: Json) -> None:
    seed = seed_bytes_from_trytes(bundle_vector["seed"])
    signed = bundle_vector["bundleHash"]
    for spent in bundle_vector["inputs"]:
        level, index = spent["security"], spent["index"]
        fragments = sign(seed, level=level, index=index, bundle_hash=signed)
        assert fragments == spent["signature"]
        assert address_from_signature(fragments, signed) == spent["address"]
        assert verify(address=spent["address"], fragments=fragments, bundle_hash=signed)


def test_signatures_stand_in_the_transactions(bundle_vector: Json) -> None:
    for spent in bundle_vector["inputs"]:
        at, level = spent["bundleIndex"], spent["security"]
        carriers = bundle_vector["bundleTrytes"][at : at + level]
        carried = [parse_transaction(t).signature_message for t in carriers]
        assert carried == spent["signature"]


def test_the_old_hubs_own_answer_is_reproduced(hub_vector: Json) -> None:
    seed = seed_bytes_from_trytes(hub_vector["seed"])
    for level, expected in hub_vector["address"].items():
        assert address(seed, level=int(level)) == expected
    fragments = sign(seed, level=2, bundle_hash=hub_vector["bundle_hash"])
    assert "".join(fragments) == hub_vector["signature_level_2"]


def test_raw_seeds_become_the_known_trytes_and_addresses(seed_vector: Json) -> None:
    raw = bytes.fromhex(seed_vector["raw"])
    assert trytes_from_bytes(raw) == seed_vector["seed"]
    for level in LEVELS:
        expected = seed_vector["addresses"][str(level)]
        assert address(raw, level=level) == expected
        in_range = seed_bytes_from_trytes(seed_vector["seed"])
        assert address(in_range, level=level) == expected


@pytest.mark.parametrize("level", LEVELS)
def test_an_address_is_what_the_open_steps_give(level: int) -> None:
    seed = "SALTKEEP" + "9" * 73
    digests = spelled_out_digests(spelled_out_key(kerl(seed), level))
    assert address(seed_bytes_from_trytes(seed), level=level) == kerl(digests)
