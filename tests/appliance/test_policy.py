# SPDX-License-Identifier: Apache-2.0
"""``decide`` as a table, its bounds as properties, and the policy file itself."""

import base64
import datetime as dt
import json
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Spending
from appliance.errors import BrokenInvariantError, RefusedError
from appliance.intent import understand
from appliance.journal import Journal, create_journal
from appliance.operator_keys import public_half, sign_as_operator
from appliance.policy import (
    Approved,
    Asked,
    Denied,
    Payment,
    Postponed,
    Rules,
    Usage,
    asked_of,
    decide,
    decide_blind,
    decide_issue,
)
from appliance.policy_file import (
    OpeningHours,
    OperatorSignature,
    SignedPolicy,
    parse_policy,
    policy_digest,
    verify_policy,
)
from appliance.policy_force import PolicyInForce, root_of
from appliance.policy_replay import replay
from appliance.wire import JournalRow
from tests.appliance.bundles import Coin, Output, bundle, new_address, new_uuid

A, B, C = "A" * 81, "B" * 81, "C" * 81
MONDAY_NOON_S = int(dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC).timestamp())
NOTHING = Usage(0, 0, 0.0)
YES = Approved(needs_presence=False)
WEEKDAYS = OpeningHours(weekdays=[0, 1, 2, 3, 4], from_minute=9 * 60, to_minute=17 * 60)
ASKED = Asked((30, 100), (Payment(0, A, 60), Payment(1, B, 25), Payment(2, A, 15)))

TABLE: dict[str, tuple[dict[str, int], Usage, object]] = {
    "no limits": ({}, Usage(1 << 60, 1 << 20, 0.0), YES),
    "dust": ({"min_input_i": 31}, NOTHING, "min-input"),
    "just enough": ({"min_input_i": 30}, NOTHING, YES),
    "too much at once": ({"max_outside_per_bundle_i": 99}, NOTHING, "per-bundle"),
    "exactly the most": ({"max_outside_per_bundle_i": 100}, NOTHING, YES),
    "too much to one": ({"max_per_destination_i": 74}, NOTHING, "destination"),
    "enough to one": ({"max_per_destination_i": 75}, NOTHING, YES),
    "window full": (
        {"max_outside_per_window_i": 150},
        Usage(51, 1, 10.0),
        Postponed("window", "151 with what was signed before, 150 may be", 86_390.0),
    ),
    "window just enough": (
        {"max_outside_per_window_i": 150},
        Usage(50, 1, 10.0),
        YES,
    ),
    "window never enough": ({"max_outside_per_window_i": 99}, NOTHING, "window"),
    "keys used up": (
        {"max_keys_per_window": 3},
        Usage(0, 2, 86_399.9),
        Postponed("keys-window", "4 with what was signed before, 3 may be", 1.0),
    ),
    "keys just enough": ({"max_keys_per_window": 3}, Usage(0, 1, 1.0), YES),
    "more keys than a window": ({"max_keys_per_window": 1}, NOTHING, "keys-window"),
    "destination full": (
        {"max_per_destination_per_window_i": 100, "window_s": 600},
        Usage(0, 0, 0.0, {A: 26, B: 75}, 100.0),
        Postponed(
            "destination-window", "101 with what was signed before, 100 may be", 500.0
        ),
    ),
    "destination just enough": (
        {"max_per_destination_per_window_i": 100},
        Usage(0, 0, 0.0, {A: 25, B: 75, C: 999}),
        YES,
    ),
    "destination never enough": (
        {"max_per_destination_per_window_i": 74},
        NOTHING,
        "destination-window",
    ),
    "presence": ({"presence_above_i": 99}, NOTHING, Approved(needs_presence=True)),
    "no presence yet": ({"presence_above_i": 100}, NOTHING, YES),
    "authorisation": (
        {"authorise_above_i": 59},
        NOTHING,
        Postponed(
            "authorisation",
            "output 0 pays 60 i: above 59 i it needs an authorisation",
            60.0,
        ),
    ),
    "none needed": ({"authorise_above_i": 60}, NOTHING, YES),
    "dust before amount": (
        {"min_input_i": 31, "max_outside_per_bundle_i": 1},
        NOTHING,
        "min-input",
    ),
    "never before later": (
        {"max_outside_per_bundle_i": 99, "authorise_above_i": 1},
        NOTHING,
        "per-bundle",
    ),
}


@pytest.mark.parametrize(("limits", "usage", "expected"), TABLE.values(), ids=TABLE)
def test_every_limit(limits: dict[str, int], usage: Usage, expected: object) -> None:
    rules = Rules(limits=(Spending(**limits),))
    decision = decide(ASKED, rules, [usage], MONDAY_NOON_S)
    if isinstance(expected, str):
        assert isinstance(decision, Denied)
        assert decision.rule == expected
    else:
        assert decision == expected


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("limits", "usage", "expected"), TABLE.values(), ids=TABLE)
def test_a_second_set_of_limits_can_only_be_stricter(
    limits: dict[str, int], usage: Usage, expected: object, *, first: bool
) -> None:
    pairs = [(Spending(**limits), usage), (Spending(), NOTHING)]
    pairs = pairs if first else pairs[::-1]
    rules = Rules(limits=tuple(one for one, _ in pairs))
    decision = decide(ASKED, rules, [used for _, used in pairs], MONDAY_NOON_S)
    if isinstance(expected, str):
        assert isinstance(decision, Denied)
        assert decision.rule == expected
    else:
        assert decision == expected


def test_an_authorised_payment_passes_the_threshold() -> None:
    payments = (Payment(0, A, 60, authorised=True), Payment(1, B, 59))
    rules = Rules(limits=(Spending(authorise_above_i=59),))
    assert decide(Asked((119,), payments), rules, [NOTHING], MONDAY_NOON_S) == YES


def test_nothing_outside_needs_nothing() -> None:
    tight = Spending(
        max_outside_per_bundle_i=1, max_per_destination_i=1, authorise_above_i=1
    )
    rules = Rules(limits=(tight,), allow=frozenset({A}))
    assert decide(Asked((5,), ()), rules, [NOTHING], MONDAY_NOON_S) == YES


@pytest.mark.parametrize(
    ("allow", "deny", "expected"),
    [
        ({A, B}, set(), None),
        ({A}, set(), "allow"),
        (set(), {B}, "deny"),
        (set(), {C}, None),
        ({A, B}, {A}, "deny"),
    ],
)
def test_destinations(allow: set[str], deny: set[str], expected: str | None) -> None:
    rules = Rules(allow=frozenset(allow), deny=frozenset(deny))
    decision = decide(ASKED, rules, [NOTHING], MONDAY_NOON_S)
    assert (decision.rule if isinstance(decision, Denied) else None) == expected


HOURS = {
    "open": (0, 12, 0, None),
    "first minute": (0, 9, 0, None),
    "last minute": (0, 16, 59, None),
    "at closing": (0, 17, 0, 16 * 3600),
    "before opening": (0, 8, 30, 1800),
    "friday night": (4, 20, 0, (2 * 24 + 13) * 3600),
    "saturday": (5, 12, 0, (24 + 21) * 3600),
}


@pytest.mark.parametrize(("day", "hour", "minute", "wait_s"), HOURS.values(), ids=HOURS)
def test_opening_hours(day: int, hour: int, minute: int, wait_s: int | None) -> None:
    midnight_s = MONDAY_NOON_S - 12 * 3600
    now_s = midnight_s + ((day * 24 + hour) * 60 + minute) * 60
    decision = decide(ASKED, Rules(hours=(WEEKDAYS,)), [NOTHING], now_s)
    if wait_s is None:
        assert decision == YES
    else:
        assert isinstance(decision, Postponed)
        assert (decision.rule, decision.retry_after_s) == ("hours", wait_s)
        later = decide(ASKED, Rules(hours=(WEEKDAYS,)), [NOTHING], now_s + wait_s)
        assert later == YES


def test_opening_hours_are_utc_wherever_the_host_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_home = decide(ASKED, Rules(hours=(WEEKDAYS,)), [NOTHING], MONDAY_NOON_S)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        away = decide(ASKED, Rules(hours=(WEEKDAYS,)), [NOTHING], MONDAY_NOON_S)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert away == at_home == YES


def test_one_opening_a_week_is_found_again() -> None:
    weekly = OpeningHours(weekdays=[0], from_minute=0, to_minute=1)
    decision = decide(ASKED, Rules(hours=(weekly,)), [NOTHING], MONDAY_NOON_S + 7)
    assert isinstance(decision, Postponed)
    assert decision.retry_after_s == (6 * 24 + 12) * 3600 - 7


@given(
    outside_i=st.integers(0, 1000),
    used_i=st.integers(0, 1000),
    keys=st.integers(0, 10),
    limit_i=st.integers(1, 1000),
    key_limit=st.integers(1, 10),
)
def test_what_is_approved_is_within_every_limit(
    outside_i: int, used_i: int, keys: int, limit_i: int, key_limit: int
) -> None:
    payments = (Payment(0, A, outside_i),) if outside_i else ()
    limits = Spending(max_outside_per_window_i=limit_i, max_keys_per_window=key_limit)
    rules = Rules(limits=(limits,))
    decision = decide(Asked((1, 1), payments), rules, [Usage(used_i, keys, 0.0)], 0)
    within = used_i + outside_i <= limit_i and keys + 2 <= key_limit
    assert isinstance(decision, Approved) == within


@pytest.mark.parametrize(
    ("limit", "issued", "wait_s"),
    [(0, 999, None), (3, 2, None), (3, 3, 3000.0), (3, 9, 3000.0)],
)
def test_the_rate_of_addresses(limit: int, issued: int, wait_s: float | None) -> None:
    limits = [Spending(), Spending(max_addresses_per_hour=limit)]
    decision = decide_issue(limits, issued, 600.0)
    if wait_s is None:
        assert decision is None
    else:
        assert decision
        assert (decision.rule, decision.retry_after_s) == ("address-rate", wait_s)


def test_own_outputs_do_not_leave() -> None:
    coin, back, out = Coin(new_uuid(), new_address()), new_address(), new_address()
    request = bundle([coin], [Output(back, 60, own=True), Output(out, 40)])
    transfer = understand(request, levels={1: 2})
    (index,) = [o.index for o in transfer.outputs if o.address == out]
    asked = asked_of(transfer, {back}, {index})
    assert asked == Asked((100,), (Payment(index, out, 40, authorised=True),))
    assert asked.outside_i == 40


# --- the file ----------------------------------------------------------------------

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 5)]


def text(version: int = 1, *, people: Sequence[int] = (0, 1, 2), more: str = "") -> str:
    lines = [f"version = {version}", 'network = "devnet"', more]
    for number in people:
        lines += [
            "[[operators]]",
            f'name = "op-{number}"',
            f'key = "{public_half(KEYS[number])}"',
        ]
    return "\n".join(lines) + "\n"


def respelt(key: str) -> str:
    """Return base64 of the same 32 bytes whose two spare bits are not zero."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = key[:-2] + letters[letters.index(key[-2]) + 1] + "="
    assert base64.b64decode(other, validate=True) == base64.b64decode(key)
    return other


def signed(content: str, *signers: int, judges: str = "") -> SignedPolicy:
    policy = parse_policy(judges or content)
    digest = policy_digest(content)
    return SignedPolicy(
        text=content,
        signatures=[sign_as_operator(KEYS[n], digest, policy) for n in signers],
    )


def code_of(signed_policy: SignedPolicy, in_force: str = "") -> str:
    before = parse_policy(in_force) if in_force else None
    try:
        verify_policy(signed_policy, in_force=before)
    except RefusedError as error:
        return error.code
    return ""


def test_two_of_its_own_operators_sign_the_first_policy() -> None:
    assert code_of(signed(text(), 0, 2)) == ""
    assert code_of(signed(text(), 0)) == "policy-signatures"
    assert code_of(signed(text(), 0, 0)) == "policy-signatures"


def test_operators_of_the_policy_in_force_sign_the_next() -> None:
    new = text(2, people=(1, 3))
    assert code_of(signed(new, 0, 1, judges=text()), text()) == ""
    assert code_of(signed(new, 1, 3), text()) == "policy-signatures"


def test_a_version_rises_and_a_network_stays() -> None:
    assert code_of(signed(text(3), 0, 1), text(3)) == "policy-version"
    assert code_of(signed(text(2), 0, 1), text(3)) == "policy-version"
    other = text(4).replace("devnet", "mainnet")
    assert code_of(signed(other, 0, 1), text(3)) == "policy-network"


def test_more_than_two_may_be_wanted() -> None:
    strict = text(more="[approvals]\npolicy = 3")
    assert code_of(signed(strict, 0, 1)) == "policy-signatures"
    assert code_of(signed(strict, 0, 1, 2)) == ""
    assert code_of(signed(text(2), 0, 1), strict) == "policy-signatures"


def test_every_byte_of_the_text_is_signed() -> None:
    good = signed(text(), 0, 1)
    changed = msgspec.structs.replace(good, text=good.text + "# a remark\n")
    assert code_of(changed) == "policy-signatures"


@pytest.mark.parametrize("bad", ["", "x", "A" * 88, base64.b64encode(b"x").decode()])
def test_a_signature_that_is_none_does_not_count(bad: str) -> None:
    good = signed(text(), 0)
    signatures = [*good.signatures, OperatorSignature("op-1", bad)]
    assert code_of(msgspec.structs.replace(good, signatures=signatures)) == (
        "policy-signatures"
    )


OFFICER = base64.b64encode(
    X25519PrivateKey.generate().public_key().public_bytes_raw()
).decode()
MALFORMED = {
    "no TOML": "version = ",
    "no operators": 'version = 1\nnetwork = "devnet"\n',
    "one operator": text(people=(0,)),
    "the same twice": text(people=(0, 0)),
    "an unknown key": text(more="limit = 5"),
    "an unknown limit": text(more="[limits]\nmax_coffee = 5"),
    "one approval for a policy": text(more="[approvals]\npolicy = 1"),
    "one approval to unseal": text(more="[approvals]\nunseal = 1"),
    "more approvals than operators": text(more="[approvals]\nceremony = 4"),
    "a negative limit": text(more="[limits]\nmin_input_i = -1"),
    "version 0": text(0),
    "no address": text(more='deny = ["NEVER"]'),
    "hours backwards": text(
        more="[[hours]]\nweekdays = [0]\nfrom_minute = 60\nto_minute = 60"
    ),
    "no such day": text(
        more="[[hours]]\nweekdays = [7]\nfrom_minute = 0\nto_minute = 60"
    ),
    "no key": text().replace(public_half(KEYS[0]), "AAAA"),
    "a key that is no base64": text().replace(public_half(KEYS[0]), "not a key"),
    "one key in two spellings": text(people=(0, 1)).replace(
        public_half(KEYS[1]), respelt(public_half(KEYS[0]))
    ),
    "one approval for the doors": text(more="[approvals]\ndoors = 1"),
    "one signature in all": text(more="[doors]\nmost_signatures = 1"),
    "a floor below nothing": text(more="[doors]\nleast_bits = -1"),
    "no officer key": text(more='[[officers]]\nname = "o"\nkey = "AAAA"'),
    "an officer key that agrees on nothing": text(
        more=f'[[officers]]\nname = "o"\nkey = "{"A" * 43}="'
    ),
    "two officers of a name": text(
        more="".join(f'[[officers]]\nname = "o"\nkey = "{OFFICER}"\n' for _ in "ab")
    ),
    "no issuer key": text(
        more='[[issuers]]\nid = "x"\nalgorithm = "EdDSA"\nkey = "none"'
    ),
    "no algorithm": text(
        more='[[issuers]]\nid = "x"\nalgorithm = "none"\nkey = "none"'
    ),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_policy_is_refused(content: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_policy(content)
    assert caught.value.code == "policy-malformed"


def test_lists_of_addresses_are_read_as_they_stand() -> None:
    first, second = "A" * 81, "9" * 81
    policy = parse_policy(text(more=f'allow = ["{first}"]\ndeny = ["{second}"]'))
    assert (policy.allow, policy.deny) == ([first], [second])


def test_limits_are_found_by_name_then_role_then_for_everybody() -> None:
    policy = parse_policy(
        text(
            more="limits.window_s = 1\nclients.one.window_s = 2\nroles.hub.window_s = 3"
        )
    )
    assert policy.limits_of("one", "hub").window_s == 2
    assert policy.limits_of("other", "hub").window_s == 3
    assert policy.limits_of("other", "legacy-hub").window_s == 1


def test_the_doors_are_shut_and_two_must_open_them() -> None:
    policy = parse_policy(text())
    doors = policy.doors
    assert (doors.second_signatures, doors.seed_export) == (False, False)
    assert (doors.least_bits, doors.most_signatures) == (80, 2)
    assert (policy.approvals.doors, policy.officers) == (2, [])
    named = parse_policy(text(more=f'[[officers]]\nname = "o"\nkey = "{OFFICER}"'))
    assert [one.name for one in named.officers] == ["o"]


# --- exact bounds and words ---------------------------------------------------------

MONDAY = OpeningHours(weekdays=[0], from_minute=9 * 60, to_minute=17 * 60)
TUESDAY = OpeningHours(weekdays=[1], from_minute=9 * 60, to_minute=17 * 60)
MONDAY_S = MONDAY_NOON_S - 12 * 3600


@pytest.mark.parametrize(
    ("hours", "at_s", "expected_wait_s"),
    [
        ((MONDAY,), MONDAY_S + 12 * 3600, None),
        ((TUESDAY, MONDAY), MONDAY_S + 12 * 3600, None),
        ((MONDAY,), MONDAY_S + 9 * 3600, None),
        ((MONDAY,), MONDAY_S + 9 * 3600 - 30, 30.0),
        ((MONDAY,), MONDAY_S + 17 * 3600 - 1, None),
        ((MONDAY,), MONDAY_S + 17 * 3600, (7 * 24 - 8) * 3600.0),
        ((MONDAY, TUESDAY), MONDAY_S + 17 * 3600 + 59, 16 * 3600.0 - 59),
    ],
)
def test_hours_open_and_close_on_the_minute(
    hours: tuple[OpeningHours, ...], at_s: int, expected_wait_s: float | None
) -> None:
    decision = decide(ASKED, Rules(hours=hours), [NOTHING], at_s)
    expected = (
        YES
        if expected_wait_s is None
        else Postponed("hours", "outside the opening hours", expected_wait_s)
    )
    assert decision == expected


def test_hours_are_utc_wherever_the_appliance_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert decide(ASKED, Rules(hours=(MONDAY,)), [NOTHING], MONDAY_NOON_S) == YES
    finally:
        monkeypatch.undo()
        time.tzset()


def test_each_set_of_limits_needs_its_own_window() -> None:
    with pytest.raises(ValueError, match="zip"):
        decide(ASKED, Rules(), [NOTHING, NOTHING], MONDAY_NOON_S)
    with pytest.raises(ValueError, match="zip"):
        decide_blind(Rules(), [NOTHING, NOTHING], MONDAY_NOON_S)


def test_a_sweep_that_pays_nobody_meets_every_limit_of_payments() -> None:
    inward = Asked((30, 100), ())
    limits = Spending(
        max_outside_per_bundle_i=1,
        max_per_destination_i=1,
        max_outside_per_window_i=1,
        max_per_destination_per_window_i=1,
        authorise_above_i=1,
        presence_above_i=1,
    )
    assert decide(inward, Rules((limits,)), [NOTHING], MONDAY_NOON_S) == YES


def test_a_destination_never_paid_before_may_get_all_of_its_window() -> None:
    limits = Spending(max_per_destination_per_window_i=75)
    assert decide(ASKED, Rules((limits,)), [NOTHING], MONDAY_NOON_S) == YES


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (
            Rules(deny=frozenset({B})),
            Denied("deny", "output 1 goes to a denied address"),
        ),
        (
            Rules(allow=frozenset({A})),
            Denied("allow", "output 1 goes to an address not on the list"),
        ),
        (
            Rules((Spending(min_input_i=31),)),
            Denied("min-input", "an input of 30 i is below the minimum of 31"),
        ),
        (
            Rules((Spending(max_outside_per_bundle_i=99),)),
            Denied("per-bundle", "100 in one bundle, at most 99 may be"),
        ),
    ],
)
def test_a_denial_says_what_came_and_what_may_be(
    rules: Rules, expected: Denied
) -> None:
    assert decide(ASKED, rules, [NOTHING], MONDAY_NOON_S) == expected


def test_a_rate_says_what_came_and_what_may_be() -> None:
    limits = Spending(max_addresses_per_hour=5)
    assert decide_issue([limits], 5, 600.0) == Postponed(
        "address-rate", "5 addresses were issued in the last hour, 5 may be", 3000.0
    )


# --- bare hashes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "max_outside_per_bundle_i",
        "max_outside_per_window_i",
        "min_input_i",
        "presence_above_i",
        "max_per_destination_i",
        "max_per_destination_per_window_i",
        "authorise_above_i",
    ],
)
def test_a_limit_that_needs_a_bundle_denies_a_bare_hash(name: str) -> None:
    rules = Rules((Spending(), Spending(**{name: 1})))
    assert decide_blind(rules, [NOTHING, NOTHING], MONDAY_NOON_S) == Denied(
        "blind",
        f"the policy holds {name} for this client, which no bare hash can be judged by",
    )


def test_a_list_of_destinations_denies_a_bare_hash() -> None:
    for rules, told in (
        (Rules(allow=frozenset({A})), "allow"),
        (Rules(deny=frozenset({A})), "deny"),
        (
            Rules((Spending(min_input_i=1),), frozenset({A}), frozenset({B})),
            "allow, deny, min_input_i",
        ),
    ):
        decision = decide_blind(rules, [NOTHING], MONDAY_NOON_S)
        assert isinstance(decision, Denied)
        assert f"holds {told} for" in decision.message


@pytest.mark.parametrize(
    ("limits", "usage", "expected"),
    [
        ({}, Usage(1 << 60, 1 << 20, 0.0), YES),
        ({"max_keys_per_window": 3}, Usage(0, 2, 9.0), YES),
        (
            {"max_keys_per_window": 3},
            Usage(0, 3, 86_390.0),
            Postponed("keys-window", "4 keys with those spent before, 3 may be", 10.0),
        ),
        (
            {"max_keys_per_window": 3},
            Usage(0, 3, 86_400.0),
            Postponed("keys-window", "4 keys with those spent before, 3 may be", 1.0),
        ),
        ({"max_addresses_per_hour": 1}, NOTHING, YES),
    ],
)
def test_a_bare_hash_uses_up_the_window_of_keys(
    limits: dict[str, int], usage: Usage, expected: object
) -> None:
    rules = Rules((Spending(**limits),))
    assert decide_blind(rules, [usage], MONDAY_NOON_S) == expected
    closed = Rules((Spending(**limits),), hours=(TUESDAY,))
    shut = decide_blind(closed, [usage], MONDAY_NOON_S)
    assert isinstance(shut, Postponed)
    assert shut.rule == "hours"


# --- the past ----------------------------------------------------------------------


def past(time_s: int, amount_i: int, *, client: str = "hub") -> JournalRow:
    """Return the row of a bundle that paid so much to one destination."""
    address = "D" * 81
    payload = {
        "bundle_hash": f"{time_s:081}",
        "transactions": [["I" * 81, -amount_i, "", 0], [address, amount_i, "", 0]],
        "inputs": [[0, "u", 1]],
        "paid": [[address, amount_i]],
        "authorised": [],
    }
    text_of = json.dumps(payload)
    return JournalRow(time_s, time_s * 1000, client, "signed", text_of, "", "")


def test_a_policy_tried_on_the_past_forgets_what_its_windows_forget() -> None:
    limits = "limits.window_s = 60\nlimits.max_outside_per_window_i = 100"
    policy = parse_policy(text(more=limits))
    rows = [past(100, 60), past(130, 60), past(161, 40), past(162, 1)]
    rows.append(past(400, 100))
    found = [(one.sequence, one.verdict, one.rule) for one in replay(rows, policy)]
    # What it would have stopped at 130 still counts at 161: 60 and 40 are allowed.
    assert found == [(130, "deferred", "window"), (162, "deferred", "window")]


def test_a_destination_s_window_counts_every_client_s_payments_in_it() -> None:
    limits = "limits.window_s = 60\nlimits.max_per_destination_per_window_i = 100"
    policy = parse_policy(text(more=limits))
    rows = [past(100, 60, client="a"), past(159, 60, client="b")]
    rows += [past(161, 40, client="c"), past(400, 60, client="a")]
    found = [(one.sequence, one.rule) for one in replay(rows, policy)]
    assert found == [(159, "destination-window")]


def test_rows_that_sign_nothing_are_passed_over() -> None:
    row = msgspec.structs.replace(past(1, 1), kind="ceremony", payload="{}")
    assert list(replay([row], parse_policy(text(more="limits.min_input_i = 9")))) == []


def test_the_first_policy_is_the_one_the_vault_names(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    first = signed(text(), 0, 1)
    ceremony = {"step": "init", "policy": msgspec.to_builtins(first)}
    create_journal(path, journal_id="ab" * 16, now_ms=1, ceremony=ceremony)
    with closing(Journal(path, journal_id="ab" * 16, clock_ms=lambda: 2)) as journal:
        in_force = PolicyInForce(journal, root_of([first]), Spending())
        assert in_force.root == policy_digest(first.text).hex()
        assert in_force.content == parse_policy(first.text)
        assert in_force.newest == first
        for root in ("00" * 32, ""):
            with pytest.raises(BrokenInvariantError, match="first policy") as error:
                _ = PolicyInForce(journal, root, Spending()).content
            assert error.value.code == "policy"


def test_a_journal_without_a_policy_has_none_in_force(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    create_journal(path, journal_id="ab" * 16, now_ms=1, ceremony={"step": "init"})
    with (
        closing(Journal(path, journal_id="ab" * 16, clock_ms=None)) as journal,
        pytest.raises(BrokenInvariantError, match="first policy"),
    ):
        _ = PolicyInForce(journal, "", Spending()).content
