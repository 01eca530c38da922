"""Commands for your workplace: ``doctor``, ``notebooks``, ``lab``, ``app``, ``workshop``."""

from __future__ import annotations

import argparse
from pathlib import Path

from anchorkit.cli.answers import EXIT_BAD_INPUT, Answer
from anchorkit.cli.options import AddCommand, add_json


def add_commands(add: AddCommand) -> None:
    doctor = add("doctor", doctor_command, "report what this machine has, what is missing and how to fix it")
    doctor.add_argument(
        "--ready",
        action="store_true",
        help="also run a small evaluation, and say in one line whether the lessons will work",
    )
    add_json(doctor)

    notebooks = add("notebooks", notebooks_command, "copy the lessons to a folder, to work on them")
    notebooks.add_argument("folder", type=Path, metavar="DIR", help="the folder; it is made where there is none")

    lab = add("lab", lab_command, "open the lessons in JupyterLab; copy them to a folder first if it has none")
    lab.add_argument("folder", type=Path, nargs="?", default=Path("lessons"), metavar="DIR", help="default: lessons")
    lab.add_argument("--no-browser", action="store_true", help="print the address and open no browser")
    lab.add_argument("--ip", metavar="ADDRESS", help="the address to listen on (default: this machine only)")
    lab.add_argument("--port", type=int, metavar="N", help="default: 8888, or the next that is free")
    lab.add_argument("--allow-root", action="store_true", help="run as root, as in a container")
    lab.epilog = "Everything after -- goes to JupyterLab as it is."
    lab.set_defaults(behind=[])

    app = add("app", app_command, "open the explorers in the browser, without code (pip install 'anchorkit[app]')")
    app.add_argument("run", type=Path, nargs="?", metavar="RUN", help="a run's folder (default: the shipped detector)")
    app.add_argument("--port", type=int, default=0, metavar="N", help="the port (default: a free one)")
    app.add_argument(
        "--no-browser", dest="browser", action="store_false", help="print the address, do not open a browser"
    )

    workshop = add(
        "workshop", workshop_command, "gather on a USB stick what laptops need for a workshop without a network"
    )
    workshop.add_argument("action", choices=("pack",), metavar="pack", help="the one thing that the command does")
    workshop.add_argument("folder", type=Path, metavar="DIR", help="the stick, or a folder that is copied to it")
    workshop.add_argument(
        "--platform",
        nargs="+",
        default=["linux", "windows", "macos-arm64"],
        metavar="NAME",
        help="linux, linux-arm64, windows, macos-arm64 (default: all but linux-arm64)",
    )
    workshop.add_argument(
        "--python",
        nargs="+",
        default=["3.12"],
        metavar="VERSION",
        help="versions of Python on the laptops (default: 3.12)",
    )
    workshop.add_argument(
        "--run",
        type=Path,
        default=Path("runs/quick-shapes"),
        metavar="RUN",
        help="a finished run, to show as an example",
    )
    workshop.add_argument("--sizes", action="store_true", help="only print how much would be downloaded")
    workshop.epilog = (
        "On Linux, torch for NVIDIA GPUs is most of the download; UV_TORCH_BACKEND=cpu takes the small build instead."
    )


def doctor_command(options: argparse.Namespace) -> Answer:
    """``anchorkit doctor``: report what this machine has, what is missing and how to fix it."""
    from anchorkit import __version__
    from anchorkit.doctor import examine, render, try_out, usable

    checks = examine()
    if options.ready and usable(checks):
        checks.append(try_out())
    data = {"usable": usable(checks), "checks": [check.to_dict() for check in checks]}
    if options.ready and usable(checks):
        return Answer(f"ready: anchorkit {__version__}; {checks[-1].found}", data)
    return Answer(render(checks), data, exit_code=0 if usable(checks) else EXIT_BAD_INPUT)


def notebooks_command(options: argparse.Namespace) -> Answer:
    """``anchorkit notebooks``: copy the lessons to a folder, to work on them."""
    from anchorkit.bundled import copy_notebooks

    copied = copy_notebooks(options.folder)
    return Answer(f"{len(copied)} files in {options.folder}; start with: jupyter lab {options.folder}", {})


def lab_command(options: argparse.Namespace) -> Answer:
    """``anchorkit lab``: open the lessons in JupyterLab."""
    from anchorkit.app.serving import open_lab

    given = ["--no-browser"] if options.no_browser else []
    given += ["--allow-root"] if options.allow_root else []
    given += [f"--{name}={getattr(options, name)}" for name in ("ip", "port") if getattr(options, name) is not None]
    open_lab(options.folder, [*given, *options.behind])
    return Answer("JupyterLab has stopped", {})


def app_command(options: argparse.Namespace) -> Answer:
    """``anchorkit app``: open the explorers as a web page, for people who do not write code."""
    from anchorkit.app.serving import serve_app

    serve_app(options.run, port=options.port, browser=options.browser)
    return Answer("The app has stopped", {})


def workshop_command(options: argparse.Namespace) -> Answer:
    """``anchorkit workshop pack``: gather what laptops need for a workshop without a network."""
    from anchorkit.workshop import pack
    from anchorkit.workshop.packing import gigabytes

    packed = pack(options.folder, options.platform, options.python, options.run, only_sizes=options.sizes)
    if options.sizes:
        return Answer(f"{gigabytes(packed.downloaded)} to download", {})
    size = gigabytes(packed.total)
    return Answer(f"{packed.folder} is packed ({size} of wheels); try it: sh {packed.folder / 'install.sh'}", {})
