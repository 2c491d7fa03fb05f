# SPDX-License-Identifier: Apache-2.0
"""The salt of an old Hub, and its addresses derived without the appliance."""

from argon2.low_level import Type, hash_secret_raw

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
