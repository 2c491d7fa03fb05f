# SPDX-License-Identifier: Apache-2.0
"""Tell the story: a deposit arrives, is swept, a withdrawal is paid.

``python -m demo`` leaves the three processes running; ``python -m demo --once``
stops them and exits 0 only if every balance is right.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from demo.processes import (
    MIN_WEIGHT_MAGNITUDE,
    NETWORK,
    DemoError,
    Processes,
    node_command,
)
from demo.rest import Hub, HubError
from demo.wallet import Wallet

SUPPLY_I = 2_779_530_283_277_761
DEPOSITS_I = {"alice": 1_500_000, "bob": 900_000}
PAYOUT_I = 400_000
_PATIENCE_S = 120.0
_POLL_S = 0.5

_PIPED_WIDTH = 120

console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)


class Story:
    """The steps of the demonstration, in order.

    Args:
        processes: Appliance, devnet and hub.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._wallet = Wallet(min_weight_magnitude=MIN_WEIGHT_MAGNITUDE)
        self._outside = Wallet(min_weight_magnitude=MIN_WEIGHT_MAGNITUDE)
        self._hub = Hub(processes.hub_url)
        self._step = 0
        self._start_s = time.monotonic()

    def play(self) -> None:
        """Play every step; raises ``DemoError`` where one goes wrong."""
        self._begin()
        addresses = self._make_users()
        self._pay_in(addresses)
        self._show_sweep("deposits")
        payout_address = self._withdraw()
        self._show_sweep("withdrawal")
        self._check_balances(payout_address)
        self._show_history()
        self._show_journal()

    def _say(self, title: str, text: str = "") -> None:
        self._step += 1
        elapsed_s = time.monotonic() - self._start_s
        console.print(
            f"\n[bold cyan]{self._step:2}. {title}[/]  [dim]{elapsed_s:.1f} s[/]"
        )
        if text:
            console.print(f"    {text}")

    def _begin(self) -> None:
        self._say(
            "Making the appliance",
            "a SoftHSM2 token with KEK, MAC key and identity key; a random salt in a"
            " vault under them; a private CA with certificates for hub and operators",
        )
        made = self._processes.make_appliance()
        console.print(f"    journal id    {made['journal_id']}")
        console.print(
            f"    identity key  {made['identity_key_id']}  (pinned in the hub)"
        )
        self._say(
            "Starting the appliance",
            "sealed until HSM, vault, journal and canary have been checked",
        )
        self._processes.start_appliance()
        self._say(
            "Starting the devnet",
            f"a legacy node with a coordinator; minimum weight magnitude"
            f" {MIN_WEIGHT_MAGNITUDE}; all funds with an independent PyOTA wallet",
        )
        self._processes.start_devnet(self._wallet.address())
        self._wallet.receive(SUPPLY_I)
        self._say(
            "Starting the hub",
            "it has a database, a node and a client certificate, and no key at all",
        )
        self._processes.start_hub()

    def _make_users(self) -> dict[str, str]:
        self._say(
            "Two users, a deposit address each",
            "every address from a seed of its own: two Argon2 runs of 128 MiB in the"
            " appliance must agree before it leaves, with a signed receipt",
        )
        addresses = {}
        for user in DEPOSITS_I:
            self._hub.ask("CreateUser", userId=user)
            start_s = time.monotonic()
            reply = self._hub.ask("GetDepositAddress", userId=user)
            addresses[user] = reply["address"]
            took_ms = (time.monotonic() - start_s) * 1000
            console.print(f"    {user:5} {addresses[user]}  [dim]{took_ms:.0f} ms[/]")
            self._show_receipt(addresses[user])
        return addresses

    def _show_receipt(self, address: str) -> None:
        """Check a receipt as a front end would: with the key printed by `init`."""
        receipt = self._processes.hub_command("receipt", address).strip()
        said = self._processes.appliance_command(
            "verify-receipt",
            receipt,
            "--identity",
            str(self._processes.folder / "appliance" / "identity.pem"),
            "--address",
            address,
        )
        lines = [line.split(maxsplit=1) for line in said.splitlines()]
        claims = {line[0]: line[1] for line in lines if len(line) > 1}
        console.print(
            f"          [green]✓[/] its receipt is of the identity key: network"
            f" {claims['network']}, generation {claims['generation']}, level"
            f" {claims['security_level']}"
        )

    def _pay_in(self, addresses: dict[str, str]) -> None:
        self._say(
            "The wallet pays both users",
            "PyOTA builds, hashes and signs; the node does the proof of work",
        )
        amounts_i = {addresses[user]: i for user, i in DEPOSITS_I.items()}
        tail = self._wallet.send(self._processes.node_url, amounts_i)
        console.print(f"    bundle sent, tail {tail}")
        for user, amount_i in DEPOSITS_I.items():
            self._await(
                f"{user}'s deposit of {amount_i} i credited",
                lambda user=user, i=amount_i: self._available(user) == i,
            )

    def _withdraw(self) -> str:
        payout_address = self._outside.address()
        self._say(
            "Alice withdraws",
            f"{PAYOUT_I} i to an outside address {payout_address}",
        )
        reply = self._hub.ask(
            "UserWithdraw",
            userId="alice",
            amount=str(PAYOUT_I),
            payoutAddress=payout_address,
            tag="SALTKEEPDEMO",
        )
        console.print(f"    withdrawal {reply['uuid']}")
        self._await(
            "the withdrawal confirmed on the Tangle",
            lambda: self._on_tangle(payout_address) == PAYOUT_I,
        )
        return payout_address

    def _show_sweep(self, what: str) -> None:
        self._await("its sweep confirmed", self._all_confirmed)
        sweep = self._sweeps()[-1]
        detail = self._hub.ask("SweepDetail", bundleHash=sweep["bundleHash"])
        trytes = detail["trytes"]
        count = len(trytes) if isinstance(trytes, list) else 1
        self._say(
            f"The sweep of the {what}",
            "planned and stored, sent whole to the appliance, understood, journalled,"
            " signed; then attached with real proof of work and confirmed",
        )
        console.print(f"    bundle {sweep['bundleHash']}")
        console.print(f"    {count} transactions, tail {_first(detail['tailHash'])}")

    def _check_balances(self, payout_address: str) -> None:
        self._say("Balances")
        expected_i = dict(DEPOSITS_I)
        expected_i["alice"] -= PAYOUT_I
        found_i = {user: self._available(user) for user in DEPOSITS_I}
        rows = [(f"{u} at the hub", found_i[u], expected_i[u]) for u in DEPOSITS_I]
        rows.append(("outside address", self._on_tangle(payout_address), PAYOUT_I))
        total = int(self._hub.ask("GetStats")["totalBalance"])
        rows.append(("all users", total, sum(expected_i.values())))
        table = Table("what", "found / i", "expected / i", "")
        for what, found, expected in rows:
            mark = "[green]✓[/]" if found == expected else "[red]✗[/]"
            table.add_row(what, f"{found:,}", f"{expected:,}", mark)
        console.print(table)
        wrong = [what for what, found, expected in rows if found != expected]
        if wrong:
            raise DemoError(f"wrong balances: {', '.join(wrong)}")

    def _show_history(self) -> None:
        self._say("Alice's history, as the old Hub's clients read it")
        reply = self._hub.ask("GetUserHistory", userId="alice")
        table = Table("time / ms", "reason", "amount / i", "sweep or withdrawal")
        for event in reply.values():
            about = event.get("sweepBundleHash") or event.get("withdrawalUUID", "")
            table.add_row(
                event["timestamp"], event["reason"], event["amount"], about[:36]
            )
        console.print(table)

    def _show_journal(self) -> None:
        self._say(
            "The appliance's journal",
            "each one-time key written down as spent, synced to disk, before it signed",
        )
        rows = self._processes.appliance_command("journal", "tail", width=console.width)
        console.print(rows, end="", soft_wrap=True)
        verdict = self._processes.appliance_command("journal", "verify").strip()
        console.print(f"    [green]✓[/] {verdict}", soft_wrap=True)

    # --- questions ----------------------------------------------------------------

    def _available(self, user: str) -> int:
        return int(self._hub.ask("GetBalance", userId=user)["available"])

    def _on_tangle(self, address: str) -> int:
        reply = node_command(
            self._processes.node_url, "getBalances", addresses=[address]
        )
        balances: Any = reply["balances"]
        return int(balances[0])

    def _sweeps(self) -> list[dict[str, Any]]:
        reply = self._hub.ask("SweepSubscription", newerThan="0")
        return [event for name, event in reply.items() if name.startswith("event")]

    def _all_confirmed(self) -> bool:
        sweeps = self._sweeps()
        return bool(sweeps) and all(
            self._hub.ask("SweepDetail", bundleHash=sweep["bundleHash"])["confirmed"]
            == "true"
            for sweep in sweeps
        )

    def _await(self, what: str, done: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        start_s = time.monotonic()
        with console.status(f"    waiting: {what}"):
            while not done():
                if time.monotonic() > deadline_s:
                    raise DemoError(
                        f"not within {_PATIENCE_S} s: {what}; the logs lie in"
                        f" {self._processes.folder}"
                    )
                time.sleep(_POLL_S)
        took_s = time.monotonic() - start_s
        console.print(f"    [green]✓[/] {what}  [dim]{took_s:.1f} s[/]")


def _first(value: Any) -> str:  # noqa: ANN401 - one or many, as the dialect has it
    return str(value[0] if isinstance(value, list) else value)


def _show_way_on(processes: Processes) -> None:
    console.print("\n[bold]Still running[/] (stopped by the next `make demo`):")
    console.print(f"    hub        {processes.hub_url}   legacy REST API")
    console.print(f"    dashboard  {processes.dashboard_url}   after the command below")
    console.print(f"    devnet     {processes.node_url}   {NETWORK}")
    appliance_url = f"https://127.0.0.1:{processes.ports.appliance}"
    console.print(f"    appliance  {appliance_url}   mutual TLS only")
    console.print(f"    files      {processes.folder}", soft_wrap=True)
    console.print("\nTry:")
    config = f"--config {processes.hub_config}"
    command = f"{sys.executable} -m hub {config} operator add ana --role admin"
    console.print(f"    {command}", soft_wrap=True, markup=False)
    tls = processes.folder / "appliance" / "tls"
    status = (
        f"--cacert {tls}/ca.pem --cert {tls}/auditor.pem --key {tls}/auditor.key"
        f""" {appliance_url}/v1/request -d '{{"kind": "status", "request_id": "1"}}'"""
    )
    for rest in (
        f"""{processes.hub_url} -d '{{"command": "GetBalance", "userId": "bob"}}'""",
        f"""{processes.hub_url} -d '{{"command": "BalanceSubscription"}}'""",
        status,
    ):
        console.print(f"    curl -s -X POST {rest}", soft_wrap=True, markup=False)


def main() -> int:
    """Play the story.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop at the end")
    parser.add_argument(
        "--folder", type=Path, default=Path("demo-state"), help="where files go"
    )
    options = parser.parse_args()
    try:
        processes = Processes(options.folder.resolve())
    except DemoError as error:
        console.print(f"[red]✗ {error}[/]")
        return 1
    keep = False
    try:
        Story(processes).play()
        keep = not options.once
    except (DemoError, HubError, OSError) as error:
        console.print(f"\n[red]✗ {error}[/]\n  logs and files: {processes.folder}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if not keep:
            processes.stop()
    if keep:
        _show_way_on(processes)
    else:
        console.print("\n[green]✓ every balance is right; all three stopped[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
