# SPDX-License-Identifier: Apache-2.0
"""Checks of an appliance's host: files, memory, clock, disk, HSM, panel.

They ask no running daemon and tell no secret. The HSM is asked as the daemon asks it:
by the same PIN, never where a refused one has left its latch; and a PIN that it refuses
now leaves that latch, which is all they may change.
"""

import ctypes
import datetime as dt
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from appliance.config import Config
from appliance.errors import ApplianceError
from appliance.installation import Paths, open_hsm
from appliance.vault import Vault
from channel.findings import (
    Finding,
    Level,
    check_certificate,
    check_disk,
    check_private,
)

_SPARE_BYTES: Final = 8 << 20
"""Salts, seeds and keys besides Argon2's arenas."""
_TIMEX_BYTES: Final = 512
_TIME_ERROR: Final = 5  # Source: adjtimex(2): the clock is not synchronised


def examine(config: Config, *, now: dt.datetime, hsm: bool) -> list[Finding]:
    """Run every check.

    Args:
        config: The appliance's configuration.
        now: The time, with its zone.
        hsm: Whether to log in to the HSM and open the vault with it.

    Returns:
        What was found.
    """
    return [
        *_files(config, now=now),
        check_disk("state_dir's disk", Path(config.state_dir)),
        _memory(config),
        check_clock(_clock_state),
        *_journal(config),
        *_panel(config),
        *(_hsm(config) if hsm else ()),
    ]


def _files(config: Config, *, now: dt.datetime) -> Iterator[Finding]:
    yield check_private("state_dir", Path(config.state_dir))
    listen = config.listen
    what, secret = listen.secret
    yield check_private(what, Path(secret))
    if listen.transport == "tls":
        certificate = Path(listen.certificate)
        yield check_certificate("listen.certificate", certificate, now=now)
        yield check_certificate("listen.client_ca", Path(listen.client_ca), now=now)
    for setting, source in (
        ("hsm.pin_file", config.hsm.pin_file),
        ("panel.key_file", config.panel.key_file if config.panel.device else ""),
        ("journal.password_file", config.journal.password_file),
    ):
        if source and not source.startswith(("credential:", "fd:")):
            yield check_private(setting, Path(source))


def _memory(config: Config) -> Finding:
    soft_bytes, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    needed_bytes = (config.derivation.memory_budget_mib << 20) + _SPARE_BYTES
    unlimited = soft_bytes == resource.RLIM_INFINITY
    mend = "run it by its unit, which has LimitMEMLOCK=infinity"
    if unlimited or soft_bytes >= needed_bytes:
        shown = "unlimited" if unlimited else f"{soft_bytes >> 20} MiB"
        if config.derivation.allow_unlocked:
            found = f"{shown}, but derivation.allow_unlocked lets it go on without"
            return Finding(Level.WARNING, "locked memory", found, "set it to false")
        return Finding(Level.OK, "locked memory", shown)
    found = f"{soft_bytes >> 20} MiB of {needed_bytes >> 20} MiB may be locked"
    allowed = config.derivation.allow_unlocked
    level = Level.WARNING if allowed else Level.FAILURE
    return Finding(level, "locked memory", found, mend)


def _clock_state() -> int:
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: only asks
    return int(ctypes.CDLL(None).adjtimex(buffer))


def check_clock(state: Callable[[], int]) -> Finding:
    """Check that a time service keeps the clock; a jump back of 5 s seals.

    Args:
        state: Returns the kernel's clock state, as adjtimex does.

    Returns:
        What was found.
    """
    if state() == _TIME_ERROR:
        found = "the kernel's clock is not synchronised"
        mend = "run a time service (chrony): a clock that steps back seals"
        return Finding(Level.WARNING, "clock", found, mend)
    return Finding(Level.OK, "clock", "synchronised")


def _journal(config: Config) -> Iterator[Finding]:
    if config.journal.database:
        return  # `status` and the daemon's log tell of the server
    file = Paths(Path(config.state_dir)).journal
    if not file.is_file():
        mend = "run `init`, or `restore` a backup; never make a new one beside a vault"
        yield Finding(Level.FAILURE, "journal", f"{file} is not there", mend)
    else:
        yield Finding(Level.OK, "journal", f"{file.stat().st_size >> 10} KiB")


def _panel(config: Config) -> Iterator[Finding]:
    device = config.panel.device
    if not device:
        return
    if not Path(device).exists():
        mend = "plug it in; name it under /dev/serial/by-id; let the unit see it"
        yield Finding(Level.FAILURE, "panel.device", f"{device} is not there", mend)
    elif not os.access(device, os.R_OK | os.W_OK):
        mend = "SupplementaryGroups=dialout in a drop-in of the unit"
        yield Finding(Level.FAILURE, "panel.device", f"{device} is not ours", mend)
    else:
        yield Finding(Level.OK, "panel.device", device)


def _hsm(config: Config) -> Iterator[Finding]:
    """Log in and open the vault's canary envelope."""
    what = f"HSM {config.hsm.profile}"
    try:
        hsm = open_hsm(config)
    except ApplianceError as error:
        yield Finding(Level.FAILURE, what, f"{error.code}: {error}", "docs/hsm.md")
        return
    try:
        allow_unlocked = config.derivation.allow_unlocked
        path = Paths(Path(config.state_dir)).vault
        Vault(path, hsm=hsm, allow_unlocked=allow_unlocked).check_health()
    except ApplianceError as error:
        yield Finding(Level.FAILURE, what, f"{error.code}: {error}", "docs/hsm.md")
    else:
        worth = hsm.profile.production
        level = Level.OK if worth == "accepted" else Level.WARNING
        found = f"opens the vault; {hsm.profile.title} is {worth}"
        mend = "" if level is Level.OK else hsm.profile.production_reason
        yield Finding(level, what, found, mend)
    finally:
        hsm.close()
