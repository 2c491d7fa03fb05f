# SPDX-License-Identifier: Apache-2.0
"""Acts of several operators, policies taking force, and withdrawals authorised."""

import asyncio
import base64
import contextlib
import json
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import jwt
import msgspec
import pytest
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.approvals import LIFETIME_MS
from appliance.authorisation import AUTHORISATION_TYPE
from appliance.policy_file import parse_policy, policy_digest
from appliance.policy_force import PolicyInForce
from appliance.policy_replay import replay
from appliance.pytest_plugin import ApplianceProcess
from appliance.vault import Generation
from appliance.wire import (
    AcceptHead,
    CeremonyReport,
    Deferred,
    Done,
    Fault,
    GetPolicy,
    GetStatus,
    IssueAddress,
    Issued,
    OperatorSignature,
    PolicyReport,
    ProposeAct,
    Refused,
    Request,
    RunCeremony,
    SetPolicy,
    Signed,
    SignTransfer,
    StatusReport,
)
from tests.appliance.box import Box, row_seal, sign_with
from tests.appliance.bundles import Output, bundle, new_address, new_uuid
from tests.trinary.conftest import Oracle

ROTATE = RunCeremony(request_id="", ceremony="rotate-mac")


def policy_text(folder: Path, version: int, more: str = "") -> str:
    text = (folder / "policy.toml").read_text()
    return text.replace("version = 1", f"version = {version}\n{more}")


def set_policy(folder: Path, text: str, *names: str) -> SetPolicy:
    digest = policy_digest(text)
    return SetPolicy(
        request_id="p",
        text=text,
        signatures=[
            sign_with(folder, name, digest)
            for name in names or ("operator-1", "operator-3")
        ],
    )


async def put(box: Box, version: int, more: str) -> None:
    request = set_policy(box.folder, policy_text(box.folder, version, more))
    await box.expect(request, Done, name="operator-2")


async def fault(box: Box, request: Request, name: str = "operator-1") -> Fault:
    return await box.expect(request, Fault, name=name)


# --- acts --------------------------------------------------------------------------


async def test_a_ceremony_waits_for_as_many_as_the_policy_wants(box: Box) -> None:
    await put(box, 2, "approvals.ceremony = 3")
    refused = await fault(box, msgspec.structs.replace(ROTATE, request_id="r"))
    assert refused.code == "needs-approvals"
    dry = msgspec.structs.replace(ROTATE, request_id="r", dry_run=True)
    await box.expect(dry, CeremonyReport, name="operator-1")
    proposed = await box.propose(ROTATE)
    assert proposed.acts[0].shown[0].startswith("1. write the record")
    assert (await box.approve(proposed, 1)).missing == 2
    assert (await box.approve(proposed, 1)).missing == 2
    assert (await box.approve(proposed, 2)).missing == 1
    before = box.appliance.life.require_ready().vault.content.mac_key_label
    done = await box.approve(proposed, 3)
    assert (done.missing, len(done.steps)) == (0, 6)
    assert box.appliance.life.require_ready().vault.content.mac_key_label != before
    approved, rotated = [
        json.loads(row.payload) for row in (await box.rows("ceremony"))[-2:]
    ]
    assert approved["operators"] == ["operator-1", "operator-2", "operator-3"]
    assert approved["act"]["ceremony"] == rotated["step"] == "rotate-mac"
    again = await fault(box, box.approval(proposed, 1))  # single use
    assert again.code == "unknown-act"


async def test_an_approval_is_for_one_act_of_one_appliance(box: Box) -> None:
    await put(box, 2, "approvals.ceremony = 2")
    one, other = await box.propose(ROTATE), await box.propose(ROTATE)
    good = box.approval(one, 1)
    moved = msgspec.structs.replace(good, act_id=other.acts[0].id)
    assert (await fault(box, moved)).code == "approval"
    elsewhere = msgspec.structs.replace(one, journal_id="0" * 32)
    assert (await fault(box, box.approval(elsewhere, 1))).code == "approval"
    act = msgspec.structs.replace(
        one.acts[0], act=msgspec.structs.replace(ROTATE, ceremony="rotate-kek")
    )
    changed = msgspec.structs.replace(one, acts=[act])
    assert (await fault(box, box.approval(changed, 1))).code == "approval"
    borrowed = msgspec.structs.replace(
        good, signature=OperatorSignature("operator-2", good.signature.signature)
    )
    assert (await fault(box, borrowed)).code == "approval"
    nobody = msgspec.structs.replace(
        good, signature=OperatorSignature("mallory", good.signature.signature)
    )
    assert (await fault(box, nobody)).code == "approval"
    assert (await box.approve(one, 1)).missing == 1


async def test_an_act_is_forgotten_after_an_hour_and_by_a_new_policy(box: Box) -> None:
    await put(box, 2, "approvals.ceremony = 2")
    proposed = await box.propose(ROTATE)
    await box.approve(proposed, 1)
    box.clock.offset_ms += LIFETIME_MS
    assert (await fault(box, box.approval(proposed, 2))).code == "unknown-act"
    proposed = await box.propose(ROTATE)
    await put(box, 3, "approvals.ceremony = 2")
    assert (await fault(box, box.approval(proposed, 2))).code == "unknown-act"


async def test_only_so_many_acts_wait(box: Box) -> None:
    await put(box, 2, "approvals.ceremony = 2")
    for _ in range(32):
        await box.propose(ROTATE)
    request = ProposeAct(request_id="p", act=ROTATE)
    busy = await box.expect(request, Deferred, name="operator-1")
    assert busy.code == "busy"


async def test_what_can_not_be_done_can_not_be_proposed(box: Box) -> None:
    for act in (
        RunCeremony(request_id="", ceremony="rotate-the-moon"),
        RunCeremony(request_id="", ceremony="retire", subject="7"),
        AcceptHead(request_id="", sequence=99, hash="0" * 64),
    ):
        request = ProposeAct(request_id="p", act=act)
        assert (await fault(box, request)).code in {"bad-request", "foreign-head"}


async def test_two_operators_vouch_for_a_head_where_the_policy_wants_it(
    box: Box, folder: Path
) -> None:
    await put(box, 2, "approvals.accept_head = 2")
    await box.coin()
    await box.close()
    box = Box(folder)
    assert await box.appliance.check()
    last = (await box.rows())[-1]
    act = AcceptHead(request_id="x", sequence=last.sequence, hash=last.hash)
    assert (await fault(box, act)).code == "needs-approvals"
    proposed = await box.propose(act)
    await box.approve(proposed, 2)
    assert not (await box.status()).anchored
    assert (await box.approve(proposed, 3)).steps == ["the head is confirmed"]
    assert (await box.status()).anchored
    await box.close()


async def test_a_salt_of_elsewhere_signs_and_never_issues(
    box: Box, tmp_path: Path
) -> None:
    """Two operators take it over; its addresses are those it always made."""
    source = tmp_path / "salt"
    source.write_bytes(b"twenty printable chars and more\n")
    act = RunCeremony(
        request_id="",
        ceremony="import-salt",
        subject=str(source),
        security_level=1,
        argon2="argon2i 1 512",
    )
    source.chmod(0o644)
    assert "0600" in (await fault(box, ProposeAct(request_id="p", act=act))).message
    source.chmod(0o600)
    alone = msgspec.structs.replace(act, request_id="r")
    assert (await fault(box, alone)).code == "needs-approvals"
    proposed = await box.propose(act)
    assert "31 bytes, level 1" in proposed.acts[0].shown[0]
    await box.approve(proposed, 1)
    await box.approve(proposed, 2)
    assert await box.appliance.check()  # a larger arena than before: brought up anew
    assert (await box.status()).generations == ["1", "2 (retired)"]
    assert (await box.status()).generation == 1
    life = box.appliance.life
    vault = life.require_running().vault
    generation = vault.generations[2]
    with vault.open_salt(2) as salt:
        assert bytes(salt.view) == b"twenty printable chars and more"
        assert derive(bytes(salt.view), generation) == generation.canary_address
    await box.expect(bundle([await box.coin()]), Signed)
    log = [json.loads(row.payload)["step"] for row in await box.rows("ceremony")]
    assert log[-2:] == ["approved", "import-salt"]


@pytest.mark.parametrize(
    ("salt", "argon2", "told"),
    [
        (b"short", "", "at least 20 bytes"),
        (b"x" * 32, "argon2d 1 512", "argon2 is variant"),
        (b"x" * 32, "argon2id many", "argon2 is variant"),
        (None, "", "cannot read"),
    ],
)
async def test_a_salt_that_can_not_be_taken_is_told_before_anybody_approves(
    box: Box, tmp_path: Path, salt: bytes | None, argon2: str, told: str
) -> None:
    source = tmp_path / "salt"
    if salt is not None:
        source.write_bytes(salt)
        source.chmod(0o600)
    act = RunCeremony(
        request_id="", ceremony="import-salt", subject=str(source), argon2=argon2
    )
    answer = await fault(box, ProposeAct(request_id="p", act=act))
    assert (answer.code, told in answer.message) == ("bad-request", True)


def derive(salt: bytes, generation: Generation) -> str:
    """Derive the canary's address with argon2-cffi and PyOTA alone."""
    oracle = Oracle()
    raw = hash_secret_raw(
        generation.canary_uuid.encode(),
        salt,
        time_cost=generation.argon2.time_cost,
        memory_cost=generation.argon2.memory_kib,
        parallelism=1,
        hash_len=48,
        type=Type.I,
    )
    seed = oracle.trytes_from_bytes(raw)
    return oracle.address(seed, level=generation.security_level, index=0)


# --- policies ----------------------------------------------------------------------


async def test_a_policy_takes_force_at_once_and_outlives_a_restart(
    box: Box, folder: Path
) -> None:
    coin = await box.coin(100)
    await put(box, 2, "limits.max_outside_per_bundle_i = 99")
    request = bundle([coin])
    assert (await box.refused(request)).code == "policy-per-bundle"
    await box.close()
    (folder / "state" / "policy.json").unlink()  # a copy, nothing else
    box = Box(folder)
    assert await box.appliance.check()
    report = await box.expect(GetPolicy(request_id="g"), PolicyReport, name="auditor")
    assert "max_outside_per_bundle_i = 99" in report.text
    await box.close()


async def test_the_configuration_can_only_be_stricter(
    folder: Path, configure: object
) -> None:
    configure("policy", "max_outside_per_bundle_i = 50")  # type: ignore[operator]
    box = Box(folder)
    assert await box.appliance.check()
    await put(box, 2, "limits.max_outside_per_bundle_i = 99")
    assert (await box.refused(bundle([await box.coin(60)]))).code == "policy-per-bundle"
    await box.expect(bundle([await box.coin(50)]), Signed)
    await box.close()


@pytest.mark.parametrize(
    ("names", "version", "code"),
    [
        (("operator-1",), 2, "policy-signatures"),
        (("operator-1", "operator-1"), 2, "policy-signatures"),
        (("operator-1", "operator-2"), 1, "policy-version"),
    ],
)
async def test_a_policy_that_may_not_take_force_changes_nothing(
    box: Box, names: tuple[str, ...], version: int, code: str
) -> None:
    request = set_policy(box.folder, policy_text(box.folder, version), *names)
    refused = await box.expect(request, Refused, name="operator-1")
    assert refused.code == code
    report = await box.expect(GetPolicy(request_id="g"), PolicyReport, name="auditor")
    assert report.text == (box.folder / "policy.toml").read_text()


@pytest.mark.parametrize(("sealed", "code"), [(True, "policy"), (False, "journal")])
async def test_a_policy_slipped_into_the_journal_seals(
    folder: Path, code: str, *, sealed: bool
) -> None:
    """Whoever writes to the disk can rebuild a chain, but neither MAC nor policy."""
    from appliance.journal_chain import Head, next_row  # noqa: PLC0415

    journal = folder / "state" / "journal.db"
    database = sqlite3.connect(journal)
    fields = database.execute("select sequence, hash, time_ms from row").fetchone()
    forged = {"text": policy_text(folder, 9), "signatures": []}
    row = next_row(
        Head(*fields),
        now_ms=fields[2],
        client="operator-1",
        kind="ceremony",
        payload={"step": "policy", "version": 9, "policy": forged},
    )
    values = [getattr(row, name) for name in row.__struct_fields__]
    database.execute("insert into row values (?,?,?,?,?,?,?)", values)
    if sealed:  # as if the appliance itself had been talked into it
        mac = (row.sequence, row_seal(folder).mac(row))
        database.execute("insert into row_mac values (?,?)", mac)
    database.commit()
    database.close()
    box = Box(folder)
    assert not await box.appliance.check()
    status = await box.status()
    assert status.state == "sealed"
    assert status.reason.startswith(code)
    await box.close()


async def test_threads_that_take_in_a_policy_at_once_keep_it_once(box: Box) -> None:
    """Kept twice, the policy after it would never come into force."""
    for version in range(2, 8):
        await put(box, version, f"limits.min_input_i = {version}")
    before = box.appliance.life.require_ready().policy
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            policy = PolicyInForce(before.journal, before.root, before.local)
            with ThreadPoolExecutor(4) as threads:
                ready = Barrier(4)

                def ask(policy: PolicyInForce = policy, ready: Barrier = ready) -> int:
                    ready.wait()
                    return policy.content.version

                found = [threads.submit(ask) for _ in range(4)]
            assert [one.result() for one in found] == [7] * 4
            assert len(policy._verified) == 7
    finally:
        sys.setswitchinterval(switch_s)


async def test_without_its_copy_a_sealed_appliance_says_what_is_missing(
    box: Box, folder: Path
) -> None:
    (folder / "state" / "policy.json").unlink()
    assert (await fault(box, GetPolicy(request_id="g"))).code == "policy-copy"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failpoint", "in_force"),
    [
        ("policy.verified", 1),
        ("journal.ceremony.before-commit", 1),
        ("policy.journalled", 2),
    ],
)
async def test_killed_while_a_policy_takes_force_it_is_in_force_or_not(
    process: ApplianceProcess, failpoint: str, in_force: int, tmp_path: Path
) -> None:
    marker = tmp_path / "reached"
    process.environment = {
        "SALTKEEP_FAILPOINT": failpoint,
        "SALTKEEP_FAILPOINT_FILE": str(marker),
    }
    process.start()
    request = set_policy(process.folder, policy_text(process.folder, 2))
    async with process.client("operator-1") as operator:
        work = asyncio.create_task(operator.ask(request))
        deadline_s = time.monotonic() + 20
        while not marker.exists():
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.02)
        process.kill()
        with contextlib.suppress(BaseException):
            await work
    process.environment = {}
    process.start()
    async with process.client("auditor") as auditor:
        status = await auditor.expect(GetStatus(request_id="s"), StatusReport)
        assert status.state == "ready"
        report = await auditor.expect(GetPolicy(request_id="g"), PolicyReport)
    assert f"version = {in_force}" in report.text


async def test_hours_and_rates_defer_and_refuse_nothing(box: Box) -> None:
    await put(box, 2, "limits.max_addresses_per_hour = 2")
    coins = [await box.coin(), await box.coin()]
    request = IssueAddress(request_id="i", seed_uuid=new_uuid())
    deferred = await box.expect(request, Deferred)
    assert deferred.code == "address-rate"
    assert 3500 < deferred.retry_after_s <= 3600
    box.clock.offset_ms += 3_600_000
    await box.expect(request, Issued)
    shut = "hours = [{ weekdays = [%d], from_minute = 0, to_minute = 1440 }]"
    tomorrow = (time.gmtime(box.clock() / 1000).tm_wday + 1) % 7
    await put(box, 3, shut % tomorrow)
    payment = bundle(coins)
    deferred = await box.expect(payment, Deferred)
    assert deferred.code == "hours"
    box.clock.offset_ms += int(deferred.retry_after_s * 1000) + 1000
    await box.expect(payment, Signed)
    await put(box, 4, shut % ((tomorrow + 1) % 7))
    await box.expect(payment, Signed)  # signed before: the same bytes, at any hour


async def test_a_new_policy_is_tried_on_the_past(box: Box) -> None:
    poor, rich = await box.coin(10), await box.coin(1000)
    first, second = bundle([poor]), bundle([rich])
    await box.expect(first, Signed)
    await box.expect(second, Signed)
    rows = await box.rows()

    def tried(more: str) -> list[tuple[str, str]]:
        policy = parse_policy(policy_text(box.folder, 2, more))
        found = {f.bundle_hash: f for f in replay(rows, policy)}
        return [
            (found[r.bundle_hash].verdict, found[r.bundle_hash].rule)
            if r.bundle_hash in found
            else ("", "")
            for r in (first, second)
        ]

    assert tried("") == [("", ""), ("", "")]
    assert tried("limits.max_outside_per_bundle_i = 500") == [
        ("", ""),
        ("denied", "per-bundle"),
    ]
    assert tried("limits.max_outside_per_window_i = 1005") == [
        ("", ""),
        ("deferred", "window"),
    ]
    assert tried("limits.min_input_i = 11") == [("denied", "min-input"), ("", "")]
    assert tried("limits.presence_above_i = 10")[1] == ("presence", "presence")
    assert tried("limits.authorise_above_i = 10")[1] == ("deferred", "authorisation")
    destination = next(t.address for t in second.transactions if t.value_i > 0)
    assert tried(f'deny = ["{destination}"]')[1] == ("denied", "deny")


# --- withdrawals the exchange has signed -------------------------------------------

ISSUER = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
ISSUER_P256 = ec.derive_private_key(7, ec.SECP256R1())


def issuers() -> str:
    lines = ["limits.authorise_above_i = 50"]
    entries = []
    for name, algorithm, key in (
        ("exchange", "EdDSA", ISSUER),
        ("other", "ES256", ISSUER_P256),
    ):
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        entries.append(
            f"{{ id = {json.dumps(name)}, algorithm = {json.dumps(algorithm)},"
            f" key = {json.dumps(pem.decode())} }}"
        )
    return "\n".join([*lines, f"issuers = [{', '.join(entries)}]"])


def authorise(box: Box, request: SignTransfer, **changes: object) -> str:
    shown = next(one for one in request.transactions if one.value_i > 0)
    claims: dict[str, object] = {
        "aud": box.head.journal_id if box.head else "",
        "network": "devnet",
        "withdrawal": "w-1",
        "address": shown.address,
        "amount_i": shown.value_i,
        "tag": shown.obsolete_tag,
        "exp": box.clock() // 1000 + 600,
        "iss": "exchange",
    }
    header = {"typ": AUTHORISATION_TYPE, "kid": "exchange"}
    key: object = ISSUER
    algorithm = "EdDSA"
    for name, value in changes.items():
        if name == "key":
            key = value
        elif name == "alg":
            algorithm = str(value)
        elif name in {"typ", "kid"}:
            header[name] = str(value)
        else:
            claims[name] = value
    return jwt.encode(claims, key, algorithm=algorithm, headers=header)  # type: ignore[arg-type]


async def asked(box: Box) -> SignTransfer:
    return bundle([await box.coin(100)], [Output(new_address(), 100)])


async def test_a_payment_above_the_threshold_waits_for_the_exchange_s_word(
    box: Box,
) -> None:
    await put(box, 2, issuers())
    request = await asked(box)
    assert (await box.expect(request, Deferred)).code == "authorisation"
    token = authorise(box, request)
    good = msgspec.structs.replace(request, authorisations=[token])
    signed = await box.expect(good, Signed)
    assert (await box.expect(request, Signed)).signatures == signed.signatures


async def test_es256_works_too(box: Box) -> None:
    await put(box, 2, issuers())
    request = await asked(box)
    token = authorise(
        box, request, key=ISSUER_P256, alg="ES256", kid="other", iss="other"
    )
    await box.expect(msgspec.structs.replace(request, authorisations=[token]), Signed)


async def test_an_authorisation_is_used_once(box: Box) -> None:
    await put(box, 2, issuers())
    address = new_address()
    first = bundle([await box.coin(100)], [Output(address, 100)])
    second = bundle([await box.coin(100)], [Output(address, 100)])
    token = authorise(box, first)
    await box.expect(msgspec.structs.replace(first, authorisations=[token]), Signed)
    refused = await box.refused(
        msgspec.structs.replace(second, authorisations=[authorise(box, second)])
    )
    assert refused.code == "authorisation-used"
    assert refused.recorded_bundle_hash == first.bundle_hash


WRONG: dict[str, dict[str, object]] = {
    "another amount": {"amount_i": 99},
    "another address": {"address": "A" * 81},
    "another tag": {"tag": "A" * 27},
    "another journal": {"aud": "0" * 32},
    "another network": {"network": "mainnet"},
    "expired": {"exp": 1_000_000_000},
    "another issuer's name": {"iss": "other"},
    "an unknown issuer": {"kid": "nobody", "iss": "nobody"},
    "another type": {"typ": "JWT"},
    "another key": {"key": Ed25519PrivateKey.from_private_bytes(b"\1" * 32)},
    "another algorithm": {"alg": "ES256", "key": ISSUER_P256},
    "the public key as a password": {"alg": "HS256", "key": "x" * 32},
    "an unknown claim": {"extra": 1},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
async def test_an_authorisation_that_does_not_fit_is_refused(
    box: Box, changes: dict[str, object]
) -> None:
    await put(box, 2, issuers())
    request = await asked(box)
    token = authorise(box, request, **changes)
    refused = await box.refused(
        msgspec.structs.replace(request, authorisations=[token])
    )
    assert refused.code == "authorisation"
    assert await box.rows("signed") == []


@pytest.mark.parametrize("token", ["", "a.b.c", "..", "\u00e9", "e30.e30.AAAA"])
async def test_what_is_no_authorisation_is_refused(box: Box, token: str) -> None:
    await put(box, 2, issuers())
    request = await asked(box)
    refused = await box.refused(
        msgspec.structs.replace(request, authorisations=[token])
    )
    assert refused.code == "authorisation"


async def test_no_signature_and_no_algorithm_are_refused(box: Box) -> None:
    await put(box, 2, issuers())
    request = await asked(box)
    header, payload, _ = authorise(box, request).split(".")
    none = {"alg": "none", "typ": AUTHORISATION_TYPE, "kid": "exchange"}
    unsigned = base64.urlsafe_b64encode(json.dumps(none).encode()).decode().rstrip("=")
    for first in (header, unsigned):
        token = f"{first}.{payload}."
        refused = await box.refused(
            msgspec.structs.replace(await asked(box), authorisations=[token])
        )
        assert refused.code == "authorisation"


async def test_one_authorisation_does_not_cover_two_outputs(box: Box) -> None:
    await put(box, 2, issuers())
    address = new_address()
    coin = await box.coin(200)
    request = bundle([coin], [Output(address, 100), Output(address, 100)])
    one = authorise(box, request)
    deferred = await box.expect(
        msgspec.structs.replace(request, authorisations=[one]), Deferred
    )
    assert deferred.code == "authorisation"
    twice = msgspec.structs.replace(request, authorisations=[one, one])
    refused = await box.refused(twice)
    assert refused.code == "authorisation"
