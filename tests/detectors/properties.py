"""What the kit's own detectors promise beyond `anchorkit.testing`, and what the tests of all families share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.costs import costs
from anchorkit.datasets import Split
from anchorkit.detectors import Detector, prune
from anchorkit.detectors.base import to_tensor
from anchorkit.evaluation import Evaluator
from anchorkit.predictions import PredictionTable


def noise_images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    """uint8 (H, W, 3) images of the given (height, width), all different."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


@torch.no_grad()
def spread(detector: Detector, scale: float = 0.1, seed: int = 0) -> Detector:
    """Give the head random weights that make scores and boxes differ; fresh ones say nearly the same everywhere.

    Batch norms get the statistics of noise images: with fresh ones nothing of the image comes through a deep trunk.
    """
    module, generator = detector.module, torch.Generator().manual_seed(seed)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in module.head.modules():
        if layer not in norms:
            for parameter in layer.parameters(recurse=False):
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    module.train()
    height, width = detector.layout.input_size
    images = noise_images(*[(height // part, width // part) for part in (1, 1, 1, 2, 2, 2, 3, 3)])
    batch, _ = module.transform([to_tensor(image) for image in images])
    with torch.random.fork_rng(devices=[]):  # some trunks drop layers at random
        torch.manual_seed(seed)
        module.head(list(module.backbone(batch.tensors).values()))
    module.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return detector


def spread_example(detector: Detector) -> Detector:
    """Give the detector of examples/own_detector.py random weights that make scores and boxes differ."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for head in detector.module.heads.values():
            head.weight.normal_(std=0.5)
        detector.module.train()(torch.rand(16, 3, 128, 128))  # batch norms learn what comes in
    return detector


def table_of(detector: Detector, images: Sequence[np.ndarray]) -> PredictionTable:
    """A prediction table of images numbered from 1, each predicted alone: a batch sums up in another order."""
    rows = []
    for number, raw in enumerate((detector.raw_predictions([image])[0] for image in images), start=1):
        box, column = np.nonzero(raw.scores > np.float32(detector.postprocess.score_threshold))
        category = np.array([c.id for c in detector.categories])[column]
        rows.append((np.full(len(box), number), raw.anchor[box], category, raw.scores[box, column], raw.boxes[box]))
    columns = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    return PredictionTable(*columns, layout=detector.layout, postprocess=detector.postprocess)


def ground_truth_of(detector: Detector, images: Sequence[np.ndarray]) -> dict:
    """One object of the first category on every image."""
    first = detector.categories[0].id
    return {
        "images": [{"id": i, "height": image.shape[0], "width": image.shape[1]} for i, image in enumerate(images, 1)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": first, "bbox": [5, 5, 40, 30], "area": 1200, "iscrowd": 0}
            for i in range(1, len(images) + 1)
        ],
        "categories": [{"id": c.id, "name": c.name} for c in detector.categories],
    }


def split_of(detector: Detector, images: Sequence[np.ndarray]) -> Split:
    """The images as a split, with the objects of `ground_truth_of`."""
    return Split("noise", ground_truth_of(detector, images), lambda entry: images[entry["id"] - 1])


def configurations(layout: AnchorLayout) -> st.SearchStrategy[Configuration]:
    """Random configurations with at least one anchor, often with empty levels."""

    def make(bits: int, empty: set[int], spare: int) -> Configuration:
        kept = [a.index for a in layout.anchors if bits >> a.index & 1 and a.level not in empty]
        return layout.configuration(keep=kept or [spare])

    levels = len(layout.levels)
    return st.builds(
        make,
        bits=st.integers(0, 2 ** len(layout) - 1),
        empty=st.sets(st.integers(0, levels - 1), max_size=levels - 1),
        spare=st.integers(0, len(layout) - 1),
    )


def kit_postprocessing_gives_what_the_detector_returns(detector: Detector, images: Sequence[np.ndarray]) -> None:
    """Raw predictions, pushed through the kit's NMS, are the detections of the detector's own forward pass."""
    evaluator = Evaluator(table_of(detector, images), ground_truth_of(detector, images))
    ours = evaluator.detections(detector.layout.full)
    ids = [category.id for category in detector.categories]
    for number, image in enumerate(images, start=1):
        with torch.inference_mode():
            [returned] = detector.module.eval()([to_tensor(image)])
        mine = ours[ours.image_id == number]
        assert len(mine) == len(returned["scores"]) > 0
        # Nearly equal scores may come in either order: the nearest detection of the class is meant, each once.
        rows = np.column_stack([mine[["category_id", "score"]] * [1e6, 1e3], mine[["x1", "y1", "x2", "y2"]]])
        classes = np.array([ids[label - 1] for label in returned["labels"].tolist()])
        theirs = np.column_stack([1e6 * classes, 1e3 * returned["scores"].numpy(), returned["boxes"].numpy()])
        distance, nearest = cKDTree(rows).query(theirs, p=np.inf)  # 1e-6 of a score counts as 1e-3 pixels
        assert distance.max() < 2e-3
        assert len(set(nearest.tolist())) == len(mine)


def costs_are_those_of_the_real_network(detector: Detector, configuration: Configuration) -> None:
    """Closed forms of the full layout, of the pruned layout, and torch's own counter on the pruned network agree."""
    small = prune(detector, configuration)
    module = small.module.eval()
    batch = torch.zeros(1, 3, *small.layout.input_size)
    with torch.no_grad(), FlopCounterMode(display=False) as whole:
        features = list(module.backbone(batch).values())
        with FlopCounterMode(display=False) as head:
            outputs = module.head(features)
    counted = costs(configuration)
    assert counted["head_flops"] == head.get_total_flops() // 2
    assert counted["total_flops"] == whole.get_total_flops() // 2
    assert counted["boxes"] == outputs["cls_logits"].shape[1]
    assert counted["head_parameters"] == sum(p.numel() for p in module.head.parameters())
    assert counted == costs(small.layout.full)


def learns(detector: Detector, size: tuple[int, int], steps: int = 8, lr: float = 1e-3) -> None:
    """A few steps on four images lower the loss."""
    module = detector.module.train()
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=lr)
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *size, generator=generator) for _ in range(4)]
    box = [0.1 * size[1], 0.1 * size[0], 0.6 * size[1], 0.5 * size[0]]
    targets = [{"boxes": torch.tensor([box]), "labels": torch.tensor([1])} for _ in images]
    losses = []
    torch.manual_seed(0)  # some drop layers at random
    for _ in range(steps):
        loss = sum(module(images, [dict(target) for target in targets]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    module.eval()
