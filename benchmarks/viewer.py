"""The viewer's page in a real Chromium: how large it is, and how soon a person can use it.

    python -m benchmarks.viewer

Each page is one file of `handgrad.view(...).to_html()`, opened from the disk, without a network, in a new tab of a new
profile. A figure is a median over the rounds: "drawn" is the time from opening the file until the graph is on the
screen; "interactive", until the first click on a node has its panel on the screen; "a step", from a click on "next step
of the backward pass" to the frame that shows it, the median of the steps of a round. Needs Chromium (Debian: apt-get
install chromium; another is named by HANDGRAD_CHROMIUM) and `pip install playwright`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import handgrad as hg
from benchmarks import results

SECTION = "The viewer's page"
STEPS = 20  # of the backward pass, in a round
DEEP = 100  # layers
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
STEP = """async () => {
  const start = performance.now();
  document.querySelector('[data-walk="next"]').click();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}"""


def mnist() -> hg.View:
    """784-256-128-10 on 64 rows, with its gradient check."""
    return _view(hg.mlp([784, 256, 128, 10]), 784)


def deep() -> hg.View:
    """DEEP layers 16 wide, linear and tanh in turn, on 64 rows."""
    layers = [layer for _ in range(DEEP // 2) for layer in (hg.Linear(16, 16, init="glorot_normal"), hg.Tanh())]
    return _view(hg.Sequential(layers), 16)


def _view(model: Any, features: int) -> hg.View:
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((64, features)).astype(np.float32), rng.integers(10, size=64)
    return hg.view(hg.trace(model, model.init(0), *batch))


PAGES: dict[str, Callable[[], hg.View]] = {"784-256-128-10, 64 rows": mnist, f"{DEEP} layers, 64 rows": deep}


def measure(browser: Any, path: Path) -> tuple[float, float, float]:
    """Milliseconds until it is drawn, until it is interactive, and of a step."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_offline(True)
    page = context.new_page()
    start = time.perf_counter()
    page.goto(path.as_uri(), wait_until="commit")
    page.locator("[data-node]").first.wait_for()
    page.evaluate(PAINTED)
    drawn = time.perf_counter() - start
    page.locator("[data-node]").nth(1).click()
    page.locator("[data-panel]").wait_for()
    page.evaluate(PAINTED)
    interactive = time.perf_counter() - start
    step = statistics.median(page.evaluate(STEP) for _ in range(STEPS))
    context.close()
    return 1e3 * drawn, 1e3 * interactive, step


def table(rounds: int) -> str:
    """The page's table, in Markdown."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("HANDGRAD_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("error: needs Chromium: apt-get install chromium, or name one in HANDGRAD_CHROMIUM")
    lines = ["| | size, MB | drawn, ms | interactive, ms | a step, ms |", "| --- | ---: | ---: | ---: | ---: |"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        for number, (name, make) in enumerate(PAGES.items()):
            path = Path(folder, f"{number}.html")
            make().to_html(path)
            found = [measure(browser, path) for _ in range(rounds)]
            drawn, interactive, step = (statistics.median(column) for column in zip(*found, strict=True))
            size = path.stat().st_size / 1e6
            lines.append(f"| {name} | {size:.2f} | {drawn:,.0f} | {interactive:,.0f} | {step:,.0f} |")
        lines.append(f"\nChromium {browser.version}; {rounds} rounds.")
        browser.close()
    return "\n".join(lines)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds to take medians over")
    parser.add_argument("--write", action="store_true", help=f"write the table to benchmarks/{results.FILE.name}")
    given = parser.parse_args()
    if given.rounds < 1:
        raise SystemExit(f"error: --rounds must be at least 1, got {given.rounds}")
    load = results.load()
    with results.ended():
        body = table(given.rounds)
    print(body)
    if given.write:
        packages = ("handgrad", "numpy", "playwright")
        facts = [("command", results.command("benchmarks.viewer")), ("load average before", load)]
        results.write(SECTION, [*facts, *results.machine(packages)], body)


if __name__ == "__main__":
    main()
