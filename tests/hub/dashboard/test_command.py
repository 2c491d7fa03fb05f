# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub operator``, as it is run."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hub.__main__ import cli

CONFIG = """
[hub]
database_url = "sqlite+aiosqlite:///{folder}/hub.db"
state_dir = "{folder}"
network = "devnet"
[api.legacy]
[appliance]
url = "https://127.0.0.1:9443"
ca = "ca.pem"
certificate = "hub.pem"
key = "hub.key"
server_spki_sha256 = "{pin}"
identity_key = "identity.pem"
[nodes]
endpoints = [{{ url = "http://127.0.0.1:14265" }}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "hub.toml"
    file.write_text(CONFIG.format(folder=tmp_path, pin="0" * 64))
    return file


def run(config: Path, *arguments: str, typed: str = "") -> Result:
    command = ["--config", str(config), *arguments]
    return CliRunner().invoke(cli, command, input=typed)


def operators(config: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(
        run(config, "--json", "operator", "list").stdout
    )
    return found


def test_an_operator_is_added_changed_and_disabled(config: Path) -> None:
    added = run(
        config, "operator", "add", "ana", "--role", "viewer", typed="a long password\n"
    )
    assert added.exit_code == 0, added.output
    assert "a long password" not in added.output
    assert run(config, "operator", "role", "ana", "admin").exit_code == 0
    assert operators(config) == [{"name": "ana", "role": "admin", "state": "enabled"}]
    assert run(config, "operator", "disable", "ana").exit_code == 0
    assert operators(config)[0]["state"] == "disabled"
    assert run(config, "operator", "enable", "ana").exit_code == 0
    assert operators(config)[0]["state"] == "enabled"
    assert "argon2" not in run(config, "operator", "list").output


@pytest.mark.parametrize(
    ("name", "typed", "code"),
    [
        ("Ana", "a long password\n", "operator-name"),
        ("ana", "short\n", "password-refused"),
        ("ana", "aaaaaaaaaaaaaaaaaa\n", "password-refused"),
        ("ana", "my name is ana!\n", "password-refused"),
        ("ana", "x" * 300, "password-refused"),
        ("ana", "", "password-refused"),
    ],
)
def test_what_makes_no_operator_is_refused_with_its_code(
    config: Path, name: str, typed: str, code: str
) -> None:
    done = run(config, "operator", "add", name, "--role", "viewer", typed=typed)
    assert done.exit_code == 1
    assert done.stderr.startswith(code)
    assert typed.strip() not in done.stderr or not typed


def test_a_name_is_taken_once_and_nobody_else_can_be_changed(config: Path) -> None:
    add = ("operator", "add", "ana", "--role", "viewer")
    assert run(config, *add, typed="a long password\n").exit_code == 0
    again = run(config, *add, typed="a long password\n")
    assert again.stderr.startswith("operator-exists")
    other = run(config, "operator", "role", "bob", "admin")
    assert other.stderr.startswith("operator-unknown")
