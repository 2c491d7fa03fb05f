# SPDX-License-Identifier: Apache-2.0
"""An appliance that was taken over: everything is real but some of its answers.

It has the HSM, the server's certificate and the journal, so that hubs take it for
the one they pinned; ``lie`` says what becomes of an answer before it leaves.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from appliance import service
from appliance.config import Client, load_config
from appliance.receipt import RECEIPT_TYPE, make_statement
from appliance.server import Server
from appliance.wire import Reply, Request
from tests.flows.world import Appliance

Claims = dict[str, Any]
_COORDINATE_BYTES: Final = 32


Lie = Callable[[Request, Reply], Awaitable[Reply]]


async def truth(_: Request, reply: Reply) -> Reply:
    return reply


class LyingAppliance(service.Appliance):
    """The service as it is, with a lie at its end."""

    lie: Lie
    asked: list[Request]
    told: list[Reply]

    async def handle(self, request: Request, client: Client) -> Reply:
        self.asked.append(request)
        told = await self.lie(request, await super().handle(request, client))
        self.told.append(told)
        return told

    async def statement(self, claims: Claims, *, kind: str = RECEIPT_TYPE) -> str:
        """Return a statement by the true identity key."""
        vault = self.life.require_running().vault
        return await self.life._hsm_thread(
            make_statement,
            kind,
            claims,
            point=vault.identity_point,
            sign_digest=vault.sign_digest,
        )


def forged_statement(claims: Claims) -> str:
    """Return a receipt by a key of somebody else's."""
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    coordinates = (numbers.x, numbers.y)
    point = b"\4" + b"".join(n.to_bytes(_COORDINATE_BYTES) for n in coordinates)

    def sign_digest(digest: bytes) -> bytes:
        der = key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        pair = utils.decode_dss_signature(der)
        return b"".join(n.to_bytes(_COORDINATE_BYTES) for n in pair)

    return make_statement(RECEIPT_TYPE, claims, point=point, sign_digest=sign_digest)


@contextlib.asynccontextmanager
async def running_liar(appliance: Appliance) -> AsyncGenerator[LyingAppliance]:
    """Serve an appliance's folder in this process; truthful until told to lie."""
    config = load_config(appliance.configuration)
    liar = LyingAppliance(config, "none")
    liar.lie, liar.asked, liar.told = truth, [], []
    server = Server(config, liar)
    runner, port = await server.start()
    try:
        assert port == appliance.port
        assert await liar.check(), liar.life.unready
        yield liar
    finally:
        await runner.cleanup()
        await server.drain()
        await liar.close()
