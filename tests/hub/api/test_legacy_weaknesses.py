# SPDX-License-Identifier: Apache-2.0
"""The crashes and holes of Hub 1.4.4's REST server, each by the name it is known by."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from hub.api.legacy import build_app
from hub.api.legacy_commands import commands
from hub.api.listener import tls_context
from hub.config import LegacyApiSection
from hub.errors import ConfigError
from hub.model import Address
from hub.store import Store
from tests.hub import bookkeeping as books
from tests.hub.api.certificates import Authority
from tests.hub.api.conftest import Call
from tests.hub.api.ports import SimulatedAppliance, SimulatedNodes

NO_COMMAND = '{\n    "error": "\'command\' parameter has not been specified"\n}\n'
STATS = '{"command": "GetStats"}'


def refusal(text: str) -> str:
    return '{\n    "error": "' + text + '"\n}\n'


@asynccontextmanager
async def serving(
    store: Store, section: LegacyApiSection
) -> AsyncGenerator[tuple[str, int]]:
    """Serve as the composition root will, on a free port."""
    table = commands(store, issuer=SimulatedAppliance(), oracle=SimulatedNodes())
    runner = web.AppRunner(build_app(section, table))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls_context(section))
    await site.start()
    yield runner.addresses[0][:2]
    await runner.cleanup()


@pytest.mark.parametrize(
    "body", ["{}", "[]", "17", '"x"', "null", '{"command": {}}', '{"Command": "x"}']
)
async def test_w1_a_request_without_a_command_is_answered_and_kills_nothing(
    body: str, call: Call
) -> None:
    assert await call(body) == (400, NO_COMMAND)
    assert (await call(STATS))[0] == 200


@pytest.mark.parametrize("length", [0, 1, 80, 81, 89, 91, 200])
async def test_w2_a_short_address_with_checksum_is_an_invalid_checksum(
    length: int, call: Call
) -> None:
    for fields in (
        '"UserWithdraw", "userId": "ana", "amount": 1, "payoutAddress"',
        '"WasAddressSpentFrom", "address"',
    ):
        body = f'{{"command": {fields}: "{"A" * length}", "validateChecksum": "true"}}'
        assert await call(body) == (200, refusal("Invalid checksum"))
    assert (await call(STATS))[0] == 200


async def test_w3_a_batch_beyond_ten_thousand_bytes_is_processed(
    store: Store, call: Call
) -> None:
    await books.funded_user(store, "ana", 1000)
    for number in range(400):
        await books.open_user(store, f"user-{number:04}")
    transfers = [{"userId": f"user-{n:04}", "amount": 1} for n in range(400)]
    transfers.append({"userId": "ana", "amount": -400})
    body = json.dumps({"command": "ProcessTransferBatch", "transfers": transfers})
    assert len(body) > 10_000
    assert await call(body) == (200, "{\n}\n")


async def test_w3_a_body_over_the_limit_is_told_so(store: Store) -> None:
    section = LegacyApiSection(max_body_bytes=2000)
    table = commands(store, issuer=SimulatedAppliance(), oracle=SimulatedNodes())
    async with (
        TestClient(TestServer(build_app(section, table))) as client,
        client.post("/", data=b"x" * 2001) as reply,
    ):
        assert (reply.status, await reply.text()) == (413, "Request body too large")


async def test_w4_no_command_gives_a_seed(store: Store, call: Call) -> None:
    await books.open_user(store, "ana")
    for length in (1, 64, 65, 10_000):
        body = f'{{"command": "GetSeedForUUID", "uuid": "{"A" * length}"}}'
        assert await call(body) == (200, refusal("Cancelled"))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_another_method_is_refused_in_the_old_words(
    method: str, client: TestClient
) -> None:
    async with client.request(method, "/any/path?x=1") as reply:
        assert (reply.status, await reply.text()) == (400, "Unknown HTTP-method")
        assert reply.headers["Content-Type"] == "text/html"


async def test_path_headers_and_content_type_do_not_matter(client: TestClient) -> None:
    for path in ("/", "/v1/whatever", "/%ff"):
        async with client.post(
            path, data=STATS, headers={"Content-Type": "image/png"}
        ) as reply:
            assert reply.status == 200
            assert reply.headers["Content-Type"] == "text/html"


async def test_the_version_header_is_asked_for_only_in_strict_mode(
    store: Store,
) -> None:
    section = LegacyApiSection(strict_version_header=True)
    table = commands(store, issuer=SimulatedAppliance(), oracle=SimulatedNodes())
    async with TestClient(TestServer(build_app(section, table))) as client:
        async with client.post("/", data=STATS) as reply:
            assert reply.status == 400
        version = {"X-IOTA-API-Version": "1"}
        async with client.post("/", data=STATS, headers=version) as reply:
            assert reply.status == 200


async def test_w7_a_configured_key_is_asked_of_every_request(
    store: Store, tmp_path: Path
) -> None:
    key_file = tmp_path / "api.key"
    key_file.write_text("kéy-123\n")
    key_file.chmod(0o600)
    table = commands(store, issuer=SimulatedAppliance(), oracle=SimulatedNodes())
    app = build_app(LegacyApiSection(api_key_file=key_file), table)
    async with TestClient(TestServer(app)) as client:
        for headers in ({}, {"X-API-Key": "kéy-12"}, {"Authorization": "kéy-123"}):
            async with client.post("/", data=STATS, headers=headers) as reply:
                assert (reply.status, await reply.text()) == (401, "Unauthorized")
        async with client.post(
            "/", data=STATS, headers={"X-API-Key": "kéy-123"}
        ) as reply:
            assert reply.status == 200


async def test_w7_plaintext_and_strangers_get_nothing_from_a_tls_listener(
    store: Store, tmp_path: Path
) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    server = ours.issue("server")
    section = LegacyApiSection(
        tls_certificate=server.certificate, tls_key=server.key, client_ca=ours.file
    )
    async with (
        serving(store, section) as (host, port),
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"http://{host}:{port}/", data=STATS)
        for client in (None, theirs.issue("stranger")):
            with pytest.raises((aiohttp.ClientError, ssl.SSLError, OSError)):
                await _post(session, host, port, ours.client_context(client))
        friend = ours.client_context(ours.issue("exchange"))
        assert await _post(session, host, port, friend) == 200


async def _post(
    session: aiohttp.ClientSession, host: str, port: int, context: ssl.SSLContext
) -> int:
    url = f"https://{host}:{port}/"
    async with session.post(url, data=STATS, ssl=context) as reply:
        return reply.status


def test_w7_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    server = Authority(tmp_path).issue("server")
    server.key.chmod(0o644)
    section = LegacyApiSection(tls_certificate=server.certificate, tls_key=server.key)
    with pytest.raises(ConfigError, match="0600"):
        tls_context(section)


INTEGERS = ["abc", "1e3", "1.5", "", " 5", "0x10", "1_000", "٣", "9" * 20, str(1 << 64)]


@pytest.mark.parametrize("amount", INTEGERS)
async def test_w28_an_amount_is_what_is_written_or_nothing(
    amount: str, store: Store, call: Call
) -> None:
    await books.funded_user(store, "ana", 100)
    address = "A" * 80 + "9"
    body = {
        "command": "UserWithdraw",
        "userId": "ana",
        "amount": amount,
        "payoutAddress": address,
    }
    assert await call(json.dumps(body)) == (200, refusal("Missing argument"))
    body["amount"] = "-5"  # once 18446744073709551611 i
    assert await call(json.dumps(body)) == (200, refusal("Unknown error"))
    assert "100" in (await call('{"command": "GetBalance", "userId": "ana"}'))[1]


@pytest.mark.parametrize("when", ['"abc"', "-1", "1.0", "true", "null", "{}", '""'])
@pytest.mark.parametrize("command", ["BalanceSubscription", "SweepSubscription"])
async def test_w28_a_time_is_what_is_written_or_nothing(
    command: str, when: str, call: Call
) -> None:
    body = f'{{"command": "{command}", "newerThan": {when}}}'
    assert await call(body) == (200, refusal("Missing argument"))


async def test_w21_concurrent_withdrawals_never_take_more_than_there_is(
    store: Store, call: Call
) -> None:
    await books.funded_user(store, "ana", 100)
    body = (
        '{"command": "UserWithdraw", "userId": "ana", "amount": 7,'
        f' "payoutAddress": "{"A" * 80}9"}}'
    )
    replies = await asyncio.gather(*(call(body) for _ in range(40)))
    granted = [text for _, text in replies if "uuid" in text]
    refused = [text for _, text in replies if "uuid" not in text]
    assert len(granted) == 100 // 7
    assert set(refused) == {refusal("Insufficient balance")}


async def test_w21_concurrent_batches_never_overdraw(store: Store, call: Call) -> None:
    await books.funded_user(store, "ana", 10)
    await books.open_user(store, "bob")
    body = (
        '{"command": "ProcessTransferBatch", "transfers": ['
        '{"userId": "ana", "amount": -3}, {"userId": "bob", "amount": 3}]}'
    )
    replies = await asyncio.gather(*(call(body) for _ in range(20)))
    assert [text for _, text in replies].count("{\n}\n") == 3
    assert {text for _, text in replies} == {"{\n}\n", refusal("Batch is inconsistent")}


async def test_a_database_that_fails_is_an_unknown_error_and_no_crash(
    store: Store, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    async with store.transaction() as tx:
        await tx.accounts._connection.exec_driver_sql(
            "ALTER TABLE account RENAME TO gone"
        )
    assert await call(STATS) == (200, refusal("Unknown error"))
    assert "command failed: GetStats" in caplog.text
    async with store.transaction() as tx:
        await tx.accounts._connection.exec_driver_sql(
            "ALTER TABLE gone RENAME TO account"
        )
    assert (await call(STATS))[1].startswith('{\n    "totalBalance"')


async def test_w24_the_level_of_an_input_is_known_without_asking(
    store: Store, call: Call
) -> None:
    """The old Hub asked its signing server once per input, each time anew."""
    await books.open_user(store, "ana")
    _, text = await call('{"command": "GetDepositAddress", "userId": "ana"}')
    async with store.reading() as tx:
        own = await tx.addresses.find(Address(json.loads(text)["address"]))
    assert own is not None
    assert own.issued.security_level == 2


async def test_w23_two_events_of_one_second_have_times_of_their_own(
    store: Store, call: Call, clock: books.ManualClock
) -> None:
    """Pages are not there yet; a poller no longer gets a whole second twice."""
    await books.funded_user(store, "ana", 5)
    await books.open_user(store, "bob")
    for _ in range(2):
        clock.advance(by_ms=1)
        batch = [{"userId": "ana", "amount": -1}, {"userId": "bob", "amount": 1}]
        body = json.dumps({"command": "ProcessTransferBatch", "transfers": batch})
        assert await call(body) == (200, "{\n}\n")
    since = clock.now_ms
    history = {"command": "GetUserHistory", "userId": "bob", "newerThan": since}
    _, text = await call(json.dumps(history))
    assert [one["timestamp"] for one in json.loads(text).values()] == [str(since)]
