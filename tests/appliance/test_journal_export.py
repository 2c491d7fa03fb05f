# SPDX-License-Identifier: Apache-2.0
"""An export is checked by pieces, and nothing hides where they meet."""

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BrokenInvariantError
from appliance.journal_chain import (
    GENESIS_HASH,
    Chain,
    CheckpointClaims,
    Head,
    journal_id_of,
    next_row,
    read_checkpoint,
    require_checkpoint,
    require_claims,
    require_rows,
    row_hash,
    verify_chain,
)
from appliance.journal_export import verify_export
from appliance.receipt import CHECKPOINT_TYPE
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


def test_a_piece_of_more_rows_than_are_read_at_once_is_one_piece(
    tmp_path: Path,
) -> None:
    many = chain_of(2_100)
    path = write(tmp_path / "export", many)
    assert verify_export(path, workers=1).head == verify_chain(many)
    write(path, [*many[:1_500], *many[1_501:]])
    with pytest.raises(BrokenInvariantError, match="row 1501 expected, row 1502"):
        verify_export(path, workers=1)


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


# --- rows that concern doors ---------------------------------------------------------

KEPT: dict[str, tuple[str, dict[str, object]]] = {
    "first row": ("ceremony", {"journal_id": "ab"}),
    "policy": ("ceremony", {"policy": {}}),
    "export": ("ceremony", {"export": {}}),
    "number": ("signed", {"n": [1]}),
    "door": ("signed", {"door": {}}),
}
PASSED_OVER: dict[str, tuple[str, dict[str, object]]] = {
    "ceremony": ("ceremony", {"step": "x"}),
    "signature": ("signed", {"bundle_hash": "A"}),
    "issue": ("issued", {"door": {}}),
    "refusal": ("refused", {"door": {}}),
    "blind": ("blind", {"door": {}}),
}


def test_only_rows_that_concern_doors_are_kept_from_every_page() -> None:
    chain, kept = Chain(), []
    concern = [(one, True) for one in KEPT.values()]
    others = [(one, False) for one in PASSED_OVER.values()]
    for (kind, payload), is_kept in (*concern, *others, *concern[1:]):
        row = next_row(chain.head, now_ms=1, client="hub", kind=kind, payload=payload)
        chain.take([row])
        kept += [row] if is_kept else []
    assert chain.doors == kept
    assert chain.journal_id == "ab"


def test_the_first_row_is_kept_though_it_concerns_no_door() -> None:
    chain = Chain()
    row = next_row(None, now_ms=1, client="c", kind="issued", payload={"a": 1})
    chain.take([row])
    assert chain.doors == [row]


def test_a_ceremony_that_is_no_json_is_found_and_its_row_named() -> None:
    for kind in ("ceremony", "signed"):
        row = JournalRow(2, 1, "c", kind, "{", "", "")
        with pytest.raises(BrokenInvariantError, match="row 2 says"):
            Chain().note([row])


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ('{"journal_id":"ab"}', "ab"),
        ('{"journal_id":7}', "7"),
        ("{}", ""),
        ("{", ""),
        ("[]", ""),
        ("7", ""),
    ],
)
def test_a_journal_s_id_is_read_from_its_first_row_or_is_empty(
    payload: str, expected: str
) -> None:
    row = JournalRow(1, 1, "c", "ceremony", payload, "", "")
    assert journal_id_of(row) == expected


# --- checkpoints ---------------------------------------------------------------------

IDENTITY = ec.derive_private_key(11, ec.SECP256R1())
IDENTITY_PEM = IDENTITY.public_key().public_bytes(
    Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
)


def checkpoint(claims: dict[str, object]) -> str:
    """Return a statement of the identity key, as PyJWT makes it."""
    return jwt.encode(
        claims, IDENTITY, algorithm="ES256", headers={"typ": CHECKPOINT_TYPE}
    )


def test_a_checkpoint_holds_for_the_journal_it_was_made_of(
    rows: list[JournalRow],
) -> None:
    good = {"journal_id": "ab" * 16, "sequence": 5, "hash": rows[4].hash}
    require_checkpoint(rows, checkpoint(good), identity_pem=IDENTITY_PEM)
    for change, words in (
        ({"sequence": 6}, "row 6 is not the row that was signed"),
        ({"hash": "0" * 64}, "row 5 is not the row that was signed"),
        ({"journal_id": "cd" * 16}, f"checkpoint is of journal {'cd' * 16}"),
        ({"sequence": ROWS + 1}, f"names row {ROWS + 1}, the journal ends at {ROWS}"),
        ({"sequence": 0}, f"names row 0, the journal ends at {ROWS}"),
        ({"sequence": "5"}, f"names row 0, the journal ends at {ROWS}"),
    ):
        statement = checkpoint(good | change)
        with pytest.raises(BrokenInvariantError, match=words) as error:
            require_checkpoint(rows, statement, identity_pem=IDENTITY_PEM)
        assert error.value.code == "journal-broken"


def test_a_checkpoint_of_the_first_and_of_the_last_row_holds(
    rows: list[JournalRow],
) -> None:
    for row in (rows[0], rows[-1]):
        claims = CheckpointClaims("ab" * 16, row.sequence, row.hash)
        statement = checkpoint(
            {"journal_id": "ab" * 16, "sequence": row.sequence, "hash": row.hash}
        )
        assert read_checkpoint(statement, identity_pem=IDENTITY_PEM) == claims
        require_checkpoint(rows, statement, identity_pem=IDENTITY_PEM)


def test_a_checkpoint_that_says_nothing_names_no_row() -> None:
    found = read_checkpoint(checkpoint({}), identity_pem=IDENTITY_PEM)
    assert found.sequence == 0


# --- the chain itself ----------------------------------------------------------------


def test_a_whole_journal_holds_at_least_one_row(rows: list[JournalRow]) -> None:
    assert require_rows(rows) == Head(ROWS, rows[-1].hash, ROWS - 1)
    with pytest.raises(BrokenInvariantError, match="it holds no row"):
        require_rows([])


def test_a_row_follows_the_head_it_is_given(rows: list[JournalRow]) -> None:
    first = next_row(None, now_ms=-5, client="c", kind="k", payload={"b": 1, "a": "é"})
    assert (first.sequence, first.time_ms) == (1, 0)
    assert first.previous_hash == GENESIS_HASH == "0" * 64
    assert first.payload == '{"a":"\\u00e9","b":1}'
    head = Head(7, "f" * 64, 100)
    for now_ms, time_ms in ((99, 100), (100, 100), (101, 101)):
        row = next_row(head, now_ms=now_ms, client="c", kind="k", payload={})
        assert (row.sequence, row.time_ms, row.previous_hash) == (8, time_ms, "f" * 64)
        assert verify_chain([row], after=head) == Head(8, row.hash, time_ms)
    assert verify_chain([], after=head) == head
    assert verify_chain([]) is None
    assert verify_chain(rows[3:5], after=Head(3, rows[2].hash, 2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sequence": 9}, "row 8 expected, row 9 found"),
        ({"sequence": 7}, "row 8 expected, row 7 found"),
        ({"previous_hash": "e" * 64}, "row 8 does not follow the row before it"),
        ({"time_ms": 99}, "row 8 is older than the row before it"),
        ({"hash": "e" * 64}, "row 8 was altered"),
        ({"payload": b"x"}, "row 8 was altered"),
    ],
)
def test_what_does_not_follow_is_named(change: dict[str, object], words: str) -> None:
    head = Head(7, "f" * 64, 100)
    row = next_row(head, now_ms=100, client="c", kind="k", payload={})
    with pytest.raises(BrokenInvariantError, match=words):
        verify_chain([REPLACE(row, **change)], after=head)


def test_the_first_row_is_the_first_and_of_no_time_before_1970() -> None:
    row = next_row(None, now_ms=0, client="c", kind="k", payload={})
    assert verify_chain([row]) == Head(1, row.hash, 0)
    older = REPLACE(row, time_ms=-1)
    for change, words in (
        (REPLACE(older, hash=row_hash(older)), "row 1 is older"),
        (REPLACE(row, sequence=2), "row 1 expected, row 2 found"),
        (REPLACE(row, previous_hash="1" * 64), "row 1 does not follow"),
    ):
        with pytest.raises(BrokenInvariantError, match=words):
            verify_chain([change])
