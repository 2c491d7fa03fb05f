# SPDX-License-Identifier: Apache-2.0
"""An export is checked by pieces, and nothing hides where they meet."""

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BrokenInvariantError
from appliance.journal_chain import (
    Chain,
    CheckpointClaims,
    Head,
    next_row,
    require_claims,
    row_hash,
    verify_chain,
)
from appliance.journal_export import verify_export
from appliance.wire import JournalRow

ROWS = 120
PIECES = (1, 97, 700, 4_096, 1 << 20)


def chain_of(count: int) -> list[JournalRow]:
    rows: list[JournalRow] = []
    head: Head | None = None
    for number in range(count):
        payload: dict[str, object] = {"step": "x", "words": "é'\"" * (number % 7)}
        if not rows:
            payload["journal_id"] = "ab" * 16
        row = next_row(
            head, now_ms=number, client="hub", kind="ceremony", payload=payload
        )
        rows.append(row)
        head = Head(row.sequence, row.hash, row.time_ms)
    return rows


@pytest.fixture(scope="module")
def rows() -> list[JournalRow]:
    return chain_of(ROWS)


def write(path: Path, rows: list[JournalRow]) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path


@pytest.mark.parametrize("piece_bytes", PIECES)
def test_pieces_of_any_size_give_the_same_chain(
    rows: list[JournalRow], tmp_path: Path, piece_bytes: int
) -> None:
    path = write(tmp_path / "export", rows)
    chain = verify_export(path, keep={1, 60}, workers=1, piece_bytes=piece_bytes)
    assert chain.head == verify_chain(rows)
    assert chain.journal_id == "ab" * 16
    assert chain.hashes == {1: rows[0].hash, 60: rows[59].hash}


def test_several_processes_give_the_same_chain(
    rows: list[JournalRow], tmp_path: Path
) -> None:
    path = write(tmp_path / "export", rows)
    chain = verify_export(path, keep={77}, workers=2, piece_bytes=1_000)
    assert chain.head == verify_chain(rows)
    assert chain.hashes == {77: rows[76].hash}
    write(path, [*rows[:90], *rows[91:]])
    with pytest.raises(BrokenInvariantError, match="row 91 expected") as error:
        verify_export(path, workers=2, piece_bytes=1_000)
    assert error.value.code == "journal-broken"


Change = Callable[[list[JournalRow]], list[JournalRow]]
REPLACE = msgspec.structs.replace
BROKEN: dict[str, Change] = {
    "first row dropped": lambda rows: rows[1:],
    "row dropped": lambda rows: [*rows[:50], *rows[51:]],
    "row repeated": lambda rows: [*rows[:50], rows[49], *rows[50:]],
    "pair swapped": lambda rows: [*rows[:50], rows[51], rows[50], *rows[52:]],
    "reversed": lambda rows: rows[::-1],
    "two journals": lambda rows: [*rows, *chain_of(3)],
    "payload": lambda rows: [
        *rows[:50],
        REPLACE(rows[50], payload=rows[50].payload + " "),
        *rows[51:],
    ],
    "hash": lambda rows: [*rows[:50], REPLACE(rows[50], hash="0" * 64), *rows[51:]],
    "rehashed row": lambda rows: [*rows[:50], rehashed(rows[50]), *rows[51:]],
    "older": lambda rows: [*rows[:-1], rehashed(rows[-1], time_ms=1)],
    "nothing": lambda _: [],
}


def rehashed(row: JournalRow, *, time_ms: int | None = None) -> JournalRow:
    """Return a forged row whose own hash is right."""
    time_ms = row.time_ms if time_ms is None else time_ms
    forged = REPLACE(row, payload='{"step":"y"}', time_ms=time_ms)
    return REPLACE(forged, hash=row_hash(forged))


@pytest.mark.parametrize("piece_bytes", PIECES)
@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_found_wherever_the_pieces_meet(
    rows: list[JournalRow], tmp_path: Path, change: Change, piece_bytes: int
) -> None:
    path = write(tmp_path / "export", change(rows))
    with pytest.raises(BrokenInvariantError) as error:
        verify_export(path, workers=1, piece_bytes=piece_bytes).end()
    assert error.value.code == "journal-broken"


def test_one_flipped_bit_anywhere_is_found(
    rows: list[JournalRow], tmp_path: Path
) -> None:
    content = write(tmp_path / "export", rows[:12]).read_bytes()
    expected = verify_chain(rows[:12])
    path = tmp_path / "damaged"
    for position in range(len(content) - 1):  # the last line end is no part of a row
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            found = verify_export(path, workers=1, piece_bytes=500).head
        except BrokenInvariantError:
            continue
        assert found == expected  # such as another blank where a blank may stand


@pytest.mark.parametrize("piece_bytes", [200, 1 << 20])
def test_a_truncated_end_is_found_against_a_checkpoint(
    rows: list[JournalRow], tmp_path: Path, piece_bytes: int
) -> None:
    claims = CheckpointClaims("ab" * 16, ROWS, rows[-1].hash)
    path = write(tmp_path / "export", rows)
    require_claims(verify_export(path, keep={ROWS}, piece_bytes=piece_bytes), claims)
    write(path, rows[:-1])
    chain = verify_export(path, keep={ROWS}, piece_bytes=piece_bytes, workers=1)
    with pytest.raises(BrokenInvariantError, match="the journal ends at"):
        require_claims(chain, claims)
    other = CheckpointClaims("cd" * 16, 5, rows[4].hash)
    whole = verify_export(write(path, rows), keep={5}, workers=1)
    with pytest.raises(BrokenInvariantError, match="is of journal"):
        require_claims(whole, other)


def test_a_line_that_is_no_row_is_found(rows: list[JournalRow], tmp_path: Path) -> None:
    path = write(tmp_path / "export", rows)
    for line in (b"\n", b"{}\n", b"no\n", b"\xff\n"):
        path.write_bytes(msgspec.json.encode(rows[0]) + b"\n" + line)
        with pytest.raises(BrokenInvariantError, match="no export"):
            verify_export(path)


def test_memory_does_not_grow_with_the_journal(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = write(tmp_path / "export", chain_of(count))
        tracemalloc.start()
        verify_export(path, workers=1, piece_bytes=100_000)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(12_000) < 1.2 * peak(3_000)


def test_a_chain_is_read_page_by_page(rows: list[JournalRow]) -> None:
    chain = Chain(keep={3})
    for start in range(0, ROWS, 7):
        chain.take(rows[start : start + 7])
    assert chain.end() == verify_chain(rows)
    assert chain.hashes == {3: rows[2].hash}
    with pytest.raises(BrokenInvariantError, match="no row"):
        Chain().end()


def plain_hash(row: JournalRow) -> str:
    """Compute a row's hash as the format is written down."""
    fields = [row.sequence, row.time_ms, row.client, row.kind]
    fields += [row.payload, row.previous_hash]
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(b"saltkeep/journal/v1\0" + text.encode()).hexdigest()


@given(
    st.builds(
        JournalRow,
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.text(st.characters(max_codepoint=0x7F)),
        st.text(st.characters(max_codepoint=0xFF)),
        st.text(),
        st.just(""),
    )
)
def test_the_quick_way_to_a_row_s_hash_is_the_written_one(row: JournalRow) -> None:
    assert row_hash(row) == plain_hash(row)


def test_every_ascii_character_is_hashed_as_written() -> None:
    for code in range(0x100):
        row = JournalRow(1, 1, "c", "k", f"a{chr(code)}b", "", "")
        assert row_hash(row) == plain_hash(row)
