# SPDX-License-Identifier: Apache-2.0
"""However a running appliance loses its panel, it is sealed: real firmware, a pty."""

import json
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from firmware_bridge.cobs import decode, encode
from tests.appliance.box import Box
from tests.appliance.panelled import opened, pairing, panel_of
from tests.appliance.person import Panelled, panelled, sealed
from tests.firmware_bridge.faults import Dice, Injector
from tests.firmware_bridge.test_faults_pty import Cable


@pytest.fixture
async def guarded(folder: Path, tmp_path: Path) -> AsyncIterator[Panelled]:
    """A ready appliance whose panel is paired and in RUN."""
    async with panelled(folder, tmp_path / "panel") as lent:
        yield lent


async def test_an_unseal_is_journalled_after_a_power_cut_in_between(
    guarded: Panelled,
) -> None:
    box, panel = guarded
    panel.set(switch="off")
    await sealed(box)
    steps = (await box.unseal()).steps  # the switch is OFF still
    assert "the latch is clear, but not ready" in steps[0]
    await box.close()
    panel.set(switch="run")
    again = Box(box.folder)
    try:
        assert await again.appliance.check(), again.appliance.life.unready
        rows = [json.loads(row.payload) for row in await again.rows("ceremony")]
    finally:
        await again.close()
    assert [row["step"] for row in rows[-2:]] == ["unseal", "approved"]


async def test_a_panel_that_falls_silent_seals(guarded: Panelled) -> None:
    box, panel = guarded
    panel.pause()
    try:
        assert await sealed(box) == "panel-lost"
    finally:
        panel.resume()


async def test_a_panel_that_starts_again_seals(guarded: Panelled) -> None:
    box, panel = guarded
    panel.start()
    assert await sealed(box) == "panel-lost"


async def test_a_counter_that_went_back_seals_and_seals_again(
    guarded: Panelled,
) -> None:
    box, panel = guarded
    yesterday = (panel.folder / "state").read_bytes()
    client = box.appliance.life.guard._panel
    assert client
    await client.counter_increment()
    panel.stop()
    (panel.folder / "state").write_bytes(yesterday)
    panel.start()
    assert await sealed(box) == "panel-lost"
    assert "not ready: panel-counter" in (await box.unseal()).steps[0]
    assert await sealed(box) == "panel-counter"


class Forger(Injector):
    """Alters the tag of a frame, and sets its checksum right again."""

    forging = False

    def pass_on(self, data: bytes) -> list[tuple[int, bytes]]:
        frames = [frame for frame in data.split(b"\0") if frame]
        return [(0, b"\0" + self.forged(frame) + b"\0") for frame in frames]

    def forged(self, stuffed: bytes) -> bytes:
        whole = decode(stuffed)
        if not self.forging or whole is None:
            return stuffed
        body = whole[:-5] + bytes([whole[-5] ^ 1])
        return encode(body + zlib.crc32(body).to_bytes(4, "big"))


async def test_a_frame_of_somebody_without_the_key_seals(
    folder: Path, tmp_path: Path
) -> None:
    dice = Dice(1)
    with panel_of(folder, tmp_path / "panel") as panel:
        await pairing(folder, panel)
        cable = Cable(panel.device, dice, tmp_path / "cable")
        cable.mend()
        forger = cable.to_host = Forger(dice, 1)
        config = folder / "appliance.toml"
        config.write_text(config.read_text().replace(panel.device, cable.device))
        async with opened(folder) as box:
            assert box.appliance.life.running, box.appliance.life.unready
            forger.forging = True
            assert await sealed(box) == "panel-lost"
            seal = box.appliance.life.latch.seal
            assert seal
            assert "bad-tag" in seal.reason
        cable.close()


_STUCK = """\
import sys
from firmware_bridge.firmware import hal_host, main
class Stuck(hal_host.HostBoard):
    def random(self, size):
        good = hal_host.HostBoard.random(self, size)
        return bytes(size) if size > 16 and self.load("stuck") else good
main.run(Stuck(sys.argv[-1]))
"""


@pytest.mark.parametrize("armed", [False, True])
async def test_a_panel_whose_noise_is_none_seals(
    folder: Path, tmp_path: Path, *, armed: bool
) -> None:
    script = tmp_path / "stuck"
    script.write_text(f"#!{sys.executable}\n{_STUCK}")
    script.chmod(0o700)
    with panel_of(folder, tmp_path / "panel") as panel:
        await pairing(folder, panel)
        stuck = panel.folder / "stuck"
        stuck.write_text("yes" * (not armed))
        panel.run_on(str(script))
        async with opened(folder) as box:
            assert bool(box.appliance.life.running) == armed
            stuck.write_text("yes")
            assert not await box.appliance.check()
            assert await sealed(box) == "panel-random"
