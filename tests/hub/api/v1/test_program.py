# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub api-key`` and the listener with TLS, as an operator meets them."""

import json
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from hub.api.listener import start_listener
from hub.api.v1.app import build_app, document_text, whole_document
from hub.clock import system_clock_ms
from hub.config import V1ApiSection
from hub.errors import ConfigError
from hub.store import Store
from tests.hub.api.certificates import Authority
from tests.hub.api.v1.serving import V1, ports_of, running_v1
from tests.hub.databases import Sqlite
from tests.hub.test_config import MINIMAL


@pytest.fixture
def databases(sqlite: Sqlite) -> Sqlite:
    """One kind of database: none of this depends on it."""
    return sqlite


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "hub.toml"
    url = f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}"
    file.write_text(MINIMAL.replace("sqlite+aiosqlite:///hub.db", url))
    return file


def hub(configuration: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hub", "--config", str(configuration)]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False
    )


async def test_a_key_is_made_listed_used_and_revoked(
    configuration: Path, tmp_path: Path
) -> None:
    made = hub(configuration, "api-key", "create", "backend", "--scope", "read")
    assert (made.returncode, made.stderr) == (0, "")
    key = made.stdout.strip()
    key_id = key.split("_")[1]
    listed = hub(configuration, "api-key", "list").stdout
    assert listed == f"{key_id}  holds  read  backend\n"
    store = Store(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}", clock=system_clock_ms)
    async with running_v1(store, system_clock_ms) as v1:
        assert (await v1.ask("GET", "/v1/users", key=key)).status == 200
        assert (await v1.ask("GET", "/v1/audit", key=key)).status == 403
        revoked = hub(configuration, "api-key", "revoke", key_id)
        assert revoked.returncode == 0
        assert (await v1.ask("GET", "/v1/users", key=key)).status == 401
        audit = (await v1.ask("GET", "/v1/audit?actor=cli")).json["items"]
        assert [line["operation"] for line in audit] == [
            "revoke-api-key",
            "create-api-key",
        ]
    await store.close()
    assert f"{key_id}  refused" in hub(configuration, "api-key", "list").stdout


def test_a_key_for_machines_is_json(configuration: Path) -> None:
    command = [sys.executable, "-m", "hub", "--config", str(configuration), "--json"]
    command += ["api-key", "create", "x", "--scope", "read", "--expires-days", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    made = json.loads(done.stdout)
    assert made["key_id"] in made["secret"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["create", "x"], 2, "--scope"),
        (["create", "x", "--scope", "odd"], 2, "odd"),
        (["create", "x" * 65, "--scope", "read"], 2, "1-64"),
        (["create", "x", "--scope", "read", "--expires-days", "0"], 2, "days"),
        (["revoke", "0" * 12], 1, "api-key-unknown: "),
    ],
)
def test_what_makes_no_sense_is_told(
    arguments: list[str], code: int, told: str, configuration: Path
) -> None:
    done = hub(configuration, "api-key", *arguments)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_document_is_printed_without_a_configuration() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hub", "openapi"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == document_text(whole_document())


async def test_with_tls_a_client_shows_its_certificate(v1: V1, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    server, client = authority.issue("server"), authority.issue("client")
    section = V1ApiSection(
        listen="127.0.0.1:0",
        tls_certificate=server.certificate,
        tls_key=server.key,
        client_ca=authority.file,
    )
    app = build_app(section, ports_of(v1))
    runner, url = await start_listener(app, "127.0.0.1:0", section, name="api.v1")
    try:
        assert url.startswith("https://")
        shown = authority.client_context(client)
        async with v1.session.get(f"{url}/v1/health", ssl=shown) as reply:
            assert reply.status == 200
        for wrong in (
            {"ssl": authority.client_context(None)},
            {"ssl": False},
        ):
            with pytest.raises(aiohttp.ClientError):
                async with v1.session.get(f"{url}/v1/health", **wrong):
                    pass
        with pytest.raises(aiohttp.ClientError):
            async with v1.session.get(url.replace("https", "http") + "/v1/health"):
                pass
        taken = url.removeprefix("https://")
        second = build_app(section, ports_of(v1))
        with pytest.raises(ConfigError, match=r"\[api.v1\] listen"):
            await start_listener(second, taken, section, name="api.v1")
    finally:
        await runner.cleanup()
