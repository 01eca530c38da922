"""YOLOv2 by its files: cells turned into channels, anchors in cells, classes that exclude each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import anchorkit as ak
from anchorkit import testing
from anchorkit.detectors import cut_channels, export_darknet, masked_channels
from anchorkit.detectors.darknet import _Blocks, yolo_levels
from anchorkit.detectors.darknet_cfg import cfg_text, parse_cfg
from anchorkit.detectors.darknet_sections import Cfg, Convolution, Region, Reorganize
from anchorkit.detectors.darknet_weights import weights_count
from anchorkit.detectors.yolo_families import Layers
from anchorkit.detectors.yolo_loss import yolo_losses
from anchorkit.errors import InputError
from tests.detectors import properties
from tests.detectors.test_channels import apart
from tests.detectors.test_yolo import same

ANCHORS = ((0.5, 0.75), (1.5, 2.0), (3.0, 2.5))


def yolov2(part: float = 1, classes: int = 80, anchors: int = 5) -> Cfg:
    """YOLOv2 with a part of its channels."""
    net, wide = Layers(), lambda filters: max(4, int(filters * part))
    net.conv(wide(32), size=3)
    for filters, pairs in ((64, 0), (128, 1), (256, 1), (512, 2), (1024, 2)):
        net.pool()
        net.conv(wide(filters), size=3)
        if filters == 1024:
            fine = net.last - 2
        for _ in range(pairs):
            net.conv(wide(filters // 2))
            net.conv(wide(filters), size=3)
    coarse = net.conv(wide(1024), wide(1024), size=3)
    net.route(fine)
    net.conv(wide(64))
    net.route(net.add(Reorganize(stride=2)), coarse)
    net.conv(wide(1024), size=3)
    net.add(Convolution(filters=(5 + classes) * anchors, normalized=False, activation="linear"))
    net.add(Region(anchors=(ANCHORS * 2)[:anchors], classes=classes))
    return net.cfg(416)


@pytest.fixture(scope="module")
def detector() -> ak.Detector:
    text = cfg_text(yolov2(1 / 16, classes=3, anchors=3))
    return properties.spread(ak.load_detector("darknet", categories=3, size=(128, 96), seed=1, cfg=text), scale=0.1)


def test_the_network_has_the_published_size() -> None:
    """The published file has 203,934,260 bytes, 16 of them before its numbers."""
    assert 4 * weights_count(yolov2(), 80) + 16 == 203_934_260
    tiny = Layers()
    for filters in (16, 32, 64, 128, 256, 512):
        tiny.conv(filters, size=3)
        tiny.pool(stride=1 if filters == 512 else 2)
    tiny.conv(1024, 1024, size=3)
    tiny.add(Convolution(filters=125, normalized=False, activation="linear"))
    tiny.add(Region(anchors=(ANCHORS * 2)[:5], classes=20))
    assert 4 * weights_count(tiny.cfg(416), 20) + 16 == 63_471_556  # of tiny-yolo-voc


def test_cells_become_channels_as_in_darknets_loops() -> None:
    """Each number of the output, by index arithmetic on the memory of the map."""
    c, h, w, step = 8, 4, 6, 2
    x = np.arange(c * h * w, dtype=np.float32)
    old, proper = np.empty_like(x), np.empty_like(x)
    parts = c // step**2
    for k in range(c):
        for j in range(h):
            for i in range(w):
                row, column = j * step + k // parts // step, i * step + k // parts % step
                old[i + w * (j + h * k)] = x[column + w * step * (row + h * step * (k % parts))]
    for k in range(c * step**2):
        for j in range(h // step):
            for i in range(w // step):
                row, column = j * step + k // c // step, i * step + k // c % step
                proper[i + w // step * (j + h // step * k)] = x[column + w * (row + h * (k % c))]
    image = torch.from_numpy(x).reshape(1, c, h, w)
    for larger, expected in ((True, old), (False, proper)):
        assert torch.equal(_Blocks(step, larger=larger)(image).flatten(), torch.from_numpy(expected))


def test_boxes_and_scores_are_those_of_a_region(detector: ak.Detector) -> None:
    assert detector.layout.levels[0].anchors == tuple((32 * w, 32 * h) for w, h in ANCHORS)
    image = torch.rand(1, 3, 128, 96, generator=torch.Generator().manual_seed(0))
    module = detector.module
    with torch.inference_mode():
        scores, boxes = detector.network()(image)
        [raw] = module.head.raw(list(module.backbone(image).values()))  # (1, 3, 8, 4, 3)
    row, column, anchor = 1, 2, 1
    x, y, w, h, objectness, *classes = raw[0, anchor, :, row, column].tolist()
    box = (row * 3 + column) * 3 + anchor
    centre = np.array([column + 1 / (1 + np.exp(-x)), row + 1 / (1 + np.exp(-y))]) * 32
    half = np.array([np.exp(w) * ANCHORS[anchor][0], np.exp(h) * ANCHORS[anchor][1]]) * 16
    np.testing.assert_allclose(
        boxes[0, box], np.concatenate([centre - half, centre + half]).clip(0, [96, 128, 96, 128]), atol=1e-3
    )
    shares = np.exp(classes) / np.exp(classes).sum()
    np.testing.assert_allclose(scores[0, box], shares / (1 + np.exp(-objectness)), atol=1e-6)


def test_promises_and_the_way_back_into_files(detector: ak.Detector, tmp_path: Path) -> None:
    images, layout = properties.noise_images((128, 96), (70, 50)), detector.layout
    testing.check_raw_predictions(detector, images)
    properties.kit_postprocessing_gives_what_the_detector_returns(detector, images)
    properties.costs_are_those_of_the_real_network(detector, layout.configuration(keep=[0, 2]))
    testing.check_saving(detector, images[:1], tmp_path / "saved")
    small = testing.check_pruning(detector, layout.configuration(keep=[1, 2]), images[:1])
    file = export_darknet(small, tmp_path / "small.cfg")
    again = ak.load_detector(file, weights=file.with_suffix(".weights"))
    assert again.layout.levels[0].anchors == layout.levels[0].anchors[1:]
    assert same(again, small)


def test_channels_are_cut(detector: ak.Detector) -> None:
    channels = ak.coupled_channels(detector)
    [mixed] = [fixed for fixed in channels.fixed if "mixes channels with cells" in fixed.reason]
    assert mixed.layer == "backbone.layers.26.conv"
    keep = {group.name: range(0, group.atoms, 2) for group in channels.groups}
    small, masked = (cut(detector, keep, channels=channels) for cut in (cut_channels, masked_channels))
    assert apart(small, masked) < 1e-4
    assert small.parameters < 0.5 * detector.parameters


def test_it_learns_classes_that_exclude_each_other() -> None:
    [level] = yolo_levels(yolov2(1 / 16, classes=3, anchors=3))
    raw = torch.zeros(1, 1, 8, 2, 2, requires_grad=True)
    target = {"boxes": torch.tensor([[2.0, 2.0, 30.0, 30.0]]), "labels": torch.tensor([2])}
    losses = yolo_losses([raw], [level], [[(32.0, 32.0)]], [target])
    assert losses["classification"].item() == pytest.approx(np.log(3) / 8)
    losses["classification"].backward()
    torch.testing.assert_close(raw.grad[0, 0, 5:, 0, 0] * 8, torch.tensor([1 / 3, -2 / 3, 1 / 3]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("softmax=1", "softmax=0"), r"\[region\] softmax=0 is not supported"),
        (("softmax=1", "softmax=1\ntree=9k.tree"), r"\[region\] tree=9k.tree is not supported"),
        (("num=3", "num=5"), r"\[region\] num=5: there are 3 anchors"),
        (("coords=4", "coords=8"), "coords=8 is not supported; coords=4 is"),
    ],
)
def test_other_regions_are_refused(change: tuple[str, str], message: str) -> None:
    text = cfg_text(yolov2(1 / 16, classes=3, anchors=3))
    assert change[0] in text
    with pytest.raises(InputError, match=message):
        parse_cfg(text.replace(*change))
