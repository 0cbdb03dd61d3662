"""The page in the package is what its sources give."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
BUILT = ROOT / "src" / "handgrad" / "explain" / "view" / "page.js"


def numbers(version):
    """(20, 19, 0) of "v20.19.0"."""
    return tuple(int(n) for n in re.findall(r"\d+", version))


@pytest.fixture(scope="module")
def node():
    """node("script", ...) -> runs a script of web/package.json, and gives what it printed."""
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js: that web/ gives the page.js in the package was not checked")
    if not (WEB / "node_modules" / "vite").exists():
        pytest.skip("needs the packages of web/: run npm ci there, which `make test` does")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    least = json.loads((WEB / "package.json").read_text())["engines"]["node"]
    if numbers(version) < numbers(least):
        pytest.skip(f"needs Node.js {least}, here is {version}")

    def run(script, *options):
        found = subprocess.run(["npm", "run", "-s", script, "--", *options], cwd=WEB, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    return run


def test_the_page_in_the_package_is_what_its_sources_give(node, tmp_path):
    node("build", "--outDir", str(tmp_path), "--logLevel", "warn")
    assert [path.name for path in tmp_path.iterdir()] == ["page.js"]
    same = (tmp_path / "page.js").read_bytes() == BUILT.read_bytes()
    assert same, f"{BUILT.relative_to(ROOT)} is not what web/ gives: run `make page`"


def test_its_types_are_right(node):
    node("check")


def test_its_own_tests_pass(node):
    node("test")
