# SPDX-License-Identifier: Apache-2.0
"""Requests are read strictly and every error is a problem document."""

import logging

import pytest

from hub.config import V1ApiSection
from hub.store import Store
from tests.hub import bookkeeping as books
from tests.hub.api.v1.serving import V1, running_v1
from tests.hub.bookkeeping import ManualClock
from tests.hub.databases import Sqlite


@pytest.fixture
def databases(sqlite: Sqlite) -> Sqlite:
    """One kind of database: none of this depends on it."""
    return sqlite


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "request-malformed"),
        (b"", JSON, 400, "request-malformed"),
        (b"[]", JSON, 400, "request-malformed"),
        (b'{"user_id": 7}', JSON, 400, "request-malformed"),
        (b'{"user_id": "\xff"}', JSON, 400, "request-malformed"),
        (b'{"user_id": "\\ud800"}', JSON, 400, "request-malformed"),
        (b'{"user_id": "a", "odd": 1}', JSON, 400, "request-malformed"),
        (b'{"user_id": "a/b"}', JSON, 400, "request-malformed"),
        (b'{"user_id": ""}', JSON, 400, "request-malformed"),
        (b"[" * 100_000, JSON, 400, "request-malformed"),
        (b'{"user_id": "a"}', {"Content-Type": "text/plain"}, 415, "media-type"),
    ],
)
async def test_a_body_that_is_not_what_was_asked_for_is_a_problem(
    v1: V1, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    reply = await v1.ask(
        "POST", "/v1/users", data=body, headers=headers, idempotency_key="k"
    )
    assert (reply.status, reply.json["code"]) == (status, code)
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert reply.json["type"] == f"api.md#{code}"
    assert reply.json["request_id"] == reply.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/users?limit=0", 400, "request-malformed"),
        ("/v1/users?limit=201", 400, "request-malformed"),
        ("/v1/users?limit=ten", 400, "request-malformed"),
        ("/v1/users?limit=1&limit=2", 400, "request-malformed"),
        ("/v1/users?odd=1", 400, "request-malformed"),
        ("/v1/users?cursor=abc", 400, "cursor-invalid"),
        ("/v1/deposits?state=odd", 400, "request-malformed"),
        ("/v1/events?types=odd", 400, "request-malformed"),
        ("/v1/events?after=-1", 400, "request-malformed"),
        ("/v1/users/nobody", 404, "user-unknown"),
        ("/v1/users/%00", 404, "user-unknown"),
        ("/v1/users/a%2Fb/balances", 404, "user-unknown"),
        ("/v1/deposits/0", 404, "deposit-unknown"),
        ("/v1/deposits/99999999999999999999", 404, "deposit-unknown"),
        ("/v1/deposits/" + "9" * 5000, 404, "deposit-unknown"),
        ("/v1/users?limit=" + "9" * 5000, 400, "request-malformed"),
        ("/v1/users/%ED%A0%80", 404, "user-unknown"),
        ("/v1/users/%FF", 404, "user-unknown"),
        ("/v1/withdrawals?state=%ED%A0%80", 400, "request-malformed"),
        ("/v1/webhooks/" + "%F0%9F%98%80", 404, "webhook-unknown"),
        ("/v1/withdrawals/odd", 404, "withdrawal-unknown"),
        ("/v1/sweeps/odd", 404, "sweep-unknown"),
        ("/v1/api-keys/odd%00", 404, "api-key-unknown"),
        ("/v1/webhooks/odd", 404, "webhook-unknown"),
        ("/v1/addresses/odd", 422, "address-malformed"),
        ("/v1/addresses/" + "9" * 81, 404, "address-unknown"),
        ("/v1/addresses/" + "A" * 90, 422, "checksum-invalid"),
        ("/v1/addresses/" + "M" * 81 + "/spent", 422, "address-ineligible"),
        ("/v1/nothing", 404, "route-unknown"),
        ("/", 404, "route-unknown"),
    ],
)
async def test_a_path_or_query_that_makes_no_sense_is_a_problem(
    v1: V1, path: str, status: int, code: str
) -> None:
    reply = await v1.ask("GET", path)
    assert (reply.status, reply.json["code"]) == (status, code), reply.text


async def test_a_method_that_a_path_does_not_take_is_a_problem(v1: V1) -> None:
    reply = await v1.ask("PUT", "/v1/users")
    assert (reply.status, reply.json["code"]) == (405, "method-not-allowed")
    assert reply.headers["Allow"] == "GET,POST"


@pytest.mark.parametrize(
    ("shown", "taken"),
    [("trace-7", True), ("a b", False), ("x" * 65, False), ("", False)],
)
async def test_a_well_formed_request_id_is_taken_over(
    v1: V1, shown: str, *, taken: bool
) -> None:
    reply = await v1.ask("GET", "/v1/users", headers={"X-Request-Id": shown})
    assert (reply.headers["X-Request-Id"] == shown) is taken


async def test_a_fault_says_that_the_same_may_be_repeated(v1: V1) -> None:
    await books.open_user(v1.store, "ana")
    v1.appliance.away = True
    reply = await v1.ask("POST", "/v1/users/ana/addresses", idempotency_key="k")
    assert (reply.status, reply.json["code"]) == (503, "appliance-unavailable")
    assert (reply.json["retry"], reply.headers["Retry-After"]) == (True, "1")
    v1.appliance.away = False
    reply = await v1.ask("POST", "/v1/users/ana/addresses", idempotency_key="k")
    assert reply.status == 201


async def test_a_defect_is_in_the_log_and_not_in_the_reply(
    v1: V1, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(*_: object, **__: object) -> None:
        message = "inner detail"
        raise ValueError(message)

    monkeypatch.setattr("hub.store.pages.Pages.users", break_down)
    reply = await v1.ask("GET", "/v1/users")
    assert (reply.status, reply.json["code"]) == (500, "hub")
    assert "inner detail" not in reply.text
    assert "inner detail" in caplog.text


async def test_one_log_line_per_request_names_key_and_request_but_no_secret(
    v1: V1, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="hub.api.v1")
    await v1.ask("GET", "/v1/users", headers={"X-Request-Id": "trace-9"})
    (line,) = [r.getMessage() for r in caplog.records if r.name.startswith("hub.api")]
    assert "list-users" in line
    assert "trace-9" in line
    assert v1.key.split("_")[1] in line
    assert v1.key.split("_", 2)[2] not in line


async def test_health_needs_no_key_and_a_small_body_limit_holds(
    store: Store, clock: ManualClock
) -> None:
    section = V1ApiSection(max_body_bytes=64)
    async with running_v1(store, clock, section=section) as v1:
        reply = await v1.ask("GET", "/v1/health", key="")
        assert (reply.status, reply.json) == (200, {"status": "serving"})
        status = await v1.ask("GET", "/v1/status")
        assert status.json["ok"] is True
        reply = await v1.ask(
            "POST", "/v1/users", json={"user_id": "a" * 60}, idempotency_key="k"
        )
        assert reply.status == 413
