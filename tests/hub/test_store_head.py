# SPDX-License-Identifier: Apache-2.0
"""The hub remembers the highest journal head and notices one that contradicts it."""

import dataclasses

import pytest

from hub.errors import HeadConflictError
from hub.model import HeadToken
from hub.store import Store

FIRST = HeadToken(journal_id="aa" * 16, epoch=1, sequence=7, hash="h7", mac="m7")


async def remember(store: Store, **changes: object) -> HeadToken | None:
    token = dataclasses.replace(FIRST, **changes)  # type: ignore[arg-type]
    await store.run(lambda tx: tx.head.remember(token))
    async with store.reading() as tx:
        return await tx.head.get()


async def test_there_is_no_head_before_the_first_reply(store: Store) -> None:
    async with store.reading() as tx:
        assert await tx.head.get() is None


async def test_the_highest_head_is_kept_however_replies_overtake_each_other(
    store: Store,
) -> None:
    assert await remember(store) == FIRST
    newer = await remember(store, sequence=9, hash="h9")
    assert newer is not None
    assert newer.sequence == 9
    assert await remember(store, sequence=8, hash="h8") == newer


@pytest.mark.parametrize(
    "changes",
    [
        {"hash": "other"},
        {"journal_id": "bb" * 16},
        {"epoch": 2, "sequence": 9},
        {"epoch": 0, "sequence": 9},
    ],
)
async def test_a_head_that_contradicts_the_one_known_is_an_alarm(
    changes: dict[str, object], store: Store
) -> None:
    await remember(store)
    with pytest.raises(HeadConflictError):
        await remember(store, **changes)


async def test_people_accept_the_epoch_of_a_restored_journal(store: Store) -> None:
    await remember(store)
    known = await store.run(lambda tx: tx.head.accept_epoch(2))
    assert (known.journal_id, known.epoch) == (FIRST.journal_id, 2)
    async with store.reading() as tx:
        assert await tx.head.get() is None  # nothing of that epoch to send yet
    with pytest.raises(HeadConflictError):
        await remember(store, sequence=99)  # a reply of before the restore
    with pytest.raises(HeadConflictError):
        await remember(store, epoch=2, journal_id="bb" * 16)
    newer = await remember(store, epoch=2, sequence=3, hash="h3")
    assert newer is not None
    assert (newer.epoch, newer.sequence) == (2, 3)


@pytest.mark.parametrize("epoch", [0, 1])
async def test_an_epoch_only_rises(epoch: int, store: Store) -> None:
    with pytest.raises(HeadConflictError, match="no head"):
        await store.run(lambda tx: tx.head.accept_epoch(2))
    await remember(store)
    with pytest.raises(HeadConflictError, match="is known"):
        await store.run(lambda tx: tx.head.accept_epoch(epoch))
