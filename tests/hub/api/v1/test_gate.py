# SPDX-License-Identifier: Apache-2.0
"""Who may enter, and what they are told who may not."""

import logging

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from hub.api.v1.app import operations
from hub.api.v1.buckets import Allowance, Buckets
from hub.api.v1.errors import RateLimitedError
from hub.api.v1.problems import STATUSES, status_of
from hub.api_keys import Scope
from hub.config import V1ApiSection
from hub.errors import HubError
from hub.store import Store
from hub.store.schema import metadata
from tests.hub.api.v1.serving import V1, add_key, ports_of, running_v1
from tests.hub.bookkeeping import ManualClock

PARAMETERS = {
    "user_id": "ana",
    "address": "9" * 81,
    "deposit_id": "1",
    "uuid": "11111111-2222-4333-8444-555555555555",
    "bundle_hash": "9" * 81,
    "key_id": "0" * 12,
    "webhook_id": "0" * 16,
}
GUARDED = {
    "create-user": "deposit",
    "list-users": "read",
    "get-user": "read",
    "get-balances": "read",
    "create-address": "deposit",
    "list-addresses": "read",
    "get-address": "read",
    "get-address-spent": "read",
    "create-withdrawal": "withdraw",
    "check-withdrawal": "withdraw",
    "list-withdrawals": "read",
    "get-withdrawal": "read",
    "explain-withdrawal": "read",
    "explain-sweep": "read",
    "cancel-withdrawal": "withdraw",
    "approve-withdrawal": "approve",
    "authorise-withdrawal": "withdraw",
    "create-transfer-batch": "transfer",
    "list-deposits": "read",
    "get-deposit": "read",
    "list-sweeps": "read",
    "get-sweep": "read",
    "get-sweep-trytes": "read",
    "list-events": "read",
    "stream-events": "read",
    "get-status": "read",
    "get-stats": "read",
    "create-api-key": "admin",
    "list-api-keys": "admin",
    "get-api-key": "admin",
    "revoke-api-key": "admin",
    "list-audit": "admin",
    "create-webhook": "admin",
    "list-webhooks": "admin",
    "get-webhook": "admin",
    "delete-webhook": "admin",
    "enable-webhook": "admin",
    "list-deliveries": "admin",
    "redeliver": "admin",
}


async def test_every_operation_needs_exactly_its_scope(v1: V1) -> None:
    keys = {scope: await add_key(v1.store, scope) for scope in Scope}
    found = {}
    for operation in operations(V1ApiSection(), ports_of(v1), refused={}):
        if operation.scope is None:
            continue
        path = operation.path.format(**PARAMETERS)
        # A query that is refused, so that no stream begins.
        codes = {
            scope: (await v1.ask(operation.method, f"{path}?odd=1", key=key)).json
            for scope, key in keys.items()
        }
        entered = [s.value for s, j in codes.items() if j["code"] != "scope-missing"]
        assert len(entered) == 1, operation.name
        found[operation.name] = entered[0]
    assert found == GUARDED


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer x",
        "Basic YTpi",
        "Bearer saltkeep_000000000000_" + "A" * 43,
        "bearer saltkeep_000000000000_" + "A" * 44,
    ],
)
async def test_a_stranger_is_counted_and_never_logged(
    v1: V1, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="hub")
    reply = await v1.ask(
        "GET", "/v1/users", key="", headers={"Authorization": shown} if shown else {}
    )
    assert (reply.status, reply.json["code"]) == (401, "api-key-invalid")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert not [r for r in caplog.records if r.name.startswith("hub.")]
    counted = (await v1.ask("GET", "/v1/stats")).json["refused_before_authentication"]
    assert sum(counted.values()) == 1


async def test_a_changed_expired_or_revoked_key_is_refused(
    v1: V1, clock: ManualClock
) -> None:
    good = await add_key(v1.store, Scope.READ, expires_at_ms=clock.now_ms + 1000)
    assert (await v1.ask("GET", "/v1/users", key=good)).status == 200
    other = good[:-1] + ("A" if good[-1] != "A" else "B")
    assert (await v1.ask("GET", "/v1/users", key=other)).status == 401
    clock.advance(by_ms=1000)
    assert (await v1.ask("GET", "/v1/users", key=good)).status == 401
    made = await v1.ask(
        "POST",
        "/v1/api-keys",
        json={"name": "one", "scopes": ["read"]},
        idempotency_key="k",
    )
    secret, key_id = made.json["secret"], made.json["key"]["key_id"]
    assert (await v1.ask("GET", "/v1/users", key=secret)).status == 200
    await v1.ask("DELETE", f"/v1/api-keys/{key_id}")
    assert (await v1.ask("GET", "/v1/users", key=secret)).status == 401


async def test_a_secret_is_shown_once_and_stored_nowhere(
    v1: V1, database_url: str
) -> None:
    body = {"name": "one", "scopes": ["read"]}
    first, second = [
        await v1.ask("POST", "/v1/api-keys", json=body, idempotency_key="k")
        for _ in range(2)
    ]
    secret = first.json["secret"]
    assert second.json == {"key": first.json["key"], "secret": None}
    text = secret.rpartition("_")[2]
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        for table in metadata.sorted_tables:
            for row in await connection.execute(table.select()):
                assert text not in repr(row)
    await engine.dispose()


async def test_a_key_that_asks_too_often_is_told_to_wait(
    store: Store, clock: ManualClock
) -> None:
    section = V1ApiSection(rate_per_s=0.5, burst=2)
    async with running_v1(store, clock, section=section) as v1:
        statuses = [(await v1.ask("GET", "/v1/users")).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        refused = await v1.ask("GET", "/v1/users")
        assert (refused.json["code"], refused.json["retry"]) == ("rate-limited", True)
        assert refused.headers["Retry-After"] == "2"
        other = await add_key(store, Scope.READ)
        assert (await v1.ask("GET", "/v1/users", key=other)).status == 200
        clock.advance(by_ms=2000)
        assert (await v1.ask("GET", "/v1/users")).status == 200


def test_a_bucket_never_holds_more_than_its_burst_and_no_clock_fools_it() -> None:
    buckets = Buckets(Allowance(rate_per_s=1, burst=3))
    assert [buckets.take("a", now_ms=0) for _ in range(4)] == [0, 0, 0, 1]
    assert buckets.take("a", now_ms=-5000) == 1
    waits = [buckets.take("a", now_ms=3_600_000) for _ in range(4)]
    assert waits == [0, 0, 0, 1]


def every_error(kind: type[HubError] = HubError) -> list[type[HubError]]:
    return [kind, *(e for sub in kind.__subclasses__() for e in every_error(sub))]


def test_every_error_has_a_status_and_its_own_code() -> None:
    ours = [kind for kind in every_error() if kind.__module__.startswith("hub.")]
    codes = [kind.code for kind in ours]
    assert sorted(codes) == sorted(set(codes))
    for kind in ours:
        expected = next(STATUSES[b] for b in kind.__mro__ if b in STATUSES)
        assert status_of(kind) is expected
    assert status_of(RateLimitedError) == 429
    assert status_of(HubError) == 500
