# SPDX-License-Identifier: Apache-2.0
"""The appliance's configuration: one strict TOML file, read once.

An unknown key is an error, secrets are named by path and never written here,
and every field says its unit. ``docs/configuration.md`` is generated from the
descriptions below (``saltkeep-appliance config-reference``).
"""

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from appliance.errors import ConfigError

LEAST_WITH_PANEL_S: Final = 45.0
"""Deadline of a request that asks at the panel: 30 s for the person, and work."""
Role = Literal["hub", "operator", "auditor", "legacy-hub"]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Common strictness of every table."""


class Listen(_Section, frozen=True, kw_only=True):
    """Where and as whom the appliance listens."""

    transport: Annotated[
        Literal["tls", "serial"],
        Meta(description="`tls`, or `serial` for a host without a network."),
    ] = "tls"
    host: Annotated[str, Meta(description="Address to bind (tls).")] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535, description="TCP port; 0 picks a free one (tls).")
    ] = 9443
    certificate: Annotated[
        str,
        Meta(description="PEM path of the server certificate (serverAuth); for tls."),
    ] = ""
    key: Annotated[
        str, Meta(description="PEM path of its private key, mode 0600; for tls.")
    ] = ""
    client_ca: Annotated[
        str,
        Meta(description="PEM path of the private CA that signs clients; for tls."),
    ] = ""
    devices: Annotated[
        list[str],
        Meta(
            description="Serial devices, best by their names under"
            " `/dev/serial/by-id`; for serial. One conversation at a time on each."
        ),
    ] = []
    baud: Annotated[
        int, Meta(ge=9600, description="Bits per second of each (serial).")
    ] = 115_200
    serial_keys: Annotated[
        str,
        Meta(
            description="Folder of the clients' pre-shared keys, mode 0700, filled by"
            " `serial-key install`; for serial."
        ),
    ] = ""

    @property
    def secret(self) -> tuple[str, str]:
        """What nobody but its owner may use: what it is, and its path."""
        if self.transport == "serial":
            return "the folder serial_keys of [listen]", self.serial_keys
        return "the key of [listen]", self.key


class Client(_Section, frozen=True, kw_only=True):
    """One client's key and what it may do."""

    name: Annotated[
        str, Meta(min_length=1, description="Name in the journal and the log.")
    ]
    role: Annotated[
        Role,
        Meta(description="`hub`, `operator`, `auditor` or `legacy-hub`; one per key."),
    ]
    spki_sha256: Annotated[
        str,
        Meta(
            pattern="^[0-9a-f]{64}$",
            description="SHA-256 of the certificate's public key (SPKI), hex; on a"
            " serial line the id that `serial-key make` printed.",
        ),
    ]


class Hsm(_Section, frozen=True, kw_only=True):
    """The PKCS#11 token that holds the keys."""

    profile: Annotated[
        str,
        Meta(
            description="A profile of `hsm_profiles`, e.g. `softhsm2`, or the path of a"
            " profile of your own (with a `/`)."
        ),
    ]
    module: Annotated[
        str, Meta(description="Path of the PKCS#11 module; empty: the profile's.")
    ] = ""
    token_label: Annotated[str, Meta(description="Label of the token.")]
    pin_file: Annotated[
        str,
        Meta(
            description="File with the PIN, mode 0600. `credential:NAME` reads a"
            " systemd credential, `fd:N` an open descriptor."
        ),
    ]
    environment: Annotated[
        dict[str, str],
        Meta(description="Extra environment of the worker, e.g. `SOFTHSM2_CONF`."),
    ] = {}
    call_timeout_s: Annotated[
        float, Meta(gt=0, description="Deadline of one HSM call, seconds.")
    ] = 10.0
    health_interval_s: Annotated[
        float, Meta(gt=0, description="Seconds between two health checks.")
    ] = 30.0
    allow_unsafe_hsm: Annotated[
        bool,
        Meta(
            description="Start although the profile says that keys can be got out of"
            " this token (tests only)."
        ),
    ] = False


class JournalPlace(_Section, frozen=True, kw_only=True):
    """Where the journal lies: a file of `state_dir`, or PostgreSQL to share it."""

    database: Annotated[
        str,
        Meta(
            description="Empty: SQLite in `state_dir`. `postgresql://user@host:port/"
            "name`, without a password; `?host=/folder` for a Unix socket."
        ),
    ] = ""
    password_file: Annotated[
        str,
        Meta(
            description="File with the database's password, mode 0600,"
            " `credential:NAME` or `fd:N`; empty: none is needed."
        ),
    ] = ""
    ca: Annotated[
        str,
        Meta(
            description="PEM path of the authority of the server's certificate; empty:"
            " the system's. Off the loopback TLS is always used and certificate and"
            " host name are checked; on it only where this is set."
        ),
    ] = ""


class PanelPlace(_Section, frozen=True, kw_only=True):
    """The front panel on a serial line that can stop all signing."""

    device: Annotated[
        str,
        Meta(
            description="Serial device, best by its name under `/dev/serial/by-id`;"
            " empty: there is no panel."
        ),
    ] = ""
    key_file: Annotated[
        str,
        Meta(
            description="File with the pairing key that `saltkeep-panel pair` made,"
            " mode 0600, or `credential:NAME`; read at every connection."
        ),
    ] = ""
    firmware_hashes: Annotated[
        list[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]],
        Meta(description="SHA-256 of each firmware that may run there, hex."),
    ] = []


class Derivation(_Section, frozen=True, kw_only=True):
    """How much of the machine Argon2 may use."""

    workers: Annotated[
        int, Meta(ge=0, description="Concurrent Argon2 runs; 0: one per core.")
    ] = 0
    memory_budget_mib: Annotated[
        int, Meta(ge=1, description="Memory all Argon2 runs may hold together, MiB.")
    ] = 1024
    allow_unlocked: Annotated[
        bool,
        Meta(description="Start although memory can not be locked (demo and CI only)."),
    ] = False
    engine: Annotated[
        Literal["kernel", "reference"],
        Meta(
            description="Which Argon2 derives keys: our own, or argon2-cffi. An address"
            " is issued only after argon2-cffi has derived it too."
        ),
    ] = "kernel"
    max_waiting: Annotated[
        int,
        Meta(
            ge=1,
            description="Argon2 runs that may wait, half of them for addresses;"
            " more are deferred.",
        ),
    ] = 240


class Limits(_Section, frozen=True, kw_only=True):
    """Bounds on what one request may cost."""

    max_transactions: Annotated[
        int, Meta(ge=2, description="Transactions in one bundle.")
    ] = 200
    max_inputs: Annotated[int, Meta(ge=1, description="Inputs in one bundle.")] = 60
    max_in_flight: Annotated[
        int, Meta(ge=1, description="Requests worked on at once; more are deferred.")
    ] = 32
    max_mining_tries: Annotated[
        int, Meta(ge=1, description="Obsolete tags one search may try.")
    ] = 1_000_000_000
    request_timeout_s: Annotated[
        float, Meta(gt=0, description="Deadline of one request, seconds.")
    ] = 120.0
    refusals_per_minute: Annotated[
        int,
        Meta(ge=1, description="Refusals journalled per client; more are deferred."),
    ] = 120


class Spending(_Section, frozen=True, kw_only=True):
    """What may leave; amounts in iota, 0 means no limit.

    In the signed policy these are the limits; here they can only be stricter.
    """

    max_outside_per_bundle_i: Annotated[
        int, Meta(ge=0, description="Value leaving our addresses in one bundle, iota.")
    ] = 0
    window_s: Annotated[
        int, Meta(ge=1, description="Length of the sliding window, seconds.")
    ] = 86_400
    max_outside_per_window_i: Annotated[
        int, Meta(ge=0, description="Value leaving in one window, iota.")
    ] = 0
    max_keys_per_window: Annotated[
        int, Meta(ge=0, description="Keys spent in one window (draining by dust).")
    ] = 0
    min_input_i: Annotated[
        int, Meta(ge=0, description="Smallest input worth a key, iota.")
    ] = 0
    presence_above_i: Annotated[
        int, Meta(ge=0, description="Ask the panel for presence above this, iota.")
    ] = 0
    max_per_destination_i: Annotated[
        int, Meta(ge=0, description="Value to one address in one bundle, iota.")
    ] = 0
    max_per_destination_per_window_i: Annotated[
        int, Meta(ge=0, description="Value to one address in one window, iota.")
    ] = 0
    max_addresses_per_hour: Annotated[
        int, Meta(ge=0, description="Addresses issued to one client in an hour.")
    ] = 0
    authorise_above_i: Annotated[
        int,
        Meta(
            ge=0,
            description="An output above this, iota, needs an exchange's signed"
            " authorisation.",
        ),
    ] = 0


class MetricsPlace(_Section, frozen=True, kw_only=True):
    """Where a monitor on this host looks: /metrics, /healthz, /readyz."""

    host: Annotated[
        Literal["127.0.0.1", "::1"],
        Meta(description="Loopback alone: there are no certificates here."),
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535, description="TCP port; 0: not served.")
    ] = 0


class Config(_Section, frozen=True, kw_only=True):
    """The whole file."""

    state_dir: Annotated[
        str, Meta(description="Folder of vault, journal and latches, mode 0700.")
    ]
    listen: Annotated[Listen, Meta(description="Where and as whom it listens.")]
    hsm: Annotated[Hsm, Meta(description="The PKCS#11 token.")]
    clients: Annotated[
        list[Client], Meta(min_length=1, description="Certificates that may connect.")
    ]
    journal: Annotated[JournalPlace, Meta(description="Where the journal lies.")] = (
        JournalPlace()
    )
    panel: Annotated[PanelPlace, Meta(description="The front panel.")] = PanelPlace()
    metrics: Annotated[
        MetricsPlace, Meta(description="Metrics and health, on the loopback.")
    ] = MetricsPlace()
    derivation: Annotated[Derivation, Meta(description="Argon2's share.")] = (
        Derivation()
    )
    limits: Annotated[Limits, Meta(description="Bounds on one request.")] = Limits()
    policy: Annotated[
        Spending,
        Meta(description="What may leave, where stricter than the signed policy."),
    ] = Spending()


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Relative paths in it are meant from the folder it lies in.

    Args:
        path: The TOML file.

    Returns:
        The configuration, its paths made absolute.

    Raises:
        ConfigError: If the file is missing, is not TOML, or holds an unknown
            key, a wrong type, the same client key twice, or a deadline in which nobody
            could answer the panel.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        config = msgspec.convert(raw, Config)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error
    _require_distinct_clients(config, path)
    _require_whole_listen(config.listen, path)
    _require_time_to_ask(config, path)
    return _with_absolute_paths(config, path.resolve().parent)


def _require_time_to_ask(config: Config, path: Path) -> None:
    """A request waits for the person at the panel; its deadline must be beyond that."""
    if config.panel.device and config.limits.request_timeout_s < LEAST_WITH_PANEL_S:
        raise ConfigError(
            f"{path}: with a panel, limits.request_timeout_s is at least"
            f" {LEAST_WITH_PANEL_S:.0f}: a person has 30 s to press the button"
        )


class _TokenFile(_Section, frozen=True, kw_only=True):
    """A file that describes one token and nothing else."""

    hsm: Hsm


def load_token(path: Path) -> Hsm:
    """Read a file that holds one ``[hsm]`` table: the target of a move.

    Args:
        path: The TOML file.

    Returns:
        The table, its paths made absolute from the file's folder.

    Raises:
        ConfigError: If the file is missing, is not TOML, or holds anything else.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        hsm = msgspec.convert(raw, _TokenFile).hsm
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error
    return _hsm_with_absolute_paths(hsm, path.resolve().parent)


def _require_distinct_clients(config: Config, path: Path) -> None:
    for field in ("name", "spki_sha256"):
        values = [getattr(client, field) for client in config.clients]
        if len(set(values)) != len(values):
            raise ConfigError(f"{path}: two clients share the same {field}")


def _require_whole_listen(listen: Listen, path: Path) -> None:
    needed = {
        "tls": ("certificate", "key", "client_ca"),
        "serial": ("devices", "serial_keys"),
    }[listen.transport]
    missing = [name for name in needed if not getattr(listen, name)]
    if missing:
        raise ConfigError(
            f'{path}: [listen] with transport = "{listen.transport}" needs'
            f" {', '.join(missing)}"
        )


def _absolute(text: str, base: Path) -> str:
    special = not text or text.startswith(("credential:", "fd:"))
    return text if special else str(base / text)


def _hsm_with_absolute_paths(hsm: Hsm, base: Path) -> Hsm:
    profile = str(base / hsm.profile) if "/" in hsm.profile else hsm.profile
    return msgspec.structs.replace(
        hsm,
        profile=profile,
        module=_absolute(hsm.module, base),
        pin_file=_absolute(hsm.pin_file, base),
    )


def _with_absolute_paths(config: Config, base: Path) -> Config:
    listen, journal = config.listen, config.journal
    return msgspec.structs.replace(
        config,
        state_dir=_absolute(config.state_dir, base),
        listen=msgspec.structs.replace(
            listen,
            certificate=_absolute(listen.certificate, base),
            key=_absolute(listen.key, base),
            client_ca=_absolute(listen.client_ca, base),
            devices=[_absolute(device, base) for device in listen.devices],
            serial_keys=_absolute(listen.serial_keys, base),
        ),
        hsm=_hsm_with_absolute_paths(config.hsm, base),
        panel=msgspec.structs.replace(
            config.panel, key_file=_absolute(config.panel.key_file, base)
        ),
        journal=msgspec.structs.replace(
            journal,
            password_file=_absolute(journal.password_file, base),
            ca=_absolute(journal.ca, base),
        ),
    )
