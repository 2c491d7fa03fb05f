# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-appliance doctor``: each check finds its fault, and else is quiet."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.doctor import check_clock
from channel.findings import Level
from tests.appliance.box import command


def examined(folder: Path, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Run it; return its exit code and what it found by what was checked."""
    done = command(folder, "--json", "doctor", *options)
    return done.returncode, {one["what"]: one for one in json.loads(done.stdout)}


def test_of_a_sound_box_on_softhsm_there_are_warnings_alone(folder: Path) -> None:
    code, found = examined(folder)
    assert code == 4
    levels = {what: one["level"] for what, one in found.items()}
    assert "failure" not in levels.values()
    for what in ("state_dir", "journal", "hsm.pin_file", "listen.certificate"):
        assert levels[what] == "ok"
    assert levels["HSM softhsm2"] == "warning"
    assert "opens the vault" in found["HSM softhsm2"]["found"]


@pytest.mark.parametrize(
    ("what", "harm"),
    [
        ("state_dir", lambda folder: (folder / "state").chmod(0o755)),
        (
            "the key of [listen]",
            lambda folder: (folder / "tls" / "appliance.key").chmod(0o644),
        ),
        ("hsm.pin_file", lambda folder: (folder / "pin").chmod(0o640)),
        ("journal", lambda folder: (folder / "state" / "journal.db").unlink()),
        ("listen.certificate", lambda folder: (folder / "tls/appliance.pem").unlink()),
    ],
)
def test_each_fault_is_found_with_its_cure(
    folder: Path, what: str, harm: Callable[[Path], None]
) -> None:
    harm(folder)
    code, found = examined(folder, "--no-hsm")
    assert code == 1
    assert found[what]["level"] == "failure"
    assert found[what]["mend"]


def test_an_hsm_that_does_not_open_the_vault_is_a_failure(folder: Path) -> None:
    (folder / "pin").write_text("wrong-pin")
    code, found = examined(folder)
    assert code == 1
    assert found["HSM softhsm2"]["level"] == "failure"
    assert "wrong-pin" not in json.dumps(found)


def test_a_panel_that_is_not_there_is_a_failure(folder: Path) -> None:
    with (folder / "appliance.toml").open("a") as file:
        file.write(
            '\n[panel]\ndevice = "/dev/no-panel"\nkey_file = "panel.key"\n'
            f'firmware_hashes = ["{"00" * 32}"]\n'
        )
    _, found = examined(folder, "--no-hsm")
    assert found["panel.device"]["level"] == "failure"
    assert found["panel.key_file"]["level"] == "failure"


def test_a_configuration_that_can_not_be_read_is_a_finding(folder: Path) -> None:
    (folder / "appliance.toml").write_text("[listen]\n")
    code, found = examined(folder)
    assert (code, found["configuration"]["level"]) == (1, "failure")


@pytest.mark.parametrize(("state", "level"), [(0, Level.OK), (5, Level.WARNING)])
def test_a_clock_that_nobody_keeps_is_told(state: int, level: Level) -> None:
    assert check_clock(lambda: state).level is level
