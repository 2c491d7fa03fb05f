# SPDX-License-Identifier: Apache-2.0
"""What the identity key signs can be checked by anybody, without an appliance."""

import base64
import json
from pathlib import Path

import jwt
import msgspec
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.__main__ import cli
from appliance.errors import BrokenInvariantError, RefusedError
from appliance.journal_chain import require_checkpoint, verify_chain
from appliance.receipt import (
    CHECKPOINT_TYPE,
    RECEIPT_TYPE,
    read_statement,
    successors,
)
from appliance.wire import (
    CeremonyReport,
    Checkpoint,
    Fault,
    IssueAddress,
    Issued,
    JournalRow,
    MakeCheckpoint,
    RunCeremony,
    Signed,
)
from hub.receipts import decode_receipt
from tests.appliance.box import Box
from tests.appliance.bundles import bundle, new_uuid


async def receipt_of(box: Box) -> Issued:
    request = IssueAddress(request_id="i", seed_uuid=new_uuid())
    return await box.expect(request, Issued)


async def checkpoint_of(box: Box) -> str:
    request = MakeCheckpoint(request_id="c")
    return (await box.expect(request, Checkpoint, name="auditor")).statement


def pem(box: Box) -> bytes:
    return (box.folder / "identity.pem").read_bytes()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


async def test_a_receipt_is_read_alike_by_pyjwt_and_by_us(box: Box) -> None:
    issued = await receipt_of(box)
    ours = read_statement(issued.receipt, kind=RECEIPT_TYPE, identity_pem=pem(box))
    theirs = jwt.decode(issued.receipt, pem(box), algorithms=["ES256"])
    assert ours == theirs
    assert ours["address"] == issued.address


async def test_a_statement_altered_anywhere_is_refused(box: Box) -> None:
    receipt = (await receipt_of(box)).receipt
    for position in range(0, len(receipt), 7):
        letter = "A" if receipt[position] != "A" else "B"
        altered = receipt[:position] + letter + receipt[position + 1 :]
        with pytest.raises(RefusedError):
            read_statement(altered, kind=RECEIPT_TYPE, identity_pem=pem(box))


async def test_a_receipt_is_no_checkpoint(box: Box) -> None:
    receipt = (await receipt_of(box)).receipt
    with pytest.raises(RefusedError, match="type"):
        read_statement(receipt, kind=CHECKPOINT_TYPE, identity_pem=pem(box))


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "....", "ä.ö.ü", "e30.e30.e30"])
async def test_what_is_no_statement_is_refused(box: Box, text: str) -> None:
    with pytest.raises(RefusedError):
        read_statement(text, kind=RECEIPT_TYPE, identity_pem=pem(box))


async def test_an_unsigned_statement_is_refused(box: Box) -> None:
    header = base64.urlsafe_b64encode(
        json.dumps({"alg": "none", "typ": RECEIPT_TYPE}).encode()
    )
    text = header.decode().rstrip("=") + ".e30."
    with pytest.raises(RefusedError):
        read_statement(text, kind=RECEIPT_TYPE, identity_pem=pem(box))


async def test_a_checkpoint_finds_a_truncated_journal(box: Box) -> None:
    await box.expect(bundle([await box.coin()]), Signed)
    statement = await checkpoint_of(box)
    rows = await box.rows()
    require_checkpoint(rows, statement, identity_pem=pem(box))
    cut = rows[:2]
    verify_chain(cut)  # a chain that ends early is still a chain
    with pytest.raises(BrokenInvariantError, match="ends at 2"):
        require_checkpoint(cut, statement, identity_pem=pem(box))


async def test_a_checkpoint_finds_a_journal_that_was_written_anew(box: Box) -> None:
    await box.coin()
    statement = await checkpoint_of(box)
    rows = await box.rows()
    other = msgspec.structs.replace(rows[1], hash="0" * 64)
    with pytest.raises(BrokenInvariantError):
        require_checkpoint([rows[0], other], statement, identity_pem=pem(box))


async def test_a_hub_gets_no_checkpoint(box: Box) -> None:
    reply = await box.expect(MakeCheckpoint(request_id="c"), Fault, name="hub")
    assert reply.code == "forbidden"


async def test_the_command_line_verifies_an_export_against_a_checkpoint(
    box: Box, tmp_path: Path
) -> None:
    await box.coin()
    checkpoint, export = tmp_path / "checkpoint", tmp_path / "export.jsonl"
    checkpoint.write_text(await checkpoint_of(box))
    rows = await box.rows()
    arguments = ["journal", "verify", "--export", str(export)]
    against = ["--checkpoint", str(checkpoint)]
    against += ["--identity", str(box.folder / "identity.pem")]

    def write(kept: list[JournalRow]) -> None:
        export.write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in kept))

    write(rows)
    assert run(*arguments, *against).exit_code == 0
    write(rows[:1])
    assert run(*arguments).exit_code == 0
    assert run(*arguments, *against).exit_code == 3
    assert run(*arguments, "--checkpoint", str(checkpoint)).exit_code == 2
    export.write_text("no journal\n")
    assert run(*arguments).exit_code == 3


async def rotate_identity(box: Box) -> None:
    request = RunCeremony(request_id="r", ceremony="rotate-identity")
    await box.expect(request, CeremonyReport, name="operator-1")


async def test_receipts_of_before_and_after_a_rotation_verify(box: Box) -> None:
    old = await receipt_of(box)
    for _ in range(2):
        await rotate_identity(box)
    new = await receipt_of(box)
    pinned = pem(box)
    read_statement(old.receipt, kind=RECEIPT_TYPE, identity_pem=pinned)
    with pytest.raises(RefusedError):
        read_statement(new.receipt, kind=RECEIPT_TYPE, identity_pem=pinned)
    status = await box.status()
    followed = successors(status.successions, identity_pem=pinned)
    assert followed[-1] == status.identity_key
    both = pinned + "".join(followed).encode()
    for issued in (old, new):
        read_statement(issued.receipt, kind=RECEIPT_TYPE, identity_pem=both)
        assert decode_receipt(issued.receipt, both.decode())["payload"]


async def test_only_the_pinned_key_can_name_a_successor(box: Box) -> None:
    await rotate_identity(box)
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    foreign = stranger.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    successions = (await box.status()).successions
    assert successors(successions, identity_pem=foreign) == []
    (statement,) = successions
    head, payload, signature = statement.split(".")
    forged = ".".join((head, payload[:-2] + "AA", signature))
    with pytest.raises(RefusedError):
        successors([forged], identity_pem=pem(box))


async def test_who_pinned_a_later_key_follows_from_there(box: Box) -> None:
    await rotate_identity(box)
    later = (await box.status()).identity_key.encode()
    await rotate_identity(box)
    status = await box.status()
    followed = successors(status.successions, identity_pem=later)
    assert followed == [status.identity_key]


async def test_the_command_line_verifies_a_receipt(box: Box) -> None:
    issued = await receipt_of(box)
    identity = ["--identity", str(box.folder / "identity.pem")]
    shown = run("verify-receipt", issued.receipt, *identity)
    assert shown.exit_code == 0
    assert issued.address in shown.output
    meant = ["--address", issued.address]
    assert run("verify-receipt", issued.receipt, *identity, *meant).exit_code == 0
    other = ["--address", "9" * 81]
    assert run("verify-receipt", issued.receipt, *identity, *other).exit_code == 1
