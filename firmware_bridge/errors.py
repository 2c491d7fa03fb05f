# SPDX-License-Identifier: Apache-2.0
"""Every exception of the bridge; the type answers "may I retry?".

::

    BridgeError
    ├── RefusedError                no, and asking again gives the same answer
    │   ├── PresenceDeniedError     presence-denied: a person, or the switch, said no
    │   ├── GrantError              grant-invalid: spent, late, or for something else
    │   ├── DeviceRefusedError      device-refused: ``device_code`` says why
    │   ├── NotAuthenticError       not-authentic: it has not the pairing key
    │   ├── UntrustedFirmwareError  untrusted-firmware: its hash is not on the list
    │   ├── PairingRefusedError     pairing-refused: ``device_code`` says why
    │   └── MessageError            message-invalid: it can not be said, or was not
    ├── FaultError                  could not tell: connect again, ask the very same
    │   ├── LineError               line: no such device, or unplugged
    │   │   └── BusyLineError       line-busy: somebody else has it open
    │   ├── NotConnectedError       not-connected: there is no session
    │   ├── SessionLostError        session-lost: ``reason`` says why
    │   ├── NoAnswerError           no-answer: it does not speak, or not in time
    │   ├── PresenceTimeoutError    presence-timeout: nobody came
    │   └── EngineError             engine: a proof-of-work engine failed or lied
    └── InvariantError              a belief is broken: stop and page
        ├── CounterWentBackError    counter-went-back
        ├── RandomHealthError       random-health
        └── LogBrokenError          log-broken

Codes are stable words; messages are for people and never hold a key.
"""

from typing import ClassVar


class BridgeError(Exception):
    """Root of everything the bridge raises on purpose.

    Attributes:
        code: A stable word for programs.
    """

    code: ClassVar[str] = "bridge"


class RefusedError(BridgeError):
    """No; repeating the request changes nothing."""

    code = "refused"


class PresenceDeniedError(RefusedError):
    """The person at the panel pressed "deny", or the panel may not grant now.

    Attributes:
        reason: ``button``, ``switch``, ``tamper`` or ``cancelled``.
    """

    code = "presence-denied"

    def __init__(self, reason: str) -> None:
        super().__init__(f"presence was denied: {reason}")
        self.reason = reason


class GrantError(RefusedError):
    """A presence grant was spent already, is too old, or is for something else."""

    code = "grant-invalid"


class DeviceRefusedError(RefusedError):
    """The device understood the request and said no.

    Attributes:
        device_code: The device's stable word, a value of ``messages.RefusalCode``.
    """

    code = "device-refused"

    def __init__(self, device_code: str, detail: str = "") -> None:
        text = f"the panel refused: {device_code}"
        super().__init__(f"{text} ({detail})" if detail else text)
        self.device_code = device_code


class PairingRefusedError(DeviceRefusedError):
    """The device would not take a pairing key."""

    code = "pairing-refused"


class NotAuthenticError(RefusedError):
    """Whoever answers does not have the pairing key."""

    code = "not-authentic"


class UntrustedFirmwareError(RefusedError):
    """The device proved what it runs, and that is not on the list.

    Attributes:
        firmware_hash: What it runs, 32 bytes.
    """

    code = "untrusted-firmware"

    def __init__(self, firmware_hash: bytes) -> None:
        super().__init__(
            f"firmware {firmware_hash.hex()} is not on the list of trusted firmware"
        )
        self.firmware_hash = firmware_hash


class MessageError(RefusedError):
    """A message breaks the rules of its type."""

    code = "message-invalid"


class FaultError(BridgeError):
    """Could not tell; connect again if need be and ask the very same."""

    code = "fault"


class LineError(FaultError):
    """The serial line can not be opened, or broke."""

    code = "line"


class BusyLineError(LineError):
    """Another program, or another part of this one, has the line open."""

    code = "line-busy"


class NotConnectedError(FaultError):
    """There is no session to ask in."""

    code = "not-connected"


class SessionLostError(FaultError):
    """The session ended before the answer came.

    Attributes:
        reason: A value of ``panel_events.LossReason``.
    """

    code = "session-lost"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the session with the panel is over: {reason}")
        self.reason = reason


class NoAnswerError(FaultError):
    """Nothing that is understood came in time."""

    code = "no-answer"


class PresenceTimeoutError(FaultError):
    """Nobody pressed a button in time; nothing was decided."""

    code = "presence-timeout"


class EngineError(FaultError):
    """A proof-of-work engine did not answer, or its answer was wrong."""

    code = "engine"


class InvariantError(BridgeError):
    """Something that can not happen did: stop, and tell a person."""

    code = "invariant"


class CounterWentBackError(InvariantError):
    """The monotonic counter is lower than it once was.

    Attributes:
        counter: What the device says.
        least: What it had reached before.
    """

    code = "counter-went-back"

    def __init__(self, counter: int, least: int) -> None:
        super().__init__(f"the panel's counter is {counter}, it was {least}")
        self.counter = counter
        self.least = least


class RandomHealthError(InvariantError):
    """The device's random numbers failed a health test."""

    code = "random-health"


class LogBrokenError(InvariantError):
    """The device's log is not the chain it should be."""

    code = "log-broken"
