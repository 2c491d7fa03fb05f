# SPDX-License-Identifier: Apache-2.0
"""The flag file of an old Hub: read as gflags reads it, translated or refused."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hub.config import Config, load
from hub.errors import ConfigError
from hub.flag_table import SWITCHES, TABLE, Becomes, Ignored
from hub.flag_translation import as_toml, combine, configuration, translate
from hub.flagfile import read_flagfile
from hub.strict_toml import describe
from tests.hub.test_config import MINIMAL


def write(folder: Path, text: str, name: str = "hub.flags") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def config_of(folder: Path, text: str) -> Config:
    toml = folder / "hub.toml"
    toml.write_text(as_toml(write(folder, text), None))
    return load(toml)


def test_every_way_to_write_a_flag_is_read(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    write(inner, "--depth=4\n--sslCert=a.pem\n", "more.flags")
    path = write(
        tmp_path,
        "# a comment\n\n  --db=hub  \n-dbUser=u\n--dbPort 3307\n--useHttpsIRI\n"
        "--nodbDebug\n--depth=3\n--flagfile=inner/more.flags\n--dbPassword=a=b c\n"
        "--salt=\n",
    )
    flags = read_flagfile(path, switches=SWITCHES)
    assert {name: flag.value for name, flag in flags.items()} == {
        "db": "hub",
        "dbUser": "u",
        "dbPort": "3307",
        "useHttpsIRI": "true",
        "dbDebug": "false",
        "depth": "4",
        "sslCert": "a.pem",
        "dbPassword": "a=b c",
        "salt": "",
    }
    assert flags["sslCert"].folder == inner


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hub\n", "line 1: this is no flag"),
        ("--\n", "line 1: this is no flag"),
        ("\n--depth\n", "line 2: --depth needs a value"),
        ("--nodepth\n", "--nodepth needs a value"),
        ("--flagfile=hub.flags\n", "names itself"),
        ("--flagfile=absent.flags\n", "absent.flags: No such file"),
        ("--colour=red\n", "--colour is no flag of Hub 1.4.4"),
        ("--depth=x\n", "--depth must be a whole number"),
        ("--useHttpsIRI=maybe\n", "--useHttpsIRI must be true or false"),
        ("--sweepInterval=0\n", "--sweepInterval must be above 0"),
        ("--powMode=gpu\n", "--powMode must be local or remote"),
        ("--serverType=soap\n", "--serverType is grpc or http"),
        ("--signingMode=local\n", "--signingMode: no hub signs here"),
        ("--argon2Parallelism=4\n", "one lane only"),
        ("--listenAddress=0.0.0.0:50051\n", "needs api_key_file or client_ca"),
        ("--SignBundle_enabled\n", "sign_bundle needs token_key_file"),
    ],
)
def test_what_can_not_be_is_refused_by_its_name(
    text: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refusal:
        config_of(tmp_path, text)
    assert told in str(refusal.value)


def test_a_salt_is_refused_and_never_told(tmp_path: Path) -> None:
    secret = "abcdefghijklmnopqrstuvwxyz"
    path = write(tmp_path, f"--salt={secret}\n--dbPassword={secret}\n")
    for arguments in (["translate-flagfile", path], ["serve", "--flagfile", path]):
        done = subprocess.run(
            [sys.executable, "-m", "hub", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert secret not in done.stdout + done.stderr
    assert "ceremony import-salt" in as_refused(path)


def as_refused(path: Path) -> str:
    with pytest.raises(ConfigError) as refusal:
        as_toml(path, None)
    return str(refusal.value)


def test_a_password_of_the_old_database_is_not_written_down(tmp_path: Path) -> None:
    text = as_toml(write(tmp_path, "--dbPassword=hush\n--dbHost=db.internal\n"), None)
    assert "hush" not in text
    assert "# --dbPassword is ignored: this hub keeps its own database" in text


def test_an_empty_file_means_the_old_defaults(tmp_path: Path) -> None:
    config = config_of(tmp_path, "")
    assert (config.api.grpc.enabled, config.api.legacy.enabled) == (True, False)
    assert config.api.grpc.listen == "127.0.0.1:50051"  # and not everywhere
    assert config.api.grpc.error_details == "string"
    assert config.attachments.min_weight_magnitude == 9
    assert config.attachments.pow == ("remote", "local")
    assert config.nodes.endpoints[0].url == "http://127.0.0.1:14265"
    assert config.sweeps.interval_s == 600.0
    assert (config.sweeps.max_withdrawals, config.sweeps.max_deposits) == (7, 5)


WHOLE = """
--serverType=http
--listenAddress=localhost:8888
--authMode=ssl
--sslCert=tls/hub.pem
--sslKey=/etc/hub.key
--sslCA=tls/ca.pem
--apiAddress=node.example:443
--useHttpsIRI
--monitorInterval=30000
--attachmentInterval=1500
--sweepInterval=60000
--minWeightMagnitude=14
--depth=2
--powMode=local
--max_promotion_age=10
--sweep_max_withdrawal=9
--sweep_max_deposit=3
--fetchTransactionMessages
--RecoverFunds_enabled
--numBundlesToMine=77
"""


def test_every_flag_with_a_key_sets_it(tmp_path: Path) -> None:
    config = config_of(tmp_path, WHOLE)
    rest = config.api.legacy
    assert (rest.enabled, config.api.grpc.enabled) == (True, False)
    assert rest.listen == "127.0.0.1:8888"
    assert rest.tls_certificate == tmp_path / "tls/hub.pem"
    assert rest.tls_key == Path("/etc/hub.key")
    assert rest.client_ca == tmp_path / "tls/ca.pem"
    assert (rest.recover_funds, rest.mining_tries) == (True, 77)
    assert config.nodes.endpoints[0].url == "https://node.example:443"
    assert config.deposits.interval_s == 30.0
    assert config.deposits.keep_messages
    attachments = config.attachments
    assert (attachments.interval_s, attachments.depth) == (1.5, 2)
    assert (attachments.pow, attachments.max_promotion_age_s) == (("local",), 600)
    assert attachments.min_weight_magnitude == 14
    assert (config.sweeps.max_withdrawals, config.sweeps.max_deposits) == (9, 3)


@pytest.mark.parametrize("name", TABLE)
def test_every_flag_sets_a_key_of_ours_or_says_why_not(
    name: str, tmp_path: Path
) -> None:
    row = TABLE[name]
    if isinstance(row, Becomes):
        keys = {f"{setting.section}.{setting.name}" for setting in describe(Config)}
        assert row.key in keys
        return
    notes = translate(write(tmp_path, f"--{name}={harmless(name)}\n")).notes
    joined = {"serverType", "listenAddress", "authMode", "apiAddress", "useHttpsIRI"}
    told = any(note.startswith(f"--{name} is ignored") for note in notes)
    assert told or name in joined
    assert isinstance(row, Ignored)


def harmless(name: str) -> str:
    values = {
        "serverType": "grpc",
        "authMode": "none",
        "listenAddress": "127.0.0.1:1",
        "salt": "",
        "signingMode": "remote",
    }
    return values.get(name, "1")


def test_a_configuration_beside_it_says_the_rest(tmp_path: Path) -> None:
    base = write(tmp_path, MINIMAL.partition("[[nodes")[0], "base.toml")
    flags = write(tmp_path, "--apiAddress=10.0.0.1:14265\n--depth=5\n")
    config = configuration(flags, base)
    assert config.appliance.ca == tmp_path / "pki/ca.pem"
    assert config.attachments.depth == 5
    assert config.attachments.min_weight_magnitude == 9
    assert config.nodes.endpoints[0].url == "http://10.0.0.1:14265"
    assert "stand-in" not in as_toml(flags, base)
    with pytest.raises(ConfigError, match="--config FILE"):
        configuration(flags, None)


def test_what_the_two_say_differently_is_refused(tmp_path: Path) -> None:
    base: dict[str, Any] = tomllib.loads(MINIMAL)
    base["attachments"] = {"depth": 7, "min_weight_magnitude": 14}
    said = translate(write(tmp_path, "--depth=7\n"))
    table = combine(said, base)  # the same in both; a default yields
    assert table["attachments"]["min_weight_magnitude"] == 14
    other = translate(write(tmp_path, "--depth=6\n"))
    with pytest.raises(ConfigError, match=r"attachments.depth: .* differ"):
        combine(other, base)


def test_what_is_no_ascii_stays_what_it_is(tmp_path: Path) -> None:
    text = '--authMode=ssl\n--sslCert=schlüssel😀"\\.pem\n--sslKey=k\n'
    certificate = config_of(tmp_path, text).api.grpc.tls_certificate
    assert certificate == tmp_path / 'schlüssel😀"\\.pem'
