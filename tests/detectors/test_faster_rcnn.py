"""torchvision's Faster R-CNN: evaluated as it detects, cut in its channels, not in its anchors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import anchorkit as ak
from anchorkit.datasets import Category
from anchorkit.detectors import Detector, cut_channels, masked_channels
from anchorkit.detectors.base import to_tensor
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from tests.detectors import properties
from tests.detectors.test_channels import some

NAME = "fasterrcnn_mobilenet_v3_large_320_fpn"
CATEGORIES = [Category(3, "cat"), Category(7, "dog"), Category(8, "cow"), Category(9, "pig"), Category(11, "hen")]


@pytest.fixture(scope="module")
def faster() -> Detector:
    """A small input, and weights that make scores differ."""
    detector = ak.load_detector(NAME, categories=CATEGORIES, size=(96, 128), seed=0)
    module, generator = detector.module, torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in (module.rpn.head, module.roi_heads.box_predictor):
            for parameter in layer.parameters():
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return detector


@pytest.fixture(scope="module")
def channels(faster: Detector) -> ak.detectors.CoupledChannels:
    return ak.coupled_channels(faster)


def test_groups_follow_both_stages(faster: Detector, channels: ak.detectors.CoupledChannels) -> None:
    # torch-pruning finds these 34 groups too.
    assert (len(channels.groups), faster.parameters) == (34, 18_975_129)
    kept = {group.name: group.atoms - int(0.3 * group.atoms) for group in channels.groups}
    assert channels.parameters(kept) == 9_376_000
    pooled = channels[
        "backbone.fpn.layer_blocks.0.0"
        if "backbone.fpn.layer_blocks.0.0" in {group.name for group in channels.groups}
        else "backbone.fpn.layer_blocks.1.0"
    ]
    [flat] = [reader for reader in pooled.readers if reader.layer == "roi_heads.box_head.fc6"]
    assert flat.channels.shape == (256, 49)
    assert pooled.part == "pyramid"


def test_a_cut_one_says_what_a_masked_one_says(
    faster: Detector, channels: ak.detectors.CoupledChannels, tmp_path: Path
) -> None:
    keep = some(channels)
    small = cut_channels(faster, keep, channels=channels)
    masked = masked_channels(faster, keep, channels=channels)
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        ours, theirs = (each.channel_network().eval()(image) for each in (small, masked))
    assert all(float((a - b).abs().max() / b.abs().max()) < 1e-5 for a, b in zip(ours, theirs, strict=True))
    assert ak.costs.costs(small.layout.full)["total_flops"] == channels.macs({g: len(k) for g, k in keep.items()})
    again = ak.load_detector(ak.save_detector(small, tmp_path))
    assert again.layout == small.layout
    [before], [after] = (each.raw_predictions(properties.noise_images((90, 70))) for each in (small, again))
    assert np.array_equal(before.scores, after.scores)
    properties.learns(small, small.layout.input_size)


def test_the_kits_detections_are_torchvisions(faster: Detector) -> None:
    images = properties.noise_images((120, 90), (96, 128))
    table = properties.table_of(faster, images)
    truth = properties.ground_truth_of(faster, images)
    ours = Evaluator(table, truth).detections(faster.layout.full)
    with torch.inference_mode():
        theirs = faster.module.eval()([to_tensor(image) for image in images])
    ids = np.array([category.id for category in CATEGORIES])
    for number, found in enumerate(theirs, start=1):
        own = ours[ours["image_id"] == number]
        assert len(own) == len(found["scores"]) > 0
        assert sorted(own["score"]) == pytest.approx(sorted(found["scores"].tolist()), abs=1e-5)
        assert sorted(own["category_id"]) == sorted(ids[found["labels"].numpy() - 1])


def test_its_anchors_are_not_pruned(faster: Detector) -> None:
    with pytest.raises(InputError, match="two stages"):
        ak.prune(faster, faster.layout.configuration(keep=[0]))


def test_weights_of_torchvision_fit(faster: Detector) -> None:
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    theirs = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=len(CATEGORIES) + 1, min_size=96, max_size=128
    ).eval()
    ours = ak.load_detector(NAME, categories=CATEGORIES, size=(96, 128))
    ours.module.load_state_dict(theirs.state_dict())
    image = to_tensor(properties.noise_images((90, 120))[0])
    with torch.inference_mode():
        [expected], [found] = theirs([image]), ours.module.eval()([image])
    assert all(torch.equal(expected[key], found[key]) for key in expected)
