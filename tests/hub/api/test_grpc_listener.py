# SPDX-License-Identifier: Apache-2.0
"""Who may reach the gRPC listener, and what it does with what is too much."""

import socket
from pathlib import Path
from typing import Any

import grpc
import pytest

from hub.api.grpc_server import GrpcApi
from hub.api.legacy_history import HistoryCommands
from hub.config import GrpcApiSection, parse
from hub.errors import ConfigError
from hub.store import Store
from tests.hub import bookkeeping as books
from tests.hub.api.certificates import Authority, Pair
from tests.hub.api.conftest import Dial, Serve
from tests.hub.api.old_client import OldClient, Refused, refused
from tests.hub.test_config import changed

OPEN = ["0.0.0.0:50051", "[::]:50051", "192.0.2.1:80"]


@pytest.mark.parametrize("listen", OPEN)
def test_w7_an_open_grpc_listener_is_refused_without_a_guard(
    listen: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="needs api_key_file or client_ca"):
        parse(changed("api.grpc.listen", listen), folder=tmp_path)
    guarded = changed("api.grpc.listen", listen)
    guarded["api"]["grpc"]["api_key_file"] = "api.key"
    assert parse(guarded, folder=tmp_path).api.grpc.listen == listen


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"grpc": {"enabled": True}}, "taken by api.legacy"),
        ({"legacy": {"enabled": False}}, "both off"),
        ({"grpc": {"error_details": "both"}}, "one of code, string"),
        ({"grpc": {"client_ca": "ca.pem"}}, "needs tls_certificate"),
        ({"grpc": {"poll_interval_s": 0}}, "api.grpc.poll_interval_s must be above 0"),
    ],
)
def test_a_grpc_section_that_makes_no_sense_is_refused(
    sections: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        parse(changed("api", sections), folder=tmp_path)


async def test_w7_a_configured_key_is_asked_of_every_call(
    store: Store, tmp_path: Path, serve: Serve
) -> None:
    await books.open_user(store, "ana")
    key_file = tmp_path / "api.key"
    key_file.write_text("key-123\n")
    key_file.chmod(0o600)
    async with (
        serve(api_key_file=key_file) as (_, target),
        grpc.aio.insecure_channel(target) as channel,
    ):
        for key in ("", "key-12", "KEY-123"):
            stranger = OldClient(channel, api_key=key)
            with pytest.raises(Refused) as call:
                await stranger.call("GetBalance", userId="ana")
            with pytest.raises(Refused) as stream:
                await stranger.dump("BalanceSubscription")
            for refusal in (call.value, stream.value):
                assert refusal.status is grpc.StatusCode.UNAUTHENTICATED
        friend = OldClient(channel, api_key="key-123")
        assert (await friend.ask("GetBalance", userId="ana")).available == 0
        assert await friend.dump("BalanceSubscription") == []


async def test_w7_plaintext_and_strangers_get_nothing_from_a_tls_listener(
    store: Store, tmp_path: Path, serve: Serve
) -> None:
    await books.open_user(store, "ana")
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    server = ours.issue("server")
    guarded = serve(
        tls_certificate=server.certificate, tls_key=server.key, client_ca=ours.file
    )
    async with guarded as (_, target):
        async with grpc.aio.insecure_channel(target) as channel:
            with pytest.raises(Refused) as plain:
                await OldClient(channel).call("GetStats")
        assert plain.value.status is grpc.StatusCode.UNAVAILABLE
        for client in (None, theirs.issue("stranger")):
            async with grpc.aio.secure_channel(target, shown(ours, client)) as channel:
                with pytest.raises(Refused) as refusal:
                    await OldClient(channel).call("GetStats")
            assert refusal.value.status is grpc.StatusCode.UNAVAILABLE
        credentials = shown(ours, ours.issue("exchange"))
        async with grpc.aio.secure_channel(target, credentials) as channel:
            balance = await OldClient(channel).ask("GetBalance", userId="ana")
    assert balance.available == 0


async def test_a_renewed_certificate_is_shown_to_new_connections_and_no_call_fails(
    tmp_path: Path, serve: Serve
) -> None:
    before, after = Authority(tmp_path / "before"), Authority(tmp_path / "after")
    old, new = before.issue("server"), after.issue("server")
    async with (
        serve(tls_certificate=old.certificate, tls_key=old.key) as (_, target),
        grpc.aio.secure_channel(target, shown(before, None)) as opened,
    ):
        await OldClient(opened).call("GetStats")
        new.key.rename(old.key)
        await OldClient(opened).call("GetStats")
        async with grpc.aio.secure_channel(target, shown(before, None)) as between:
            await OldClient(between).call("GetStats")
        new.certificate.rename(old.certificate)
        async with grpc.aio.secure_channel(target, shown(after, None)) as renewed:
            await OldClient(renewed).call("GetStats")
        await OldClient(opened).call("GetStats")
        async with grpc.aio.secure_channel(target, shown(before, None)) as late:
            with pytest.raises(Refused) as refusal:
                await OldClient(late).call("GetStats")
        assert refusal.value.status is grpc.StatusCode.UNAVAILABLE


def shown(authority: Authority, client: Pair | None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        authority.file.read_bytes(),
        client and client.key.read_bytes(),
        client and client.certificate.read_bytes(),
    )


async def test_w7_a_key_file_that_others_can_read_is_refused(
    tmp_path: Path, serve: Serve
) -> None:
    server = Authority(tmp_path).issue("server")
    server.key.chmod(0o644)
    with pytest.raises(ConfigError, match="0600"):
        async with serve(tls_certificate=server.certificate, tls_key=server.key):
            pass


async def test_a_port_that_is_taken_is_a_config_error(store: Store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        api = GrpcApi(GrpcApiSection(listen=listen), {}, HistoryCommands(store))
        with pytest.raises(ConfigError, match="listen"):
            await api.start()


async def test_w1_no_message_ends_the_process(store: Store, dial: Dial) -> None:
    await books.open_user(store, "ana")
    async with dial(max_message_bytes=2000) as client:
        method = client._channel.unary_unary("/hub.rpc.Hub/GetBalance")
        for junk in (b"\xff" * 10, b"\x0a\x02\xff\xfe", b"x" * 2001):
            with pytest.raises(grpc.aio.AioRpcError):
                await method(junk)
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await client._channel.unary_unary("/hub.rpc.Hub/Nothing")(b"")
        assert refused(unknown.value).status is grpc.StatusCode.UNIMPLEMENTED
        assert (await client.ask("GetBalance", userId="ana")).available == 0


async def test_w8_what_the_old_grpc_got_wrong_is_right(
    store: Store,
    dial: Dial,
    nodes: Any,  # noqa: ANN401
) -> None:
    """History found no user; spent was always false; a failed cancel was a reply."""
    await books.funded_user(store, "ana", 10)
    spent = "A" * 80 + "9"
    nodes.spent.add(spent)
    async with dial() as client:
        history = await client.ask("GetUserHistory", userId="ana")
        answer = await client.ask("WasAddressSpentFrom", address=spent)
        with pytest.raises(Refused):
            await client.call("UserWithdrawCancel", uuid="no-uuid")
    assert [one.amount for one in history.events] == [10]
    assert answer.wasAddressSpentFrom
