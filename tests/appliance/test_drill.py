# SPDX-License-Identifier: Apache-2.0
"""A drill brings a backup onto a scratch token, and nothing it writes could sign."""

import shutil
from pathlib import Path

import pytest

from appliance.backup import OpenedBackup, make_backup, make_backup_key, open_backup
from appliance.drill import drill
from appliance.errors import BrokenInvariantError, HsmError, VaultError
from appliance.installation import Paths
from appliance.softhsm import scratch_hsm
from appliance.vault import Vault
from appliance.wire import RunCeremony, Signed
from tests.appliance.box import Box
from tests.appliance.bundles import bundle


@pytest.fixture
async def opened(box: Box) -> OpenedBackup:
    """A backup of an appliance that issued and signed, opened with its key."""
    await box.expect(bundle([await box.coin()]), Signed)
    private, public = make_backup_key(allow_unlocked=True)
    act = RunCeremony(request_id="", ceremony="set-backup-key", subject=public.hex())
    proposed = await box.propose(act)
    await box.approve(proposed, 1)
    await box.approve(proposed, 2)
    running = box.appliance.life.require_running()
    rows = await box.rows()
    data = make_backup(running.vault, rows, epoch=1, now_ms=running.journal.now_ms())
    pem = (box.folder / "identity.pem").read_bytes()
    with private:
        return open_backup(data, private, identity_pem=pem, allow_unlocked=True)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir(mode=0o700)
    return folder


def test_it_derives_each_canary_and_imports_the_journal(
    opened: OpenedBackup, scratch: Path
) -> None:
    with scratch_hsm(scratch) as hsm:
        lines = drill(Paths(scratch), hsm, opened, allow_unlocked=True)
    assert len(lines) == 2
    assert "generation 1: canary" in lines[0]
    assert "5 rows" in lines[1]


def test_what_it_leaves_opens_no_salt_and_its_keys_are_gone(
    opened: OpenedBackup, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scratch_hsm(scratch) as hsm:
        kept: list[Vault] = []
        destroyed: list[str] = []
        real = hsm.destroy_key

        def destroy(*, label: str) -> None:
            if not destroyed:  # the last moment at which the vault can be opened
                vault = Vault(scratch / "vault.json", hsm=hsm, allow_unlocked=True)
                with pytest.raises((VaultError, HsmError)):
                    vault.open_salt(1)
                with pytest.raises((VaultError, HsmError)):
                    vault.open_head_key()
                kept.append(vault)
            destroyed.append(label)
            real(label=label)

        monkeypatch.setattr(hsm, "destroy_key", destroy)
        drill(Paths(scratch), hsm, opened, allow_unlocked=True)
        assert kept
        assert len(destroyed) == 3
        with pytest.raises(HsmError, match="found 0"):
            Vault(scratch / "vault.json", hsm=hsm, allow_unlocked=True)


def test_a_wrong_salt_or_a_wrong_row_fails_it(
    opened: OpenedBackup, scratch: Path
) -> None:
    opened.salts[1].view[0] ^= 1
    with scratch_hsm(scratch) as hsm:
        with pytest.raises(VaultError, match="derives to another address"):
            drill(Paths(scratch), hsm, opened, allow_unlocked=True)
        opened.salts[1].view[0] ^= 1
        for name in ("vault.json", "journal.db"):
            (scratch / name).unlink(missing_ok=True)
        short = OpenedBackup(
            opened.header, opened.rows[1:], opened.head_key, opened.salts
        )
        with pytest.raises(BrokenInvariantError):
            drill(Paths(scratch), hsm, short, allow_unlocked=True)


async def test_a_drill_s_vault_never_becomes_an_appliance(
    box: Box, opened: OpenedBackup, scratch: Path
) -> None:
    """Even with its keys still there, on the appliance's own token."""
    await box.close()
    state = box.folder / "state"
    hsm = Box(box.folder).appliance.life.hsm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hsm, "destroy_key", lambda **_: None)
        drill(Paths(scratch), hsm, opened, allow_unlocked=True)
    hsm.close()
    shutil.copy(scratch / "vault.json", state / "vault.json")
    again = Box(box.folder)
    assert not await again.appliance.check()
    assert again.appliance.life.state == "unready"
    await again.close()
