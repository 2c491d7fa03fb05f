# SPDX-License-Identifier: Apache-2.0
"""Salts that change their HSM, on each kind of token: moves, restores, imports."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from appliance.backup import make_backup_key, open_backup
from appliance.errors import HsmError
from appliance.hsm import Hsm
from appliance.installation import Paths
from appliance.restore import restore
from appliance.service import wall_clock_ms
from appliance.vault import read_unauthenticated
from appliance.wire import AcceptHead, Done, Fault, RunCeremony, Signed
from tests.appliance.box import Box
from tests.appliance.bundles import bundle
from tests.tokens.appliances import Installation, alone, approved, replace_table
from tests.tokens.tokens import SoftHsmMaker, Token

MakeInstallation = Callable[[Token], Installation]


def describe(token: Token, path: Path) -> str:
    """Write the file that a move is told of."""
    path.write_text(token.table())
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def other(tmp_path: Path) -> Token:
    """A SoftHSM2 token beside the one under test."""
    return SoftHsmMaker().make(tmp_path / "other")


async def under_load(box: Box, work: Callable[[], Awaitable[object]]) -> int:
    """Sign and issue while ``work`` is done; return how many were answered."""
    requests = [bundle([await box.coin()]) for _ in range(4)]
    done = asyncio.Event()

    async def sign(turn: int) -> int:
        count = 0
        while not done.is_set() or count == 0:
            await box.expect(requests[turn], Signed)
            await box.coin()
            count += 2
        return count

    workers = [asyncio.create_task(sign(turn)) for turn in range(len(requests))]
    await work()
    done.set()
    answered = sum(await asyncio.gather(*workers))
    hashes = [
        json.loads(row.payload)["bundle_hash"] for row in await box.rows("signed")
    ]
    assert len(hashes) == len(set(hashes))
    return answered


@pytest.mark.capability("appliance: moved here and away")
async def test_an_appliance_moves_here_and_away_under_load(
    token: Token, other: Token, install: MakeInstallation, tmp_path: Path
) -> None:
    install(token)  # skips where no appliance can be
    appliance = Installation(tmp_path / "box")
    configuration = appliance.folder / "appliance.toml"
    replace_table(configuration, other)
    await appliance.init()
    box = await appliance.start()
    early = await box.coin()

    here = describe(token, tmp_path / "here.toml")
    assert await under_load(box, lambda: approved(box, "move-hsm", here)) >= 8
    assert box.appliance.life.hsm.token_label == token.label
    await box.expect(bundle([early, await box.coin()]), Signed)  # no restart between
    await box.close()

    stale = Box(appliance.folder)  # the configuration still names the other token
    assert not await stale.appliance.check()
    reason = (await stale.status()).reason
    assert reason.startswith("wrong-token")
    assert token.label in reason
    await stale.close()

    replace_table(configuration, token)
    box = await appliance.start()
    back = describe(other, tmp_path / "back.toml")
    await accept(box)
    await under_load(box, lambda: approved(box, "move-hsm", back))
    await box.close()
    replace_table(configuration, other)
    box = await appliance.start()
    content = read_unauthenticated(appliance.folder / "state" / "vault.json")
    assert content.token is not None
    assert content.token.label == other.label
    assert len(content.successions) == 2  # each identity key named the next
    await box.close()


async def accept(box: Box) -> None:
    """Vouch for the head, as an operator does without a hub."""
    last = (await box.rows())[-1]
    request = AcceptHead(request_id="a", sequence=last.sequence, hash=last.hash)
    await box.expect(request, Done, name="operator-1")


@pytest.mark.capability("appliance: restored here")
async def test_a_backup_of_elsewhere_is_restored_onto_this_token(
    token: Token, other: Token, install: MakeInstallation, tmp_path: Path
) -> None:
    install(token)
    configuration = tmp_path / "box" / "appliance.toml"
    replace_table(configuration, other)
    appliance = Installation(tmp_path / "box")
    made = await appliance.init()
    box = await appliance.start()
    private, public = make_backup_key(allow_unlocked=True)
    old = await box.coin()
    await approved(box, "set-backup-key", public.hex())
    await alone(box, "backup")
    await box.close()
    (data,) = (appliance.folder / "state" / "backups").iterdir()

    opened = open_backup(
        data.read_bytes(),
        private=private,
        identity_pem=made.identity_pem.encode(),
        allow_unlocked=True,
    )
    (appliance.folder / "state").rename(appliance.folder / "lost")
    replace_table(configuration, token)
    hsm = appliance.open()
    await restore(
        Paths(appliance.folder / "state"),
        hsm,
        opened,
        allow_unlocked=True,
        now_ms=wall_clock_ms(),
    )
    opened.close()
    hsm.close()

    box = await appliance.start()
    await accept(box)
    await approved(box, "recover-journal", "complete")
    await box.expect(bundle([old, await box.coin()]), Signed)
    await box.close()


PUT = """
import json, sys, pkcs11
from pkcs11 import Attribute, ObjectClass
module, token_label, pin, kind, label, value = json.load(sys.stdin)
session = pkcs11.lib(module).get_token(token_label=token_label).open(
    rw=True, user_pin=pin)
wanted = {Attribute.LABEL: label, Attribute.TOKEN: True, Attribute.PRIVATE: True,
          Attribute.VALUE: bytes.fromhex(value)}
if kind == "data":
    wanted |= {Attribute.CLASS: ObjectClass.DATA}
elif kind == "public":
    wanted |= {Attribute.CLASS: ObjectClass.DATA, Attribute.PRIVATE: False}
else:
    wanted |= {Attribute.CLASS: ObjectClass.SECRET_KEY,
               Attribute.KEY_TYPE: pkcs11.KeyType.GENERIC_SECRET,
               Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
session.create_object(wanted)
"""


def put(token: Token, kind: str, label: str, value: bytes) -> None:
    """Make an object in a token as another program would."""
    pin = token.pin_file.read_text()
    module = token.profile.find_module()
    subprocess.run(
        [sys.executable, "-c", PUT],
        input=json.dumps([module, token.label, pin, kind, label, value.hex()]),
        env=os.environ | token.environment,
        text=True,
        check=True,
    )


def read(hsm: Hsm, label: str) -> bytes:
    room = bytearray(64)
    size = hsm.read_object(label=label, into=memoryview(room))
    return bytes(room[:size])


@pytest.mark.capability("salt read from a data object")
def test_a_salt_lies_in_the_token_as_a_data_object(token: Token) -> None:
    salt = os.urandom(19) + b"\0"  # one that ends in a zero byte stays whole
    put(token, "data", "old-salt", salt)
    hsm = token.open()
    assert read(hsm, "old-salt") == salt
    hsm.close()


@pytest.mark.capability("appliance: salt imported from an object")
async def test_a_salt_of_elsewhere_is_imported_from_an_object(
    token: Token, install: MakeInstallation
) -> None:
    appliance = install(token)
    await appliance.init()
    put(token, "data", "old-salt", os.urandom(20))
    box = await appliance.start()
    steps = await approved(box, "import-salt", "hsm:old-salt")
    assert steps[0].startswith("1. read the salt from hsm:old-salt: 20 bytes")
    assert (await box.status()).generations == ["1", "2 (retired)"]
    request = RunCeremony(
        request_id="c", ceremony="import-salt", subject="hsm:absent", dry_run=True
    )
    fault = await box.expect(request, Fault, name="operator-1")
    assert "found 0" in fault.message
    await box.close()


def test_what_can_be_read_without_a_login_is_no_salt(other: Token) -> None:
    put(other, "public", "no-secret", os.urandom(20))
    put(other, "secret", "extractable", bytes(range(32)))
    hsm = other.open()
    assert read(hsm, "extractable") == bytes(range(32))
    with pytest.raises(HsmError, match="without a login"):
        read(hsm, "no-secret")
    hsm.close()
