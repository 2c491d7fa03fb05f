# SPDX-License-Identifier: Apache-2.0
"""A secret as a few lists of words, any M of which give it back: SLIP-39.

``split`` encrypts the secret (four Feistel rounds of PBKDF2), splits it into
groups and members by ``trinary.shares`` and writes each share as words with an
RS1024 checksum; ``recover`` goes the way back. Secrets, share values and whole
mnemonics stay in locked buffers; single words and the results of PBKDF2 pass
through Python objects, which can not be wiped.

Source: SLIP-0039 (github.com/satoshilabs/slips), with the extendable flag. The
word list in ``slip39_words.txt`` is the one of that document, as data.
"""

import functools
import hashlib
import secrets
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from appliance.errors import ApplianceError
from trinary.errors import ShareDigestError
from trinary.memory import LockedBuffer
from trinary.shares import Share, combine, split_secret

_WORD_BITS: Final = 10
_HEADER_WORDS: Final = 4
_CHECKSUM_WORDS: Final = 3
_SHORTEST_WORDS: Final = 20
_LONGEST_PADDING_BITS: Final = 8
_ROUNDS: Final = 4
_BASE_ITERATIONS: Final = 10_000
_MOST_ITERATION_EXPONENT: Final = 15
_IDENTIFIER_BITS: Final = 15
_GENERATORS: Final = (
    *(0xE0E040, 0x1C1C080, 0x3838100, 0x7070200, 0xE0E0009),
    *(0x1C0C2412, 0x38086C24, 0x3090FC48, 0x21B1F890, 0x3F3F120),
)  # SLIP-0039, "Checksum"
_CHECKSUM_MASK: Final = 0xFFFFF


class ShareError(ApplianceError):
    """Shares that are none, or do not give a secret; the code says why.

    ``share-words``, ``share-checksum``, ``share-padding``: one of them is miswritten;
    ``share-set``: they are not of one set; ``share-count``: too few, too many, or one
    twice; ``share-digest``: what they give is not what was split.
    """

    code = "share"


@dataclass(frozen=True, slots=True)
class ShareHeader:
    """What a share says of itself in its first four words.

    Attributes:
        identifier: 15 random bits, the same in the whole set.
        extendable: Whether another set of the same encrypted secret can be made.
        iteration_exponent: 10,000 times two to this are PBKDF2's iterations.
        group_index: Which group it is of.
        group_threshold: How many groups give the secret.
        group_count: How many groups there are.
        member_index: Which member of its group.
        member_threshold: How many members give the group's share.
    """

    identifier: int
    extendable: bool
    iteration_exponent: int
    group_index: int
    group_threshold: int
    group_count: int
    member_index: int
    member_threshold: int

    @property
    def common(self) -> tuple[object, ...]:
        """What must be the same in every share of a set."""
        first = (self.identifier, self.extendable, self.iteration_exponent)
        return (*first, self.group_threshold, self.group_count)


@dataclass(frozen=True, slots=True)
class MemberShare:
    """One share, parsed. Whoever gets it closes its value."""

    header: ShareHeader
    value: LockedBuffer


@functools.cache
def _words() -> list[bytes]:
    return files("appliance").joinpath("slip39_words.txt").read_bytes().split()


@functools.cache
def _indices() -> dict[bytes, int]:
    return {word: index for index, word in enumerate(_words())}


def split(  # noqa: PLR0913 - the scheme has as many parameters
    secret: LockedBuffer,
    *,
    groups: Sequence[tuple[int, int]],
    group_threshold: int = 1,
    passphrase: bytes = b"",
    iteration_exponent: int = 1,
    extendable: bool = True,
    allow_unlocked: bool = False,
) -> list[list[LockedBuffer]]:
    """Split a secret into mnemonics.

    Args:
        secret: At least 16 bytes, an even number.
        groups: Of each group: how many members give its share, how many there are.
        group_threshold: How many groups give the secret.
        passphrase: Printable ASCII; needed again by ``recover``.
        iteration_exponent: 0 to 15.
        extendable: As in the header.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        Of each group its mnemonics, ASCII words; the caller closes them.

    Raises:
        ShareError: ``share-count`` if the numbers are out of range: with a threshold
            of 1 there is one member.
    """
    for threshold, count in (*groups, (group_threshold, len(groups))):
        if not 1 <= threshold <= count:
            raise ShareError(
                f"{threshold} of {count} shares: expected 1 to {count} of them",
                code="share-count",
            )
    if any(threshold == 1 and count > 1 for threshold, count in groups):
        raise ShareError(
            "with a threshold of 1 each share is the secret itself: make one",
            code="share-count",
        )
    identifier = secrets.randbits(_IDENTIFIER_BITS)
    with ExitStack() as wipe, ExitStack() as made:
        encrypted = wipe.enter_context(
            LockedBuffer(secret.size, allow_unlocked=allow_unlocked)
        )
        encrypted.view[:] = secret.view
        salt = b"" if extendable else _salt(identifier)
        _feistel(encrypted, range(_ROUNDS), salt, (passphrase, iteration_exponent))
        result: list[list[LockedBuffer]] = []
        for outer in _split(encrypted, group_threshold, len(groups), wipe):
            threshold, count = groups[outer.x]
            result.append([])
            for inner in _split(outer.value, threshold, count, wipe):
                header = ShareHeader(
                    identifier,
                    extendable,
                    iteration_exponent,
                    outer.x,
                    group_threshold,
                    len(groups),
                    inner.x,
                    threshold,
                )
                text = encode(MemberShare(header, inner.value))
                result[-1].append(made.enter_context(text))
        made.pop_all()
    return result


def _split(
    secret: LockedBuffer, threshold: int, count: int, wipe: ExitStack
) -> list[Share]:
    shares = split_secret(secret, threshold=threshold, count=count, allow_unlocked=True)
    for share in shares:
        wipe.enter_context(share.value)
    return shares


def recover(
    mnemonics: Sequence[LockedBuffer],
    *,
    passphrase: bytes = b"",
    allow_unlocked: bool = False,
) -> LockedBuffer:
    """Give a secret back.

    Args:
        mnemonics: Exactly as many as needed, ASCII words; they stay open.
        passphrase: As when it was split; another one gives another secret.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        The secret; the caller closes it.

    Raises:
        ShareError: See there.
    """
    with ExitStack() as wipe:
        shares = []
        for text in mnemonics:
            share = decode(text)
            wipe.enter_context(share.value)
            shares.append(share)
        header = _require_one_set(shares)
        outer = [
            Share(x=index, value=wipe.enter_context(_combine(members)))
            for index, members in _by_group(shares, header).items()
        ]
        secret = _combined(outer, header.group_threshold, allow_unlocked=allow_unlocked)
        salt = b"" if header.extendable else _salt(header.identifier)
        _feistel(
            secret,
            reversed(range(_ROUNDS)),
            salt,
            (passphrase, header.iteration_exponent),
        )
    return secret


def _require_one_set(shares: Sequence[MemberShare]) -> ShareHeader:
    if not shares:
        raise ShareError("no share was given", code="share-count")
    header = shares[0].header
    if any(share.header.common != header.common for share in shares):
        raise ShareError(
            "the shares are of different sets: compare their first two words",
            code="share-set",
        )
    if len({share.value.size for share in shares}) != 1:
        raise ShareError("the shares are of different lengths", code="share-set")
    return header


def _by_group(
    shares: Sequence[MemberShare], header: ShareHeader
) -> dict[int, list[MemberShare]]:
    groups: dict[int, list[MemberShare]] = {}
    for share in shares:
        groups.setdefault(share.header.group_index, []).append(share)
    if len(groups) != header.group_threshold:
        raise ShareError(
            f"shares of {header.group_threshold} groups are needed, of"
            f" {len(groups)} came",
            code="share-count",
        )
    return groups


def _combine(members: Sequence[MemberShare]) -> LockedBuffer:
    threshold = members[0].header.member_threshold
    if any(member.header.member_threshold != threshold for member in members):
        raise ShareError("shares of one group differ in threshold", code="share-set")
    if len({member.header.member_index for member in members}) != len(members):
        raise ShareError("the same share was given twice", code="share-count")
    if len(members) != threshold:
        raise ShareError(
            f"{threshold} shares are needed, {len(members)} came", code="share-count"
        )
    shares = [Share(x=m.header.member_index, value=m.value) for m in members]
    return _combined(shares, threshold, allow_unlocked=True)


def _combined(
    shares: Sequence[Share], threshold: int, *, allow_unlocked: bool
) -> LockedBuffer:
    try:
        return combine(shares, threshold=threshold, allow_unlocked=allow_unlocked)
    except ShareDigestError as error:
        raise ShareError(
            "the shares do not belong together, or one is wrong", code="share-digest"
        ) from error


# --- one share as words -----------------------------------------------------------


def encode(share: MemberShare) -> LockedBuffer:
    """Write a share as words.

    Args:
        share: Stays open.

    Returns:
        ASCII words with a blank between them; the caller closes it.
    """
    header = share.header
    first = (header.identifier << 5) | (header.extendable << 4)
    first |= header.iteration_exponent
    second = (header.group_index << 16) | ((header.group_threshold - 1) << 12)
    second |= (header.group_count - 1) << 8
    second |= (header.member_index << 4) | (header.member_threshold - 1)
    with _wiped(array("H")) as indices:
        for pair in (first, second):
            indices.extend((pair >> _WORD_BITS, pair & 0x3FF))
        _append_bits(indices, share.value.view)
        customisation = _customisation(extendable=header.extendable)
        checksum = _polymod([*customisation, *indices, 0, 0, 0]) ^ 1
        indices.extend((checksum >> shift) & 0x3FF for shift in (20, 10, 0))
        words = [_words()[index] for index in indices]
        size = sum(map(len, words)) + len(words) - 1
        text = LockedBuffer(size, allow_unlocked=True)
        place = 0
        for word in words:
            if place:
                text.view[place : place + 1] = b" "
                place += 1
            text.view[place : place + len(word)] = word
            place += len(word)
    return text


def decode(text: LockedBuffer) -> MemberShare:
    """Read a share.

    Args:
        text: ASCII words, in any case, blanks between them; stays open.

    Returns:
        The share; the caller closes its value.

    Raises:
        ShareError: ``share-words``, ``share-checksum`` or ``share-padding``.
    """
    with _wiped(array("H", _read_words(text.view))) as indices:
        if len(indices) < _SHORTEST_WORDS:
            raise ShareError(
                f"a share has at least {_SHORTEST_WORDS} words, {len(indices)} came",
                code="share-words",
            )
        first = (indices[0] << _WORD_BITS) | indices[1]
        second = (indices[2] << _WORD_BITS) | indices[3]
        extendable = bool(first >> 4 & 1)
        if _polymod([*_customisation(extendable=extendable), *indices]) != 1:
            raise ShareError(
                "the share's checksum is wrong: a word is miswritten or out of place",
                code="share-checksum",
            )
        header = ShareHeader(
            identifier=first >> 5,
            extendable=extendable,
            iteration_exponent=first & 0xF,
            group_index=second >> 16 & 0xF,
            group_threshold=(second >> 12 & 0xF) + 1,
            group_count=(second >> 8 & 0xF) + 1,
            member_index=second >> 4 & 0xF,
            member_threshold=(second & 0xF) + 1,
        )
        if header.group_threshold > header.group_count:
            raise ShareError("more groups are needed than there are", code="share-set")
        return MemberShare(header, _value(indices[_HEADER_WORDS:-_CHECKSUM_WORDS]))


def _read_words(text: memoryview) -> Iterator[int]:
    """Yield the index of each word; the text is read byte by byte, in place."""
    letters = bytearray()
    for byte in (*text, 32):
        if byte > 32:  # noqa: PLR2004 - a blank or control character
            letters.append(byte | 0x20)
            continue
        if letters:
            index = _indices().get(bytes(letters))
            if index is None:  # says not which: it is part of a secret
                raise ShareError(
                    "a word is not on the SLIP-39 list", code="share-words"
                )
            yield index
        letters[:] = b""


def _append_bits(indices: "array[int]", value: memoryview) -> None:
    """Append a value's bits as words, zeros before the first."""
    padding = -len(value) * 8 % _WORD_BITS
    held, bits = 0, padding
    for byte in value:
        held, bits = (held << 8) | byte, bits + 8
        if bits >= _WORD_BITS:
            bits -= _WORD_BITS
            indices.append(held >> bits)
            held &= (1 << bits) - 1


def _value(indices: "array[int]") -> LockedBuffer:
    with _wiped(indices):
        padding = len(indices) * _WORD_BITS % 16
        if padding > _LONGEST_PADDING_BITS:
            raise ShareError("a share has no such length", code="share-words")
        value = LockedBuffer(
            (len(indices) * _WORD_BITS - padding) // 8, allow_unlocked=True
        )
        held, bits, place = 0, -padding, 0
        for position, index in enumerate(indices):
            if position == 0 and index >> (_WORD_BITS - padding):
                value.close()
                raise ShareError("the share's padding is not 0", code="share-padding")
            held, bits = (held << _WORD_BITS) | index, bits + _WORD_BITS
            while bits >= 8:  # noqa: PLR2004 - a byte
                bits -= 8
                value.view[place] = held >> bits & 0xFF
                held &= (1 << bits) - 1
                place += 1
    return value


@contextmanager
def _wiped(indices: "array[int]") -> Iterator["array[int]"]:
    try:
        yield indices
    finally:
        for position in range(len(indices)):
            indices[position] = 0


def _customisation(*, extendable: bool) -> bytes:
    return b"shamir_extendable" if extendable else b"shamir"


def _polymod(values: Sequence[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 20
        checksum = ((checksum & _CHECKSUM_MASK) << _WORD_BITS) ^ value
        for bit, generator in enumerate(_GENERATORS):
            if top >> bit & 1:
                checksum ^= generator
    return checksum


# --- the encryption ---------------------------------------------------------------


def _salt(identifier: int) -> bytes:
    return b"shamir" + identifier.to_bytes(2)


def _feistel(
    secret: LockedBuffer,
    rounds: "range | Iterator[int]",
    salt: bytes,
    strength: tuple[bytes, int],
) -> None:
    """Encrypt, or with the rounds reversed decrypt, in place."""
    passphrase, exponent = strength
    half = secret.size // 2
    left, right = secret.view[:half], secret.view[half:]
    iterations = (_BASE_ITERATIONS << exponent) // _ROUNDS
    with LockedBuffer(len(salt) + half, allow_unlocked=True) as salted:
        salted.view[: len(salt)] = salt
        for number in rounds:
            salted.view[len(salt) :] = right
            key = hashlib.pbkdf2_hmac(
                "sha256", bytes([number]) + passphrase, salted.view, iterations, half
            )
            for position, byte in enumerate(key):
                mixed = left[position] ^ byte
                left[position] = right[position]
                right[position] = mixed
    for position in range(half):
        left[position], right[position] = right[position], left[position]
