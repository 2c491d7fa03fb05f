# SPDX-License-Identifier: Apache-2.0
"""The files that a configuration names, by the setting that names them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from hub.config import Config


def secrets_of(config: Config) -> dict[str, Path]:
    """Return every file that nobody else may read."""
    api = config.api
    return _named(
        {
            "appliance.key": config.appliance.key,
            "appliance.key_file": config.appliance.key_file,
            "hub.database_password_file": config.hub.database_password_file,
            "api.legacy.api_key_file": api.legacy.api_key_file,
            "api.legacy.tls_key": api.legacy.tls_key,
            "api.legacy.token_key_file": api.legacy.token_key_file,
            "api.grpc.api_key_file": api.grpc.api_key_file,
            "api.grpc.tls_key": api.grpc.tls_key,
            "api.v1.tls_key": api.v1.tls_key,
            "api.v1.webhook_key_file": api.v1.webhook_key_file,
            "metrics.tls_key": config.metrics.tls_key,
            "dashboard.tls_key": config.dashboard.tls_key,
            "tracing.tls_key": config.tracing.tls_key,
            "tracing.token_file": config.tracing.token_file,
            "reconciler.auditor_key": config.reconciler.auditor_key,
        }
    )


def certificates_of(config: Config) -> dict[str, Path]:
    """Return every file of certificates, which end one day."""
    api = config.api
    others = config.appliance.others
    return _named(
        {
            "appliance.ca": config.appliance.ca,
            "appliance.certificate": config.appliance.certificate,
            "hub.database_ca": config.hub.database_ca,
            "api.legacy.tls_certificate": api.legacy.tls_certificate,
            "api.legacy.client_ca": api.legacy.client_ca,
            "api.grpc.tls_certificate": api.grpc.tls_certificate,
            "api.grpc.client_ca": api.grpc.client_ca,
            "api.v1.tls_certificate": api.v1.tls_certificate,
            "api.v1.client_ca": api.v1.client_ca,
            "metrics.tls_certificate": config.metrics.tls_certificate,
            "metrics.client_ca": config.metrics.client_ca,
            "dashboard.tls_certificate": config.dashboard.tls_certificate,
            "dashboard.client_ca": config.dashboard.client_ca,
            "tracing.ca": config.tracing.ca,
            "tracing.tls_certificate": config.tracing.tls_certificate,
            "reconciler.auditor_certificate": config.reconciler.auditor_certificate,
            **{f"appliance.others.{n}.ca": one.ca for n, one in enumerate(others)},
        }
    )


def expiry_s(path: Path) -> float:
    """Return when the first certificate of a PEM file to end ends.

    Args:
        path: The file.

    Returns:
        Seconds since 1970; 0 if it can not be read.
    """
    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return 0.0
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return min((one.not_valid_after_utc - epoch).total_seconds() for one in chain)


def _named(files: Mapping[str, Path | None]) -> dict[str, Path]:
    return {setting: path for setting, path in files.items() if path is not None}
