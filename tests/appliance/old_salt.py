# SPDX-License-Identifier: Apache-2.0
"""The salt of an old Hub, its addresses derived elsewhere, and its last word."""

import json

from argon2.low_level import Type, hash_secret_raw

from appliance.intent import commit
from appliance.wire import RunCeremony
from tests.appliance.box import Box
from trinary.winternitz import address as derive

SALT = "abcdefghijklmnopqrstuvwxyz"


def old_address(seed_uuid: str) -> str:
    """Derive an address as the old Hub did, with another Argon2 than ours."""
    seed = hash_secret_raw(
        seed_uuid.encode(),
        SALT.encode(),
        time_cost=1,
        memory_cost=256,
        parallelism=1,
        hash_len=48,
        type=Type.ID,
    )
    return derive(seed, level=2)


async def by_two(box: Box, act: RunCeremony) -> None:
    proposed = await box.propose(act)
    await box.approve(proposed, 1)
    await box.approve(proposed, 2)


async def tell(box: Box, spent: list[str]) -> None:
    """Import the keys that the old Hub has spent, by two operators."""
    keys = [{"commitment": commit(uuid), "hashes": "unknown"} for uuid in spent]
    file = {
        "format": "saltkeep-interchange/1",
        "network": (await box.status()).network,
        "keys": keys,
    }
    await by_two(
        box,
        RunCeremony(
            request_id="", ceremony="import-interchange", subject=json.dumps(file)
        ),
    )
