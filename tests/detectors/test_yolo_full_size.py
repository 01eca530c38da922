"""The large YOLOs at full size and 80 classes; elsewhere they are tested with an eighth of their channels."""

from __future__ import annotations

from pathlib import Path

import pytest

import anchorkit as ak
from anchorkit import testing
from anchorkit.costs import costs
from anchorkit.detectors import cut_channels, export_darknet, masked_channels
from tests.detectors import properties
from tests.detectors.test_channels import apart
from tests.detectors.test_yolo import same

SIZE = (96, 128)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["yolov3", "yolov3_tiny", "yolov4", "yolov4_tiny", "yolov7_tiny", "yolov5s"])
def test_a_large_family_keeps_every_promise(name: str, tmp_path: Path) -> None:
    detector = properties.spread(ak.load_detector(name, categories=80, size=SIZE, seed=1), scale=0.02)
    split = properties.split_of(detector, properties.noise_images(SIZE, (70, 50)))
    found = testing.check_detector(detector, split, images=2, configurations=1)
    assert set(found.values()) == {"kept"}

    layout = detector.layout
    for level in range(len(layout.levels)):
        gone = [anchor.index for anchor in layout.anchors if anchor.level == level]
        properties.costs_are_those_of_the_real_network(detector, layout.configuration(drop=gone))
    small = ak.prune(detector, layout.configuration(keep=[0, len(layout) - 1]))

    channels = ak.coupled_channels(detector)
    keep = {group.name: range(0, group.atoms, 2) for group in channels.groups}
    slim, masked = (cut(detector, keep, channels=channels) for cut in (cut_channels, masked_channels))
    assert apart(slim, masked) < 1e-4
    properties.costs_are_those_of_the_real_network(slim, slim.layout.full)
    del masked

    pytest.importorskip("onnxruntime")
    for number, cut in enumerate((small, ak.prune(slim, slim.layout.configuration(keep=[1, 2])))):
        testing.check_saving(cut, properties.noise_images(SIZE), tmp_path / f"saved{number}")
        file = ak.load_onnx(ak.export_onnx(cut, tmp_path / f"{number}.onnx"))
        assert [level.anchors for level in file.layout.levels] == [
            level.anchors for level in cut.layout.levels if level.anchors
        ]
        assert costs(file.layout.full)["total_flops"] == costs(cut.layout.full)["total_flops"]
        if name == "yolov5s":  # its norms have another epsilon, so its bits are not darknet's
            continue
        written = export_darknet(cut, tmp_path / f"{number}.cfg")
        assert same(ak.load_detector(written, weights=written.with_suffix(".weights")), cut)
