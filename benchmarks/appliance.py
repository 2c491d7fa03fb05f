# SPDX-License-Identifier: Apache-2.0
"""A whole appliance on SoftHSM2: addresses, signatures, and the event loop."""

import asyncio
import base64
import datetime as dt
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from appliance.argon2_engines import Argon2Parameters, Engine
from appliance.ceremony import FirstGeneration
from appliance.config import Client
from appliance.derivation import Derivation
from appliance.service import Appliance
from appliance.softhsm import SoftHsmOptions, make_softhsm_appliance
from appliance.wire import (
    InputClaim,
    IssueAddress,
    Issued,
    ShownTransaction,
    Signed,
    SignTransfer,
)
from benchmarks.rounds import Figure, at_most
from trinary.bundle import Essence, bundle_hash
from trinary.memory import LockedBuffer
from trinary.trytes import trytes_from_int
from trinary.winternitz import used_fragments_contain_13

_INPUTS = 12
_VALUE_I = 1000
_LEVEL = 2
_SALT_BYTES = 32
_TIMESTAMP_S = 1_700_000_000
_LAG_BAR_MS = 20.0
_LAG_POLL_S = 0.001
_CHEAP = Argon2Parameters(time_cost=1, memory_kib=8)


def measure(*, rounds: int) -> Iterator[Figure]:
    """Measure addresses and signatures.

    Args:
        rounds: How often each candidate runs.

    Yields:
        One figure per comparison.
    """
    yield from asyncio.run(_measure(rounds))


async def _measure(rounds: int) -> list[Figure]:
    async with _appliance(_CHEAP) as cheap, _appliance(Argon2Parameters()) as full:
        overhead_ms, issue_ms = await _issue_times_ms(cheap, full, rounds)
        argon2_ms = await _reference_run_ms(rounds)
        bundles = await _bundles(full)
        together_ms, in_turn_ms, lag_ms = await _sign_times_ms(full, bundles, rounds)
        sweep_ms, thirteen_ms = await _sweep_times_ms(full, rounds)
    return [
        at_most(
            "deposit address beyond its Argon2 runs : one run of argon2-cffi",
            0.03,
            ours_ms=overhead_ms,
            peer_ms=argon2_ms,
            note=f"a whole address takes {issue_ms:.0f} ms",
        ),
        at_most(
            "twelve inputs in one bundle : twelve in turn",
            0.6,
            ours_ms=together_ms,
            peer_ms=in_turn_ms,
        ),
        at_most(
            "sweep of twelve inputs, signed first : 13 Argon2 runs on all cores",
            1.1,
            ours_ms=sweep_ms,
            peer_ms=thirteen_ms,
            note="policy, journal and signatures in; both with our own Argon2",
        ),
        at_most(
            "longest block of the event loop while signing twelve : 20 ms",
            1.0,
            ours_ms=lag_ms,
            peer_ms=_LAG_BAR_MS,
        ),
    ]


@asynccontextmanager
async def _appliance(argon2: Argon2Parameters) -> AsyncIterator["_Bench"]:
    with tempfile.TemporaryDirectory() as folder:
        config, _ = await make_softhsm_appliance(
            Path(folder) / "box",
            SoftHsmOptions(FirstGeneration("bench", _LEVEL, argon2), port=0),
            now=dt.datetime.now(dt.UTC),  # noqa: TID251 - the program's edge
        )
        appliance = Appliance(config, "none")
        try:
            if not await appliance.check():
                raise RuntimeError("the appliance did not become ready")
            yield _Bench(appliance, config.clients[0])
        finally:
            await appliance.close()


class _Bench:
    """An appliance and the hub that asks it, in one process."""

    def __init__(self, appliance: Appliance, client: Client) -> None:
        self._appliance = appliance
        self._client = client

    async def issue(self) -> tuple[str, Issued]:
        uuid = base64.b64encode(os.urandom(48)).decode()
        request = IssueAddress(request_id="bench", seed_uuid=uuid)
        reply = await self._appliance.handle(request, self._client)
        if not isinstance(reply, Issued):
            raise TypeError(f"not issued: {reply}")
        return uuid, reply

    async def sign(self, request: SignTransfer) -> Signed:
        reply = await self._appliance.handle(request, self._client)
        if not isinstance(reply, Signed):
            raise TypeError(f"not signed: {reply}")
        return reply


async def _timed_ms(work: object) -> float:
    start_s = time.perf_counter()
    await work  # type: ignore[misc]
    return (time.perf_counter() - start_s) * 1000


async def _issue_times_ms(
    cheap: _Bench, full: _Bench, rounds: int
) -> tuple[float, float]:
    await cheap.issue()
    cheap_ms, full_ms = [], []
    for _ in range(rounds):
        cheap_ms += [await _timed_ms(cheap.issue()) for _ in range(5)]
        full_ms.append(await _timed_ms(full.issue()))
    return statistics.median(cheap_ms), statistics.median(full_ms)


async def _reference_run_ms(rounds: int) -> float:
    """Time argon2-cffi's run, the slower one of the two that an address takes."""
    async with _derivation(Engine.REFERENCE) as derivation:
        await _derive(derivation, 1)
        runs = [await _timed_ms(_derive(derivation, 1)) for _ in range(rounds)]
    return statistics.median(runs)


async def _sweep_times_ms(full: "_Bench", rounds: int) -> tuple[float, float]:
    """Time bundles never signed before, and as many Argon2 runs and one more."""
    sweeps_ms, thirteen_ms = [], []
    _, rest = await full.issue()
    async with _derivation(Engine.KERNEL) as derivation:
        for _ in range(rounds):
            keys = [await full.issue() for _ in range(_INPUTS)]
            sweep = _bundle(keys, rest.address)
            sweeps_ms.append(await _timed_ms(full.sign(sweep)))
            thirteen_ms.append(await _timed_ms(_derive(derivation, _INPUTS + 1)))
    return statistics.median(sweeps_ms), statistics.median(thirteen_ms)


@asynccontextmanager
async def _derivation(engine: Engine) -> AsyncIterator[Derivation]:
    memory_kib = Argon2Parameters().memory_kib
    derivation = Derivation(
        workers=0,
        memory_kib=memory_kib,
        memory_budget_mib=1024,
        allow_unlocked=True,
        engine=engine,
    )
    try:
        yield derivation
    finally:
        await asyncio.to_thread(derivation.close)


async def _derive(derivation: Derivation, runs: int) -> None:
    salt = LockedBuffer(_SALT_BYTES, allow_unlocked=True)
    salt.view[:] = os.urandom(_SALT_BYTES)
    uuids = [base64.b64encode(os.urandom(48)).decode() for _ in range(runs)]
    seeds = await derivation.seeds(
        uuids, salt=salt, parameters=Argon2Parameters(), level=_LEVEL
    )
    seeds.close()


async def _bundles(full: _Bench) -> tuple[SignTransfer, list[SignTransfer]]:
    """Return one bundle of twelve inputs, and twelve bundles of one."""
    keys = [await full.issue() for _ in range(2 * _INPUTS)]
    _, rest = await full.issue()
    together = _bundle(keys[:_INPUTS], rest.address)
    singles = [_bundle([key], rest.address) for key in keys[_INPUTS:]]
    return together, singles


async def _sign_times_ms(
    full: _Bench, bundles: tuple[SignTransfer, list[SignTransfer]], rounds: int
) -> tuple[float, float, float]:
    together, singles = bundles
    together_ms, in_turn_ms, lag_ms = [], [], 0.0
    for _ in range(rounds):
        async with _longest_block() as block:
            together_ms.append(await _timed_ms(full.sign(together)))
        lag_ms = max(lag_ms, block[0])
        total_ms = 0.0
        for single in singles:
            total_ms += await _timed_ms(full.sign(single))
        in_turn_ms.append(total_ms)
    return statistics.median(together_ms), statistics.median(in_turn_ms), lag_ms


@asynccontextmanager
async def _longest_block() -> AsyncIterator[list[float]]:
    """Measure how late a task that wants to run every millisecond gets to run."""
    longest_ms = [0.0]

    async def watch() -> None:
        while True:
            start_s = time.perf_counter()
            await asyncio.sleep(_LAG_POLL_S)
            late_s = time.perf_counter() - start_s - _LAG_POLL_S
            longest_ms[0] = max(longest_ms[0], late_s * 1000)

    watcher = asyncio.create_task(watch())
    try:
        yield longest_ms
    finally:
        watcher.cancel()


def _bundle(keys: Sequence[tuple[str, Issued]], rest_address: str) -> SignTransfer:
    """Return a request that moves everything from some keys to one address."""
    counter = 0
    while True:
        shown = _transactions(keys, rest_address, counter)
        digest = _hash(shown)
        if not used_fragments_contain_13(digest, level=_LEVEL):
            break
        counter += 1
    return SignTransfer(
        request_id="bench",
        transactions=shown,
        bundle_hash=digest,
        inputs=[
            InputClaim(_LEVEL * n, uuid, issued.generation)
            for n, (uuid, issued) in enumerate(keys)
        ],
        own_outputs=[len(shown) - 1],
    )


def _transactions(
    keys: Sequence[tuple[str, Issued]], rest_address: str, counter: int
) -> list[ShownTransaction]:
    empty = "9" * 27
    shown = []
    for _, issued in keys:
        shown.append(ShownTransaction(issued.address, -_VALUE_I, empty, _TIMESTAMP_S))
        shown.append(ShownTransaction(issued.address, 0, empty, _TIMESTAMP_S))
    total_i = _VALUE_I * len(keys)
    shown.append(ShownTransaction(rest_address, total_i, empty, _TIMESTAMP_S))
    tag = trytes_from_int(counter, length_trytes=27)
    shown[0] = ShownTransaction(shown[0].address, -_VALUE_I, tag, _TIMESTAMP_S)
    return shown


def _hash(shown: Sequence[ShownTransaction]) -> str:
    return bundle_hash(
        [
            Essence(
                address=entry.address,
                value_i=entry.value_i,
                obsolete_tag=entry.obsolete_tag,
                timestamp_s=entry.timestamp_s,
                current_index=index,
                last_index=len(shown) - 1,
            )
            for index, entry in enumerate(shown)
        ]
    )
