# SPDX-License-Identifier: Apache-2.0
"""Kerl, the hash of addresses and bundles: Keccak-384 over trytes.

Source: IOTA's Kerl specification of 2017; Keccak with its padding from before
SHA-3.
"""

from typing import Final

from trinary._kernel import ffi, lib
from trinary.errors import ChecksumError, LengthError
from trinary.memory import SecretBuffer
from trinary.trytes import HASH_TRYTES, require_trytes

CHECKSUM_TRYTES: Final = 9


def keccak_384(data: SecretBuffer) -> bytes:
    """Hash bytes with Keccak-384.

    Args:
        data: Any number of bytes.

    Returns:
        48 bytes.
    """
    pointer = ffi.from_buffer("uint8_t[]", data)
    out = ffi.new("uint8_t[48]")
    lib.sk_keccak_384(pointer, len(pointer), out)
    return ffi.buffer(out)[:]


def kerl(trytes: str) -> str:
    """Hash trytes with Kerl.

    Args:
        trytes: A positive multiple of 81 trytes. The last trit of each 81 is
            taken as 0, whatever it is.

    Returns:
        81 trytes, the last trit 0.

    Raises:
        LengthError: The length is zero or no multiple of 81.
    """
    if not trytes or len(trytes) % HASH_TRYTES != 0:
        msg = f"input: expected a positive multiple of 81 trytes, got {len(trytes)}"
        raise LengthError(msg)
    require_trytes(trytes, what="input")
    out = ffi.new("char[81]")
    lib.sk_kerl(trytes.encode("ascii"), len(trytes), out)
    return ffi.buffer(out)[:].decode("ascii")


def checksum(address: str) -> str:
    """Compute the checksum of an address.

    Args:
        address: 81 trytes.

    Returns:
        9 trytes: the end of the address's Kerl hash.
    """
    require_trytes(address, length=HASH_TRYTES, what="address")
    return kerl(address)[-CHECKSUM_TRYTES:]


def with_checksum(address: str) -> str:
    """Append its checksum to an address.

    Args:
        address: 81 trytes.

    Returns:
        90 trytes.
    """
    return address + checksum(address)


def split_checksum(address: str) -> str:
    """Check an address's checksum and take it off.

    Args:
        address: 90 trytes.

    Returns:
        81 trytes.

    Raises:
        ChecksumError: The checksum is not the address's own.
    """
    length = HASH_TRYTES + CHECKSUM_TRYTES
    require_trytes(address, length=length, what="address with checksum")
    bare = address[:HASH_TRYTES]
    if with_checksum(bare) != address:
        msg = "address: its last 9 trytes are not its checksum"
        raise ChecksumError(msg)
    return bare
