"""The ``anchorkit`` command: every subcommand is a few lines of the Python API.

Each module holds a family of commands and registers them with `add_commands`. Commands import heavy packages only when
they need them, so ``--help`` and bad options answer at once. The answer of a command goes to standard output. All else
(progress, warnings, the prints of libraries) goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from anchorkit import __version__
from anchorkit.cli import anchors, checks, experiments, runs, shipping, sweeps, tables, workplace
from anchorkit.cli.answers import EXIT_BAD_INPUT, EXIT_INTERRUPTED, Answer
from anchorkit.cli.options import Parser
from anchorkit.cli.runs import PROFILES
from anchorkit.errors import InputError, MissingExtraError
from anchorkit.files import NO_ROOM
from anchorkit.suggest import did_you_mean

__all__ = ["PROFILES", "Answer", "main"]

# In the order of `anchorkit --help`.
_FAMILIES = (runs, sweeps, experiments, tables, anchors, checks, shipping, workplace)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 done, 2 bad input (one line on standard error says what and where), 130 interrupted. A bug
        raises an exception: Python shows the traceback and exits with 1.
    """
    try:
        options = _parse(sys.argv[1:] if arguments is None else list(arguments))
        # Some libraries print to standard output (pycocotools does), which is only for the answer.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.showwarning = _once()
            answer: Answer = options.command(options)
        text = json.dumps(answer.data, allow_nan=False) if getattr(options, "json", False) else answer.text
        _print(text)
        return answer.exit_code
    except (InputError, MissingExtraError) as error:
        return _complain(str(error), EXIT_BAD_INPUT)
    except OSError as error:
        if error.errno not in NO_ROOM | {errno.EROFS}:
            raise
        return _complain(f"{error.filename or 'output'}: cannot be written ({error.strerror})", EXIT_BAD_INPUT)
    except KeyboardInterrupt as interrupt:
        import logging

        # An event loop that was cut off would report its unfinished tasks while Python ends.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        return _complain(str(interrupt) or "interrupted; the same command resumes from here", EXIT_INTERRUPTED)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser, commands = make_parser()
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    if first is not None and first not in commands:
        raise InputError(f"unknown command {first!r}; {did_you_mean(first, commands)}")
    behind: list[str] = []
    if first is not None and commands[first].get_default("behind") is not None and "--" in arguments:
        place = arguments.index("--")
        arguments, behind = arguments[:place], arguments[place + 1 :]
    options, unknown = parser.parse_known_args(arguments)
    if behind:
        options.behind = behind
    if unknown:
        if not unknown[0].startswith("-"):
            raise InputError(f"{options.name}: unknown argument {unknown[0]}; the command takes no more arguments")
        known = [option for action in commands[options.name]._actions for option in action.option_strings]
        meant = did_you_mean(unknown[0].partition("=")[0], known)
        raise InputError(f"{options.name}: unknown option {unknown[0]}; {meant}")
    return options


def make_parser() -> tuple[Parser, dict[str, argparse.ArgumentParser]]:
    parser = Parser(
        prog="anchorkit",
        description="Find the anchors that an object detector does not need, and remove them.",
        epilog="Exit codes: 0 done, 2 bad input, 130 interrupted, 1 a bug. IDS is a comma-separated list of anchor ids "
        "(L0/56x28) or indices.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"anchorkit {__version__}")
    adder = parser.add_subparsers(dest="name", metavar="COMMAND", required=True, parser_class=Parser)
    commands: dict[str, argparse.ArgumentParser] = {}

    def add(name: str, command: Callable[[argparse.Namespace], Answer], help_: str) -> argparse.ArgumentParser:
        commands[name] = adder.add_parser(name, help=help_, description=help_, allow_abbrev=False)
        commands[name].set_defaults(command=command)
        return commands[name]

    for family in _FAMILIES:
        family.add_commands(add)
    return parser, commands


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader has closed the pipe (`anchorkit search ... | head`). Without this, Python would complain when it
        # closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str, code: int) -> int:
    # Progress bars leave the cursor in the middle of a line.
    start = "\n" if code == EXIT_INTERRUPTED else ""
    print(f"{start}anchorkit: {' '.join(message.split())}", file=sys.stderr)
    return code


def _once() -> Callable[..., None]:
    """What shows warnings during a command: each text once, although several steps may open the same data."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        line = " ".join(str(message).split())
        if line not in shown:
            shown.add(line)
            print(f"anchorkit: warning: {line}", file=sys.stderr)

    return show
