# SPDX-License-Identifier: Apache-2.0
"""SLIP-39 against its authors' vectors and their implementation, both ways."""

import itertools
import json
import secrets
from pathlib import Path
from typing import Any

import pytest
import shamir_mnemonic

from appliance.slip39 import ShareError, recover, split
from trinary.memory import LockedBuffer

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "vectors-slip39.json").read_text()
)["vectors"]


def locked(data: bytes) -> LockedBuffer:
    buffer = LockedBuffer(len(data), allow_unlocked=True)
    buffer.view[:] = data
    return buffer


def recovered(mnemonics: list[str], passphrase: bytes = b"") -> bytes:
    texts = [locked(text.encode()) for text in mnemonics]
    with recover(texts, passphrase=passphrase, allow_unlocked=True) as secret:
        return bytes(secret.view)


def made(
    secret: bytes,
    threshold: int,
    count: int,
    *,
    extendable: bool = True,
    passphrase: bytes = b"",
) -> list[str]:
    groups = split(
        locked(secret),
        groups=[(threshold, count)],
        iteration_exponent=0,
        allow_unlocked=True,
        extendable=extendable,
        passphrase=passphrase,
    )
    return [bytes(text.view).decode() for text in groups[0]]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["description"])
def test_the_authors_vector(vector: dict[str, Any]) -> None:
    if vector["secret"]:
        found = recovered(vector["mnemonics"], b"TREZOR")
        assert found.hex() == vector["secret"]
    else:
        with pytest.raises(ShareError):
            recovered(vector["mnemonics"], b"TREZOR")


@pytest.mark.parametrize("extendable", [True, False])
@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (2, 3), (3, 5), (16, 16)])
def test_the_authors_program_reads_ours(
    threshold: int, count: int, *, extendable: bool
) -> None:
    for size in (16, 18, 32, 48):
        secret = secrets.token_bytes(size)
        texts = made(secret, threshold, count, extendable=extendable, passphrase=b"x")
        chosen = secrets.SystemRandom().sample(texts, threshold)
        assert shamir_mnemonic.combine_mnemonics(chosen, b"x") == secret
        assert recovered(chosen, b"x") == secret


@pytest.mark.parametrize("extendable", [True, False])
def test_we_read_what_the_authors_program_makes(*, extendable: bool) -> None:
    for size in (16, 18, 32, 48):
        secret = secrets.token_bytes(size)
        groups = shamir_mnemonic.generate_mnemonics(
            2, [(1, 1), (2, 3), (3, 3)], secret, b"pass", extendable, 0
        )
        assert recovered([*groups[1][1:], *groups[2]], b"pass") == secret
        assert recovered([*groups[0], *groups[1][:2]], b"pass") == secret


def test_any_two_of_three_give_it_and_one_gives_nothing() -> None:
    secret = secrets.token_bytes(32)
    texts = made(secret, 2, 3)
    for pair in itertools.permutations(texts, 2):
        assert recovered(list(pair)) == secret
    for wrong, code in (
        ([texts[0]], "share-count"),
        (texts, "share-count"),
        ([texts[0], texts[0]], "share-count"),
        ([texts[0], made(secret, 2, 3)[1]], "share-set"),
        ([texts[0], texts[1].replace(" ", " x", 1)], "share-words"),
    ):
        with pytest.raises(ShareError) as raised:
            recovered(wrong)
        assert raised.value.code == code


def test_every_single_wrong_word_is_found() -> None:
    text = made(secrets.token_bytes(32), 2, 3)[0].split()
    for place in range(len(text)):
        other = [*text]
        other[place] = "zero" if text[place] != "zero" else "yoga"
        with pytest.raises(ShareError) as raised:
            recovered([" ".join(other)])
        assert raised.value.code == "share-checksum"


def test_letters_of_any_case_and_many_blanks_are_read() -> None:
    secret = secrets.token_bytes(16)
    (text,) = made(secret, 1, 1)
    assert recovered(["  " + text.upper().replace(" ", " \t\n") + " \n"]) == secret


def test_an_error_never_shows_a_word() -> None:
    with pytest.raises(ShareError) as raised:
        recovered(["academic " * 19 + "acdemic"])
    assert "acdemic" not in str(raised.value)


def test_one_of_many_is_refused() -> None:
    with pytest.raises(ShareError):
        made(bytes(16), 1, 3)
    with pytest.raises(ShareError):
        made(bytes(16), 4, 3)
