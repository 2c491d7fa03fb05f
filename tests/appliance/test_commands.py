# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-appliance``: what people type, and the exit codes they script on."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from appliance.config import load_config
from appliance.config_reference import reference
from appliance.pytest_plugin import ApplianceProcess
from tests.appliance.box import command


def run(appliance: ApplianceProcess, *arguments: str) -> CompletedProcess[str]:
    port = appliance.url.rsplit(":", 1)[1]
    return command(appliance.folder, "--port", port, *arguments)


def test_the_life_of_an_appliance_by_its_commands(
    saltkeep_appliance: ApplianceProcess, tmp_path: Path
) -> None:
    box = saltkeep_appliance
    status = run(box, "--json", "status")
    assert status.returncode == 0
    assert json.loads(status.stdout)["state"] == "ready"
    sealed = run(box, "--as", "operator-1", "seal", "--reason", "drill")
    assert "drill" in sealed.stdout
    status = run(box, "status")
    assert status.returncode == 1
    assert "sealed" in status.stdout
    latch_id = json.loads(run(box, "--json", "status").stdout)["latch_id"]
    proposed = run(box, "--json", "unseal", latch_id)
    act = json.loads(proposed.stdout)["id"]
    keys = box.folder / "operators"
    approve = ("approve", act, "--yes", "--key")
    assert "sealed for operator" in run(box, "acts").stdout
    assert "1 more" in run(box, *approve, str(keys / "operator-1.key")).stdout
    assert "unsealed" in run(box, *approve, str(keys / "operator-3.key")).stdout
    tail = run(box, "--json", "journal", "tail", "-n", "1")
    assert json.loads(tail.stdout)["kind"] == "ceremony"
    assert "3 rows verified" in run(box, "journal", "verify").stdout
    refused = run(box, "--as", "auditor", "seal", "--reason", "no")
    assert refused.returncode == 1
    assert refused.stderr == "forbidden: role auditor may not ask SealNow\n"
    export = tmp_path / "export"
    assert run(box, "journal", "export", str(export)).returncode == 0
    verify = ("journal", "verify", "--export", str(export))
    assert run(box, *verify).returncode == 0
    export.write_text(export.read_text().replace("drill", "dr1ll").replace("1", "2", 1))
    broken = run(box, *verify)
    assert broken.returncode == 3
    assert "journal-broken" in broken.stderr
    export.write_text("")
    assert run(box, *verify).returncode == 3


def test_a_policy_is_written_signed_tried_and_put_in_force(
    saltkeep_appliance: ApplianceProcess, tmp_path: Path
) -> None:
    box = saltkeep_appliance
    keys = box.folder / "operators"
    text = run(box, "policy", "show").stdout.split("# in force")[0]
    new = tmp_path / "new.toml"
    new.write_text(
        text.replace("version = 1", "version = 2\nlimits.max_keys_per_window = 5")
    )
    assert "policy 2 for devnet" in run(box, "policy", "check", str(new)).stdout
    assert "all pass" in run(box, "policy", "dry-run", str(new)).stdout
    sign = ("policy", "sign", str(new), "--key")
    assert run(box, *sign, str(keys / "operator-1.key")).returncode == 0
    early = run(box, "policy", "apply", str(new))
    assert (early.returncode, "policy-signatures" in early.stderr) == (1, True)
    assert run(box, *sign, str(keys / "operator-2.key")).returncode == 0
    done = run(box, "policy", "apply", str(new))
    assert done.stdout == "policy 2 is in force\n"
    assert "max_keys_per_window = 5" in run(box, "policy", "show").stdout
    new.write_text(new.read_text().replace("= 2\n", "= 3\napprovals.ceremony = 2\n", 1))
    for name in ("operator-1", "operator-2"):
        run(box, *sign, str(keys / f"{name}.key"))
    assert run(box, "policy", "apply", str(new)).returncode == 0
    proposed = run(box, "ceremony", "rotate-mac", "--yes")
    assert "2 operators run: approve" in proposed.stdout
    again = run(box, "policy", "apply", str(new))
    assert "policy-version" in again.stderr
    stranger = tmp_path / "stranger.key"
    made = run(box, "operator-key", str(stranger), "--no-passphrase")
    assert "[[operators]]" in made.stdout
    refused = run(box, *sign, str(stranger))
    assert "names no operator" in refused.stderr


def test_wrong_usage_and_wrong_files_are_told_apart(folder: Path) -> None:
    assert command(folder, "no-such-command").returncode == 2
    text = (folder / "appliance.toml").read_text()
    (folder / "appliance.toml").write_text("unknown = 1\n" + text)
    done = command(folder, "serve")
    assert done.returncode == 1
    assert "unknown" in done.stderr
    assert "Traceback" not in done.stderr


def one_line(done: CompletedProcess[str], start: str) -> None:
    """The program ended as a mistake of its user's must end it."""
    assert done.returncode == 1
    assert done.stderr.startswith(start)
    assert done.stderr.count("\n") == 1


def test_an_unknown_argon2_variant_is_one_line(folder: Path, tmp_path: Path) -> None:
    new = ("--softhsm", str(tmp_path / "new"), "--network", "devnet")
    done = command(folder, "init", *new, "--argon2-variant", "foo")
    one_line(done, "config: --argon2-variant is argon2id or argon2i, not 'foo'")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("what", ["export", "checkpoint"])
def test_a_path_that_can_not_be_written_is_one_line(
    saltkeep_appliance: ApplianceProcess, what: str
) -> None:
    done = run(saltkeep_appliance, "journal", what, "/nope/x")
    one_line(done, "file: /nope/x: No such file or directory")


def test_a_port_that_is_taken_is_one_line(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        configure("listen", f"port = {port}")
        done = command(folder, "serve")
    one_line(done, f"config: [listen] cannot listen on 127.0.0.1:{port}: ")


def test_a_host_that_is_not_ours_is_one_line(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    configure("listen", 'host = "203.0.113.7"')  # RFC 5737: nobody's
    done = command(folder, "serve")
    one_line(done, "config: [listen] cannot listen on 203.0.113.7:")


@pytest.mark.parametrize(
    "garbage", ["garbage", "MQ.MQ.MQ", "e30.e30.", "\u00e9.e30.AA"]
)
def test_a_receipt_that_is_none_is_one_line(folder: Path, garbage: str) -> None:
    identity = ("--identity", str(folder / "identity.pem"))
    one_line(command(folder, "verify-receipt", garbage, *identity), "statement: ")


def test_nobody_there_is_said_plainly(folder: Path) -> None:
    done = command(folder, "--port", "1", "status")
    assert done.returncode == 1
    assert done.stderr.startswith("unreachable: no reply from https://127.0.0.1:1")


def test_every_field_of_the_configuration_is_described(folder: Path) -> None:
    text = reference()
    assert "| `token_label` |" in text
    assert not [line for line in text.splitlines() if line.endswith("|  |")]
    assert load_config(folder / "appliance.toml").hsm.profile == "softhsm2"


def test_machines_read_what_commands_print(
    saltkeep_appliance: ApplianceProcess, tmp_path: Path
) -> None:
    box = saltkeep_appliance

    def said(*arguments: str) -> dict[str, object]:
        done = run(box, "--json", *arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        read: dict[str, object] = json.loads(done.stdout)
        return read

    key = tmp_path / "hub.key"
    made = said("serial-key", "make", str(key))
    assert said("serial-key", "id", str(key)) == made
    policy = tmp_path / "policy.toml"
    policy.write_text(run(box, "policy", "show").stdout.split("# in force")[0])
    checked = said("policy", "check", str(policy))
    assert (checked["version"], checked["network"]) == (1, "devnet")
    export, checkpoint = tmp_path / "export", tmp_path / "checkpoint"
    assert said("journal", "export", str(export))["rows"] == 1
    assert said("journal", "checkpoint", str(checkpoint)) == {"path": str(checkpoint)}
    verified = said("journal", "verify", "--export", str(export))
    assert verified["rows"] == 1
    identity = box.folder / "identity.pem"
    assert said("trust-successor", str(identity))["added"] == 0
