# SPDX-License-Identifier: Apache-2.0
"""From the flags of an old Hub to a configuration of this one; pure but for reading.

What a flag file can not say (where the appliance is, where our own database is) comes
from a configuration file beside it. A key that both set must be the same in both.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hub.config import Config, parse
from hub.errors import ConfigError
from hub.flag_table import SWITCHES, Becomes, Ignored, is_given, row_of, switch
from hub.flag_table import TABLE as FLAGS
from hub.flagfile import Flag, read_flagfile

_LISTEN: Final = "127.0.0.1:50051"
_NODE: Final = "127.0.0.1:14265"
_PLACEHOLDERS: Final[Mapping[str, str]] = {
    "hub.database_url": "sqlite+aiosqlite:///hub.db",
    "hub.state_dir": ".",
    "hub.network": "mainnet",
    "appliance.url": "https://127.0.0.1:5443",
    "appliance.ca": "appliance-ca.pem",
    "appliance.certificate": "hub.pem",
    "appliance.key": "hub.key",
    "appliance.server_spki_sha256": "0" * 64,
    "appliance.identity_key": "identity.pem",
}
"""What no flag says and no configuration may lack."""


@dataclass(frozen=True, slots=True)
class Translation:
    """What a flag file became.

    Attributes:
        said: Keys that its flags set, by their full names.
        implied: Keys that Hub 1.4.4's defaults would have set.
        notes: One line per flag that sets nothing, with the reason.
    """

    said: Mapping[str, Any]
    implied: Mapping[str, Any]
    notes: tuple[str, ...]


def translate(path: Path) -> Translation:
    """Read a flag file and translate it.

    Args:
        path: The file.

    Returns:
        What it became; ``ConfigError`` if a flag is unknown, unreadable, or asks for
        what can not be. No message tells a value.
    """
    flags = read_flagfile(path, switches=SWITCHES)
    said: dict[str, Any] = {}
    notes: list[str] = []
    for name, flag in flags.items():
        row = row_of(name)
        if isinstance(row, Becomes):
            said[row.key] = _read(row, flag)
        else:
            _require_possible(row, flag)
            if name not in _JOINED:
                notes.append(f"--{name} is ignored: {row.why}")
    implied = {
        row.key: row.read(row.implied)
        for row in FLAGS.values()
        if isinstance(row, Becomes) and row.implied is not None and row.key not in said
    }
    _require_one_lane(flags)
    said_api, implied_api, more = _api(flags)
    said_nodes, implied_nodes = _nodes(flags)
    return Translation(
        said | said_api | said_nodes,
        implied | implied_api | implied_nodes,
        (*notes, *more),
    )


_JOINED: Final = frozenset(
    {"serverType", "listenAddress", "authMode", "apiAddress", "useHttpsIRI"}
    | {"sslCert", "sslKey", "sslCA"}
)
"""Flags that only together say something: ``_api`` and ``_nodes`` read them."""


def combine(translation: Translation, base: Mapping[str, Any]) -> dict[str, Any]:
    """Put a translation and a configuration file together.

    Args:
        translation: Of the flag file.
        base: The configuration file, as ``tomllib`` gives it.

    Returns:
        One table for ``hub.config.parse``.

    Raises:
        ConfigError: If both set a key, and not to the same.
    """
    given = dict(_leaves(base))
    for key, value in translation.said.items():
        if given.get(key, value) != value:
            message = f"{key}: the configuration and the flag file differ"
            raise ConfigError(message)
    return _table({**translation.implied, **given, **translation.said})


def configuration(path: Path, base: Path | None) -> Config:
    """Read a hub's configuration from a flag file and a file beside it.

    Args:
        path: The flag file.
        base: The configuration file with what no flag can say.

    Returns:
        The configuration.

    Raises:
        ConfigError: If there is no such file, or the two do not fit.
    """
    if base is None:
        message = (
            "a flag file does not say where the appliance and our database are: give"
            " --config FILE with [hub] and [appliance], or write a whole configuration"
            " with `saltkeep-hub translate-flagfile`"
        )
        raise ConfigError(message)
    table = combine(translate(path), _load(base))
    return parse(table, folder=base.parent)


def as_toml(path: Path, base: Path | None) -> str:
    """Write a whole configuration from a flag file.

    Args:
        path: The flag file.
        base: A configuration file with what no flag can say; None puts stand-ins
            where that is.

    Returns:
        TOML that ``hub.config.load`` takes, told above it what was ignored and why.
    """
    translation = translate(path)
    given = _load(base) if base is not None else {}
    table = combine(translation, given)
    missing = {k: v for k, v in _PLACEHOLDERS.items() if k not in dict(_leaves(table))}
    whole = _table(dict(_leaves(table)) | missing)
    parse(whole, folder=Path())
    lines = [f"# Translated from {path.name}.", *(f"# {n}" for n in translation.notes)]
    lines += [f"# {key} is a stand-in: put yours there." for key in missing]
    return "\n".join([*lines, *_written(whole, "")]) + "\n"


# --- flags that belong together ----------------------------------------------


def _api(flags: Mapping[str, Flag]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Translate what says how the API is served."""
    kind = _text(flags, "serverType") or "grpc"
    mode = _text(flags, "authMode") or "none"
    if kind not in {"grpc", "http"} or mode not in {"none", "ssl"}:
        message = "--serverType is grpc or http, --authMode is none or ssl"
        raise ConfigError(message)
    section = "api.grpc" if kind == "grpc" else "api.legacy"
    said: dict[str, Any] = {}
    implied: dict[str, Any] = {
        "api.grpc.enabled": kind == "grpc",
        "api.legacy.enabled": kind == "http",
        f"{section}.listen": _LISTEN,
    }
    notes = []
    if kind == "grpc":
        implied["api.grpc.error_details"] = "string"
        notes.append("api.grpc.error_details is `string`, as of Hub 1.4.0")
    if listen := _text(flags, "listenAddress"):
        host, _, port = listen.rpartition(":")
        host = "127.0.0.1" if host == "localhost" else host
        said[f"{section}.listen"] = f"{host}:{port}"
    else:
        notes.append("no --listenAddress: Hub 1.4.4 was open to all, this is not")
    names = {"sslCert": "tls_certificate", "sslKey": "tls_key", "sslCA": "client_ca"}
    files = {n: flags[n] for n in names if n in flags and is_given(flags[n].value)}
    if mode == "none":
        notes += [f"--{name} is ignored without --authMode ssl" for name in files]
        return said, implied, notes
    for name, flag in files.items():
        said[f"{section}.{names[name]}"] = str(flag.folder / flag.value)
    return said, implied, notes


def _nodes(flags: Mapping[str, Flag]) -> tuple[dict[str, Any], dict[str, Any]]:
    address = _text(flags, "apiAddress")
    https = flags.get("useHttpsIRI")
    secure = https is not None and _read(Becomes("", switch), https)
    url = f"{'https' if secure else 'http'}://{address or _NODE}"
    nodes = {"nodes.endpoints": [{"url": url, "dialect": "iri"}]}
    return (nodes, {}) if address else ({}, nodes)


def _text(flags: Mapping[str, Flag], name: str) -> str:
    return flags[name].value if name in flags else ""


def _require_one_lane(flags: Mapping[str, Flag]) -> None:
    if _text(flags, "argon2Parallelism") not in {"", "1"}:
        message = (
            "--argon2Parallelism: an appliance imports salts of one lane only; seeds"
            " made with more can not be derived"
        )
        raise ConfigError(message)


def _require_possible(row: Ignored, flag: Flag) -> None:
    refused = row.refused or {}
    reason = refused.get(flag.value) or (refused.get("*") if flag.value else None)
    if reason:
        message = f"--{flag.name}: {reason}"
        raise ConfigError(message)


def _read(row: Becomes, flag: Flag) -> object:
    try:
        return row.read(flag.value)
    except ValueError as error:
        message = f"--{flag.name} must be {error}"
        raise ConfigError(message) from error


# --- tables ------------------------------------------------------------------


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"{path.name}: {error}"
        raise ConfigError(message) from error


def _leaves(table: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{where}{name}.")
        else:
            yield f"{where}{name}", value


def _table(leaves: Mapping[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for key, value in leaves.items():
        *sections, name = key.split(".")
        inner = whole
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return whole


def _written(table: Mapping[str, Any], where: str) -> Iterator[str]:
    """Write tables; keys before the tables inside, as TOML wants it."""
    inner = {k: v for k, v in table.items() if _is_inner(v)}
    if where and len(inner) < len(table):
        yield f"\n[{where}]"
    for name, value in table.items():
        if name not in inner:
            yield f"{name} = {_toml(value)}"
    for name, value in inner.items():
        path = f"{where}.{name}".strip(".")
        if isinstance(value, Mapping):
            yield from _written(value, path)
            continue
        for entry in value:
            yield f"\n[[{path}]]"
            yield from (f"{k} = {_toml(v)}" for k, v in entry.items())


def _is_inner(value: object) -> bool:
    """Tell tables, and lists of them, from values."""
    if isinstance(value, list):
        return any(isinstance(entry, Mapping) for entry in value)
    return isinstance(value, Mapping)


def _toml(value: object) -> str:
    # What JSON makes of texts, numbers, booleans and lists of them is TOML as well.
    return json.dumps(value, ensure_ascii=False)
