"""torchvision's Faster R-CNN (Ren et al. 2015) on a feature pyramid: two stages, so for channels, not for anchors.

The first stage (RPN) scores anchors and turns the best of them into proposals; the second gives each proposal a score
and a box per class. A raw prediction is a proposal's box for one class, made by the proposal's anchor: the detections
that the kit makes of the full set are torchvision's. Without some anchors, other proposals would move up; so what an
evaluator says of a subset is a guess, and `pruned` refuses.

torchvision's code picks proposals by lists whose lengths depend on the image. Here their number is fixed, and a mask
says which are real, so that torch can export both stages.

Levels are called as torchvision calls the maps: ``0``, ``1`` and so on, and ``pool``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import mobilenet_v3_large, resnet50
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _mobilenet_extractor, _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import clip_boxes_to_image, nms, roi_align

from anchorkit.anchors import AnchorLayout, Configuration, Level
from anchorkit.detectors.anchor_boxes import Shapes
from anchorkit.detectors.base import Detector, boxes_by_anchor, evaluation_mode, to_tensor
from anchorkit.detectors.families import Blueprint, Family
from anchorkit.detectors.state_dicts import State, fill, thawed
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess, RawPredictions

SMALLEST_BOX = 1e-2  # torchvision drops detections with a side below this many pixels
RATIOS = (0.5, 1.0, 2.0)
SIDES = (32, 64, 128, 256, 512)
COCO_IDS = 90


class TwoStageDetector(Detector):
    """A detector whose module is torchvision's `FasterRCNN`."""

    rows_follow_anchors = False

    def __init__(self, blueprint: Blueprint, module: Any) -> None:
        super().__init__(
            blueprint.family.architecture,
            module,
            AnchorLayout(blueprint.name, blueprint.size, ()),
            blueprint.categories,
            blueprint.postprocess,
        )
        self.shapes = blueprint.shapes
        self.layout = self.measured_layout()

    def measured_layout(self) -> AnchorLayout:
        """See `Detector.measured_layout`. The second stage counts as trunk, for as many proposals as it may get."""
        size = self.layout.input_size
        module: Any = copy.deepcopy(self.module).to("meta").eval()
        images = torch.empty(1, 3, *size, device="meta")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            _OnGrid(module)(images)
        with torch.no_grad():
            maps = module.backbone(images)
        head: Any = module.rpn.head
        fixed = sum(tensor.numel() for tensor in head.conv.parameters() if tensor.ndim > 1)
        per_anchor = head.cls_logits.in_channels * 5  # a score and four offsets
        levels = tuple(
            Level(
                name=name,
                height=features.shape[-2],
                width=features.shape[-1],
                anchors=tuple(anchors),
                head_macs_fixed=fixed,
                head_macs_per_anchor=per_anchor,
                head_params_fixed=sum(tensor.numel() for tensor in head.conv.parameters()),
                head_params_per_anchor=per_anchor + 5,
            )
            for (name, features), anchors in zip(maps.items(), self.shapes, strict=True)
        )
        rpn = sum(level.cells * (fixed + len(level.anchors) * per_anchor) for level in levels)
        return AnchorLayout(self.name, size, levels, shared_head=True, trunk_macs=counter.get_total_flops() // 2 - rpn)

    @torch.inference_mode()
    def raw_predictions(self, images: Sequence[np.ndarray]) -> list[RawPredictions]:
        """See `Detector.raw_predictions`: a row for each proposal and class, with a score for that class alone."""
        with evaluation_mode(self.module):
            return [self._raw(image) for image in images]

    def _raw(self, image: np.ndarray) -> RawPredictions:
        module: Any = self.module
        batch, _ = module.transform([to_tensor(image, self.device)])
        size = batch.image_sizes[0]
        features = module.backbone(batch.tensors)
        scores, boxes, number, real = _Stages(module).found(batch, features)
        grids = [(level.shape[-2], level.shape[-1]) for level in features.values()]
        anchor = boxes_by_anchor(self.layout, grids)[number[real].cpu().numpy()]
        scale = boxes.new_tensor([image.shape[1] / size[1], image.shape[0] / size[0]] * 2)
        of_class, corners = (each.cpu().numpy() for each in _rows(scores[real], boxes[real] * scale))
        return RawPredictions(corners, of_class, np.repeat(anchor, scores.shape[1]))

    def pruned(self, configuration: Configuration) -> Detector:
        """Refused: proposals compete before the second stage, so the rows of the other anchors would not stay."""
        raise InputError(
            f"prune: {self.name} has two stages; without some anchors other proposals would reach the second one, so "
            "its anchors cannot be pruned, only its channels: prune_channels"
        )

    def network(self) -> nn.Module:
        """See `Detector.network`, but for one image at a time.

        Rows are those of as many proposals as there may be, class by class; a row with no proposal has scores of 0.
        """
        return _Network(self.module.eval())

    def rows_per_level(self) -> list[int]:
        """See `Detector.rows_per_level`; all rows are of the second stage, which has no levels."""
        return [_Stages(self.module).proposals(self.layout) * len(self.categories)]

    def channel_network(self) -> nn.Module:
        """Both stages, the second on a fixed grid of boxes in the place of proposals."""
        return _OnGrid(self.module)


class _Stages(nn.Module):
    """All that has weights. It shares them with torchvision's module."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = module.backbone, module.rpn, module.roi_heads
        self.most: tuple[int, int] = module.rpn._pre_nms_top_n["testing"], module.rpn._post_nms_top_n["testing"]
        self.mean, self.std = list(module.transform.image_mean), list(module.transform.image_std)

    def proposals(self, layout: AnchorLayout) -> int:
        """How many there may be at the layout's input size."""
        most, of_all = self.most
        return min(of_all, sum(min(most, level.cells * len(level.anchors)) for level in layout.levels))

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """What the trunk makes of images in 0..1."""
        mean, std = (images.new_tensor(values).reshape(1, 3, 1, 1) for values in (self.mean, self.std))
        found: dict[str, Tensor] = self.backbone((images - mean) / std)
        return found

    def found(self, batch: ImageList, features: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What both stages make of one image's maps.

        The number of proposals is always the same, so that the whole can be exported: some are not real.

        Returns:
            scores (P, K), 0..1; boxes (P, K, 4), clipped to the image; the number (P,) of the anchor box that each
            proposal was made of; and whether it is real (P,).
        """
        size = batch.image_sizes[0]
        proposals, number, real = self._proposed(batch, list(features.values()))
        pooled = self.roi_heads.box_roi_pool(features, [proposals], [size])
        logits, offsets = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        decoded = self.roi_heads.box_coder.decode(offsets, [proposals]).reshape(*logits.shape, 4)
        boxes = clip_boxes_to_image(decoded, size)[:, 1:]
        seen = ((boxes[..., 2:] - boxes[..., :2]) >= SMALLEST_BOX).all(-1) & real[:, None]
        return torch.softmax(logits, -1)[:, 1:].where(seen, 0.0), boxes, number, real

    def _proposed(self, batch: ImageList, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The first stage as torchvision's, but of a fixed number of proposals: boxes (P, 4), anchors, real ones.

        What torchvision leaves out has a score of -1 here, which suppresses nothing and comes last.
        """
        rpn = self.rpn
        scores, offsets = rpn.head(maps)
        [anchors] = rpn.anchor_generator(batch, maps)
        counts = [each[0].numel() for each in scores]
        flat, deltas = concat_box_prediction_layers(scores, offsets)
        boxes = clip_boxes_to_image(rpn.box_coder.decode(deltas, [anchors])[:, 0], batch.image_sizes[0])
        numbers, ranks = [], []
        for first, level in zip(accumulate([0, *counts]), flat[:, 0].split(counts), strict=False):
            logits, at = level.topk(min(self.most[0], len(level)))
            best = logits.sigmoid()
            these = boxes[at + first]
            good = (these[:, 2:] - these[:, :2] >= rpn.min_size).all(1) & (best >= rpn.score_thresh)
            best = best.where(good, -1.0)
            kept = nms(these, best, rpn.nms_thresh)
            numbers.append(at + first)
            ranks.append(torch.full_like(best, -1.0).scatter(0, kept, best[kept]))
        rank = torch.cat(ranks)
        best, at = rank.topk(min(self.most[1], len(rank)))
        number = torch.cat(numbers)[at]
        return boxes[number], number, best >= 0


class _Network(_Stages):
    """From an image to raw predictions; see `TwoStageDetector.network`."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if len(images) != 1:
            raise InputError("a detector of two stages takes one image at a time here")
        scores, boxes, _, _ = self.found(ImageList(images, [tuple(images.shape[-2:])]), self.maps(images))
        scores, boxes = _rows(scores, boxes)
        return scores[None], boxes[None]


def _rows(scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """A row for each proposal and class: (P K, K), 0 for the other classes, and boxes (P K, 4)."""
    return torch.diag_embed(scores).flatten(0, 1), boxes.flatten(0, 1)


class _OnGrid(_Stages):
    """Both stages with no choice that depends on values."""

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = list(self.maps(images).values())
        scores, offsets = self.rpn.head(maps)
        pooled = maps[:-1] or maps  # the last is for the first stage only
        side = self.roi_heads.box_roi_pool.output_size[0]
        regions = [
            roi_align(features, list(boxes), side, features.shape[-1] / images.shape[-1], 2)
            for features, boxes in zip(pooled, self._boxes(images, len(pooled)), strict=True)
        ]
        predicted = self.roi_heads.box_predictor(self.roi_heads.box_head(torch.cat(regions)))
        return [*scores, *offsets, *predicted]

    def _boxes(self, images: Tensor, levels: int) -> list[Tensor]:
        """For each level boxes (N, B, 4) side by side, larger ones on coarser levels; in all as many as proposals."""
        height, width = images.shape[-2:]
        shares = [self.most[1] // levels + (level < self.most[1] % levels) for level in range(levels)]
        found = []
        for level, count in enumerate(shares):
            columns = math.ceil(math.sqrt(count))
            at = torch.arange(count, device=images.device)
            x, y = (at % columns) / columns * width, (at // columns) / columns * height
            side = min(height, width) / 2.0 ** (levels - level)
            boxes = torch.stack([x, y, (x + side).clamp(max=width), (y + side).clamp(max=height)], 1)
            found.append(boxes.expand(len(images), -1, -1))
        return found


class _AnchorBoxes(AnchorGenerator):  # type: ignore[misc]
    """torchvision's anchors with shapes in pixels as they are listed."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__(((32,),) * len(shapes), ((1.0,),) * len(shapes))
        self.cell_anchors = [torch.tensor([(-w / 2, -h / 2, w / 2, h / 2) for w, h in level]) for level in shapes]

    def num_anchors_per_location(self) -> list[int]:
        """See torchvision's."""
        return [len(level) for level in self.cell_anchors]


def _assemble(blueprint: Blueprint, backbone: Callable[[], nn.Module], **settings: Any) -> TwoStageDetector:
    """A Faster R-CNN with fresh weights.

    Raises:
        InputError: levels do not have the same number of anchors, which torchvision's first stage needs.
    """
    name, rules = blueprint.family.architecture, blueprint.postprocess
    counts = [len(level) for level in blueprint.shapes]
    if len(counts) != blueprint.family.levels or len(set(counts)) != 1:
        raise InputError(
            f"{name}: anchors per level are {counts}; the same number is needed on all {blueprint.family.levels}"
        )
    if rules.topk is not None:
        raise InputError(f"{name}: topk is {rules.topk}; the second stage has no top-k: leave it out")
    module = FasterRCNN(
        backbone(),
        len(blueprint.categories) + 1,
        min_size=min(blueprint.size),
        max_size=max(blueprint.size),
        rpn_anchor_generator=_AnchorBoxes(blueprint.shapes),
        box_score_thresh=rules.score_threshold,
        box_nms_thresh=rules.nms_iou,
        box_detections_per_img=rules.max_detections or 10**9,
        **settings,
    )
    return TwoStageDetector(blueprint, module)


def default_shapes(size: tuple[int, int], sides: Sequence[Sequence[int]]) -> Shapes:
    """torchvision's, in whole pixels; the same at every input size."""
    generator = AnchorGenerator(tuple(map(tuple, sides)), (RATIOS,) * len(sides))
    return [[(x2 - x1, y2 - y1) for x1, y1, x2, y2 in level.tolist()] for level in generator.cell_anchors]


def _mobilenet() -> nn.Module:
    found: nn.Module = _mobilenet_extractor(mobilenet_v3_large(norm_layer=nn.BatchNorm2d), True, 6)
    return found


def _resnet() -> nn.Module:
    found: nn.Module = _resnet_fpn_extractor(resnet50(), 5)
    return found


RULES = PostProcess(score_threshold=0.05, topk=None, topk_scope="class", nms_iou=0.5, max_detections=100)
MOBILENET = Family(
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    size=(320, 640),
    sides=(64, 4096),
    levels=3,
    shapes=partial(default_shapes, sides=(SIDES,) * 3),
    postprocess=RULES,
    assemble=lambda blueprint: _assemble(
        blueprint, _mobilenet, rpn_pre_nms_top_n_test=150, rpn_post_nms_top_n_test=150, rpn_score_thresh=0.05
    ),
    pyramid=True,
    two_stages=True,
)
"""As torchvision's, for images of 320 pixels on the shorter side."""
RESNET = Family(
    "fasterrcnn_resnet50_fpn",
    size=(800, 1333),
    sides=(64, 4096),
    levels=5,
    shapes=partial(default_shapes, sides=[(side,) for side in SIDES]),
    postprocess=RULES,
    assemble=lambda blueprint: _assemble(blueprint, _resnet),
    pyramid=True,
    two_stages=True,
)
"""As torchvision's."""


def adopt(detector: Detector, state: State) -> None:
    """Take over the weights of torchvision's detector of the same name, in place.

    Of the 91 columns that it has for COCO, those of the background and of the categories' ids are taken.

    Args:
        detector: one of this module.
        state: torchvision's tensors. Batch norms that count no batches are the frozen ones of its COCO weights.

    Raises:
        InputError: the columns are not those of the categories, or the state is not that of such a detector.
    """
    # torchvision computes the frozen norms of its ResNet with an epsilon of 0.
    found = thawed(state, epsilon_zero=detector.architecture == RESNET.architecture)
    classes, ids = classes_of(state), [category.id for category in detector.categories]
    if classes is not None and classes != len(ids):
        if classes != COCO_IDS or not all(1 <= number <= COCO_IDS for number in ids):
            of_coco = f", not all with one of COCO's ids, 1 to {COCO_IDS}" if classes == COCO_IDS else ""
            raise InputError(
                f"weights for {classes} classes and the background; {len(ids)} categories are asked for{of_coco}"
            )
        for layer in ("cls_score", "bbox_pred"):
            for tensor in ("weight", "bias"):
                name = f"roi_heads.box_predictor.{layer}.{tensor}"
                by_class = found[name].reshape(classes + 1, -1, *found[name].shape[1:])
                found[name] = by_class[[0, *ids]].flatten(0, 1)
    fill(detector, found)


def classes_of(state: State) -> int | None:
    """How many object classes a state dict is for; None if it is of something else."""
    bias = state.get("roi_heads.box_predictor.cls_score.bias")
    return None if bias is None else len(bias) - 1
