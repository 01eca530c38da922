"""Commands for your workplace: ``doctor``, ``notebooks``, ``lab``, ``app``."""

from __future__ import annotations

import argparse
from pathlib import Path

from anchorkit.cli.answers import EXIT_BAD_INPUT, Answer
from anchorkit.cli.options import AddCommand, add_json


def add_commands(add: AddCommand) -> None:
    doctor = add("doctor", doctor_command, "report what this machine has, what is missing and how to fix it")
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


def doctor_command(options: argparse.Namespace) -> Answer:
    """``anchorkit doctor``: report what this machine has, what is missing and how to fix it."""
    from anchorkit.doctor import examine, render, usable

    checks = examine()
    data = {"usable": usable(checks), "checks": [check.to_dict() for check in checks]}
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
