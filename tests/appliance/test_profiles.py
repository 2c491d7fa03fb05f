# SPDX-License-Identifier: Apache-2.0
"""HSM profiles are strict and say where facts come from, and the worker obeys."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from appliance.ceremony import FirstGeneration, Foundation, initialise
from appliance.config import Hsm as HsmTable
from appliance.errors import ConfigError, HsmError
from appliance.hsm import Hsm
from appliance.installation import Paths, access_to, read_pin
from appliance.policy_file import SignedPolicy, policy_digest
from appliance.probe import Check, Outcome, verdict_of
from appliance.probe_attacks import Attempt, judge
from appliance.probe_checks import KINDS
from appliance.service import wall_clock_ms
from hsm_profiles import (
    HsmProfile,
    ProfileError,
    load_profile,
    parse_profile,
    profile_names,
)
from hsm_profiles.text import profile_text
from tests.appliance.box import sign_with
from tests.tokens.appliances import CHEAP
from tests.tokens.tokens import SoftHsmMaker, Token

FOLDER = Path(__file__).parents[2] / "hsm_profiles"
SOFTHSM = (FOLDER / "softhsm2.toml").read_text()


@pytest.fixture
def token(tmp_path: Path) -> Token:
    return SoftHsmMaker().make(tmp_path / "token")


def with_profile(token: Token, **tables: dict[str, Any]) -> Token:
    """Return the token with some fields of its profile changed."""
    profile = token.profile
    for table, fields in tables.items():
        changed = msgspec.structs.replace(getattr(profile, table), **fields)
        profile = msgspec.structs.replace(profile, **{table: changed})
    return Token(profile, token.label, token.folder, token.environment)


# --- the files ------------------------------------------------------------------------


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_says_where_each_field_comes_from(name: str) -> None:
    profile = load_profile(name)
    assert profile.id == name
    assert not profile.unfounded()
    assert profile.facts["production"].tried is (profile.tier == "tested")
    if profile.tier == "documented":
        assert profile.production == "untried"
        assert not [fact for fact in profile.facts.values() if fact.tried]
        for field, fact in profile.facts.items():
            assert "not tried" in fact.source or "from memory" in fact.source, field


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_is_read_back_as_it_was_written(name: str) -> None:
    profile = load_profile(name)
    written = profile_text(profile, heading="by a test")
    assert parse_profile(written, name=name) == profile


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "SoftHSM 2"', 'title = "SoftHSM 2"\ncolour = "red"', "colour"),
        ('init = "null"', 'init = "null"\nthreads = 4', "threads"),
        ('init = "null"', 'init = "twice"', "Invalid enum value"),
        ('"aes-gcm", ', '"aes-ecb", ', "Invalid enum value"),
        ("[facts.random]", "[facts.colour]", "fact of an unknown field colour"),
        ("[facts.random]", "[facts.colour]", "random.chunk_bytes has no fact"),
        ("checked = 2026-11-25", 'checked = "lately"', "Invalid"),
        ("rsa_bits = 2048\n", "", "rsa_bits"),
        ("'.{4,255}'", "'['", "login.pin_pattern"),
        ('mechanism = "hmac-sha256"', 'mechanism = "ecdsa-p256"', "must be sha256"),
        ('["aes-gcm", "aes-cbc", "rsa-oaep-sha1"]', "[]", "wrap.mechanisms is empty"),
        ("[module]", "[module", "profile x"),
    ],
)
def test_a_profile_that_is_not_right_is_refused(
    old: str, new: str, message: str
) -> None:
    assert old in SOFTHSM
    with pytest.raises(ProfileError, match=re.escape(message)):
        parse_profile(SOFTHSM.replace(old, new), name="x")


def test_a_profile_of_ones_own_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(SOFTHSM.replace('id = "softhsm2"', 'id = "own"'))
    assert load_profile(str(path)).id == "own"
    with pytest.raises(ProfileError, match="No such file"):
        load_profile(str(tmp_path / "missing.toml"))
    with pytest.raises(ProfileError, match="known"):
        load_profile("missing")


def test_a_token_that_makes_no_identity_keys_carries_no_appliance(
    tmp_path: Path,
) -> None:
    table = HsmTable(
        profile="opencryptoki",
        module="/usr/lib/some.so",
        token_label="x",
        pin_file=str(tmp_path / "pin"),
    )
    with pytest.raises(ConfigError, match="makes no P-256 keys"):
        access_to(table, latch=None)


def test_an_environment_that_the_module_needs_is_asked_for(tmp_path: Path) -> None:
    table = HsmTable(
        profile="yubihsm2",
        module="/usr/lib/some.so",
        token_label="x",
        pin_file=str(tmp_path / "pin"),
    )
    with pytest.raises(ConfigError, match="YUBIHSM_PKCS11_CONF"):
        access_to(table, latch=None)


# --- the worker obeys -----------------------------------------------------------------


@pytest.mark.parametrize("init", ["null", "os-locking"])
def test_a_module_is_initialised_as_its_profile_says(token: Token, init: str) -> None:
    hsm = with_profile(token, module={"init": init}).open()
    assert hsm.info.model.startswith("SoftHSM")
    hsm.close()


@pytest.mark.parametrize("init", ["null", "os-locking"])
def test_a_module_that_refuses_its_initialisation_is_a_fault(
    token: Token, init: Literal["null", "os-locking"]
) -> None:
    """NSS wants parameters."""
    access = with_profile(token, module={"init": init}).access()
    module = load_profile("nss-softokn").find_module()
    hsm = Hsm(
        replace(access, module=module),
        read_pin(str(token.pin_file), allow_unlocked=True),
    )
    with pytest.raises(HsmError, match=r"C_Initialize|ArgumentsBad"):
        _ = hsm.info
    hsm.close()


def test_a_file_that_is_no_module_is_a_fault(token: Token, tmp_path: Path) -> None:
    (tmp_path / "no.so").write_bytes(b"nothing")
    access = token.access()
    for init in ("null", "os-locking"):
        profile = with_profile(token, module={"init": init}).profile
        broken = replace(access, profile=profile, module=str(tmp_path / "no.so"))
        hsm = Hsm(broken, read_pin(str(token.pin_file), allow_unlocked=True))
        with pytest.raises(HsmError):
            _ = hsm.info
        hsm.close()


def test_a_signature_stands_in_for_the_mac_where_the_profile_says_so(
    token: Token,
) -> None:
    hsm = with_profile(token, mac={"mechanism": "ecdsa-p256", "input": "sha256"}).open()
    hsm.generate_key(role="mac", label="mac", key_id=b"\1")
    first, second = hsm.mac(b"data", label="mac"), hsm.mac(b"data", label="mac")
    assert first != second  # no MAC to compare: it is verified
    for tag in (first, second):
        assert hsm.mac_matches(b"data", tag, label="mac")
        assert not hsm.mac_matches(b"date", tag, label="mac")
    assert not hsm.mac_matches(b"data", first[:-1], label="mac")
    hsm.close()


def test_a_foreign_public_half_does_not_vouch_for_a_vault(token: Token) -> None:
    """Who writes to a token's store could put one there, and sign with its other."""
    signing = with_profile(token, mac={"mechanism": "ecdsa-p256", "input": "sha256"})
    hsm = signing.open()
    hsm.generate_key(role="mac", label="mac", key_id=b"\1")
    hsm.generate_key(role="mac", label="foreign", key_id=b"\2")
    tag = hsm.mac(b"data", label="foreign")
    hsm.close()
    swap_public(token, "mac", "foreign")
    hsm = signing.open()
    with pytest.raises(HsmError, match="does not belong to the private half"):
        hsm.mac_matches(b"data", tag, label="mac")
    hsm.close()


def swap_public(token: Token, label: str, other: str) -> None:
    script = """
import json, sys, pkcs11
from pkcs11 import Attribute as A, ObjectClass
module, token_label, pin, label, other = json.load(sys.stdin)
session = pkcs11.lib(module).get_token(token_label=token_label).open(
    rw=True, user_pin=pin)
def public(name):
    return session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=name)
public(label).destroy()
public(other)[A.LABEL] = label
"""
    pin = token.pin_file.read_text()
    given = [token.profile.find_module(), token.label, pin, label, other]
    subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(given),
        env=os.environ | token.environment,
        text=True,
        check=True,
    )


def test_random_bytes_are_drawn_in_the_pieces_the_token_gives(token: Token) -> None:
    hsm = with_profile(token, random={"chunk_bytes": 16, "least_bytes": 8}).open()
    drawn = bytearray(1001)
    hsm.random_into(memoryview(drawn))
    assert len(set(drawn)) > 200
    hsm.close()


async def test_keys_of_an_external_tool_are_asked_for_and_never_made(
    token: Token, folder: Path, tmp_path: Path
) -> None:
    """`init` says which keys to make; asked again, it takes exactly those."""
    external = with_profile(token, keys={"made_by": "external-tool"})
    text = (folder / "policy.toml").read_text()
    signatures = [
        sign_with(folder, name, policy_digest(text))
        for name in ("operator-1", "operator-2")
    ]
    foundation = Foundation(
        FirstGeneration("devnet", 2, CHEAP),
        SignedPolicy(text=text, signatures=signatures),
    )
    paths = Paths(tmp_path / "state")

    async def init() -> str:
        hsm = external.open()
        try:
            made = await initialise(
                paths, hsm, foundation, allow_unlocked=True, now_ms=wall_clock_ms()
            )
            return made.journal_id
        finally:
            hsm.close()

    with pytest.raises(HsmError) as error:
        await init()
    asked = re.findall(r"make one (.+?) labelled '([^']+)'", str(error.value))
    assert [kind for kind, _ in asked] == [
        "AES-256 key",
        "HMAC-SHA256 key (generic secret)",
        "P-256 key pair",
    ]
    tool = token.open()  # it makes keys, as gcloud or a vendor's tool would
    for role, (_, label) in zip(("kek", "mac", "identity"), asked, strict=True):
        tool.generate_key(role=role, label=label, key_id=role.encode())
    tool.close()
    assert asked[0][1].endswith((await init())[:8])


# --- the judgement of attacks ---------------------------------------------------------

READ = Attempt("read VALUE", "refused")
GOT = Attempt("read VALUE", "got", "32 bytes")
WRAP = Attempt("wrap it by AES_KEY_WRAP", "refused")
WRAPPED = Attempt("wrap it by AES_KEY_WRAP", "got", "40 bytes")
NO_WRAP = Attempt("wrap it", "impossible", "no wrapping key")
NO_FUNCTION = Attempt("wrap it by RSA_PKCS", "unsupported")
WRONG = Attempt("wrap it by AES_CBC_PAD", "impossible", "MechanismInvalid")
SET = Attempt("set EXTRACTABLE to True", "accepted")
NOT_SET = Attempt("set EXTRACTABLE to True", "refused")
COPY = Attempt("copy it with EXTRACTABLE True", "accepted")


@pytest.mark.parametrize(
    ("attempts", "verdict"),
    [
        ([READ, WRAP, NOT_SET], "withstood"),
        ([READ, WRONG, WRAP, NOT_SET], "withstood"),
        ([READ, NO_FUNCTION, NOT_SET], "withstood"),
        ([GOT, WRAP, NOT_SET], "unsafe"),
        ([READ, WRAPPED, NOT_SET], "unsafe"),
        ([READ, WRAP, SET, READ, WRAP], "warning"),
        ([READ, WRAP, SET, READ, NO_FUNCTION], "warning"),
        ([READ, WRAP, SET, GOT, WRAP], "unsafe"),
        ([READ, WRAP, SET, READ, WRAPPED], "unsafe"),
        ([READ, WRAP, SET, READ, NO_WRAP], "unsafe"),
        ([READ, WRAP, SET, READ, WRONG], "unsafe"),
        ([READ, WRAP, SET, READ, NO_FUNCTION, WRONG], "unsafe"),
        ([READ, WRAP, SET], "unsafe"),
        ([READ, WRAP, SET, WRAP], "unsafe"),
        ([READ, WRAP, SET, READ, WRAP, COPY], "unsafe"),
        ([READ, WRAP, SET, READ, WRAP, COPY, READ, WRAP], "warning"),
        ([READ, WRAP, SET, COPY, READ, WRAP], "unsafe"),
        ([READ, NO_WRAP, NOT_SET], "untried"),
        ([READ, WRONG, NOT_SET], "untried"),
        ([], "untried"),
    ],
)
def test_a_token_is_judged_by_what_came_of_each_attempt(
    attempts: list[Attempt], verdict: str
) -> None:
    assert judge(attempts)[0] == verdict


def found(name: str, outcome: Outcome, *, broken: bool = False) -> Check:
    return Check(name, outcome, "", {"broken": broken})


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ([], "withstood"),
        ([found("keep rsa", "warning")], "warning"),
        ([found("keep rsa", "warning"), found("keep ec", "unsafe")], "unsafe"),
        ([found("keep rsa", "untried"), found("keep ec", "warning")], "untried"),
        ([found("keep rsa", "no")], "untried"),
        ([found("make aes", "no"), found("keep aes", "no")], "withstood"),
        ([found("make aes", "no", broken=True)], "unsafe"),
        ([found("random", "no", broken=True)], "unsafe"),
        ([found(f"make {kind}", "no") for kind in KINDS], "untried"),
    ],
)
def test_the_worst_attack_on_a_kind_of_key_that_is_made_decides(
    changed: list[Check], verdict: Outcome
) -> None:
    checks = {f"make {kind}": found(f"make {kind}", "yes") for kind in KINDS}
    checks |= {f"keep {kind}": found(f"keep {kind}", "withstood") for kind in KINDS}
    checks |= {check.name: check for check in changed}
    assert verdict_of(tuple(checks.values()))[0] == verdict


def test_the_schema_names_no_field_that_nothing_reads() -> None:
    """A switch that no code and no operator reads would be dead."""
    sources = "".join(
        path.read_text()
        for folder in ("appliance", "hsm_profiles", "docs")
        for path in (FOLDER.parent / folder).rglob("*")
        if path.suffix in {".py", ".md"}
    )
    for table in ("module", "login", "keys", "wrap", "mac", "identity", "random"):
        struct = HsmProfile.__annotations__[table]
        for field in struct.__struct_fields__:
            assert f".{field}" in sources or f"`{table}.{field}`" in sources, field
