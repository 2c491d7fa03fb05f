# SPDX-License-Identifier: Apache-2.0
"""What every source file owes: a licence line, and nothing of this machine."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPDX = "SPDX-License-Identifier: Apache-2.0"
SOURCES = {".py", ".c", ".h", ".pyi", ".js", ".mjs", ".sh", ".toml", ".proto"}
EXEMPT = ("third_party/", "tests/vectors/", "requirements/")
TRUSTED = (
    "appliance",
    "channel",
    "failpoints",
    "firmware_bridge",
    "hsm_profiles",
    "trinary",
)
MACHINE = re.compile(
    r"(?<![\w.])/(work|root|home)/(?!\w*\{)[a-z]|pypi\.org/simple|--(extra-)?index-url"
    r"|files\.pythonhosted|registry\.npmjs"
)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_every_source_file_begins_with_its_licence() -> None:
    missing = [
        name_of(path)
        for path in tracked()
        if path.suffix in SOURCES
        and not name_of(path).startswith(EXEMPT)
        and SPDX not in path.read_text().partition("\n")[0]
    ]
    assert not missing


def test_no_file_names_this_machine_or_an_index() -> None:
    found = []
    for path in tracked():
        if path == Path(__file__) or path.suffix in {".png", ".svg", ".gz"}:
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{name_of(path)}: {hit[0]}" for hit in MACHINE.finditer(text)]
    assert not found


@pytest.mark.parametrize("package", TRUSTED)
def test_the_trusted_packages_import_neither_hub_nor_pyota(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        tops = {name.partition(".")[0] for name in imported(path)}
        assert not tops & {"hub", "iota", "httpx", "grpc"}, path


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_the_path_to_a_signature_fits_on_one_screen() -> None:
    tree = ast.parse((ROOT / "appliance" / "signing.py").read_text())
    (sign,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "sign"
    ]
    assert sign.end_lineno
    assert sign.end_lineno - sign.lineno < 50


def test_importing_the_pytest_plugin_is_cheap() -> None:
    """It is imported in every pytest run of whoever installs us."""
    script = (
        "import sys, pytest, appliance.pytest_plugin;"
        "heavy = {'sqlalchemy', 'aiohttp', 'pkcs11', 'argon2', 'cryptography'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == "[]\n"


PREDICTABLE = {"random", "numpy", "numpy.random"}


def test_w30_nothing_of_ours_draws_from_anything_but_the_operating_system() -> None:
    """The old Hub's C++ fell back to a generator that begins alike each time."""
    drawing = re.compile(r"\b(s?rand|random|rand_r)\s*\(")
    found = []
    for package in (
        "appliance",
        "hub",
        "trinary",
        "channel",
        "firmware_bridge",
        "signing_rpc",
    ):
        python = (ROOT / package).rglob("*.py")
        found += [name_of(path) for path in python if imported(path) & PREDICTABLE]
        c = (ROOT / package).rglob("*.c")
        found += [name_of(path) for path in c if drawing.search(path.read_text())]
    assert not found
