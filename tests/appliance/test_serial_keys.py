# SPDX-License-Identifier: Apache-2.0
"""Keys of clients on serial lines, and an appliance's configuration for lines."""

from pathlib import Path

import pytest

from appliance.client import SerialEndpoint, load_endpoint
from appliance.config import load_config
from appliance.errors import ConfigError
from appliance.serial_keys import (
    find_key,
    has_key,
    install_serial_key,
    make_serial_key,
    serial_key_id,
)
from firmware_bridge.errors import MessageError
from firmware_bridge.key_file import read_key
from tests.appliance.box import command
from tests.appliance.serial_box import put_on_a_line


def test_a_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "hub.key"
    key_id = make_serial_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert serial_key_id(path) == key_id
    assert key_id not in path.read_bytes().hex()
    with pytest.raises(ConfigError, match="exists"):
        make_serial_key(path)


def test_an_installed_key_is_found_by_its_id(tmp_path: Path) -> None:
    path, folder = tmp_path / "hub.key", tmp_path / "keys"
    key_id = make_serial_key(path)
    assert install_serial_key(path, folder) == key_id
    assert install_serial_key(path, folder) == key_id  # safe to repeat
    assert has_key(folder, key_id)
    assert find_key(folder, bytes.fromhex(key_id)) == read_key(path)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [one.stat().st_mode & 0o777 for one in folder.iterdir()] == [0o600]


def test_a_key_under_another_id_is_not_taken(tmp_path: Path) -> None:
    """Who can write a file there can not give an enrolled id a key of their own."""
    folder = tmp_path / "keys"
    ids = []
    for name in ("hub", "other"):
        make_serial_key(tmp_path / name)
        ids.append(install_serial_key(tmp_path / name, folder))
    (folder / f"{ids[0]}.key").write_bytes((tmp_path / "other").read_bytes())
    with pytest.raises(MessageError, match="another id"):
        find_key(folder, bytes.fromhex(ids[0]))


@pytest.mark.parametrize("content", [b"", bytes(32), b"x" * 31, b"x" * 33])
def test_a_file_that_holds_no_key_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hub.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="32 bytes"):
        serial_key_id(path)


def test_the_commands_make_and_install_a_key(folder: Path) -> None:
    put_on_a_line(folder, here="/dev/null", there="/dev/null")
    key = folder / "new.key"
    made = command(folder, "serial-key", "make", str(key))
    assert made.returncode == 0, made.stderr
    installed = command(folder, "serial-key", "install", str(key))
    assert installed.stdout == made.stdout
    assert has_key(folder / "keys", made.stdout.strip())
    assert command(folder, "serial-key", "id", str(key)).stdout == made.stdout
    assert command(folder, "serial-key", "make", str(key)).returncode == 1


def test_a_line_that_is_none_is_said_plainly(folder: Path) -> None:
    put_on_a_line(folder, here=str(folder / "nothing"), there="/dev/null")
    served = command(folder, "serve")
    assert served.returncode == 1
    assert "[listen]" in served.stderr
    assert "nothing" in served.stderr


def test_commands_beside_the_appliance_say_where_to_ask(folder: Path) -> None:
    put_on_a_line(folder, here="/dev/null", there="/dev/null")
    asked = command(folder, "status")
    assert asked.returncode == 1
    assert "--client" in asked.stderr


@pytest.mark.parametrize("missing", ["devices", "serial_keys"])
def test_a_listener_on_lines_needs_devices_and_keys(folder: Path, missing: str) -> None:
    put_on_a_line(folder, here="/dev/null", there="/dev/null")
    path = folder / "appliance.toml"
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(missing)]
    path.write_text("\n".join(kept))
    with pytest.raises(ConfigError, match=missing):
        load_config(path)


def test_a_client_file_names_a_device_and_a_key(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text('device = "/dev/line"\nkey_file = "hub.key"\nbaud = 9600\n')
    endpoint = load_endpoint(path)
    assert isinstance(endpoint, SerialEndpoint)
    assert (endpoint.place.device, endpoint.place.baud) == ("/dev/line", 9600)
    assert endpoint.key_file == tmp_path / "hub.key"
    path.write_text('device = "/dev/line"\n')
    with pytest.raises(ConfigError, match="key_file"):
        load_endpoint(path)
