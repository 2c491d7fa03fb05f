# SPDX-License-Identifier: Apache-2.0
# What the compiled kernel looks like from Python: kernel.h through cffi.

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, overload

from trinary.memory import SecretBuffer

class CData:
    def __getitem__(self, index: int) -> int: ...
    def __int__(self) -> int: ...
    def __len__(self) -> int: ...

class MappingData(CData):
    data: CData
    data_bytes: int
    locked: int
    lock_errno: int

class Mined(CData):
    candidate: int
    bits: float
    top_estimate: float

class Doubles(CData):
    def __getitem__(self, index: int) -> float: ...  # type: ignore[override]

class CBuffer:
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __getitem__(self, index: slice) -> bytes: ...

class _FFI:
    @overload
    def new(self, cdecl: Literal["sk_mapping *"]) -> MappingData: ...
    @overload
    def new(self, cdecl: Literal["sk_mined *"]) -> Mined: ...
    @overload
    def new(self, cdecl: Literal["double *"]) -> Doubles: ...
    @overload
    def new(
        self,
        cdecl: Literal["sk_argon2_request *"],
        init: Mapping[str, CData | int],
    ) -> CData: ...
    @overload
    def new(self, cdecl: str, init: Sequence[int] = ...) -> CData: ...
    def from_buffer(
        self,
        cdecl: str,
        python_buffer: SecretBuffer,
        require_writable: bool = ...,
    ) -> CData: ...
    def buffer(self, cdata: CData, size: int = ...) -> CBuffer: ...
    def cast(self, cdecl: str, source: CData | int) -> CData: ...
    def addressof(self, library: _Lib, name: str) -> CData: ...
    def gc(
        self, cdata: CData, destructor: Callable[[CData], object], size: int = ...
    ) -> CData: ...

class _Lib:
    SK_OK: int
    SK_ERR_LENGTH: int
    SK_ERR_TRYTE: int
    SK_ERR_RANGE: int
    SK_ERR_MEMORY: int
    SK_ERR_CANCELLED: int
    SK_ERR_LOCK: int
    SK_ERR_FAULT: int
    SK_MINE_NONE: int
    SK_ARGON2_I: int
    SK_ARGON2_ID: int

    def sk_bytes_from_trytes(self, trytes: bytes, length: int, out: CData) -> int: ...
    def sk_trytes_from_bytes(self, data: CData, length: int, out: CData) -> int: ...
    def sk_keccak_384(self, data: CData, length: int, out: CData) -> int: ...
    def sk_kerl(self, trytes: bytes, length: int, out: CData) -> int: ...
    def sk_curl(self, trytes: bytes, length: int, rounds: int, out: CData) -> int: ...
    def sk_normalise(self, trytes: bytes, length: int, out: CData) -> int: ...
    def sk_address(
        self, seed: CData, seed_bytes: int, level: int, index: int, out: CData
    ) -> int: ...
    def sk_sign(
        self,
        seed: CData,
        seed_bytes: int,
        level: int,
        index: int,
        bundle_hash: bytes,
        hash_trytes: int,
        out: CData,
        out_trytes: int,
    ) -> int: ...
    def sk_address_from_signature(
        self,
        fragments: bytes,
        fragments_trytes: int,
        bundle_hash: bytes,
        hash_trytes: int,
        out: CData,
    ) -> int: ...
    def sk_pow(
        self,
        trytes: bytes,
        length: int,
        min_weight_magnitude: int,
        threads: int,
        start: bytes,
        start_trytes: int,
        width_bits: int,
        cancel: CData,
        out: CData,
    ) -> int: ...
    def sk_pow_width_bits(self) -> int: ...
    def sk_cancel(self, cancel: CData) -> int: ...
    def sk_exposure(self, reach: CData, reach_trytes: int, out: CData) -> int: ...
    def sk_mine_estimates(self, reach: CData, reach_trytes: int, out: CData) -> int: ...
    def sk_mine(
        self,
        essences: bytes,
        length: int,
        reach: CData,
        reach_trytes: int,
        estimates: CData,
        count: int,
        threads: int,
        cancel: CData,
        best: Mined,
    ) -> int: ...
    def sk_vector_bits(self) -> int: ...
    def sk_limit_vector_bits(self, bits: int) -> int: ...
    def sk_interpolate(
        self,
        xs: bytes,
        values: CData,
        count: int,
        size_bytes: int,
        x: int,
        out: CData,
    ) -> int: ...
    def sk_random(self, out: CData, size_bytes: int) -> int: ...
    def sk_argon2(self, request: CData) -> int: ...
    def sk_lend(self, memory: CData, size_bytes: int) -> None: ...
    def sk_take_lent(self, memory: CData, size_bytes: int) -> int: ...
    def sk_map_locked(self, size_bytes: int, out: CData) -> int: ...
    def sk_map_huge(self, size_bytes: int, out: CData) -> int: ...
    def sk_unmap(self, mapping: CData) -> int: ...
    def sk_wipe_bytes(self, data: CData, size_bytes: int) -> int: ...
    def sk_lock_all_memory(self) -> int: ...
    def sk_make_undumpable(self) -> int: ...

ffi: _FFI
lib: _Lib
