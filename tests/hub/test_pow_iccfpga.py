# SPDX-License-Identifier: Apache-2.0
"""Proof of work over a serial line: a devnet takes it, and no vice gets through."""

import asyncio
import contextlib

import pytest

from firmware_bridge.engines.iccfpga import IccFpga
from firmware_bridge.errors import EngineError
from hub.devnet.config import DevnetConfig
from hub.devnet.embedded import running_devnet
from hub.errors import NodeUnavailableError
from hub.pow import FallbackProofOfWork, require_attachment_of, tail_hash
from hub.pow_iccfpga import IccFpgaProofOfWork
from tests.hub.bookkeeping import ManualClock
from tests.hub.test_pow import (
    BRANCH,
    BUNDLE,
    TRUNK,
    WEIGHT,
    local,
    pyota,
)
from tests.simulators.iccfpga import simulated_module


def engine(device: str, *, timeout_s: float = 10) -> IccFpgaProofOfWork:
    return IccFpgaProofOfWork(
        IccFpga(device, timeout_s=timeout_s),
        min_weight_magnitude=WEIGHT,
        clock_ms=ManualClock(),
    )


async def test_a_devnet_takes_the_transaction_whose_nonce_came_over_the_line() -> None:
    config = DevnetConfig(min_weight_magnitude=WEIGHT)
    async with running_devnet(config) as devnet:
        latest = devnet.node.latest.hash
        with simulated_module() as module:
            work = IccFpgaProofOfWork(
                IccFpga(module.device, timeout_s=10),
                min_weight_magnitude=WEIGHT,
                clock_ms=devnet.clock_ms,
            )
            texts = await work.attach(BUNDLE, trunk=latest, branch=latest)
            assert len(module.requests) == len(BUNDLE)
        await devnet.store(texts)
        assert devnet.node.tangle.get(tail_hash(texts)) is not None


@pytest.mark.parametrize("vice", ["", "chatty"])
async def test_its_work_is_what_our_own_would_be(vice: str) -> None:
    with simulated_module(vice) as module:
        texts = await engine(module.device).attach(BUNDLE, trunk=TRUNK, branch=BRANCH)
    require_attachment_of(
        BUNDLE, texts, trunk=TRUNK, branch=BRANCH, min_weight_magnitude=WEIGHT
    )


VICES = ["lies", "silent", "garbage", "another", "refuses"]


@pytest.mark.parametrize("vice", VICES)
async def test_a_dead_or_lying_module_is_passed_over(vice: str) -> None:
    with simulated_module(vice) as module:
        bad = engine(module.device, timeout_s=0.5)
        with pytest.raises(NodeUnavailableError, match="ICCFPGA"):
            await bad.attach(BUNDLE, trunk=TRUNK, branch=BRANCH)
        work = FallbackProofOfWork([bad, local()], check=pyota)
        texts = await work.attach(BUNDLE, trunk=TRUNK, branch=BRANCH)
        assert module.requests
    assert len(texts) == len(BUNDLE)


async def test_a_module_that_is_not_there_is_passed_over() -> None:
    work = FallbackProofOfWork([engine("/dev/nowhere"), local()], check=pyota)
    assert len(await work.attach(BUNDLE, trunk=TRUNK, branch=BRANCH)) == len(BUNDLE)


async def test_a_module_tells_its_version_and_a_silent_one_does_not_hold_us() -> None:
    with simulated_module() as module:
        assert await IccFpga(module.device, timeout_s=5).version() == "0.17rev"
        module.vice = "silent"
        with pytest.raises(EngineError, match="silent"):
            await IccFpga(module.device, timeout_s=0.2).version()


async def test_two_bundles_at_once_take_turns_on_the_line() -> None:
    with simulated_module() as module:
        work = engine(module.device)
        both = await asyncio.gather(
            work.attach(BUNDLE, trunk=TRUNK, branch=BRANCH),
            work.attach(BUNDLE, trunk=TRUNK, branch=BRANCH),
        )
    assert all(len(texts) == len(BUNDLE) for texts in both)


async def test_cancelling_gives_the_line_back() -> None:
    with simulated_module("silent") as module:
        task = asyncio.create_task(
            engine(module.device).attach(BUNDLE, trunk=TRUNK, branch=BRANCH)
        )
        async with asyncio.timeout(5):
            while not module.requests:
                await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        module.vice = ""
        assert len(
            await engine(module.device).attach(BUNDLE, trunk=TRUNK, branch=BRANCH)
        ) == len(BUNDLE)
