"""The commands with a detector that is only an ONNX file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import anchorkit as ak
from anchorkit import cli
from anchorkit.batch.execution import Kernel
from anchorkit.runs.onnx_file import open_onnx, parse_facts

from ..datasets.samples import coco_dict, coco_folder, put_json

pytestmark = [
    pytest.mark.filterwarnings("ignore:the machine was busy"),
    pytest.mark.filterwarnings("default::UserWarning"),
]

Command = Callable[..., tuple[int, str, str]]
SAID = ("-p", "preset=anchorkit")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco_folder(tmp_path_factory.mktemp("data") / "set", 4)


def answer(command: Command, *arguments: Any) -> dict[str, Any]:
    code, out, err = command(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def refused(command: Command, *arguments: Any) -> str:
    code, out, err = command(*arguments)
    assert (code, out) == (2, ""), err
    return err.splitlines()[-1]


def outputs(file: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: image}), strict=True))


def test_anchors_of_a_file(command: Command, unknown: Path) -> None:
    found = answer(command, "anchors", unknown)
    assert found["input"] == [96, 128]
    assert [level["anchors"] for level in found["levels"]] == [
        ["L0/12x12", "L0/20x10"],
        ["L1/30x30", "L1/40x20", "L1/20x40"],
    ]
    assert found["boxes"] == sum(level["height"] * level["width"] * len(level["anchors"]) for level in found["levels"])
    assert found["box_format"] == "xyxy"
    assert {output["name"]: output["role"] for output in found["outputs"]} == {"boxes": "boxes", "scores": "scores"}
    sizes = [(anchor["width"], anchor["height"]) for anchor in found["anchors"]]
    np.testing.assert_allclose(sizes, [(12, 12), (20, 10), (30, 30), (40, 20), (20, 40)], atol=1e-4)
    code, out, _ = command("anchors", unknown)
    assert code == 0
    assert "L1/20x40" in out
    assert "The file does not say how images are resized" in out


def test_a_file_is_read_without_torch(unknown: Path) -> None:
    program = (
        "import sys; from anchorkit import cli; cli.main(['anchors', sys.argv[1], '--json']);"
        "print(*sorted({'torch', 'altair', 'IPython'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, unknown], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []


def test_prune_writes_the_same_file_smaller(command: Command, unknown: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.onnx"
    done = answer(command, "prune", unknown, "--keep", "L0/20x10,3", "--out", small)
    assert done["anchors"] == [1, 3]
    assert done["bytes"] == [unknown.stat().st_size, small.stat().st_size]
    layout = ak.load_onnx(unknown).layout
    before, after = (ak.costs.costs(c) for c in (layout.full, layout.configuration(keep=[1, 3])))
    for name in ("boxes", "total_flops"):
        assert done[name] == [before[name], after[name]]
    image = np.random.default_rng(0).random((1, 3, 96, 128), np.float32)
    whole, cut = outputs(unknown, image), outputs(small, image)
    assert list(whole) == list(cut)
    made_by = ak.detectors.boxes_by_anchor(layout)
    rows = np.isin(made_by, [1, 3])
    for name, values in cut.items():
        np.testing.assert_array_equal(values, whole[name][:, rows])
    facts = json.loads(small.with_suffix(".json").read_text())
    assert facts["kept_anchors"] == [1, 3]
    assert "kept_filters" in facts
    assert answer(command, "anchors", small)["boxes"] == after["boxes"]


def test_prune_says_how_the_cut_file_compares(command: Command, unknown: Path, data: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.onnx"
    done = answer(command, "prune", unknown, "--keep", "1,3", "--out", small, "--data", data, *SAID)
    assert done["verified"]["difference"] == 0
    assert done["AP"]["run"] == done["AP"]["expected"]
    assert done["AP"]["run"] == answer(command, "evaluate", small, data, *SAID)["AP"]
    assert done["AP"]["whole"] == answer(command, "evaluate", unknown, data, *SAID)["AP"]


def test_prune_tells_what_optimizations_change_in_a_quantized_file(command: Command, tmp_path: Path) -> None:
    import onnx

    from tests.onnx import graphs

    onnx.save(graphs.quantized(graphs.yolov5(), tmp_path, per_channel=True), tmp_path / "int8.onnx")
    code, out, _ = command("prune", tmp_path / "int8.onnx", "--keep", "0", "--out", tmp_path / "small.onnx")
    assert code == 0
    assert "Without the runtime's graph optimizations" in out
    assert json.loads((tmp_path / "small.json").read_text())["verified"]["optimized"] is not None


def test_evaluate_and_search_let_the_file_predict(command: Command, unknown: Path, data: Path) -> None:
    found = answer(command, "evaluate", unknown, data, *SAID, "--drop", "0")
    val = ak.load_dataset(data).val
    detector = ak.load_onnx(unknown, preset="anchorkit", categories=list(val.categories))
    evaluator = ak.Evaluator(ak.collect_predictions(detector, val, progress=False), val.ground_truth)
    assert found == evaluator.stats(evaluator.layout.configuration(drop=[0]))
    searched = answer(command, "search", unknown, data, *SAID, "--cost", "boxes", "--threshold", "0")
    assert searched["evaluated"] > 1
    assert all(set(point["anchors"]) <= set(range(5)) for point in searched["frontier"])


def test_classes_are_found_by_their_names(command: Command, unknown: Path, data: Path, tmp_path: Path) -> None:
    """The file has the classes of the data in another order; with the names, they are not mixed up."""
    (tmp_path / "file.names").write_text("dog\ncat\n")
    detector = open_onnx(
        unknown,
        parse_facts(["preset=anchorkit", f"categories={tmp_path / 'file.names'}"]),
        ak.load_dataset(data).val.categories,
    )
    assert [(category.id, category.name) for category in detector.categories] == [(7, "dog"), (3, "cat")]
    named = ("-p", f"categories={tmp_path / 'file.names'}")
    (tmp_path / "file.names").write_text("Katze\nHund\n")  # in another language, they are taken in their order
    assert answer(command, "evaluate", unknown, data, *SAID, *named) == answer(
        command, "evaluate", unknown, data, *SAID
    )
    (tmp_path / "file.names").write_text("dog\nhorse\n")
    assert "has some classes of the data, but not 'cat'" in refused(command, "evaluate", unknown, data, *SAID, *named)


def test_check_says_how_the_file_wants_its_images(command: Command, unknown: Path, data: Path, tmp_path: Path) -> None:
    picture = tmp_path / "look.png"
    code, out, _ = command("check", unknown, data, *SAID, "--out", picture)
    assert code == 0
    assert "stretch, RGB, (pixel - 0) / 255 (in use)" in out
    assert "letterbox" in out
    assert picture.stat().st_size > 1000


def test_latency_takes_files(command: Command, unknown: Path, data: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.onnx"
    assert command("prune", unknown, "--keep", "0", "--out", small)[0] == 0
    found = answer(command, "latency", unknown, small, "--data", data, *SAID)
    assert found["runtime"] == "onnxruntime"
    assert {row["detector"] for row in found["latency"]} == {str(unknown), str(small)}
    assert "use runtime 'onnxruntime'" in refused(
        command, "latency", unknown, "--data", data, *SAID, "--runtime", "torch"
    )


def test_what_is_missing_is_asked_for_in_a_line(command: Command, unknown: Path, data: Path, tmp_path: Path) -> None:
    assert "does not say how its images were prepared; give preset=NAME" in refused(command, "evaluate", unknown, data)
    assert "unknown name 'presset'; did you mean preset" in refused(
        command, "evaluate", unknown, data, "-p", "presset=ssd"
    )
    assert "unknown preset 'sssd'" in refused(command, "check", unknown, data, "-p", "preset=sssd")
    assert "give the data set with its images" in refused(command, "check", unknown)
    assert "--split test: " in refused(command, "evaluate", unknown, data, *SAID, "--split", "test")
    assert "ending in .onnx" in refused(command, "prune", unknown, "--keep", "0", "--out", tmp_path / "folder")
    assert "only anchors can be removed" in refused(
        command, "prune", unknown, "--channels", "0.3", "--out", tmp_path / "small.onnx"
    )


def test_a_run_asks_before_its_first_notebook(
    command: Command, unknown: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(*_: object) -> None:
        raise AssertionError("a notebook was started")

    monkeypatch.setattr(Kernel, "execute", execute)
    start = ("run", "--profile", "smoke", "--data", data, "--out", tmp_path / "run", "--detector")
    assert "no such file" in refused(command, *start, tmp_path / "none.onnx")
    assert "give preset=NAME" in refused(command, *start, unknown)
    other = coco_folder(tmp_path / "other")
    for split, first in (("train", 1), ("val", 11)):
        truth = coco_dict(3, first) | {"categories": [{"id": n, "name": f"class of {n}"} for n in (3, 7, 8, 9)]}
        put_json(other / "annotations" / f"instances_{split}.json", truth)
    assert "give the names of its classes" in refused(
        command, "run", "--profile", "smoke", "--data", other, "--out", tmp_path / "run", "--detector", unknown, *SAID
    )
    assert not (tmp_path / "run" / "run.json").exists()
    with pytest.raises(AssertionError, match="a notebook was started"):
        cli.main([str(argument) for argument in (*start, unknown, *SAID)])
