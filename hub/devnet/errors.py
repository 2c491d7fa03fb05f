# SPDX-License-Identifier: Apache-2.0
"""What the devnet raises.

::

    DevnetError
    ├── InvalidConfigError        a value in DevnetConfig is out of range
    ├── StateFileError            the state file is of another network
    ├── InvalidTransactionError   a transaction breaks a rule; carries its Flaw
    ├── UnknownTransactionError   a hash that this node has never seen
    ├── FaucetEmptyError          the faucet can not pay what was asked
    ├── InvalidFaultError         no such fault switch, or a value it can't take
    └── ApiError                  an answer other than 200; carries the status
"""

from http import HTTPStatus


class DevnetError(Exception):
    """Base of everything this package raises; ``code`` is stable."""

    code = "devnet"


class InvalidConfigError(DevnetError):
    """A configuration value is out of range."""

    code = "invalid-config"


class StateFileError(DevnetError):
    """The state file belongs to a network with another genesis."""

    code = "state-file"


class InvalidTransactionError(DevnetError):
    """A transaction breaks a rule; ``code`` names which.

    Args:
        flaw: The rule, one of ``hub.devnet.validation.Flaw``.
    """

    def __init__(self, flaw: str) -> None:
        super().__init__(flaw)
        self.code = flaw


class UnknownTransactionError(DevnetError):
    """A hash that this node has never seen."""

    code = "unknown-transaction"


class FaucetEmptyError(DevnetError):
    """The faucet can not pay what was asked."""

    code = "faucet-empty"


class InvalidFaultError(DevnetError):
    """No such fault switch, or a value that it does not take."""

    code = "invalid-fault"


class ApiError(DevnetError):
    """An answer other than 200, in the words of the dialect.

    Args:
        text: What the client reads.
        status: HTTP status.
        field: Name of the member that carries the text.
    """

    code = "api"

    def __init__(
        self,
        text: str,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
        *,
        field: str = "error",
    ) -> None:
        super().__init__(text)
        self.status = status
        self.field = field
