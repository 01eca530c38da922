"""Files that the kit exports: everything that the kit knows of them is found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxscript")

import anchorkit as ak
from anchorkit.costs import costs
from anchorkit.datasets import Category
from anchorkit.detectors import Detector
from anchorkit.onnx import OnnxDetector, load_onnx
from anchorkit.onnx.graph import Graph, macs, probe
from tests.detectors.test_every_detector import FAMILIES, built
from tests.onnx.properties import check_cuts, run, subsets

MACS = ("boxes", "head_flops", "total_flops")
FOLDED = ("ssdlite", "efficientdet")  # their batch norms are folded into convolutions: two numbers became one
CHEAP = ("tiny_ssd_overanchorized",)


def _most_by_night(family: Any) -> Any:
    """Exporting and loading a deep network and cutting it 50 times takes 20 seconds and more."""
    by_night = [] if family.values[0] in CHEAP else [pytest.mark.nightly]
    return pytest.param(*family.values, marks=[*family.marks, *by_night])


@pytest.fixture(scope="module")
def trained() -> Detector:
    return ak.load_detector("tiny_ssd", weights="shapes")


@pytest.fixture(scope="module")
def found(trained: Detector, tmp_path_factory: pytest.TempPathFactory) -> OnnxDetector:
    return load_onnx(ak.export_onnx(trained, tmp_path_factory.mktemp("export") / "tiny_ssd.onnx"))


def test_all_anchors_and_costs_of_tiny_ssd(trained: Detector, found: OnnxDetector) -> None:
    assert found.layout.ids == trained.layout.ids
    for one, other in zip(found.layout.anchors, trained.layout.anchors, strict=True):
        assert (one.width, one.height) == pytest.approx((other.width, other.height), abs=1e-4)
    for number, kept in enumerate(subsets(found, 50)):
        theirs = trained.layout.configuration(keep=kept.indices)
        assert costs(kept) == costs(theirs)
        if number % 10 == 0:
            cut = Graph(found.analysis.cut(kept.mask)[0], "cut")
            assert sum(macs(cut, probe(cut, (1, 3, 160, 160), [])[0]).values()) == costs(theirs)["total_flops"]
    assert found.categories == trained.categories
    assert found.postprocess == trained.postprocess
    check_cuts(found)


def test_a_cut_file_is_the_pruned_detectors_export(trained: Detector, found: OnnxDetector, tmp_path: Path) -> None:
    keep = [0, 3, 4, 9, 17]  # two levels are empty
    pruned = ak.prune(trained, trained.layout.configuration(keep=keep))
    theirs = load_onnx(ak.export_onnx(pruned, tmp_path / "pruned.onnx"))
    ours = ak.prune(found, found.layout.configuration(keep=keep))
    assert len(ours.layout) == len(theirs.layout) == len(keep)
    assert ours.costs()["total_flops"] == theirs.costs()["total_flops"]
    image = np.random.default_rng(0).random((2, 3, 160, 160), np.float32)
    one, other = run(ours.model, image), run(theirs.model, image)
    assert np.array_equal(one["boxes"], other["boxes"])
    assert np.array_equal(one["scores"], other["scores"])


def check_predictions(whole: Detector, found: OnnxDetector, size: tuple[int, int]) -> None:
    """What the file says of an image is what the kit says."""
    images = [np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)]
    [one], [other] = found.raw_predictions(images), whole.raw_predictions(images)
    assert np.array_equal(one.anchor, other.anchor)
    assert np.allclose(one.scores, other.scores, atol=1e-4)
    assert np.allclose(one.boxes, other.boxes, atol=0.05)


def test_predictions_are_the_kits(trained: Detector, found: OnnxDetector) -> None:
    check_predictions(trained, found, (120, 90))


@pytest.mark.slow
@pytest.mark.parametrize("name", [_most_by_night(family) for family in FAMILIES])
def test_the_export_of_every_family(name: str, tmp_path: Path) -> None:
    whole = built(name)
    found = load_onnx(ak.export_onnx(whole, tmp_path / "exported.onnx"))
    assert found.layout.ids == whole.layout.ids
    assert found.layout.shared_head == whole.layout.shared_head
    for one, other in zip(found.layout.anchors, whole.layout.anchors, strict=True):
        assert (one.width, one.height) == pytest.approx((other.width, other.height), abs=1e-3)
    for kept in subsets(found, 50):
        theirs = costs(whole.layout.configuration(keep=kept.indices))
        ours = costs(kept)
        assert {name: ours[name] for name in MACS} == {name: theirs[name] for name in MACS}
        if not name.startswith(FOLDED):
            assert ours == theirs
    check_cuts(found)
    height, width = whole.layout.input_size
    # Averaged pixels are rounded to whole numbers before a file, and are not before the kit's own network.
    times = 1 if found.preprocess is not None and found.preprocess.antialias else 2
    check_predictions(whole, found, (times * height, times * width))


@pytest.mark.slow
def test_a_shared_head_may_keep_other_shapes_on_each_level(tmp_path: Path) -> None:
    whole = ak.load_detector("tiny_retinanet", categories=[Category(1, "cat"), Category(2, "dog")], size=(96, 128))
    found = load_onnx(ak.export_onnx(whole, tmp_path / "retinanet.onnx"))
    assert found.layout.ids == whole.layout.ids
    assert found.layout.shared_head
    assert [anchor.position for anchor in found.layout.anchors] == [anchor.position for anchor in whole.layout.anchors]
    for kept in subsets(found, 20):
        theirs = whole.layout.configuration(keep=kept.indices)
        for cost in ("boxes", "head_flops", "total_flops"):
            assert costs(kept)[cost] == costs(theirs)[cost]
    check_cuts(found, 16)
    same = found.layout.configuration(keep=[anchor.index for anchor in found.layout.anchors if anchor.position < 3])
    assert found.pruned(same).bytes < found.bytes
