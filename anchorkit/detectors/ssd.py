"""The SSD family: one convolution for scores and one for boxes on every level, a softmax over the classes.

torchvision's `SSD` brings the loss, the matching, the hard-negative mining and the post-processing. Its head and its
anchors can only be regular, so the kit has its own: any number of anchors on any level, the empty level included.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection.ssd import SSD
from torchvision.ops import clip_boxes_to_image

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.datasets import Category
from anchorkit.detectors.anchor_boxes import FreeAnchorBoxes
from anchorkit.detectors.base import Detector, RawPredictions, to_tensor
from anchorkit.postprocess import PostProcess

Shapes = Sequence[Sequence[tuple[float, float]]]


class LevelHeads(nn.Module):
    """One 3x3 convolution a level; a level without anchors has none.

    Args:
        channels: channels of each level's feature map.
        anchors: number of anchors on each level.
        columns: outputs an anchor: the number of scores (background included), or 4 for boxes.
    """

    def __init__(self, channels: Sequence[int], anchors: Sequence[int], columns: int) -> None:
        super().__init__()
        self.columns = columns
        # Keys name the level, so that a weight file says which level a filter belongs to, whatever levels are empty.
        self.levels = nn.ModuleDict(
            {
                str(level): nn.Conv2d(width, count * columns, kernel_size=3, padding=1)
                for level, (width, count) in enumerate(zip(channels, anchors, strict=True))
                if count
            }
        )
        for name, parameter in self.named_parameters():  # as torchvision's SSDHead
            if name.endswith("weight"):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Outputs of all levels, (N, B, columns), in the order of the anchor boxes."""
        outputs = []
        for level, convolution in self.levels.items():
            out = convolution(features[int(level)])  # (N, A * columns, h, w)
            out = out.permute(0, 2, 3, 1).reshape(out.shape[0], -1, self.columns)  # (N, h * w * A, columns)
            outputs.append(out.float())  # the loss and the softmax need full precision
        return torch.cat(outputs, dim=1)


class AnchorHead(nn.Module):
    """Scores and box offsets for every anchor; the counterpart of torchvision's `SSDHead` for free anchors."""

    def __init__(self, channels: Sequence[int], anchors: Sequence[int], scores: int) -> None:
        super().__init__()
        self.classification = LevelHeads(channels, anchors, scores)
        self.regression = LevelHeads(channels, anchors, 4)

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """``cls_logits`` (N, B, scores) and ``bbox_regression`` (N, B, 4)."""
        return {"bbox_regression": self.regression(features), "cls_logits": self.classification(features)}


class StagedTrunk(nn.Module):
    """A trunk that is a chain of stages, one a level: stage i turns the map of level i - 1 into that of level i.

    Args:
        stages: the stages; the first takes the image.
        channels: channels that each stage gives.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.out_channels = tuple(channels)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """The feature map of each level, by the level's number."""
        features = OrderedDict()
        x = images
        for level, stage in enumerate(self.stages):
            x = stage(x)
            features[str(level)] = x
        return features


class SSDDetector(Detector):
    """A detector whose module is torchvision's `SSD` with free anchors."""

    module: SSD

    @torch.inference_mode()
    def raw_predictions(self, images: Sequence[np.ndarray]) -> list[RawPredictions]:
        """See `Detector.raw_predictions`."""
        module = self.module
        was_training = module.training
        module.eval()
        tensors = [to_tensor(image, self.device) for image in images]
        batch, _ = module.transform(tensors)
        features = list(module.backbone(batch.tensors).values())
        outputs = module.head(features)
        anchors = module.anchor_generator(batch, features)[0]
        scores = outputs["cls_logits"].softmax(-1)[..., 1:].cpu().numpy()  # (N, B, K), background left out
        anchor = self.anchor_of_box
        results = []
        for number, image in enumerate(images):
            boxes = module.box_coder.decode_single(outputs["bbox_regression"][number], anchors)
            boxes = clip_boxes_to_image(boxes, batch.image_sizes[number])
            height, width = batch.image_sizes[number]
            scale = boxes.new_tensor([image.shape[1] / width, image.shape[0] / height] * 2)
            results.append(RawPredictions((boxes * scale).cpu().numpy(), scores[number], anchor))
        module.train(was_training)
        return results

    @property
    def anchor_of_box(self) -> np.ndarray:
        """int32 (B,): for each anchor box, in the order of the head's outputs, the index of its anchor."""
        first, parts = 0, []
        for level in self.layout.levels:
            parts.append(np.tile(np.arange(first, first + len(level.anchors), dtype=np.int32), level.cells))
            first += len(level.anchors)
        return np.concatenate(parts)


def build_ssd(
    architecture: str,
    name: str,
    trunk: StagedTrunk,
    shapes: Shapes,
    categories: Sequence[Category],
    size: tuple[int, int],
    postprocess: PostProcess,
) -> SSDDetector:
    """Put a free-anchor SSD head on a trunk.

    Args:
        architecture: name of the family.
        name: the detector's own name.
        trunk: one stage a level.
        shapes: (width, height) in input pixels of each level's anchors.
        categories: object classes.
        size: (height, width) of the input in pixels.
        postprocess: how detections are made; torchvision's top-k is per class.
    """
    scores = len(categories) + 1
    counts = [len(level) for level in shapes]
    module = SSD(
        backbone=trunk,
        anchor_generator=FreeAnchorBoxes(shapes),
        size=(size[1], size[0]),
        num_classes=scores,
        head=AnchorHead(trunk.out_channels, counts, scores),
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
        score_thresh=postprocess.score_threshold,
        nms_thresh=postprocess.nms_iou,
        detections_per_img=postprocess.max_detections or 10**9,
        topk_candidates=postprocess.topk or 10**9,
    )
    grids, macs = measure_trunk(trunk, size)
    levels = tuple(
        Level(
            name=f"L{index}",
            height=grids[index][0],
            width=grids[index][1],
            anchors=tuple((float(w), float(h)) for w, h in level_shapes),
            head_macs_per_anchor=9 * channels * (scores + 4),
            head_params_per_anchor=(9 * channels + 1) * (scores + 4),
            trunk_macs=macs[index],
        )
        for index, (level_shapes, channels) in enumerate(zip(shapes, trunk.out_channels, strict=True))
    )
    layout = AnchorLayout(name, size, levels, shared_head=False, trunk_macs=sum(macs))
    return SSDDetector(architecture, module, layout, categories, postprocess)


def measure_trunk(trunk: StagedTrunk, size: tuple[int, int]) -> tuple[list[tuple[int, int]], list[int]]:
    """(height, width) of each level's map and the multiply-adds of each stage for one image of (height, width) `size`.

    Counted by torch's own FLOP counter on the meta device: nothing is computed, no memory is needed.
    """
    grids, macs = [], []
    x = torch.empty(1, 3, *size, device="meta")
    with torch.no_grad():
        for stage in trunk.stages:
            shadow = copy.deepcopy(stage).to("meta").eval()
            with FlopCounterMode(display=False) as counter:
                x = shadow(x)
            grids.append((x.shape[-2], x.shape[-1]))
            macs.append(counter.get_total_flops() // 2)
    return grids, macs
