# SPDX-License-Identifier: Apache-2.0
"""The gateway's configuration: one strict TOML file."""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from appliance.errors import ConfigError

_Pin = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file; relative paths are meant from its folder."""

    listen: Annotated[
        str, Meta(description="HOST:PORT of the gRPC listener; port 0 picks a free one")
    ] = "127.0.0.1:50052"
    certificate: Annotated[str, Meta(description="PEM path of its certificate.")]
    key: Annotated[str, Meta(description="PEM path of its key, mode 0600.")]
    client_ca: Annotated[
        str, Meta(description="PEM path of the authority of client certificates.")
    ]
    clients: Annotated[
        list[_Pin],
        Meta(
            min_length=1,
            description="SHA-256 of the public key (SPKI) of each Hub that may call.",
        ),
    ]
    appliance: Annotated[
        str,
        Meta(description="Client file (url, ca, certificate...) of role legacy-hub."),
    ]
    head_file: Annotated[
        str, Meta(description="Where the highest head token seen is kept.")
    ]
    timeout_s: Annotated[
        float, Meta(gt=0, description="Deadline of one request, seconds.")
    ] = 60.0


def load_config(path: Path) -> Config:
    """Read and check the file.

    Args:
        path: The TOML file.

    Returns:
        The configuration, its paths made absolute.

    Raises:
        ConfigError: If it is missing, no TOML, or holds what it should not.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        config = msgspec.convert(raw, Config)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error
    base = path.resolve().parent
    names = ("certificate", "key", "client_ca", "appliance", "head_file")
    paths = {name: str(base / getattr(config, name)) for name in names}
    return msgspec.structs.replace(config, **paths)
