# SPDX-License-Identifier: Apache-2.0
"""A listener whose key may do everything."""

from collections.abc import AsyncGenerator

import pytest

from hub.store import Store
from tests.hub.api.v1.serving import V1, running_v1
from tests.hub.bookkeeping import ManualClock


@pytest.fixture
async def v1(store: Store, clock: ManualClock) -> AsyncGenerator[V1]:
    async with running_v1(store, clock) as opened:
        yield opened
