from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from anchorkit.batch import profiles, run_notebooks
from anchorkit.batch.execution import NotebookError
from anchorkit.batch.profiles import PROFILES
from anchorkit.errors import InputError

from .conftest import PARAMETERS

pytestmark = pytest.mark.usefixtures("page")

# Each lesson appends its name to a file, so that the tests see which were executed.
TRACE = "from pathlib import Path\nwith (Path(run_dir) / 'trace').open('a') as f: f.write({name!r} + f'{{seed}} ')"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run {folder}"  # papermill must not take braces for fields


@pytest.fixture
def three(write_lesson) -> list[Path]:
    return [write_lesson(f"{name}_lesson", [TRACE.format(name=name)]) for name in ("00", "01", "02")]


def record_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "run.json").read_text())


def leftovers(out: Path) -> list[str]:
    """Files with temporary names."""
    return [path.name for path in out.rglob(".*") if path.name != ".lock"]


def test_executes_in_order_records_and_goes_on(three, lessons: Path, out: Path, capsys, write_lesson) -> None:
    folder = run_notebooks("smoke", out=out, notebooks=lessons)
    assert folder == out
    assert (out / "trace").read_text() == "000 010 020 "
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(":")[0] for line in captured.err.splitlines()] == [
        "[1/3] 00_lesson",
        "[2/3] 01_lesson",
        "[3/3] 02_lesson",
    ]
    record = record_of(out)
    assert record["format"] == 1
    assert (record["profile"], record["data"], record["detector"]) == ("smoke", "shapes", "tiny_ssd")
    assert record["seeds"] == {"00_lesson": 0, "01_lesson": 0, "02_lesson": 0}
    assert record["versions"]["numpy"]
    assert record["finished"] >= record["started"]
    assert record["notebooks"]["01_lesson"]["parameters"]["run_dir"] == str(out)
    executed = nbformat.read(out / "notebooks" / "01_lesson.ipynb", as_version=4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    assert executed.metadata.papermill.output_path == "01_lesson.ipynb"
    assert (out / "index.html").exists()
    assert leftovers(out) == []

    # The same again: nothing is executed.
    run_notebooks("smoke", out=out, notebooks=lessons)
    assert (out / "trace").read_text() == "000 010 020 "
    assert "done before" in capsys.readouterr().err

    # Another source: that lesson and all later ones.
    write_lesson("01_lesson", [TRACE.format(name="01"), "print(1)"])
    run_notebooks("smoke", out=out, notebooks=lessons, progress=False)
    assert (out / "trace").read_text() == "000 010 020 010 020 "
    assert capsys.readouterr().err == ""


def test_other_parameters_run_again_what_has_them(lessons: Path, out: Path, write_lesson) -> None:
    write_lesson("00_a", [TRACE.format(name="a")])
    write_lesson("01_b", [TRACE.format(name="b"), "assert n in (1, 2)"], PARAMETERS + "n: int = 1  # a number")
    run_notebooks(out=out, notebooks=lessons)
    run_notebooks(out=out, notebooks=lessons, parameters={"n": 2})
    assert (out / "trace").read_text() == "a0 b0 b0 "
    assert record_of(out)["parameters"] == {"n": 2}
    assert record_of(out)["notebooks"]["01_b"]["parameters"]["n"] == 2


def test_profile_sets_parameters_and_overrides_win(lessons: Path, out: Path, write_lesson, monkeypatch) -> None:
    write_lesson("00_a", ["assert (n, m) == (7, 9), (n, m)"], PARAMETERS + "n: int = 1\nm: int = 1")
    monkeypatch.setitem(profiles.PROFILES, "smoke", {"00_a": {"n": 7, "m": 8}})
    run_notebooks("smoke", out=out, notebooks=lessons, parameters={"m": 9})


def test_a_lesson_may_get_a_value_of_its_own(lessons: Path, out: Path, write_lesson) -> None:
    write_lesson("00_a", ["assert seed == 1"])
    write_lesson("01_b", ["assert seed == 2"])
    run_notebooks(out=out, notebooks=lessons, parameters={"seed": 1, "01_b.seed": 2})
    assert record_of(out)["parameters"] == {"seed": 1, "01_b.seed": 2}
    assert record_of(out)["seeds"] == {"00_a": 1, "01_b": 2}


def test_failure_keeps_the_notebook_aside_and_the_next_start_goes_on(lessons: Path, out: Path, write_lesson) -> None:
    write_lesson("00_a", [TRACE.format(name="a")])
    write_lesson("01_b", [TRACE.format(name="b"), "if not (Path(run_dir) / 'mended').exists(): 1 / 0"])
    (out / "notebooks").mkdir(parents=True)
    for stale in ("index.html", "notebooks/01_b.html"):
        (out / stale).write_text("of an earlier run")
    with pytest.raises(NotebookError, match="01_b failed: ZeroDivisionError: division by zero"):
        run_notebooks(out=out, notebooks=lessons)
    assert not (out / "index.html").exists()
    assert sorted(path.name for path in (out / "notebooks").iterdir()) == ["00_a.ipynb", "01_b.failed.ipynb"]
    assert list(record_of(out)["notebooks"]) == ["00_a"]
    assert record_of(out)["finished"] is None
    (out / "mended").touch()
    run_notebooks(out=out, notebooks=lessons)
    assert (out / "trace").read_text() == "a0 b0 b0 "
    assert sorted(path.name for path in (out / "notebooks").iterdir()) == ["00_a.ipynb", "01_b.ipynb"]


def test_lessons_share_a_process_and_no_names(lessons: Path, out: Path, write_lesson) -> None:
    write_lesson(
        "00_a", ["import os\nfrom pathlib import Path\nleft = (Path(run_dir) / 'pid').write_text(str(os.getpid()))"]
    )
    write_lesson(
        "01_b",
        [
            "assert not {'left', 'os', 'Path'} & set(globals()), sorted(globals())",
            "import os\nassert open(run_dir + '/pid').read() == str(os.getpid())",
        ],
    )
    run_notebooks(out=out, notebooks=lessons)
    executed = nbformat.read(out / "notebooks" / "01_b.ipynb", as_version=4)
    assert [cell.execution_count for cell in executed.cells] == [1, 2, 3, 4]
    with pytest.raises(ProcessLookupError):  # it ends with the run
        os.kill(int((out / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("from anchorkit import InputError\nraise InputError('x.json: no categories')", "00_a: x.json: no categories"),
        ("import errno, os\nraise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'x')", "00_a: the disk is full"),
    ],
)
def test_bad_input_inside_a_notebook_is_bad_input(
    lessons: Path, out: Path, write_lesson, code: str, complaint: str
) -> None:
    write_lesson("00_a", [code])
    with pytest.raises(InputError, match=complaint) as caught:
        run_notebooks(out=out, notebooks=lessons)
    assert "\n" not in str(caught.value)


def test_uses_this_interpreter_whatever_kernel_is_named_python3(
    lessons: Path, out: Path, write_lesson, tmp_path: Path, monkeypatch
) -> None:
    other = tmp_path / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    (other / "kernel.json").write_text(
        json.dumps({"argv": ["/bin/false", "{connection_file}"], "display_name": "x", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    write_lesson("00_a", [f"import sys\nassert sys.executable == {sys.executable!r}"])
    run_notebooks(out=out, notebooks=lessons)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"profile": "quik"}, "unknown profile 'quik'; did you mean quick?"),
        ({"parameters": {"sed": 1}}, "unknown parameter 'sed'; did you mean seed?"),
        ({"parameters": {"seed": 1.5}}, "seed is 1.5; int is needed"),
        ({"parameters": {"detector": "x"}}, "use --detector"),
        ({"parameters": {"run_dir": "x"}}, "use --out"),
        ({"data": "./nowhere"}, "nowhere: no such folder"),
        ({"data_root": "/"}, "unknown parameter 'data_root'"),
    ],
)
def test_bad_arguments_start_nothing(
    three, lessons: Path, out: Path, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        run_notebooks(out=out, notebooks=lessons, **arguments)
    assert not out.exists()


def test_a_file_is_no_data(three, lessons: Path, out: Path) -> None:
    with pytest.raises(InputError, match="a folder with COCO json or VOC xml annotations is needed"):
        run_notebooks(data=three[0], out=out, notebooks=lessons)


def test_a_folder_of_data_is_passed_whole(lessons: Path, tmp_path: Path, write_lesson, monkeypatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    write_lesson("00_a", [f"assert data == {str(tmp_path / 'mine')!r}, data"])
    folder = run_notebooks(data="mine", notebooks=lessons)
    assert folder == tmp_path / "runs" / "quick-mine"


def test_no_lessons(tmp_path: Path, out: Path) -> None:
    with pytest.raises(InputError, match="no notebooks named like"):
        run_notebooks(out=out, notebooks=tmp_path)


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ('{"format": 0}', "run format 0; this anchorkit writes format 1"),
        ("[]", "not the record of a run"),
        ('{"format": 1', "cut off"),
        ('{"format": 1, "profile": "full"}', "holds a run with profile 'full', not 'quick'"),
        ('{"format": 1, "profile": "quick", "data": "voc"}', "holds a run with data 'voc', not"),
    ],
)
def test_refuses_the_folder_of_another_run(three, lessons: Path, out: Path, record: str, complaint: str) -> None:
    out.mkdir()
    (out / "run.json").write_text(record)
    with pytest.raises(InputError, match=complaint):
        run_notebooks(out=out, notebooks=lessons)
    assert (out / "run.json").read_text() == record


def test_profiles_are_the_three(repository: Path) -> None:
    from anchorkit import cli

    assert tuple(PROFILES) == cli.PROFILES


def test_profiles_name_what_the_lessons_have(repository: Path) -> None:
    from anchorkit.batch.parameters import read_parameters

    for profile in PROFILES.values():
        for stem, values in profile.items():
            known = read_parameters(repository / "notebooks" / f"{stem}.ipynb")
            for name, value in values.items():
                known[name].check(value, stem)


RUN = """\
import sys
from pathlib import Path
from types import ModuleType
report = ModuleType("anchorkit.pages.run")
report.write_index = lambda folder: None
sys.modules["anchorkit.pages.run"] = report
import anchorkit.bundled
anchorkit.bundled.notebooks_dir = lambda: Path(sys.argv[1])
from anchorkit.cli import main
sys.exit(main(["run", "--out", sys.argv[2]]))
"""


@pytest.mark.parametrize("to_group", [True, False], ids=["ctrl-c", "kill -INT"])
def test_interrupt_leaves_nothing_half_written(lessons: Path, out: Path, write_lesson, to_group: bool) -> None:
    write_lesson("00_a", [TRACE.format(name="a")])
    pause = (
        "import os, time\n(Path(run_dir) / 'pid').write_text(str(os.getpid()))\nPath('waiting').touch()\ntime.sleep(60)"
    )
    write_lesson("01_b", [TRACE.format(name="b"), f"if not Path('waiting').exists():\n{textwrap.indent(pause, ' ')}"])
    command = [sys.executable, "-c", RUN, str(lessons), str(out)]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job is born deaf to Ctrl-C, and so would be what the tests start there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        while not (out / "waiting").exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        if to_group:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("anchorkit: interrupted")
    assert sorted(path.name for path in (out / "notebooks").iterdir()) == ["00_a.ipynb"]
    assert leftovers(out) == []
    assert list(record_of(out)["notebooks"]) == ["00_a"]
    with pytest.raises(ProcessLookupError):  # the kernel went with it
        os.kill(int((out / "pid").read_text()), 0)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert (out / "trace").read_text() == "a0 b0 b0 "
    assert done.stdout.strip() == f"The result: open {out / 'index.html'} in a browser"


def test_two_runs_do_not_share_a_folder(three, lessons: Path, out: Path) -> None:
    from anchorkit.runs.lock import locked

    with locked(out), pytest.raises(InputError, match="another process"):
        run_notebooks(out=out, notebooks=lessons)


def test_a_kernel_that_dies_is_told(lessons: Path, out: Path, write_lesson) -> None:
    write_lesson("00_a", ["import os, sys\nos._exit(3)"])
    with pytest.raises(NotebookError, match="00_a: the notebook's process died"):
        run_notebooks(out=out, notebooks=lessons)
    assert list((out / "notebooks").iterdir()) == []


def test_full_disk_while_the_notebook_is_written(three, lessons: Path, out: Path) -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
    command = [sys.executable, "-c", limit + RUN, str(lessons), str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("anchorkit: ")
    assert "File too large" in done.stderr
    assert leftovers(out) == []


def test_with_data_of_one_s_own_the_tour_on_shapes_is_not_run(
    lessons: Path, tmp_path: Path, write_lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anchorkit.batch.runner.look_beforehand", lambda runs: None)
    monkeypatch.setitem(PROFILES, "smoke", {})
    for name in ("00_start_here", "01_lesson"):
        write_lesson(name, [TRACE.format(name=name[:2])])
    (tmp_path / "mine" / "annotations").mkdir(parents=True)
    (tmp_path / "mine" / "annotations" / "instances_train.json").write_text("{}")
    for data, expected in ((tmp_path / "mine", "010 "), ("shapes", "000 010 ")):
        out = tmp_path / f"run-{Path(data).name}"
        run_notebooks("smoke", data=data, out=out, notebooks=lessons)
        assert (out / "trace").read_text() == expected


LEARNS = """\
from anchorkit.runs.learning import Learning
before = Path(start) / "model.safetensors"
said = before.read_text() + " " if before.exists() else ""
(Path(run_dir) / "detector").mkdir(exist_ok=True)
(Path(run_dir) / "detector" / "model.safetensors").write_text(f"{said}{minutes}")
(Path(run_dir) / "detector" / "detector.json").write_text("{}")
Learning("settled", 0.5, 0.0, 100, 1.0, "random weights").write(run_dir)
"""


def test_full_goes_on_from_where_quick_ended(lessons: Path, out: Path, write_lesson, monkeypatch) -> None:
    own = PARAMETERS + 'start: str = "shipped"  # what it begins with\nminutes: float = 0.0  # how long\n'
    write_lesson("02_detector", ["from pathlib import Path", LEARNS], parameters=own)
    for profile, minutes in (("quick", 3.0), ("full", 40.0)):
        monkeypatch.setitem(PROFILES, profile, {"02_detector": {"minutes": minutes}})
    weights = out / "detector" / "model.safetensors"
    run_notebooks("quick", out=out, notebooks=lessons)
    assert weights.read_text() == "3.0"
    for _ in range(2):  # a second time there is nothing left to do
        run_notebooks("full", out=out, notebooks=lessons)
        assert weights.read_text() == "3.0 40.0"
        start = record_of(out)["notebooks"]["02_detector"]["parameters"]["start"]
        assert start == str(out / "quick" / "detector")
    # Whoever says what to begin with gets that.
    run_notebooks("full", out=out, notebooks=lessons, parameters={"start": "scratch"})
    assert weights.read_text() == "40.0"
    with pytest.raises(InputError, match="holds a run with profile 'full', not 'quick'"):
        run_notebooks("quick", out=out, notebooks=lessons)


def test_what_a_training_reports_is_passed_on_as_it_comes(lessons: Path, out: Path, write_lesson, capsys) -> None:
    write_lesson("02_lesson", ["print('training: step 3 of 9')\nprint('not for the terminal')"])
    run_notebooks("smoke", out=out, notebooks=lessons)
    lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert lines[:2] == ["[1/1] 02_lesson:", "step 3 of 9"]
    assert lines[2].endswith(" s")
    assert len(lines) == 3


RATIO = PARAMETERS + "channel_ratio: float = 0.2  # share of the channels\nchannel_images: int = 4  # to look at\n"


@pytest.fixture
def with_channels(write_lesson, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setitem(PROFILES, "smoke", {})
    names = dict.fromkeys(("01_data", "02_detector"), PARAMETERS)
    names |= dict.fromkeys(("09_channels", "21_channels_and_anchors"), RATIO)
    return [write_lesson(name, [TRACE.format(name=name[:2])], own) for name, own in names.items()]


def test_the_lessons_about_channels_are_in_a_run_that_asks_for_them(with_channels, lessons: Path, out: Path) -> None:
    run_notebooks("smoke", out=out, notebooks=lessons, progress=False)
    assert (out / "trace").read_text() == "010 020 "
    run_notebooks("smoke", out=out, notebooks=lessons, parameters={"channel_ratio": 0.0}, progress=False)
    assert (out / "trace").read_text() == "010 020 "
    run_notebooks("smoke", out=out, notebooks=lessons, parameters={"channel_ratio": 0.3}, progress=False)
    assert (out / "trace").read_text() == "010 020 090 210 "
    record = record_of(out)["notebooks"]
    assert record["21_channels_and_anchors"]["parameters"]["channel_ratio"] == 0.3


def test_what_they_left_goes_when_another_detector_is_trained_without_them(
    with_channels, lessons: Path, out: Path
) -> None:
    run_notebooks("smoke", out=out, notebooks=lessons, parameters={"09_channels.channel_ratio": 0.3}, progress=False)
    (out / "channels" / "joint").mkdir(parents=True)
    (out / "channels" / "joint" / "search.json").write_text("{}")
    (out / "channels" / "0.3").mkdir()
    (out / "channels" / "0.3" / "pruning.json").write_text("{}")
    run_notebooks("smoke", out=out, notebooks=lessons, progress=False)
    assert (out / "channels" / "joint" / "search.json").exists()  # nothing that they depend on has changed
    run_notebooks("smoke", out=out, notebooks=lessons, parameters={"02_detector.seed": 1}, progress=False)
    assert not [path for path in (out / "channels").rglob("*") if path.is_file()]
    assert list(record_of(out)["notebooks"]) == ["01_data", "02_detector"]
    assert sorted(path.stem for path in out.glob("notebooks/*.ipynb")) == ["01_data", "02_detector"]


def test_parameters_about_channels_need_a_ratio_and_a_network(
    with_channels, lessons: Path, out: Path, tmp_path
) -> None:
    with pytest.raises(InputError, match=r"-p channel_images: only the lessons about channels .* channel_ratio=0\.2"):
        run_notebooks(out=out, notebooks=lessons, parameters={"channel_images": 8})
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(InputError, match="an ONNX file cannot be removed"):
        run_notebooks(
            out=out, notebooks=lessons, detector=str(tmp_path / "net.onnx"), parameters={"channel_ratio": 0.1}
        )
