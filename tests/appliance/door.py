# SPDX-License-Identifier: Apache-2.0
"""A policy that opens the dangerous doors, and bundles to pass them with."""

import asyncio
import base64
from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from appliance.intent import computed_hash
from appliance.policy_file import policy_digest
from appliance.wire import (
    Done,
    MineBundle,
    MiningReport,
    MiningStatus,
    SecondSignature,
    SetPolicy,
    Signed,
    SignTransfer,
)
from tests.appliance.box import Box, sign_with
from tests.appliance.bundles import Coin, bundle

OPEN = "[doors]\nsecond_signatures = true\nleast_bits = 70\n"
TRIES = 200_000


def set_policy(box: Box, version: int, more: str) -> SetPolicy:
    """Return a next policy, signed by two operators; ``more`` are its last lines."""
    text = (box.folder / "policy.toml").read_text()
    text = text.replace("version = 1", f"version = {version}") + f"\n{more}"
    digest = policy_digest(text)
    names = ("operator-1", "operator-2")
    signatures = [sign_with(box.folder, name, digest) for name in names]
    return SetPolicy(request_id="p", text=text, signatures=signatures)


async def put_policy(box: Box, version: int, more: str) -> None:
    await box.expect(set_policy(box, version, more), Done, name="operator-1")


def officer() -> tuple[X25519PrivateKey, str]:
    """Return an officer's key, and the lines of the policy that name it."""
    key = X25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    return key, f'[[officers]]\nname = "olga"\nkey = "{public}"\n'


async def spent_coin(box: Box) -> tuple[Coin, SignTransfer]:
    """Return a coin whose key has signed, and the bundle it signed."""
    coin = await box.coin()
    first = bundle([coin])
    await box.expect(first, Signed)
    return coin, first


async def mined(
    box: Box, request: SignTransfer, *, tries: int = TRIES, name: str = "hub"
) -> SignTransfer:
    """Have the appliance mine a bundle; return it with the best tag."""
    ask = MineBundle(
        request_id="m",
        transactions=request.transactions,
        inputs=request.inputs,
        own_outputs=request.own_outputs,
        tries=tries,
    )
    report = await box.expect(ask, MiningReport, name=name)
    while report.state == "running":
        await asyncio.sleep(0.02)
        status = MiningStatus(request_id="s", job=report.job)
        report = await box.expect(status, MiningReport, name=name)
    assert report.state == "done", report
    return with_tag(request, report.obsolete_tag)


def with_tag(request: SignTransfer, tag: str) -> SignTransfer:
    """Return a bundle with another counter in transaction 0."""
    first, *rest = request.transactions
    transactions = [msgspec.structs.replace(first, obsolete_tag=tag), *rest]
    return msgspec.structs.replace(
        request, transactions=transactions, bundle_hash=computed_hash(transactions)
    )


def second(
    request: SignTransfer, spent_inputs: Sequence[int] = (0,)
) -> SecondSignature:
    """Return the act that asks for a bundle's signatures through the door."""
    return SecondSignature(
        request_id="",
        purpose="recover-funds",
        transactions=request.transactions,
        bundle_hash=request.bundle_hash,
        inputs=request.inputs,
        spent_inputs=list(spent_inputs),
        own_outputs=request.own_outputs,
        authorisations=request.authorisations,
    )
