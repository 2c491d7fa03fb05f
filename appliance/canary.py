# SPDX-License-Identifier: Apache-2.0
"""The canary of a salt generation, derived without an appliance."""

from appliance.argon2_engines import SEED_BYTES, Engine, regenerate_seed
from appliance.errors import VaultError
from appliance.vault import Generation
from trinary import winternitz
from trinary.memory import HugeArena, LockedBuffer

_KIB = 1024


def canary_seed(
    generation: Generation, salt: LockedBuffer, *, allow_unlocked: bool
) -> LockedBuffer:
    """Derive the seed of a generation's canary; one Argon2 run.

    Args:
        generation: Whose canary.
        salt: Its salt; stays open.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        48 bytes; the caller closes them.
    """
    memory_bytes = generation.argon2.memory_kib * _KIB
    arena = HugeArena(memory_bytes, allow_unlocked=allow_unlocked)
    seed = LockedBuffer(SEED_BYTES, allow_unlocked=allow_unlocked)
    try:
        regenerate_seed(
            generation.canary_uuid,
            salt,
            generation.argon2,
            engine=Engine.REFERENCE,
            arena=arena,
            into=seed,
        )
    except BaseException:
        seed.close()
        raise
    finally:
        arena.close()
    return seed


def require_canary_seed(generation: Generation, seed: LockedBuffer) -> str:
    """Insist that a seed gives the canary's address.

    Args:
        generation: Whose canary.
        seed: From ``canary_seed``.

    Returns:
        A line that says so.

    Raises:
        VaultError: If it gives another address than at its making.
    """
    address = winternitz.address(seed.view, level=generation.security_level)
    if address != generation.canary_address:
        raise VaultError(
            f"the canary of generation {generation.id} derives to another address:"
            " this file can not be used"
        )
    return f"generation {generation.id}: canary {address[:12]}… derived"


def require_canary(
    generation: Generation, salt: LockedBuffer, *, allow_unlocked: bool
) -> str:
    """Insist that a salt is what it was: its canary gives the same address.

    Args:
        generation: Whose salt.
        salt: Stays open.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        A line that says so.
    """
    with canary_seed(generation, salt, allow_unlocked=allow_unlocked) as seed:
        return require_canary_seed(generation, seed)
