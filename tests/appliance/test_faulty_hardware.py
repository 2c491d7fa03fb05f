# SPDX-License-Identifier: Apache-2.0
"""A core or memory that errs now and then: sealed, and nothing wrong leaves."""

import asyncio
import contextlib
import json
import queue
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from appliance.argon2_engines import Argon2Parameters, Engine
from appliance.derivation import Derivation
from appliance.lifecycle import Running
from appliance.wire import (
    Done,
    Fault,
    FetchBundle,
    IssueAddress,
    Issued,
    Refused,
    Request,
    SealNow,
    Signed,
    SignTransfer,
)
from tests.appliance.box import Box
from tests.appliance.bundles import bundle, new_uuid
from trinary import winternitz
from trinary.memory import LockedBuffer

_Result = TypeVar("_Result")


class FaultyCore(Derivation):
    """Derives as always, but flips one bit of a seed for each strike put in."""

    strikes: queue.SimpleQueue[int]

    def _regenerate(
        self,
        seed_uuid: str,
        salt: LockedBuffer,
        parameters: Argon2Parameters,
        engine: Engine,
        into: LockedBuffer,
    ) -> None:
        super()._regenerate(seed_uuid, salt, parameters, engine, into)
        with contextlib.suppress(queue.Empty):
            into.view[self.strikes.get_nowait()] ^= 1


class SlowCore(Derivation):
    """Derives and signs as always, but keeps the signatures for a while."""

    begun: asyncio.Event
    let_go: asyncio.Event

    async def compute(self, work: Callable[[], _Result]) -> _Result:
        result = await super().compute(work)
        if work.__name__ == "sign_all":
            self.begun.set()
            await self.let_go.wait()
        return result


class FaultyKernel:
    """The kernel's functions; a signature has one tryte wrong while it is faulty."""

    faulty = True

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the kernel has
        return getattr(winternitz, name)

    def sign(self, seed: memoryview, *, level: int, bundle_hash: str) -> list[str]:
        fragments = winternitz.sign(seed, level=level, bundle_hash=bundle_hash)
        if self.faulty:
            wrong = "A" if fragments[-1].endswith("9") else "9"
            fragments[-1] = fragments[-1][:-1] + wrong
        return fragments


_Core = TypeVar("_Core", bound=Derivation)


async def put_in(box: Box, kind: type[_Core]) -> _Core:
    """Let the running appliance derive on another core."""
    life = box.appliance.life
    now = life.require_running()
    settings = box.config.derivation
    core = kind(
        workers=2,
        memory_kib=now.vault.issuing.argon2.memory_kib,
        memory_budget_mib=settings.memory_budget_mib,
        allow_unlocked=settings.allow_unlocked,
    )
    life.running = life._assemble(now.vault, now.heads, now.policy, core)
    assert isinstance(life.running, Running)
    await asyncio.to_thread(now.derivation.close)
    return core


async def faulty_core(box: Box, strikes: Sequence[int] = (0,)) -> FaultyCore:
    core = await put_in(box, FaultyCore)
    core.strikes = queue.SimpleQueue()
    for byte in strikes:
        core.strikes.put(byte)
    return core


async def unseal(box: Box) -> None:
    """Clear the latch; the checks put a healthy core in."""
    assert (await box.unseal()).steps == ["unsealed and ready"]


async def sealed(box: Box, request: Request, *, code: str) -> None:
    fault = await box.expect(request, Fault)
    assert fault.code == code
    status = await box.status()
    assert status.state == "sealed"
    assert status.reason.startswith(f"{code}: ")


def verifies(signed: Signed, request: SignTransfer) -> bool:
    return all(
        winternitz.verify(
            address=request.transactions[entry.index].address,
            fragments=entry.fragments,
            bundle_hash=request.bundle_hash,
        )
        for entry in signed.signatures
    )


@pytest.mark.parametrize("byte", [0, 47])
async def test_no_address_leaves_when_its_two_derivations_disagree(
    box: Box, byte: int
) -> None:
    await box.coin()
    await faulty_core(box, [byte])
    request = IssueAddress(request_id="i", seed_uuid=new_uuid())
    await sealed(box, request, code="derivations-disagree")
    await unseal(box)
    assert len(await box.rows("issued")) == 1  # the first coin alone
    await box.expect(request, Issued)  # nothing was decided about it


async def test_no_key_is_spent_when_it_derives_to_another_address_than_was_issued(
    box: Box,
) -> None:
    coin, other = await box.coin(), await box.coin()
    request = bundle([coin, other])
    await faulty_core(box)
    await sealed(box, request, code="derivations-disagree")
    await unseal(box)
    assert await box.rows("signed") == []
    assert await box.rows("refused") == []
    elsewhere = bundle([coin])  # its key is free for any bundle
    assert verifies(await box.expect(elsewhere, Signed), elsewhere)


async def test_a_signature_that_does_not_verify_is_kept_back_and_its_key_spent(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    coin = await box.coin()
    request = bundle([coin])
    kernel = FaultyKernel()
    monkeypatch.setattr("appliance.derivation.winternitz", kernel)
    await sealed(box, request, code="broken-invariant")
    kernel.faulty = False
    await unseal(box)
    (row,) = await box.rows("signed")
    assert json.loads(row.payload)["bundle_hash"] == request.bundle_hash
    refused = await box.expect(bundle([coin]), Refused)
    assert refused.code == "key-spent"
    assert verifies(await box.expect(request, Signed), request)
    assert len(await box.rows("signed")) == 1


@pytest.mark.parametrize("way", ["sign", "sign again", "fetch"])
async def test_a_seal_that_falls_while_a_bundle_is_signed_holds_it_back(
    box: Box, way: str
) -> None:
    request: SignTransfer | FetchBundle = bundle([await box.coin()])
    if way != "sign":
        await box.expect(request, Signed)
    if way == "fetch":
        assert isinstance(request, SignTransfer)
        request = FetchBundle(request_id="f", bundle_hash=request.bundle_hash)
    core = await put_in(box, SlowCore)
    core.begun, core.let_go = asyncio.Event(), asyncio.Event()
    asked = asyncio.create_task(box.ask(request))
    await core.begun.wait()
    seal = SealNow(request_id="s", reason="drill")
    await box.expect(seal, Done, name="operator-1")
    core.let_go.set()
    reply = await asked
    assert isinstance(reply, Fault)
    assert reply.code == "sealed"
    await unseal(box)
    assert len(await box.rows("signed")) == 1  # spent; the same bytes come later
