# SPDX-License-Identifier: Apache-2.0
"""The panel stands guard: no key is used before it is armed, none after it is lost.

*Unready* until an attested panel is armed. From then on whatever
``panel_events.must_lock`` names seals the appliance. A latched tamper is cleared at
the panel, in maintenance, as a part of the operators' ``unseal``.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

from appliance.config import PanelPlace
from appliance.entropy import Entropy
from appliance.errors import BrokenInvariantError, DeferredError, FaultError
from appliance.installation import read_panel_key
from appliance.panel import Grant, NoPanel
from appliance.presence_question import Question
from firmware_bridge.attestation import Attestation
from firmware_bridge.errors import (
    BridgeError,
    CounterWentBackError,
    DeviceRefusedError,
    PresenceDeniedError,
    PresenceTimeoutError,
    RandomHealthError,
)
from firmware_bridge.keys import panel_id
from firmware_bridge.messages import RefusalCode
from firmware_bridge.panel import Panel, PanelSettings
from firmware_bridge.panel_events import (
    Beat,
    Lost,
    PanelEvent,
    Switch,
    SwitchMoved,
    Tamper,
    TamperSeen,
    must_lock,
)

_log = logging.getLogger(__name__)
TAMPER: Final = "panel-tamper"
_RANDOM_BYTES: Final = 32
_BUSY_S: Final = 5.0
_UNANSWERED_S: Final = 30.0
_DENIED_S: Final = 120.0

Alarm = Callable[[BrokenInvariantError], Awaitable[object]]


class PanelGuard:
    """One panel and the task that listens to it.

    Args:
        place: Where it is; without a device every method does nothing.
        allow_unlocked: Whether its key may lie in memory that is not locked.
        alarm: Seals the appliance; its latch is set before it first waits.

    Attributes:
        panel_id: Of the pairing it last connected with; empty before.
    """

    def __init__(
        self, place: PanelPlace, *, allow_unlocked: bool, alarm: Alarm
    ) -> None:
        self._place = place
        self._allow_unlocked = allow_unlocked
        self._alarm = alarm
        self.panel_id = ""
        self._armed = False
        self._armings_count = 0
        self._asking = False
        self._boot_id = b""
        self._watching: asyncio.Task[None] | None = None
        self._panel: Panel | None = None
        if place.device:
            hashes = frozenset(bytes.fromhex(one) for one in place.firmware_hashes)
            self._panel = Panel(
                PanelSettings(device=place.device, trusted_firmware=hashes)
            )

    @property
    def configured(self) -> bool:
        """Whether there is to be a panel at all."""
        return self._panel is not None

    async def counter(self) -> int:
        """Return the panel's monotonic counter.

        Raises:
            FaultError: ``panel`` if it is not armed, or does not answer.
        """
        with _as_faults():
            return await self._require_panel().counter_read()

    async def raise_counter(self, value: int) -> None:
        """Raise the counter by one, to ``value``; once it is there, do nothing.

        Args:
            value: One above where it stands, or where it stands.

        Raises:
            FaultError: ``panel`` if it is not armed, or does not answer.
            BrokenInvariantError: ``panel-counter`` if it stands elsewhere.
        """
        with _as_faults():
            await self._require_panel().counter_increment(expected=value - 1)

    def _require_panel(self) -> Panel:
        """Return the panel that watches.

        Returns:
            The panel.

        Raises:
            FaultError: ``panel`` if none does.
        """
        if self._panel is None or not self._armed:
            raise FaultError("no panel is armed", code="panel")
        return self._panel

    async def ask(self, question: Question) -> Grant:
        """Show a question and wait for the person; 30 s at most.

        One question at a time, and none waits for its turn: whoever waits holds one
        of the requests there may be, and the person would not know how many are to
        come. The hub asks again.

        Args:
            question: What to confirm.

        Returns:
            Their yes; void as soon as the panel stands guard no more.

        Raises:
            DeferredError: ``presence``: denied, nobody came, or another question is
                on the display.
            FaultError: ``panel`` if it is away.
        """
        if self._panel is None or not self._armed:
            raise FaultError("no panel is armed", code="panel")
        arming = self._armings_count
        return await self._ask(
            self._panel,
            question,
            in_force=lambda: self._armed and self._armings_count == arming,
        )

    async def ask_while_sealed(self, question: Question) -> Grant:
        """Show a question although nothing is armed: for ``unseal`` alone.

        Args:
            question: What to confirm.

        Returns:
            Their yes.

        Raises:
            DeferredError: As for ``ask``; also if no panel is configured.
            FaultError: ``panel`` if it is away.
        """
        panel = self._panel
        if panel is None:
            return await NoPanel().ask(question)
        if self._armed:
            return await self.ask(question)
        try:
            await self._connect(panel)
            return await self._ask(panel, question, in_force=lambda: True)
        finally:
            await panel.lock()

    async def _ask(
        self, panel: Panel, question: Question, *, in_force: Callable[[], bool]
    ) -> Grant:
        if self._asking:
            raise DeferredError(
                "presence",
                "busy: the panel asks about something else",
                retry_after_s=_BUSY_S,
            )
        self._asking = True
        try:
            with _as_faults():
                given = await panel.request_presence(question.digest, question.text)
        finally:
            self._asking = False
        return Grant(
            question=question,
            given=given,
            boot_id=self._boot_id,
            in_force=in_force,
            clock_s=time.monotonic,
        )

    async def stir(self, entropy: Entropy) -> None:
        """Mix random bytes of an armed panel into the system's.

        Args:
            entropy: Takes them. It is as good as the system's without them, so that a
                panel which gives none in time is no news; its heartbeats are watched.

        Raises:
            BrokenInvariantError: ``panel-random`` if they fail a health test: what
                should be noise is not, so the panel is broken or somebody's.
        """
        if self._panel is None or not self._armed:
            return
        try:
            entropy.stir(await self._panel.random(_RANDOM_BYTES))
        except RandomHealthError as error:
            raise BrokenInvariantError(str(error), code="panel-random") from error
        except BridgeError as error:
            _log.warning("the panel gave no random bytes: %s", error.code)

    async def require_armed(self) -> None:
        """Return once an attested panel watches; connect and arm it if need be.

        Raises:
            FaultError: ``panel``: it is not there, not ours, or not in RUN.
            BrokenInvariantError: ``panel-tamper`` or ``panel-counter``.
        """
        panel = self._panel
        if panel is None or self._armed:
            return
        await panel.lock()  # the end of a session before is not news of the next
        events = panel.watch()
        try:
            _require_run(await self._connect(panel))
            with _as_faults():
                await panel.arm()
        except BaseException:
            await panel.lock()
            raise
        self._armed = True
        self._armings_count += 1
        self._watching = asyncio.create_task(self._watch(events))
        _log.info("panel armed device=%s", self._place.device)

    async def clear_tamper(self) -> bool:
        """Have the panel clear its latch; the caller holds the operators' approvals.

        Returns:
            Whether a person pressed the button for it; False where nothing was
            latched any more.

        Raises:
            FaultError: ``panel-switch`` unless it is in MAINT, ``panel`` if it is away
                or refuses: the seal stays.
        """
        panel = self._panel
        if panel is None:
            return False
        try:
            found = await self._connect(panel)
            if found.switch is not Switch.MAINTENANCE:
                raise FaultError(
                    "a latched tamper is cleared with the switch in MAINT",
                    code="panel-switch",
                )
            if found.tamper:
                with _as_faults():
                    await panel.clear_latch(found.tamper)
            return bool(found.tamper)
        finally:
            await panel.lock()

    async def close(self) -> None:
        """Stop listening and end the session."""
        if self._watching is not None:
            self._watching.cancel()
        self._armed = False
        if self._panel is not None:
            await self._panel.close()

    async def _connect(self, panel: Panel) -> Attestation:
        with read_panel_key(
            self._place.key_file, allow_unlocked=self._allow_unlocked
        ) as secret:
            key = bytearray(secret.view)  # ``connect`` wipes it
        self.panel_id = panel_id(key)
        with _as_faults():
            found = await panel.connect(key)
        self._boot_id = found.boot_id
        return found

    async def _watch(self, events: AsyncIterator[PanelEvent]) -> None:
        cause = BrokenInvariantError("the panel's events ended", code="panel-lost")
        try:
            async for event in events:
                if must_lock(event):
                    cause = _cause(event)
                    break
        finally:
            # Also on a bug: who is not watched must not sign.
            if self._armed:
                self._armed = False
                await self._alarm(cause)


def _require_run(found: Attestation) -> None:
    if found.tamper:
        raise _cause(TamperSeen(found.tamper))
    if found.switch is not Switch.RUN:
        raise FaultError(f"its switch is in {found.switch.name}", code="panel-switch")


def _cause(event: PanelEvent) -> BrokenInvariantError:
    match event:
        case TamperSeen(latched=latched) | Beat(tamper=latched) if latched:
            names = ", ".join(str(one.name) for one in Tamper if one in latched)
            return BrokenInvariantError(f"the panel latched {names}", code=TAMPER)
        case SwitchMoved(position=position) | Beat(switch=position):
            return BrokenInvariantError(
                f"the panel's switch went to {position.name}", code="panel-switch"
            )
        case Lost(reason=reason):
            return BrokenInvariantError(
                f"the panel was lost: {reason.value}", code="panel-lost"
            )
    return BrokenInvariantError("the panel said stop", code="panel-lost")


@contextlib.contextmanager
def _as_faults() -> Iterator[None]:
    try:
        yield
    except CounterWentBackError as error:
        raise BrokenInvariantError(str(error), code="panel-counter") from error
    except DeviceRefusedError as error:
        if error.device_code == RefusalCode.COUNTER:
            raise BrokenInvariantError(str(error), code="panel-counter") from error
        raise FaultError(f"{error.code}: {error}", code="panel") from error
    except (PresenceDeniedError, PresenceTimeoutError) as error:
        denied = isinstance(error, PresenceDeniedError)
        raise DeferredError(
            "presence",
            f"{error.code}: {error}",
            retry_after_s=_DENIED_S if denied else _UNANSWERED_S,
        ) from error
    except BridgeError as error:
        raise FaultError(f"{error.code}: {error}", code="panel") from error
