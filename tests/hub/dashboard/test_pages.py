# SPDX-License-Identifier: Apache-2.0
"""What the pages say, of a hub in which something of everything has happened."""

import asyncio
import itertools
import re
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest

from hub.api.dashboard.drawings import Flow, Moment, draw_bundle, draw_line
from hub.api.dashboard.plots import Series, draw_plot
from hub.api.dashboard.rendering import ago, in_units, lasting
from hub.model import TransactionHash, WithdrawalUuid
from hub.operators import Role
from tests.hub import bookkeeping as books
from tests.hub.dashboard.conftest import World

EVIL = "<script>alert(1)</script>"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@dataclass
class Filled:
    """Names of what there is to be seen."""

    address: str
    bundle: str
    tail: str
    paid: WithdrawalUuid
    waiting: WithdrawalUuid

    def paths(self) -> list[str]:
        return [
            "/",
            "/withdrawals",
            "/withdrawals?state=requested",
            f"/withdrawals/{self.paid}",
            f"/withdrawals/{self.waiting}",
            f"/withdrawals/{self.waiting}/cancel",
            "/deposits",
            "/deposits?state=credited",
            "/sweeps",
            "/sweeps?state=attached",
            f"/sweeps/{self.bundle}",
            f"/sweeps/{self.bundle}/reattach",
            f"/addresses/{self.address}",
            "/users/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
            "/nodes",
            "/appliances",
            "/approvals",
            "/balances",
            "/balances?span=year",
            "/audit",
            "/operators",
            "/search?q=" + "x" * 30,
            "/search",
            "/no-such-page",
            f"/withdrawals/{EVIL}",
        ]


@pytest.fixture
async def filled(world: World) -> Filled:
    store = world.store
    ana = await books.funded_user(store, EVIL, 1_000_000)
    paid = await books.request_withdrawal(store, ana, 300_000)
    waiting = await books.request_withdrawal(store, ana, 5)
    async with store.reading() as tx:
        source = (await tx.addresses.after(0, limit=1))[0]  # type: ignore[arg-type]
    rest = await books.hub_address(store)
    sweep_id = await books.plan_sweep(store, [source.address_id], [paid], rest)
    await books.sign_sweep(store, sweep_id)
    tail = TransactionHash(books.trytes())
    await store.run(lambda tx: tx.sweeps.attach(sweep_id, tail))
    await store.run(
        lambda tx: tx.samples.keep_balances(assets_i=9_000, liabilities_i=9_000)
    )
    await store.run(
        lambda tx: tx.samples.keep_reserves(tangle_i=8, books_i=9, unknown=1)
    )
    async with store.reading() as tx:
        sweep = await tx.sweeps.by_id(sweep_id)
    return Filled(source.address, sweep.plan.bundle_hash, tail, paid, waiting)


class Markup(HTMLParser):
    """Finds what a strict policy would not let run, and what people need."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.tables = self.captions = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        self.wrong += [n for n in names if n == "style" or n.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in names):
            self.wrong.append(tag)
        if any((value or "").startswith("javascript:") for value in names.values()):
            self.wrong.append("javascript:")
        self.tables += tag == "table"
        self.captions += tag == "caption"


async def test_every_page_is_shown_under_a_strict_policy_without_inline_anything(
    world: World, filled: Filled
) -> None:
    browser = await world.browser(Role.ADMIN)
    for path in filled.paths():
        reply = await browser.get(path)
        expected = 404 if path in filled.paths()[-2:] else 200
        assert reply.status == expected, (path, reply.text)
        assert reply.headers["Content-Security-Policy"] == POLICY
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-store"
        assert EVIL not in reply.text
        assert browser.token not in reply.text
        markup = Markup()
        markup.feed(reply.text)
        assert markup.wrong == [], path
        assert markup.tables == markup.captions


async def test_a_static_file_is_kept_by_browsers_and_open_to_the_log_in(
    world: World,
) -> None:
    stranger = world.stranger()
    page = await stranger.get("/login")
    for place in re.findall('(?:href|src)="(/static/[^"]+)"', page.text):
        reply = await stranger.get(place)
        assert reply.status == 200
        assert "immutable" in reply.headers["Cache-Control"]
    assert (await stranger.get("/static/../app.py")).status == 404


async def test_two_clicks_lead_from_the_front_page_to_the_sweep(
    world: World, filled: Filled
) -> None:
    browser = await world.browser(Role.VIEWER)
    front = await browser.get("/")
    assert f"/withdrawals/{filled.paid}" in front.text
    page = await browser.get(f"/withdrawals/{filled.paid}")
    assert f"/sweeps/{filled.bundle}" in page.text
    sweep = await browser.get(f"/sweeps/{filled.bundle}")
    assert filled.tail in sweep.text
    assert "remainder" in sweep.text


async def test_cancelling_gives_the_money_back_and_is_an_audit_line(
    world: World, filled: Filled
) -> None:
    browser = await world.browser(Role.OPERATOR)
    page = await browser.get(f"/withdrawals/{filled.waiting}/cancel")
    form = {"csrf": page.csrf}
    done = await browser.post(f"/withdrawals/{filled.waiting}/cancel", form)
    assert done.headers["Location"] == f"/withdrawals/{filled.waiting}"
    line = (
        "operator:one-operator",
        "cancel-withdrawal",
        f"withdrawal {filled.waiting}",
    )
    assert line in await world.audit()
    assert "cancelled" in (await browser.get(f"/withdrawals/{filled.waiting}")).text
    again = await browser.post(f"/withdrawals/{filled.waiting}/cancel", form)
    assert (again.status, "withdrawal-final" in again.text) == (409, True)
    assert (await world.audit()).count(line) == 1


async def test_reattaching_asks_the_hub_with_an_audit_line(
    world: World, filled: Filled
) -> None:
    browser = await world.browser(Role.OPERATOR)
    page = await browser.get(f"/sweeps/{filled.bundle}/reattach")
    await browser.post(f"/sweeps/{filled.bundle}/reattach", {"csrf": page.csrf})
    assert world.reattached == [filled.bundle]
    actor, what, about = (await world.audit())[0]
    assert (actor, what) == ("operator:one-operator", "reattach-sweep")
    assert filled.bundle in about


async def test_search_leads_to_what_has_the_name(world: World, filled: Filled) -> None:
    browser = await world.browser(Role.VIEWER)
    await books.open_user(world.store, "bob")
    await books.open_user(world.store, "bobby")
    async with world.store.reading() as tx:
        withdrawal = await tx.withdrawals.by_uuid(filled.paid)
    for text, place in {
        filled.address: f"/addresses/{filled.address}",
        filled.bundle: f"/sweeps/{filled.bundle}",
        filled.tail: f"/sweeps/{filled.bundle}",
        filled.paid.upper(): f"/withdrawals/{filled.paid}",
        withdrawal.payout_address: f"/withdrawals/{filled.paid}",
        "bob": "/users/bob",
    }.items():
        reply = await browser.get(f"/search?q={text}")
        assert (reply.status, reply.headers.get("Location")) == (303, place)
    several = await browser.get("/search?q=bo")
    assert several.status == 200
    assert "/users/bobby" in several.text
    assert "Nothing has this name" in (await browser.get("/search?q=zz")).text


async def test_a_list_goes_on_where_its_page_has_ended(world: World) -> None:
    browser = await world.browser(Role.VIEWER)
    ana = await books.funded_user(world.store, "ana", 1000)
    made = [await books.request_withdrawal(world.store, ana, 1) for _ in range(60)]
    for start in ("/withdrawals", "/withdrawals?state=requested"):
        seen: list[str] = []
        path = start
        while path:
            page = await browser.get(path)
            seen += re.findall(r'href="/withdrawals/([0-9a-f-]{36})"', page.text)
            more = re.search('href="([^"]+)">older ones', page.text)
            path = more[1].replace("&amp;", "&") if more else ""
        assert seen == made[::-1]


@pytest.mark.parametrize(
    "path",
    ["/sweeps?state=odd", "/deposits?before=x", "/balances?span=age", "/users/nobody"],
)
async def test_what_makes_no_sense_is_refused_on_a_page(
    world: World, path: str
) -> None:
    reply = await (await world.browser(Role.VIEWER)).get(path)
    assert reply.status in {404, 422}
    assert "This did not work" in reply.text


async def test_an_open_page_hears_of_an_event_and_of_its_sessions_end(
    world: World,
) -> None:
    browser = await world.browser(Role.VIEWER)
    ana = await books.funded_user(world.store, "ana", 10)
    async with browser.session.get(f"{browser.url}/live") as stream:
        assert stream.status == 200
        first = await _next_event(stream.content)
        await books.request_withdrawal(world.store, ana, 1)
        later = await _next_event(stream.content)
        while later == first:  # a heartbeat
            later = await _next_event(stream.content)
        assert later[0] == first[0] == "news"
        assert int(later[1]) > int(first[1])
        await world.store.run(lambda tx: tx.operators.disable("one-viewer"))
        while (await _next_event(stream.content))[0] != "over":
            pass
        assert await stream.content.read() == b""


async def _next_event(content: asyncio.StreamReader) -> tuple[str, str]:
    kind = data = ""
    async with asyncio.timeout(10):
        while True:
            line = (await content.readline()).decode().strip()
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            if line.startswith("data: "):
                data = line.removeprefix("data: ")
            if not line and kind:
                return kind, data


def test_amounts_are_rounded_down_and_times_told_in_one_unit() -> None:
    assert in_units(999) == "999 i"
    assert in_units(1_259_999) == "1.25 Mi"
    assert in_units(-2_000_000_000) == "-2 Gi"
    assert in_units(2_779_530_283_277_761) == "2.77 Pi"
    assert lasting(59_999) == "59 s"
    assert lasting(7_200_000) == "2 h"
    assert ago(1000, 181_000) == "3 min ago"
    assert ago(181_000, 1000) == "in 3 min"


def test_a_bundle_of_many_parts_is_drawn_with_few() -> None:
    inputs = [Flow(f"a{n}", n + 1, "input") for n in range(30)]
    drawing = draw_bundle(inputs, [Flow("b", 465, "remainder")])
    assert len(drawing.inputs) == 12
    assert drawing.inputs[-1].flow.label == "19 more"
    assert sum(one.flow.amount_i for one in drawing.inputs) == 465
    tops = [one.text_y for one in drawing.inputs]
    assert all(after - before >= 26 for before, after in itertools.pairwise(tops))


def test_moments_at_one_time_stand_side_by_side_on_the_line() -> None:
    marks = draw_line([Moment(5, "planned", "a")] * 40 + [Moment(9_999, "now", "z")])
    places = [mark.x for mark in marks]
    assert places == sorted(set(places))
    assert places[-1] <= 700


def test_a_plot_begins_at_zero_and_holds_every_point() -> None:
    plot = draw_plot([Series("held", "assets", [(0, 10), (1000, 397)])])
    assert plot is not None
    assert [tick.text for tick in plot.across] == [
        "0 i",
        "100 i",
        "200 i",
        "300 i",
        "400 i",
    ]
    assert plot.curves[0].path.count("L") == 1
    assert draw_plot([Series("held", "assets", [])]) is None
