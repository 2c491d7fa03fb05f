# SPDX-License-Identifier: Apache-2.0
"""The way to the collector: a bounded queue, a thread, and OpenTelemetry's exporter.

The only module that imports OpenTelemetry, and it is imported only where ``[tracing]``
names a collector. A flow adds to the queue and goes on; what does not fit, and what no
collector takes, is counted and lost.
"""

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from hub.config import TracingSection, read_secret
from hub.instruments import SPANS
from hub.tracing.spans import Span, spans_of
from hub.tracing.steps import Step, writing_to

_BATCH: Final = 256
_PAUSE_S: Final = 1.0
"""Longest that a span waits for others to be sent with, in seconds."""
_LEAVE_S: Final = 3.0
"""How long a hub that stops waits for its last spans, in seconds."""
_SPAN_BYTES: Final = 8


class Mailbox(SpanProcessor):
    """Takes spans from the loop and sends them from a thread of its own.

    Args:
        exporter: Sends a batch, and blocks meanwhile.
        room: Spans that may wait; more are lost.
    """

    def __init__(self, exporter: OTLPSpanExporter, *, room: int) -> None:
        self._exporter = exporter
        self._room = room
        self._waiting: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span; never blocks."""
        if len(self._waiting) >= self._room:
            SPANS.labels("queue-full").inc()
            return
        self._waiting.append(span)
        if len(self._waiting) >= _BATCH:
            self._wake.set()

    def shutdown(self) -> None:
        """Send what waits, for a few seconds at most; the rest is lost."""
        self._ending.set()
        self._wake.set()
        self._thread.join(_LEAVE_S)
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # ends a retry
        self._thread.join(_LEAVE_S)
        SPANS.labels("not-taken").inc(len(self._waiting))

    def _work(self) -> None:
        while self._waiting or not self._ending.is_set():
            if len(self._waiting) < _BATCH:
                self._wake.wait(_PAUSE_S)
                self._wake.clear()
            count = min(len(self._waiting), _BATCH)
            batch = [self._waiting.popleft() for _ in range(count)]
            if batch:
                sent = self._exporter.export(batch) is SpanExportResult.SUCCESS
                SPANS.labels("sent" if sent else "not-taken").inc(len(batch))


class _GivenIds(IdGenerator):
    """Hands out the ids of the span about to be made."""

    def __init__(self) -> None:
        self.trace_id = self.span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class Writer:
    """Writes steps as OpenTelemetry spans, on the loop's thread alone.

    Args:
        section: The configuration.
        mailbox: What takes the spans.
    """

    def __init__(self, section: TracingSection, mailbox: SpanProcessor) -> None:
        self._ratio = section.sample
        self._ids = _GivenIds()
        resource = Resource(
            {
                "service.name": section.service_name,
                "service.version": version("saltkeep"),
            }
        )
        self.provider = TracerProvider(
            sampler=ALWAYS_ON,  # asked only for traces that are kept
            resource=resource,
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(mailbox)
        self._tracer = self.provider.get_tracer("saltkeep.hub")

    def write(self, step: Step) -> None:
        """Write a step that has ended.

        Args:
            step: The outermost one.
        """
        for span in spans_of(step, ratio=self._ratio, fresh_id=_fresh_id):
            self._write(span)

    def _write(self, span: Span) -> None:
        self._ids.trace_id = int.from_bytes(span.trace_id, "big")
        self._ids.span_id = int.from_bytes(span.span_id, "big")
        made = self._tracer.start_span(
            span.name,
            context=_within(span),
            kind=_kind_of(span),
            attributes=span.attributes,
            links=[trace.Link(_named(*ids)) for ids in span.links],
            start_time=span.started_ns,
        )
        if span.failure:
            made.set_status(trace.StatusCode.ERROR, span.failure)
        made.end(max(span.ended_ns, span.started_ns))


@asynccontextmanager
async def exporting(section: TracingSection) -> AsyncGenerator[None]:
    """Send what is traced to a collector for the block.

    Args:
        section: Names the collector.

    Yields:
        Nothing.
    """
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    token = section.token_file and read_secret(section.token_file)
    exporter = OTLPSpanExporter(
        endpoint=section.endpoint,
        certificate_file=_text(section.ca),
        client_certificate_file=_text(section.tls_certificate),
        client_key_file=_text(section.tls_key),
        headers={"authorization": f"Bearer {token}"} if token else {},
        timeout=section.timeout_s,
        compression=Compression.Gzip,
    )
    writer = Writer(section, Mailbox(exporter, room=section.queue))
    try:
        with writing_to(writer.write):
            yield
    finally:
        await asyncio.to_thread(writer.provider.shutdown)


def _within(span: Span) -> Context:
    empty = Context()
    if span.parent_id is None:
        return empty
    parent = trace.NonRecordingSpan(_named(span.trace_id, span.parent_id))
    return trace.set_span_in_context(parent, empty)


def _named(trace_id: bytes, span_id: bytes) -> trace.SpanContext:
    return trace.SpanContext(
        int.from_bytes(trace_id, "big"),
        int.from_bytes(span_id, "big"),
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )


def _kind_of(span: Span) -> trace.SpanKind:
    kinds = {"request": trace.SpanKind.SERVER, "ask appliance": trace.SpanKind.CLIENT}
    return kinds.get(span.name, trace.SpanKind.INTERNAL)


def _fresh_id() -> bytes:
    return os.urandom(_SPAN_BYTES)


def _text(path: object) -> str | None:
    return None if path is None else str(path)
