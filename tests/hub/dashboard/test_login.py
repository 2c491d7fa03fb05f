# SPDX-License-Identifier: Apache-2.0
"""Who gets in, for how long, and what strangers and foreign pages are told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from hub.api.dashboard.app import Dashboard
from hub.config import DashboardSection, _require_dashboard_sane
from hub.errors import ConfigError
from hub.operators import Role
from hub.store.schema import metadata
from tests.hub.dashboard.conftest import CHEAP, World

IDLE_MS = 1_800_000
ABSOLUTE_MS = 43_200_000
# What a page of each route needs, and the least role that gets it.
NEEDS = {
    "GET /": "viewer",
    "GET /withdrawals": "viewer",
    "GET /withdrawals/{uuid}": "viewer",
    "GET /withdrawals/{uuid}/cancel": "operator",
    "POST /withdrawals/{uuid}/cancel": "operator",
    "GET /deposits": "viewer",
    "GET /sweeps": "viewer",
    "GET /sweeps/{bundle}": "viewer",
    "GET /sweeps/{bundle}/reattach": "operator",
    "POST /sweeps/{bundle}/reattach": "operator",
    "GET /addresses/{address}": "viewer",
    "GET /users/{name}": "viewer",
    "GET /nodes": "viewer",
    "GET /appliances": "viewer",
    "GET /approvals": "viewer",
    "GET /balances": "viewer",
    "GET /audit": "operator",
    "GET /operators": "admin",
    "GET /search": "viewer",
    "POST /logout": "viewer",
}
FILLED = {
    "{uuid}": "00000000-0000-4000-8000-000000000000",
    "{bundle}": "B" * 81,
    "{address}": "A" * 81,
    "{name}": "nobody",
}


def filled(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(name, value)
    return path


async def test_every_route_needs_its_role_and_no_stranger_gets_any(
    world: World,
) -> None:
    routes = [r for r in world.dashboard.routes() if r.path != "/live"]
    assert {f"{r.method} {r.path}" for r in routes} == set(NEEDS)
    browsers = {role: await world.browser(role) for role in Role}
    for route in routes:
        path = filled(route.path)
        if route.method == "GET":
            turned_away = await world.stranger().get(path)
        else:
            turned_away = await world.stranger().post(path, {})
        assert turned_away.status == 303
        assert turned_away.headers["Location"].startswith("/login")
        if route.path == "/logout":
            continue  # it would end the sessions of this test
        let_in = []
        for role, browser in browsers.items():
            if route.method == "GET":
                reply = await browser.get(path)
            else:
                form = {"csrf": (await browser.get("/")).csrf}
                reply = await browser.post(path, form)
            if "role-missing" not in reply.text:
                let_in.append(role.value)
        assert let_in[0] == NEEDS[f"{route.method} {route.path}"], route.path


async def test_a_wrong_password_and_an_unknown_name_are_told_the_same(
    world: World,
) -> None:
    await world.browser(Role.VIEWER)
    stranger = world.stranger()
    wrong = await stranger.log_in("one-viewer", "wrong horse battery")
    unknown = await stranger.log_in("nobody-at-all")
    assert (wrong.status, wrong.text) == (unknown.status, unknown.text)
    assert wrong.status == 403
    lines = [(actor, what) for actor, what, _ in await world.audit()]
    assert ("operator:one-viewer", "log-in-refused") in lines
    assert ("operator:?", "log-in-refused") in lines  # it may be a password
    assert not list(stranger.session.cookie_jar)


async def test_who_guesses_is_stopped_even_with_the_right_password(
    world: World,
) -> None:
    await world.browser(Role.VIEWER)
    guesser = world.stranger()
    for number in range(10):
        reply = await guesser.log_in("one-viewer", f"guess number {number}")
        assert reply.status == 403
    assert (await guesser.log_in("one-viewer")).status == 429
    world.clock.advance(by_ms=120_000)
    assert (await guesser.log_in("one-viewer")).status == 303


async def test_a_session_ends_when_it_is_idle_old_or_logged_out(world: World) -> None:
    idle = await world.browser(Role.VIEWER)
    world.clock.advance(by_ms=IDLE_MS - 1)
    assert (await idle.get("/")).status == 200
    world.clock.advance(by_ms=IDLE_MS)
    assert (await idle.get("/")).status == 303
    old = await world.browser(Role.VIEWER)
    for _ in range(ABSOLUTE_MS // (IDLE_MS - 1)):
        assert (await old.get("/")).status == 200
        world.clock.advance(by_ms=IDLE_MS - 1)
    world.clock.advance(by_ms=60_000)
    assert (await old.get("/")).status == 303
    left = await world.browser(Role.VIEWER)
    token, csrf = left.token, (await left.get("/")).csrf
    assert (await left.post("/logout", {"csrf": csrf})).status == 303
    stolen = world.stranger()
    stolen.session.cookie_jar.update_cookies({"saltkeep": token})
    assert (await stolen.get("/", {"Cookie": f"saltkeep={token}"})).status == 303
    assert ("operator:one-viewer", "log-out", "") in await world.audit()


async def test_the_pages_own_looks_keep_no_session_alive(world: World) -> None:
    browser = await world.browser(Role.VIEWER)
    for _ in range(3):
        world.clock.advance(by_ms=IDLE_MS // 3)
        reply = await browser.get("/", {"X-Saltkeep-Refresh": "1"})
    assert reply.status == 401


@pytest.mark.parametrize("change", ["disable", "set_role", "set_password"])
async def test_a_change_of_an_operator_ends_its_sessions(
    world: World, change: str
) -> None:
    browser = await world.browser(Role.ADMIN)
    arguments = {"set_role": (Role.VIEWER,), "set_password": ("x",)}.get(change, ())
    await world.store.run(
        lambda tx: getattr(tx.operators, change)("one-admin", *arguments)
    )
    assert (await browser.get("/")).status == 303


async def test_a_new_log_in_has_a_new_token_and_ends_the_old_session(
    world: World,
) -> None:
    browser = await world.browser(Role.VIEWER)
    before = browser.token
    assert (await browser.log_in("one-viewer")).status == 303
    assert browser.token != before
    again = world.stranger()
    assert (await again.get("/", {"Cookie": f"saltkeep={before}"})).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_form_of_another_site_is_refused(
    world: World, headers: dict[str, str]
) -> None:
    browser = await world.browser(Role.VIEWER)
    csrf = (await browser.get("/")).csrf
    reply = await browser.post("/logout", {"csrf": csrf}, headers)
    assert (reply.status, "foreign-form" in reply.text) == (403, True)
    form = {"name": "one-viewer", "password": "correct horse battery"}
    assert (await browser.post("/login", form, headers)).status == 403
    assert (await browser.get("/")).status == 200


async def test_a_form_without_its_own_sessions_token_is_refused(world: World) -> None:
    browser, other = [await world.browser(Role.VIEWER) for _ in range(2)]
    foreign = (await other.get("/")).csrf
    for form in ({}, {"csrf": ""}, {"csrf": foreign}, {"csrf": "0" * 64}):
        assert (await browser.post("/logout", form)).status == 403
    assert (await browser.get("/")).status == 200


async def test_a_link_leads_to_no_other_site_after_the_log_in(world: World) -> None:
    await world.browser(Role.VIEWER)
    places = {
        "/sweeps?state=signed": "/sweeps?state=signed",
        "//evil.example/": "/",
        "https://evil.example/": "/",
        "/\\evil.example": "/",
        "/x\r\nSet-Cookie: a=b": "/",
    }
    for wanted, place in places.items():
        form = {"name": "one-viewer", "password": "correct horse battery"}
        reply = await world.stranger().post("/login", form | {"next": wanted})
        assert reply.headers["Location"] == place


async def test_the_cookie_is_for_this_site_alone_and_no_script(world: World) -> None:
    await world.browser(Role.VIEWER)
    reply = await world.stranger().log_in("one-viewer")
    cookie = reply.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/" in cookie


async def test_neither_token_nor_password_is_stored(
    world: World, database_url: str
) -> None:
    browser = await world.browser(Role.ADMIN)
    csrf = (await browser.get("/")).csrf
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        for table in metadata.sorted_tables:
            for row in await connection.execute(table.select()):
                for secret in (browser.token, csrf, "correct horse battery"):
                    assert secret not in repr(row)
    await engine.dispose()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"listen": "192.0.2.1:80"}, "needs tls_certificate"),
        ({"tls_certificate": Path("c.pem")}, "go together"),
        ({"client_ca": Path("ca.pem")}, "client_ca needs"),
        ({"idle_s": 299}, "idle_s"),
        ({"session_s": 1799}, "session_s"),
        ({"public_url": "http://hub.example"}, "public_url"),
        ({"public_url": "https://hub.example/path"}, "public_url"),
    ],
)
def test_a_dashboard_that_would_be_open_is_not_configured(
    changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        _require_dashboard_sane(replace(DashboardSection(), **changed))


def test_behind_a_proxy_the_cookie_is_for_https_alone(world: World) -> None:
    guard = Dashboard(
        DashboardSection(public_url="https://hub.example"),
        world.dashboard._ports,
        passwords=CHEAP,
    )._guard
    assert (guard.secure, guard.cookie) == (True, "__Host-saltkeep")
