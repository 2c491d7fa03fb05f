# SPDX-License-Identifier: Apache-2.0
"""Drafting, finishing and checking: PyOTA and the kernel must agree."""

import os
import secrets
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from hub.model import Address, Tag
from hub.tangle import (
    BundleDesk,
    BundleDeskError,
    BundleInvalidError,
    Draft,
    DraftInput,
    DraftOutput,
    draft_bundle,
    finish,
    hash_of,
    require_valid,
)
from tests.hub.bookkeeping import trytes
from trinary import winternitz
from trinary.bundle import parse_transaction

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import iota

SEEDS = [secrets.token_bytes(48) for _ in range(2)]
NOW_S = 1_700_000_000


def address_of(seed: bytes, level: int = 2) -> Address:
    return Address(winternitz.address(seed, level=level))


def draft(*, level: int = 2) -> Draft:
    return draft_bundle(
        [DraftInput(address_of(seed, level), 50, level) for seed in SEEDS],
        [
            DraftOutput(Address(trytes()), 60, Tag("PAYOUT".ljust(27, "9"))),
            DraftOutput(Address(trytes()), 40),
        ],
        timestamp_s=NOW_S,
    )


def signatures(made: Draft, *, level: int = 2) -> dict[int, list[str]]:
    return {
        number * level: winternitz.sign(seed, level=level, bundle_hash=made.bundle_hash)
        for number, seed in enumerate(SEEDS)
    }


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_signed_draft_is_valid(level: int) -> None:
    made = draft(level=level)
    require_valid(finish(made, signatures(made, level=level)))


def test_a_check_computes_no_transaction_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing looks at them, and each takes PyOTA a sixth of a second."""
    made = draft()
    hashed: list[None] = []
    monkeypatch.setattr(iota.transaction.base, "Curl", lambda: hashed.append(None))
    require_valid(finish(made, signatures(made)))
    assert not hashed


def test_inputs_come_first_and_the_rest_last() -> None:
    values = [t.value_i for t in draft().transactions]
    assert values == [-50, 0, -50, 0, 60, 40]


def test_the_counter_against_13_stands_in_transaction_0_and_payout_tags_stay() -> None:
    for _ in range(5):
        made = draft()
        assert not winternitz.used_fragments_contain_13(made.bundle_hash, level=3)
        assert made.transactions[4].obsolete_tag == "PAYOUT".ljust(27, "9")
        assert made.transactions[4].tag == "PAYOUT".ljust(27, "9")
        assert {t.timestamp_s for t in made.transactions} == {NOW_S}


def test_the_kernel_finds_the_counter_that_pyota_would_find() -> None:
    made = draft()
    bare = iota.ProposedBundle()
    bare.add_inputs(
        iota.Address(address_of(seed), balance=50, key_index=0, security_level=2)
        for seed in SEEDS
    )
    for entry in made.transactions[4:]:
        bare.add_transaction(
            iota.ProposedTransaction(
                address=iota.Address(entry.address),
                value=entry.value_i,
                tag=iota.Tag(entry.tag),
            )
        )
    for transaction in bare:
        transaction.timestamp = NOW_S
    bare.finalize()
    assert str(bare.hash) == made.bundle_hash
    assert str(bare[0].legacy_tag) == made.transactions[0].obsolete_tag


def test_pyota_hashes_a_draft_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a quarter of a second for forty transactions, and tries twenty times."""
    tries: list[None] = []
    monkeypatch.setattr(
        iota.ProposedTransaction, "increment_legacy_tag", lambda _: tries.append(None)
    )
    for _ in range(5):
        draft()
    assert not tries


def test_a_draft_survives_being_stored() -> None:
    made = draft()
    assert Draft.from_text(made.bundle_hash, made.to_text()) == made


@pytest.mark.parametrize(
    "fields",
    [{"address": "A" * 80 + "9"}, {"value_i": 61}, {"timestamp_s": 1}],
    ids=lambda fields: next(iter(fields)),
)
def test_a_stored_draft_that_was_changed_has_another_hash(
    fields: dict[str, object],
) -> None:
    made = draft()
    parts = list(made.transactions)
    parts[4] = replace(parts[4], **fields)  # type: ignore[arg-type]
    changed = replace(made, transactions=tuple(parts))
    assert hash_of(changed) != made.bundle_hash


def test_what_is_no_bundle_at_all_is_said_so() -> None:
    made = draft()
    parts = [replace(made.transactions[0], address="short"), *made.transactions[1:]]
    with pytest.raises(BundleInvalidError):
        hash_of(replace(made, transactions=tuple(parts)))


def test_a_wrong_signature_is_found() -> None:
    made = draft()
    wrong = signatures(made) | {0: signatures(made)[2]}
    with pytest.raises(BundleInvalidError):
        require_valid(finish(made, wrong))


@pytest.mark.parametrize("fragment", ["", "A", "a" * 2187, "9" * 2188])
def test_a_fragment_that_is_none_is_found(fragment: str) -> None:
    made = draft()
    with pytest.raises(BundleInvalidError):
        finish(made, signatures(made) | {0: [fragment, fragment]})


def test_finishing_leaves_everything_but_signatures_alone() -> None:
    made = draft()
    for index, text in enumerate(finish(made, signatures(made))):
        content, entry = parse_transaction(text), made.transactions[index]
        assert (content.address, content.value_i) == (entry.address, entry.value_i)
        assert (content.tag, content.obsolete_tag) == (entry.tag, entry.obsolete_tag)
        assert (content.current_index, content.last_index) == (index, 5)
        assert content.bundle == made.bundle_hash


# --- the process ----------------------------------------------------------------------


@pytest.fixture
def desk() -> Generator[BundleDesk]:
    opened = BundleDesk()
    yield opened
    opened.close()


def worker_of(desk: BundleDesk) -> int:
    assert desk._pool is not None
    (pid,) = desk._pool._processes
    return pid


async def test_the_desk_drafts_and_checks_and_a_killed_process_is_replaced(
    desk: BundleDesk,
) -> None:
    inputs = [DraftInput(address_of(SEEDS[0]), 50, 2)]
    outputs = [DraftOutput(Address(trytes()), 50)]
    made = await desk.draft(inputs, outputs, timestamp_s=NOW_S)
    os.kill(worker_of(desk), signal.SIGKILL)
    with pytest.raises(BundleDeskError):
        await desk.draft(inputs, outputs, timestamp_s=NOW_S)
    assert await desk.draft(inputs, outputs, timestamp_s=NOW_S) == made
    with pytest.raises(BundleInvalidError):
        await desk.check(finish(made, {0: ["9" * 2187] * 2}))


async def test_the_desk_checks_the_same_bundle_once(desk: BundleDesk) -> None:
    made = draft()
    good = finish(made, signatures(made))
    await desk.check(good)
    first = worker_of(desk)
    os.kill(first, signal.SIGKILL)
    await desk.check(good)  # asks no process
    wrong = finish(made, signatures(made) | {0: signatures(made)[2]})
    with pytest.raises(BundleDeskError):
        await desk.check(wrong)
    for _ in range(2):
        with pytest.raises(BundleInvalidError):
            await desk.check(wrong)


async def test_a_stuck_process_meets_its_deadline(desk: BundleDesk) -> None:
    inputs = [DraftInput(address_of(SEEDS[0]), 50, 2)]
    outputs = [DraftOutput(Address(trytes()), 50)]
    await desk.draft(inputs, outputs, timestamp_s=NOW_S)
    desk._timeout_s = 0.2
    os.kill(worker_of(desk), signal.SIGSTOP)
    with pytest.raises(BundleDeskError):
        await desk.draft(inputs, outputs, timestamp_s=NOW_S)
    desk._timeout_s = 30.0
    await desk.draft(inputs, outputs, timestamp_s=NOW_S)


_PROGRAM = """
import asyncio
from hub.tangle import BundleDesk
async def main():
    desk = BundleDesk()
    try:
        await desk.check([])
    except Exception:
        pass
    print(next(iter(desk._pool._processes)), flush=True)
    await asyncio.sleep(60)
if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_killed_hub_leaves_no_process_behind(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    ) as hub:
        assert hub.stdout is not None
        worker = int(hub.stdout.readline())
        hub.kill()
    deadline_s = time.monotonic() + 10
    while _runs(worker):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
