# SPDX-License-Identifier: Apache-2.0
"""The one-time ledger keeps the same rules in SQLite and in PostgreSQL."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from appliance.errors import (
    BrokenInvariantError,
    DeferredError,
    FaultError,
    ForbiddenError,
    JournalError,
    RefusedError,
)
from appliance.intent import Commitment, commit, understand
from appliance.journal import Journal, import_journal
from appliance.journal_chain import next_row, verify_chain
from appliance.journal_records import IssuedRecord, Leaving
from appliance.journal_view import JournalView
from appliance.policy import Usage
from appliance.second_signature import OpenedDoor
from tests.appliance.bundles import Coin, Output, bundle, new_address, new_uuid
from tests.appliance.journals import (
    CANARY,
    NOW_MS,
    Place,
    PostgresPlace,
    SqlitePlace,
    approved,
    clock,
    export_row,
    fill,
    issue,
    leaving,
    make,
    new_coin,
    open_journal,
    put_policy,
    record_of,
    second_door,
    sign,
)
from tests.postgres import Server

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return SqlitePlace(tmp_path)
    return PostgresPlace(tmp_path, request.getfixturevalue("server"))


# --- the table ---------------------------------------------------------------------

Case = Callable[[Journal], None]
CASES: dict[str, Case] = {}


def case(sentence: str) -> Callable[[Case], Case]:
    def add(check: Case) -> Case:
        assert sentence not in CASES
        CASES[sentence] = check
        return check

    return add


def issued(journal: Journal, count: int = 1) -> list[Coin]:
    coins = [new_coin() for _ in range(count)]
    for coin in coins:
        issue(journal, coin)
    return coins


def refused(code: str, act: Callable[[], object]) -> RefusedError:
    with pytest.raises(RefusedError) as error:
        act()
    assert error.value.code == code
    return error.value


@case("a new journal has one row and is pristine")
def _(journal: Journal) -> None:
    assert journal.pristine
    assert journal.head.sequence == 1


@case("an issued address is found again, whole")
def _(journal: Journal) -> None:
    coin = new_coin()
    record = issue(journal, coin)
    assert journal.find_issued(commit(coin.seed_uuid)) == record
    assert journal.issued_records([coin.address]) == {coin.address: record}
    assert not journal.pristine


@case("what was never issued is not found")
def _(journal: Journal) -> None:
    assert journal.find_issued(commit(new_uuid())) is None
    assert journal.issued_records([new_address()]) == {}


@case("the same issued again adds no row")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    head = journal.head
    assert issue(journal, coin).address == coin.address
    assert journal.head == head


@case("a seed UUID is not issued for somebody else")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    record = record_of(coin)
    theirs = type(record)(
        record.commitment, new_address(), 1, 2, "ab" * 32, record.receipt
    )
    refused("seed-uuid-known", lambda: journal.commit_issue(theirs, client="hub"))


@case("one address is never issued for two seed UUIDs")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    with pytest.raises(BrokenInvariantError):
        issue(journal, Coin(new_uuid(), coin.address))


@case("the canary's seed UUID is never issued")
def _(journal: Journal) -> None:
    refused("seed-uuid-known", lambda: issue(journal, Coin(CANARY, new_address())))


@case("a spent seed UUID is never issued")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    sign(journal, coin)
    refused("seed-uuid-known", lambda: issue(journal, coin))


@case("a signature spends every key of its bundle")
def _(journal: Journal) -> None:
    coins = issued(journal, 3)
    digest = sign(journal, *coins)
    keys = [commit(coin.seed_uuid) for coin in coins]
    assert journal.spent_hashes(keys) == dict.fromkeys(keys, (digest,))
    assert all(journal.is_spent(key) for key in keys)


@case("a spent key signs no other bundle, and the first hash is told")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    digest = sign(journal, coin)
    error = refused("key-spent", lambda: sign(journal, coin))
    assert error.recorded_bundle_hash == digest


@case("all keys of a bundle are spent or none")
def _(journal: Journal) -> None:
    first, second = issued(journal, 2)
    sign(journal, first)
    refused("key-spent", lambda: sign(journal, second, first))
    assert not journal.is_spent(commit(second.seed_uuid))


@case("the same bundle again changes nothing")
def _(journal: Journal) -> None:
    transfer = understand(bundle(issued(journal)), levels={1: 2})
    for _ in range(2):
        journal.commit_signature(
            transfer, own={}, client="hub", decide=lambda _: leaving(1)
        )
        assert journal.head.sequence == 3


@case("the same bundle again is not decided again")
def _(journal: Journal) -> None:
    transfer = understand(bundle(issued(journal)), levels={1: 2})
    journal.commit_signature(
        transfer, own={}, client="hub", decide=lambda _: leaving(1)
    )

    def never(view: JournalView) -> Leaving:
        raise AssertionError(view)

    journal.commit_signature(transfer, own={}, client="hub", decide=never)


@case("a signed bundle is found, whole")
def _(journal: Journal) -> None:
    request = bundle(issued(journal, 2))
    transfer = understand(request, levels={1: 2})
    journal.commit_signature(
        transfer, own={}, client="hub", decide=lambda _: leaving(1)
    )
    found = journal.find_signed(request.bundle_hash)
    assert found is not None
    assert list(found.transactions) == request.transactions
    assert list(found.claims) == request.inputs
    assert journal.find_signed(new_address()) is None


@case("a refused hash is never signed")
def _(journal: Journal) -> None:
    transfer = understand(bundle(issued(journal)), levels={1: 2})
    journal.commit_refusal(
        client="hub", bundle_hashes=[transfer.bundle_hash], code="c", message="m"
    )
    refused("c", lambda: journal.require_not_refused(transfer.bundle_hash))
    refused(
        "c",
        lambda: journal.commit_signature(
            transfer, own={}, client="hub", decide=lambda _: leaving(1)
        ),
    )


@case("a signed hash is not refused: only the row tells of it")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    digest = sign(journal, coin)
    signed = journal.commit_refusal(
        client="hub", bundle_hashes=[digest], code="c", message="m"
    )
    assert signed == [digest]
    journal.require_not_refused(digest)


@case("the row of a refusal says of what, why, and which hashes are final by it")
def _(journal: Journal) -> None:
    signed = sign(journal, *issued(journal))
    first, second = new_address(), new_address()
    for hashes in ([first], [signed, first, second]):
        journal.commit_refusal(
            client="hub", bundle_hashes=hashes, code="c", message="m"
        )
    (row,) = journal.rows(after_sequence=journal.head.sequence - 1, limit=2)
    assert (row.kind, row.client) == ("refused", "hub")
    assert msgspec.json.decode(row.payload) == {
        "bundle_hashes": [signed, first, second],
        "code": "c",
        "message": "m",
        "final": [second],
    }


@case("a refusal is repeated with its own words")
def _(journal: Journal) -> None:
    digest = new_address()
    journal.commit_refusal(
        client="hub", bundle_hashes=[digest], code="c", message="because"
    )
    error = refused("c", lambda: journal.require_not_refused(digest))
    assert str(error) == "refused before: because"


@case("a refusal said twice stands once")
def _(journal: Journal) -> None:
    digest = new_address()
    for code in ("first", "second"):
        journal.commit_refusal(
            client="hub", bundle_hashes=[digest, digest], code=code, message="m"
        )
    refused("first", lambda: journal.require_not_refused(digest))


@case("a denial under the lock spends nothing")
def _(journal: Journal) -> None:
    first, second = issued(journal, 2)
    sign(journal, first)
    refused("policy-window", lambda: sign(journal, second, limit_i=99))
    assert not journal.is_spent(commit(second.seed_uuid))
    sign(journal, second, limit_i=100)


@case("a deferral under the lock records nothing")
def _(journal: Journal) -> None:
    def later(_: JournalView) -> None:
        raise DeferredError("address-rate", "later", retry_after_s=1.0)

    head = journal.head
    with pytest.raises(DeferredError):
        journal.commit_issue(record_of(new_coin()), client="hub", decide=later)
    assert journal.head == head
    issue(journal, new_coin())


@case("nothing is paid to an address that has signed")
def _(journal: Journal) -> None:
    spent, fresh = issued(journal, 2)
    sign(journal, spent)
    request = bundle([fresh], [Output(spent.address, 100, own=True)])
    transfer = understand(request, levels={1: 2})
    own = {spent.address: commit(spent.seed_uuid)}
    refused(
        "output-spent",
        lambda: journal.commit_signature(
            transfer, own=own, client="hub", decide=lambda _: leaving(1)
        ),
    )


@case("an output that was issued and has signed meanwhile is found under the lock")
def _(journal: Journal) -> None:
    spent, fresh = issued(journal, 2)
    transfer = understand(bundle([fresh], [Output(spent.address, 100)]), levels={1: 2})
    sign(journal, spent)
    refused(
        "output-spent",
        lambda: journal.commit_signature(
            transfer, own={}, client="hub", decide=lambda _: leaving(1)
        ),
    )


@case("keys imported as spent never sign and are never issued")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    stranger = new_coin()
    keys = [commit(c.seed_uuid) for c in (coin, stranger, coin)]
    assert journal.commit_spent(keys, client="o", payload={"step": "import"}) == 2
    assert journal.commit_spent(keys, client="o", payload={"step": "import"}) == 0
    refused("key-spent", lambda: sign(journal, coin))
    refused("seed-uuid-known", lambda: issue(journal, stranger))


@case("importing leaves a recorded hash as it is")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    digest = sign(journal, coin)
    key = commit(coin.seed_uuid)
    journal.commit_spent([key], client="o", payload={"step": "import"})
    assert journal.spent_hashes([key]) == {key: (digest,)}


@case("a key that signed more than is recorded gets an unknown hash, once")
def _(journal: Journal) -> None:
    coins = issued(journal, 3)
    digests = [sign(journal, coin) for coin in coins]
    keys = [commit(coin.seed_uuid) for coin in coins]
    heard = {
        keys[0]: frozenset({digests[0]}),
        keys[1]: frozenset({digests[1], new_address()}),
        keys[2]: None,
    }
    assert journal.signed_keys() == keys
    for _ in range(2):
        journal.commit_spent(keys, client="o", payload={"step": "i"}, heard=heard)
        assert journal.spent_hashes(keys) == {
            keys[0]: (digests[0],),
            keys[1]: (digests[1], None),
            keys[2]: (digests[2], None),
        }
    assert journal.signed_keys() == keys[:1]
    journal.verify_again()


@case("many keys at once are looked up and imported")
def _(journal: Journal) -> None:
    keys = [commit(new_uuid()) for _ in range(1200)]
    assert journal.commit_spent(keys, client="o", payload={"step": "import"}) == 1200
    assert journal.spent_hashes(keys) == dict.fromkeys(keys, (None,))


@case("unspent keys are those issued and not signed")
def _(journal: Journal) -> None:
    first, second = issued(journal, 2)
    sign(journal, first)
    assert journal.unspent_issued() == [commit(second.seed_uuid)]


@case("a window sums what was signed in it, for one client")
def _(journal: Journal) -> None:
    sign(journal, *issued(journal, 2))
    usage = journal.consult("hub", lambda view: view.usage(60))
    assert (usage.outside_i, usage.keys) == (100, 2)
    assert journal.consult("other", lambda view: view.usage(60)).outside_i == 0


@case("a window sums what went to each destination")
def _(journal: Journal) -> None:
    address = new_address()
    for coin in issued(journal, 2):
        journal.commit_signature(
            understand(bundle([coin]), levels={1: 2}),
            own={},
            client="hub",
            decide=lambda _: Leaving({address: 1 << 50}),
        )
    usage = journal.consult("hub", lambda view: view.usage(60, [address]))
    assert usage.paid_i == {address: 1 << 51}


@case("the rate counts what was issued in the last hour")
def _(journal: Journal) -> None:
    issued(journal, 3)
    count = journal.consult("hub", lambda view: view.issued_last_hour()[0])
    assert count == 3


@case("an authorisation that was used names its bundle")
def _(journal: Journal) -> None:
    transfer = understand(bundle(issued(journal)), levels={1: 2})
    used = Leaving({new_address(): 1}, (("exchange", "w-1"),))
    journal.commit_signature(transfer, own={}, client="hub", decide=lambda _: used)
    ask = journal.consult
    assert ask("hub", lambda view: view.bundle_of("exchange", "w-1")) == (
        transfer.bundle_hash
    )
    assert ask("hub", lambda view: view.bundle_of("exchange", "W-1")) is None


@case("an authorisation is used once, whatever was decided")
def _(journal: Journal) -> None:
    used = Leaving({new_address(): 1}, (("exchange", "w-1"),))
    first, second = issued(journal, 2)
    for coin in (first,):
        journal.commit_signature(
            understand(bundle([coin]), levels={1: 2}),
            own={},
            client="hub",
            decide=lambda _: used,
        )
    with pytest.raises(BrokenInvariantError):
        journal.commit_signature(
            understand(bundle([second]), levels={1: 2}),
            own={},
            client="hub",
            decide=lambda _: used,
        )


@case("names that differ in case or accents are different names")
def _(journal: Journal) -> None:
    for client in ("Hub", "hub", "h\u00fcb", "hu\u0308b"):
        journal.commit_issue(record_of(new_coin()), client=client)
    for client in ("Hub", "hub", "h\u00fcb", "hu\u0308b"):
        assert journal.consult(client, lambda view: view.issued_last_hour()[0]) == 1


@case("a hash is told of each row and of no other")
def _(journal: Journal) -> None:
    issued(journal, 2)
    rows = journal.rows(after_sequence=0, limit=10)
    assert [journal.hash_at(n) for n in (1, 2, 3)] == [row.hash for row in rows]
    assert [journal.hash_at(n) for n in (0, -1, 4, 1 << 40)] == [None] * 4


@case("rows come in order, as many as asked")
def _(journal: Journal) -> None:
    issued(journal, 5)
    rows = journal.rows(after_sequence=2, limit=3)
    assert [row.sequence for row in rows] == [3, 4, 5]
    assert journal.rows(after_sequence=6, limit=3) == []


@case("every row follows from the one before")
def _(journal: Journal) -> None:
    sign(journal, *issued(journal, 2))
    assert verify_chain(journal.rows(after_sequence=0, limit=99)) == journal.head


@case("a ceremony is written as it was said")
def _(journal: Journal) -> None:
    journal.commit_ceremony(client="o", payload={"step": "unseal", "what": "\u2603'\""})
    (row,) = journal.rows(after_sequence=1, limit=2)
    assert (row.kind, row.client) == ("ceremony", "o")
    assert msgspec.json.decode(row.payload) == {"step": "unseal", "what": "\u2603'\""}


@case("a ceremony that can no longer be done leaves no row")
def _(journal: Journal) -> None:
    def overtaken() -> None:
        raise RefusedError("policy-version", "another came first")

    head = journal.head
    with pytest.raises(RefusedError):
        journal.commit_ceremony(client="o", payload={"step": "p"}, decide=overtaken)
    assert journal.head == head


@case("a generation's number is given once")
def _(journal: Journal) -> None:
    made: dict[str, object] = {"step": "rotate-salt", "generation": 2}
    journal.commit_ceremony(client="o", payload=made)
    with pytest.raises(FaultError) as error:
        journal.commit_ceremony(client="o", payload=made)
    assert error.value.code == "generation-taken"
    assert journal.verified.newest_generation == 2


@case("writing can be tried without a trace")
def _(journal: Journal) -> None:
    head = journal.head
    journal.check_writable()
    journal.check_writable()
    assert journal.catch_up() == head


@case("after a connection was lost it answers nothing more")
def _(journal: Journal) -> None:
    def lost(_: JournalView) -> None:
        raise ConnectionResetError("the peer is gone")

    with pytest.raises(JournalError, match="database is away: the peer is gone"):
        journal.consult("hub", lost)
    with pytest.raises(JournalError, match="closed"):
        journal.catch_up()


@case("a closed journal answers nothing")
def _(journal: Journal) -> None:
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.rows(after_sequence=0, limit=1)


@case("time never runs back in the rows, and a clock that does is found")
def _(journal: Journal) -> None:
    issued(journal)
    journal._clock_ms = lambda: NOW_MS - 5_000
    issued(journal)
    assert journal.head.time_ms == NOW_MS
    journal._clock_ms = lambda: NOW_MS - 5_001
    with pytest.raises(BrokenInvariantError) as error:
        issued(journal)
    assert error.value.code == "clock"


@case("a bare hash spends its key for that hash alone")
def _(journal: Journal) -> None:
    commitment, other = commit(new_uuid()), commit(new_uuid())
    first, second = new_address(), new_address()
    for _ in range(2):
        journal.commit_blind(commitment, first, client="old", decide=lambda _: None)
    with pytest.raises(RefusedError) as caught:
        journal.commit_blind(commitment, second, client="old", decide=lambda _: None)
    assert caught.value.code == "key-spent"
    assert caught.value.recorded_bundle_hash == first
    journal.commit_blind(other, first, client="old", decide=lambda _: None)
    assert [row.kind for row in journal.rows(after_sequence=0, limit=100)].count(
        "blind"
    ) == 2


@case("a bare hash counts in its client's window of keys, and nobody else's")
def _(journal: Journal) -> None:
    for _ in range(3):
        journal.commit_blind(
            commit(new_uuid()), new_address(), client="old", decide=lambda _: None
        )
    assert journal.consult("old", lambda view: view.usage(60)).keys == 3
    assert journal.consult("hub", lambda view: view.usage(60)).keys == 0


@case("a bare hash that was refused, or that the policy denies, spends nothing")
def _(journal: Journal) -> None:
    commitment, refused = commit(new_uuid()), new_address()
    journal.commit_refusal(client="hub", bundle_hashes=[refused], code="c", message="m")
    with pytest.raises(RefusedError, match="refused before"):
        journal.commit_blind(commitment, refused, client="old", decide=lambda _: None)

    def deny(_: JournalView) -> None:
        raise DeferredError("hours", "closed", retry_after_s=1.0)

    with pytest.raises(DeferredError):
        journal.commit_blind(commitment, new_address(), client="old", decide=deny)
    assert not journal.is_spent(commitment)


# --- cases: exact bounds ------------------------------------------------------------


@case("the rate forgets an address after an hour, and knows the oldest's age")
def _(journal: Journal) -> None:
    issued(journal)
    journal._clock_ms = lambda: NOW_MS + 1_500
    issued(journal)
    for later_ms, expected in (
        (1_500, (2, 1.5)),
        (3_599_999, (2, 3599.999)),
        (3_600_000, (1, 3598.5)),
        (3_601_500, (0, 0.0)),
    ):
        journal._clock_ms = lambda now_ms=NOW_MS + later_ms: now_ms
        assert journal.consult("hub", lambda view: view.issued_last_hour()) == expected


@case("a window forgets to the millisecond, and knows the ages of what is in it")
def _(journal: Journal) -> None:
    address, first, second = new_address(), *issued(journal, 2)
    for coin, later_ms in ((first, 1_000), (second, 3_500)):
        journal._clock_ms = lambda now_ms=NOW_MS + later_ms: now_ms
        journal.commit_signature(
            understand(bundle([coin]), levels={1: 2}),
            own={},
            client="hub",
            decide=lambda _: Leaving({address: 70}),
        )
    journal._clock_ms = lambda: NOW_MS + 3_700
    commit_blind(journal, "hub")
    for later_ms, expected in (
        (60_999, Usage(140, 3, 59.999, {address: 140}, 59.999)),
        (61_000, Usage(70, 2, 57.5, {address: 70}, 57.5)),
        (63_500, Usage(0, 1, 59.8, {}, 0.0)),
        (63_700, Usage(0, 0, 0.0, {}, 0.0)),
    ):
        journal._clock_ms = lambda now_ms=NOW_MS + later_ms: now_ms
        usage = journal.consult("hub", lambda view: view.usage(60, [address]))
        assert usage == expected
    journal._clock_ms = lambda: NOW_MS + 60_999
    assert journal.consult("hub", lambda view: view.usage(60)).paid_i == {}
    others = journal.consult("other", lambda view: view.usage(60, [address]))
    assert others == Usage(0, 0, 0.0, {address: 140}, 59.999)
    assert journal.consult("other", lambda view: view.now_s) == NOW_MS // 1000 + 60


@case("a bare hash of long ago is older than a bundle of now")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    commit_blind(journal, "hub")
    journal._clock_ms = lambda: NOW_MS + 2_000
    sign(journal, coin)
    assert journal.consult("hub", lambda view: view.usage(60)).oldest_age_s == 2.0


@case("who asks is told to whoever decides, at the time of the row")
def _(journal: Journal) -> None:
    seen: list[tuple[str, int, int]] = []

    def note(view: JournalView) -> Leaving:
        seen.append((view.client, view.now_ms, view.usage(60).keys))
        return leaving(1)

    (coin,) = issued(journal)
    journal.commit_issue(record_of(new_coin()), client="a", decide=note)
    journal.commit_blind(commit(new_uuid()), new_address(), client="b", decide=note)
    journal.commit_signature(
        understand(bundle([coin]), levels={1: 2}), own={}, client="c", decide=note
    )
    assert seen == [(name, NOW_MS, 0) for name in "abc"]
    rows = journal.rows(after_sequence=2, limit=9)
    assert [(row.client, row.kind) for row in rows] == [
        ("a", "issued"),
        ("b", "blind"),
        ("c", "signed"),
    ]


@case("an authorisation is its issuer's own")
def _(journal: Journal) -> None:
    used = Leaving({new_address(): 1}, (("exchange", "w-1"),))
    transfer = understand(bundle(issued(journal)), levels={1: 2})
    journal.commit_signature(transfer, own={}, client="hub", decide=lambda _: used)
    view = journal.consult("hub", lambda view: view.bundle_of("another", "w-1"))
    assert view is None


@case("a bare hash is refused for a key that was imported as spent")
def _(journal: Journal) -> None:
    key = commit(new_uuid())
    journal.commit_spent([key], client="o", payload={"step": "import"})
    error = refused("key-spent", lambda: commit_blind(journal, "old", key=key))
    assert error.recorded_bundle_hash == ""


@case("a found bundle carries its own hash")
def _(journal: Journal) -> None:
    digest = sign(journal, *issued(journal))
    found = journal.find_signed(digest)
    assert found
    assert found.bundle_hash == digest


def commit_blind(journal: Journal, client: str, *, key: str = "") -> None:
    journal.commit_blind(
        Commitment(key) if key else commit(new_uuid()),
        new_address(),
        client=client,
        decide=lambda _: None,
    )


# --- cases: the doors ---------------------------------------------------------------


@case("a spent key signs again through the door, and every hash of it is told")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    first = sign(journal, coin)
    put_policy(journal)
    request = bundle([coin])
    transfer = understand(request, levels={1: 2})
    journal.commit_signature(
        transfer,
        own={},
        client="hub",
        decide=lambda _: leaving(1),
        door=second_door(journal, request),
    )
    key = commit(coin.seed_uuid)
    assert journal.spent_hashes([key]) == {key: (first, request.bundle_hash)}
    assert journal.find_signed(request.bundle_hash)
    assert refused("key-spent", lambda: sign(journal, coin)).recorded_bundle_hash == (
        first
    )
    assert journal.verify_again() == journal.verified


@case("a door that one operator opened lets nothing pass")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    sign(journal, coin)
    put_policy(journal)
    request = bundle([coin])
    door = second_door(journal, request)
    alone = approved(journal, door.asked.act, door.approved.pending.shown, by=[0, 0])
    with pytest.raises(ForbiddenError):
        journal.commit_signature(
            understand(request, levels={1: 2}),
            own={},
            client="hub",
            decide=lambda _: leaving(1),
            door=OpenedDoor(door.asked, alone),
        )
    assert journal.find_signed(request.bundle_hash) is None


@case("a key whose seed leaves is spent for an unknown hash, whatever it has signed")
def _(journal: Journal) -> None:
    signed, fresh = issued(journal, 2)
    digest = sign(journal, signed)
    put_policy(journal)
    for coin in (signed, fresh):
        journal.commit_export(
            commit(coin.seed_uuid),
            client="o",
            payload=lambda c=coin: export_row(journal, c),
        )
    keys = [commit(coin.seed_uuid) for coin in (signed, fresh)]
    assert journal.spent_hashes(keys) == {keys[0]: (digest, None), keys[1]: (None,)}
    assert journal.unspent_issued() == []
    error = refused("key-spent", lambda: sign(journal, fresh))
    assert (error.recorded_bundle_hash, "unknown" in str(error)) == ("", True)
    (row,) = journal.rows(after_sequence=journal.head.sequence - 1, limit=2)
    assert (row.client, row.kind) == ("o", "ceremony")
    assert journal.verify_again() == journal.verified


@case("a seed does not leave on the word of one")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)
    put_policy(journal)
    with pytest.raises(BrokenInvariantError) as error:
        journal.commit_export(
            commit(coin.seed_uuid),
            client="o",
            payload=lambda: export_row(journal, coin, by=[1, 1]),
        )
    assert error.value.code == "journal-broken"


@case("an export that is called off under the lock leaves no row")
def _(journal: Journal) -> None:
    (coin,) = issued(journal)

    def changed() -> dict[str, object]:
        raise RefusedError("changed-since-approval", "the policy changed")

    head, key = journal.head, commit(coin.seed_uuid)
    with pytest.raises(RefusedError):
        journal.commit_export(key, client="o", payload=changed)
    assert (journal.head, journal.is_spent(key)) == (head, False)


@pytest.mark.parametrize("sentence", CASES)
def test_the_ledger_keeps_its_rules(place: Place, sentence: str) -> None:
    make(place)
    journal = open_journal(place)
    try:
        CASES[sentence](journal)
    finally:
        journal.close()


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 30


# --- making and opening --------------------------------------------------------------


def test_a_journal_is_made_once(place: Place) -> None:
    make(place)
    with pytest.raises(JournalError, match="exists"):
        make(place)


def test_a_missing_journal_is_never_made(place: Place, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(JournalError, match="never makes one"):
            open_journal(place)
    assert not list(tmp_path.iterdir())


def test_every_row_is_there_again(place: Place) -> None:
    fill(place)
    journal = open_journal(place)
    rows = journal.rows(after_sequence=0, limit=100)
    assert verify_chain(rows) == journal.head
    assert [row.kind for row in rows] == [
        "ceremony",
        *["issued"] * 3,
        "signed",
        "refused",
        "ceremony",
    ]
    journal.close()


def test_a_restored_journal_opens_another_epoch(
    place: Place, tmp_path: Path, server: Server
) -> None:
    fill(place)
    journal = open_journal(place)
    rows = journal.rows(after_sequence=0, limit=100)
    head = journal.head
    journal.close()
    (tmp_path / "new").mkdir()
    elsewhere: Place = SqlitePlace(tmp_path / "new", place.journal_id)
    if isinstance(place, PostgresPlace):
        with pytest.raises(JournalError, match="exists"):
            restored(PostgresPlace(tmp_path / "new", server, place.journal_id), rows)
        moved = f"ALTER SCHEMA {place.schema} RENAME TO old_{place.schema}"
        server.execute(moved)
        elsewhere = PostgresPlace(tmp_path / "new", server, place.journal_id)
    restored(elsewhere, rows)
    again = open_journal(elsewhere)
    assert again.verified.recovering
    assert again.epoch == 2
    assert again.verified.restored_head == (head.sequence, head.hash)
    again.commit_spent([], client="o", payload={"step": "recover-journal"})
    assert not again.verified.recovering
    again.close()


def adopted(generation: int) -> IssuedRecord:
    return replace(record_of(new_coin(), generation=generation), receipt="")


def take_over(journal: Journal, generation: int) -> None:
    """Take an old Hub's salt in."""
    salt = {"step": "import-salt", "generation": generation}
    journal.commit_ceremony(client="o", payload=salt)


def test_an_adopted_key_signs_only_after_the_old_hub_s_last_word(place: Place) -> None:
    make(place)
    journal = open_journal(place)
    take_over(journal, 2)
    told: dict[str, object] = {"step": "import-interchange", "part": 1, "of": 1}
    journal.commit_spent([], client="o", payload=told)
    coins = [new_coin() for _ in range(3)]
    for coin in coins:
        record = replace(record_of(coin, generation=2), receipt="")
        journal.commit_issue(record, client="hub")
    fresh = new_coin()
    issue(journal, fresh)
    sign(journal, fresh)  # one of our own does not wait
    with pytest.raises(DeferredError) as deferred:
        sign(journal, coins[0])
    assert deferred.value.code == "not-told"
    spent = [commit(coins[0].seed_uuid)]  # meanwhile, by the old Hub
    journal.commit_spent(spent, client="o", payload=told)
    with pytest.raises(RefusedError) as refused:
        sign(journal, coins[0])
    assert refused.value.code == "key-spent"
    sign(journal, coins[1])
    journal.close()
    journal = open_journal(place)
    sign(journal, coins[2])
    journal.close()


def test_after_a_restore_no_key_of_an_older_salt_is_adopted_again(
    tmp_path: Path,
) -> None:
    """What was adopted and signed after the backup would sign a second time."""
    place = SqlitePlace(tmp_path)
    make(place)
    journal = open_journal(place)
    take_over(journal, 2)
    rows = journal.rows(after_sequence=0, limit=99)  # the backup
    journal.commit_issue(adopted(2), client="hub")
    journal.close()
    (tmp_path / "new").mkdir()
    elsewhere = SqlitePlace(tmp_path / "new", place.journal_id)
    restored(elsewhere, rows, generation=3)
    again = open_journal(elsewhere)
    again.commit_spent([], client="o", payload={"step": "recover-journal"})
    with pytest.raises(RefusedError, match="restored since") as refusal:
        again.commit_issue(adopted(2), client="hub")
    assert refusal.value.code == "not-adoptable"
    take_over(again, 4)  # a salt that came after it
    again.commit_issue(adopted(4), client="hub")
    again.close()


def restored(place: Place, rows: list, *, generation: int = 2) -> None:  # type: ignore[type-arg]
    head = verify_chain(rows)
    assert head
    payload = {"step": "restore", "sequence": head.sequence, "hash": head.hash}
    payload |= {"generation": generation}
    row = next_row(
        head, now_ms=NOW_MS, client="ceremony", kind="ceremony", payload=payload
    )
    import_journal(place.database, [*rows, row], journal_id=place.journal_id, epoch=2)


def test_a_journal_longer_than_any_page_is_read_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(place)
    journal = open_journal(place)
    coins = issued(journal, 7)
    keys = [commit(coin.seed_uuid) for coin in coins]
    digest = sign(journal, *coins[3:5])
    expected = [*keys[:3], *keys[5:]]
    for name, count in (
        ("appliance.journal._SCANNED_AT_ONCE", 2),
        ("appliance.journal._KEYS_AT_ONCE", 2),
        ("appliance.journal_verification._ROWS_AT_ONCE", 2),
    ):
        monkeypatch.setattr(name, count)
    assert journal.unspent_issued() == expected
    assert journal.spent_hashes(keys) == dict.fromkeys(keys[3:5], (digest,))
    verified, head = journal.verified, journal.head
    journal.close()
    journal = open_journal(place)
    assert (journal.verified, journal.head) == (verified, head)
    journal.close()


def test_many_rows_at_once_are_inserted_whole(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(place)
    journal = open_journal(place)
    rows = journal.rows(after_sequence=0, limit=100)
    journal.close()
    for at_once, few in ((2, 1), (3, 8), (200, 2)):
        monkeypatch.setattr("appliance.journal._LINES_AT_ONCE", at_once)
        monkeypatch.setattr("appliance.journal._FEW_LINES", few)
        folder = tmp_path / f"{at_once}"
        folder.mkdir()
        copy = SqlitePlace(folder, place.journal_id)
        import_journal(copy.database, rows, journal_id=place.journal_id, epoch=1)
        journal = open_journal(copy)
        assert journal.rows(after_sequence=0, limit=100) == rows
        journal.close()


@pytest.mark.parametrize("kind", ["ceremony", "issued"])
def test_a_first_row_that_did_not_make_this_journal_is_found(
    place: Place, kind: str
) -> None:
    made_of = "cd" * 16 if kind == "ceremony" else place.journal_id
    payload: dict[str, object] = {"journal_id": made_of, "generation": 1}
    payload |= {"commitment": "c", "address": "A"}
    row = next_row(None, now_ms=NOW_MS, client="hub", kind=kind, payload=payload)
    import_journal(place.database, [row], journal_id=place.journal_id, epoch=1)
    with pytest.raises(BrokenInvariantError, match=r"first row|foreign"):
        open_journal(place)


def test_rows_that_break_the_guards_make_no_journal(
    place: Place, tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    whole = SqlitePlace(tmp_path / "whole")
    fill(whole)
    journal = open_journal(whole)
    rows = journal.rows(after_sequence=0, limit=100)
    journal.close()
    with pytest.raises(BrokenInvariantError):
        import_journal(
            place.database, [*rows, rows[-1]], journal_id=place.journal_id, epoch=1
        )
    with pytest.raises((BrokenInvariantError, JournalError)):
        open_journal(place)


def test_a_failed_opening_leaves_no_lock(place: Place) -> None:
    make(place)
    sequence = open_and_issue(place)
    for _ in range(2):
        with pytest.raises((BrokenInvariantError, JournalError)) as error:
            open_journal(place, clock_ms=lambda: 5)
        assert error.value.code in {"clock", "clock-skew"}
    assert open_and_issue(place) == sequence + 1


def open_and_issue(place: Place) -> int:
    journal = open_journal(place)
    issue(journal, new_coin())
    journal.close()
    return journal.head.sequence


# --- tampering -----------------------------------------------------------------------

TAMPERED = {
    "spent key missing": "delete from spent_key where commitment = (select"
    " min(commitment) from spent_key where bundle_hash is not null)",
    "view": "create view v as select 1 as one",
    "table": "create table t (a text)",
    "payload": "update \"row\" set payload = replace(payload, '100', '101')"
    " where kind = 'signed'",
    "time": 'update "row" set time_ms = time_ms + 1 where sequence = 3',
    "client": "update \"row\" set client = 'other' where sequence = 3",
    "kind": "update \"row\" set kind = 'ceremony' where sequence = 3",
    "hash": "update \"row\" set hash = replace(hash, '1', '2') where sequence = 3",
    "previous hash": 'update "row" set previous_hash = hash where sequence = 3',
    "payload no JSON": "update \"row\" set payload = '{' where sequence = 3",
    "payload empty": "update \"row\" set payload = '' where sequence = 7",
    # One last row that guards nothing can be dropped: only a head token tells.
    "last rows dropped": 'delete from "row" where sequence >= 6',
    "row dropped": 'delete from "row" where sequence = 3',
    "first row dropped": 'delete from "row" where sequence = 1',
    "every row dropped": 'delete from "row"',
    "rows swapped": 'update "row" set sequence = -1 where sequence = 2;'
    'update "row" set sequence = 2 where sequence = 3;'
    'update "row" set sequence = 3 where sequence = -1',
    "row before the first": 'insert into "row" select 0,time_ms,client,kind,payload,'
    "previous_hash,'x' from \"row\" where sequence=1",
    "row invented": "insert into \"row\" select 8,time_ms,client,kind,payload,hash,'x'"
    ' from "row" where sequence=7',
    "canary's spent key missing": "delete from spent_key where bundle_hash is null",
    "spent key of another hash": "update spent_key set bundle_hash = bundle_hash || 'A'"
    " where bundle_hash is not null",
    "spent key unknown": "update spent_key set bundle_hash = null",
    "spent key renumbered": "update spent_key set n = 1",
    "spent key of nobody": "insert into spent_key values ('c', 0, null, 1)",
    "spent key of no row": "insert into spent_key values ('c', 0, null, 99)",
    "issued missing": "delete from issued where row = 3",
    "issued address": "update issued set address = 'A' where row = 3",
    "issued twice": "insert into issued values ('c', 'a', 'hub', 1, 3)",
    "issued to another": "update issued set client = 'other'",
    "issued at another time": "update issued set time_ms = 1",
    "payment missing": "delete from paid",
    "payment of another amount": "update paid set amount_i = 1",
    "payment at another time": "update paid set time_ms = 1",
    "authorisation missing": "delete from authorisation",
    "authorisation of another": "update authorisation set withdrawal = 'w'",
    "refusal missing": "delete from refused",
    "refusal of another hash": "update refused set bundle_hash = 'A'",
    "signed missing": "delete from signed",
    "window amount": "update signed set outside_i = 0",
    "window time": "update signed set time_ms = 1",
    "window client": "update signed set client = 'other'",
    "window keys": "update signed set key_count = 0",
    "header missing": "delete from header",
    "header twice": "insert into header values ('f', 'j', 1)",
    "unknown format": "update header set format = 'saltkeep-journal/1'",
    "foreign": "update header set journal_id = 'cd'",
    "epoch": "update header set epoch = 0",
    "epoch of a restore that never was": "update header set epoch = 2",
    "table dropped": "drop table refused",
    "index dropped": "drop index ix_signed_client",
}


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=TAMPERED)
def test_tampering_is_found_when_the_journal_is_opened(
    place: Place, statement: str
) -> None:
    fill(place)
    changed = place.tamper(*statement.split(";"))
    assert changed or statement.startswith(("create", "drop"))
    with pytest.raises(BrokenInvariantError) as error:
        open_journal(place)
    assert error.value.code in {"journal-broken", "mirror-differs"}


def test_a_journal_of_another_vault_is_refused(place: Place) -> None:
    make(place)
    with pytest.raises((BrokenInvariantError, JournalError), match=r"missing|vault is"):
        Journal(place.database, journal_id="cd" * 16, clock_ms=clock)


# --- the rules, by a machine ---------------------------------------------------------


class JournalRules(RuleBasedStateMachine):
    """Any order of acts, with restarts: one hash per key, and a whole chain."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = NOW_MS
        self.signed: dict[str, str] = {}
        self.refused: set[str] = set()
        self.issued: list[Coin] = []
        self.requests = []

    @initialize(name=st.sampled_from(DATABASES))
    def make(self, name: str) -> None:
        self.place = next(PLACES[name])
        make(self.place)
        self.journal = self._open()

    def _open(self) -> Journal:
        return open_journal(self.place, clock_ms=lambda: self.now_ms)

    @rule(back_ms=st.integers(-4000, 100_000))
    def time_passes(self, back_ms: int) -> None:
        self.now_ms = max(self.now_ms + back_ms, self.journal.head.time_ms - 4000)

    @rule()
    def restart(self) -> None:
        # Two appliances may differ by less than 5 s; one alone may step back so far.
        self.now_ms = max(self.now_ms, self.journal.head.time_ms - 4000)
        head = self.journal.head
        self.journal.close()
        self.journal = self._open()
        assert self.journal.head == head

    @rule()
    def issue(self) -> None:
        coin = new_coin()
        issue(self.journal, coin)
        self.issued.append(coin)

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        if not self.issued:
            return
        coins = data.draw(
            st.lists(st.sampled_from(self.issued), min_size=1, max_size=3, unique=True)
        )
        self.requests.append(understand(bundle(coins), levels={1: 2}))

    @rule(data=st.data())
    def sign(self, data: st.DataObject) -> None:
        if not self.requests:
            return
        transfer = data.draw(st.sampled_from(self.requests))
        keys = {self.signed.get(c) for c in transfer.commitments}
        before = self.journal.head
        if keys == {transfer.bundle_hash}:
            self._commit(transfer)
            assert self.journal.head == before
        elif keys != {None} or transfer.bundle_hash in self.refused:
            with pytest.raises(RefusedError):
                self._commit(transfer)
            assert self.journal.head == before
        else:
            self._commit(transfer)
            self.signed |= dict.fromkeys(transfer.commitments, transfer.bundle_hash)

    def _commit(self, transfer: object) -> None:
        self.journal.commit_signature(
            transfer, own={}, client="hub", decide=lambda _: leaving(1)
        )

    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        if not self.requests:
            return
        value = data.draw(st.sampled_from(self.requests)).bundle_hash
        self.journal.commit_refusal(
            client="hub", bundle_hashes=[value], code="c", message="m"
        )
        if value not in self.signed.values():
            self.refused.add(value)

    @rule(data=st.data())
    def issue_again(self, data: st.DataObject) -> None:
        if not self.issued:
            return
        coin = data.draw(st.sampled_from(self.issued))
        if commit(coin.seed_uuid) in self.signed:
            with pytest.raises(RefusedError):
                issue(self.journal, coin)
        else:
            assert issue(self.journal, coin).address == coin.address

    @invariant()
    def the_guards_are_what_was_done(self) -> None:
        if hasattr(self, "journal"):
            found = self.journal.spent_hashes(
                [commit(coin.seed_uuid) for coin in self.issued]
            )
            assert found == {key: (one,) for key, one in self.signed.items()}

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            rows = self.journal.rows(after_sequence=0, limit=1000)
            assert verify_chain(rows) == self.journal.head
            self.journal.close()
            self._open().close()


PLACES: dict[str, Iterator[Place]] = {}


@pytest.fixture
def _places(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[None]:
    def sqlite() -> Iterator[Place]:
        while True:
            yield SqlitePlace(tmp_path_factory.mktemp("rules"))

    def postgresql() -> Iterator[Place]:
        while True:
            yield PostgresPlace(tmp_path_factory.mktemp("rules"), server)

    PLACES.update(sqlite=sqlite(), postgresql=postgresql())
    yield
    PLACES.clear()


JournalRules.TestCase.settings = settings(
    max_examples=24, stateful_step_count=25, deadline=None
)
TestJournalRules = pytest.mark.usefixtures("_places")(
    pytest.mark.timeout(180)(JournalRules.TestCase)
)


def test_a_path_means_a_sqlite_file(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    make(place)
    journal = Journal(
        tmp_path / "journal.db", journal_id=place.journal_id, clock_ms=clock
    )
    assert not journal.shared
    journal.close()
