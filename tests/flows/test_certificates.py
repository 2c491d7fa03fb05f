# SPDX-License-Identifier: Apache-2.0
"""Certificates by command: enrolment, renewal under load, and what is refused."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import click
import pytest
from click.testing import CliRunner
from cryptography import x509

from authority.__main__ import cli as ca
from hub.__main__ import cli as hub_cli
from hub.key_pair import KeyPair, spki_sha256
from tests.flows.hub_process import HubProcess
from tests.flows.world import Appliance, free_port, hub_table

PASSPHRASE = "correct horse battery"
PATIENCE_S = 30.0
NOWHERE = [("http://127.0.0.1:9", "iri")]


def run(
    program: click.Group, *words: str, passphrase: str = "", expect: int = 0
) -> str:
    """Give a command as a user does; return what it says."""
    arguments = list(words)
    if passphrase:
        reading, writing = os.pipe()
        os.write(writing, f"{passphrase}\n".encode())
        os.close(writing)
        arguments += ["--passphrase-fd", str(reading)]  # closed by who reads it
    done = CliRunner().invoke(program, arguments)
    assert done.exit_code == expect, done.output
    return done.output


def openssl(*words: str) -> None:
    """Ask a peer that is none of ours."""
    done = subprocess.run(
        ["openssl", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Authority:
    """An authority made by its command."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, request: Path, role: str, *, days: int = 30) -> Path:
        out = request.with_suffix(".pem")
        command = ["issue", str(self.folder), str(request)]
        command += ["--role", role, "--days", str(days), "--out", str(out), "--yes"]
        run(ca, *command, passphrase=PASSPHRASE)
        return out


def make_authority(folder: Path) -> Authority:
    run(ca, "init", str(folder), "--name", "Test", passphrase=PASSPHRASE)
    return Authority(folder)


@dataclass
class Served:
    """A hub whose ``/v1`` has a certificate that was enrolled by command."""

    hub: HubProcess
    authority: Authority
    url: str
    folder: Path
    pair: KeyPair

    def command(self, *words: str, expect: int = 0) -> str:
        config = str(self.hub.configuration)
        return run(hub_cli, "--config", config, "certificate", *words, expect=expect)

    def renew(self, *, role: str = "hub-server") -> Path:
        request = self.folder / "asked.csr"
        self.command("renew", "api.v1", "--out", str(request))
        return self.authority.issue(request, role)

    def install(self, certificate: Path, *, expect: int = 0) -> str:
        words = [
            "install",
            "api.v1",
            str(certificate),
            "--ca",
            str(self.authority.file),
        ]
        return self.command(*words, expect=expect)

    def files(self) -> tuple[bytes, bytes]:
        return self.pair.certificate.read_bytes(), self.pair.key.read_bytes()

    async def shown(self) -> str:
        """Return the key that a new connection is shown."""
        context = ssl.create_default_context(cafile=self.authority.file)
        _, writer = await asyncio.open_connection(
            "127.0.0.1", int(self.url.rpartition(":")[2]), ssl=context
        )
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return spki_sha256(x509.load_der_x509_certificate(der).public_key())

    async def until_shown(self, key: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.shown() != key:
                await asyncio.sleep(0.1)


@pytest.fixture
async def served(template: Path, tmp_path: Path) -> AsyncGenerator[Served]:
    """A hub whose appliance and nodes are away: it serves all the same."""
    authority = make_authority(tmp_path / "ca")
    folder = tmp_path / "hub"
    folder.mkdir()
    port = free_port()
    table = hub_table(Appliance(template, port=9), NOWHERE, folder)
    pair = KeyPair(folder / "v1.pem", folder / "v1.key", is_server=True)
    table["api"]["v1"] = {
        "listen": f"127.0.0.1:{port}",
        "tls_certificate": str(pair.certificate),
        "tls_key": str(pair.key),
    }
    hub = HubProcess(table, folder)
    made = Served(hub, authority, f"https://127.0.0.1:{port}", folder, pair)
    request = folder / "asked.csr"
    made.command(
        *("request", "api.v1", "--name", "hub", "--out", str(request)),
        *("--host", "127.0.0.1", "--host", "hub.example"),
    )
    made.install(authority.issue(request, "hub-server"))
    hub.start()
    try:
        yield made
    finally:
        assert hub.stop() == 0


async def test_a_listener_changes_its_certificate_under_load_and_no_request_fails(
    served: Served,
) -> None:
    context = ssl.create_default_context(cafile=served.authority.file)
    answered, stop = 0, asyncio.Event()

    async def hammer(*, keep: bool) -> None:
        nonlocal answered
        connector = aiohttp.TCPConnector(ssl=context, force_close=not keep)
        async with aiohttp.ClientSession(connector=connector) as session:
            while not stop.is_set():
                url = f"{served.url}/v1/openapi.json"
                async with session.get(url) as reply:
                    assert reply.status == 200
                    await reply.read()
                answered += 1

    async with asyncio.TaskGroup() as group:
        for keep in (True, False, True, False):
            group.create_task(hammer(keep=keep))
        keys = {await served.shown()}
        for _ in range(2):
            told = await asyncio.to_thread(lambda: served.install(served.renew()))
            key = told.split()[1]
            await served.until_shown(key)
            keys.add(key)
        stop.set()
    assert len(keys) == 3
    assert answered > 100


async def test_the_chain_is_what_openssl_takes_for_one(served: Served) -> None:
    verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"]
    openssl(*verify, str(served.authority.file), str(served.pair.certificate))
    listed = json.loads(run(ca, "--json", "list", str(served.authority.folder)))
    assert [one["role"] for one in listed] == ["hub-server"]
    assert listed[0]["key"] == await served.shown()
    assert len(listed[0]["serial"]) > 30
    assert served.pair.key.stat().st_mode & 0o777 == 0o600


async def test_what_does_not_fit_is_refused_and_changes_nothing(
    served: Served, tmp_path: Path
) -> None:
    before = served.files()
    stranger = make_authority(tmp_path / "stranger")
    request = served.folder / "asked.csr"
    served.command("renew", "api.v1", "--out", str(request))
    of_stranger = stranger.issue(request, "hub-server")
    assert "authority" in served.install(of_stranger, expect=1)
    other = KeyPair(tmp_path / "o.pem", tmp_path / "o.key", is_server=False)
    pem, _ = other.request("hub", [])
    asked = tmp_path / "o.csr"
    asked.write_text(pem)
    assert "another key" in served.install(
        served.authority.issue(asked, "hub"), expect=1
    )
    bare = tmp_path / "bare.csr"
    key = served.pair.next_key
    openssl("req", "-new", "-key", str(key), "-subj", "/CN=hub", "-out", str(bare))
    as_client = served.authority.issue(bare, "hub")
    assert "for a server" in served.install(as_client, expect=1)
    assert "no certificate" in served.install(asked, expect=1)
    assert served.files() == before
    fine = served.authority.issue(request, "hub-server")
    served.install(fine)
    assert served.files() != before


@pytest.mark.parametrize(
    "failpoint", ["hub.certificate.written", "hub.certificate.key-switched"]
)
async def test_a_kill_between_key_and_certificate_is_mended_by_the_next_start(
    served: Served, failpoint: str
) -> None:
    certificate = await asyncio.to_thread(served.renew)
    frozen = served.folder / "cut"
    command = [sys.executable, "-m", "hub", "--config", str(served.hub.configuration)]
    command += ["certificate", "install", "api.v1", str(certificate)]
    command += ["--ca", str(served.authority.file)]
    environment = os.environ | {
        "SALTKEEP_FAILPOINT": failpoint,
        "SALTKEEP_FAILPOINT_FILE": str(frozen),
    }
    with subprocess.Popen(command, env=environment) as cut:  # noqa: ASYNC220 - it stops itself
        while not frozen.exists() or not frozen.read_text():
            await asyncio.sleep(0.02)
        cut.send_signal(signal.SIGKILL)
    assert served.hub.stop() == 0
    served.hub.start()
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    assert await served.shown() == spki_sha256(leaf.public_key())
    assert not served.pair.next_key.exists()
