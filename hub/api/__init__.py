# SPDX-License-Identifier: Apache-2.0
"""What the hub serves to exchange back ends.

``legacy`` is the REST dialect of Hub 1.4.4: one POST route, commands by name,
answers that compare by bytes. Read ``ptree`` (its odd JSON), ``legacy_fields``
(how requests are read), ``legacy_errors`` (its strings), then the commands:
``legacy_money`` acts, ``legacy_history`` tells. ``legacy`` is the HTTP around them.
"""
