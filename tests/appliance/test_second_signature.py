# SPDX-License-Identifier: Apache-2.0
"""The door for second signatures: two operators, a mined bundle, once."""

import json
import sqlite3

import pytest

from appliance.wire import (
    Fault,
    FetchBundle,
    Fetched,
    PendingActs,
    ProposeAct,
    Signed,
)
from tests.appliance.box import Box
from tests.appliance.bundles import bundle
from tests.appliance.door import OPEN, mined, put_policy, second, spent_coin
from trinary.winternitz import verify


async def test_two_operators_let_a_spent_key_sign_a_mined_bundle(box: Box) -> None:
    await put_policy(box, 2, OPEN)
    coin, first = await spent_coin(box)
    request = await mined(box, bundle([coin]))
    ask = ProposeAct(request_id="p", act=second(request))
    proposed = await box.expect(ask, PendingActs, name="hub")
    shown = "\n".join(proposed.acts[0].shown)
    print(shown)
    assert (await box.approve(proposed, 1)).missing == 1
    assert (await box.approve(proposed, 2)).missing == 0
    fetch = FetchBundle(request_id="f", bundle_hash=request.bundle_hash)
    fetched = await box.expect(fetch, Fetched)
    assert verify(
        address=coin.address,
        fragments=fetched.signatures[0].fragments,
        bundle_hash=request.bundle_hash,
    )
    again = await box.expect(request, Signed)
    assert again.signatures == fetched.signatures
    await box.expect(first, Signed)
