# SPDX-License-Identifier: Apache-2.0
"""Webhooks: signed, in order, at least once, and given up on in the end."""

import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from hub.config import V1ApiSection
from hub.errors import WebhookUrlRefusedError
from hub.store import Store
from hub.webhook_signatures import (
    SignatureInvalidError,
    derive_secret,
    sign,
    verify,
)
from hub.webhook_urls import require_allowed_url
from hub.webhooks import Cleaner, Webhooks, WebhookSettings
from tests.hub import bookkeeping as books
from tests.hub.api.v1.serving import V1, running_v1
from tests.hub.api.v1.test_events import add_events
from tests.hub.bookkeeping import ManualClock

KEY = b"k" * 48
NONCE = "ab" * 32


@dataclass
class Receiver:
    """An endpoint that verifies, and fails as often as it is told to."""

    url: str = ""
    secret: str = ""
    failures_left: int = 0
    failure: int = 500
    clock: ManualClock = field(default_factory=ManualClock)
    events: list[dict[str, object]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        now_s = self.clock.now_ms / 1000
        self.ids.append(verify(self.secret, request.headers, body, now_s=now_s))
        if self.failures_left:
            self.failures_left -= 1
            return web.Response(status=self.failure, headers={"Location": self.url})
        self.events.append(json.loads(body))
        return web.Response(status=204)

    @property
    def positions(self) -> list[object]:
        return [one["position"] for one in self.events]


@asynccontextmanager
async def receiving(clock: ManualClock) -> AsyncGenerator[Receiver]:
    receiver = Receiver(clock=clock)
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()


@dataclass
class Delivery:
    """A hub with webhooks and one that receives them."""

    v1: V1
    receiver: Receiver
    flow: Webhooks
    clock: ManualClock
    webhook_id: str = ""

    async def register(self, *types: str) -> None:
        made = await self.v1.ask(
            "POST",
            "/v1/webhooks",
            json={"url": self.receiver.url, "types": list(types)},
            idempotency_key=f"hook {time.monotonic_ns()}".replace(" ", "-"),
        )
        assert made.status == 201, made.text
        self.webhook_id = made.json["webhook"]["webhook_id"]
        self.receiver.secret = made.json["secret"]

    async def happen(self, count: int) -> None:
        await add_events(self.v1.store, "ana", count)
        await self.v1.publisher.publish()

    async def state(self) -> dict[str, object]:
        reply = await self.v1.ask("GET", f"/v1/webhooks/{self.webhook_id}")
        found: dict[str, object] = reply.json
        return found


def settings(**how: float) -> WebhookSettings:
    times = {
        "timeout_s": 2.0,
        "first_retry_s": 5.0,
        "longest_retry_s": 60.0,
        "give_up_after_s": 300.0,
    }
    return WebhookSettings(key=KEY, **(times | how))


@pytest.fixture
async def delivery(
    store: Store, clock: ManualClock, tmp_path: Path
) -> AsyncGenerator[Delivery]:
    key_file = tmp_path / "webhook.key"
    key_file.write_bytes(KEY)
    key_file.chmod(0o600)
    section = V1ApiSection(webhook_key_file=key_file)
    async with (
        running_v1(store, clock, section=section) as v1,
        receiving(clock) as receiver,
        Webhooks(store, settings(), clock=clock) as flow,
    ):
        await books.open_user(store, "ana")
        yield Delivery(v1, receiver, flow, clock)


async def test_events_from_registration_on_are_posted_in_order_and_verify(
    delivery: Delivery,
) -> None:
    await delivery.happen(3)
    await delivery.register()
    await delivery.happen(4)
    await delivery.flow.tick()
    assert delivery.receiver.positions == [4, 5, 6, 7]
    assert delivery.receiver.ids == [f"event-{n}" for n in (4, 5, 6, 7)]
    assert (await delivery.state())["position"] == 7


async def test_a_receiver_that_fails_n_times_gets_every_event_at_last(
    delivery: Delivery,
) -> None:
    await delivery.register()
    await delivery.happen(3)
    delivery.receiver.failures_left = 4
    for _ in range(4):
        await delivery.flow.tick()
        await delivery.flow.tick()  # too early: nothing is sent
        delivery.clock.advance(by_ms=75_000)
    await delivery.flow.tick()
    assert delivery.receiver.positions == [1, 2, 3]
    assert len(delivery.receiver.ids) == 7
    path = f"/v1/webhooks/{delivery.webhook_id}/deliveries?limit=3"
    newest = (await delivery.v1.ask("GET", path)).json
    assert [(d["position"], d["status"]) for d in newest["items"]] == [
        (3, 204),
        (2, 204),
        (1, 204),
    ]
    path += f"&cursor={newest['next_cursor']}"
    older = (await delivery.v1.ask("GET", path)).json["items"]
    assert [(d["attempt"], d["error"]) for d in older] == [
        (4, "answered 500"),
        (3, "answered 500"),
        (2, "answered 500"),
    ]


async def test_pauses_grow_and_a_receiver_that_is_away_is_given_up(
    delivery: Delivery,
) -> None:
    await delivery.register()
    await delivery.happen(1)
    delivery.receiver.failures_left = 1000
    pauses_ms = []
    while (state := await delivery.state())["state"] == "enabled":
        await delivery.flow.tick()
        state = await delivery.state()
        if state["state"] == "enabled":
            due_ms = state["next_attempt_at_ms"]
            assert isinstance(due_ms, int)
            pauses_ms.append(due_ms - delivery.clock.now_ms)
            delivery.clock.advance(by_ms=pauses_ms[-1])
    assert pauses_ms[0] >= 5_000
    assert pauses_ms[1] >= 10_000
    assert max(pauses_ms) <= 60_000 * 1.2
    await delivery.v1.publisher.publish()
    (told,) = (await delivery.v1.ask("GET", "/v1/events?types=webhook.disabled")).json[
        "items"
    ]
    assert told["message"] == delivery.webhook_id
    delivery.receiver.failures_left = 0
    await delivery.flow.tick()
    assert delivery.receiver.positions == []
    await delivery.v1.ask("POST", f"/v1/webhooks/{delivery.webhook_id}/enable")
    await delivery.flow.tick()
    assert delivery.receiver.positions == [1, 2]


async def test_a_redirect_is_a_failure_and_never_followed(delivery: Delivery) -> None:
    await delivery.register()
    await delivery.happen(1)
    delivery.receiver.failures_left, delivery.receiver.failure = 1, 307
    await delivery.flow.tick()
    assert len(delivery.receiver.ids) == 1
    assert (await delivery.state())["failures"] == 1


async def test_nobody_listening_is_a_failure_without_a_status(
    delivery: Delivery,
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        delivery.receiver.url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        await delivery.register()
        await delivery.happen(1)
        await delivery.flow.tick()
    path = f"/v1/webhooks/{delivery.webhook_id}/deliveries"
    (attempt,) = (await delivery.v1.ask("GET", path)).json["items"]
    assert (attempt["status"], attempt["error"]) == (0, "ClientConnectorError")


async def test_only_the_types_asked_for_are_posted_and_the_cursor_moves_on(
    delivery: Delivery,
) -> None:
    await delivery.register("sweep.signed")
    await delivery.happen(120)
    for _ in range(3):
        await delivery.flow.tick()
    assert delivery.receiver.positions == []
    assert (await delivery.state())["position"] == 120


async def test_one_event_or_a_range_is_posted_once_more(delivery: Delivery) -> None:
    await delivery.register()
    await delivery.happen(5)
    await delivery.flow.tick()
    path = f"/v1/webhooks/{delivery.webhook_id}/redeliveries"
    for number, order in enumerate(
        [{"first_position": 2}, {"first_position": 3, "last_position": 4}]
    ):
        reply = await delivery.v1.ask(
            "POST", path, json=order, idempotency_key=str(number)
        )
        assert reply.status == 201
    for _ in range(3):
        await delivery.flow.tick()
    assert delivery.receiver.positions == [1, 2, 3, 4, 5, 2, 3, 4]


async def test_two_hubs_post_each_event_once(
    delivery: Delivery, database_url: str
) -> None:
    await delivery.register()
    await delivery.happen(20)
    second = Store(database_url, clock=delivery.clock)
    async with Webhooks(second, settings(), clock=delivery.clock) as other:
        await delivery.flow.tick()
        await other.tick()
    await second.close()
    assert delivery.receiver.positions == list(range(1, 21))


async def test_a_deleted_webhook_is_left_in_peace(delivery: Delivery) -> None:
    await delivery.register()
    await delivery.happen(1)
    path = f"/v1/webhooks/{delivery.webhook_id}"
    assert (await delivery.v1.ask("DELETE", path)).json["state"] == "deleted"
    await delivery.flow.tick()
    assert delivery.receiver.positions == []
    assert (await delivery.v1.ask("GET", path)).status == 404
    assert (await delivery.v1.ask("GET", "/v1/webhooks")).json["items"] == []


async def test_the_log_is_kept_as_long_as_configured(delivery: Delivery) -> None:
    await delivery.register()
    await delivery.happen(1)
    await delivery.flow.tick()
    path = f"/v1/webhooks/{delivery.webhook_id}/deliveries"
    cleaner = Cleaner(delivery.v1.store, keep_log_s=60, clock=delivery.clock)
    await cleaner.tick()
    assert len((await delivery.v1.ask("GET", path)).json["items"]) == 1
    delivery.clock.advance(by_ms=60_001)
    await cleaner.tick()
    assert (await delivery.v1.ask("GET", path)).json["items"] == []


async def test_without_a_key_file_there_are_no_webhooks(v1: V1) -> None:
    reply = await v1.ask(
        "POST",
        "/v1/webhooks",
        json={"url": "https://example.org/"},
        idempotency_key="k",
    )
    assert (reply.status, reply.json["code"]) == (409, "webhooks-off")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "http://localhost/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "http://127.0.0.1.example.org/",
        "http://2130706433/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://user:pass@example.org/",
        "https://example.org/#part",
        "https://",
        "https://example.org:99999/",
        "https://exa mple.org/",
        "//example.org/",
        "",
    ],
)
def test_a_url_that_leads_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(WebhookUrlRefusedError):
        require_allowed_url(url)


@pytest.mark.parametrize(
    "url", ["https://example.org/h?x=1", "http://127.0.0.1:9/", "http://[::1]:9/"]
)
def test_https_and_http_to_loopback_are_allowed(url: str) -> None:
    require_allowed_url(url)


def test_the_signature_is_the_one_receivers_libraries_make() -> None:
    """The scheme of Standard Webhooks, put together once more by its words."""
    secret = derive_secret(KEY, NONCE)
    made = sign(secret, message_id="event-7", timestamp_s=1700000000, body=b'{"a":1}')
    key = base64.b64decode(secret.split("_")[1])
    wanted = hmac.new(key, b'event-7.1700000000.{"a":1}', hashlib.sha256).digest()
    assert made == "v1," + base64.b64encode(wanted).decode()
    assert derive_secret(b"other", NONCE) != secret


@pytest.mark.parametrize("stamp", ["", "x", "-1000", "1000.0", "9" * 5000, "١٠٠٠"])  # noqa: RUF001 - digits that are none
def test_a_time_stamp_that_is_none_does_not_verify(stamp: str) -> None:
    headers = {"webhook-id": "event-1", "webhook-timestamp": stamp}
    headers["webhook-signature"] = "v1,AAAA"
    with pytest.raises(SignatureInvalidError):
        verify(derive_secret(KEY, NONCE), headers, b"", now_s=1000)


@given(
    body=st.binary(max_size=50),
    other=st.binary(max_size=50),
    skew_s=st.integers(-600, 600),
)
def test_only_the_body_that_was_signed_verifies_and_only_in_time(
    body: bytes, other: bytes, skew_s: int
) -> None:
    secret = derive_secret(KEY, NONCE)
    signature = sign(secret, message_id="event-1", timestamp_s=1000, body=body)
    headers = {
        "webhook-id": "event-1",
        "webhook-timestamp": "1000",
        "webhook-signature": f"v1,AAAA {signature}",
    }
    fits = body == other and abs(skew_s) <= 300
    if fits:
        assert verify(secret, headers, other, now_s=1000 + skew_s) == "event-1"
    else:
        with pytest.raises(SignatureInvalidError):
            verify(secret, headers, other, now_s=1000 + skew_s)
