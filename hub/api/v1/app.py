# SPDX-License-Identifier: Apache-2.0
"""Builds ``/v1``: every operation at its place, and the document of them."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from hub.addresses import AddressIssuer, ReadyAddresses, SpentOracle
from hub.api.v1.accounts import AccountOperations
from hub.api.v1.buckets import Allowance
from hub.api.v1.condition import ConditionOperations
from hub.api.v1.endpoints import EndpointOperations
from hub.api.v1.explanations import Explainer, ExplanationOperations
from hub.api.v1.gate import Gate
from hub.api.v1.history import HistoryOperations
from hub.api.v1.keys import KeyOperations
from hub.api.v1.openapi import document
from hub.api.v1.operations import Operation
from hub.api.v1.payments import PaymentOperations
from hub.api.v1.serving import Serving, tell
from hub.api.v1.stream import StreamOperations
from hub.clock import Clock
from hub.config import V1ApiSection
from hub.node_health import NodeHealth
from hub.publisher import Publisher
from hub.store import Store
from hub.withdrawal_rules import NO_RULES, WithdrawalRules

DOCUMENT_PATH: Final = "/v1/openapi.json"
_MILLISECONDS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the API asks of the rest of the hub.

    Attributes:
        store: The database.
        issuer: The appliance.
        oracle: The nodes.
        ready: Addresses kept ready, if any are.
        publisher: Gives events their positions; its loop runs elsewhere.
        appliance: Says in a word how the appliance is.
        nodes: Raises when no quorum of nodes is synchronised.
        node_health: How each node does.
        rules: What is asked of withdrawals beyond a balance.
        clock: The time.
        explainer: Says why something waits.
    """

    store: Store
    issuer: AddressIssuer
    oracle: SpentOracle
    publisher: Publisher
    appliance: Callable[[], Awaitable[str]]
    nodes: Callable[[], Awaitable[object]]
    node_health: Callable[[], Sequence[NodeHealth]]
    rules: WithdrawalRules
    clock: Clock
    explainer: Explainer
    ready: ReadyAddresses | None = None


def operations(
    section: V1ApiSection, ports: Ports, *, refused: Mapping[str, int]
) -> list[Operation]:
    """List every operation.

    Args:
        section: The configuration.
        ports: The rest of the hub.
        refused: Requests turned away before a key was known, by reason.

    Returns:
        The operations, those with a fixed path before those with a parameter.
    """
    store = ports.store
    stream = StreamOperations(
        store,
        ports.publisher,
        heartbeat_s=section.heartbeat_s,
        stall_s=section.stall_s,
        max_streams=section.max_streams,
    )
    return [
        *ConditionOperations(
            store, ports.appliance, ports.nodes, ports.node_health, refused
        ).operations(),
        *AccountOperations(store, ports.issuer, ports.oracle, ports.ready).operations(),
        *PaymentOperations(store, ports.oracle, ports.rules).operations(),
        *ExplanationOperations(ports.explainer).operations(),
        *stream.operations(),
        *HistoryOperations(store).operations(),
        *KeyOperations(store).operations(),
        *EndpointOperations(store, section.webhook_key_file).operations(),
    ]


def build_app(section: V1ApiSection, ports: Ports) -> web.Application:
    """Build the web application; the caller serves it on ``section.listen``.

    Args:
        section: The configuration, already checked: without TLS it listens on
            loopback only.
        ports: The rest of the hub.

    Returns:
        The application.
    """
    allowance = Allowance(section.rate_per_s, section.burst)
    gate = Gate(ports.store, allowance=allowance, clock=ports.clock)
    serving = Serving(
        ports.store,
        gate,
        publisher=ports.publisher,
        keep_replies_ms=section.keep_replies_s * _MILLISECONDS,
    )
    every = operations(section, ports, refused=gate.refused)
    app = web.Application(client_max_size=section.max_body_bytes, middlewares=[tell])
    for operation in every:
        app.router.add_route(
            operation.method, operation.path, serving.handler(operation)
        )
    text = document_text(document(every))

    async def show_document(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    app.router.add_route("GET", DOCUMENT_PATH, show_document)

    async def end_streams(_app: web.Application) -> None:
        await ports.publisher.close()

    app.on_shutdown.append(end_streams)
    return app


def whole_document() -> dict[str, Any]:
    """Make the document without a hub: it shows the operations, and calls none.

    Returns:
        What every hub of this version serves.
    """
    absent: Any = None
    ports = Ports(
        store=absent,
        issuer=absent,
        oracle=absent,
        publisher=absent,
        appliance=absent,
        nodes=absent,
        node_health=list,
        rules=NO_RULES,
        clock=absent,
        explainer=absent,
    )
    return document(operations(V1ApiSection(), ports, refused={}))


def document_text(made: Mapping[str, Any]) -> str:
    """Write the document as it is checked in and served.

    Args:
        made: The document.

    Returns:
        JSON with a newline at its end.
    """
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"
