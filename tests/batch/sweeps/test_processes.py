"""Sweeps with worker processes and kernels, as the command starts them."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from anchorkit.batch.sweeps import run_sweep
from anchorkit.runs.provenance import content_hash

from ...datasets.samples import coco_dict, put_json
from .conftest import FIRST, MAKE, SECOND

WAIT = """\
import time
sign = Path({folder!r}) / f'waiting-{{factor}}'
if not (Path({folder!r}) / 'go').exists():
    sign.write_text(str(os.getpid()))
    try:
        time.sleep(60)
    finally:
        (Path({folder!r}) / f'ended-{{factor}}').touch()
(Path(run_dir) / 'figures.json').write_text(json.dumps({{'n': factor}}))"""

pytestmark = pytest.mark.slow


@pytest.fixture
def waiting(workshop) -> Any:
    """A sweep whose second notebook waits, until a file called `go` is there."""
    workshop.notebook("b_multiply", SECOND, [WAIT.format(folder=str(workshop.folder))])
    workshop.file(grid={"factor": [1, 2, 3]})
    return workshop


def command(workshop: Any, *more: str) -> list[str]:
    place = [str(workshop.folder / "sweep.yaml"), "--out", str(workshop.out)]
    return [sys.executable, "-m", "anchorkit", "sweep", *place, *more]


@contextlib.contextmanager
def started(workshop: Any, *more: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The command in the middle of its waiting notebooks, in a session of its own."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def hear_interrupts() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job is born deaf to Ctrl-C

    with subprocess.Popen(
        command(workshop, *more), **pipes, start_new_session=True, preexec_fn=hear_interrupts, **options
    ) as process:
        try:
            while not list(workshop.folder.glob("waiting-*")):
                assert process.poll() is None, process.communicate()
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def kernels(workshop: Any) -> list[psutil.Process]:
    """The living processes that execute waiting notebooks."""
    numbers = [int(path.read_text()) for path in workshop.folder.glob("waiting-*") if path.read_text()]
    return [psutil.Process(number) for number in numbers if psutil.pid_exists(number)]


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=15)[1]


def status(workshop: Any) -> dict[str, int]:
    return json.loads((workshop.out / "status.json").read_text())["counts"]


def finish(workshop: Any, *more: str) -> None:
    (workshop.folder / "go").touch()
    done = subprocess.run(command(workshop, *more, "--json"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (len(said["done"]), said["failed"]) == (3, {})
    assert sorted(value["n"] for value in workshop.figures().values()) == [1.0, 2.0, 3.0]
    assert [path.name for path in (workshop.out / "runs").glob(".*")] == []


def test_one_ctrl_c_stops_cleanly_and_the_same_command_goes_on(waiting) -> None:
    with started(waiting, "--jobs", "2") as process:
        while len(running := kernels(waiting)) < 2:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last == "anchorkit: stopped with 3 of 3 runs to do; the same command resumes the sweep"
    assert len(list(waiting.folder.glob("ended-*"))) == 2  # the notebooks could tidy up
    assert gone(running)
    assert status(waiting) == {"done": 0, "failed": 0, "running": 0, "waiting": 3}
    finish(waiting)


STUBBORN = WAIT.replace("time.sleep(60)", "signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)")


def test_a_second_ctrl_c_kills(waiting) -> None:
    waiting.notebook("b_multiply", SECOND, ["import signal\n" + STUBBORN.format(folder=str(waiting.folder))])
    with started(waiting) as process:
        running = kernels(waiting)
        time.sleep(0.5)  # until the notebook is deaf
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "again to kill them" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=8)  # well below the time that a clean end may take
    assert process.returncode == 130, err
    assert gone(running)
    assert not list(waiting.folder.glob("ended-*"))
    finish(waiting)


def test_what_killed_processes_did_is_done_once_more(waiting) -> None:
    with started(waiting, "--jobs", "2") as process:
        while len(running := kernels(waiting)) < 2:
            time.sleep(0.05)
        (waiting.folder / "go").touch()
        worker = running[1].parent()
        assert worker is not None
        running[0].kill()
        worker.kill()
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert gone(running)
    assert status(waiting) == {"done": 3, "failed": 0, "running": 0, "waiting": 0}
    said = [line for line in err.splitlines() if line.endswith("trying once more")]
    assert len(said) == 2
    assert sum("the notebook's process died" in line for line in said) == 1
    assert sorted(value["n"] for value in waiting.figures().values()) == [1.0, 2.0, 3.0]


def test_a_killed_sweep_takes_its_processes_with_it_and_the_next_waits_for_that(waiting) -> None:
    with started(waiting) as process:
        running = kernels(waiting)
        process.kill()
        process.wait()
        finish(waiting)  # at once: nobody of the killed one may write any more when it begins
        assert gone(running)


def test_a_second_sweep_is_refused_while_the_first_works(waiting) -> None:
    with started(waiting) as process:
        second = subprocess.run(command(waiting), capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert f"another process (id {process.pid}) is using it" in second.stderr
        process.send_signal(signal.SIGTERM)  # as polite as Ctrl-C
        assert process.wait(timeout=60) == 130


def test_a_failed_notebook_is_kept_with_its_error_and_the_others_go_on(workshop) -> None:
    workshop.notebook("a_make", FIRST, ["assert size == 1, 'too large'", MAKE])
    workshop.file(grid={"size": [1, 2]})
    done = subprocess.run(command(workshop), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("1 runs done, 1 failed: open ")
    name = done.stdout.splitlines()[1].split(":")[0].strip()
    folder = workshop.out / "runs" / name
    assert [path.name for path in (folder / "notebooks").iterdir()] == ["a_make.failed.ipynb"]
    error = json.loads((folder / "run.json").read_text())["error"]
    assert error["notebook"] == "a_make"
    assert error["message"].splitlines()[0] == "a_make failed: AssertionError: too large"
    assert "\x1b" not in error["message"]
    assert "too large" in (workshop.out / "logs" / f"{name}.log").read_text()
    assert len(workshop.figures()) == 1
    pages = [workshop.out / "runs" / run / "index.html" for run in os.listdir(workshop.out / "runs")]
    assert sum(page.exists() for page in pages) == 1
    # Where there is no terminal, plain lines say how it goes.
    lines = done.stderr.splitlines()
    assert lines[0] == "sweep: 2 runs, 0 done before, 0 failed before; 4 of 4 steps to do"
    assert [line.split(" for ")[0] for line in lines[1:]] == ["[1/4] a_make", "[2/4] b_multiply", "[3/4] a_make"]
    assert lines[3].endswith("failed: a_make failed: AssertionError: too large")


@pytest.mark.nightly
def test_a_file_that_may_not_grow_is_as_a_full_disk(workshop) -> None:
    """RLIMIT_FSIZE stands for a quota: no file may grow beyond it."""
    workshop.file(grid={"factor": [1, 2]})

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_000, 65_000))

    done = subprocess.run(command(workshop), capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert "free some space; the same command resumes" in done.stderr
    done = subprocess.run(command(workshop), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(workshop.figures()) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system of 2 MB cannot be mounted here: that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_really_full_disk(workshop, small_disk: Path) -> None:
    workshop.out = small_disk / "out"
    workshop.file(grid={"factor": [1, 2]}, base={"size": 5})
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1_500_000))
    done = subprocess.run(command(workshop), capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert "free some space; the same command resumes" in done.stderr
    filler.unlink()
    done = subprocess.run(command(workshop), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(value["n"] for value in workshop.figures().values()) == [5.0, 10.0]


@pytest.fixture
def unprivileged(tmp_path: Path) -> Callable[[list[str]], subprocess.CompletedProcess[str]]:
    """Runs a command as somebody to whom the modes of files apply, in a folder of his own: root may write everywhere.

    Root without capabilities is such a one, and has a Python that he can read, wherever it lies.
    """
    prefix = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*prefix, *command], capture_output=True, text=True, check=False, cwd=tmp_path)

    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    if (prefix and shutil.which(prefix[0]) is None) or run(["touch", str(locked / "x")]).returncode == 0:
        pytest.skip("root's privileges cannot be laid down here: that takes setpriv (Debian: util-linux)")
    return run


@pytest.mark.nightly
def test_real_data_in_a_folder_that_may_only_be_read(unprivileged, tmp_path: Path) -> None:
    data = tmp_path / "my däta"
    for split, first in (("train", 1), ("val", 11), ("test", 21)):
        put_json(data / "annotations" / f"instances_{split}.json", coco_dict(4, first))
        (data / split).mkdir()
        for number in range(first, first + 4):
            Image.new("RGB", (60, 40), (40 * (number % 4), 90, 20)).save(data / split / f"{number:03d}.png")
    (tmp_path / "sweep.yaml").write_text("notebooks: [01_data]\nbase: {data: my däta}\n")
    before = contents(data)
    for path in before:
        path.chmod(0o444 if path.is_file() else 0o555)
    try:
        for path in before:
            target = path if path.is_file() else path / "x"
            assert "Permission denied" in unprivileged(["dd", "if=/dev/null", f"of={target}"]).stderr
        done = unprivileged([sys.executable, "-m", "anchorkit", "sweep", "sweep.yaml", "--out", "out"])
        assert done.returncode == 0, done.stderr
        assert contents(data) == before
    finally:
        for path in before:
            path.chmod(0o755)
    [record] = [json.loads(path.read_text()) for path in tmp_path.glob("out/runs/*/run.json")]
    assert record["provenance"]["data"]["content"] == content_hash(data)


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """When all that is there was changed last, and what it holds."""
    places = [folder, *folder.rglob("*")]
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in places}


JUMPING = """\
import time
own, own_ns = time.time, time.time_ns
def jump():
    with open({offset!r}) as file: return 86_400 * int(file.read() or 0)
time.time, time.time_ns = lambda: own() + jump(), lambda: own_ns() + jump() * 10**9
"""


@pytest.mark.nightly
def test_a_clock_that_is_set_while_a_sweep_runs(workshop) -> None:
    """Every notebook sets the clock, as Python sees it in all processes of the sweep: years ahead, and years back."""
    from .conftest import MULTIPLY

    offset, place = workshop.folder / "offset", workshop.folder / "every interpreter"
    offset.write_text("0")
    place.mkdir()
    (place / "sitecustomize.py").write_text(JUMPING.format(offset=str(offset)))
    times = f"import time\nwith open({str(workshop.folder / 'times')!r}, 'a') as f: f.write(f'{{time.time()}} ')\n"
    setting = f"Path({str(offset)!r}).write_text(str(days))"
    workshop.notebook("a_make", FIRST, [times, "days = 700 * (-1) ** size", setting, times, MAKE])
    workshop.notebook("b_multiply", SECOND, ["days = int(9000 * (factor - 2))", setting, times, MULTIPLY])
    path = workshop.file(grid={"size": [1, 2], "factor": [1, 3]})
    environment = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run(command(workshop), capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found = [float(text) for text in (workshop.folder / "times").read_text().split()]
    assert max(found) - min(found) > 17_000 * 86_400  # it was set under them
    assert sorted(value["n"] for value in workshop.figures().values()) == [1.0, 2.0, 3.0, 6.0]
    # What was done in whichever year is done.
    workshop.executed()
    assert len(run_sweep(path, workshop.out, progress=False).done) == 4
    assert workshop.executed() == []


def test_dry_run_starts_nothing(workshop) -> None:
    workshop.file(grid={"factor": [1, 2]})
    done = subprocess.run(command(workshop, "--dry-run"), capture_output=True, text=True, check=True)
    assert not workshop.out.exists()
    assert workshop.executed() == []
    lines = done.stdout.splitlines()
    assert lines[0] == f"2 runs in {workshop.out}: 2 to do"
    assert lines[3].split() == ["notebook", "runs", "executed", "to", "do", "time", "disk"]
    assert lines[4].split() == ["a_make", "2", "1", "1", "unknown", "unknown"]
    assert lines[5].split() == ["b_multiply", "2", "2", "2", "unknown", "unknown"]
