# SPDX-License-Identifier: Apache-2.0
"""Long journals: verified in time, and looked up as fast as short ones.

The rows are what a busy appliance writes: two addresses issued, then a bundle of
both, at level 2, signed. Making them is not timed.
"""

import hashlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa

from appliance.intent import Commitment, understand
from appliance.journal import Journal, create_journal
from appliance.journal_chain import Head, next_row
from appliance.journal_export import verify_export
from appliance.journal_memory import JournalMemory
from appliance.journal_records import IssuedRecord, Leaving
from appliance.journal_schema import ROW
from appliance.wire import InputClaim, JournalRow, ShownTransaction, SignTransfer
from benchmarks.rounds import Figure, at_most, medians_ms
from trinary.bundle import Essence, bundle_hash
from trinary.trytes import trytes_from_int
from trinary.winternitz import used_fragments_contain_13

ROWS: Final = 100_000
"""By default; the bars are about ten million: ``--journal-rows 10000000``."""
_SHORT_ROWS: Final = 10_000
_JOURNAL_ID: Final = "be" * 16
_NOW_MS: Final = 1_800_000_000_000
_BAR_MS_PER_ROW: Final = 180_000 / 10_000_000  # ten million in three minutes
_FLAT: Final = 2.0
_LOOKUPS: Final = 50
_RECEIPT: Final = "e" * 640
_TAG: Final = "9" * 27


def measure(*, rounds: int, rows: int = ROWS) -> Iterator[Figure]:
    """Measure verification and look-ups.

    Args:
        rounds: How often each look-up is timed, fifty at a time.
        rows: Length of the longest journal.

    Yields:
        One figure per comparison.
    """
    with tempfile.TemporaryDirectory(prefix="saltkeep-bench-") as folder:
        yield _verification(Path(folder), rows)
        yield from _lookups(Path(folder), rows, rounds)


def made_rows(count: int) -> Iterator[JournalRow]:
    """Yield a journal's rows, the first one too."""
    row = next_row(
        None,
        now_ms=_NOW_MS,
        client="ceremony",
        kind="ceremony",
        payload={"step": "init", "journal_id": _JOURNAL_ID},
    )
    yield row
    fresh: list[tuple[str, str]] = []
    for number in range(1, count):
        payload = _signed(fresh, number) if len(fresh) == 2 else _issued(fresh, number)  # noqa: PLR2004
        row = next_row(
            Head(row.sequence, row.hash, row.time_ms),
            now_ms=_NOW_MS + number,
            client="hub",
            kind="signed" if "inputs" in payload else "issued",
            payload=payload,
        )
        yield row


def _issued(fresh: list[tuple[str, str]], number: int) -> dict[str, object]:
    commitment, address = _key(number), _trytes(number)
    fresh.append((commitment, address))
    return IssuedRecord(Commitment(commitment), address, 1, 2, "", _RECEIPT).payload()


def _signed(fresh: list[tuple[str, str]], number: int) -> dict[str, object]:
    (one, first), (two, second) = fresh
    fresh.clear()
    target = _trytes(-number)
    values = [(first, -9), (first, 0), (second, -9), (second, 0), (target, 18)]
    return {
        "bundle_hash": _trytes(number),
        "outside_i": 18,
        "paid": [[target, 18]],
        "authorised": [],
        "transactions": [[a, v, _TAG, 1_700_000_000] for a, v in values],
        "inputs": [[0, one, 1], [2, two, 1]],
        "commitments": [one, two],
    }


def _key(number: int) -> str:
    return hashlib.sha256(b"key %d" % number).hexdigest()


def _trytes(number: int) -> str:
    """Return 81 trytes that differ for every number."""
    digits = hashlib.sha512(b"trytes %d" % number).hexdigest()[:80]
    return digits.translate(_LETTERS) + "9"


_LETTERS: Final = str.maketrans("0123456789abcdef", "9ABCDEFGHIJKLMNO")


# --- verification -------------------------------------------------------------------


def _verification(folder: Path, rows: int) -> Figure:
    path = folder / "export"
    with path.open("wb") as file:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in made_rows(rows))
    start_s = time.perf_counter()
    chain = verify_export(path)
    ours_ms = (time.perf_counter() - start_s) * 1000
    size_gib = path.stat().st_size / 2**30
    path.unlink()
    if chain.end().sequence != rows:
        raise ValueError("not every row was verified")
    return at_most(
        f"{rows:,} rows of an export verified : 18 us a row",
        1.0,
        ours_ms=ours_ms,
        peer_ms=_BAR_MS_PER_ROW * rows,
        note=f"{size_gib:.2f} GiB, {rows / ours_ms * 1000:,.0f} rows a second",
    )


# --- look-ups ------------------------------------------------------------------------


def _lookups(folder: Path, rows: int, rounds: int) -> Iterator[Figure]:
    short = _opened(folder / "short.db", min(_SHORT_ROWS, rows))
    long = _opened(folder / "long.db", rows)
    names = ("is_spent", "find_issued", "commit_signature")
    try:
        acts = {
            (name, length): _act(name, journal)
            for name in names
            for length, journal in (("short", short), ("long", long))
        }
        found = medians_ms(
            {f"{name} {length}": act for (name, length), act in acts.items()},
            rounds=rounds,
        )
    finally:
        short.close()
        long.close()
    for name in names:
        yield at_most(
            f"{name}, a journal of {rows:,} rows : of {_SHORT_ROWS:,}",
            _FLAT,
            ours_ms=found[f"{name} long"] / _LOOKUPS,
            peer_ms=found[f"{name} short"] / _LOOKUPS,
        )


class _Unverified(Journal):
    """A long journal opened at once: what its verification takes is told apart."""

    def _verify(self) -> JournalMemory:
        query = sa.select(ROW.c.sequence, ROW.c.hash, ROW.c.time_ms)
        with self._engine.begin() as connection:
            last = connection.execute(query.order_by(ROW.c.sequence.desc()).limit(1))
            return JournalMemory(_JOURNAL_ID, head=Head(*last.one()))


def _opened(path: Path, rows: int) -> Journal:
    create_journal(
        path, journal_id=_JOURNAL_ID, now_ms=_NOW_MS, ceremony={"step": "init"}
    )
    _fill(path, rows)
    return _Unverified(path, journal_id=_JOURNAL_ID, clock_ms=lambda: _NOW_MS + 10**10)


# The same mix as ``made_rows`` by SQL, a hundred times as fast; hashes are random.
_FILL: Final = (
    """INSERT INTO "row" WITH RECURSIVE n(i) AS
    (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    SELECT i, ? + i, 'hub', CASE i % 3 WHEN 1 THEN 'signed' ELSE 'issued' END,
    CASE i % 3 WHEN 1 THEN ? ELSE '{"address":"' || trytes(i) || '","commitment":"'
    || key(i) || '","generation":1,"receipt":"' || ? ||
    '","security_level":2,"user_commitment":""}' END,
    '', lower(hex(randomblob(32))) FROM n""",
    """INSERT INTO issued SELECT key(sequence), trytes(sequence), client, time_ms,
    sequence FROM "row" WHERE kind = 'issued'""",
    """INSERT INTO spent_key SELECT key(row), 0, trytes(-((row + 2) / 3 * 3 + 1)),
    (row + 2) / 3 * 3 + 1 FROM issued WHERE row < ? - 4""",
    """INSERT INTO signed SELECT trytes(-sequence), sequence, client, time_ms, 18, 2
    FROM "row" WHERE kind = 'signed'""",
    """INSERT INTO paid SELECT trytes(-sequence), sequence, client, time_ms, 18
    FROM "row" WHERE kind = 'signed'""",
)


def _fill(path: Path, rows: int) -> None:
    """Put rows and guards in; nothing is synced, this is no journal yet."""
    database = sqlite3.connect(path)
    database.create_function("key", 1, _key, deterministic=True)
    database.create_function("trytes", 1, _trytes, deterministic=True)
    for pragma in ("synchronous=OFF", "journal_mode=OFF", "cache_size=-4000000"):
        database.execute(f"PRAGMA {pragma}")
    filler = "x" * 1100
    arguments: tuple[tuple[object, ...], ...] = (
        (rows, _NOW_MS, filler, _RECEIPT),
        (),
        (rows,),
        (),
        (),
    )
    for statement, values in zip(_FILL, arguments, strict=True):
        database.execute(statement, values)
    database.commit()
    database.close()


def _act(name: str, journal: Journal) -> Callable[[], object]:
    """Return fifty look-ups, or fifty signatures, each of another key."""
    last = journal.head.sequence - 9
    step = last // _LOOKUPS // 3 * 3
    keys = [Commitment(_key(number)) for number in range(2, last, step)][:_LOOKUPS]
    match name:
        case "is_spent":
            return lambda: [journal.is_spent(key) for key in keys]
        case "find_issued":
            return lambda: [journal.find_issued(key) for key in keys]
        case _:
            return lambda: [_sign(journal) for _ in range(_LOOKUPS)]


def _sign(journal: Journal) -> None:
    transfer = understand(_request(os.urandom(48).hex()[:64]), levels={1: 2})
    journal.commit_signature(
        transfer, own={}, client="hub", decide=lambda view: _leaving(view.usage(3600))
    )


def _leaving(_: object) -> Leaving:
    return Leaving({_trytes(int.from_bytes(os.urandom(6))): 9})


def _request(seed_uuid: str) -> SignTransfer:
    """Return a bundle of one input whose hash can be signed."""
    random = int.from_bytes(os.urandom(6))
    source, target = _trytes(random), _trytes(random + 1)
    values = ((source, -9), (source, 0), (target, 9))
    counter = 0
    while True:
        tags = (trytes_from_int(counter, length_trytes=27), _TAG, _TAG)
        shown = [
            ShownTransaction(address, value, tag, 1_700_000_000)
            for (address, value), tag in zip(values, tags, strict=True)
        ]
        digest = _digest(shown)
        if not used_fragments_contain_13(digest, level=2):
            break
        counter += 1
    return SignTransfer(
        request_id="bench",
        transactions=shown,
        bundle_hash=digest,
        inputs=[InputClaim(0, seed_uuid, 1)],
        own_outputs=[],
    )


def _digest(shown: list[ShownTransaction]) -> str:
    return bundle_hash(
        [
            Essence(
                address=entry.address,
                value_i=entry.value_i,
                obsolete_tag=entry.obsolete_tag,
                timestamp_s=entry.timestamp_s,
                current_index=index,
                last_index=len(shown) - 1,
            )
            for index, entry in enumerate(shown)
        ]
    )
