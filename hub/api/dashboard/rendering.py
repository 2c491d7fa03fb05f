# SPDX-License-Identifier: Apache-2.0
"""Templates, and the few ways in which values become text.

Everything is escaped; a name that a template misspells is an error. No page holds a
script, a style or an attribute of either: the content security policy allows neither.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hub.api.dashboard.visits import Visit
from hub.operators import Role

FOLDER: Final = Path(__file__).parent
_KILO: Final = 1000
_SHORT_HEAD: Final = 9
_SHORT_TAIL: Final = 5
_AGES: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
TONES: Final = {
    **dict.fromkeys(("confirmed", "credited", "ready", "ok", "held"), "good"),
    **dict.fromkeys(("signed", "attached", "planned", "paid", "starting"), "going"),
    **dict.fromkeys(
        ("requested", "awaiting-approval", "awaiting-authorisation", "reserved"),
        "waits",
    ),
    **dict.fromkeys(
        ("refused", "quarantined", "sealed", "away", "latched", "unready", "behind"),
        "bad",
    ),
}
"""How a state is to be met; every other one is neither good nor bad."""


def in_units(amount_i: int) -> str:
    """Write an amount in the largest unit that keeps it above one.

    Args:
        amount_i: Iota.

    Returns:
        At most four figures and a unit, such as ``1.25 Gi``; rounded towards zero.
    """
    sign = "-" if amount_i < 0 else ""
    size, whole = 0, abs(amount_i)
    while whole >= _KILO ** (size + 1) and size < len("KMGTP"):
        size += 1
    unit = ("", "K", "M", "G", "T", "P")[size]
    hundredths = whole * 100 // _KILO**size
    text = f"{hundredths // 100:,}"
    if hundredths % 100:
        text += f".{hundredths % 100:02}".rstrip("0")
    return f"{sign}{text} {unit}i"


def grouped(amount: int) -> str:
    """Write a whole number with its thousands apart."""
    return f"{amount:,}"


def shortened(text: str) -> str:
    """Leave out the middle of a long text, so that both ends can be compared."""
    if len(text) <= _SHORT_HEAD + _SHORT_TAIL + 1:
        return text
    return f"{text[:_SHORT_HEAD]}…{text[-_SHORT_TAIL:]}"


def exact(at_ms: int) -> str:
    """Write a time to the second, in UTC."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def machine(at_ms: int) -> str:
    """Write a time as HTML's ``datetime`` takes it."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def lasting(span_ms: int) -> str:
    """Write how long something lasts, in one unit."""
    span_s = max(0, span_ms) // 1000
    for size, unit in _AGES:
        if span_s >= size:
            return f"{span_s // size} {unit}"
    return "0 s"


def ago(at_ms: int, now_ms: int) -> str:
    """Write how long ago, or in how long, something is."""
    if at_ms > now_ms:
        return f"in {lasting(at_ms - now_ms)}"
    return f"{lasting(now_ms - at_ms)} ago"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that every page may use.

    Attributes:
        name: Of the file.
        body: Its bytes.
        media_type: What it is.
        version: Names these bytes.
    """

    name: str
    body: bytes
    media_type: str
    version: str


def static_files() -> dict[str, StaticFile]:
    """Read the style sheet, the script and the icon."""
    types = {
        "dashboard.css": "text/css",
        "dashboard.js": "text/javascript",
        "icon.svg": "image/svg+xml",
    }
    found = {}
    for name, media_type in types.items():
        body = (FOLDER / "static" / name).read_bytes()
        version = hashlib.sha256(body).hexdigest()[:12]
        found[name] = StaticFile(name, body, media_type, version)
    return found


class Pages:
    """Fills templates.

    Args:
        network: Shown on every page: nobody mistakes a test network.
        files: What pages refer to.
    """

    def __init__(self, *, network: str, files: dict[str, StaticFile]) -> None:
        self._network = network
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "units": in_units,
            "grouped": grouped,
            "short": shortened,
            "exact": exact,
            "machine": machine,
            "lasting": lasting,
            # Jinja's own leaves slashes, which would be another path.
            "urlencode": lambda text: quote(text, safe=""),
        }
        self._environment.globals |= {
            "ago": ago,
            "tone": lambda word: TONES.get(word, "plain"),
            "static": {
                one.name: f"{one.name}?v={one.version}" for one in files.values()
            },
        }

    def show(
        self,
        template: str,
        visit: Visit | None,
        *,
        title: str,
        path: str,
        status: int = 200,
        **values: Any,  # noqa: ANN401 - what the template asks for
    ) -> web.Response:
        """Answer with a page.

        Args:
            template: Its file, without the ending.
            visit: Whose; None: a stranger's.
            title: Of the page.
            path: Where it is, to mark it in the menu.
            status: Of the reply.
            **values: What the template names.

        Returns:
            The reply.
        """
        text = self._environment.get_template(f"{template}.html").render(
            visit=visit,
            title=title,
            path=path,
            network=self._network,
            now_ms=visit.now_ms if visit else 0,
            is_operator=visit is not None and visit.operator.role.may(Role.OPERATOR),
            is_admin=visit is not None and visit.operator.role.may(Role.ADMIN),
            **values,
        )
        return web.Response(text=text, status=status, content_type="text/html")
