# SPDX-License-Identifier: Apache-2.0
"""Parts of ``saltkeep-appliance``'s command line.

``options``: what stands before a command, and how commands fail; ``journal``: what
auditors ask; ``custody``: ceremonies on a running appliance. ``appliance.__main__``
puts them together.
"""
