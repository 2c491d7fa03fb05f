# SPDX-License-Identifier: Apache-2.0
"""Every flag of Hub 1.4.4: the key it became, or why it became none.

Source: Hub 1.4.4, common/flags and the flags beside each of its parts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from hub.errors import ConfigError

Value: TypeAlias = str | int | float | bool | list[str]
_MILLISECONDS: Final = 1000
_SECONDS: Final = 60
_NOTHING: Final = "/dev/null"


@dataclass(frozen=True, slots=True)
class Becomes:
    """A flag that sets a key.

    Attributes:
        key: With its sections, dots between.
        read: Turns its text into the key's value; a ``ValueError`` says what it
            must be.
        implied: Its text where the flag is absent; None: our own default holds.
    """

    key: str
    read: Callable[[str], Value]
    implied: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A flag that sets nothing.

    Attributes:
        why: And where to go instead.
        refused: Texts that ask for what can not be, each with its reason.
    """

    why: str
    refused: Mapping[str, str] | None = None


Row: TypeAlias = Becomes | Ignored


def switch(text: str) -> bool:
    """Read a switch as gflags does.

    Args:
        text: Its value.

    Returns:
        What it says.

    Raises:
        ValueError: If it is neither on nor off.
    """
    if text.lower() in {"true", "t", "yes", "y", "1"}:
        return True
    if text.lower() in {"false", "f", "no", "n", "0"}:
        return False
    raise ValueError("true or false")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError("a whole number") from error


def _interval(text: str) -> float:
    if _whole(text) <= 0:
        raise ValueError("above 0: no loop of this hub can be switched off")
    return _whole(text) / _MILLISECONDS


def _minutes(text: str) -> int:
    return _whole(text) * _SECONDS


def _work(text: str) -> list[str]:
    if text not in {"local", "remote"}:
        raise ValueError("local or remote")
    return ["local"] if text == "local" else ["remote", "local"]


_DATABASE: Final = Ignored(
    "this hub keeps its own database (hub.database_url); bring the old one over with"
    " `saltkeep-hub import-legacy`"
)
_SALT_COST: Final = Ignored(
    "belongs to the salt: `saltkeep-appliance ceremony import-salt` takes it with"
    " --argon2"
)
_CHANNEL: Final = Ignored("the section [appliance] says how the appliance is reached")
_BATCHES: Final = Ignored("the node client chooses its batches by itself")
_LOGGING: Final = Ignored("the log goes to stderr, for the service manager to keep")
_LOCAL: Final = (
    "no hub signs here. Let the appliance take over the salt (`saltkeep-appliance"
    " ceremony import-salt`), then set remote or remove the flag"
)

TABLE: Final[Mapping[str, Row]] = {
    "serverType": Ignored("says which of [api.legacy] and [api.grpc] is served"),
    "listenAddress": Ignored("becomes `listen` of the API that is served"),
    "authMode": Ignored("says whether the API has TLS"),
    "sslCert": Ignored("becomes a file of the API's TLS, with authMode ssl"),
    "sslKey": Ignored("becomes a file of the API's TLS, with authMode ssl"),
    "sslCA": Ignored("becomes a file of the API's TLS, with authMode ssl"),
    "sslDH": Ignored("TLS 1.2 and later agree on keys without a file"),
    "numThreadsHttp": Ignored("one event loop serves all"),
    "salt": Ignored(
        "it is empty",
        {
            "*": "a hub holds no salt. `saltkeep-appliance ceremony import-salt` takes"
            " it over from a file; then remove the flag here, and the old file"
        },
    ),
    "keySecLevel": Ignored(
        "belongs to the salt: `saltkeep-appliance ceremony import-salt` takes it with"
        " --level"
    ),
    "argon2TCost": _SALT_COST,
    "argon2MCost": _SALT_COST,
    "argon2Mode": _SALT_COST,
    "argon2Parallelism": _SALT_COST,
    "maxConcurrentArgon2Hash": Ignored("the appliance bounds what it derives at once"),
    "signingMode": Ignored("the appliance signs", {"local": _LOCAL}),
    "signingProviderAddress": _CHANNEL,
    "signingServerSslCert": _CHANNEL,
    "signingServerChainCert": _CHANNEL,
    "signingServerKeyCert": _CHANNEL,
    "dbType": _DATABASE,
    "dbHost": _DATABASE,
    "dbPort": _DATABASE,
    "db": _DATABASE,
    "dbUser": _DATABASE,
    "dbPassword": _DATABASE,
    "dbDebug": _DATABASE,
    "apiAddress": Ignored("becomes the one node of [nodes]"),
    "useHttpsIRI": Ignored("says whether the node's URL begins with https"),
    "monitorInterval": Becomes("deposits.interval_s", _interval, "60000"),
    "attachmentInterval": Becomes("attachments.interval_s", _interval, "240000"),
    "sweepInterval": Becomes("sweeps.interval_s", _interval, "600000"),
    "minWeightMagnitude": Becomes("attachments.min_weight_magnitude", _whole, "9"),
    "depth": Becomes("attachments.depth", _whole, "3"),
    "powMode": Becomes("attachments.pow", _work, "remote"),
    "max_promotion_age": Becomes("attachments.max_promotion_age_s", _minutes, "30"),
    "sweep_max_withdraw": Becomes("sweeps.max_withdrawals", _whole, "7"),
    "sweep_max_withdrawal": Becomes("sweeps.max_withdrawals", _whole),
    "sweep_max_deposit": Becomes("sweeps.max_deposits", _whole, "5"),
    "fetchTransactionMessages": Becomes("deposits.keep_messages", switch, "false"),
    "SignBundle_enabled": Becomes("api.legacy.sign_bundle", switch, "false"),
    "RecoverFunds_enabled": Becomes("api.legacy.recover_funds", switch, "false"),
    "numBundlesToMine": Becomes("api.legacy.mining_tries", _whole),
    "GetSeedForAddress_enabled": Ignored(
        "the command answers `Cancelled`, on or off: seeds leave by the ceremony"
        " export-seed alone"
    ),
    "authProvider": Ignored(
        "tokens of SignBundle are made anew: api.legacy.token_key_file and"
        " `saltkeep-hub token`; the old ones showed their key"
    ),
    "hmacKeyPath": Ignored(
        "whoever saw an old token holds this key: make another one for"
        " api.legacy.token_key_file"
    ),
    "hubSeedsBackupPath": Ignored("this hub never has a seed to write down"),
    "balanceChangeBatchSize": Ignored("it had no effect in Hub 1.4.4 either"),
    "maxNumAddressesForGetBalances": _BATCHES,
    "maxQuerySizeFindTransactions": _BATCHES,
    "maxQuerySizeGetTrytes": _BATCHES,
    "maxQuerySizeGetInclusionState": _BATCHES,
    "logtostderr": _LOGGING,
    "alsologtostderr": _LOGGING,
    "colorlogtostderr": _LOGGING,
    "stderrthreshold": _LOGGING,
    "minloglevel": _LOGGING,
    "log_dir": _LOGGING,
    "log_prefix": _LOGGING,
    "logbuflevel": _LOGGING,
    "logbufsecs": _LOGGING,
    "max_log_size": _LOGGING,
    "stop_logging_if_full_disk": _LOGGING,
    "v": _LOGGING,
    "vmodule": _LOGGING,
}

SWITCHES: Final = frozenset(
    {
        "dbDebug",
        "useHttpsIRI",
        "fetchTransactionMessages",
        "SignBundle_enabled",
        "RecoverFunds_enabled",
        "GetSeedForAddress_enabled",
        "logtostderr",
        "alsologtostderr",
        "colorlogtostderr",
        "log_prefix",
        "stop_logging_if_full_disk",
    }
)
"""Flags that may stand without a value."""


def is_given(path_text: str) -> bool:
    """Say whether a flag that names a file names one.

    Args:
        path_text: Its value.

    Returns:
        False for nothing and for the old default.
    """
    return path_text not in {"", _NOTHING}


def row_of(name: str) -> Row:
    """Find a flag.

    Args:
        name: Without dashes.

    Returns:
        Its row.

    Raises:
        ConfigError: If Hub 1.4.4 had no such flag.
    """
    if name not in TABLE:
        message = f"--{name} is no flag of Hub 1.4.4"
        raise ConfigError(message)
    return TABLE[name]
