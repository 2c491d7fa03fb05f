# SPDX-License-Identifier: Apache-2.0
"""The old signing server's gRPC, in front of an appliance: a process of its own.

An existing Hub in signing mode ``remote`` is pointed here instead of at its signing
server. The gateway holds no key and decides nothing: it turns each call into a
request of role ``legacy-hub`` over the appliance's own channel. What the appliance
serves that role is told in ``appliance.blind``.

Read ``signing.proto`` (names and numbers as the old Hub speaks them), ``gateway``
(the four calls), ``config``. ``signing_pb2`` is made from the proto by
``scripts/generate-protos``.
"""
