# SPDX-License-Identifier: Apache-2.0
"""What the hub serves to exchange back ends.

The nineteen commands of Hub 1.4.4 in its two dialects. Read ``legacy_fields`` (how
requests are read), ``legacy_errors`` (its strings), then the commands: ``legacy_money``
acts, ``legacy_history`` tells (line by line in ``legacy_lines``), ``legacy_guarded``
asks the appliance's operators; ``legacy_commands`` is their table. Around it stand
``legacy`` (HTTP, with the odd JSON of ``ptree``) and ``grpc_server`` (``hub.proto``,
with ``grpc_messages`` and ``grpc_errors``). ``hub_pb2`` is made from the proto by
``scripts/generate-protos``.
"""
