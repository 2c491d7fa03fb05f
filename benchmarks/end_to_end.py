# SPDX-License-Identifier: Apache-2.0
"""Hub and appliance together, each a real program, joined by mutual TLS.

A sweep of twelve deposits: from the plan stored in the hub's database to the
signatures back in the hub. And addresses, from one and from two appliances that share
a journal, with one worker each.
"""

import asyncio
import base64
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from appliance.argon2_engines import Argon2Parameters, Engine
from appliance.derivation import Derivation
from benchmarks.rounds import Figure, at_least, at_most
from hub.appliances import Appliances
from hub.errors import ApplianceUnavailableError
from hub.service import StoredHeads, appliances_of
from hub.signer import Claim, SigningOutcome
from hub.tangle import Draft
from tests.flows.pair import make_pair, running_pair, shared
from tests.flows.world import World, running_world
from tests.postgres import Server
from trinary.memory import LockedBuffer

_INPUTS = 12
_LEVEL = 2
_VALUE_I = 1_000
_SALT_BYTES = 32
_ADDRESSES = 8
_SWEEPS = {"max_deposits": _INPUTS, "max_transactions": 25, "max_unsigned": 1}


class _HeldUp:
    """The appliances, once away: a plan is stored, and signed in the next round."""

    def __init__(self, appliances: Appliances) -> None:
        self._appliances = appliances
        self.away = True
        self.back_s = 0.0

    async def issue(self, user_commitment: str) -> object:
        """Pass on."""
        return await self._appliances.issue(user_commitment)

    async def sign(
        self,
        draft: Draft,
        claims: Sequence[Claim],
        *,
        own_outputs: Sequence[int],
        authorisations: Sequence[str] = (),
    ) -> SigningOutcome:
        """Be away, or pass on and look at the clock.

        Returns:
            What the appliance decided.

        Raises:
            ApplianceUnavailableError: While away.
            ValueError: If the sweep is not the one that was meant.
        """
        if self.away:
            raise ApplianceUnavailableError("held up")
        if len(claims) != _INPUTS:
            raise ValueError(f"a sweep of {len(claims)} inputs")
        outcome = await self._appliances.sign(
            draft, claims, own_outputs=own_outputs, authorisations=authorisations
        )
        self.back_s = time.perf_counter()
        return outcome


def measure(*, rounds: int) -> Iterator[Figure]:
    """Measure the sweep and the sharing.

    Args:
        rounds: How often each candidate runs.

    Yields:
        Two figures.
    """
    server = Server()
    server.start()
    try:
        yield asyncio.run(_measure_sweep(server, rounds))
        yield asyncio.run(_measure_sharing(server, rounds))
    finally:
        server.destroy()


@asynccontextmanager
async def _world(server: Server, *, workers: int, alone: bool) -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = await make_pair(
            server, folder, workers=workers, argon2=Argon2Parameters()
        )
        (folder / "hub").mkdir()
        table = {"timeout_s": 60.0} | ({} if alone else shared(pair[1]))
        async with (
            running_pair(pair),
            running_world(
                pair[0], folder / "hub", sweeps=_SWEEPS, appliance=table
            ) as world,
        ):
            for url in world.hub.signer.places:
                await world.hub.signer.status_of(url)
            yield world


async def _measure_sweep(server: Server, rounds: int) -> Figure:
    sweeps_ms, thirteen_ms = [], []
    async with _world(server, workers=0, alone=True) as world, _derivation() as own:
        held_up = _HeldUp(world.hub.signer)
        world.hub.sweeps._signer = held_up  # type: ignore[assignment]  # noqa: SLF001
        await _derive(own)
        for number in range(rounds):
            sweeps_ms.append(await _sweep_ms(world, held_up, number))
            thirteen_ms.append(await _derive(own))
            await world.settle()
    return at_most(
        "sweep of twelve inputs, plan stored to signatures back : 13 Argon2 runs",
        1.1,
        ours_ms=statistics.median(sweeps_ms),
        peer_ms=statistics.median(thirteen_ms),
        note="hub, its database, node, TLS, policy, journal and HSM in it",
    )


async def _sweep_ms(world: World, held_up: _HeldUp, number: int) -> float:
    for user in range(_INPUTS):
        name = f"user-{number}-{user}"
        await world.user(name)
        address = await world.deposit_address(name)
        await world.devnet.deposit(address, _VALUE_I)
    await world.devnet.tick()
    await world.hub.deposits.tick()
    held_up.away = True
    try:
        await world.hub.sweeps.tick()
    except ApplianceUnavailableError:
        held_up.away = False
    start_s = time.perf_counter()
    await world.hub.sweeps.tick()
    return (held_up.back_s - start_s) * 1000


@asynccontextmanager
async def _derivation() -> AsyncIterator[Derivation]:
    derivation = Derivation(
        workers=0,
        memory_kib=Argon2Parameters().memory_kib,
        memory_budget_mib=1024,
        allow_unlocked=True,
        engine=Engine.KERNEL,
    )
    try:
        yield derivation
    finally:
        await asyncio.to_thread(derivation.close)


async def _derive(derivation: Derivation) -> float:
    """Time thirteen Argon2 runs on all cores.

    Returns:
        Milliseconds.
    """
    salt = LockedBuffer(_SALT_BYTES, allow_unlocked=True)
    salt.view[:] = os.urandom(_SALT_BYTES)
    uuids = [base64.b64encode(os.urandom(48)).decode() for _ in range(_INPUTS + 1)]
    start_s = time.perf_counter()
    seeds = await derivation.seeds(
        uuids, salt=salt, parameters=Argon2Parameters(), level=_LEVEL
    )
    took_s = time.perf_counter() - start_s
    seeds.close()
    return took_s * 1000


async def _measure_sharing(server: Server, rounds: int) -> Figure:
    one_ms, two_ms = [], []
    async with _world(server, workers=1, alone=False) as world:
        config = world.hub.config
        config = replace(config, appliance=replace(config.appliance, others=()))
        async with appliances_of(config, StoredHeads(world.hub.store)) as alone:
            for _ in range(rounds):
                one_ms.append(await _issue_ms(alone))
                two_ms.append(await _issue_ms(world.hub.signer))
    return at_least(
        "deposit addresses by two appliances of one worker each : by one",
        1.6,
        ours_ms=statistics.median(two_ms) / _ADDRESSES,
        peer_ms=statistics.median(one_ms) / _ADDRESSES,
        note=f"{_ADDRESSES} asked for at once; one journal in PostgreSQL",
    )


async def _issue_ms(appliances: Appliances) -> float:
    start_s = time.perf_counter()
    await asyncio.gather(*(appliances.issue("") for _ in range(_ADDRESSES)))
    return (time.perf_counter() - start_s) * 1000
