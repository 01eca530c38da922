"""A browser, and a JupyterLab for it: for these tests, `benchmarks/clicks.py` and `docs/make_screenshots.py`.

Everything here is started by a ``with`` and ended with it. Nothing knows of pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

HERE = Path(__file__).parent
PATIENCE = 120_000
"""Milliseconds to wait for anything; generous, for a busy machine."""
DARK = "JupyterLab Dark"
CONTROLS = ", ".join(
    [
        *("button:not(:disabled)", "input:not(:disabled)", "select:not(:disabled)", "textarea:not(:disabled)"),
        *("[role=slider]", "[contenteditable=true]", "a[data-pick][tabindex='0']", "[role=tab]"),
    ]
)
"""What can be used, as a selector; of a picture's marks one, from which the arrows walk to the others."""
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_LOCAL = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")


class NoBrowserError(RuntimeError):
    """There is no browser to be had here; the message says how to get one."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium that cannot reach another machine, as playwright's ``Browser``.

    Raises:
        NoBrowserError: playwright or Chromium is missing.
    """
    try:
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        raise NoBrowserError("playwright is not installed (pip install playwright)") from None
    named = os.environ.get("ANCHORKIT_CHROMIUM", "")
    path = named or next((found for name in _NAMES if (found := shutil.which(name))), "")
    if not path:
        raise NoBrowserError(
            "no Chromium on the path (Debian: apt install chromium); ANCHORKIT_CHROMIUM names one elsewhere"
        )
    expect.set_options(timeout=PATIENCE)
    arguments = [
        *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
    ]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield started
        finally:
            started.close()


@dataclass
class Visit:
    """A page, and what must not happen on it."""

    page: Any
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """Milliseconds of each `pick`, from the click to the new picture."""

    def check(self) -> None:
        """Nothing was asked of another machine, and the console shows no error."""
        assert self.errors == [], "errors in the browser's console"
        assert self.foreign == [], "requests that left the machine"

    def cell(self, number: int) -> Any:
        """A notebook's code cell, counted from 0."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def pick(self, picture: Any, mark: str | None = None) -> str:
        """Click on a mark of a picture, where nothing lies over it, and wait for what the picture shows then.

        Args:
            picture: a `Picture`.
            mark: which; None for any that has no ring.

        Returns:
            What was picked.
        """
        for _ in range(40):
            # A picture that is drawn by a thread may change under the mouse: then choose again.
            self.settled(picture)
            picture.evaluate("picture => delete picture.dataset.pickToPicture")
            free = picture.evaluate(_FREE, mark)
            if free:
                self.page.mouse.click(free["x"], free["y"])
                done = "picture => picture.dataset.pickToPicture"
                self.page.wait_for_function(done, arg=picture.element_handle(), timeout=PATIENCE)
                self.times.append(float(picture.get_attribute("data-pick-to-picture")))
                return str(free["pick"])
        raise AssertionError(f"no mark {mark or ''} that can be clicked")

    def controls(self, place: Any) -> list[tuple[str, str]]:
        """Role and accessible name of everything in a part of the page that can be used just now."""
        session = self.page.context.new_cdp_session(self.page)
        found = []
        for control in place.locator(CONTROLS).element_handles():
            if not control.is_visible():
                continue
            control.evaluate("control => (window.asked = control)")
            reference = session.send("Runtime.evaluate", {"expression": "window.asked"})["result"]["objectId"]
            asked = {"objectId": reference, "fetchRelatives": False}
            (node,) = session.send("Accessibility.getPartialAXTree", asked)["nodes"]
            found.append((node["role"]["value"], node.get("name", {}).get("value", "")))
        session.detach()
        return found

    def missed_by_tab(self, place: Any) -> list[str]:
        """The controls of a part of the page that Tab does not come to, beginning at the first, as HTML."""
        controls = place.locator(CONTROLS)
        controls.first.evaluate(
            """(first, selector) => {
            const place = first.closest(".jp-Cell-outputArea") ?? document.body;
            const seen = [...place.querySelectorAll(selector)].filter((one) => one.checkVisibility());
            window.missed = new Set(seen);
            window.missed.delete(seen[0]);
            seen[0].focus();
        }""",
            CONTROLS,
        )
        for _ in range(controls.count() + 5):
            self.page.keyboard.press("Tab")
            self.page.evaluate("window.missed.delete(document.activeElement)")
        missed: list[str] = self.page.evaluate("[...window.missed].map((one) => one.outerHTML.slice(0, 200))")
        return missed

    def settled(self, picture: Any) -> None:
        """Wait until a picture has marks and has not changed for half a second; bring it into view."""
        picture.locator("a[data-pick]:visible").first.wait_for()
        picture.scroll_into_view_if_needed()
        seen = None
        while seen != (seen := picture.get_attribute("data-drawings")):
            self.page.wait_for_timeout(500)


# A point of a mark on the screen where a click would reach it: its middle, or elsewhere along its outline.
_FREE = """(picture, wanted) => {
    const points = (shape) => {
        const box = shape.getBoundingClientRect();
        const found = [[box.x + box.width / 2, box.y + box.height / 2]];
        if (box.width && shape.getTotalLength)
            for (let i = 0; i < 24; i++) {
                const at = shape.getPointAtLength((shape.getTotalLength() * i) / 24);
                const on = new DOMPoint(at.x, at.y).matrixTransform(shape.getScreenCTM());
                found.push([on.x, on.y]);
            }
        return found;
    };
    const marks = [...picture.querySelectorAll("a[data-pick]")].reverse();
    for (const scroll of [false, true])
        for (const mark of marks) {
            if (wanted === null ? mark.classList.contains("ring") : mark.dataset.pick !== wanted) continue;
            if (scroll) mark.scrollIntoView({ block: "center" });
            for (const shape of mark.children)
                for (const [x, y] of points(shape))
                    if (document.elementFromPoint(x, y)?.closest("a[data-pick]") === mark)
                        return { x, y, pick: mark.dataset.pick };
        }
    return null;
}"""


def visit(browser: Any, address: str, *, width: int = 1366, height: int = 768, sharpness: float = 1) -> Visit:
    """Open an address in a fresh page that is as large as the screens of most laptops, or larger, or sharper."""
    size = {"width": width, "height": height}
    made = Visit(browser.new_context(viewport=size, device_scale_factor=sharpness).new_page())
    made.page.set_default_timeout(PATIENCE)
    made.page.on("console", lambda said: made.errors.append(said.text) if said.type == "error" else None)
    made.page.on("pageerror", lambda error: made.errors.append(str(error)))
    made.page.on("request", lambda asked: None if asked.url.startswith(_LOCAL) else made.foreign.append(asked.url))
    made.page.goto(address, wait_until="commit")
    return made


@dataclass(frozen=True)
class Lab:
    """A JupyterLab of our own.

    Attributes:
        address: where it answers.
        folder: what it shows.
    """

    address: str
    folder: Path

    def write(self, cells: Sequence[str]) -> Path:
        """Write a notebook with these cells into the folder."""
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        made = [nbformat.v4.new_code_cell(cell) for cell in cells]
        return self.put(nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel}))

    def lesson(self, path: Path, **parameters: Any) -> Path:
        """Copy a lesson into the folder, with these parameters."""
        notebook = nbformat.read(path, as_version=4)
        (place,) = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
        given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(given))
        return self.put(notebook)

    def put(self, notebook: Any) -> Path:
        """Write a notebook into the folder, under a name of its own."""
        path = self.folder / f"notebook{len(list(self.folder.iterdir()))}.ipynb"
        nbformat.write(notebook, path)
        return path

    def open(self, browser: Any, notebook: Path, **size: float) -> Visit:
        """Open a notebook of the folder and run all its cells.

        Raises:
            AssertionError: a cell failed.
        """
        made = visit(browser, f"{self.address}/lab/workspaces/{notebook.stem}/tree/{notebook.name}", **size)
        ready = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        made.page.wait_for_function(ready, timeout=PATIENCE)
        run = "window.jupyterapp.commands.execute('notebook:run-all-cells')"
        if not made.page.evaluate(run):
            said = made.page.locator(".jp-Notebook .jp-RenderedText").all_inner_texts()
            raise AssertionError("a cell failed: " + (said[-1][-2000:] if said else ""))
        return made

    def close(self, made: Visit) -> None:
        """Close a page and end its kernel."""
        made.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        made.page.context.close()


@contextmanager
def jupyterlab(folder: Path, *, theme: str = "", environment: Mapping[str, str] | None = None) -> Iterator[Lab]:
    """A JupyterLab with settings of its own; kernels can ``import material``.

    Args:
        folder: an empty one; gets the notebooks, and beside them the settings and what the server says.
        theme: such as `DARK`; empty for JupyterLab's own choice.
        environment: variables for the server and its kernels.
    """
    from anchorkit.app.serving import free_port

    shown, place = folder / "notebooks", folder / "jupyter"
    settings = place / "settings" / "@jupyterlab"
    for extension, what, text in (
        ("notebook-extension", "tracker", '{"windowingMode": "none"}'),  # cells that are out of sight stay in the page
        ("apputils-extension", "themes", f'{{"theme": "{theme}"}}' if theme else "{}"),
        ("apputils-extension", "notification", '{"fetchNews": "false"}'),
    ):
        (settings / extension).mkdir(parents=True, exist_ok=True)
        (settings / extension / f"{what}.jupyterlab-settings").write_text(text)
    shown.mkdir()
    address = f"http://127.0.0.1:{free_port()}"
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    variables = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(place),
        "JUPYTERLAB_SETTINGS_DIR": str(place / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(place / "workspaces"),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        **(environment or {}),
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--notebook-dir={shown}"),
        *(f"--port={address.rpartition(':')[2]}", "--ServerApp.port_retries=0", "--allow-root"),
        *("--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.expose_app_in_browser=True"),
        *("--LabApp.extension_manager=readonly", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
    ]
    log = place / "lab.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
    try:
        _wait_until_up(server, f"{address}/api", log)
        yield Lab(address, shown)
    finally:
        end(server)


def end(server: subprocess.Popen[bytes]) -> None:
    """End a server and wait until it is gone."""
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_until_up(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    for _ in range(1200):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-2000:]}")
