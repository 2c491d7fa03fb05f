# SPDX-License-Identifier: Apache-2.0
"""Panels on a pty, paired or new."""

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from firmware_bridge.attestation import Attestation
from firmware_bridge.pairing import pair
from firmware_bridge.panel import Panel, PanelSettings
from tests.firmware_bridge.firmwares import INTERPRETERS, SIMULATOR_HASH, Bench, bench


@dataclass
class Desk:
    """A paired panel, the host's client of it, and the pairing key."""

    bench: Bench
    panel: Panel
    key: bytes

    async def connect(self) -> Attestation:
        return await self.panel.connect(bytearray(self.key))


@pytest.fixture(params=INTERPRETERS)
def new_panel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A panel fresh from the factory, under each interpreter there is."""
    with bench(tmp_path, request.param) as lent:
        yield lent


@pytest.fixture
def plain_panel(tmp_path: Path) -> Iterator[Bench]:
    """A panel fresh from the factory, under CPython."""
    with bench(tmp_path) as lent:
        yield lent


async def desk_of(lent: Bench) -> Desk:
    key = secrets.token_bytes(32)
    lent.set(switch="maintenance", yes="down")
    await pair(lent.device, bytearray(key))
    lent.set(switch="run", yes="up")
    settings = PanelSettings(
        device=lent.device, trusted_firmware=frozenset({SIMULATOR_HASH})
    )
    return Desk(lent, Panel(settings), key)


@pytest.fixture
async def desk(new_panel: Bench) -> AsyncIterator[Desk]:
    made = await desk_of(new_panel)
    async with made.panel:
        yield made


@pytest.fixture
async def plain_desk(plain_panel: Bench) -> AsyncIterator[Desk]:
    made = await desk_of(plain_panel)
    async with made.panel:
        yield made
