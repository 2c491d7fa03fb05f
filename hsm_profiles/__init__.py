# SPDX-License-Identifier: Apache-2.0
"""What each HSM can and cannot do, as data: one TOML file per profile.

A leaf: imports nothing of ours. A difference between tokens is a field here,
never an ``if vendor`` in the appliance. Read ``softhsm2.toml`` first.
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

WrapMechanism = Literal["aes-gcm", "aes-cbc"]


class ProfileError(Exception):
    """A profile is unknown, malformed, or its module is not installed."""

    code = "hsm-profile"


class HsmProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of token.

    Attributes:
        id: Name used in configuration.
        title: Name for people.
        tier: ``tested`` (the suite runs on it) or ``documented``.
        module_candidates: Where the PKCS#11 module may lie, in order.
        wrap: How the HSM protects a 32-byte data key.
        mac_key_bits: Length of the HMAC-SHA256 key.
        pin_min_length: Shortest PIN the token takes.
        pin_max_length: Longest PIN the token takes.
        initialise: ``c-init-token`` where the standard call works, else
            ``external`` (the vendor's tool).
        sources: Where each fact comes from.
    """

    id: str
    title: str
    tier: Literal["tested", "documented"]
    module_candidates: list[str]
    wrap: WrapMechanism
    mac_key_bits: int
    pin_min_length: int
    pin_max_length: int
    initialise: Literal["c-init-token", "external"]
    sources: dict[str, str]

    def find_module(self) -> str:
        """Return the first installed module of the candidates.

        Returns:
            Its path.

        Raises:
            ProfileError: If none is there.
        """
        for candidate in self.module_candidates:
            if Path(candidate).is_file():
                return candidate
        tried = ", ".join(self.module_candidates)
        raise ProfileError(
            f"no PKCS#11 module of {self.title} found; tried {tried}. Install it"
            " or set hsm.module in the configuration"
        )


def load_profile(profile_id: str) -> HsmProfile:
    """Read one profile by its id.

    Args:
        profile_id: The name of its file.

    Returns:
        The profile.

    Raises:
        ProfileError: If there is none of that name or its file is malformed.
    """
    names = sorted(
        entry.name.removesuffix(".toml")
        for entry in resources.files(__name__).iterdir()
        if entry.name.endswith(".toml")
    )
    if profile_id not in names:
        raise ProfileError(f"unknown HSM profile {profile_id!r}; known: {names}")
    text = resources.files(__name__).joinpath(f"{profile_id}.toml").read_text("utf-8")
    try:
        return msgspec.convert(tomllib.loads(text), HsmProfile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ProfileError(f"HSM profile {profile_id}: {error}") from error
