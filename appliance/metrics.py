# SPDX-License-Identifier: Apache-2.0
"""``/metrics``, ``/healthz`` and ``/readyz`` on the loopback, for a monitor beside it.

Off unless configured, and never off the loopback: there are no certificates here. It
tells numbers and states, takes no input but a path, and touches no key. A scrape reads
what the appliance remembers, and asks neither HSM nor journal.
"""

import os
from collections.abc import Iterator
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from appliance.errors import ConfigError
from appliance.instruments import REGISTRY
from appliance.lifecycle import Lifecycle
from appliance.reception import Reception

_NAME: Final = "saltkeep_appliance_"
_STATES: Final = ("ready", "unready", "starting", "sealed")


class Metrics:
    """Answers the three paths.

    Args:
        reception: Whose appliance it is, and who counts strangers.
    """

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    @property
    def _life(self) -> Lifecycle:
        return self._reception.appliance.life

    def application(self) -> web.Application:
        """Build the web application."""
        application = web.Application(client_max_size=0)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        return application

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "serving"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready = self._can_sign()
        state = self._life.state
        return web.json_response({"status": state}, status=200 if ready else 503)

    def _can_sign(self) -> bool:
        running = self._life.running
        return (
            self._life.state == "ready"
            and running is not None
            and running.heads.anchored
            and not running.heads.recovering
            and self._life.panel_missing(running) is None
        )

    async def _metrics(self, _request: web.Request) -> web.Response:
        registry = CollectorRegistry()
        for gauge in self._now():
            registry.register(gauge)
        text = generate_latest(REGISTRY) + generate_latest(registry)
        return web.Response(
            body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    def _now(self) -> Iterator[Gauge]:
        life = self._life
        state = _gauge("state", "1 for the state it is in.", "state")
        for one in _STATES:
            state.labels(one).set(one == life.state)
        yield state
        for name, what, value in self._values():
            gauge = _gauge(name, what)
            gauge.set(value)
            yield gauge

    def _values(self) -> Iterator[tuple[str, str, float]]:
        life, strangers = self._life, self._reception.strangers_count
        yield "can_sign", "Whether a bundle would be signed now.", self._can_sign()
        yield "strangers", "Knocks that were turned away since the start.", strangers
        yield "in_flight", "Requests being worked on.", life.in_flight
        yield "disk_free_bytes", "Of the state folder.", self._free_bytes()
        if life.config.listen.transport == "tls":
            ends_s = life.tls.certificate.not_valid_after_utc.timestamp()
            name = "certificate_expiry_timestamp_seconds"
            yield name, "When the listener's certificate ends.", ends_s
        running = life.running
        if running is not None:
            waiting, threads = running.derivation.waiting, running.derivation.workers
            yield "derivations_waiting", "Argon2 runs in line.", waiting
            yield "derivation_threads", "Argon2 runs at once.", threads
            rows = running.journal.head.sequence
            yield "journal_rows", "Rows of the journal.", rows

    def _free_bytes(self) -> int:
        found = os.statvfs(self._life.paths.folder)
        return found.f_bavail * found.f_frsize


async def serve_metrics(reception: Reception) -> web.AppRunner | None:
    """Listen where [metrics] says, if it does.

    Args:
        reception: Of the appliance.

    Returns:
        What listens, to be cleaned up; None if nothing does.

    Raises:
        ConfigError: If the address can not be had.
    """
    place = reception.config.metrics
    if not place.port:
        return None
    runner = web.AppRunner(Metrics(reception).application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, place.host, place.port).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"[metrics] {error.strerror or error}") from error
    return runner


def _gauge(name: str, what: str, *labels: str) -> Gauge:
    return Gauge(_NAME + name, what, labels, registry=None)
