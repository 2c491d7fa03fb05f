# SPDX-License-Identifier: Apache-2.0
"""The configuration is read strictly; every key is documented."""

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hub.appliance_path import auditor_section
from hub.config import (
    Config,
    listen_address,
    load,
    parse,
    read_secret,
    read_webhook_key,
)
from hub.errors import ConfigError
from hub.model import CreditPolicy
from hub.strict_toml import describe

MINIMAL = """
[hub]
database_url = "sqlite+aiosqlite:///hub.db"
state_dir = "state"
network = "devnet"

[appliance]
url = "https://127.0.0.1:5443"
ca = "pki/ca.pem"
certificate = "/etc/hub.pem"
key = "pki/hub.key"
server_spki_sha256 = "%s"
identity_key = "pki/identity.pem"

[[nodes.endpoints]]
url = "http://127.0.0.1:14265"
dialect = "iri"
""" % ("ab" * 32)


def table() -> dict[str, Any]:
    return copy.deepcopy(tomllib.loads(MINIMAL))


def changed(path: str, value: object) -> dict[str, Any]:
    whole = table()
    *sections, key = path.split(".")
    inner = whole
    for name in sections:
        inner = inner.setdefault(name, {})
    inner[key] = value
    return whole


def test_a_minimal_file_is_filled_up_with_the_legacy_defaults(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(MINIMAL)
    config = load(file)
    assert config.appliance.ca == tmp_path / "pki/ca.pem"
    assert config.appliance.certificate == Path("/etc/hub.pem")
    assert config.api.legacy.listen == "127.0.0.1:50051"
    assert (config.sweeps.max_transactions, config.sweeps.max_deposits) == (40, None)
    assert config.deposits.credit is CreditPolicy.SWEEP
    assert config.nodes.endpoints[0].dialect == "iri"


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("hub.colour", "red", "unknown key hub.colour"),
        ("extra.key", 1, "unknown key extra"),
        ("api.soap", {}, "unknown key api.soap"),
        ("hub.network", 3, "hub.network must be text"),
        ("hub.network", "", "hub.network must be text"),
        ("sweeps.max_deposits", True, "sweeps.max_deposits must be integer"),
        ("sweeps.max_deposits", 1.5, "sweeps.max_deposits must be integer"),
        ("sweeps.max_deposits", 0, "sweeps.max_deposits must be above 0"),
        ("hub.database_pool_size", 0, "hub.database_pool_size must be above 0"),
        (
            "hub.database_url",
            "postgresql+asyncpg://u:hush@127.0.0.1/d",
            "must not hold a password",
        ),
        ("hub.database_url", "postgresql+asyncpg://u@h/d", "set database_ca"),
        ("sweeps.interval_s", "60", "sweeps.interval_s must be number"),
        ("deposits.credit", "never", "one of sweep, confirmation"),
        ("attachments.pow", "gpu", "one of local, remote"),
        ("attachments.pow", ["remote", "gpu"], "one of local, remote"),
        ("attachments.pow", [], "at least one"),
        ("attachments.pow", ["local", "local"], "none of them twice"),
        ("attachments.pow", ["iccfpga", "local"], "set attachments.iccfpga_device"),
        ("nodes.endpoints", [], "at least one"),
        ("nodes.endpoints", [{"url": "x", "port": 1}], "nodes.endpoints[0].port"),
        ("nodes.quorum", 2, "2 of 1 nodes"),
        ("appliance.url", "http://127.0.0.1:1", "https://"),
        ("appliance.server_spki_sha256", "AB" * 32, "64 hex"),
        ("appliance", 5, "[appliance] must be a table"),
        ("api.legacy.listen", "localhost:1", "not IP:PORT"),
        ("api.legacy.client_ca", "ca.pem", "needs tls_certificate"),
        ("api.legacy.tls_key", "a.key", "go together"),
        ("api.v1.listen", "localhost:1", "not IP:PORT"),
        ("api.v1.listen", "", "api.v1.listen must be text"),
        ("api.v1.tls_key", "a.key", "go together"),
        ("api.v1.client_ca", "ca.pem", "needs tls_certificate"),
        ("api.v1.keep_replies_s", 86_399, "a day or more"),
        ("api.v1.rate_per_s", 0.0, "api.v1.rate_per_s must be above 0"),
        ("webhooks.first_retry_s", 0, "webhooks.first_retry_s must be above 0"),
        ("withdrawals.require_authorisation_above_i", "9", "must be integer"),
        ("tracing.endpoint", "http://192.0.2.1:4318/v1/traces", "it needs https"),
        ("tracing.endpoint", "https://a:b@host/v1/traces", "http(s)://HOST:PORT"),
        ("tracing.sample", 1.5, "above 0, up to 1"),
        ("tracing.tls_key", "a.key", "go together"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    path: str, value: object, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(changed(path, value), folder=tmp_path)
    assert told in str(refusal.value)


def on_a_line(**more: object) -> dict[str, Any]:
    whole = table()
    whole["appliance"] = {
        "transport": "serial",
        "device": "/dev/serial/by-id/usb-appliance",
        "key_file": "pki/hub.key",
        "identity_key": "pki/identity.pem",
        **more,
    }
    return whole


def test_an_appliance_on_a_serial_line_needs_a_device_and_a_key(tmp_path: Path) -> None:
    found = parse(on_a_line(), folder=tmp_path).appliance
    assert found.device == Path("/dev/serial/by-id/usb-appliance")
    assert (found.key_file, found.baud) == (tmp_path / "pki/hub.key", 115_200)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"url": "https://127.0.0.1:1"}, 'appliance.url does not go with "serial"'),
        ({"transport": "tls"}, 'appliance.url is needed with "tls"'),
        ({"transport": "usb"}, "one of tls, serial"),
        ({"baud": 0}, "appliance.baud must be above 0"),
    ],
)
def test_what_belongs_to_the_other_transport_is_refused(
    more: dict[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(on_a_line(**more), folder=tmp_path)
    assert told in str(refusal.value)


def test_an_auditor_on_a_serial_line_has_a_key_and_no_certificate(
    tmp_path: Path,
) -> None:
    whole = on_a_line()
    whole["reconciler"] = {"auditor_key": "auditor.key"}
    section = auditor_section(parse(whole, folder=tmp_path))
    assert section is not None
    assert section.key_file == tmp_path / "auditor.key"
    whole["reconciler"]["auditor_certificate"] = "auditor.pem"
    with pytest.raises(ConfigError, match="go together"):
        parse(whole, folder=tmp_path)


@pytest.mark.parametrize("listen", ["0.0.0.0:50051", "[::]:50051", "192.0.2.1:80"])
def test_w7_an_open_legacy_listener_is_refused_without_a_guard(
    listen: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="needs api_key_file or client_ca"):
        parse(changed("api.legacy.listen", listen), folder=tmp_path)
    guarded = changed("api.legacy.listen", listen)
    guarded["api"]["legacy"]["api_key_file"] = "api.key"
    assert parse(guarded, folder=tmp_path).api.legacy.listen == listen


@pytest.mark.parametrize("listen", ["0.0.0.0:50053", "[::]:50053", "192.0.2.1:80"])
def test_v1_leaves_loopback_only_with_tls(listen: str, tmp_path: Path) -> None:
    whole = changed("api.v1.listen", listen)
    with pytest.raises(ConfigError, match="needs tls_certificate and tls_key"):
        parse(whole, folder=tmp_path)
    whole["api"]["v1"] |= {"tls_certificate": "a.pem", "tls_key": "a.key"}
    assert parse(whole, folder=tmp_path).api.v1.listen == listen


def test_v1_is_not_served_unless_it_is_told_where(tmp_path: Path) -> None:
    config = parse(table(), folder=tmp_path)
    assert config.api.v1.listen is None
    assert config.withdrawals.require_authorisation_above_i is None


def test_a_webhook_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "webhook.key"
    file.write_text("k" * 42)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="43 characters"):
        read_webhook_key(file)
    file.write_text("k" * 43 + "\n")
    assert read_webhook_key(file) == b"k" * 43


@pytest.mark.parametrize("key", ["network", "database_url", "state_dir"])
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    whole = table()
    del whole["hub"][key]
    with pytest.raises(ConfigError, match=f"hub.{key} is missing"):
        parse(whole, folder=tmp_path)


def test_a_file_that_is_no_toml_is_a_config_error(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError):
        load(file)
    with pytest.raises(ConfigError):
        load(tmp_path / "absent.toml")


def test_every_key_has_its_documentation_and_the_secrets_are_paths() -> None:
    settings = describe(Config)
    assert all(setting.doc.strip().endswith(".") for setting in settings)
    by_name = {f"{s.section}.{s.name}": s for s in settings}
    assert by_name["api.legacy.api_key_file"].type_name == "path"
    assert by_name["deposits.credit"].type_name == '"sweep" | "confirmation"'
    assert by_name["deposits.credit"].default == '"sweep"'
    assert by_name["hub.network"].default is None
    assert by_name["attachments.max_promotion_age_s"].default == "1800"


def test_a_secret_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "api.key"
    file.write_text("s3cret\n")
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="0600"):
        read_secret(file)
    file.chmod(0o600)
    assert read_secret(file) == "s3cret"
    file.write_text(" \n")
    with pytest.raises(ConfigError, match="empty"):
        read_secret(file)
    with pytest.raises(ConfigError):
        read_secret(tmp_path / "absent")


def test_a_listen_address_may_be_ipv6() -> None:
    assert listen_address("[::1]:50051") == ("::1", 50051)
