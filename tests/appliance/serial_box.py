# SPDX-License-Identifier: Apache-2.0
"""An appliance made for TLS, put on a serial line instead."""

from pathlib import Path

from appliance.config import load_config
from appliance.serial_keys import install_serial_key, make_serial_key


def put_on_a_line(folder: Path, *, here: str, there: str) -> None:
    """Give every client a key for the line, and the appliance the line.

    Args:
        folder: Of an appliance that ``init --softhsm`` made; ``clients`` is made in it,
            with a client file for each.
        here: The appliance's end.
        there: The clients'.
    """
    path = folder / "appliance.toml"
    text = path.read_text()
    (folder / "clients").mkdir()
    for client in load_config(path).clients:
        text = text.replace(client.spki_sha256, new_client(folder, client.name, there))
    head, _, tail = text.partition("[listen]")
    tail = tail[tail.index("[hsm]") :]
    lines = ['transport = "serial"', f'devices = ["{here}"]', 'serial_keys = "keys"']
    path.write_text(head + "\n".join(["[listen]", *lines, "", ""]) + tail)


def new_client(folder: Path, name: str, there: str) -> str:
    """Make a key and a client file, and return the key's id."""
    key = folder / "clients" / f"{name}.key"
    made = make_serial_key(key)
    assert install_serial_key(key, folder / "keys") == made
    client_file(folder, name).write_text(
        f'device = "{there}"\nkey_file = "{name}.key"\n'
    )
    return made


def client_file(folder: Path, name: str) -> Path:
    return folder / "clients" / f"{name}.toml"
