# SPDX-License-Identifier: Apache-2.0
"""What the appliance counts and times as it happens, for ``/metrics``.

No label has more values than the code has names: never a hash, an address or a text of
a client. What is counted here is decided elsewhere; nothing reads it back.
"""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
_BUCKETS_S: Final = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

REQUEST_SECONDS: Final = Histogram(
    "saltkeep_appliance_request_seconds",
    "Time of one request, by the type of its reply.",
    ["request", "reply"],
    buckets=_BUCKETS_S,
    registry=REGISTRY,
)
STEP_SECONDS: Final = Histogram(
    "saltkeep_appliance_step_seconds",
    "Time of one step of a request.",
    ["request", "step"],
    buckets=_BUCKETS_S,
    registry=REGISTRY,
)
REFUSALS: Final = Counter(
    "saltkeep_appliance_refusals",
    "Replies that were no result, by their code.",
    ["request", "code"],
    registry=REGISTRY,
)
CHECK_SUCCESS: Final = Gauge(
    "saltkeep_appliance_check_success_timestamp_seconds",
    "When HSM, journal and panel last passed a check.",
    registry=REGISTRY,
)
CHECK_FAILURES: Final = Counter(
    "saltkeep_appliance_check_failures",
    "Checks that did not pass, by the code of what was found.",
    ["code"],
    registry=REGISTRY,
)
SEALS: Final = Counter(
    "saltkeep_appliance_seals",
    "Seals since the start, by their code.",
    ["code"],
    registry=REGISTRY,
)


def answered(
    request: str,
    reply: str,
    *,
    took_s: float,
    code: str,
    steps_ms: Mapping[str, float],
) -> None:
    """Count a request that was answered.

    Args:
        request: Its type.
        reply: The reply's type.
        took_s: How long it took, in seconds.
        code: Of a reply that is no result; else empty.
        steps_ms: What each step took, in milliseconds.
    """
    REQUEST_SECONDS.labels(request, reply).observe(took_s)
    if code:
        REFUSALS.labels(request, code).inc()
    for step, step_ms in steps_ms.items():
        STEP_SECONDS.labels(request, step).observe(step_ms / 1000)
