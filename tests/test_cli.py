from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anchorkit import cli
from anchorkit.anchors import AnchorLayout, Level
from anchorkit.cli import workplace

SHAPES = (((16.0, 16.0), (32.0, 16.0), (16.0, 32.0)), ((64.0, 64.0), (96.0, 48.0)))
STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
COSTS = ("boxes", "head_flops", "total_flops", "head_parameters")


@dataclass(frozen=True)
class Files:
    """A small prediction table, its ground truth and its layout."""

    table: Path
    truth: Path
    layout: Path


def make_layout(shapes: Any = SHAPES) -> AnchorLayout:
    levels = tuple(
        Level(f"P{number}", 10 >> number, 12 >> number, anchors, 0, 100, 0, 50) for number, anchors in enumerate(shapes)
    )
    return AnchorLayout("toy", (160, 192), levels, trunk_macs=10_000)


def write_files(folder: Path, layout: AnchorLayout, images: int = 12, seed: int = 0) -> Files:
    """Each object is found by a few anchors, the better the nearer their shape is."""
    from anchorkit.predictions import PostProcess, PredictionTable

    random = np.random.default_rng(seed)
    annotations, rows = [], []
    for image in range(1, images + 1):
        for _ in range(4):
            x, y = random.uniform(0, 90, 2)
            w, h = random.uniform(14, 100, 2)
            category = int(random.integers(1, 3))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "iscrowd": 0,
                }
                | {"area": w * h}
            )
            for anchor in layout.anchors:
                miss = abs(np.log(w / anchor.width)) + abs(np.log(h / anchor.height))
                noise = random.normal(0, 2 + 4 * miss, 4)
                score = float(np.clip(np.exp(-miss) + random.normal(0, 0.1), 0.03, 0.99))
                x1, y1, x2, y2 = np.array([x, y, x + w, y + h]) + noise
                rows.append((image, anchor.index, category, score, x1, y1, max(x1, x2), max(y1, y2)))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    boxes = np.stack(columns[4:], axis=1).astype(np.float32)
    post = PostProcess(score_threshold=0.01, topk=None, topk_scope="class", nms_iou=0.5, max_detections=100)
    table = PredictionTable(*columns[:4], boxes, layout, post)
    files = Files(folder / "table.parquet", folder / "truth.json", folder / "layout.json")
    table.save(files.table)
    truth = {
        "images": [
            {"id": image, "width": 192, "height": 160, "file_name": f"{image}.png"} for image in range(1, images + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "bar"}, {"id": 2, "name": "ball"}],
    }
    files.truth.write_text(json.dumps(truth))
    files.layout.write_text(layout.to_json())
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("files"), make_layout())


Command = Callable[..., tuple[int, str, str]]


def complaint(result: tuple[int, str, str]) -> str:
    """The one line that bad input is answered with."""
    code, out, err = result
    assert (code, out) == (2, ""), result
    lines = err.splitlines()
    # A progress bar may have been begun before; the complaint is the last line and the only one of its kind.
    assert lines[-1].startswith("anchorkit: ")
    assert "Traceback" not in err
    return lines[-1].removeprefix("anchorkit: ")


# --- evaluate


def test_evaluate_says_what_the_evaluator_says(command: Command, files: Files) -> None:
    from anchorkit.evaluation import Evaluator
    from anchorkit.predictions import PredictionTable

    code, out, _ = command("evaluate", files.table, files.truth, "--drop", "1,L1/64x64", "--json")
    assert code == 0
    stats = json.loads(out)
    assert tuple(stats) == STATS
    table = PredictionTable.load(files.table)
    assert stats == Evaluator(table, str(files.truth)).stats(table.layout.configuration(drop=[1, 3]))
    code, out, _ = command("evaluate", files.table, files.truth, "--keep", "0, 2, 4", "--json")
    assert json.loads(out) == stats


def test_evaluate_for_people_shows_points(command: Command, files: Files) -> None:
    stats = json.loads(command("evaluate", files.table, files.truth, "--json")[1])
    code, out, _ = command("evaluate", files.table, files.truth)
    assert code == 0
    first, _, *lines = out.splitlines()
    assert first == "toy: 5 of 5 anchors"
    assert lines[0].split() == ["AP", f"{100 * stats['AP']:.1f}"]
    assert len(lines) == 12


# --- search


def test_search_writes_what_it_says(command: Command, files: Files, tmp_path: Path) -> None:
    import pandas as pd

    out_dir = tmp_path / "new" / "out"
    code, out, _ = command("search", files.table, files.truth, "--cost", "boxes", "--out", out_dir, "--json")
    assert code == 0
    data = json.loads(out)
    assert set(data) == {"frontier", "evaluated"}
    accuracies = [point["accuracy"] for point in data["frontier"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert all(set(point) == {"accuracy", "costs", "anchors"} for point in data["frontier"])
    assert all(set(point["costs"]) == set(COSTS) for point in data["frontier"])
    frontier = pd.read_csv(out_dir / "frontier.csv")
    ids = make_layout().ids
    assert [tuple(text.split()) for text in frontier["anchors"]] == [
        tuple(ids[index] for index in point["anchors"]) for point in data["frontier"]
    ]
    assert frontier["boxes"].tolist() == [point["costs"]["boxes"] for point in data["frontier"]]
    assert len(pd.read_parquet(out_dir / "evaluated.parquet")) == data["evaluated"]
    assert (out_dir / "frontier.png").read_bytes().startswith(b"\x89PNG")
    page = (out_dir / "frontier.html").read_text()
    assert 'src="http' not in page
    assert not [path for path in out_dir.rglob(".*") if path.name != ".lock"]


def test_search_for_people(command: Command, files: Files) -> None:
    data = json.loads(command("search", files.table, files.truth, "--json")[1])
    code, out, _ = command("search", files.table, files.truth)
    assert code == 0
    assert out.startswith(f"{data['evaluated']} configurations tried. {len(data['frontier'])} configurations")
    assert out.splitlines()[2].split()[0] == f"{100 * data['frontier'][0]['accuracy']:.1f}"


def test_search_passes_threshold_strategy_and_moves_on(command: Command, files: Files) -> None:
    def frontier(*options: str) -> list[dict[str, Any]]:
        return json.loads(command("search", files.table, files.truth, "--json", *options)[1])["frontier"]

    everything = frontier()
    middle = everything[len(everything) // 2]["accuracy"]
    assert frontier("--threshold", str(middle)) == [point for point in everything if point["accuracy"] >= middle]
    anchors = make_layout().anchors
    shared = frontier("--moves", "shared")
    assert len(shared) > 1
    for point in shared:  # whole shapes and whole levels are gone, nothing else
        kept = [anchors[index] for index in point["anchors"]]
        levels, positions = {anchor.level for anchor in kept}, {anchor.position for anchor in kept}
        assert kept == [anchor for anchor in anchors if anchor.level in levels and anchor.position in positions]
    assert shared != everything
    authors = json.loads(command("search", files.table, files.truth, "--json", "--strategy", "authors")[1])
    assert authors["evaluated"] < json.loads(command("search", files.table, files.truth, "--json")[1])["evaluated"]


def test_search_by_another_metric(command: Command, files: Files, tmp_path: Path) -> None:
    from anchorkit.evaluation import Evaluator
    from anchorkit.predictions import PredictionTable

    table = PredictionTable.load(files.table)
    for metric in ("AP", "AP50", "voc07"):
        options = ("--metric", metric, "--out", tmp_path / metric, "--json")
        code, out, _ = command("search", files.table, files.truth, *options)
        assert code == 0
        data = json.loads(out)
        assert set(data) == {"frontier", "evaluated"}
        evaluator = Evaluator(table, str(files.truth), metric=metric)
        for point in data["frontier"]:
            assert point["accuracy"] == evaluator.accuracy(table.layout.configuration(keep=point["anchors"]))
        header = json.loads((tmp_path / metric / "ledger.jsonl").read_text().splitlines()[0])
        assert header.get("metric", "AP") == metric
    # What was measured by one metric is not mixed with another.
    options = ("--metric", "AP50", "--out", tmp_path / "AP")
    assert "the metric (AP there, AP50 here)" in complaint(command("search", files.table, files.truth, *options))
    assert "beats in AP50 and head_flops" in command("search", files.table, files.truth, "--metric", "AP50")[1]


def test_every_metric_that_is_offered_is_known(files: Files) -> None:
    from anchorkit.evaluation import Evaluator
    from anchorkit.evaluation.metrics import named_metrics
    from anchorkit.predictions import PredictionTable

    table = PredictionTable.load(files.table)
    for metric in named_metrics():
        assert Evaluator(table, str(files.truth), metric=metric).metric == metric


# --- costs


def test_costs_of_a_layout(command: Command, files: Files) -> None:
    code, out, _ = command("costs", files.layout, "--json")
    assert code == 0
    data = json.loads(out)
    boxes = 10 * 12 * 3 + 5 * 6 * 2
    assert {name: data[name] for name in (*COSTS, "n_anchors")} == {
        "n_anchors": 5,
        "boxes": boxes,
        "head_flops": 100 * boxes,
        "total_flops": 100 * boxes + 10_000,
        "head_parameters": 250,
    }
    assert data["levels"][1] == {
        "name": "P1",
        "height": 5,
        "width": 6,
        "anchors": 2,
        "boxes": 60,
        "head_flops": 6000,
    }
    assert set(data) == {*COSTS, "n_anchors", "levels"}


def test_costs_of_a_table_a_saved_detector_and_a_layout_agree(command: Command, files: Files, tmp_path: Path) -> None:
    (tmp_path / "detector.json").write_text(json.dumps({"version": 1, "layout": make_layout().to_dict()}))
    outs = {command("costs", source, "--drop", "0", "--json")[1] for source in (files.layout, files.table, tmp_path)}
    assert len(outs) == 1
    assert json.loads(outs.pop())["n_anchors"] == 4


def test_costs_for_people(command: Command, files: Files) -> None:
    code, out, _ = command("costs", files.layout)
    assert code == 0
    assert out.splitlines()[0] == "toy: 5 of 5 anchors"
    assert "all                 5    420      42,000" in out
    assert "total FLOPs: 52,000; head parameters: 250" in out


def test_costs_of_a_named_detector(command: Command) -> None:
    from anchorkit.detectors import layout_of

    code, out, _ = command("costs", "tiny_ssd", "--classes", "3", "--size", "128", "160", "--json")
    assert code == 0
    layout = layout_of("tiny_ssd", 3, (128, 160))
    assert json.loads(out)["n_anchors"] == len(layout)
    assert json.loads(out)["boxes"] == sum(level.cells * len(level.anchors) for level in layout.levels)


# --- bad input


def test_misspelt_words_get_a_suggestion(command: Command, files: Files) -> None:
    say = lambda *arguments: complaint(command(*arguments))  # noqa: E731
    assert say("serch") == "unknown command 'serch'; did you mean search?"
    assert say("search", "a", "b", "--treshold=1") == "search: unknown option --treshold=1; did you mean --threshold?"
    assert say("evaluate", "a", "b", "c") == "evaluate: unknown argument c; the command takes no more arguments"
    assert "did you mean head_flops?" in say("search", "a", "b", "--cost", "head_flop")
    assert "did you mean voc07?" in say("search", "a", "b", "--metric", "voc7")
    assert "did you mean quick?" in say("run", "--profile", "quik")
    assert "did you mean authors?" in say("search", files.table, files.truth, "--strategy", "author")
    assert "invalid float value: 'x'" in say("search", "a", "b", "--threshold", "x")
    assert "required: PREDICTIONS" in say("evaluate")
    assert "not allowed with" in say("evaluate", "a", "b", "--keep", "0", "--drop", "1")


@pytest.mark.parametrize("threshold", ["7", "-0.1", "nan"])
def test_threshold_out_of_range(command: Command, threshold: str) -> None:
    assert f"--threshold {threshold}: an accuracy from 0 to 1" in complaint(
        command("search", "a", "b", f"--threshold={threshold}")
    )


@pytest.mark.parametrize("name", ["evaluate", "search"])
def test_broken_inputs_are_refused_by_name(command: Command, files: Files, tmp_path: Path, name: str) -> None:
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(files.table.read_bytes()[:-200])
    assert str(cut) in complaint(command(name, cut, files.truth))
    missing = tmp_path / "missing.parquet"
    assert str(missing) in complaint(command(name, missing, files.truth))
    assert str(missing) in complaint(command(name, files.table, missing))
    bare = tmp_path / "bare.json"
    truth = json.loads(files.truth.read_text())
    bare.write_text(json.dumps({key: truth[key] for key in ("images", "annotations")}))
    text = complaint(command(name, files.table, bare))
    assert str(bare) in text
    assert "categories" in text
    half = tmp_path / "half.json"
    half.write_text(files.truth.read_text()[:200])
    assert str(half) in complaint(command(name, files.table, half))


@pytest.mark.parametrize("options", [("--keep", "L0/1x1"), ("--drop", "5"), ("--keep", "0,-1")])
def test_unknown_anchors(command: Command, files: Files, options: tuple[str, str]) -> None:
    assert "unknown anchor" in complaint(command("evaluate", files.table, files.truth, f"{options[0]}={options[1]}"))
    assert "unknown anchor" in complaint(command("costs", files.layout, f"{options[0]}={options[1]}"))


def test_costs_of_what_is_no_layout(command: Command, files: Files, tmp_path: Path) -> None:
    assert "no such file" in complaint(command("costs", tmp_path / "none.json"))
    assert "layout version None" in complaint(command("costs", files.truth))
    assert "not a layout .json" in complaint(command("costs", tmp_path / "none.yaml"))
    assert "--classes and --size" in complaint(command("costs", files.layout, "--classes", "3"))
    assert "tiny_ssd" in complaint(command("costs", "tiny_sdd"))


def test_a_bug_is_no_bad_input(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    from anchorkit import costs

    def broken(_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(costs, "costs", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["costs", str(files.layout)])


# --- as a process


def run_process(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "anchorkit", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, **options)


def test_json_is_alone_on_standard_output(files: Files) -> None:
    done = run_process("search", files.table, files.truth, "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    json.loads(done.stdout)


@pytest.mark.filterwarnings("default")
def test_whatever_a_library_prints_goes_to_standard_error(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def talkative(_: Any) -> cli.Answer:
        print("loading annotations...")
        warnings.warn("mind\nthe gap", stacklevel=1)
        return cli.Answer("text", {"x": 1})

    monkeypatch.setattr(workplace, "doctor_command", talkative)
    code, out, err = command("doctor", "--json")
    assert (code, out) == (0, '{"x": 1}\n')
    assert err == "loading annotations...\nanchorkit: warning: mind the gap\n"


def test_a_reader_that_leaves_is_no_error(files: Files) -> None:
    script = f'"{sys.executable}" -m anchorkit costs "{files.layout}" | true; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "0\n"
    assert done.stderr == ""


def test_full_disk_is_told_in_a_line_and_leaves_nothing(command: Command, files: Files, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))

    command("evaluate", files.table, files.truth)  # whatever caches there are exist now
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # Python would cut off its own as well
    done = run_process("search", files.table, files.truth, "--out", tmp_path / "out", preexec_fn=limit, env=environment)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name != ".lock"] in ([], ["ledger.jsonl"])
    assert command("search", files.table, files.truth, "--out", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "frontier.csv").exists()


def hear_interrupts() -> None:
    """A shell's background job is born deaf to Ctrl-C, and so would be what the tests start there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Enough anchors that a search takes a while."""
    shapes = tuple(tuple((8.0 * (i + 2), 8.0 * (j + 2)) for i in range(4)) for j in (0, 2, 5))
    return write_files(tmp_path_factory.mktemp("many"), make_layout(shapes), images=40)


# A search that announces itself and then waits for Ctrl-C after each batch.
SLOWLY = """
import sys, time
from pathlib import Path
from anchorkit import cli
from anchorkit.evaluation import Evaluator

sign = Path(sys.argv.pop(1))
children = Evaluator.children

def slowly(self, c, moves):
    found = children(self, c, moves)
    slowly.batches += 1
    if slowly.batches > 3:
        sign.touch()
        time.sleep(0.2)
    return found

slowly.batches = 0
Evaluator.children = slowly
sys.exit(cli.main())
"""


def interrupted(sign: Path, *arguments: Any) -> tuple[str, str]:
    """Standard output and standard error of a command that hears Ctrl-C in the middle of its search."""
    command_line = [sys.executable, "-c", SLOWLY, str(sign), *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command_line, **pipes, preexec_fn=hear_interrupts) as process:
        while not sign.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    return out, err


@pytest.mark.slow
def test_an_interrupted_search_writes_what_it_has_and_goes_on(command: Command, many: Files, tmp_path: Path) -> None:
    import pandas as pd

    out_dir = tmp_path / "out"
    arguments = ["search", many.table, many.truth, "--cost", "boxes", "--json", "--out", out_dir]
    out, err = interrupted(tmp_path / "under way", *arguments)
    assert out == ""  # nobody shall take it for the whole
    tried = pd.read_parquet(out_dir / "evaluated.parquet")
    last = err.splitlines()[-1]
    assert last == f"anchorkit: interrupted after {len(tried)} configurations; the same command resumes from here"
    written = {"frontier.csv", "evaluated.parquet", "frontier.png", "frontier.html", "search.json", "ledger.jsonl"}
    assert {path.name for path in out_dir.iterdir()} == written | {".lock"}
    assert json.loads((out_dir / "search.json").read_text())["complete"] is False
    frontier = pd.read_csv(out_dir / "frontier.csv")
    assert len(frontier) <= len(tried)
    before = (out_dir / "ledger.jsonl").read_text()
    assert before.count("\n") - 1 == len(tried)
    again = command(*arguments)
    assert again[0] == 0, again
    ledger = (out_dir / "ledger.jsonl").read_text()
    assert ledger.startswith(before)
    assert len(ledger) > len(before)
    assert json.loads((out_dir / "search.json").read_text())["complete"] is True
    assert again[1] == command(*arguments[:-1], tmp_path / "fresh")[1]
    for name in ("frontier.csv", "evaluated.parquet", "ledger.jsonl"):
        assert (out_dir / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


@pytest.mark.slow
def test_an_interrupted_search_without_a_folder_shows_what_it_has(many: Files, tmp_path: Path) -> None:
    out, err = interrupted(tmp_path / "under way", "search", many.table, many.truth)
    assert out == ""
    assert "configurations tried." in err
    assert "points" in err
    last = err.splitlines()[-1]
    assert last.startswith("anchorkit: interrupted; the frontier so far is above. With --out DIR")


def test_run_passes_its_options_on(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from anchorkit import batch

    seen: dict[str, Any] = {}

    def run_notebooks(**options: Any) -> Path:
        seen.update(options)
        return tmp_path

    monkeypatch.setattr(batch, "run_notebooks", run_notebooks)
    code, out, _ = command("run", "--profile", "smoke", "--data", "x", "--detector", "y", "--out", "z", "-p", "seed=3")
    assert code == 0
    assert seen == {"profile": "smoke", "data": "x", "detector": "y", "out": Path("z"), "parameters": {"seed": 3}}
    assert out == f"The result: open {tmp_path / 'index.html'} in a browser\n"
    assert "did you mean seed?" in complaint(command("run", "-p", "sed=3"))
    assert "seed=x: int is needed" in complaint(command("run", "-p", "seed=x"))


def test_run_refuses_a_folder_of_another_version(command: Command, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": 99}')
    assert "run format 99" in complaint(command("run", "--out", tmp_path))


# --- notebooks


def test_notebooks_are_copied_once_and_never_overwritten(command: Command, tmp_path: Path, repository: Path) -> None:
    target = tmp_path / "lessons"
    code, out, _ = command("notebooks", target)
    assert code == 0
    assert str(target) in out
    names = {path.name for path in (repository / "notebooks").glob("*.ipynb")}
    assert names
    assert {path.name for path in target.glob("*.ipynb")} == names
    assert command("notebooks", target)[0] == 0
    first = sorted(target.glob("*.ipynb"))[0]
    first.write_text("my own work")
    for other in sorted(target.glob("*.ipynb"))[1:]:
        other.unlink()
    assert str(first) in complaint(command("notebooks", target))
    assert [path.name for path in target.iterdir()] == [first.name]
    assert first.read_text() == "my own work"


# --- export


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lessons 2, 4 and 5 leave of a very small detector: A loses 0.3 points of AP, B 0.6."""
    import pandas as pd

    from anchorkit.costs import costs
    from anchorkit.detectors import load_detector, prune, save_detector
    from anchorkit.search.result import Asked, SearchResult, kept_in

    folder = tmp_path_factory.mktemp("run")
    full = load_detector("tiny_ssd", categories=1, size=(96, 96), shapes=[[(9, 9), (18, 9)], [(30, 30)]], seed=0)
    save_detector(full, folder / "detector")
    chosen = {
        ("unpruned", "full"): (full.layout.full, 0.5),
        ("A", "pruned"): (full.layout.configuration(drop=[0]), 0.497),
        ("B", "pruned"): (full.layout.configuration(drop=[0, 1]), 0.4),
        ("B", "fine-tuned"): (full.layout.configuration(drop=[0, 1]), 0.494),
    }
    rows = []
    for (point, stage), (configuration, accuracy) in chosen.items():
        rows.append({"point": point, "stage": stage, "split": "val", "accuracy": accuracy, **costs(configuration)})
        rows[-1]["anchors"] = " ".join(configuration.ids)
        if stage != "full":
            save_detector(prune(full, configuration), folder / "retrained" / f"{point}-{stage}")
    table = pd.DataFrame(rows)
    table.to_csv(folder / "retrained" / "points.csv", index=False)
    searched = table[:3].drop(columns=["point", "stage", "split"])
    evaluated = searched.assign(order=range(3), parent=[-1, 0, 1])
    asked, kept = Asked.of(full.layout, "head_flops"), kept_in(full.layout, searched)
    SearchResult(full.layout, asked, "algorithm1", searched, evaluated, kept).save(folder / "search")
    return folder


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Takes the place of the export; the detectors that were to be written."""
    from anchorkit import detectors

    seen: list[Any] = []

    def export_onnx(detector: Any, path: Path, nms: bool) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(5000))
        path.with_suffix(".json").write_text(json.dumps({"nms": nms, "verified": None}))
        seen.append(detector)
        return path

    monkeypatch.setattr(detectors, "export_onnx", export_onnx)
    return seen


@pytest.mark.parametrize(
    ("name", "called", "kept", "trained"),
    [
        (None, "A-pruned", 2, False),
        ("shipped", "A-pruned", 2, False),
        ("full", "full", 3, True),
        ("B-fine-tuned", "B-fine-tuned", 1, True),
        ("3", "row-3", 1, False),
        ("L0/9x9", "anchors-1", 1, False),
        ("0,2", "anchors-5", 2, False),
    ],
)
def test_export_takes_any_detector_of_a_run(
    command: Command, run_folder: Path, exported: list[Any], name: str | None, called: str, kept: int, trained: bool
) -> None:
    options = [] if name is None else ["--configuration", name]
    code, out, _ = command("export", run_folder, *options, "--json")
    assert code == 0
    said = json.loads(out)
    assert (said["configuration"], said["trained"]) == (called, trained)
    assert said["model"] == str(run_folder / "export" / called / "detector.onnx")
    assert said["description"] == str(run_folder / "export" / called / "detector.json")
    assert (said["costs_before"]["n_anchors"], said["costs"]["n_anchors"]) == (3, kept)
    assert said["costs"]["parameters"] == exported[0].parameters
    assert len(exported[0].layout) == kept


def test_export_ships_what_the_report_of_this_run_allowed(
    command: Command, run_folder: Path, exported: list[Any], tmp_path: Path
) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    for loss, called in ((0.007, "B-fine-tuned"), (0.004, "A-pruned")):
        about = {"format": 1, "notebooks": {"06_report": {"parameters": {"max_loss": loss}}}}
        (tmp_path / "run" / "run.json").write_text(json.dumps(about))
        assert json.loads(command("export", tmp_path / "run", "--json")[1])["configuration"] == called


def test_the_page_and_the_export_name_the_same_detector(
    command: Command, run_folder: Path, exported: list[Any], tmp_path: Path
) -> None:
    import pandas as pd

    from anchorkit.pages.run import write_index
    from anchorkit.runs.points import Points

    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    table = pd.read_csv(run / "retrained" / "points.csv")
    table = table[(table["point"] != "B") | (table["stage"] != "pruned")]
    table["accuracy"] = [0.500, 0.499, 0.496]  # A loses 0.1 points, B 0.4
    table["head_flops"] = [1000, 700, 500]
    Points(table).write(run)
    for loss, point, stage in ((None, "A", "pruned"), (0.005, "B", "fine-tuned"), (0.002, "A", "pruned")):
        if loss is not None:
            Points(table, loss).record_loss(run)
        assert Points.read(run).shipped == (point, stage)  # what lessons 5 to 7 ask
        assert f"Candidate to ship: {point} {stage} with " in write_index(run).read_text()
        assert json.loads(command("export", run, "--json")[1])["configuration"] == f"{point}-{stage}"


def test_export_for_people(command: Command, run_folder: Path, exported: list[Any], tmp_path: Path) -> None:
    out_file = tmp_path / "mine.onnx"
    code, out, _ = command("export", run_folder, "--configuration", "2", "--out", out_file)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "row-2 of tiny_ssd, pruned but not trained"
    assert [line.split() for line in lines[1:3]] == [["before", "after"], ["anchors", "3", "2"]]
    assert lines[-2:] == [f"{out_file}  5 kB", f"{tmp_path / 'mine.json'}  0 kB"]


def test_export_of_a_saved_detector(command: Command, run_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    folder = run_folder / "retrained" / "B-fine-tuned"
    code, out, _ = command("export", folder, "--nms", "--out", tmp_path / "small.onnx", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["nms"] is True
    assert said["verified"]["scores"] < 1e-4
    assert said["bytes"] == (tmp_path / "small.onnx").stat().st_size
    assert json.loads((tmp_path / "small.json").read_text())["file"] == "small.onnx"


def test_export_says_what_there_is(command: Command, run_folder: Path, exported: list[Any], tmp_path: Path) -> None:
    say = lambda *arguments: complaint(command("export", *arguments))  # noqa: E731
    there = "there are full, shipped, A-pruned, B-fine-tuned, B-pruned, 1 to 3 (rows of the frontier), anchors to keep"
    for name in ("C-retrained", "0", "4"):
        assert f"no configuration '{name}'; {there}" in say(run_folder, "--configuration", name)
    saved = run_folder / "retrained" / "B-pruned"
    assert "no configuration '1'; there are full, anchors to keep" in say(saved, "--configuration", "1")
    assert "unknown anchor 7: tiny_ssd has anchors 0 to 2" in say(run_folder, "--configuration", "0,7")
    assert "keeps no anchor" in say(run_folder, "--configuration", ",")
    assert f"{tmp_path}: neither a run's folder" in say(tmp_path)
    shutil.copytree(run_folder / "detector", tmp_path / "detector")
    assert "run the notebook 05_prune_and_retrain first" in say(tmp_path)
    (tmp_path / "retrained").mkdir()
    (tmp_path / "retrained" / "points.csv").write_text("point,stage\n")
    assert "points.csv: lacks the column 'accuracy'" in say(tmp_path)
    (tmp_path / "retrained" / "points.csv").write_text("")
    assert "points.csv: cannot be read" in say(tmp_path)
    assert exported == []
