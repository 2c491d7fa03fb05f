# SPDX-License-Identifier: Apache-2.0
"""Tokens: one address, one bundle, once, for a short time."""

import hmac
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hub.api import legacy_tokens
from hub.api.legacy_tokens import (
    TokenGate,
    TokenInvalidError,
    make_token,
    require_key,
)
from hub.errors import ConfigError
from hub.model import Address, BundleHash

KEY = b"0123456789012345678901234567890123456789abc"
ADDRESS = Address("A" * 80 + "9")
BUNDLE = BundleHash("B" * 81)
NOW_S = 1_800_000_000


class Clock:
    now_s = NOW_S

    def __call__(self) -> int:
        return self.now_s * 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(tmp_path: Path, clock: Clock) -> TokenGate:
    return TokenGate(KEY, tmp_path / "used", clock=clock)


def token(expires_s: int = NOW_S + 60) -> str:
    return make_token(KEY, ADDRESS, BUNDLE, expires_s=expires_s)


def test_a_token_is_admitted_once(gate: TokenGate) -> None:
    one = token()
    gate.admit(one, ADDRESS, BUNDLE)
    with pytest.raises(TokenInvalidError, match="used before"):
        gate.admit(one, ADDRESS, BUNDLE)
    gate.admit(token(), ADDRESS, BUNDLE)  # another one of the same


def test_a_used_token_stays_used_after_a_restart(
    gate: TokenGate, tmp_path: Path, clock: Clock
) -> None:
    one = token()
    gate.admit(one, ADDRESS, BUNDLE)
    again = TokenGate(KEY, tmp_path / "used", clock=clock)
    with pytest.raises(TokenInvalidError, match="used before"):
        again.admit(one, ADDRESS, BUNDLE)
    assert stat.S_IMODE((tmp_path / "used").stat().st_mode) == 0o600


def test_what_is_used_is_forgotten_once_it_has_expired(
    gate: TokenGate, tmp_path: Path, clock: Clock
) -> None:
    one = token()
    gate.admit(one, ADDRESS, BUNDLE)
    clock.now_s = NOW_S + 60
    with pytest.raises(TokenInvalidError, match="expired"):
        gate.admit(one, ADDRESS, BUNDLE)
    later = token(NOW_S + 120)
    gate.admit(later, ADDRESS, BUNDLE)
    assert (tmp_path / "used").read_text().count("\n") == 1


def test_a_token_is_for_nothing_else(gate: TokenGate) -> None:
    other = Address("C" * 80 + "9")
    version, nonce, expiry, mac = token().split(".")
    later = str(int(expiry) + 1)
    cases = [
        (token(), other, BUNDLE),
        (token(), ADDRESS, BundleHash("D" * 81)),
        (f"{version}.{nonce}.{later}.{mac}", ADDRESS, BUNDLE),
        (f"{version}.{nonce[::-1]}.{expiry}.{mac}", ADDRESS, BUNDLE),
        (make_token(b"x" * 43, ADDRESS, BUNDLE, expires_s=NOW_S + 60), ADDRESS, BUNDLE),
    ]
    for text, address, bundle_hash in cases:
        with pytest.raises(TokenInvalidError, match="another key"):
            gate.admit(text, address, bundle_hash)
    for text in ("", "sk1", "sk2" + token()[3:], token() + ".x", "a.b.c.d"):
        with pytest.raises(TokenInvalidError, match="a token is sk1"):
            gate.admit(text, ADDRESS, BUNDLE)


def test_a_token_of_the_old_scheme_is_told_that_it_leaked_its_key(
    gate: TokenGate,
) -> None:
    """W6: its salt field was the key."""
    old = "$argon2id$v=19$m=65536,t=3,p=1$RWw2dnhFTzRyUjAwOS9VL3U3MFNnUGE2Qzc$x"
    with pytest.raises(TokenInvalidError, match="shows its key"):
        gate.admit(old, ADDRESS, BUNDLE)


def test_tokens_differ_and_none_shows_the_key() -> None:
    tokens = {token() for _ in range(100)}
    assert len(tokens) == 100
    assert not any(KEY.decode() in one for one in tokens)


def test_macs_are_compared_in_constant_time(
    gate: TokenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    real = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(legacy_tokens.hmac, "compare_digest", spy)
    gate.admit(token(), ADDRESS, BUNDLE)
    assert len(compared) == 1


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="43 characters"):
        require_key("x" * 42)
    assert require_key("x" * 43)


def test_the_command_makes_a_token_that_the_gate_admits(
    gate: TokenGate, tmp_path: Path, clock: Clock
) -> None:
    key = tmp_path / "tokens.key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    config = tmp_path / "hub.toml"
    config.write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "hub", "--config", config, "token", ADDRESS, BUNDLE],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    clock.now_s = 0
    gate.admit(done.stdout.strip(), ADDRESS, BUNDLE)
    key.chmod(0o644)
    again = subprocess.run(
        [sys.executable, "-m", "hub", "--config", config, "token", ADDRESS, BUNDLE],
        capture_output=True,
        check=False,
        text=True,
    )
    assert again.returncode == 1
    assert "0600" in again.stderr


CONFIG = """\
[hub]
database_url = "sqlite+aiosqlite:///hub.db"
state_dir = "."
network = "devnet"

[api.legacy]
sign_bundle = true
token_key_file = "tokens.key"

[appliance]
url = "https://127.0.0.1:1"
ca = "ca.pem"
certificate = "hub.pem"
key = "hub.key"
server_spki_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
identity_key = "identity.pem"

[nodes]
[[nodes.endpoints]]
url = "http://127.0.0.1:2"

[deposits]
[sweeps]
[attachments]
"""
