# SPDX-License-Identifier: Apache-2.0
"""``/v1``: the API for new exchange back ends, in JSON with an OpenAPI document.

Read ``operations`` (what one operation is), then ``serving`` (the one path around
all of them: ``gate``, ``reading``, effect, reply), then the operations by noun:
``accounts``, ``payments``, ``history``, ``stream``, ``keys``, ``endpoints``,
``condition``. ``bodies`` and ``resources`` are the shapes; ``openapi`` writes the
document from them; ``problems`` is the one table of errors; ``app`` puts it together.

Two ideas shape it. An operation is data, so that route, check and document can not
drift apart. And whatever changes something is split into a look and an effect, so
that the effect shares its transaction with the idempotency key that guards it.
"""
