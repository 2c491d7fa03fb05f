# SPDX-License-Identifier: Apache-2.0
"""Find out what a token can do and whether keys can be got out of it.

Each check runs in a worker process of its own with a deadline
(``probe_checks``); this module logs in first, once and carefully, collects what was
found, judges the whole, and turns it into a profile. A PIN that the token refuses
ends everything and leaves the latch that bars every further login.
"""

import datetime as dt
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import msgspec

from appliance.hsm import Hsm, TokenInfo
from appliance.probe_checks import CHECKS, KINDS
from hsm_profiles import MACS, WRAPS, Fact, HsmProfile, MacMechanism

Outcome = Literal["yes", "no", "withstood", "warning", "unsafe", "untried"]
_LABEL_BYTES: Final = 4
_PROBED: Final = ("keys", "wrap", "mac", "identity", "random", "production")


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: Of ``CHECKS``.
        outcome: ``yes`` or ``no`` for what a token can do; for the attacks
            ``withstood``, ``warning``, ``unsafe``, or ``untried``.
        detail: In words.
        more: What a profile needs of it.
    """

    name: str
    outcome: Outcome
    detail: str
    more: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe found.

    Attributes:
        token: What the token says of itself.
        module: Path of the module.
        module_sha256: Its digest.
        profile: Of which profile.
        date: When.
        checks: In the order made.
        left: Objects that could not be destroyed.
    """

    token: TokenInfo
    module: str
    module_sha256: str
    profile: str
    date: dt.date
    checks: tuple[Check, ...]
    left: int

    @property
    def verdict(self) -> tuple[Outcome, str]:
        """The worst of the attack checks on keys the token makes, and why."""
        return verdict_of(self.checks)


def verdict_of(checks: tuple[Check, ...]) -> tuple[Outcome, str]:
    """Judge the attacks together.

    Args:
        checks: All of them.

    Returns:
        ``unsafe`` if any got a key out, or a key was not made as asked for, or random
        bytes repeat; ``untried`` if one could not be made on a kind of key that the
        token makes, or it makes none; else ``warning`` or ``withstood``.
    """
    found = {check.name: check for check in checks}
    for check in checks:
        if check.more.get("broken") and check.name.startswith(("make ", "random")):
            return "unsafe", f"{check.name}: {check.detail}"
    made = [kind for kind in KINDS if found[f"make {kind}"].outcome == "yes"]
    attacks = [found[f"keep {kind}"] for kind in made]
    for outcome in ("unsafe", "untried", "warning"):
        for attack in attacks:
            # "no" of a kind that the token makes: the attempts were never made
            if {"no": "untried"}.get(attack.outcome, attack.outcome) == outcome:
                return cast("Outcome", outcome), f"{attack.name}: {attack.detail}"
    if not attacks:
        return "untried", "the token made no key"
    return "withstood", f"attacks on {', '.join(made)} keys refused"


def run_probe(
    hsm: Hsm, *, module: str, today: dt.date, tell: Callable[[str], None]
) -> Probed:
    """Make every check.

    Args:
        hsm: Of the token, ``careful``; nothing was called yet.
        module: Path of its module.
        today: The date, for the facts.
        tell: Is told the name of each check before it is made.

    Returns:
        What was found. ``PinRefusedError`` and ``HsmError`` of the login pass.
    """
    token = hsm.info
    prefix = f"probe-{secrets.token_hex(_LABEL_BYTES)}"
    checks: list[Check] = []
    left = 0
    try:
        for name in CHECKS:
            tell(name)
            checks.append(_check(hsm, name, prefix))
    finally:
        hsm.probe("clean", prefix=prefix)
        left = int(hsm.probe("clean", prefix=prefix).get("left", 0))
    return Probed(
        token,
        module,
        hashlib.sha256(Path(module).read_bytes()).hexdigest(),
        hsm.profile.id,
        today,
        tuple(checks),
        left,
    )


def _check(hsm: Hsm, name: str, prefix: str) -> Check:
    found = hsm.probe(name, prefix=prefix)
    outcome, detail = found.pop("outcome"), found.pop("detail")
    if name.startswith("keep ") and found.get("broken"):
        outcome = "untried"  # a worker that died has withstood nothing
    return Check(name, outcome, detail, found)


def as_profile(probed: Probed, base: HsmProfile) -> HsmProfile:
    """Write what was found into a profile.

    Args:
        probed: What was found.
        base: The profile probed with; what no check looks at stays.

    Returns:
        The profile; its facts say what was tried.
    """
    found = {check.name: check for check in probed.checks}
    works = {name for name, check in found.items() if check.outcome == "yes"}
    wraps = [one for one in WRAPS if f"wrap {one}" in works]
    mac: MacMechanism = next((one for one in MACS if f"mac {one}" in works), MACS[-1])
    replace = msgspec.structs.replace
    outcome, reason = probed.verdict
    worth = {
        "unsafe": "unsafe",
        "untried": "untried",
        "warning": "accepted",
        "withstood": "accepted",
    }[outcome]
    if worth == "accepted" and base.production == "software":
        worth = "software"
    return replace(
        base,
        id=f"{base.id}-probed",
        production=worth,
        production_reason=f"Probed: {outcome}: {reason}.",
        keys=replace(base.keys, omit=_omit(found)),
        wrap=replace(base.wrap, mechanisms=wraps),
        mac=replace(
            base.mac,
            mechanism=mac,
            input=found[f"mac {mac}"].more.get("input", "sha256"),
        ),
        identity=replace(
            base.identity, mechanism="es256" if "identity es256" in works else "none"
        ),
        random=replace(
            base.random,
            chunk_bytes=found["random"].more.get("chunk", base.random.chunk_bytes),
        ),
        facts=_facts(probed, base),
    )


def _omit(found: dict[str, Check]) -> dict[str, Any]:
    omit: dict[str, Any] = {}
    for kind in KINDS:
        omit |= found[f"make {kind}"].more.get("omit", {})
    return omit


def _facts(probed: Probed, base: HsmProfile) -> dict[str, Fact]:
    """Keep the facts of what was not probed; the others are of today."""
    token = probed.token
    source = (
        f"saltkeep-appliance probe: {token.maker} {token.model}, firmware"
        f" {token.firmware}, module sha256 {probed.module_sha256[:16]}…"
    )
    kept = {
        name: fact
        for name, fact in base.facts.items()
        if name.partition(".")[0] not in _PROBED
    }
    return kept | {
        name: Fact(source=source, checked=probed.date, tried=True) for name in _PROBED
    }
