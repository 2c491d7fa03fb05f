# SPDX-License-Identifier: Apache-2.0
"""What each HSM can and cannot do, as data: one TOML file per profile.

A leaf: imports nothing of ours. A difference between tokens is a field here,
never an ``if vendor`` in the appliance. Read ``softhsm2.toml`` first, then
``schema``, which says what every field means. A profile of one's own is a file
outside this folder, named by its path; ``saltkeep-appliance probe`` writes one.
"""

import tomllib
from importlib import resources
from pathlib import Path

import msgspec

from hsm_profiles.schema import (
    MACS,
    WRAPS,
    Bug,
    Fact,
    HsmProfile,
    MacMechanism,
    ProfileError,
    WrapMechanism,
)

__all__ = [
    "MACS",
    "WRAPS",
    "Bug",
    "Fact",
    "HsmProfile",
    "MacMechanism",
    "ProfileError",
    "WrapMechanism",
    "load_profile",
    "parse_profile",
    "profile_names",
]


def profile_names() -> list[str]:
    """Return the ids of the profiles that come with the program."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in resources.files(__name__).iterdir()
        if entry.name.endswith(".toml")
    )


def load_profile(profile_id: str) -> HsmProfile:
    """Read one profile.

    Args:
        profile_id: The name of a file here without ``.toml``; or the path of a
            profile of one's own, which holds a ``/``.

    Returns:
        The profile.

    Raises:
        ProfileError: If there is none of that name or its file is malformed.
    """
    if Path(profile_id).is_absolute():
        try:
            return parse_profile(Path(profile_id).read_text("utf-8"), name=profile_id)
        except OSError as error:
            raise ProfileError(f"HSM profile {profile_id}: {error.strerror}") from error
    names = profile_names()
    if profile_id not in names:
        raise ProfileError(
            f"unknown HSM profile {profile_id!r}; known: {names}, or the absolute path"
            " of a profile of your own"
        )
    text = resources.files(__name__).joinpath(f"{profile_id}.toml").read_text("utf-8")
    return parse_profile(text, name=profile_id)


def parse_profile(text: str, *, name: str) -> HsmProfile:
    """Read a profile's text.

    Args:
        text: TOML.
        name: What it is called, for the message.

    Returns:
        The profile.

    Raises:
        ProfileError: If it is malformed, names an unknown field, or a field has no
            fact that says where it comes from.
    """
    try:
        profile = msgspec.convert(tomllib.loads(text), HsmProfile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ProfileError(f"HSM profile {name}: {error}") from error
    wrong = profile.unfounded()
    if wrong:
        raise ProfileError(f"HSM profile {name}: {'; '.join(wrong)}")
    return profile
