# SPDX-License-Identifier: Apache-2.0
"""What carries requests to the appliance: the network, or a serial line."""

from dataclasses import replace

from channel import ChannelFiles
from channel.https import HttpsCarrier
from firmware_bridge.transport.carrier import SerialCarrier
from firmware_bridge.transport.wire_pump import LinePlace
from hub.config import ApplianceSection, Config
from hub.signer import REQUEST_PATH, Carrier


def carrier_of(section: ApplianceSection) -> Carrier:
    """Return what carries the hub's requests.

    Args:
        section: A checked section.

    Returns:
        A carrier, not open yet.
    """
    if section.transport == "serial":
        assert section.device is not None
        assert section.key_file is not None
        place = LinePlace(str(section.device), section.baud)
        return SerialCarrier(place, section.key_file, timeout_s=section.timeout_s)
    assert section.ca is not None
    assert section.certificate is not None
    assert section.key is not None
    files = ChannelFiles(
        section.ca,
        section.certificate,
        section.key,
        section.server_spki_sha256,
        section.next_server_spki_sha256,
    )
    return HttpsCarrier(
        section.url, files, path=REQUEST_PATH, timeout_s=section.timeout_s
    )


def auditor_section(config: Config) -> ApplianceSection | None:
    """Return the way there as an auditor.

    Args:
        config: A checked configuration.

    Returns:
        The section with the auditor's files in place of the hub's; None if the hub has
        none.
    """
    auditor = config.reconciler
    if auditor.auditor_key is None:
        return None
    if config.appliance.transport == "serial":
        return replace(config.appliance, key_file=auditor.auditor_key)
    return replace(
        config.appliance,
        certificate=auditor.auditor_certificate,
        key=auditor.auditor_key,
    )
