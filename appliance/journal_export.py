# SPDX-License-Identifier: Apache-2.0
"""The check of an exported journal, however long: by pieces, on every core.

A row's hash is computed from the row alone; only that it names the hash of the one
before ties it to that. So pieces of the file are checked apart from each other, and
then each piece's first row is held against the last row of the piece before it.
"""

import os
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import msgspec

from appliance.errors import BrokenInvariantError
from appliance.journal_chain import Chain, Head, require_follows, verify_chain
from appliance.wire import JournalRow

PIECE_BYTES: Final = 32 << 20
_ROWS_AT_ONCE: Final = 1000
_decode: Final = msgspec.json.Decoder(JournalRow).decode


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of rows that follow each other.

    Attributes:
        first: The first one, without its payload.
        chain: Read from there to the last one.
    """

    first: JournalRow
    chain: Chain


def verify_export(
    path: Path,
    *,
    keep: Collection[int] = (),
    workers: int = 0,
    piece_bytes: int = PIECE_BYTES,
) -> Chain:
    """Check the chain of an export.

    The first row that is altered, missing, repeated or reordered raises
    ``BrokenInvariantError``, and so does a line that is no row.

    Args:
        path: One JSON object a line, as ``journal export`` writes it.
        keep: Numbers of the rows whose hash is asked for later.
        workers: Processes; 0: one per core. A short file takes none.
        piece_bytes: How much of the file one process takes at a time.

    Returns:
        The chain, at its end.
    """
    size = path.stat().st_size
    starts = range(0, size, piece_bytes)
    tasks = [(path, at, min(at + piece_bytes, size), keep) for at in starts]
    workers = min(workers or len(os.sched_getaffinity(0)), len(tasks))
    if workers <= 1:
        return _joined(map(_verify_piece, tasks), keep)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            return _joined(pool.map(_verify_piece, tasks), keep)
        finally:
            pool.shutdown(cancel_futures=True)


def _joined(pieces: Iterator[_Piece | None], keep: Collection[int]) -> Chain:
    """Hold each piece against the one before it."""
    whole = Chain(keep)
    for piece in pieces:
        if piece is None:
            continue
        require_follows(piece.first, whole.head)
        whole.head = piece.chain.head
        whole.hashes |= piece.chain.hashes
        whole.doors += piece.chain.doors
        whole.journal_id = whole.journal_id or piece.chain.journal_id
    return whole


def _verify_piece(task: tuple[Path, int, int, Collection[int]]) -> _Piece | None:
    """Check the rows whose lines begin in one stretch of the file."""
    path, start, end, keep = task
    first: JournalRow | None = None
    chain = Chain(keep)
    for rows in _batches(path, start, end):
        if first is None:
            first = msgspec.structs.replace(rows[0], payload="")
            # Whether this is so is asked when the pieces are joined.
            chain.head = Head(first.sequence - 1, first.previous_hash, 0)
        chain.head = verify_chain(rows, after=chain.head)
        chain.note(rows)
    return None if first is None else _Piece(first, chain)


def _batches(path: Path, start: int, end: int) -> Iterator[list[JournalRow]]:
    rows: list[JournalRow] = []
    with path.open("rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()  # the line before, or what is left of it
        position = file.tell()
        while position < end and (line := file.readline()):
            position += len(line)
            rows.append(_row(path, line))
            if len(rows) == _ROWS_AT_ONCE:
                yield rows
                rows = []
    if rows:
        yield rows


def _row(path: Path, line: bytes) -> JournalRow:
    """Read one line; ``BrokenInvariantError`` if it is no row."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenInvariantError(
            f"{path} is no export of a journal: {error}"
        ) from error
