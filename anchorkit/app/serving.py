"""The servers behind ``anchorkit lab`` and ``anchorkit app``; both serve this machine alone."""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from anchorkit.bundled import copy_notebooks
from anchorkit.errors import InputError, MissingExtraError

HERE = Path(__file__).parent
RUN_VARIABLE = "ANCHORKIT_APP_RUN"
"""Environment variable with the run's folder; empty for the shipped detector."""
_PATIENCE = 60.0


def open_lab(folder: str | Path = "lessons", options: Sequence[str] = ()) -> None:
    """Run JupyterLab on the lessons, until it is stopped.

    Args:
        folder: where to work. Lessons are copied there if it has none; if it has some, they stay as they are.
        options: of JupyterLab, as ``("--no-browser", "--port=8889")``.

    Raises:
        InputError: `folder` cannot be written, or the user is root and the options do not allow it.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in options:
        raise InputError(f"JupyterLab runs as root only if you allow it: anchorkit lab {folder} --allow-root")
    from jupyterlab.labapp import LabApp

    target = Path(folder)
    if not any(target.glob("[0-9][0-9]_*.ipynb")):
        copy_notebooks(target)
    # In this process: JupyterLab asks for itself what Ctrl-C shall mean.
    LabApp.launch_instance([f"--notebook-dir={target.resolve()}", *options])


def serve_app(run: str | Path | None = None, *, port: int = 0, browser: bool = True) -> None:
    """Serve the explorers with Voila and open them in a browser, until interrupted.

    Args:
        run: a run's folder; None for the detector that comes with the kit.
        port: 0 for any that is free.
        browser: open a browser's window.

    Raises:
        MissingExtraError: Voila is not installed.
        InputError: `run` is no run's folder, the port is taken, or Voila does not start.
    """
    folder = None if run is None else checked_run(run)
    port, token = port or free_port(), secrets.token_urlsafe(12)
    address = f"http://127.0.0.1:{port}/?token={token}"
    with start_app(folder, port, token) as voila:
        try:
            wait_until_up(voila, address)
            print(f"anchorkit app: {address}  (Ctrl-C ends it)", file=sys.stderr)
            if browser:
                webbrowser.open(address)
            voila.wait()
        except KeyboardInterrupt:
            pass
        finally:
            voila.terminate()


def start_app(run: Path | None, port: int, token: str = "") -> subprocess.Popen[bytes]:
    """Start Voila on the app's page, and do not wait for it.

    Raises:
        MissingExtraError: Voila is not installed.
    """
    if importlib.util.find_spec("voila") is None:
        raise MissingExtraError(
            "the app needs Voila, which is not installed: pip install 'anchorkit[app]' (notebooks work without)"
        )
    # The page is shown by a template of the kit, which Jupyter finds by this variable.
    path = os.pathsep.join(part for part in (str(HERE / "jupyter"), os.environ.get("JUPYTER_PATH", "")) if part)
    command = [
        *(sys.executable, "-m", "voila", str(HERE / "page.ipynb"), "--template=anchorkit", "--no-browser"),
        *("--Voila.ip=127.0.0.1", f"--port={port}", "--Voila.port_retries=0", f"--token={token}"),
        "--show_tracebacks=True",
    ]
    environment = {**os.environ, "JUPYTER_PATH": path, RUN_VARIABLE: "" if run is None else str(run.resolve())}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_until_up(server: subprocess.Popen[bytes], address: str) -> None:
    """Wait until a server answers.

    Raises:
        InputError: it has ended, or has not answered within a minute.
    """
    end = time.monotonic() + _PATIENCE
    root = address.partition("?")[0] + "voila/static/favicon.ico"
    while time.monotonic() < end:
        if server.poll() is not None:
            raise InputError(f"{address}: Voila ended with exit code {server.returncode}; is the port taken?")
        try:
            with urllib.request.urlopen(root, timeout=2):
                return
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.1)
    raise InputError(f"{address}: Voila has not answered for {_PATIENCE:.0f} s")


def free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def checked_run(run: str | Path) -> Path:
    """The folder, once it is seen to be a run's.

    Raises:
        InputError: it is not, or what the app shows is not in it yet.
    """
    folder = Path(run)
    for name in ("data.json", "predictions.parquet", "search/search.json"):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder}: no run's folder, or no search in it yet ({name} is missing); see anchorkit run"
            )
    return folder
