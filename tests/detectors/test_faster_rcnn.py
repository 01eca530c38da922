"""torchvision's Faster R-CNN: evaluated as it detects, cut in its channels, not in its anchors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import nn
from torch.nn.functional import interpolate

import anchorkit as ak
from anchorkit import testing
from anchorkit.channels import refresh_norms
from anchorkit.datasets import Category
from anchorkit.detectors import Detector, cut_channels, masked_channels
from anchorkit.detectors.base import to_tensor
from anchorkit.errors import InputError
from tests.detectors import properties
from tests.detectors.test_channels import some

NAME = "fasterrcnn_mobilenet_v3_large_320_fpn"
CATEGORIES = [Category(3, "cat"), Category(7, "dog"), Category(8, "cow"), Category(9, "pig"), Category(11, "hen")]


def smooth(count: int, generator: torch.Generator) -> torch.Tensor:
    """Images (N, 3, 96, 128), 0..1, whose features are not those of noise, which are all alike in the last maps."""
    return interpolate(torch.rand(count, 3, 6, 8, generator=generator), (96, 128), mode="bilinear")


@pytest.fixture(scope="module")
def faster() -> Detector:
    """A small input, and weights that make scores differ."""
    detector = ak.load_detector(NAME, categories=CATEGORIES, size=(96, 128), seed=0)
    module, generator = detector.module, torch.Generator().manual_seed(0)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0  # with fresh statistics nothing of an image comes through the trunk
        module.train().backbone(smooth(8, generator))
        module.eval()
        for layer, scale in ((module.rpn.head, 0.001), (module.roi_heads.box_predictor, 0.005)):
            for parameter in layer.parameters():
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return detector


@pytest.fixture(scope="module")
def channels(faster: Detector) -> ak.detectors.CoupledChannels:
    return ak.coupled_channels(faster)


def test_groups_follow_both_stages(faster: Detector, channels: ak.detectors.CoupledChannels) -> None:
    # torch-pruning finds these 34 groups too.
    assert (len(channels.groups), faster.parameters) == (34, 18_975_129)
    kept = {group.name: group.atoms - int(0.3 * group.atoms) for group in channels.groups}
    assert channels.parameters(kept) == 9_376_000
    pooled = channels["backbone.fpn.layer_blocks.1.0"]
    [flat] = [reader for reader in pooled.readers if reader.layer == "roi_heads.box_head.fc6"]
    assert flat.channels.shape == (256, 49)
    assert pooled.part == "pyramid"


def test_a_cut_one_says_what_a_masked_one_says(faster: Detector, channels: ak.detectors.CoupledChannels) -> None:
    keep = some(channels)
    small = cut_channels(faster, keep, channels=channels)
    masked = masked_channels(faster, keep, channels=channels)
    image = smooth(1, torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = (each.channel_network().eval()(image) for each in (small, masked))
    assert max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True)) < 1e-5
    assert ak.costs.costs(small.layout.full)["total_flops"] == channels.macs({g: len(k) for g, k in keep.items()})
    report = testing.check_detector(small, properties.split_of(small, properties.noise_images((90, 70), (96, 128))))
    proposals = "not checked: its boxes are of proposals, not of anchors"
    kept = dict.fromkeys(("raw predictions", "saving", "fresh weights"), "kept")
    assert report == {**dict.fromkeys(("network", "pruning", "costs", "accuracy"), proposals), **kept}
    _learns(small)


def _learns(detector: Detector) -> None:
    """One step along the gradient lowers the loss of the same samples."""
    module = detector.module.train()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eval()  # one image has no statistics
    image, box = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([[8.0, 6, 40, 36]])
    losses = []
    for _ in range(2):
        torch.manual_seed(0)  # proposals and anchors are drawn
        loss = sum(module([image], [{"boxes": box, "labels": torch.tensor([1])}]).values())
        module.zero_grad()
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for parameter in module.roi_heads.box_predictor.parameters():
                parameter -= 1e-3 * parameter.grad / parameter.grad.norm()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert losses[1] < losses[0]


def test_the_kits_detections_are_torchvisions(faster: Detector) -> None:
    images = properties.noise_images((120, 90), (96, 128))
    properties.kit_postprocessing_gives_what_the_detector_returns(faster, images)


@pytest.mark.parametrize("name", [NAME, pytest.param("fasterrcnn_resnet50_fpn", marks=pytest.mark.nightly)])
def test_a_step_of_everything_before_and_after_a_cut(name: str, data: ak.datasets.Dataset, tmp_path: Path) -> None:
    """On real images: trained, evaluated, cut by what images say, trained again, exported."""
    onnxruntime = pytest.importorskip("onnxruntime")
    few = replace(data, train=data.val.subset(4), val=data.val.subset(2))
    detector = ak.load_detector(name, categories=data.categories, size=(96, 96), seed=0)
    losses = [ak.fit(detector, few, "tiny", steps=1, batch_size=4, progress=False).frame["loss"].iloc[-1]]
    detector = refresh_norms(detector, few.train)  # one step does not move a running mean far
    small = ak.prune_channels(detector, few.train, ratio=0.3, images=2, importance="l1", progress=False)
    assert small.parameters < 0.55 * detector.parameters
    losses.append(ak.fit(small, few, "tiny", steps=1, batch_size=4, progress=False).frame["loss"].iloc[-1])
    assert np.isfinite(losses).all()
    small = refresh_norms(small, few.train)
    with torch.no_grad():  # so few steps teach little but the background
        small.module.roi_heads.box_predictor.cls_score.bias[0] -= 3
    table = ak.collect_predictions(small, few.val, progress=False)
    assert 0 <= ak.Evaluator(table, few.val.ground_truth).accuracy(small.layout.full) <= 1
    with pytest.warns(UserWarning, match="the file takes one image at a time"):
        file = ak.export_onnx(small, tmp_path / "small.onnx", nms=True)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    image = interpolate(to_tensor(few.val.image(few.val.image_ids[0]))[None], (96, 96), mode="bilinear")
    boxes, scores, labels, count = session.run(["boxes", "scores", "labels", "count"], {"images": image.numpy()})
    with torch.inference_mode():
        [expected] = small.module.eval()([image[0]])
    found = np.column_stack([100 * labels[0], scores[0], boxes[0] / 100])[: count[0]]
    wanted = np.column_stack([100 * expected["labels"], expected["scores"], expected["boxes"] / 100])
    assert len(found) == len(wanted) > 0
    distance, _ = cKDTree(found).query(wanted, p=np.inf)
    assert distance.max() < 1e-3
    report = ak.measure_latency(small, [few.val.image(few.val.image_ids[0])], repeats=2, warmup=0, progress=False)
    assert (report.frame["median_ms"] > 0).all()
    facts = json.loads(file.with_suffix(".json").read_text())
    assert facts["box_order"] == "proposal by proposal, best first, class by class"
    assert facts["verified"]["scores"] < 1e-3


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
