# SPDX-License-Identifier: Apache-2.0
"""Appliances on real SoftHSM2 tokens: one is made, every test gets a copy."""

import shutil
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest

from appliance.pytest_plugin import ApplianceProcess, make_appliance
from tests.appliance.box import Box
from tests.postgres import Server


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_appliance(tmp_path_factory.mktemp("template") / "box").folder


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server of its own, with the settings of a fresh one."""
    started = Server()
    try:
        started.start()
        yield started
    finally:
        started.destroy()


def copy_box(template: Path, folder: Path) -> Path:
    shutil.copytree(template, folder)
    for name in ("appliance.toml", "softhsm2.conf"):
        path = folder / name
        path.write_text(path.read_text().replace(str(template), str(folder)))
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """A whole appliance that is not running."""
    return copy_box(template, tmp_path / "box")


@pytest.fixture
def configure(folder: Path) -> Callable[[str, str], None]:
    """Change one line of the configuration, or add one under its table."""

    def change(table: str, line: str) -> None:
        path = folder / "appliance.toml"
        text = path.read_text()
        assert f"[{table}]" in text or table == "limits"
        if table == "limits" and "[limits]" not in text:
            text = text.replace("[policy]", "[limits]\n\n[policy]")
        name = line.split(" =", maxsplit=1)[0]
        head, _, rest = text.partition(f"[{table}]\n")
        body, mark, tail = rest.partition("\n[")
        lines = [old for old in body.splitlines() if old.split(" =")[0] != name]
        path.write_text(
            f"{head}[{table}]\n" + "\n".join([line, *lines]) + "\n" + mark + tail
        )

    return change


@pytest.fixture
async def box(folder: Path) -> AsyncGenerator[Box]:
    """An appliance in this process, its checks passed."""
    opened = Box(folder)
    assert await opened.appliance.check(), opened.appliance.life.unready
    yield opened
    await opened.close()


@pytest.fixture
def process(folder: Path) -> Iterator[ApplianceProcess]:
    """An appliance of its own process, not started yet."""
    appliance = ApplianceProcess(folder)
    yield appliance
    appliance.kill()
