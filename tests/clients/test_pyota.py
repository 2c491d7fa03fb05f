# SPDX-License-Identifier: Apache-2.0
"""An unmodified PyOTA client lives a whole story on a devnet of each dialect.

PyOTA takes long for each transaction it hashes, so the story is told once for
each dialect and the tests read what happened.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from iota import Address, Bundle, Iota, ProposedTransaction, Tag
from iota.crypto.addresses import AddressGenerator

from tests.hub.devnet.process import ask, devnet_process

SUPPLY_I = 2_779_530_283_277_761
SEED = "SALTKEEP9CLIENT9STORY".ljust(81, "9")
RECEIVER = Address("RECEIVER".ljust(81, "9"))
REMAINDER = Address("REMAINDER".ljust(81, "9"))
DEPTH = 3
MWM = 1

# How PyOTA posts is out of fashion with its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@dataclass(frozen=True)
class Story:
    """What happened."""

    dialect: str
    genesis: Address
    sent: Bundle
    info: dict[str, object]
    pending: dict[str, list[object]]
    promoted: Bundle
    reattached: Bundle
    confirmed: dict[str, list[object]]
    found: Bundle


@pytest.fixture(scope="module", params=["iri", "hornet"])
def story(request: pytest.FixtureRequest) -> Iterator[Story]:
    # The client runs event loops of its own: keep them off the tests' thread.
    with ThreadPoolExecutor(max_workers=1) as thread:
        yield thread.submit(run, request.param).result()


def run(dialect: str) -> Story:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        genesis = AddressGenerator(SEED.encode(), security_level=2).get_addresses(0)[0]
        options = ["--genesis-address", str(genesis), "--dialect", dialect]
        with devnet_process(*options, "--tick-s", "0") as (_, url):
            client = Iota(url, SEED)
            try:
                return tell(client, dialect, url, genesis)
            finally:
                # PyOTA leaves its connections open.
                loop.run_until_complete(client.adapter.client.aclose())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def tell(client: Iota, dialect: str, url: str, genesis: Address) -> Story:
    info = client.get_node_info()
    transfers = [ProposedTransaction(RECEIVER, 1_000_000, Tag("STORY"))]
    sent = client.send_transfer(
        transfers,
        depth=DEPTH,
        inputs=[genesis],
        change_address=REMAINDER,
        min_weight_magnitude=MWM,
    )["bundle"]
    tail = sent.tail_transaction.hash
    pending = look(client, sent, genesis)
    promoted = client.promote_transaction(tail, DEPTH, MWM)["bundle"]
    replayed = client.replay_bundle(tail, DEPTH, MWM)["trytes"]
    ask(url, {}, "/devnet/tick")
    return Story(
        dialect=dialect,
        genesis=genesis,
        sent=sent,
        info=info,
        pending=pending,
        promoted=promoted,
        reattached=Bundle.from_tryte_strings(replayed),
        confirmed=look(client, sent, genesis),
        found=client.get_bundles([tail])["bundles"][0],
    )


def look(client: Iota, bundle: Bundle, genesis: Address) -> dict[str, list[object]]:
    addresses = [genesis, RECEIVER, REMAINDER]
    found = client.find_transactions(bundles=[bundle.hash])
    tails = [bundle.tail_transaction.hash]
    return {
        "balances": client.get_balances(addresses)["balances"],
        "states": client.get_inclusion_states(tails)["states"],
        "spent": client.were_addresses_spent_from(addresses)["states"],
        "hashes": found["hashes"],
    }


def test_the_client_reads_node_information(story: Story) -> None:
    assert story.info["appName"] == story.dialect.upper()
    assert story.info["latestMilestoneIndex"] == 1
    assert story.info["latestSolidSubtangleMilestoneIndex"] == 1


def test_a_sent_transfer_is_pending_and_its_address_spent(story: Story) -> None:
    assert len(story.sent) == 4
    assert story.pending["balances"] == [SUPPLY_I, 0, 0]
    assert story.pending["states"] == [False]
    assert story.pending["spent"] == [True, False, False]
    assert set(story.pending["hashes"]) == {tx.hash for tx in story.sent}


def test_the_client_promotes_and_reattaches(story: Story) -> None:
    tail = story.sent.tail_transaction.hash
    assert story.promoted.tail_transaction.branch_transaction_hash == tail
    assert story.reattached.hash == story.sent.hash
    hashes = {tx.hash for tx in story.reattached}
    assert not hashes & {tx.hash for tx in story.sent}


def test_a_milestone_confirms_the_transfer_once(story: Story) -> None:
    moved = [0, 1_000_000, SUPPLY_I - 1_000_000]
    assert story.confirmed["balances"] == moved
    assert story.confirmed["states"] == [True]
    assert story.confirmed["spent"] == [True, False, False]


def test_the_client_reads_the_bundle_back(story: Story) -> None:
    assert story.found.hash == story.sent.hash
    assert [tx.value for tx in story.found] == [tx.value for tx in story.sent]
    assert story.found.is_confirmed is None
