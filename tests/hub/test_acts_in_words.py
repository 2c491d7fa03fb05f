# SPDX-License-Identifier: Apache-2.0
"""What a page says of an act: enough to know it again, and no seed UUID."""

from appliance.wire import ExportSeed, RunCeremony, commitment_of
from hub.signer import _in_words

UUID = "A" * 64


def test_a_seed_uuid_is_named_by_its_commitment() -> None:
    act = ExportSeed(request_id="", seed_uuid=UUID, generation=1, officer="ana")
    said = _in_words(act)
    assert UUID not in said
    assert commitment_of(UUID) in said


def test_a_whole_file_is_shown_by_its_beginning() -> None:
    act = RunCeremony(
        request_id="", ceremony="import-interchange", subject="x" * 400_000
    )
    said = _in_words(act)
    assert said.startswith("run-ceremony ceremony import-interchange")
    assert len(said) < 1000
