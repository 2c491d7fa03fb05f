# SPDX-License-Identifier: Apache-2.0
"""The whole of ``/v1``, asked by schemathesis what its document promises.

The real program, a real appliance, a devnet in a process of its own. Requests that fit
the document and requests that do not, the same ones in every run; each answer must be
one that the document names, in the shape it names.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from dataclasses import dataclass

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from hub.api.v1.app import whole_document
from hub.api_keys import Scope
from tests.flows.hub_process import HubProcess
from tests.flows.world import Appliance, free_port, hub_table
from tests.hub.devnet.process import devnet_process

EXAMPLES = 12
ENDLESS = {"stream-events"}
"""Goes on answering: tests/hub/api/v1/test_events.py has it."""
NOT_ASKED = {
    # 422 also says that a well-formed request can not be granted now.
    "positive_data_acceptance",
    # These compare several requests; one may have revoked what the other asks for.
    "use_after_free",
    "ensure_resource_availability",
    "object_level_authorization",
}
DOCUMENT = whole_document()
OPERATIONS = sorted(
    f"{method.upper()} {path}"
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if operation["operationId"] not in ENDLESS
)


@dataclass(frozen=True)
class Served:
    url: str
    key: str
    hub: HubProcess


@pytest.fixture(scope="module")
def served(
    shared_appliance: Appliance, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Served]:
    folder = tmp_path_factory.mktemp("contract")
    with devnet_process() as (_, node):
        table = hub_table(shared_appliance, [(node, "iri")], folder)
        port = free_port()
        (folder / "webhook.key").write_text("k" * 48)
        (folder / "webhook.key").chmod(0o600)
        table["api"]["v1"] = {
            "listen": f"127.0.0.1:{port}",
            "rate_per_s": 10_000.0,
            "burst": 100_000,
            "webhook_key_file": str(folder / "webhook.key"),
        }
        table["webhooks"] = {"interval_s": 3600.0}  # nothing leaves this machine
        hub = HubProcess(table, folder)
        key = make_key(hub)
        hub.start()
        try:
            served = Served(f"http://127.0.0.1:{port}", key, hub)
            open_user(served)
            yield served
        finally:
            assert hub.stop() == 0
    assert "Traceback" not in hub.log()


def make_key(hub: HubProcess) -> str:
    command = [sys.executable, "-m", "hub", "--config", str(hub.configuration)]
    command += ["api-key", "create", "contract"]
    for scope in Scope:
        command += ["--scope", scope.value]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def open_user(served: Served) -> None:
    request = urllib.request.Request(  # noqa: S310 - our own process
        f"{served.url}/v1/users",
        data=json.dumps({"user_id": "alice"}).encode(),
        headers={
            "Authorization": f"Bearer {served.key}",
            "Idempotency-Key": "alice",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request) as reply:  # noqa: S310 - our own process
        assert reply.status == 201


def modes_of(path: str, method: str) -> list[GenerationMode]:
    described = DOCUMENT["paths"][path][method.lower()]
    if described["parameters"] or "requestBody" in described:
        return [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    return [GenerationMode.POSITIVE]  # nothing about it could be wrong


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_one_that_the_document_promises(
    name: str, served: Served
) -> None:
    load_all_checks()
    checks = [check for check in CHECKS.get_all() if check.__name__ not in NOT_ASKED]
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url=served.url)
    method, path = name.split()
    operation = schema[path][method]
    headers = {"Authorization": f"Bearer {served.key}"}

    for mode in modes_of(path, method):
        strategy = operation.as_strategy(generation_mode=mode)

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=headers, checks=checks, timeout=30)

        ask()
