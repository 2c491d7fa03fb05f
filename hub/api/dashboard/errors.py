# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a visit to the dashboard."""

from hub.errors import RefusedError


class LoginRefusedError(RefusedError):
    """Name and password do not fit; nobody is told which of them."""

    code = "login-refused"


class LoginLimitedError(RefusedError):
    """Too many log-ins failed, of this name or from this address."""

    code = "login-limited"


class SessionMissingError(RefusedError):
    """There is no session, or it is over."""

    code = "session-missing"


class RoleMissingError(RefusedError):
    """The operator's role does not include this."""

    code = "role-missing"


class ForeignFormError(RefusedError):
    """The form did not come from a page of this session."""

    code = "foreign-form"


class PageUnknownError(RefusedError):
    """There is no such page."""

    code = "page-unknown"


class FormInvalidError(RefusedError):
    """A field of the form or of the address line is missing or makes no sense."""

    code = "form-invalid"
