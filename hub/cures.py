# SPDX-License-Identifier: Apache-2.0
"""What an operator does about what ``hub.why`` finds: sentences, commands, pages.

A word of the appliance that is not listed here has the general answer of its kind.
"""

from typing import Final

NOTHING: Final = "Nothing: the hub goes on by itself."
APPROVE: Final = (
    "Somebody with another API key of scope `approve`:"
    " POST /v1/withdrawals/{uuid}/approval"
)
AUTHORISE: Final = (
    "The exchange's back end signs it: POST /v1/withdrawals/{uuid}/authorisation"
)
CANCEL: Final = (
    "Cancel it, and have it asked for to another address:"
    " POST /v1/withdrawals/{uuid}/cancel"
)
LATCHED: Final = (
    "Look into it: `saltkeep-hub audit`. Once the books are sound and people have"
    " decided so: `saltkeep-hub audit --release`"
)
UNSYNCED: Final = (
    "Mend the nodes, or wait until they have caught up: `saltkeep-hub nodes` asks each."
)
STOPPED: Final = (
    "Start a hub: `saltkeep-hub serve`. If one runs, its log says why it holds no"
    " lease."
)
WINDOW: Final = (
    "Nothing: it goes out as the window moves on. To let more leave, raise"
    " withdrawals.limit_total_i and restart the hub."
)
TOO_LARGE: Final = (
    "Raise withdrawals.limit_total_i and restart the hub, or cancel it:"
    " it never goes out as it is."
)
TOO_LITTLE: Final = (
    "Bring money in: return some from cold storage to a hub address"
    " (`saltkeep-hub cold`), or wait for deposits."
)
COMING_BACK: Final = (
    "Wait until the sweeps under way are confirmed: what they leave over is free then."
)
UNSETTLED: Final = (
    "Wait until nodes show the bundle on its address confirmed or gone. If it stays:"
    " `saltkeep-hub reconcile` says where nodes and books differ."
)
PROMOTED: Final = "Nothing: the hub promotes it, and attaches it anew when it must."
SLOW: Final = (
    "See whether the nodes follow the network and whether its milestones go on:"
    " `saltkeep-hub nodes`. The hub goes on promoting and attaching it."
)
FAILED: Final = "See the hub's log, and `saltkeep-hub doctor`."
APPLIANCE: Final = {
    "sealed": (
        "The appliance is sealed: it signs nothing.",
        (
            "Find out why it sealed itself. Then at the appliance:"
            " `saltkeep-appliance unseal {latch_id}`, and each operator approves the"
            " act that it prints: `saltkeep-appliance approve ACT_ID --key FILE`"
        ),
    ),
    "unready": (
        "The appliance is not ready: it signs nothing.",
        (
            "At the appliance: `saltkeep-appliance status` says what is missing, and"
            " `saltkeep-appliance doctor` how to mend it."
        ),
    ),
    "starting": (
        "The appliance is starting.",
        "Nothing, if it is ready within a minute; else `saltkeep-appliance doctor`.",
    ),
    "away": (
        "The appliance does not answer.",
        "Start it, or mend the way there: `saltkeep-hub doctor` says what is wrong.",
    ),
}
"""Headline and cure by the state that it is in."""
PASSING: Final = frozenset({"busy", "derivations-queued"})
"""Words of the appliance for having too much to do."""
_DEFERRALS: Final = {
    "hours": "Nothing: it is signed when the opening hours of the policy begin.",
    "presence": "Somebody confirms at the appliance's panel; the hub asks again.",
    "authorisation": "The exchange's back end signs the withdrawals in this sweep:"
    " POST /v1/withdrawals/UUID/authorisation",
    "busy": NOTHING,
    "derivations-queued": NOTHING,
    "not-told": "Stop the old Hub, then at the appliance:"
    " `saltkeep-appliance import-interchange FILE`",
}
_WINDOWS: Final = (
    "Nothing: it is signed once the policy's window has moved on. To let more leave,"
    " operators put a new policy in force: `saltkeep-appliance policy apply`"
)
_POLICY: Final = (
    "Cancel it (POST /v1/withdrawals/{uuid}/cancel), or operators put a policy in force"
    " that allows it: `saltkeep-appliance policy show`, `policy sign`, `policy apply`."
    " The hub tries it again by itself."
)
_OTHER_REFUSAL: Final = (
    "Look at the sweep and at the appliance's journal: `saltkeep-appliance journal"
    " tail`. If the withdrawal is at fault, cancel it:"
    " POST /v1/withdrawals/{uuid}/cancel"
)


def deferral(word: str) -> str:
    """Return what to do about a sweep that was put off.

    Args:
        word: The appliance's.

    Returns:
        A sentence.
    """
    return _DEFERRALS.get(word, _WINDOWS if word.endswith("window") else NOTHING)


def refusal(word: str) -> str:
    """Return what to do about a refusal; has a place for the withdrawal's ``uuid``.

    Args:
        word: The appliance's.

    Returns:
        A sentence.
    """
    return _POLICY if word.startswith("policy-") else _OTHER_REFUSAL
