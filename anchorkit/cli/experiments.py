"""``anchorkit experiments``: check the claims of the paper on a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from anchorkit.cli.answers import EXIT_BAD_INPUT, EXIT_FAILED, Answer
from anchorkit.cli.options import AddCommand, add_json, one_of
from anchorkit.cli.runs import PROFILES


def add_commands(add: AddCommand) -> None:
    experiments = add(
        "experiments", experiments_command, "check the claims of the paper on a run, and write one HTML page"
    )
    experiments.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="a run's folder, or any folder if you give -p predictions=... -p ground_truth=...",
    )
    experiments.add_argument(
        "experiments",
        nargs="*",
        metavar="NAME",
        help="names or numbers, such as 12_finetune_or_retrain or 12 (default: all)",
    )
    experiments.add_argument(
        "--profile", type=one_of("profile", PROFILES), help="smoke, quick or full (default: the run's own)"
    )
    experiments.add_argument(
        "-p",
        dest="parameters",
        action="append",
        metavar="[NAME.]PARAMETER=VALUE",
        help="a parameter of them; repeatable",
    )
    add_json(experiments)


def experiments_command(options: argparse.Namespace) -> Answer:
    """``anchorkit experiments``: execute each experiment, then write the page with the answers."""
    from anchorkit.batch import run_experiments
    from anchorkit.batch.experiments import experiment_resolver
    from anchorkit.errors import InputError
    from anchorkit.runs.answers import read_answers

    parameters = experiment_resolver().parse(options.parameters)
    done = run_experiments(options.run, options.experiments or None, options.profile, parameters)
    answers = read_answers(options.run)
    lines = [
        f"{name}: {one['verdict']}. {one['answer']}"
        for experiment, answer in answers.items()
        for name, one in {experiment: answer, **{f"  {n}": p for n, p in answer.get("parts", {}).items()}}.items()
    ]
    # The second line of the error names the notebook; its traceback follows.
    lines += [f"{name}: failed. {' '.join(str(error).splitlines()[:2])}" for name, error in done.failed.items()]
    lines.append(f"The answers: open {done.page} in a browser")
    data = {
        "page": str(done.page),
        "executed": list(done.executed),
        "skipped": list(done.skipped),
        "failed": {name: str(error) for name, error in done.failed.items()},
        "answers": answers,
    }
    bug = any(not isinstance(error, InputError) for error in done.failed.values())
    return Answer("\n".join(lines), data, EXIT_FAILED if bug else EXIT_BAD_INPUT if done.failed else 0)
