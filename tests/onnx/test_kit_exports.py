"""Files that the kit exports: everything that the kit knows of them is found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxscript")

import anchorkit as ak
from anchorkit.costs import costs
from anchorkit.datasets import Category
from anchorkit.detectors import Detector
from anchorkit.onnx import OnnxDetector, load_onnx
from tests.onnx.properties import check_cuts, run, subsets


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
    for kept in subsets(found, 50):
        theirs = trained.layout.configuration(keep=kept.indices)
        assert costs(kept) == costs(theirs)
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


def test_predictions_are_the_kits(trained: Detector, found: OnnxDetector) -> None:
    images = [np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)]
    [one], [other] = found.raw_predictions(images), trained.raw_predictions(images)
    assert np.array_equal(one.anchor, other.anchor)
    assert np.allclose(one.scores, other.scores, atol=1e-4)
    assert np.allclose(one.boxes, other.boxes, atol=0.05)


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
