# SPDX-License-Identifier: Apache-2.0
"""Steps: what the flows open around what they do, and name once they know its name.

    with tracing.step("plan") as planning:
        ...
        planning.about(of_sweep(bundle_hash).made(), *map(of_withdrawal, uuids))

A step inside another is its part. What the outermost one is told says which traces it
belongs to; one that is told nothing leaves no trace.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeAlias

from hub.instruments import code_of
from hub.tracing.subjects import Subject

Attribute: TypeAlias = str | int | float | bool
Attributes: TypeAlias = Mapping[str, Attribute]
_MILLISECOND_NS: Final = 1_000_000
_ID_BYTES: Final = (16, 8)


@dataclass(frozen=True, slots=True)
class Life:
    """A span with times of its own: a wait, or the whole life of a subject.

    Attributes:
        name: What it is.
        subject: Whose trace it belongs to.
        started_ns: Nanoseconds since 1970.
        ended_ns: The same; None: when the step ends that tells of it.
        whole: Whether it is the subject's root span.
        attributes: What else is told.
    """

    name: str
    subject: Subject
    started_ns: int
    ended_ns: int | None
    whole: bool
    attributes: Attributes


class Step:
    """Something being done; use it with ``with``.

    Args:
        name: What it is, such as ``sign``.
        attributes: What is known of it now.
    """

    def __init__(self, name: str, attributes: Attributes) -> None:
        self.name = name
        self.attributes = dict(attributes)
        self.parts: list[Step] = []
        self.subjects: tuple[Subject, ...] = ()
        self.lives: list[Life] = []
        self.client: tuple[bytes, bytes] | None = None
        self.failure = ""
        self.started_ns = self.ended_ns = 0
        self._top = self
        self._ahead_ns = 0
        self._token: Token[Step | None] | None = None

    def __enter__(self) -> Self:
        """Begin it.

        Returns:
            The step, to be told what becomes known.
        """
        outer = _current.get()
        if outer is None:
            self._ahead_ns = time.time_ns() - time.perf_counter_ns()
        else:
            self._top = outer._top  # noqa: SLF001 - of the same class
            outer.parts.append(self)
        self.started_ns = self._now_ns()
        self._token = _current.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it; the outermost one is written."""
        self.ended_ns = self._now_ns()
        if error is not None:
            self.failed(code_of(error))
        if self._token is not None:
            _current.reset(self._token)
        if self._top is self and self.subjects and _sink is not None:
            _sink(self)

    def about(self, principal: Subject, *others: Subject) -> None:
        """Say what it concerns; each gets the step in its own trace.

        Args:
            principal: What the others' spans link to.
            others: What is concerned as well.
        """
        self._top.subjects = (principal, *others)

    def tell(self, **attributes: Attribute) -> None:
        """Add what is known by now: ids, amounts and codes; never a secret."""
        self.attributes |= attributes

    def failed(self, code: str) -> None:
        """Say that it came to nothing: what it told of by now has not happened."""
        self.failure = code
        if self._top is self:
            self.lives.clear()

    def asked_by(self, traceparent: str) -> None:
        """Note the client's own span, which is then linked to.

        Args:
            traceparent: The header; what is no such header is left out.

        Source: W3C Trace Context, 3.2.
        """
        try:
            _, trace, span, _ = traceparent.strip().split("-", 3)
            ids = bytes.fromhex(trace), bytes.fromhex(span)
        except ValueError:
            return
        if (len(ids[0]), len(ids[1])) == _ID_BYTES and any(ids[0]) and any(ids[1]):
            self.client = ids

    def forget(self) -> None:
        """Leave no trace of it: what it would tell was told before."""
        self._top.subjects = ()
        self._top.lives.clear()

    def waited(self, name: str, subject: Subject, *, since_ms: int) -> None:
        """Tell of a wait that ended when the outermost step began.

        Args:
            name: What was waited for.
            subject: What waited.
            since_ms: When it began, milliseconds since 1970.
        """
        ended_ns = self._top.started_ns
        began_ns = min(since_ms * _MILLISECOND_NS, ended_ns)
        wait = Life(name, subject, began_ns, ended_ns, whole=False, attributes={})
        self._tell_of(wait)

    def lived(
        self, name: str, subject: Subject, *, since_ms: int, **attributes: Attribute
    ) -> None:
        """Tell that the life of a subject ends with this step.

        Args:
            name: What it was.
            subject: Whose.
            since_ms: When it began, milliseconds since 1970.
            attributes: What became of it.
        """
        began_ns = since_ms * _MILLISECOND_NS
        life = Life(name, subject, began_ns, None, whole=True, attributes=attributes)
        self._tell_of(life)

    def _tell_of(self, life: Life) -> None:
        """Take a life in; a transaction that is run again tells the same again."""
        lives = self._top.lives
        lives[:] = [
            one for one in lives if (one.name, one.subject) != (life.name, life.subject)
        ]
        lives.append(life)

    def lay(self, steps_ms: Mapping[str, float], **attributes: Attribute) -> None:
        """Lay what a peer says it did, end to end, into the middle of this step.

        Half of the time that its steps do not explain lies before them and half
        behind: no clock of the peer is believed.

        Args:
            steps_ms: What each took there, in milliseconds, in their order.
            attributes: Of each.
        """
        now_ns = self._now_ns()
        took_ns = int(sum(steps_ms.values()) * _MILLISECOND_NS)
        at_ns = self.started_ns + max(now_ns - self.started_ns - took_ns, 0) // 2
        for name, took_ms in steps_ms.items():
            part = Step(name, attributes)
            part.started_ns = min(at_ns, now_ns)
            at_ns += int(took_ms * _MILLISECOND_NS)
            part.ended_ns = min(at_ns, now_ns)
            self.parts.append(part)

    def _now_ns(self) -> int:
        return time.perf_counter_ns() + self._top._ahead_ns  # noqa: SLF001


class _Silent(Step):
    """Stands for every step while nothing is traced."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def about(self, principal: Subject, *others: Subject) -> None:
        pass

    def tell(self, **attributes: Attribute) -> None:
        pass

    def failed(self, code: str) -> None:
        pass

    def asked_by(self, traceparent: str) -> None:
        pass

    def forget(self) -> None:
        pass

    def waited(self, name: str, subject: Subject, *, since_ms: int) -> None:
        pass

    def lived(
        self, name: str, subject: Subject, *, since_ms: int, **attributes: Attribute
    ) -> None:
        pass

    def lay(self, steps_ms: Mapping[str, float], **attributes: Attribute) -> None:
        pass


_SILENT: Final = _Silent("", {})
_current: ContextVar[Step | None] = ContextVar("step", default=None)
_sink: Callable[[Step], None] | None = None


def step(name: str, **attributes: Attribute) -> Step:
    """Begin a step; one comparison while nothing is traced.

    Args:
        name: What it is.
        attributes: What is known of it now.

    Returns:
        The step; use it with ``with``.
    """
    return _SILENT if _sink is None else Step(name, attributes)


def current() -> Step:
    """Return the step under way; outside of any, one that hears nothing."""
    return _current.get() or _SILENT


def is_on() -> bool:
    """Say whether anything is traced: for what costs a query to tell."""
    return _sink is not None


@contextmanager
def writing_to(sink: Callable[[Step], None]) -> Iterator[None]:
    """Give every outermost step that concerns something to a sink, for the block.

    Args:
        sink: Called at a step's end, on the loop: must not block nor raise.

    Yields:
        Nothing; log records name the trace meanwhile.
    """
    global _sink  # noqa: PLW0603 - one for the process, like the log
    _sink = sink
    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(_name_trace)
    try:
        yield
    finally:
        _sink = None
        for handler in handlers:
            handler.removeFilter(_name_trace)


def _name_trace(record: logging.LogRecord) -> bool:
    under_way = _current.get()
    if under_way is not None and under_way._top.subjects:  # noqa: SLF001
        record.trace_id = under_way._top.subjects[0].trace_id.hex()  # noqa: SLF001
    return True
