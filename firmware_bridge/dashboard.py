# SPDX-License-Identifier: Apache-2.0
"""A panel at a glance, in a terminal."""

from collections import deque
from typing import Final

from rich.console import Group
from rich.panel import Panel as Box
from rich.table import Table
from rich.text import Text

from firmware_bridge.attestation import Attestation
from firmware_bridge.panel_events import (
    Beat,
    Degraded,
    Lost,
    PanelEvent,
    Switch,
    SwitchMoved,
    TamperSeen,
    must_lock,
)

_KEPT: Final = 8
_SECOND_MS: Final = 1000


def event_fields(event: PanelEvent) -> dict[str, object]:
    """Return an event as plain values, for ``--json``.

    Args:
        event: What the panel told.

    Returns:
        Its name, its fields, and whether an appliance must lock on it.
    """
    fields: dict[str, object] = {"event": type(event).__name__}
    match event:
        case Beat():
            fields |= {
                "uptime_ms": event.uptime_ms,
                "switch": event.switch.name,
                "tamper": int(event.tamper),
                "counter": event.counter,
                "armed": event.armed,
            }
        case TamperSeen():
            fields["latched"] = int(event.latched)
        case SwitchMoved():
            fields["position"] = event.position.name
        case Degraded():
            fields["bad_frames"] = event.bad_frames
        case Lost():
            fields["reason"] = event.reason.value
    return fields | {"must_lock": must_lock(event)}


class Dashboard:
    """What is known of one panel, drawn anew for every event.

    Args:
        attestation: What it proved on connecting.
    """

    def __init__(self, attestation: Attestation) -> None:
        self._attestation = attestation
        self._beat: Beat | None = None
        self._beats = 0
        self._told: deque[str] = deque(maxlen=_KEPT)

    def take(self, event: PanelEvent) -> None:
        """Take note of an event."""
        if isinstance(event, Beat):
            self._beat = event
            self._beats += 1
        else:
            fields = event_fields(event)
            name = fields.pop("event")
            told = ", ".join(f"{key} {value}" for key, value in fields.items())
            self._told.append(f"{name}: {told}")

    def draw(self) -> Group:
        """Draw it.

        Returns:
            Something for rich.
        """
        table = Table.grid(padding=(0, 2))
        for name, value in self._rows():
            table.add_row(Text(name, style="dim"), value)
        told = Text("\n".join(self._told) or "nothing yet")
        return Group(Box(table, title="Panel"), Box(told, title="Told"))

    def _rows(self) -> list[tuple[str, Text]]:
        proved, beat = self._attestation, self._beat
        rows = [
            ("model", Text(f"{proved.model} {proved.version}")),
            ("firmware", Text(proved.firmware_hash.hex()[:16])),
            ("boot", Text(f"{proved.boot_id.hex()[:16]} ({proved.boot_reason.name})")),
        ]
        if beat is not None:
            running = beat.switch is Switch.RUN
            latched = beat.tamper.name or "nothing latched"
            rows += [
                ("switch", _lamp(beat.switch.name, good=running)),
                ("tamper", _lamp(latched, good=not beat.tamper)),
                ("armed", _lamp("yes" if beat.armed else "no", good=beat.armed)),
                ("counter", Text(str(beat.counter))),
                ("uptime", Text(f"{beat.uptime_ms // _SECOND_MS} s")),
                ("heartbeats", Text(str(self._beats))),
            ]
        return rows


def _lamp(text: str, *, good: bool) -> Text:
    return Text(text, style="bold green" if good else "bold red")
