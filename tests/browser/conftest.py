"""JupyterLab and a browser, for tests that touch what people touch.

A notebook is opened and run with ``open_notebook(cells)``, a lesson with ``open_notebook(path)``; the rest is
playwright. After every test nothing must have been asked of another machine, and the console must show no error.

They run where ``ANCHORKIT_BROWSER_TESTS=1``. They need playwright and Chromium (`ANCHORKIT_CHROMIUM` names another one
than is on the path) and are skipped without; with ``ANCHORKIT_BROWSER_TESTS=required`` that is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import nbformat
import pytest

HERE = Path(__file__).parent
PATIENCE = 120_000  # milliseconds; generous, for a busy machine
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_LOCAL = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
_times: list[str] = []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _times:
        terminalreporter.write_sep("-", "from a click to the new picture")
        for line in _times:
            terminalreporter.write_line(line)


def missing(what: str) -> NoReturn:
    if os.environ.get("ANCHORKIT_BROWSER_TESTS") == "required":
        pytest.fail(f"{what}, and ANCHORKIT_BROWSER_TESTS=required says that the browser tests must run")
    pytest.skip(what)


@dataclass
class Visit:
    """A page, and what must not happen on it."""

    page: Any
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def check(self) -> None:
        assert self.errors == [], "errors in the browser's console"
        assert self.foreign == [], "requests that left the machine"

    def cell(self, number: int) -> Any:
        """A notebook's code cell, counted from 0."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def pick(self, picture: Any, name: str, mark: str | None = None) -> str:
        """Click on a mark of a picture and wait for what the picture shows then.

        Args:
            picture: a `Picture`.
            name: what to call the time that it took.
            mark: which; None for any that nothing covers and that has no ring.

        Returns:
            What was picked.
        """
        from playwright.sync_api import TimeoutError as TooLate

        for _ in range(20):
            # A picture that is drawn by a thread may change under the mouse: then choose again.
            self.settled(picture)
            free = [mark] if mark else self._free(picture)
            if not free:
                continue
            picture.evaluate("p => delete p.dataset.pickToPicture")
            try:
                picture.locator(f'a[data-pick="{free[-1]}"]:visible').last.click(timeout=5000)
            except TooLate:
                continue
            self.page.wait_for_function("p => p.dataset.pickToPicture", arg=picture.element_handle(), timeout=PATIENCE)
            _times.append(f"{name}: {picture.get_attribute('data-pick-to-picture')} ms")
            return free[-1]
        raise AssertionError(f"{name}: no mark that can be clicked")

    def settled(self, picture: Any) -> None:
        """Wait until a picture has marks and has not changed for half a second."""
        picture.locator("a[data-pick]:visible").first.wait_for()
        picture.scroll_into_view_if_needed()
        seen = None
        while seen != (seen := picture.get_attribute("data-drawings")):
            self.page.wait_for_timeout(500)

    def _free(self, picture: Any) -> list[str]:
        found: list[str] = picture.evaluate(
            """p => [...p.querySelectorAll("a[data-pick]:not(.ring)")].filter(mark => {
                const box = mark.getBoundingClientRect();
                const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
                return box.width > 0 && top?.closest("a[data-pick]") === mark;
            }).map(mark => mark.dataset.pick)"""
        )
        return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not os.environ.get("ANCHORKIT_BROWSER_TESTS"):
        pytest.skip("two of the browser tests are not steady yet: ANCHORKIT_BROWSER_TESTS=1 runs them")
    try:
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        missing("playwright is not installed (pip install playwright)")
    named = os.environ.get("ANCHORKIT_CHROMIUM", "")
    path = named or next((found for name in _NAMES if (found := shutil.which(name))), "")
    if not path:
        missing("no Chromium on the path (Debian: apt install chromium); ANCHORKIT_CHROMIUM names one elsewhere")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        arguments = [
            *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
        ]
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def visit(browser: Any) -> Iterator[Callable[[str], Visit]]:
    """Opens an address in a fresh page."""
    contexts = []

    def open_(address: str) -> Visit:
        context = browser.new_context(viewport={"width": 1366, "height": 768})
        contexts.append(context)
        made = Visit(context.new_page())
        made.page.set_default_timeout(PATIENCE)
        made.page.on("console", lambda said: made.errors.append(said.text) if said.type == "error" else None)
        made.page.on("pageerror", lambda error: made.errors.append(str(error)))
        made.page.on("request", lambda asked: None if asked.url.startswith(_LOCAL) else made.foreign.append(asked.url))
        made.page.goto(address, wait_until="commit")
        return made

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a JupyterLab of our own, and the folder that it shows."""
    from anchorkit.app.serving import free_port

    folder, place = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("jupyter")
    settings = place / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    # Cells that are out of sight stay in the page.
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    address = f"http://127.0.0.1:{free_port()}"
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(place),
        "JUPYTERLAB_SETTINGS_DIR": str(place / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(place / "workspaces"),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--notebook-dir={folder}"),
        *(f"--port={address.rpartition(':')[2]}", "--ServerApp.port_retries=0", "--allow-root"),
        *("--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.expose_app_in_browser=True"),
        *("--LabApp.extension_manager=readonly", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
    ]
    log = place / "lab.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        _wait_until_up(server, f"{address}/api", log)
        yield address, folder
    finally:
        end(server)


@pytest.fixture(scope="session")
def open_notebook(lab: tuple[str, Path], visit: Callable[[str], Visit]) -> Callable[[Sequence[str] | Path], Visit]:
    """Opens a notebook in JupyterLab and runs all its cells; give the cells' source, or a notebook's path."""
    address, folder = lab

    def open_(source: Sequence[str] | Path) -> Visit:
        name = f"notebook{len(list(folder.iterdir()))}.ipynb"
        if isinstance(source, Path):
            shutil.copy(source, folder / name)
        else:
            cells = [nbformat.v4.new_code_cell(cell) for cell in source]
            kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
            nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / name)
        made = visit(f"{address}/lab/workspaces/{name[:-6]}/tree/{name}")
        ready = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        made.page.wait_for_function(ready, timeout=PATIENCE)
        assert made.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')"), "a cell failed"
        return made

    return open_


def end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_until_up(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-2000:]}")
