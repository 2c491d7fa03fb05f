# SPDX-License-Identifier: Apache-2.0
"""Proof of work: a devnet takes it, PyOTA reads it, a node's lies are found."""

import asyncio
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hub.devnet.config import DevnetConfig
from hub.devnet.embedded import running_devnet
from hub.errors import NodeUnavailableError
from hub.model import Address
from hub.pow import (
    CheckedProofOfWork,
    LocalProofOfWork,
    RemoteProofOfWork,
    require_attachment_of,
    tail_hash,
)
from hub.tangle import (
    BundleInvalidError,
    DraftInput,
    DraftOutput,
    draft_bundle,
    finish,
    require_valid,
)
from tests.hub.bookkeeping import T0_MS, ManualClock, trytes
from tests.hub.simulated_nodes import SimulatedNode, quorum_of
from trinary import winternitz
from trinary.bundle import parse_transaction, serialise_transaction
from trinary.curl import transaction_hash
from trinary.pow import find_nonce, weight_magnitude

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import iota

WEIGHT = 2
TRUNK, BRANCH = "T" * 81, "B" * 81


def signed_bundle() -> tuple[str, ...]:
    seed = secrets.token_bytes(48)
    source = Address(winternitz.address(seed, level=2))
    draft = draft_bundle(
        [DraftInput(source, 50, 2)],
        [DraftOutput(Address(trytes()), 50)],
        timestamp_s=T0_MS // 1000,
    )
    signature = winternitz.sign(seed, level=2, bundle_hash=draft.bundle_hash)
    return finish(draft, {0: signature})


BUNDLE = signed_bundle()


def local() -> LocalProofOfWork:
    return LocalProofOfWork(min_weight_magnitude=WEIGHT, clock_ms=ManualClock())


async def attached() -> list[str]:
    return await local().attach(BUNDLE, trunk=TRUNK, branch=BRANCH)


async def tips() -> tuple[str, str]:
    return TRUNK, BRANCH


async def pyota(texts: Sequence[str]) -> None:
    await asyncio.to_thread(require_valid, texts)


def check(texts: list[str]) -> None:
    require_attachment_of(
        BUNDLE, texts, trunk=TRUNK, branch=BRANCH, min_weight_magnitude=WEIGHT
    )


async def test_local_work_is_linked_heavy_and_what_pyota_reads() -> None:
    texts = await attached()
    check(texts)
    read = [iota.Transaction.from_tryte_string(text) for text in texts]
    assert [str(t.hash) for t in read] == [transaction_hash(text) for text in texts]
    assert str(read[0].trunk_transaction_hash) == str(read[1].hash)
    assert (
        str(read[-1].trunk_transaction_hash),
        str(read[-1].branch_transaction_hash),
    ) == (
        TRUNK,
        BRANCH,
    )
    assert {str(t.branch_transaction_hash) for t in read[:-1]} == {TRUNK}
    assert tail_hash(texts) == str(read[0].hash)
    assert all(weight_magnitude(str(t.hash)) >= WEIGHT for t in read)


async def test_a_devnet_takes_it() -> None:
    config = DevnetConfig(min_weight_magnitude=WEIGHT)
    async with running_devnet(config) as devnet:
        latest = devnet.node.latest.hash
        work = LocalProofOfWork(min_weight_magnitude=WEIGHT, clock_ms=devnet.clock_ms)
        texts = await work.attach(BUNDLE, trunk=latest, branch=latest)
        await devnet.store(texts)
        assert devnet.node.tangle.get(tail_hash(texts)) is not None


async def test_cancelling_stops_the_search() -> None:
    work = LocalProofOfWork(min_weight_magnitude=60, clock_ms=ManualClock())
    task = asyncio.create_task(work.attach(BUNDLE, trunk=TRUNK, branch=BRANCH))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task


CHANGES: dict[str, dict[str, object]] = {
    "signature": {"signature_message": "A" * 2187},
    "address": {"address": trytes()},
    "value": {"value_i": 49},
    "obsolete tag": {"obsolete_tag": "A" * 27},
    "tag": {"tag": "A" * 27},
    "timestamp": {"timestamp_s": 1},
    "index": {"current_index": 1},
    "last index": {"last_index": 5},
    "bundle": {"bundle": "A" * 81},
    "trunk": {"trunk": "A" * 81},
    "branch": {"branch": "A" * 81},
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("index", [0, len(BUNDLE) - 1])
async def test_any_changed_field_of_somebody_else_s_work_is_found(
    name: str, index: int
) -> None:
    texts = await attached()
    changed = replace(parse_transaction(texts[index]), **CHANGES[name])  # type: ignore[arg-type]
    text = serialise_transaction(changed)
    nonce = find_nonce(text, min_weight_magnitude=WEIGHT)
    texts[index] = serialise_transaction(replace(changed, nonce=nonce))
    if texts == await attached():
        pytest.skip("the field had that value")
    with pytest.raises(NodeUnavailableError):
        check(texts)


async def test_work_that_is_too_light_incomplete_or_no_trytes_is_found() -> None:
    texts = await attached()
    with pytest.raises(NodeUnavailableError):
        require_attachment_of(
            BUNDLE, texts, trunk=TRUNK, branch=BRANCH, min_weight_magnitude=40
        )
    for odd in ([], texts[1:], texts[::-1], ["x", *texts[1:]], [*texts, texts[0]]):
        with pytest.raises(NodeUnavailableError):
            check(odd)


async def test_w10_where_no_node_works_we_do() -> None:
    """A node that refuses, lies, or gives an empty list (IRI, interrupted)."""
    replies: list[dict[str, object]] = [{"error": "no"}, {"trytes": []}, {}]
    for reply in [*replies, {"trytes": list(BUNDLE)}]:
        node = SimulatedNode(attachToTangle=reply)
        async with quorum_of(node, quorum=1) as nodes:
            remote = RemoteProofOfWork(nodes, min_weight_magnitude=WEIGHT)
            with pytest.raises(NodeUnavailableError):
                await remote.attach(BUNDLE, trunk=TRUNK, branch=BRANCH)
            work = CheckedProofOfWork([remote, local()], check=pyota)
            check(await work.attach(BUNDLE, tips=tips))


async def test_tips_are_chosen_after_the_check_and_anew_for_each_engine() -> None:
    """Tips go stale: a bundle on those chosen before a slow check never confirms."""
    done: list[str] = []

    async def slow_check(texts: Sequence[str]) -> None:
        await pyota(texts)
        done.append("checked")

    async def next_tips() -> tuple[str, str]:
        done.append("tips")
        return (TRUNK, BRANCH) if done.count("tips") > 1 else (BRANCH, TRUNK)

    async with quorum_of(SimulatedNode(attachToTangle={}), quorum=1) as nodes:
        remote = RemoteProofOfWork(nodes, min_weight_magnitude=WEIGHT)
        work = CheckedProofOfWork([remote, local()], check=slow_check)
        check(await work.attach(BUNDLE, tips=next_tips))
    assert done == ["checked", "tips", "tips"]


class Impostor:
    """An engine that attaches another bundle than it was given."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    async def attach(self, _: Sequence[str], *, trunk: str, branch: str) -> list[str]:
        return await local().attach(self._texts, trunk=trunk, branch=branch)


@pytest.mark.parametrize("texts", [signed_bundle(), BUNDLE[1:], ()])
async def test_only_the_bundle_that_was_checked_is_let_through(
    texts: Sequence[str],
) -> None:
    work = CheckedProofOfWork([Impostor(texts)], check=pyota)
    with pytest.raises(NodeUnavailableError):
        await work.attach(BUNDLE, tips=tips)
    work = CheckedProofOfWork([Impostor(texts), local()], check=pyota)
    check(await work.attach(BUNDLE, tips=tips))


async def test_no_bundle_that_pyota_refuses_is_attached() -> None:
    """Our own kernel would attach it; another implementation has the last word."""
    seed = secrets.token_bytes(48)
    source = Address(winternitz.address(seed, level=2))
    draft = draft_bundle(
        [DraftInput(source, 50, 2)],
        [DraftOutput(Address(trytes()), 50)],
        timestamp_s=T0_MS // 1000,
    )
    wrong = winternitz.sign(seed, level=2, bundle_hash="A" * 81)
    work = CheckedProofOfWork([local()], check=pyota)
    with pytest.raises(BundleInvalidError):
        await work.attach(finish(draft, {0: wrong}), tips=tips)
