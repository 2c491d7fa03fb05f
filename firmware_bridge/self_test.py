# SPDX-License-Identifier: Apache-2.0
"""What a device finds when it tests itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestReport:
    """The result of each test; True is good.

    Attributes:
        sha256: A known answer of its hash.
        hmac: A known answer of its MAC.
        framing: A frame survives its own codec.
        memory: Its stored state reads back.
        random: Its generator is not stuck.
        loops_closed: The tamper loops are closed.
    """

    sha256: bool
    hmac: bool
    framing: bool
    memory: bool
    random: bool
    loops_closed: bool

    @property
    def passed(self) -> bool:
        """Whether everything is good."""
        return all(
            (
                self.sha256,
                self.hmac,
                self.framing,
                self.memory,
                self.random,
                self.loops_closed,
            )
        )
