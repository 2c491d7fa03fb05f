# SPDX-License-Identifier: Apache-2.0
"""Where an installation keeps things, and how its secrets are read in."""

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from appliance import config as config_file
from appliance.config import Config
from appliance.errors import ConfigError
from appliance.hsm import Hsm, TokenAccess
from firmware_bridge.keys import PAIRING_KEY_BYTES
from hsm_profiles import HsmProfile, ProfileError, load_profile
from trinary.memory import LockedBuffer

_MAX_PIN_BYTES: Final = 255
MAX_SALT_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of one state folder.

    Attributes:
        folder: The folder itself, mode 0700.
    """

    folder: Path

    @property
    def vault(self) -> Path:
        """The vault file."""
        return self.folder / "vault.json"

    @property
    def journal(self) -> Path:
        """The journal's database."""
        return self.folder / "journal.db"

    @property
    def mirror(self) -> Path:
        """The local mirror of spent keys, where the journal is shared."""
        return self.folder / "mirror.db"

    @property
    def latch(self) -> Path:
        """The seal latch."""
        return self.folder / "seal.latch"

    @property
    def rotation(self) -> Path:
        """Present while a rotation of an HSM key is under way."""
        return self.folder / "rotation.json"

    @property
    def planned_id(self) -> Path:
        """The id `init` chose, while an external tool makes the keys for it."""
        return self.folder / "planned-id"

    @property
    def policy(self) -> Path:
        """Copy of the policy in force, for the time while it is sealed."""
        return self.folder / "policy.json"

    @property
    def unsealed(self) -> Path:
        """What the journal is still to be told of an `unseal`."""
        return self.folder / "unsealed.json"

    @property
    def join(self) -> Path:
        """Present between ``join begin`` and ``join finish``."""
        return self.folder / "join.json"

    @property
    def transfers(self) -> Path:
        """Where salts for a joining appliance are written, encrypted to it."""
        return self.folder / "transfers"

    @property
    def clients(self) -> Path:
        """Copy of what the journal says of clients."""
        return self.folder / "clients.json"

    @property
    def backups(self) -> Path:
        """Where backups are written, encrypted, to be taken away."""
        return self.folder / "backups"

    @property
    def exports(self) -> Path:
        """Where exported seeds are written, encrypted to an officer."""
        return self.folder / "exports"

    @property
    def pin_latch(self) -> Path:
        """Present while the token has refused the PIN."""
        return self.folder / "pin.latch"


def token_access(config: Config) -> TokenAccess:
    """Return how the configured token is reached; see ``access_to``."""
    return access_to(config.hsm, latch=Paths(Path(config.state_dir)).pin_latch)


def access_to(hsm: config_file.Hsm, *, latch: Path | None) -> TokenAccess:
    """Return how a token that an appliance shall rest on is reached.

    Args:
        hsm: An ``[hsm]`` table.
        latch: What is written when the token refuses the PIN; None: a file beside
            the PIN's. That one bars logins in any case.

    Returns:
        How.

    Raises:
        ConfigError: If profile or module are not to be had, the profile wants
            environment variables that are not there, the token can not sign
            receipts, or keys can be got out of it and nobody has accepted that.
    """
    access = probe_access(hsm, latch=latch)
    profile = access.profile
    _require_production(profile, allow_unsafe=hsm.allow_unsafe_hsm)
    if profile.identity.mechanism == "none":
        raise ConfigError(
            f"{profile.title} makes no P-256 keys, and receipts are signed with one: no"
            " appliance can rest on it"
        )
    return replace(access, careful=False)


def probe_access(hsm: config_file.Hsm, *, latch: Path | None) -> TokenAccess:
    """Return how a token is reached to be tried, whatever it may be worth.

    Args:
        hsm: An ``[hsm]`` table.
        latch: As for ``access_to``.

    Returns:
        How; it does not log in where the token shows wrong PINs before.

    Raises:
        ConfigError: If profile or module are not to be had, the profile wants
            environment variables that are not there, or no latch can be written.
    """
    try:
        profile = load_profile(hsm.profile)
        module = hsm.module or profile.find_module()
    except ProfileError as error:
        raise ConfigError(str(error)) from error
    missing = set(profile.module.environment) - set(hsm.environment)
    if missing:
        raise ConfigError(
            f"{profile.title} needs {', '.join(sorted(missing))} in [hsm] environment"
        )
    beside = pin_latch_beside(hsm.pin_file)
    latches = [one for one in (latch, beside) if one is not None]
    if not latches:
        raise ConfigError(
            "this PIN must come from a file: a PIN that the token refuses is barred by"
            " a latch beside it"
        )
    return TokenAccess(
        profile=profile,
        module=module,
        token_label=hsm.token_label,
        environment=hsm.environment,
        call_timeout_s=hsm.call_timeout_s,
        pin_latch=latches[0],
        other_latches=tuple(latches[1:]),
        careful=True,
    )


def pin_latch_beside(pin_file: str) -> Path | None:
    """Return the latch that lies beside a PIN file, or None where there is no file."""
    if pin_file.startswith(("credential:", "fd:")):
        return None
    return Path(f"{pin_file}.latch")


def _require_production(profile: HsmProfile, *, allow_unsafe: bool) -> None:
    if profile.production == "unsafe" and not allow_unsafe:
        raise ConfigError(
            f"{profile.title} is unsafe: {profile.production_reason} Take another"
            " token, or set allow_unsafe_hsm in [hsm] for a test",
            code="unsafe-hsm",
        )


def open_hsm(config: Config) -> Hsm:
    """Return the configured HSM; nothing is started before its first call."""
    access = token_access(config)
    pin = read_pin(config.hsm.pin_file, allow_unlocked=config.derivation.allow_unlocked)
    return Hsm(access, pin)


def open_other_token(path: Path, *, allow_unlocked: bool) -> Hsm:
    """Return the HSM that a file with one ``[hsm]`` table describes.

    Args:
        path: The file; nobody but its owner may have any right on it, since it names
            a module to be loaded, and the owner is root or who runs this program.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        The HSM; nothing is started before its first call.

    Raises:
        ConfigError: If file, profile, module or PIN are not as they must be.
    """
    require_private(path, what="the description of the token")
    if path.stat().st_uid not in {0, os.geteuid()}:
        raise ConfigError(f"{path} belongs to somebody else")
    hsm = config_file.load_token(path)
    access = access_to(hsm, latch=None)
    return Hsm(access, read_pin(hsm.pin_file, allow_unlocked=allow_unlocked))


def read_pin(source: str, *, allow_unlocked: bool) -> LockedBuffer:
    """Read the token's PIN once, straight into locked memory.

    Args:
        source: A path (mode 0600 or stricter), ``credential:NAME`` (systemd) or
            ``fd:N``.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        The PIN without a final line end.

    Raises:
        ConfigError: If it is missing, empty, too long or readable by others.
    """
    return _read_secret(source, _MAX_PIN_BYTES, allow_unlocked=allow_unlocked)


def read_salt(source: str, *, allow_unlocked: bool) -> LockedBuffer:
    """Read a salt to be imported; see ``read_pin`` for the arguments.

    Returns:
        The salt without a final line end.

    Raises:
        ConfigError: If it is missing, empty, too long or readable by others.
    """
    return _read_secret(source, MAX_SALT_BYTES, allow_unlocked=allow_unlocked)


def read_password(source: str, *, allow_unlocked: bool) -> LockedBuffer:
    """Read a database's password; see ``read_pin`` for the arguments.

    Returns:
        The password without a final line end.

    Raises:
        ConfigError: If it is missing, empty, too long or readable by others.
    """
    return _read_secret(source, _MAX_PIN_BYTES, allow_unlocked=allow_unlocked)


def read_panel_key(source: str, *, allow_unlocked: bool) -> LockedBuffer:
    """Read a panel's pairing key, raw bytes; see ``read_pin`` for the arguments.

    Returns:
        The 32 bytes; none of them is a line end.

    Raises:
        ConfigError: If it is missing, of another size, or readable by others.
    """
    descriptor = _open_secret(source)
    key = LockedBuffer(PAIRING_KEY_BYTES, allow_unlocked=allow_unlocked)
    try:
        whole = os.readv(descriptor, [key.view]) == PAIRING_KEY_BYTES
        if not whole or os.read(descriptor, 1):
            key.close()
            raise ConfigError(f"{source} is no panel's key: 32 bytes, by `pair`")
    finally:
        os.close(descriptor)
    return key


def _read_secret(source: str, max_bytes: int, *, allow_unlocked: bool) -> LockedBuffer:
    descriptor = _open_secret(source)
    try:
        with LockedBuffer(max_bytes + 1, allow_unlocked=allow_unlocked) as buffer:
            size = os.readv(descriptor, [buffer.view])
            for line_end in b"\n\r":  # one at most: a salt may end in another
                size -= size > 0 and buffer.view[size - 1] == line_end
            if not 0 < size <= max_bytes:
                raise ConfigError(f"the secret in {source} has 1 to {max_bytes} bytes")
            secret = LockedBuffer(size, allow_unlocked=allow_unlocked)
            secret.view[:] = buffer.view[:size]
            return secret
    finally:
        os.close(descriptor)


def require_private(path: Path, *, what: str) -> None:
    """Insist that nobody but its owner can use a file or folder.

    Args:
        path: The file or folder.
        what: What it is, for the message.

    Raises:
        ConfigError: If it is missing, or group or others have any right on it.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{what} {path}: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        wanted = "0700" if stat.S_ISDIR(mode) else "0600"
        raise ConfigError(
            f"{what} {path} has mode {stat.S_IMODE(mode):04o}: make it {wanted}"
        )


def _open_secret(source: str) -> int:
    if source.startswith("fd:"):
        try:
            return os.dup(int(source.removeprefix("fd:")))
        except (ValueError, OSError) as error:
            raise ConfigError(f"{source}: no such descriptor") from error
    path = Path(source)
    if source.startswith("credential:"):
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder:
            raise ConfigError("no systemd credentials here ($CREDENTIALS_DIRECTORY)")
        path = Path(folder) / source.removeprefix("credential:")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"cannot read the secret {path}: {error.strerror}") from error
    if os.fstat(descriptor).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        os.close(descriptor)
        raise ConfigError(f"{path} holds a secret: make it mode 0600")
    return descriptor
