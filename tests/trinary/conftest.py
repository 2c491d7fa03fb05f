# SPDX-License-Identifier: Apache-2.0
"""Known answers, reproducible random inputs, and PyOTA as a second opinion."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from trinary._kernel import lib

VECTORS = Path(__file__).parents[1] / "vectors"
ALPHABET = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Json = dict[str, Any]


class Draws:
    """A stream of inputs that is random in kind and the same in every run."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._count = 0

    def data(self, size_bytes: int) -> bytes:
        self._count += 1
        seed = f"{self._label} {self._count}".encode("ascii")
        return hashlib.shake_256(seed).digest(size_bytes)

    def trytes(self, length: int) -> str:
        return "".join(ALPHABET[byte % 27] for byte in self.data(length))

    def below(self, bound: int) -> int:
        return int.from_bytes(self.data(16), "big") % bound


class Oracle:
    """What PyOTA makes of the same input; imported without its warnings."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Importing it warns, and the parts are reached through the whole.
            self._iota = import_module("iota")
            for part in ("addresses", "kerl.conv", "pycurl", "signing"):
                import_module(f"iota.crypto.{part}")

    def kerl(self, trytes: str) -> str:
        conv = self._iota.crypto.kerl.conv
        sponge = self._iota.crypto.kerl.Kerl()
        sponge.absorb(conv.trytes_to_trits(trytes))
        trits: list[int] = []
        sponge.squeeze(trits, length=243)
        return str(conv.trits_to_trytes(trits))

    def curl(self, trytes: str) -> str:
        conv = self._iota.crypto.kerl.conv
        sponge = self._iota.crypto.pycurl.Curl()
        sponge.absorb(conv.trytes_to_trits(trytes))
        trits: list[int] = []
        sponge.squeeze(trits, length=243)
        return str(conv.trits_to_trytes(trits))

    def bytes_from_trytes(self, trytes: str) -> bytes:
        conv = self._iota.crypto.kerl.conv
        trits = conv.trytes_to_trits(trytes)
        trits[242] = 0
        return bytes(byte & 0xFF for byte in conv.convertToBytes(trits))

    def trytes_from_bytes(self, data: bytes) -> str:
        conv = self._iota.crypto.kerl.conv
        trits = conv.convertToTrits([conv.convert_sign(byte) for byte in data])
        trits[242] = 0
        return str(conv.trits_to_trytes(trits))

    def int_from_trytes(self, trytes: str) -> int:
        trits = self._iota.crypto.kerl.conv.trytes_to_trits(trytes)
        return int(self._iota.int_from_trits(trits))

    def address(self, seed: str, *, level: int, index: int) -> str:
        generator = self._iota.crypto.addresses.AddressGenerator(seed, level)
        return str(generator.get_addresses(index)[0])

    def sign(self, seed: str, *, level: int, index: int, bundle_hash: str) -> list[str]:
        signing = self._iota.crypto.signing
        key = signing.KeyGenerator(seed).get_key(index, level)
        text = self._iota.Hash(bundle_hash)
        return [str(f) for f in signing.SignatureFragmentGenerator(key, text)]

    def accepts(self, address: str, fragments: list[str], bundle_hash: str) -> bool:
        return bool(
            self._iota.crypto.signing.validate_signature_fragments(
                [self._iota.Fragment(f) for f in fragments],
                self._iota.Hash(bundle_hash),
                self._iota.Address(address),
            )
        )

    def normalise(self, bundle_hash: str) -> list[int]:
        thirds = self._iota.crypto.signing.normalize(self._iota.Hash(bundle_hash))
        return [value for third in thirds for value in third]

    def checksum(self, address: str) -> str:
        return str(self._iota.Address(address).with_valid_checksum())[81:]

    def transaction(self, trytes: str) -> Any:  # noqa: ANN401 - PyOTA has no types
        return self._iota.Transaction.from_tryte_string(trytes)


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Oracle()


@pytest.fixture
def draws(request: pytest.FixtureRequest) -> Draws:
    return Draws(request.node.nodeid)


@pytest.fixture(params=[64, 128, 256, 512])
def vector_bits(request: pytest.FixtureRequest) -> Iterator[int]:
    """Use vectors of these many bits for one test, where there are any."""
    bits: int = request.param
    before = lib.sk_vector_bits()
    lib.sk_limit_vector_bits(bits)
    if lib.sk_vector_bits() != bits:
        lib.sk_limit_vector_bits(before)
        pytest.skip("this processor has no such vectors")
    yield bits
    lib.sk_limit_vector_bits(before)


def load(name: str) -> Json:
    content: Json = json.loads((VECTORS / name).read_text(encoding="ascii"))
    return content


@pytest.fixture(scope="session")
def hub_vector() -> Json:
    return load("vectors-hub.json")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that ask for a vector once for each one there is."""
    tables: dict[str, tuple[str, Callable[[Json], str]]] = {
        "bundle_vector": ("vectors-bundles.json", lambda v: f"bundle-{v['id']}"),
        "seed_vector": ("vectors-seeds.json", lambda v: f"uuid-{v['uuid'][:6]}"),
    }
    for name, (file, identify) in tables.items():
        if name in metafunc.fixturenames:
            vectors = load(file)["vectors"]
            metafunc.parametrize(name, vectors, ids=identify)
