"""What several tests share: where real data lies, and how hard hypothesis tries."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# Deadlines would fail on a busy machine and prove nothing; HYPOTHESIS_PROFILE=nightly tries a hundred times as hard.
settings.register_profile("default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


LONGEST = (
    "browser/test_lessons",
    "browser/test_app",
    "notebooks/test_smoke_run",
    "detectors/test_every_detector",
    "detectors/test_channels",
    "evaluation/test_properties",
)
"""These files begin first. A file's tests share a process, and the others should not wait for it at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the longest tests to the night, and begin with the longest files."""
    longest = {ROOT / "tests" / f"{name}.py": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: longest.get(item.path, len(longest)))
    if os.environ.get("HYPOTHESIS_PROFILE") != "nightly":
        for item in items:
            if "nightly" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="long: HYPOTHESIS_PROFILE=nightly make test runs it"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The times that tests/browser measured, from whichever process."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    times = [text for one in reports for key, text in getattr(one, "user_properties", ()) if key == "click to picture"]
    if times:
        terminalreporter.write_sep("-", "from a click to the new picture")
        for line in dict.fromkeys(times):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real data kept beside the checkout; ANCHORKIT_REAL_DATA names another place."""
    folder = Path(os.environ.get("ANCHORKIT_REAL_DATA", ROOT.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; ANCHORKIT_REAL_DATA names the folder that has it")
    return folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process: exit code, standard output, standard error."""
    from anchorkit import cli

    def run(*arguments: Any) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
