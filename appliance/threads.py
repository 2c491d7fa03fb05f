# SPDX-License-Identifier: Apache-2.0
"""One thread that owns one blocking thing (the journal, the HSM)."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class OwnerThread:
    """Runs blocking calls one after another, away from the event loop.

    Args:
        name: Of the thread, for debuggers.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def __call__(
        self,
        work: Callable[_Arguments, _Result],
        *arguments: _Arguments.args,
        **keywords: _Arguments.kwargs,
    ) -> _Result:
        """Run ``work`` in the thread; its exceptions are raised here."""
        call = functools.partial(work, *arguments, **keywords)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Wait for the call under way and end the thread."""
        self._executor.shutdown()
