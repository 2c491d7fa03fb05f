# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven by chromedriver's own protocol: no library between.

Source: W3C WebDriver, https://www.w3.org/TR/webdriver2/; ``goog/cdp/execute`` and
``se/log`` are chromedriver's.
"""

import asyncio
import base64
import contextlib
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    "--headless",
    "--no-sandbox",  # CI is root in a container
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = "axe-core@4.14.1"
AXE_SHA512 = (
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASy"
    "FNNtuFooJpZe37OgudVGtQ=="
)
"""Source: the registry's own ``dist.integrity`` of that version."""
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Source: WebDriver, 12.1, the web element identifier."""
_WAIT_S = 10.0


@dataclass
class Browser:
    """One window."""

    session: aiohttp.ClientSession
    url: str

    async def ask(self, method: str, path: str, **body: object) -> Any:  # noqa: ANN401 - JSON
        sent = {"json": body} if method == "POST" else {}
        async with self.session.request(method, self.url + path, **sent) as reply:  # type: ignore[arg-type]
            value = (await reply.json(content_type=None))["value"]
        assert reply.status == 200, value
        return value

    async def open(self, url: str) -> None:
        await self.ask("POST", "/url", url=url)

    async def where(self) -> str:
        found: str = await self.ask("GET", "/url")
        return found

    async def find(self, css: str) -> str:
        """Wait for an element."""
        deadline_s = asyncio.get_running_loop().time() + _WAIT_S
        while True:
            found = await self.ask("POST", "/elements", using="css selector", value=css)
            if found:
                return str(found[0][_ELEMENT])
            assert asyncio.get_running_loop().time() < deadline_s, css
            await asyncio.sleep(0.05)

    async def click(self, css: str) -> None:
        await self.ask("POST", f"/element/{await self.find(css)}/click")

    async def type(self, css: str, text: str) -> None:
        await self.ask("POST", f"/element/{await self.find(css)}/value", text=text)

    async def text(self, css: str = "body") -> str:
        found: str = await self.ask("GET", f"/element/{await self.find(css)}/text")
        return found

    async def cdp(self, command: str, **params: object) -> Any:  # noqa: ANN401 - JSON
        return await self.ask("POST", "/goog/cdp/execute", cmd=command, params=params)

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - JSON
        """Run a script the page's own policy has no say in."""
        found = await self.cdp(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def complaints(self) -> list[str]:
        """Return what the console has said since it was last asked, at any level."""
        entries = await self.ask("POST", "/se/log", type="browser")
        return [one["message"] for one in entries]

    async def dress(self, *, dark: bool, width: int) -> None:
        """Choose the colour scheme and the width."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        await self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    async def picture(self, file: Path) -> None:
        """Keep the whole page as a PNG."""
        shot = await self.cdp("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    async def log_in(self, url: str, name: str, password: str) -> None:
        await self.open(url + "/login")
        await self.type("#name", name)
        await self.type("#password", password)
        await self.click("main form button")
        await self.find("form[action='/logout']")


@asynccontextmanager
async def running_browser() -> AsyncGenerator[Browser]:
    """Start chromedriver and one window, with a profile of its own."""
    driver = shutil.which("chromedriver")
    assert driver, "chromium-driver is missing: scripts/bootstrap test"
    with tempfile.TemporaryDirectory() as profile:
        process = await asyncio.create_subprocess_exec(
            driver, "--port=0", stdout=PIPE, stderr=DEVNULL
        )
        try:
            assert process.stdout is not None
            line = b""
            while b"started successfully on port" not in line:
                line = await process.stdout.readline()
                assert line, "chromedriver has ended"
            port = int(line.decode().rstrip().rstrip(".").split()[-1])
            async with aiohttp.ClientSession() as session:
                root = Browser(session, f"http://127.0.0.1:{port}")
                made = await root.ask("POST", "/session", capabilities=_wish(profile))
                browser = Browser(session, f"{root.url}/session/{made['sessionId']}")
                try:
                    yield browser
                finally:
                    await browser.ask("DELETE", "")
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.communicate()


def _wish(profile: str) -> dict[str, object]:
    options = {"args": [*FLAGS, f"--user-data-dir={profile}"]}
    wanted = {
        "browserName": "chrome",
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"browser": "ALL"},
    }
    return {"alwaysMatch": wanted}


def fetch_axe(folder: Path) -> str:
    """Return axe-core's script, as npm has it; never kept in the repository."""
    done = subprocess.run(
        ["npm", "pack", "--silent", AXE], cwd=folder, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    packed = next(folder.glob("axe-core-*.tgz")).read_bytes()
    digest = base64.b64encode(hashlib.sha512(packed).digest()).decode()
    assert digest == AXE_SHA512, "this is not the axe-core that was looked at"
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()
