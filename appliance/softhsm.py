# SPDX-License-Identifier: Apache-2.0
"""A whole appliance on SoftHSM2 in one folder, for CI and demonstrations.

Token, PIN, private CA, certificates of a hub, two operators and an auditor, and a
configuration that ``saltkeep-appliance serve`` takes as it is. Not for production:
SoftHSM keeps its keys in files.
"""

import contextlib
import datetime as dt
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.ceremony import (
    FirstGeneration,
    Foundation,
    Initialised,
    check_strength,
    initialise,
)
from appliance.certificates import (
    KeyPair,
    certificate_pem,
    make_authority,
    make_certificate,
    spki_sha256,
)
from appliance.config import Config, load_config
from appliance.errors import ConfigError
from appliance.hsm import Hsm, TokenAccess, initialise_token
from appliance.installation import (
    Paths,
    open_hsm,
    read_pin,
    read_salt,
    token_access,
)
from appliance.journal_database import database_of
from appliance.operator_keys import (
    load_operator_key,
    make_operator_key,
    sign_as_operator,
)
from appliance.policy_file import SignedPolicy, parse_policy, policy_digest
from hsm_profiles import ProfileError, load_profile

_LABEL: Final = "saltkeep"
_PIN_BYTES: Final = 12
_SCRATCH_TIMEOUT_S: Final = 10.0
CLIENT_ROLES: Final = {
    "hub": "hub",
    "operator-1": "operator",
    "operator-2": "operator",
    "auditor": "auditor",
}
OPERATORS: Final = ("operator-1", "operator-2", "operator-3")
"""Who approves; their keys lie in the folder ``operators``."""


@dataclass(frozen=True, slots=True)
class SoftHsmOptions:
    """What may differ between two such appliances.

    Attributes:
        first: The first salt generation.
        host: Address it listens on.
        port: TCP port; 0 picks a free one.
        salt_source: Where a salt to import is read from; empty: random.
        policy: Lines of the configuration's ``[policy]`` table.
        allow_unlocked: Go on where memory can not be locked.
        workers: Concurrent Argon2 runs; 0: one per core.
        journal: Lines of the configuration's ``[journal]`` table.
    """

    first: FirstGeneration
    host: str = "127.0.0.1"
    port: int = 9443
    salt_source: str = ""
    policy: tuple[str, ...] = ()
    allow_unlocked: bool = True
    workers: int = 0
    journal: tuple[str, ...] = ()


async def make_softhsm_appliance(
    folder: Path, options: SoftHsmOptions, *, now: dt.datetime
) -> tuple[Config, Initialised]:
    """Make everything in ``folder``.

    Args:
        folder: Must be empty or missing.
        options: See there.
        now: The time, with its zone.

    Returns:
        The configuration as written, and what ``init`` has to print.
    """
    with contextlib.ExitStack() as undo:
        salt = None
        if options.salt_source:
            salt = read_salt(options.salt_source, allow_unlocked=options.allow_unlocked)
            undo.callback(salt.close)
        check_strength(options.first, salt)  # before anything is written
        config = _prepare(folder, options, now)
        policy = _make_policy(folder, options.first.network)
        hsm = open_hsm(config)
        undo.callback(hsm.close)
        made = await initialise(
            Paths(Path(config.state_dir)),
            hsm,
            Foundation(options.first, policy, salt),
            allow_unlocked=options.allow_unlocked,
            now_ms=int(now.timestamp() * 1000),
            database=database_of(config),
        )
    Path(config.state_dir).with_name("identity.pem").write_text(made.identity_pem)
    return config, made


def _prepare(folder: Path, options: SoftHsmOptions, now: dt.datetime) -> Config:
    """Write PIN, token, certificates and configuration.

    Returns:
        The configuration.

    Raises:
        ConfigError: If the folder holds something.
    """
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    pin = secrets.token_hex(_PIN_BYTES)
    _write_private(folder / "pin", pin)
    _write_token_configuration(folder)
    pins = _write_certificates(folder / "tls", options.host, now)
    _write_private(folder / "appliance.toml", _configuration(folder, options, pins))
    config = load_config(folder / "appliance.toml")
    initialise_token(
        token_access(config), officer_pin=secrets.token_hex(_PIN_BYTES), user_pin=pin
    )
    return config


@contextlib.contextmanager
def scratch_hsm(folder: Path) -> Iterator[Hsm]:
    """Make a SoftHSM2 token to be thrown away.

    Args:
        folder: Where its files lie; the caller removes it.

    Yields:
        The token, open; its PIN is known to nobody else.

    Raises:
        ConfigError: If SoftHSM2 is not installed.
    """
    _write_token_configuration(folder)
    pin = secrets.token_hex(_PIN_BYTES)
    _write_private(folder / "pin", pin)
    try:
        profile = load_profile("softhsm2")
        module = profile.find_module()
    except ProfileError as error:
        raise ConfigError(str(error)) from error
    access = TokenAccess(
        profile=profile,
        module=module,
        token_label="scratch",  # noqa: S106 - a name
        environment={"SOFTHSM2_CONF": str(folder / "softhsm2.conf")},
        call_timeout_s=_SCRATCH_TIMEOUT_S,
        pin_latch=folder / "pin.latch",
    )
    initialise_token(access, officer_pin=secrets.token_hex(_PIN_BYTES), user_pin=pin)
    hsm = Hsm(access, read_pin(str(folder / "pin"), allow_unlocked=True))
    try:
        yield hsm
    finally:
        hsm.close()


def _make_policy(folder: Path, network: str) -> SignedPolicy:
    """Write a key for each operator, and a first policy that two of them sign."""
    keys = folder / "operators"
    keys.mkdir(mode=0o700)
    lines = ["version = 1", f"network = {json.dumps(network)}"]
    for name in OPERATORS:
        public = make_operator_key(keys / f"{name}.key")
        lines += ["", "[[operators]]", f'name = "{name}"', f'key = "{public}"']
    text = "\n".join([*lines, ""])
    (folder / "policy.toml").write_text(text)
    content = parse_policy(text)
    digest = policy_digest(text)
    signatures = [
        sign_as_operator(load_operator_key(keys / f"{name}.key"), digest, content)
        for name in OPERATORS[:2]
    ]
    return SignedPolicy(text=text, signatures=signatures)


def _write_token_configuration(folder: Path) -> None:
    tokens = folder / "tokens"
    tokens.mkdir(mode=0o700)
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {tokens}\n"
        "objectstore.backend = file\n"
        "log.level = ERROR\n"
        "slots.removable = false\n"
    )


def _write_certificates(folder: Path, host: str, now: dt.datetime) -> dict[str, str]:
    """Write CA, server and client certificates; return the pins by name."""
    authority = make_authority("Saltkeep private CA", now=now)
    authority.write(folder, "ca")
    hosts = tuple(dict.fromkeys((host, "localhost", "127.0.0.1")))
    pairs: dict[str, KeyPair] = {
        "appliance": make_certificate(
            authority, "appliance", server=True, now=now, hosts=hosts
        )
    }
    for name in CLIENT_ROLES:
        pairs[name] = make_certificate(authority, name, server=False, now=now)
    for name, pair in pairs.items():
        pair.write(folder, name)
    (folder / "ca.pem").write_bytes(certificate_pem(authority.certificate))
    return {name: spki_sha256(pair.certificate) for name, pair in pairs.items()}


def _configuration(folder: Path, options: SoftHsmOptions, pins: dict[str, str]) -> str:
    clients = "\n".join(
        f'[[clients]]\nname = "{name}"\nrole = "{role}"\nspki_sha256 = "{pins[name]}"\n'
        for name, role in CLIENT_ROLES.items()
    )
    policy = "\n".join(options.policy)
    journal = "\n".join(options.journal)
    return f"""\
# Saltkeep appliance on SoftHSM2: for CI and demonstrations only.
# Pin of this appliance's server key, for its clients:
# server_spki_sha256 = "{pins["appliance"]}"
state_dir = "state"

[listen]
host = "{options.host}"
port = {options.port}
certificate = "tls/appliance.pem"
key = "tls/appliance.key"
client_ca = "tls/ca.pem"

[hsm]
profile = "softhsm2"
token_label = "{_LABEL}"
pin_file = "pin"
environment = {{ SOFTHSM2_CONF = "{folder / "softhsm2.conf"}" }}

[journal]
{journal}

[derivation]
allow_unlocked = {str(options.allow_unlocked).lower()}
workers = {options.workers}

[policy]
{policy}

{clients}"""


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
