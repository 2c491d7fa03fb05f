# SPDX-License-Identifier: Apache-2.0
"""``probe`` finds on real tokens what their profiles say, and finds the unsafe one."""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.config import Hsm as HsmTable
from appliance.config import load_config
from appliance.errors import ConfigError, HsmError, PinRefusedError
from appliance.hsm import Hsm
from appliance.installation import open_hsm, probe_access, read_pin
from appliance.probe import run_probe
from appliance.wire import Signed
from hsm_profiles import WRAPS, load_profile
from tests.appliance.bundles import bundle
from tests.tokens.appliances import Installation
from tests.tokens.tokens import SoftHsmMaker, Token, make_nss_token

# A TPM looks for its RSA keys' primes by chance, on a core that others use too.
pytestmark = pytest.mark.timeout(180)

VERDICTS = {
    "accepted": {"withstood", "warning"},
    "software": {"withstood"},
    "unsafe": {"unsafe"},
}


@pytest.fixture
def other(tmp_path: Path) -> Token:
    return SoftHsmMaker().make(tmp_path / "other")


def options_of(token: Token) -> list[str]:
    environment = [f"--environment={n}={v}" for n, v in token.environment.items()]
    return [
        f"--profile={token.profile.id}",
        f"--token-label={token.label}",
        f"--pin-file={token.pin_file}",
        *environment,
    ]


def probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance", "--json", "probe", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in found["checks"]}


@pytest.mark.capability("probe finds what the profile says")
def test_a_probe_finds_what_the_profile_says(token: Token, tmp_path: Path) -> None:
    written = tmp_path / "found.toml"
    done = probe(*options_of(token), f"--write={written}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    seen = outcomes(found)
    profile = token.profile
    assert found["verdict"] in VERDICTS[profile.production], found["why"]
    works = [one for one in WRAPS if seen[f"wrap {one}"] == "yes"]
    assert works == [one for one in WRAPS if one in profile.wrap.mechanisms]
    assert seen[f"mac {profile.mac.mechanism}"] == "yes"
    assert (seen["identity es256"] == "yes") is (profile.identity.mechanism == "es256")
    assert found["left"] == 0
    again = load_profile(str(written))
    assert again.wrap.mechanisms == works
    assert again.mac == profile.mac
    assert again.identity == profile.identity
    assert again.production == profile.production
    assert again.facts["wrap"].tried
    assert again.facts["wrap"].source.startswith("saltkeep-appliance probe: ")


@pytest.mark.capability("probe leaves nothing behind")
def test_a_probe_leaves_nothing_behind(token: Token) -> None:
    assert probe(*options_of(token)).returncode == 0
    hsm = token.open()
    assert hsm.probe("clean", prefix="probe-")["left"] == 0
    hsm.close()


@pytest.mark.capability("appliance: on a profile that probe wrote")
async def test_an_appliance_rests_on_a_profile_that_probe_wrote(
    token: Token, install: Callable[[Token], Installation]
) -> None:
    appliance = install(token)
    written = appliance.folder / "found.toml"
    assert probe(*options_of(token), f"--write={written}").returncode == 0
    configuration = appliance.folder / "appliance.toml"
    text = configuration.read_text()
    named = text.replace(f'profile = "{token.profile.id}"', 'profile = "./found.toml"')
    configuration.write_text(named)
    await appliance.init()
    box = await appliance.start()
    await box.expect(bundle([await box.coin()]), Signed)
    assert "-probed" in (await box.status()).hsm
    await box.close()


# --- NSS: the unsafe one ----------------------------------------------------------


def test_the_keys_of_nss_can_be_got_out_and_probe_says_so(tmp_path: Path) -> None:
    token = make_nss_token(tmp_path / "nss")
    written = tmp_path / "found.toml"
    done = probe(*options_of(token), f"--write={written}")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"] == "unsafe"
    assert outcomes(found)["keep aes"] == "unsafe"
    assert "of a key that may not leave" in found["why"]
    assert load_profile(str(written)).production == "unsafe"


def test_no_appliance_starts_on_an_unsafe_token_unless_told_so(
    template: Path, tmp_path: Path
) -> None:
    appliance = Installation.make(
        template, tmp_path / "box", make_nss_token(tmp_path / "nss")
    )
    configuration = appliance.folder / "appliance.toml"
    with pytest.raises(ConfigError, match="is unsafe") as error:
        open_hsm(load_config(configuration))
    assert error.value.code == "unsafe-hsm"
    accepted = configuration.read_text().replace(
        "[hsm]\n", "[hsm]\nallow_unsafe_hsm = true\n"
    )
    configuration.write_text(accepted)
    hsm = open_hsm(load_config(configuration))
    assert hsm.info.maker.startswith("Mozilla")
    hsm.close()


async def test_an_unsafe_token_that_was_accepted_shows_in_the_status(
    template: Path, tmp_path: Path
) -> None:
    token = make_nss_token(tmp_path / "nss")
    appliance = Installation.make(template, tmp_path / "box", token)
    configuration = appliance.folder / "appliance.toml"
    configuration.write_text(
        configuration.read_text().replace("[hsm]\n", "[hsm]\nallow_unsafe_hsm = true\n")
    )
    await appliance.init()
    box = await appliance.start()
    await box.expect(bundle([await box.coin()]), Signed)
    assert (await box.status()).hsm == "nss-softokn (unsafe)"
    await box.close()


# --- PIN --------------------------------------------------------------------------


def test_a_refused_pin_bars_the_next_probe_and_the_appliance(
    other: Token, template: Path, tmp_path: Path
) -> None:
    right = other.pin_file.read_text()
    other.pin_file.write_text("wrong-pin")
    first = probe(*options_of(other))
    assert first.returncode == 1
    assert "pin-refused" in first.stderr
    assert "wrong-pin" not in first.stderr
    other.pin_file.write_text(right)
    second = probe(*options_of(other))
    assert "refused the PIN before" in second.stderr
    appliance = Installation.make(template, tmp_path / "box", other)
    hsm = appliance.open()
    with pytest.raises(PinRefusedError):
        hsm.mac(b"x", label="any")
    hsm.close()
    command = [sys.executable, "-m", "appliance", "clear-pin"]
    cleared = subprocess.run(
        [*command, f"--pin-file={other.pin_file}"],
        input="y\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cleared" in cleared.stdout
    third = probe(*options_of(other))  # the token still shows the wrong try
    assert "USER_PIN_COUNT_LOW" in third.stderr
    hsm = appliance.open()
    assert hsm.info.serial  # a login with the right PIN ends that
    hsm.close()
    assert probe(*options_of(other)).returncode == 0


def test_the_latch_of_an_appliance_bars_probe(
    other: Token, template: Path, tmp_path: Path
) -> None:
    appliance = Installation.make(template, tmp_path / "box", other)
    state = appliance.folder / "state"
    state.mkdir(mode=0o700)
    (state / "pin.latch").write_text("PinIncorrect\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "appliance", "--config"),
            *(str(appliance.folder / "appliance.toml"), "probe"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "refused the PIN before" in done.stderr


def test_a_pin_without_a_file_needs_a_latch_elsewhere(other: Token) -> None:
    options = [
        option for option in options_of(other) if not option.startswith("--pin-file")
    ]
    done = probe(*options, "--pin-file=fd:0")
    assert "must come from a file" in done.stderr


# --- trouble ----------------------------------------------------------------------


def test_a_check_whose_worker_dies_is_a_no_and_the_probe_goes_on(
    other: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = HsmTable(
        profile="softhsm2",
        token_label=other.label,
        pin_file=str(other.pin_file),
        environment=other.environment,
    )
    access = probe_access(table, latch=None)
    hsm = Hsm(access, read_pin(table.pin_file, allow_unlocked=True))
    started = Hsm._start

    def start(self: Hsm) -> object:
        worker = started(self)
        if told[-1:] == ["keep aes"]:
            worker._process.kill()
        return worker

    told: list[str] = []
    monkeypatch.setattr(Hsm, "_start", start)
    probed = run_probe(
        hsm, module=access.module, today=dt.date(2026, 11, 25), tell=told.append
    )
    hsm.close()
    found = {check.name: check for check in probed.checks}
    assert found["keep aes"].outcome == "untried"
    assert found["keep ec"].outcome == "withstood"
    assert probed.verdict[0] == "untried"


def test_a_missing_token_is_said_plainly(other: Token) -> None:
    options = [o for o in options_of(other) if "token-label" not in o]
    done = probe(*options, "--token-label=nobody")
    assert done.returncode == 1
    assert "expected one token labelled 'nobody', found 0" in done.stderr
    with pytest.raises(HsmError):
        Token(other.profile, "nobody", other.folder, other.environment).open().info  # noqa: B018
