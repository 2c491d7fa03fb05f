# SPDX-License-Identifier: Apache-2.0
"""Traces: every step of a withdrawal and of a sweep, with its time.

Read ``subjects`` (what a trace is about, and its ids), ``steps`` (how the flows say
what they do), ``spans`` (a step becomes spans of each trace it concerns), ``otlp``
(queue, thread and collector; alone in importing OpenTelemetry).

A withdrawal lives for minutes, over several hubs and restarts. So the ids of its trace
are derived from its UUID and not carried: every process adds to the same trace without
asking. Like the log and the metrics there is one for the process; without ``[tracing]``
a step is one comparison and nothing of OpenTelemetry is loaded.
"""

from contextlib import AbstractAsyncContextManager, nullcontext

from hub.config import TracingSection
from hub.errors import ConfigError
from hub.tracing.steps import Step, current, is_on, step
from hub.tracing.subjects import Subject, of_sweep, of_withdrawal

__all__ = [
    "Step",
    "Subject",
    "current",
    "exporting",
    "is_on",
    "of_sweep",
    "of_withdrawal",
    "step",
]


def exporting(section: TracingSection) -> AbstractAsyncContextManager[None]:
    """Send what is traced to the collector that is configured.

    Args:
        section: The configuration.

    Returns:
        For the time of an ``async with`` block; nothing if there is no collector.

    Raises:
        ConfigError: If OpenTelemetry is not installed.
    """
    if section.endpoint is None:
        return nullcontext()
    try:
        from hub.tracing import otlp  # noqa: PLC0415 - loaded only where it is used
    except ModuleNotFoundError as error:
        message = "[tracing] needs the extra saltkeep[tracing]"
        raise ConfigError(f"{message}: {error.name} is missing") from error
    return otlp.exporting(section)
