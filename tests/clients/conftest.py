# SPDX-License-Identifier: Apache-2.0
"""Imports PyOTA, whose dependencies warn about themselves when imported."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import iota  # noqa: F401 - so that the tests may import it without a warning
