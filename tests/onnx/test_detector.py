"""`OnnxDetector`: predictions, preprocessing, saving and loading again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import anchorkit as ak
from anchorkit.errors import InputError
from anchorkit.onnx import PRESETS, Preprocess, load_onnx
from tests.onnx import graphs
from tests.onnx.conftest import Load

IMAGES = [
    np.random.default_rng(0).integers(0, 256, size, np.uint8) for size in ((50, 90, 3), (64, 64, 3), (100, 30, 3))
]


def test_predictions_of_a_cut_file_are_the_kept_ones(load: Load) -> None:
    for model in (graphs.yolov5(), graphs.retinaface(), graphs.tensorflow_ssd(), graphs.yolov8()):
        detector = load(model, preset="ultralytics")
        keep = [1, len(detector.layout) - 1]
        small = ak.prune(detector, detector.layout.configuration(keep=keep))
        assert len(small.layout) == 2
        for whole, cut in zip(detector.raw_predictions(IMAGES), small.raw_predictions(IMAGES), strict=True):
            wanted = np.isin(whole.anchor, keep)
            assert np.array_equal(whole.boxes[wanted], cut.boxes)
            assert np.array_equal(whole.scores[wanted], cut.scores)
            assert np.array_equal(np.searchsorted(keep, whole.anchor[wanted]), cut.anchor)


def test_cut_twice_is_cut_once(load: Load) -> None:
    detector = load(graphs.yolov5())
    once = detector.pruned(detector.layout.configuration(keep=[1, 7]))
    first = detector.pruned(detector.layout.configuration(keep=[1, 4, 7]))
    twice = first.pruned(first.layout.configuration(drop=[1]))
    assert twice.model == once.model
    assert twice.kept_filters == once.kept_filters == {
        "model.24.m.0.weight": tuple(range(8, 16)),
        "model.24.m.0.bias": tuple(range(8, 16)),
        "model.24.m.1.weight": (),
        "model.24.m.1.bias": (),
        "model.24.m.2.weight": tuple(range(8, 16)),
        "model.24.m.2.bias": tuple(range(8, 16)),
    }  # fmt: skip
    assert twice.costs() == once.costs()


def test_a_saved_file_says_everything_itself(load: Load, tmp_path: Path) -> None:
    detector = load(graphs.yolov5(), categories=["cat", "dog", "cow"], preset="ultralytics")
    small = detector.pruned(detector.layout.configuration(keep=[0, 8]))
    path = small.save(tmp_path / "small.onnx")
    again = load_onnx(path)
    assert again.categories == detector.categories
    assert again.preprocess == detector.preprocess
    assert again.postprocess == detector.postprocess
    assert [(anchor.width, anchor.height) for anchor in again.layout.anchors] == [(10, 13), (373, 326)]
    for one, other in zip(small.raw_predictions(IMAGES), again.raw_predictions(IMAGES), strict=True):
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.scores, other.scores)
    facts = json.loads(path.with_suffix(".json").read_text())
    assert [anchor["width"] for anchor in facts["anchors"]] == [10, 373]
    assert [level["stride"] for level in facts["levels"]] == [[8, 8], [16, 16], [32, 32]]
    assert facts["kept_filters"]["model.24.m.2.weight"] == list(range(16, 24))
    assert facts["applied"] == {"decoding": True, "activation": "sigmoid", "objectness": False}
    assert [run["rows"] for run in facts["row_order"]] == [64, 4]


def test_bare_heads_can_be_loaded_again(load: Load, tmp_path: Path) -> None:
    said = {"decode": "yolov5", "activation": "sigmoid", "preset": "darknet"}
    detector = load(graphs.bare(split=True), categories=3, shapes=graphs.SHAPES, **said)
    again = load_onnx(detector.save(tmp_path / "again.onnx"))
    assert again.layout.ids == detector.layout.ids
    for one, other in zip(detector.raw_predictions(IMAGES), again.raw_predictions(IMAGES), strict=True):
        assert np.array_equal(one.boxes, other.boxes)


def test_what_a_file_cannot_say_is_asked_for(load: Load) -> None:
    detector = load(graphs.yolov5())
    assert detector.preprocess is None
    assert detector.missing()
    with pytest.raises(InputError, match="preset= .*ultralytics.*resize=, mean=, scale= and color="):
        detector.raw_predictions(IMAGES)
    assert "does not say" in str(detector)
    ready = detector.with_preprocess(resize="stretch", mean=0, scale=255)
    assert not ready.missing()
    assert len(ready.raw_predictions(IMAGES)) == 3
    with pytest.raises(InputError, match="unknown preset 'ultralitics'.*did you mean ultralytics"):
        detector.with_preprocess(preset="ultralitics")


def test_it_needs_no_torch(tmp_path: Path) -> None:
    import onnx

    onnx.save(graphs.yolov5(), tmp_path / "yolo.onnx")
    script = (
        "import sys, numpy as np, anchorkit as ak\n"
        f"detector = ak.load_onnx({str(tmp_path / 'yolo.onnx')!r}, preset='ultralytics')\n"
        "small = ak.prune(detector, detector.layout.configuration(keep=[0]))\n"
        f"small.save({str(tmp_path / 'small.onnx')!r})\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("size", [(50, 90), (100, 30), (64, 64), (7, 5)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "letterbox-corner"])
def test_boxes_go_back_to_where_they_came_from(resize: str, size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    height, width = size
    rows, columns = slice(height // 4, height // 2 + 1), slice(width // 3, width // 3 * 2 + 1)
    image[rows, columns] = 255
    way = Preprocess(resize, (0, 0, 0), (1, 1, 1), fill=(0, 0, 0), antialias=False)
    pixels, placement = way.apply(image, (320, 320))
    lit = np.argwhere(pixels[0, 0] > 127)
    box = np.array([[lit[:, 1].min(), lit[:, 0].min(), lit[:, 1].max() + 1, lit[:, 0].max() + 1]], np.float64)
    expected = [columns.start, rows.start, columns.stop, rows.stop]
    assert placement.to_image(box, width, height)[0] == pytest.approx(expected, abs=0.6)


def test_colours_mean_and_scale() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 200
    way = Preprocess("stretch", (100, 0, 50), (10, 1, 2), "BGR")
    pixels, _ = way.apply(image, (4, 4))
    assert pixels[0, :, 0, 0].tolist() == [-10, 0, 75]
    assert Preprocess.from_dict(way.to_dict(), "here") == way
    assert all("images are" in preset.describe() for preset in PRESETS.values())
