# SPDX-License-Identifier: Apache-2.0
"""A collector that takes OTLP by HTTP, as any other does, and keeps what it is told."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True)
class Told:
    """A span as it came over the wire."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    failure: str

    @property
    def took_ms(self) -> float:
        return (self.ended_ns - self.started_ns) / 1e6


@dataclass
class Collector:
    """What came."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    spans: list[Told] = field(default_factory=list)

    def trace(self, trace_id: bytes) -> list[Told]:
        """Return one trace in the order of its beginnings, the longer first."""
        found = [one for one in self.spans if one.trace_id == trace_id.hex()]
        return sorted(found, key=lambda one: (one.started_ns, -one.ended_ns))

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp unpacks gzip
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        asked = ExportTraceServiceRequest.FromString(body)
        for resource in asked.resource_spans:
            about = _attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_told(one, about["service.name"]) for one in scope.spans]
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


def _told(span: Any, service: str) -> Told:  # noqa: ANN401 - made by protobuf
    return Told(
        service,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        span.status.message,
    )


def _attributes(pairs: Any) -> dict[str, Any]:  # noqa: ANN401 - made by protobuf
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in pairs}


@asynccontextmanager
async def collecting() -> AsyncGenerator[Collector]:
    """Run one."""
    collector = Collector()
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    try:
        yield collector
    finally:
        await runner.cleanup()


def waterfall(spans: list[Told]) -> str:
    """Draw a trace as text: when each span began, how long it took, whose it is."""
    first_ns = min(one.started_ns for one in spans)
    by_id = {one.span_id: one for one in spans}
    lines = []

    def draw(one: Told, depth: int) -> None:
        at_ms = (one.started_ns - first_ns) / 1e6
        where = one.attributes.get("peer", "")
        whose = "appliance" if where == "appliance" else one.service
        name = "  " * depth + one.name
        lines.append(f"{name:<32}{at_ms:>10.1f}{one.took_ms:>10.1f}  {whose}")
        for child in spans:
            if child.parent_id == one.span_id:
                draw(child, depth + 1)

    for one in spans:
        if one.parent_id not in by_id:
            draw(one, 0)
    return "\n".join(lines)
