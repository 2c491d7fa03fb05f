# SPDX-License-Identifier: Apache-2.0
"""A step becomes spans, in the trace of each subject that it concerns; pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hub.tracing.steps import Attributes, Life, Step
from hub.tracing.subjects import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span, as a collector is told of it.

    Attributes:
        trace_id: 16 bytes.
        span_id: 8 bytes.
        parent_id: 8 bytes; None: it stands beside the root, or is it.
        name: What was done.
        started_ns: Nanoseconds since 1970.
        ended_ns: The same.
        attributes: What is told of it.
        links: Trace and span ids of what it belongs to besides.
        failure: A code; empty: it did what it should.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes | None
    name: str
    started_ns: int
    ended_ns: int
    attributes: Attributes
    links: tuple[tuple[bytes, bytes], ...] = ()
    failure: str = ""


def spans_of(
    step: Step, *, ratio: float, fresh_id: Callable[[], bytes]
) -> Iterator[Span]:
    """Write a step that has ended.

    Args:
        step: The outermost one.
        ratio: Of the traces that are kept.
        fresh_id: Draws the id of a span, 8 bytes.

    Yields:
        Its spans and those of its parts, and of the lives it told of.
    """
    principal, *others = step.subjects
    named = (principal.trace_id, principal.root_id)
    client = () if step.client is None else (step.client,)
    for subject in (principal, *others):
        if not subject.is_sampled(ratio):
            continue
        links = client if subject is principal else (named, *client)
        parent = None if subject.beside else subject.root_id
        yield from _tree(step, subject, parent, links=links, fresh_id=fresh_id)
    for life in step.lives:
        if life.subject.is_sampled(ratio):
            yield _life(life, step, fresh_id)


def _tree(
    step: Step,
    subject: Subject,
    parent_id: bytes | None,
    *,
    links: tuple[tuple[bytes, bytes], ...],
    fresh_id: Callable[[], bytes],
) -> Iterator[Span]:
    span_id = fresh_id()
    yield Span(
        trace_id=subject.trace_id,
        span_id=span_id,
        parent_id=parent_id,
        name=step.name,
        started_ns=step.started_ns,
        ended_ns=step.ended_ns,
        attributes={**subject.attributes, **step.attributes},
        links=links,
        failure=step.failure,
    )
    for part in step.parts:
        yield from _tree(part, subject, span_id, links=(), fresh_id=fresh_id)


def _life(life: Life, step: Step, fresh_id: Callable[[], bytes]) -> Span:
    subject = life.subject
    return Span(
        trace_id=subject.trace_id,
        span_id=subject.root_id if life.whole else fresh_id(),
        parent_id=None if life.whole else subject.root_id,
        name=life.name,
        started_ns=life.started_ns,
        ended_ns=step.ended_ns if life.ended_ns is None else life.ended_ns,
        attributes={**subject.attributes, **life.attributes},
    )
