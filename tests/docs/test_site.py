# SPDX-License-Identifier: Apache-2.0
"""The site is built without a warning, and no link of ours leads nowhere."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.timeout(180)  # three of its pages ask programs for their help
FRONT = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-n"]
    done = subprocess.run(
        [*build, "-b", "html", str(DOCS), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    built = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert pages <= built


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    lost = []
    for page in site.rglob("*.html"):
        html = page.read_text()
        for target in re.findall(r'href="([^"]+)"', html):
            where = urlparse(target)
            if where.scheme or where.netloc or not (where.path or where.fragment):
                continue
            file = (page.parent / where.path) if where.path else page
            if file.is_dir():
                file /= "index.html"
            if not file.exists():
                lost.append(f"{page.relative_to(site)}: {target}")
            elif where.fragment and file.suffix == ".html":
                found = html if file == page else file.read_text()
                if f'id="{where.fragment}"' not in found:
                    lost.append(f"{page.relative_to(site)}: {target}")
    assert not lost, "\n".join(lost)


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert not loaded, page


@pytest.mark.parametrize("name", FRONT)
def test_a_link_from_the_front_leads_somewhere(name: str) -> None:
    for target in _LINK.findall((ROOT / name).read_text()):
        where = urlparse(target)
        if not where.scheme:
            assert (ROOT / where.path).exists(), target
