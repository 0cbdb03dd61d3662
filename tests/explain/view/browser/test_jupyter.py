"""The page in a real JupyterLab: shown by a cell and as a widget, saved, closed, opened again without a kernel."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest

api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")

SETTINGS = {
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},  # or a widget is not kept in the file
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # cells out of sight are there too
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
QUIET = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
CELLS = [
    "import handgrad as hg\n"
    "g = hg.Graph()\n"
    "x, y, z = g.input('x'), g.input('y'), g.input('z')\n"
    "run = g.run(((x + y) * z).named('f'), x=-2.0, y=5.0, z=-4.0).backward()\n"
    "hg.view(run, title='In a cell')",
    "widget = hg.view(run, title='In a widget').widget()\nwidget",
]
# What a person does by menus, without the questions that these ask. What does not end fails, and does not hang.
ACT = """async (what) => {
  const app = window.jupyterapp;
  const late = new Promise((_, fail) => setTimeout(() => fail(new Error(what + " did not end")), 40_000));
  const book = () => app.shell.currentWidget;
  const acts = {
    run: () => book().sessionContext.ready.then(() => app.commands.execute("notebook:run-all-cells")),
    save: () => book().context.save(),
    stop: () => app.serviceManager.sessions.shutdownAll(),
  };
  await Promise.race([app.restored.then(acts[what]), late]);
}"""
SECONDS = 60_000  # milliseconds, in which a server and its page must answer
CELL = ".jp-OutputArea-output iframe"
WIDGET = ".jp-OutputArea-output .handgrad"


@pytest.fixture
def lab(tmp_path):
    """(address, folder) of a JupyterLab of its own, that reads no one's settings and asks no one for news."""
    pytest.importorskip("jupyterlab", reason="needs JupyterLab: pip install jupyterlab")
    config, folder = tmp_path / "config", tmp_path / "work"
    (config / "labconfig").mkdir(parents=True)
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    (config / "labconfig" / "page_config.json").write_text(json.dumps(QUIET))
    folder.mkdir()
    cells = [
        {"cell_type": "code", "id": f"c{i}", "source": s, "metadata": {}, "outputs": [], "execution_count": None}
        for i, s in enumerate(CELLS)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "views.ipynb").write_text(json.dumps(book))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {
        "JUPYTER_CONFIG_DIR": config,
        "JUPYTER_RUNTIME_DIR": tmp_path / "run",
        "IPYTHONDIR": tmp_path / "ipython",
        "JUPYTER_DATA_DIR": tmp_path / "data",
        "JUPYTERLAB_SETTINGS_DIR": tmp_path / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": tmp_path / "workspaces",
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with (tmp_path / "log").open("w") as log:
        environment = {**os.environ, **{name: str(place) for name, place in places.items()}}
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            yield _answers(f"http://127.0.0.1:{port}", server, tmp_path / "log"), folder
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # the server and its kernels, begun in a session of their own
            server.wait()


def _answers(address, server, log):
    end = time.monotonic() + SECONDS / 1000
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(f"{address}/api"):
                return address
        except URLError:
            time.sleep(0.1)
    raise AssertionError(log.read_text()[-3000:])


def test_a_view_and_a_widget_stay_in_a_notebook(lab, context):
    address, folder = lab
    asked = []
    browser = context()
    browser.route(
        lambda url: not url.startswith(address), lambda route: (asked.append(route.request.url), route.abort())
    )

    page = opened(browser, address)
    assert page.locator(CELL).count() == page.locator(WIDGET).count() == 0
    page.evaluate(ACT, "run")
    both_show(page)
    page.evaluate(ACT, "save")
    page.evaluate(ACT, "stop")
    page.close()
    kept = json.loads((folder / "views.ipynb").read_text())
    assert "application/vnd.jupyter.widget-state+json" in kept["metadata"]["widgets"]
    with urlopen(f"{address}/api/kernels") as answer:
        assert json.load(answer) == []

    page = opened_again(browser, address)  # with a new kernel, which has run nothing: it is the file that shows them
    both_show(page)
    assert page.locator(".jp-InputPrompt", has_text="[1]:").count() == 1
    assert asked == []


def opened(browser, address):
    page = browser.new_page()
    page.set_default_timeout(SECONDS)
    page.goto(f"{address}/lab/tree/views.ipynb?reset")
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    return page


def opened_again(browser, address):
    """Opened until its widgets are restored.

    JupyterLab's widget manager asks the new kernel for its own first, and where that fails, as it may while the kernel
    starts on a busy machine, leaves out those of the file without a word.
    """
    for _ in range(3):
        page = opened(browser, address)
        try:
            page.locator(WIDGET).first.wait_for(timeout=SECONDS / 2)
        except api.TimeoutError:
            page.close()
        else:
            return page
    raise AssertionError("the widget is not there, three times")


def both_show(page):
    """Each shows its own title, the network, and a gradient of it."""
    for root, title in ((page.frame_locator(CELL), "In a cell"), (page, "In a widget")):
        shown = root.locator(".handgrad")
        shown.locator("[data-node]").first.wait_for()
        assert shown.locator("h1").text_content() == title
        shown.locator('[data-node="x"]').click()
        shown.locator('[data-panel="x"]').wait_for()
        assert shown.locator('[data-exact][aria-label^="gradient of x"]').text_content() == "-4"
