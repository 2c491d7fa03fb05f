# SPDX-License-Identifier: Apache-2.0
"""The hub's configuration: one TOML file, read once; an unknown key is an error.

Each section is a frozen dataclass; each field carries its documentation, unit and
default in itself: ``strict_toml.describe(Config)`` lists them, and
``docs/configuration.md`` is written from that. A secret is never a value here but
the path of a file that nobody else can read.
"""

# ruff: noqa: RUF009 - `documented` is dataclasses.field with a documentation

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from hub.errors import ConfigError
from hub.model import CreditPolicy
from hub.strict_toml import documented, read

_FORBIDDEN_MODE: Final = 0o077
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_SECTIONS_WITH_NUMBERS: Final = (
    "hub",
    "appliance",
    "nodes",
    "addresses",
    "deposits",
    "sweeps",
    "attachments",
    "withdrawals",
    "webhooks",
    "books",
    "reconciler",
    "dashboard",
    "tracing",
)
_MAY_BE_ZERO: Final = frozenset({"ready"})
MIN_SWEEP_TRANSACTIONS: Final = 12
"""One deposit and two hub addresses of level 3, a payout and the remainder."""
_DAY_S: Final = 86_400
_LEAST_IDLE_S: Final = 300
"""Uses of a session are noted about once a minute."""
_KEY_CHARACTERS: Final = 43
"""256 random bits in base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSection:
    """What the hub is."""

    database_url: str = documented(
        "SQLAlchemy URL with an async driver, e.g. sqlite+aiosqlite:////var/lib/hub.db"
        " or postgresql+asyncpg://ROLE@HOST/NAME; without a password."
    )
    state_dir: Path = documented(
        "Folder for files of this hub's own, which no other hub uses; must exist."
    )
    network: str = documented("Name of the network, as the appliance's vault names it.")
    database_password_file: Path | None = documented(
        "File (mode 0600) or credential with the password of the role in database_url.",
        None,
    )
    database_ca: Path | None = documented(
        "PEM of the authority of PostgreSQL's certificate, which is then checked along"
        " with the host name; needed off the loopback.",
        None,
    )
    lease_s: float = documented(
        "A hub that is silent for so long loses its flows to another one, seconds.", 6.0
    )
    database_pool_size: int = documented(
        "Connections to PostgreSQL that one hub holds at most.", 20
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSection:
    """Where an API listens, and who may call it."""

    enabled: bool = documented("Whether it is served.", default=True)
    listen: str = documented(
        "HOST:PORT. Other than loopback needs api_key_file or client_ca.",
        "127.0.0.1:50051",
    )
    api_key_file: Path | None = documented(
        "File (mode 0600) with the key that X-API-Key must carry; none: no key.", None
    )
    tls_certificate: Path | None = documented("PEM chain; none: no TLS.", None)
    tls_key: Path | None = documented("PEM key (mode 0600) of tls_certificate.", None)
    client_ca: Path | None = documented(
        "PEM of the authority every client certificate must come from.", None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyApiSection(ListenerSection):
    """The REST dialect of Hub 1.4.4, and the commands both dialects share."""

    strict_version_header: bool = documented(
        "Answer 400 to a request without `X-IOTA-API-Version: 1`.", default=False
    )
    max_body_bytes: int = documented("Largest request accepted, in bytes.", 1 << 20)
    sign_bundle: bool = documented(
        "Pass SignBundle on to the appliance's operators; needs token_key_file.",
        default=False,
    )
    recover_funds: bool = documented(
        "Pass RecoverFunds on to the appliance's operators.", default=False
    )
    token_key_file: Path | None = documented(
        "File (mode 0600) with the key of SignBundle tokens, 43 characters or more.",
        None,
    )
    mining_tries: int = documented("Tags tried for one RecoverFunds.", 20_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcApiSection(ListenerSection):
    """The gRPC of Hub 1.4.4."""

    enabled: bool = documented(
        "Whether it is served; with REST, one of them needs another port.",
        default=False,
    )
    error_details: Literal["code", "string"] = documented(
        "What grpc-status-details-bin holds: `code` (a serialised hub.rpc.Error) or"
        " `string` (the text that Hub 1.4.0 and later put there).",
        "code",
    )
    live_streams: bool = documented(
        "Whether subscriptions go on after what there is; otherwise they end.",
        default=False,
    )
    poll_interval_s: float = documented(
        "How often a live stream looks for events, in seconds.", 1.0
    )
    max_message_bytes: int = documented("Largest request accepted, in bytes.", 1 << 20)
    max_concurrent_calls: int = documented(
        "Calls answered at once, live streams among them; more are refused.", 256
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class V1ApiSection:
    """The API for new back ends; see api.md."""

    listen: str | None = documented(
        "IP:PORT; none: not served. Other than loopback needs tls_certificate.", None
    )
    tls_certificate: Path | None = documented("PEM chain; none: plain HTTP.", None)
    tls_key: Path | None = documented("PEM key (mode 0600) of tls_certificate.", None)
    client_ca: Path | None = documented(
        "PEM of the authority every client certificate must come from.", None
    )
    max_body_bytes: int = documented("Largest request accepted, in bytes.", 1 << 20)
    rate_per_s: float = documented(
        "Requests per second that each API key may send in the long run.", 50.0
    )
    burst: int = documented("Requests that an API key may send at once.", 100)
    keep_replies_s: int = documented(
        "How long a retry with the same Idempotency-Key is answered, in seconds;"
        " a day or more.",
        7 * 86_400,
    )
    heartbeat_s: float = documented(
        "Longest silence on a stream of events, in seconds.", 15.0
    )
    stall_s: float = documented(
        "How long a stream's reader may take nothing before it is cut, in seconds.",
        30.0,
    )
    max_streams: int = documented("Streams that an API key may hold open.", 8)
    webhook_key_file: Path | None = documented(
        "File (mode 0600) with 43 random characters or more that webhooks' secrets are"
        " derived from; none: no webhooks.",
        None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhooksSection:
    """The delivery of webhooks; they are registered by the API."""

    interval_s: float = documented("Pause between two rounds, in seconds.", 1.0)
    timeout_s: float = documented("Deadline of one delivery, in seconds.", 10.0)
    first_retry_s: float = documented(
        "Pause after the first failure; doubles with each further one, seconds.", 5.0
    )
    longest_retry_s: float = documented(
        "Longest pause between two attempts, in seconds.", 3600.0
    )
    give_up_after_s: float = documented(
        "A webhook that failed for this long is disabled, in seconds.", 259_200.0
    )
    keep_log_s: float = documented(
        "How long the delivery log is kept, in seconds.", 2_592_000.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalsSection:
    """What withdrawals need."""

    require_authorisation_above_i: int | None = documented(
        "A larger withdrawal waits for the exchange's own signature; in iota, and not"
        " below the appliance's authorise_above_i. None: none waits.",
        None,
    )
    approve_above_i: int | None = documented(
        "A larger withdrawal waits for the approval of another API key than the one"
        " that asked, in iota; None: none waits.",
        None,
    )
    limit_per_user_i: int | None = documented(
        "Most that one account may request within the window, in iota; None: no limit.",
        None,
    )
    limit_total_i: int | None = documented(
        "Most that sweeps pay within the window, in iota; the rest waits. None: no"
        " limit.",
        None,
    )
    window_s: int = documented("The sliding window of both limits, in seconds.", 86_400)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherApplianceSection:
    """One more appliance of the same journal, reached as the first one is."""

    url: str = documented("https://HOST:PORT of it (tls).", "")
    server_spki_sha256: str = documented(
        "SHA-256 of its public key (SPKI), 64 hex characters (tls).", ""
    )
    next_server_spki_sha256: str = documented(
        "Pin of the key it is about to change to; empty: none.", ""
    )
    ca: Path | None = documented(
        "PEM of the authority of its server certificate. None: the first one's.", None
    )
    device: Path | None = documented("Its serial device (serial).", None)
    key_file: Path | None = documented(
        "File with the pre-shared key for it. None: the first one's.", None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceSection:
    """How to reach the signing appliance and what to believe of it."""

    transport: Literal["tls", "serial"] = documented(
        "How it is reached: url, ca, certificate, key and server_spki_sha256 go with"
        ' "tls", device, baud and key_file with "serial".',
        "tls",
    )
    url: str = documented("https://HOST:PORT of the appliance.", "")
    ca: Path | None = documented("PEM of its server certificate's authority.", None)
    certificate: Path | None = documented("PEM of the hub's client certificate.", None)
    key: Path | None = documented("PEM key (mode 0600) of that certificate.", None)
    server_spki_sha256: str = documented(
        "SHA-256 of the appliance's public key (SPKI), 64 hex characters.", ""
    )
    device: Path | None = documented(
        "Serial device, best by its name under /dev/serial/by-id.", None
    )
    baud: int = documented("Bits per second of the line.", 115_200)
    key_file: Path | None = documented(
        "File (mode 0600) with the pre-shared key that `saltkeep-appliance serial-key"
        " make` drew.",
        None,
    )
    identity_key: Path = documented(
        "PEM of the identity key printed by `init`; receipts are checked with it."
    )
    next_server_spki_sha256: str = documented(
        "Pin of the key the appliance is about to change to; empty: none.", ""
    )
    timeout_s: float = documented(
        "Deadline of one request, in seconds; on a serial line: how long no part of it"
        " may move.",
        60.0,
    )
    others: tuple[OtherApplianceSection, ...] = documented(
        "One [[appliance.others]] per further appliance of the same journal: they share"
        " the work. The hub shows each the same client certificate.",
        (),
    )

    def every(self) -> "list[ApplianceSection]":
        """Return the way to each appliance, the first one first."""
        return [
            self,
            *(
                replace(
                    self,
                    url=other.url,
                    server_spki_sha256=other.server_spki_sha256,
                    next_server_spki_sha256=other.next_server_spki_sha256,
                    ca=other.ca or self.ca,
                    device=other.device,
                    key_file=other.key_file or self.key_file,
                    others=(),
                )
                for other in self.others
            ),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSection:
    """One node."""

    url: str = documented("http(s)://HOST:PORT of its API.")
    dialect: Literal["iri", "hornet"] = documented("Its software.", "hornet")
    zmq: str | None = documented(
        "tcp://HOST:PORT where it publishes by ZMQ; a hint that comes there brings the"
        " next look forward. None: not listened to.",
        None,
    )
    mqtt: str | None = documented(
        "mqtt://HOST:PORT, or mqtts:// for TLS, of the broker where HORNET publishes;"
        " used as zmq is. None: not listened to.",
        None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesSection:
    """The nodes and how many of them must agree."""

    endpoints: tuple[NodeSection, ...] = documented("One [[nodes.endpoints]] per node.")
    quorum: int = documented("How many nodes must agree; 1 is for a devnet only.", 1)
    timeout_s: float = documented(
        "Deadline of one request to a node, in seconds.", 10.0
    )
    hint_pause_s: float = documented(
        "However many hints come, an early look begins no sooner than this after the"
        " look before it, in seconds.",
        1.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressesSection:
    """Deposit addresses kept ready."""

    ready: int = documented(
        "Addresses kept ready, so that one is handed out at once; the receipts of these"
        " name no user. 0: each is issued when it is asked for.",
        0,
    )
    interval_s: float = documented("Pause between two looks at the pool, seconds.", 1.0)
    lanes: int = documented(
        "Addresses asked for at once; best as many as the appliance has cores.", 2
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositsSection:
    """The deposit monitor."""

    interval_s: float = documented(
        "Pause between two looks at the nodes, seconds.", 60.0
    )
    credit: CreditPolicy = documented(
        "When a deposit is spendable: `sweep` (once swept) or `confirmation`.",
        CreditPolicy.SWEEP,
    )
    keep_messages: bool = documented(
        "Store the message of each deposit (2187 trytes).", default=False
    )
    full_look_s: float = documented(
        "Within this time every address is asked for, whatever milestones say, seconds."
        " With IRI nodes every look is a full one.",
        3600.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepsSection:
    """The sweep planner."""

    interval_s: float = documented("Pause between two plans, in seconds.", 600.0)
    max_transactions: int = documented(
        "Size of one sweep's bundle, 12 or more: an input takes as many transactions as"
        " its security level, a payout one, the remainder one.",
        40,
    )
    max_unsigned: int = documented("Sweeps the appliance is asked for at once.", 4)
    kept_hub_addresses: int = documented(
        "Hub addresses kept apart, so that several sweeps can pay at once; more than"
        " that are joined, the smallest first.",
        8,
    )
    max_withdrawals: int | None = documented(
        "Withdrawals paid by one sweep; none: as many as fit.", None
    )
    max_deposits: int | None = documented(
        "Deposit addresses emptied by one sweep; none: as many as fit.", None
    )
    max_hub_inputs: int | None = documented(
        "Hub addresses emptied by one sweep; none: as many as fit.", None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentsSection:
    """Attaching, promoting and reattaching."""

    interval_s: float = documented("Pause between two rounds, in seconds.", 240.0)
    depth: int = documented("Milestones that tip selection walks back.", 3)
    min_weight_magnitude: int = documented("Trailing zero trits of a hash.", 14)
    pow: tuple[Literal["local", "remote", "iccfpga"], ...] = documented(
        "Who does the proof of work, in the order of falling back: this program, the"
        " nodes' attachToTangle, an ICCFPGA module on a serial line; one alone may"
        " stand without brackets.",
        ("local",),
    )
    iccfpga_device: Path | None = documented(
        "Serial device of the ICCFPGA module, best by its name under"
        " /dev/serial/by-id; needed when `pow` names it.",
        None,
    )
    iccfpga_timeout_s: float = documented(
        "For one nonce of the module, in seconds; then the next engine is asked.",
        30.0,
    )
    max_promotion_age_s: int = documented(
        "Tails older than this are reattached, not promoted; in seconds.", 1800
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksSection:
    """The watch over the books."""

    interval_s: float = documented("Pause between two looks, in seconds.", 10.0)
    postings: int = documented("Postings that one look takes at most.", 2000)
    balances: int = documented(
        "Accounts, and addresses, that one look compares with their entries.", 500
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSection:
    """What the hub serves."""

    legacy: LegacyApiSection = documented("The REST dialect of Hub 1.4.4.")
    grpc: GrpcApiSection = documented("The gRPC of Hub 1.4.4.")
    v1: V1ApiSection = documented("The API for new back ends.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerSection:
    """The comparison of Tangle, books and appliance."""

    interval_s: float = documented(
        "Pause between two pages of 200 addresses, in seconds.", 10.0
    )
    auditor_certificate: Path | None = documented(
        "PEM of a certificate of role auditor: with it the appliance's journal is read"
        " for what it signed; none: only what the nodes show is asked for.",
        None,
    )
    auditor_key: Path | None = documented(
        "PEM key (mode 0600) of it; on a serial line, without a certificate, the file"
        " with the auditor's pre-shared key.",
        None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSection:
    """Where Prometheus and load balancers look."""

    listen: str | None = documented(
        "HOST:PORT of /metrics, /healthz and /readyz. Other than loopback needs"
        " client_ca. None: not served.",
        None,
    )
    tls_certificate: Path | None = documented("PEM chain; none: no TLS.", None)
    tls_key: Path | None = documented("PEM key (mode 0600) of tls_certificate.", None)
    client_ca: Path | None = documented(
        "PEM of the authority every client certificate must come from.", None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSection:
    """The web pages for operators; see dashboard.md."""

    listen: str | None = documented(
        "IP:PORT; none: not served. Other than loopback needs tls_certificate.", None
    )
    tls_certificate: Path | None = documented("PEM chain; none: plain HTTP.", None)
    tls_key: Path | None = documented("PEM key (mode 0600) of tls_certificate.", None)
    client_ca: Path | None = documented(
        "PEM of the authority every browser's certificate must come from; a password is"
        " asked for all the same.",
        None,
    )
    public_url: str | None = documented(
        "https://HOST of a proxy in front that ends TLS: then the cookie is for HTTPS"
        " alone and only pages of that host may post. None: there is no proxy.",
        None,
    )
    idle_s: int = documented(
        "A session ends when nobody has used it for so long, in seconds; 300 or more.",
        1800,
    )
    session_s: int = documented(
        "A session ends so long after its log-in, in seconds.", 43_200
    )
    heartbeat_s: float = documented(
        "How often an open page looks again when nothing has happened, in seconds.",
        15.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSection:
    """Where traces go; see tracing.md."""

    endpoint: str | None = documented(
        "http(s)://HOST:PORT/v1/traces of a collector that takes OTLP by HTTP; other"
        " than loopback needs https. None: nothing is traced.",
        None,
    )
    sample: float = documented(
        "Part of the withdrawals and sweeps that are traced, above 0 and up to 1; the"
        " same ones on every hub.",
        1.0,
    )
    service_name: str = documented("What the traces call this hub.", "saltkeep-hub")
    ca: Path | None = documented(
        "PEM of the authority of the collector's certificate; none: the system's.", None
    )
    tls_certificate: Path | None = documented(
        "PEM of the client certificate shown to it; none: none is shown.", None
    )
    tls_key: Path | None = documented("PEM key (mode 0600) of tls_certificate.", None)
    token_file: Path | None = documented(
        "File (mode 0600) with what is sent as `Authorization: Bearer`; none: nothing.",
        None,
    )
    queue: int = documented("Spans that may wait to be sent; more are lost.", 8192)
    timeout_s: float = documented(
        "For one batch with all its repetitions, in seconds; then it is lost.", 10.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file; each attribute is a section of the same name."""

    hub: HubSection = documented("What the hub is.")
    api: ApiSection = documented("What the hub serves.")
    appliance: ApplianceSection = documented("The signing appliance.")
    nodes: NodesSection = documented("The nodes.")
    addresses: AddressesSection = documented("Deposit addresses kept ready.")
    deposits: DepositsSection = documented("The deposit monitor.")
    sweeps: SweepsSection = documented("The sweep planner.")
    attachments: AttachmentsSection = documented("Attachments.")
    withdrawals: WithdrawalsSection = documented("What withdrawals need.")
    webhooks: WebhooksSection = documented("The delivery of webhooks.")
    books: BooksSection = documented("The watch over the books.")
    reconciler: ReconcilerSection = documented(
        "The comparison of Tangle, books and appliance."
    )
    metrics: MetricsSection = documented("Metrics and health.")
    dashboard: DashboardSection = documented("The web pages for operators.")
    tracing: TracingSection = documented("Traces.")


def load(path: Path) -> Config:
    """Read and check the configuration file.

    Args:
        path: The TOML file. Relative paths in it are relative to its folder.

    Returns:
        The configuration.

    Raises:
        ConfigError: If the file is unreadable, has an unknown key, lacks one, or
            a value is not what it must be; the message names section and key.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"{path.name}: {error}"
        raise ConfigError(message) from error
    return parse(table, folder=path.parent)


def parse(table: Mapping[str, object], *, folder: Path) -> Config:
    """Check a configuration that was read.

    Args:
        table: As ``tomllib`` gives it.
        folder: What relative paths are relative to.

    Returns:
        The configuration.
    """
    config = read(Config, table, folder=folder)
    _require_sane(config)
    return config


def _require_sane(config: Config) -> None:
    _require_positive(config)
    nodes = config.nodes
    if not 1 <= nodes.quorum <= len(nodes.endpoints):
        message = f"nodes.quorum is {nodes.quorum} of {len(nodes.endpoints)} nodes"
        raise ConfigError(message)
    for node in nodes.endpoints:
        _require_host("zmq", node.zmq, "tcp")
        _require_host("mqtt", node.mqtt, "mqtt", "mqtts")
    _require_reachable(config)
    if "iccfpga" in config.attachments.pow and not config.attachments.iccfpga_device:
        message = "attachments.pow names iccfpga: set attachments.iccfpga_device"
        raise ConfigError(message)
    if config.sweeps.max_transactions < MIN_SWEEP_TRANSACTIONS:
        message = (
            f"sweeps.max_transactions is {config.sweeps.max_transactions}; a sweep that"
            f" always gets ahead needs {MIN_SWEEP_TRANSACTIONS}"
        )
        raise ConfigError(message)
    _require_guarded("api.legacy", config.api.legacy)
    _require_guarded("api.grpc", config.api.grpc)
    _require_served(config.api)
    if config.api.legacy.sign_bundle and config.api.legacy.token_key_file is None:
        message = "api.legacy.sign_bundle needs token_key_file"
        raise ConfigError(message)
    _require_v1_sane(config.api.v1)
    _require_dashboard_sane(config.dashboard)
    _require_safe_database(config.hub)
    if config.metrics.listen is not None:
        _require_guarded_metrics(config.metrics, config.metrics.listen)
    _require_traceable(config.tracing)


def _require_traceable(section: TracingSection) -> None:
    if not 0 < section.sample <= 1:
        raise ConfigError(f"tracing.sample is {section.sample}: above 0, up to 1")
    if (section.tls_certificate is None) != (section.tls_key is None):
        raise ConfigError("tracing.tls_certificate and tls_key go together")
    if section.endpoint is None:
        return
    url = urlsplit(section.endpoint)
    if url.scheme not in {"http", "https"} or not url.hostname or "@" in url.netloc:
        raise ConfigError("tracing.endpoint must be http(s)://HOST:PORT/v1/traces")
    if url.scheme == "http" and url.hostname not in _LOOPBACK:
        raise ConfigError("tracing.endpoint is off the loopback: it needs https")


def _require_host(name: str, url: str | None, *schemes: str) -> None:
    if url is None:
        return
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    right = parts.scheme in schemes and parts.hostname and port
    if not right or "@" in parts.netloc or parts.path.strip("/"):
        message = f"nodes.endpoints.{name} must be {schemes[0]}://HOST:PORT"
        raise ConfigError(message)


def _require_safe_database(section: HubSection) -> None:
    url = urlsplit(section.database_url)
    if not url.scheme.startswith("postgresql+asyncpg"):
        return
    if url.password is not None or "password=" in url.query:
        raise ConfigError(
            "hub.database_url must not hold a password: use database_password_file"
        )
    if section.database_ca is None and url.hostname not in _LOOPBACK:
        raise ConfigError("hub.database_url is off the loopback: set database_ca")


def _require_reachable(config: Config) -> None:
    auditor = config.reconciler
    sections = config.appliance.every()
    places = [section.device or section.url for section in sections]
    if len(set(places)) != len(places):
        message = "appliance.others: each appliance is named once"
        raise ConfigError(message)
    for number, section in enumerate(sections):
        _require_appliance("appliance.others" if number else "appliance", section)
    by_tls = config.appliance.transport == "tls"
    certified = auditor.auditor_certificate is not None
    if certified != (by_tls and auditor.auditor_key is not None):
        message = "reconciler.auditor_certificate and auditor_key go together"
        raise ConfigError(message)


def _require_appliance(name: str, section: ApplianceSection) -> None:
    tls = ("url", "ca", "certificate", "key", "server_spki_sha256")
    serial = ("device", "key_file")
    by_tls = section.transport == "tls"
    for needed in tls if by_tls else serial:
        if not getattr(section, needed):
            message = f'{name}.{needed} is needed with "{section.transport}"'
            raise ConfigError(message)
    for foreign in serial if by_tls else tls:
        if getattr(section, foreign):
            message = f'{name}.{foreign} does not go with "{section.transport}"'
            raise ConfigError(message)
    if by_tls:
        _require_pins(name, section)
        if not section.url.startswith("https://"):
            message = f"{name}.url must begin with https://"
            raise ConfigError(message)


def _require_pins(name: str, section: ApplianceSection) -> None:
    pins = {
        "server_spki_sha256": section.server_spki_sha256,
        "next_server_spki_sha256": section.next_server_spki_sha256,
    }
    for key, pin in pins.items():
        absent = not pin and key.startswith("next_")
        if not absent and not re.fullmatch("[0-9a-f]{64}", pin):
            message = f"{name}.{key} must be 64 hex characters, lower case"
            raise ConfigError(message)


def _require_positive(config: Config) -> None:
    sections: dict[str, Any] = {
        name: getattr(config, name) for name in _SECTIONS_WITH_NUMBERS
    }
    sections |= {
        "api.legacy": config.api.legacy,
        "api.grpc": config.api.grpc,
        "api.v1": config.api.v1,
    }
    for name, section in sections.items():
        for item in dataclasses.fields(section):
            value = getattr(section, item.name)
            least = 0 if item.name in _MAY_BE_ZERO else 1
            if type(value) in {int, float} and (value < 0 or value == 0 < least):
                message = f"{name}.{item.name} must be above 0, not {value}"
                raise ConfigError(message)


def listen_address(listen: str) -> tuple[str, int]:
    """Split HOST:PORT.

    Args:
        listen: As configured; an IPv6 host stands in brackets.

    Returns:
        Host and port.

    Raises:
        ConfigError: If it is not an IP address and a port.
    """
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(host)
        number = int(port)
    except ValueError as error:
        message = f"{listen!r} is not IP:PORT"
        raise ConfigError(message) from error
    return host, number


def _require_served(api: ApiSection) -> None:
    served = [section for section in (api.legacy, api.grpc) if section.enabled]
    if not served:
        message = "api.legacy and api.grpc are both off"
        raise ConfigError(message)
    both = len(served) > 1 and api.legacy.listen == api.grpc.listen
    if both and listen_address(api.grpc.listen)[1] != 0:
        message = f"api.grpc.listen {api.grpc.listen} is taken by api.legacy"
        raise ConfigError(message)


def _require_guarded_metrics(section: MetricsSection, listen: str) -> None:
    host, _ = listen_address(listen)
    if (section.tls_certificate is None) != (section.tls_key is None):
        raise ConfigError("metrics.tls_certificate and tls_key go together")
    if section.client_ca is not None and section.tls_certificate is None:
        raise ConfigError("metrics.client_ca needs tls_certificate and tls_key")
    if not ip_address(host).is_loopback and section.client_ca is None:
        raise ConfigError(f"metrics.listen {listen} needs client_ca")


def _require_guarded(name: str, section: ListenerSection) -> None:
    host, _ = listen_address(section.listen)
    if section.client_ca is not None and section.tls_certificate is None:
        message = f"{name}.client_ca needs tls_certificate and tls_key"
        raise ConfigError(message)
    if (section.tls_certificate is None) != (section.tls_key is None):
        message = f"{name}.tls_certificate and tls_key go together"
        raise ConfigError(message)
    guarded = section.client_ca is not None or section.api_key_file is not None
    if not ip_address(host).is_loopback and not guarded:
        message = f"{name}.listen {section.listen} needs api_key_file or client_ca"
        raise ConfigError(message)


def _require_v1_sane(v1: V1ApiSection) -> None:
    if (v1.tls_certificate is None) != (v1.tls_key is None):
        message = "api.v1.tls_certificate and tls_key go together"
        raise ConfigError(message)
    if v1.client_ca is not None and v1.tls_certificate is None:
        message = "api.v1.client_ca needs tls_certificate and tls_key"
        raise ConfigError(message)
    if v1.keep_replies_s < _DAY_S:
        message = "api.v1.keep_replies_s must be a day or more: 86400"
        raise ConfigError(message)
    if v1.listen is None:
        return
    host, _ = listen_address(v1.listen)
    if not ip_address(host).is_loopback and v1.tls_certificate is None:
        message = f"api.v1.listen {v1.listen} needs tls_certificate and tls_key"
        raise ConfigError(message)


def _require_dashboard_sane(section: DashboardSection) -> None:
    if (section.tls_certificate is None) != (section.tls_key is None):
        raise ConfigError("dashboard.tls_certificate and tls_key go together")
    if section.client_ca is not None and section.tls_certificate is None:
        raise ConfigError("dashboard.client_ca needs tls_certificate and tls_key")
    if section.idle_s < _LEAST_IDLE_S or section.session_s < section.idle_s:
        message = f"dashboard.idle_s is {_LEAST_IDLE_S} or more, session_s no less"
        raise ConfigError(message)
    if section.public_url is not None:
        parts = urlsplit(section.public_url)
        rest = parts.path.strip("/") or parts.query or "@" in parts.netloc
        if parts.scheme != "https" or not parts.hostname or rest:
            raise ConfigError("dashboard.public_url must be https://HOST")
    if section.listen is None:
        return
    host, _ = listen_address(section.listen)
    if not ip_address(host).is_loopback and section.tls_certificate is None:
        message = f"dashboard.listen {section.listen} needs tls_certificate and tls_key"
        raise ConfigError(message)


def read_webhook_key(path: Path) -> bytes:
    """Read the key that webhooks' secrets are derived from.

    Args:
        path: A file as ``read_secret`` takes it.

    Returns:
        The key.

    Raises:
        ConfigError: If it is too short to be a random one.
    """
    secret = read_secret(path)
    if len(secret) < _KEY_CHARACTERS:
        message = f"{path.name}: {_KEY_CHARACTERS} characters or more are needed"
        raise ConfigError(message)
    return secret.encode()


def read_secret(path: Path) -> str:
    """Read a secret from a file that nobody else can read.

    Args:
        path: A file of mode 0600 or stricter.

    Returns:
        Its text, without the white space around it.

    Raises:
        ConfigError: If it is missing, empty or open to others.
    """
    try:
        if path.stat().st_mode & _FORBIDDEN_MODE:
            message = f"{path.name} must be readable by its owner only (0600)"
            raise ConfigError(message)
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        message = f"{path.name}: {error.strerror}"
        raise ConfigError(message) from error
    if not secret:
        message = f"{path.name} is empty"
        raise ConfigError(message)
    return secret
