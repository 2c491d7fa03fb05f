# SPDX-License-Identifier: Apache-2.0
"""Every exception of the appliance; the type answers "may I retry?".

::

    ApplianceError
    ├── RefusedError            no, and never: journalled, final
    ├── DeferredError           yes, later: nothing was decided
    ├── FaultError              could not say; ``retry`` tells
    │   ├── BadRequestError     no: the request is not of this protocol
    │   ├── ForbiddenError      no: this client may not ask that
    │   ├── AlreadySignedError  no: fetch the bundle instead
    │   ├── NotAnchoredError    yes, with a head token
    │   ├── SealedError         yes, once operators have cleared the latch
    │   ├── HsmError            yes: the token may come back
    │   │   └── PinRefusedError no: a latch bars every further login
    │   ├── JournalError        yes: disk or database may come back
    │   └── VaultError          no: the file is not what it should be
    ├── BrokenInvariantError    stop and page: looks like attack or corruption
    └── ConfigError             the operator must mend a file first

Codes are stable words; messages are for people and never hold a secret.
"""


class ApplianceError(Exception):
    """Root of everything the appliance raises on purpose.

    Attributes:
        code: A stable word for programs.
    """

    code = "error"

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        if code:
            self.code = code


class RefusedError(ApplianceError):
    """A request that is answered no, for ever.

    Attributes:
        recorded_bundle_hash: The hash a spent key is recorded with, if known.
        final_for: The bundle hash it is final for, where the request does not show
            it: an act that was approved.
    """

    code = "refused"

    def __init__(
        self, code: str, message: str, *, recorded_bundle_hash: str = ""
    ) -> None:
        super().__init__(message, code=code)
        self.recorded_bundle_hash = recorded_bundle_hash
        self.final_for = ""


class DeferredError(ApplianceError):
    """A request that nothing was decided about.

    Attributes:
        retry_after_s: When asking again makes sense.
    """

    code = "deferred"

    def __init__(self, code: str, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class FaultError(ApplianceError):
    """A request the appliance could not answer.

    Attributes:
        retry: Whether the very same request may be sent again.
    """

    code = "fault"
    retry = True


class BadRequestError(FaultError):
    """The request is malformed, too large, or out of its limits."""

    code = "bad-request"
    retry = False


class ForbiddenError(FaultError):
    """The client's certificate or role does not allow this request."""

    code = "forbidden"
    retry = False


class AlreadySignedError(FaultError):
    """The request is not right, but its bundle is signed: it can not be refused."""

    code = "already-signed"
    retry = False


class NotAnchoredError(FaultError):
    """Nobody has confirmed the journal's head since the start."""

    code = "not-anchored"


class SealedError(FaultError):
    """The seal latch is set: no signature until operators clear it."""

    code = "sealed"


class HsmError(FaultError):
    """The HSM did not do what it was asked."""

    code = "hsm"


class PinRefusedError(HsmError):
    """The HSM refused the PIN; never tried again by itself."""

    code = "pin-refused"
    retry = False


class JournalError(FaultError):
    """The journal can not be read or written now."""

    code = "journal"


class VaultError(FaultError):
    """The vault file is missing, altered, or of another appliance."""

    code = "vault"
    retry = False


class BrokenInvariantError(ApplianceError):
    """Something that can not be is: the appliance seals itself."""

    code = "broken-invariant"


class ConfigError(ApplianceError):
    """A configuration file or an installation is not as it must be."""

    code = "config"
