# SPDX-License-Identifier: Apache-2.0
"""A ``/v1`` listener on a real socket, over simulated appliance and nodes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer

from hub.api.v1.app import Ports, build_app
from hub.api_keys import Scope, digest_of, make_key
from hub.client import HubClient
from hub.clock import Clock
from hub.config import V1ApiSection
from hub.explainer import Explainer
from hub.explanation import ApplianceSeen
from hub.publisher import Publisher
from hub.store import Store
from hub.withdrawal_rules import NO_RULES, WithdrawalRules
from tests.hub.api.ports import SimulatedAppliance, SimulatedNodes
from tests.hub.bookkeeping import ManualClock


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str
    json: Any


@dataclass
class V1:
    """What a test needs of a running listener."""

    url: str
    store: Store
    appliance: SimulatedAppliance
    nodes: SimulatedNodes
    publisher: Publisher
    session: aiohttp.ClientSession
    key: str = ""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        idempotency_key: str | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,  # noqa: ANN401 - aiohttp's own
    ) -> Reply:
        sent = dict(headers or {})
        shown = self.key if key is None else key
        if shown:
            sent.setdefault("Authorization", f"Bearer {shown}")
        if idempotency_key is not None:
            sent["Idempotency-Key"] = idempotency_key
        async with self.session.request(
            method, self.url + path, headers=sent, **options
        ) as reply:
            text = await reply.text()
            json = await reply.json(content_type=None) if text else None
            return Reply(reply.status, reply.headers, text, json)

    def client(self) -> HubClient:
        return HubClient(self.url, self.key)


async def add_key(
    store: Store, *scopes: Scope, expires_at_ms: int | None = None
) -> str:
    fresh = make_key()
    await store.run(
        lambda tx: tx.api_keys.add(
            fresh.key_id,
            name="a test's",
            digest=digest_of(fresh.text),
            scopes=scopes,
            expires_at_ms=expires_at_ms,
        )
    )
    return fresh.text


class NothingSeen:
    """Nobody has looked at nodes and appliances."""

    nodes = None
    appliances: tuple[ApplianceSeen, ...] = ()


def explainer_of(
    store: Store, clock: Clock, *, rules: WithdrawalRules = NO_RULES
) -> Explainer:
    return Explainer(
        store, NothingSeen(), rules=rules, sweep_interval_ms=600_000, clock=clock
    )


async def ready() -> str:
    return "ready"


async def synced() -> None:
    pass


@asynccontextmanager
async def running_v1(
    store: Store,
    clock: Clock,
    *,
    section: V1ApiSection | None = None,
    scopes: Iterable[Scope] = Scope,
    rules: WithdrawalRules = NO_RULES,
    port: int | None = None,
) -> AsyncGenerator[V1]:
    appliance, nodes = SimulatedAppliance(), SimulatedNodes()
    publisher = Publisher(store, interval_s=0.05)
    ports = Ports(
        store=store,
        issuer=appliance,
        oracle=nodes,
        publisher=publisher,
        appliance=ready,
        nodes=synced,
        node_health=list,
        rules=rules,
        clock=clock,
        explainer=explainer_of(store, clock, rules=rules),
    )
    section = section or V1ApiSection(burst=10_000)
    server = TestServer(build_app(section, ports), port=port, skip_url_asserts=True)
    key = await add_key(store, *scopes)
    async with server, aiohttp.ClientSession() as session:
        url = str(server.make_url("")).rstrip("/")
        publishing = asyncio.create_task(_publish(publisher))
        try:
            yield V1(url, store, appliance, nodes, publisher, session, key)
        finally:
            publishing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await publishing


async def _publish(publisher: Publisher) -> None:
    while True:
        await publisher.tick()


def ports_of(v1: V1) -> Ports:
    return Ports(
        store=v1.store,
        issuer=v1.appliance,
        oracle=v1.nodes,
        publisher=v1.publisher,
        appliance=ready,
        nodes=synced,
        node_health=list,
        rules=NO_RULES,
        clock=ManualClock(),
        explainer=explainer_of(v1.store, ManualClock()),
    )
