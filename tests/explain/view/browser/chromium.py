"""A real Chromium without a window or a network, and a page in it that keeps account of all it says and asks for."""

import os
import shutil
from pathlib import Path

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def chromium() -> str | None:
    """The path of the browser: HANDGRAD_CHROMIUM, or the first that the system has."""
    given = os.environ.get("HANDGRAD_CHROMIUM")
    return given or next((path for name in NAMES if (path := shutil.which(name))), None)


class Shown:
    """A file in the browser. faults: errors and warnings of the console, errors of scripts, dialogs. requests: every
    address that was asked for, the file's own included. page: Playwright's."""

    def __init__(self, context, path: Path):
        self.url = path.as_uri()
        self.faults: list[str] = []
        self.requests: list[str] = []
        context.set_offline(True)
        context.route("**/*", lambda route: route.continue_() if route.request.url == self.url else route.abort())
        self.page = page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda said: said.type in ("error", "warning") and self.faults.append(said.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", self._dialog)
        page.goto(self.url)

    def _dialog(self, dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def find(self, selector: str, **options):
        """Playwright's locator of it."""
        return self.page.locator(selector, **options)

    def node(self, name: str):
        """A node's button in the graph."""
        return self.page.locator(f'[data-node="{name}"]')

    def press(self, *keys: str) -> None:
        """Keys, one after another, as a person presses them."""
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def focus(self) -> dict:
        """What has the keyboard: its tag, its name, which part of the page it is in; it is marked as reached."""
        return self.page.evaluate(FOCUS)

    def wear(self, theme: str) -> None:
        """Have the system ask for a theme, and the page follow."""
        self.page.emulate_media(color_scheme=theme)
        self.find(f'.handgrad[data-theme="{theme}"]').wait_for()

    def open(self, name: str) -> None:
        """Open a node by the keyboard, wherever it is."""
        if self.find(f'[data-panel="{name}"]').count() == 0:
            self.node(name).focus()
            self.press("Enter")
        self.find(f'[data-panel="{name}"]').wait_for()


FOCUS = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) return {tag: "body", name: "", node: null, part: ""};
  at.dataset.reached = "yes";
  const part = at.closest("section[aria-label], [role=group][aria-label], header");
  const label = at.getAttribute("aria-label") || at.labels?.[0]?.textContent.trim() || at.textContent.trim();
  return {tag: at.tagName.toLowerCase(), type: at.type || "", name: label, node: at.dataset.node || null,
          part: part ? part.getAttribute("aria-label") || "header" : "", visible: at.matches(":focus-visible")};
}"""
