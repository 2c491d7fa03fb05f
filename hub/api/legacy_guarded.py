# SPDX-License-Identifier: Apache-2.0
"""The legacy commands that reached for keys: present, and answered as disabled.

Hub 1.4.4 hid them behind flags, one of them behind none. Here no hub process can
do what they did: signatures of single bundles and recoveries need approvals at
the appliance. The replies are those of the old flags left off, so that clients
that probe for them see what they know.
Source: Hub 1.4.4, hub/commands.
"""

from typing import NoReturn

from hub.api.legacy_errors import CommandRefusedError, LegacyError
from hub.api.legacy_fields import Fields


async def sign_bundle(fields: Fields) -> NoReturn:
    """Answer ``SignBundle``: two errors at once, as the old one did.

    Args:
        fields: address.

    Raises:
        CommandRefusedError: Always.
    """
    second = (
        LegacyError.MISSING_ARGUMENT
        if fields.optional("address") is None
        else LegacyError.CANCELLED
    )
    raise CommandRefusedError(LegacyError.CANCELLED, second)


async def recover_funds(fields: Fields) -> NoReturn:
    """Answer ``RecoverFunds``.

    Args:
        fields: userId, address, payoutAddress.

    Raises:
        CommandRefusedError: Always.
    """
    for name in ("userId", "address", "payoutAddress"):
        fields.text(name)
    raise CommandRefusedError(LegacyError.CANCELLED)


async def get_seed_for_address(fields: Fields) -> NoReturn:
    """Answer ``GetSeedForAddress``.

    Args:
        fields: userId, address.

    Raises:
        CommandRefusedError: Always.
    """
    for name in ("userId", "address"):
        fields.text(name)
    raise CommandRefusedError(LegacyError.CANCELLED)


async def get_seed_for_uuid(fields: Fields) -> NoReturn:
    """Answer ``GetSeedForUUID``, which no flag guarded.

    Args:
        fields: uuid.

    Raises:
        CommandRefusedError: Always.
    """
    fields.text("uuid")
    raise CommandRefusedError(LegacyError.CANCELLED)
