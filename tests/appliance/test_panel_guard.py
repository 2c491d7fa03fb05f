# SPDX-License-Identifier: Apache-2.0
"""The appliance and its panel: the real firmware on a pty."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.wire import Unseal
from tests.appliance.box import Box
from tests.appliance.panelled import enrol, pairing, panel_of
from tests.firmware_bridge.firmwares import Bench


@pytest.fixture
async def guarded(folder: Path, tmp_path: Path) -> AsyncIterator[tuple[Box, Bench]]:
    """A ready appliance whose panel is paired and in RUN."""
    with panel_of(folder, tmp_path / "panel") as panel:
        await pairing(folder, panel)
        box = Box(folder)
        assert await box.appliance.check(), box.appliance.life.unready
        await enrol(box)
        yield box, panel
        await box.close()


async def sealed(box: Box) -> str:
    """Wait until it is sealed and holds nothing, and return why."""
    began_s = time.monotonic()
    while box.appliance.life.running or not box.appliance.life.latch.seal:
        await asyncio.sleep(0.01)
    print(f"sealed after {time.monotonic() - began_s:.2f} s")
    seal = box.appliance.life.latch.seal
    assert seal
    return seal.code


@pytest.mark.parametrize(
    ("change", "code"),
    [({"case": "open"}, "panel-tamper"), ({"switch": "off"}, "panel-switch")],
)
async def test_what_the_panel_sees_seals(
    guarded: tuple[Box, Bench], change: dict[str, str], code: str
) -> None:
    box, panel = guarded
    panel.set(**change)
    assert await sealed(box) == code


async def test_a_pulled_cable_seals(guarded: tuple[Box, Bench]) -> None:
    box, panel = guarded
    panel.unplug()
    assert await sealed(box) == "panel-lost"


async def test_after_the_switch_two_operators_unseal_and_the_cause_is_journalled(
    guarded: tuple[Box, Bench],
) -> None:
    box, panel = guarded
    panel.set(switch="off")
    await sealed(box)
    panel.set(switch="run")
    assert (await box.unseal()).steps == ["unsealed and ready"]
    causes = [json.loads(row.payload) for row in await box.rows("ceremony")]
    assert "panel-switch" in [cause.get("code") for cause in causes]


async def test_a_latched_tamper_is_not_unsealed_outside_maintenance(
    guarded: tuple[Box, Bench],
) -> None:
    box, panel = guarded
    panel.set(case="open")
    assert await sealed(box) == "panel-tamper"
    panel.set(case="closed")
    with pytest.raises(AssertionError, match="panel-switch"):
        await box.unseal()
    assert (await box.status()).state == "sealed"


async def test_a_latched_tamper_needs_two_operators_maintenance_and_the_button(
    guarded: tuple[Box, Bench],
) -> None:
    box, panel = guarded
    panel.set(case="open")
    assert await sealed(box) == "panel-tamper"
    panel.set(case="closed", switch="maintenance")
    latch_id = (await box.status()).latch_id
    proposed = await box.propose(Unseal(request_id="", latch_id=latch_id))
    assert (await box.approve(proposed, 1)).missing == 1
    assert (await box.status()).state == "sealed"
    second = asyncio.create_task(box.approve(proposed, 2))
    while not second.done():
        await asyncio.sleep(0.3)
        panel.set(yes="down")
        await asyncio.sleep(0.3)
        panel.set(yes="up")
    assert "the latch is clear, but not ready" in (await second).steps[0]
    assert not box.appliance.life.running
    panel.set(switch="run")
    assert await box.appliance.check(), box.appliance.life.unready
    rows = [json.loads(row.payload) for row in await box.rows("ceremony")]
    unsealed, approved = rows[-2:]
    told = {"step": "unseal", "latch_id": latch_id, "cleared_at_panel": True}
    assert unsealed.items() >= told.items()
    assert approved["operators"] == ["operator-1", "operator-2"]
    assert not box.appliance.life.paths.unsealed.exists()
