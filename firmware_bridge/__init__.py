# SPDX-License-Identifier: Apache-2.0
"""A panel that can stop the money, and engines that do the work, on serial lines."""
