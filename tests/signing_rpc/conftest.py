# SPDX-License-Identifier: Apache-2.0
"""An appliance with a blind generation, a gateway before it, and an old Hub's stub."""

from tests.appliance.conftest import (  # noqa: F401 - fixtures
    box,
    configure,
    folder,
    process,
    template,
)
