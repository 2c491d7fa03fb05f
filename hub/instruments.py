# SPDX-License-Identifier: Apache-2.0
"""What this process counts and times as it happens, for ``/metrics``.

One registry for the process, like the log: whoever does something observes it here,
and nobody reads it back but the scrape. No label has more values than the code has
names: never a user, an address or a text of a client.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

from hub.errors import HubError, RefusedError

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
_FAST_S: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
)
_SLOW_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

REQUEST_SECONDS: Final = Histogram(
    "saltkeep_hub_request_seconds",
    "Time to answer a request. Outcome: ok, refused (the caller's fault), fault.",
    ["api", "operation", "outcome"],
    buckets=_FAST_S,
    registry=REGISTRY,
)
REFUSALS: Final = Counter(
    "saltkeep_hub_refusals",
    "Requests that were not done, by error code.",
    ["api", "code"],
    registry=REGISTRY,
)
ROUND_SECONDS: Final = Histogram(
    "saltkeep_hub_round_seconds",
    "Time of one round of a flow. Outcome: ok or fault.",
    ["flow", "outcome"],
    buckets=_SLOW_S,
    registry=REGISTRY,
)
ROUND_SUCCESS: Final = Gauge(
    "saltkeep_hub_round_success_timestamp_seconds",
    "When a flow last ended a round well on this hub.",
    ["flow"],
    registry=REGISTRY,
)
APPLIANCE_SECONDS: Final = Histogram(
    "saltkeep_hub_appliance_request_seconds",
    "Time of one request to an appliance. Outcome: the reply's type, or no-answer.",
    ["appliance", "request", "outcome"],
    buckets=_SLOW_S,
    registry=REGISTRY,
)
APPLIANCE_STEP_SECONDS: Final = Histogram(
    "saltkeep_hub_appliance_step_seconds",
    "Time of one step inside the appliance, as its reply tells.",
    ["request", "step"],
    buckets=_FAST_S,
    registry=REGISTRY,
)
APPLIANCE_REFUSALS: Final = Counter(
    "saltkeep_hub_appliance_refusals",
    "Replies of an appliance that were no result, by their code.",
    ["request", "code"],
    registry=REGISTRY,
)
SPANS: Final = Counter(
    "saltkeep_hub_trace_spans",
    "Spans by what became of them: sent, queue-full or not-taken (lost, both).",
    ["outcome"],
    registry=REGISTRY,
)


def outcome_of(error: BaseException | None) -> str:
    """Say in a word how something ended.

    Args:
        error: What it raised; None: nothing.

    Returns:
        ``ok``, ``refused`` or ``fault``.
    """
    if error is None:
        return "ok"
    return "refused" if isinstance(error, RefusedError) else "fault"


def answered(
    api: str, operation: str, *, took_s: float, error: HubError | Exception | None
) -> None:
    """Count a request that was answered.

    Args:
        api: ``legacy``, ``grpc`` or ``v1``.
        operation: Its name, one of the API's own.
        took_s: How long it took, in seconds.
        error: Why it was not done; None: it was.
    """
    outcome = outcome_of(error)
    REQUEST_SECONDS.labels(api, operation, outcome).observe(took_s)
    if error is not None:
        REFUSALS.labels(api, code_of(error)).inc()


def code_of(error: BaseException) -> str:
    """Return the code of an error, one of ours or any other."""
    return error.code if isinstance(error, HubError) else HubError.code


@contextlib.contextmanager
def timed_round(flow: str) -> Iterator[None]:
    """Time the block as one round of a flow; an exception passes through."""
    started_s = time.perf_counter()
    outcome = "fault"
    try:
        yield
        outcome = "ok"
        ROUND_SUCCESS.labels(flow).set_to_current_time()
    finally:
        ROUND_SECONDS.labels(flow, outcome).observe(time.perf_counter() - started_s)


@dataclass(slots=True)
class ApplianceRequest:
    """One request under way.

    Attributes:
        appliance: Its URL.
        request: The kind of request.
        outcome: What came of it; set it before the block ends.
    """

    appliance: str
    request: str
    outcome: str = "no-answer"

    def replied(self, kind: str, *, code: str, steps_ms: dict[str, float]) -> None:
        """Take in a reply.

        Args:
            kind: Its type.
            code: Of a reply that is no result; else empty.
            steps_ms: What each step took there, in milliseconds.
        """
        self.outcome = kind
        if code:
            APPLIANCE_REFUSALS.labels(self.request, code).inc()
        for step, took_ms in steps_ms.items():
            APPLIANCE_STEP_SECONDS.labels(self.request, step).observe(took_ms / 1000)


@contextlib.contextmanager
def timed_appliance(appliance: str, request: str) -> Iterator[ApplianceRequest]:
    """Time the block as one request to an appliance.

    Yields:
        Where to say what came of it.
    """
    started_s = time.perf_counter()
    made = ApplianceRequest(appliance, request)
    try:
        yield made
    finally:
        took_s = time.perf_counter() - started_s
        labels = (made.appliance, made.request, made.outcome)
        APPLIANCE_SECONDS.labels(*labels).observe(took_s)
