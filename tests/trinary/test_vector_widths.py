# SPDX-License-Identifier: Apache-2.0
"""Every vector width gives what plain C gives, and what PyOTA gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import trinary
from trinary._kernel import lib
from trinary.trytes import trytes_from_bytes
from trinary.winternitz import LEVELS, address, address_from_signature, sign

if TYPE_CHECKING:
    from tests.trinary.conftest import Draws, Json, Oracle

PLAIN = 64
# What a digest and a word can be at their edges: zero, the sign's change, the
# largest word and what lies one beyond it, either way, and all bits.
_WORD_MAX = (3**242 - 1) // 2
EDGES = [
    number % 2**384
    for base in (0, _WORD_MAX, -_WORD_MAX, 2**383, 3**242)
    for number in (base - 1, base, base + 1)
]


def in_plain_c(seed: bytes, *, level: int, text: str) -> tuple[str, list[str]]:
    bits = lib.sk_vector_bits()
    lib.sk_limit_vector_bits(PLAIN)
    try:
        return address(seed, level=level), sign(seed, level=level, bundle_hash=text)
    finally:
        lib.sk_limit_vector_bits(bits)


@pytest.mark.parametrize("level", LEVELS)
def test_every_width_signs_as_plain_c_does(
    level: int, vector_bits: int, draws: Draws
) -> None:
    assert lib.sk_vector_bits() == vector_bits
    for _ in range(100):
        seed, text = draws.data(48), draws.trytes(81)
        own, fragments = in_plain_c(seed, level=level, text=text)
        assert address(seed, level=level) == own
        assert sign(seed, level=level, bundle_hash=text) == fragments
        assert address_from_signature(fragments, text) == own


@pytest.mark.parametrize("tryte", "9AMNZ")
@pytest.mark.usefixtures("vector_bits")
def test_chains_of_any_length_come_out_the_same(tryte: str, draws: Draws) -> None:
    for level in LEVELS:
        # Few values differ: nearly all chains are equally long, some are empty.
        seed, text = draws.data(48), tryte * 27 + draws.trytes(27) + tryte * 27
        own, fragments = in_plain_c(seed, level=level, text=text)
        assert sign(seed, level=level, bundle_hash=text) == fragments
        assert address_from_signature(fragments, text) == own


@pytest.mark.usefixtures("vector_bits")
def test_words_at_the_edges_come_out_the_same() -> None:
    # As fragments of a signature, words go into the lanes as they are given.
    words = [trytes_from_bytes(edge.to_bytes(48, "big")) for edge in EDGES]
    fragment = "".join((words * 2)[:27])
    for text in ("9" * 81, "M" * 40 + "N" * 41):
        bits = lib.sk_vector_bits()
        lib.sk_limit_vector_bits(PLAIN)
        expected = address_from_signature([fragment] * 3, text)
        lib.sk_limit_vector_bits(bits)
        assert address_from_signature([fragment] * 3, text) == expected


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.usefixtures("vector_bits")
def test_every_width_derives_as_pyota_does(
    level: int, oracle: Oracle, draws: Draws
) -> None:
    seed, text = draws.data(48), draws.trytes(81)
    spelt = trytes_from_bytes(seed)
    assert address(seed, level=level) == oracle.address(spelt, level=level, index=0)
    expected = oracle.sign(spelt, level=level, index=0, bundle_hash=text)
    assert sign(seed, level=level, bundle_hash=text) == expected


@pytest.mark.usefixtures("vector_bits")
def test_every_width_knows_the_known_answers(seed_vector: Json) -> None:
    seed = bytes.fromhex(seed_vector["raw"])
    for level, expected in seed_vector["addresses"].items():
        assert address(seed, level=int(level)) == expected


@pytest.mark.parametrize("bits", [-1, 1, 63, 96, 1024])
def test_a_width_that_no_vector_has_is_refused(bits: int) -> None:
    assert lib.sk_limit_vector_bits(bits) == lib.SK_ERR_RANGE


@pytest.mark.parametrize(
    ("text", "expected"),
    [("64", 64), ("128", 128), ("", None), ("no", None), ("65", None), ("512", None)],
)
def test_the_environment_limits_the_width(text: str, expected: int | None) -> None:
    program = "from trinary._kernel import lib; print(lib.sk_vector_bits())"
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={
            **os.environ,
            "SALTKEEP_VECTOR_BITS": text,
            "PYTHONPATH": str(Path(trinary.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    before = lib.sk_vector_bits()
    lib.sk_limit_vector_bits(0)
    widest = lib.sk_vector_bits()
    lib.sk_limit_vector_bits(before)
    assert int(ended.stdout) == (expected or widest)
