# SPDX-License-Identifier: Apache-2.0
"""Every page in a real Chromium: no accessibility fault, no complaint, no reload."""

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hub.operators import Role
from tests.browser import Browser, fetch_axe, running_browser
from tests.hub import bookkeeping as books
from tests.hub.dashboard.conftest import PASSWORD, World
from tests.hub.dashboard.test_pages import Filled, filled

__all__ = ["filled"]
DRESSES = {"light": (False, 1200), "dark": (True, 1200), "phone": (False, 390)}
ABSENT = "the server responded with a status of 404"
"""What Chromium says of a page that is not there, two of which are looked at."""
RUN = """axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations
  .filter(v => v.impact === "serious" || v.impact === "critical")
  .map(v => v.id + ": " + v.nodes.map(n => n.html).join(" | ")))"""


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fetch_axe(tmp_path_factory.mktemp("axe"))


@pytest.fixture
async def chromium(world: World) -> AsyncGenerator[Browser]:
    """A window of an admin who is logged in."""
    await world.browser(Role.ADMIN)  # makes the account
    async with running_browser() as browser:
        await browser.log_in(world.url, "one-admin", PASSWORD)
        yield browser


def test_the_list_of_pages_is_whole(world: World, filled: Filled) -> None:
    paths = [path.partition("?")[0] for path in filled.paths()]
    for route in world.dashboard.routes():
        if route.method != "GET" or route.path == "/live":
            continue
        pattern = re.sub(r"\\{[a-z_]+\\}", "[^/]+", re.escape(route.path))
        assert any(re.fullmatch(pattern, path) for path in paths), route.path


@pytest.mark.slow
@pytest.mark.parametrize("dress", DRESSES)
async def test_no_page_has_a_fault_that_axe_calls_serious_or_complains(
    dress: str, world: World, filled: Filled, chromium: Browser, axe: str
) -> None:
    dark, width = DRESSES[dress]
    await chromium.dress(dark=dark, width=width)
    await chromium.complaints()
    faults = {}
    for path in ["/", "/login", *filled.paths()]:
        await chromium.open(world.url + path)
        await chromium.evaluate(axe)
        found = await chromium.evaluate(RUN)
        found += [one for one in await chromium.complaints() if ABSENT not in one]
        wide = await chromium.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            found.append(f"{wide} pixels wide")
        if found:
            faults[path] = found
    assert faults == {}


@pytest.mark.slow
async def test_a_new_withdrawal_appears_without_a_reload(
    world: World, chromium: Browser
) -> None:
    account = await books.funded_user(world.store, "ana", 100)
    await chromium.open(world.url + "/")
    await chromium.evaluate("window.notReloaded = true")
    uuid = await books.request_withdrawal(world.store, account, 30)
    await chromium.find(f"a[href='/withdrawals/{uuid}']")
    assert await chromium.evaluate("window.notReloaded")


@pytest.mark.slow
async def test_the_skip_link_comes_first_and_log_out_ends_the_session(
    world: World, chromium: Browser, tmp_path: Path
) -> None:
    await chromium.open(world.url + "/withdrawals")
    await chromium.ask(
        "POST",
        "/actions",
        actions=[
            {
                "type": "key",
                "id": "keys",
                "actions": [
                    {"type": "keyDown", "value": "\ue004"},
                    {"type": "keyUp", "value": "\ue004"},
                ],
            }
        ],
    )
    assert await chromium.evaluate("document.activeElement.className") == "skip"
    await chromium.picture(tmp_path / "page.png")
    await chromium.click("form[action='/logout'] button")
    await chromium.find("#password")
    await chromium.open(world.url + "/withdrawals")
    assert "/login" in await chromium.where()
