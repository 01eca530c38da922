"""What detectors built on torchvision's modules have in common: raw predictions, the bare network, surgery."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.detectors.base import (
    Detector,
    boxes_by_anchor,
    evaluation_mode,
    kept_by_level,
    structure,
    to_tensor,
)
from anchorkit.detectors.families import Blueprint
from anchorkit.detectors.heads import HeadCosts
from anchorkit.detectors.trunks import TrunkFacts, measure_trunk
from anchorkit.postprocess import PostProcess, RawPredictions


def postprocess_settings(postprocess: PostProcess) -> dict[str, Any]:
    """The steps as keyword arguments of torchvision's detectors, which take a large number for no top-k and no cap."""
    return {
        "score_thresh": postprocess.score_threshold,
        "nms_thresh": postprocess.nms_iou,
        "detections_per_img": postprocess.max_detections or 10**9,
        "topk_candidates": postprocess.topk or 10**9,
    }


class TorchvisionDetector(Detector):
    """A detector whose module has torchvision's parts: transform, backbone (a `Trunk`), head, anchors, box coder.

    Args:
        blueprint: what was built.
        module: the network.
        head_costs: what its head costs on each level, from the head and what the trunk costs.
        scores_of: turns the head's ``cls_logits`` (N, B, columns) into scores (N, B, K), 0..1.
        options: the family's options with which this was built.
        trunk_facts: what the trunk costs, where that is known; else it is measured.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        module: Any,
        *,
        head_costs: Callable[[Any, TrunkFacts], Sequence[HeadCosts]],
        scores_of: Callable[[Tensor], Tensor],
        options: Mapping[str, Any] | None = None,
        trunk_facts: TrunkFacts | None = None,
    ) -> None:
        facts = trunk_facts or measure_trunk(module.backbone, blueprint.size)
        layout = blueprint.layout(facts, head_costs(module.head, facts))
        family = blueprint.family
        super().__init__(family.architecture, module, layout, blueprint.categories, blueprint.postprocess, options)
        self.blueprint = blueprint
        self.build = family
        self.head_costs = head_costs
        self.scores_of = scores_of

    def measured_layout(self) -> AnchorLayout:
        """See `Detector.measured_layout`."""
        trunk: Any = self.module.backbone
        facts = measure_trunk(trunk, self.layout.input_size)
        trunk.channels = facts.channels + trunk.channels[len(facts.channels) :]
        return replace(self.blueprint.layout(facts, self.head_costs(self.module.head, facts)), detector=self.name)

    @torch.inference_mode()
    def raw_predictions(self, images: Sequence[np.ndarray]) -> list[RawPredictions]:
        """See `Detector.raw_predictions`."""
        module: Any = self.module
        with evaluation_mode(module):
            # Images that the transform pads are padded alone: what a batch says of one must not depend on the others.
            groups: dict[tuple[int, int], list[tuple[int, Tensor]]] = defaultdict(list)
            for number, image in enumerate(images):
                alone, _ = module.transform([to_tensor(image, self.device)])
                groups[alone.image_sizes[0]].append((number, alone.tensors))
            results: dict[int, RawPredictions] = {}
            for (height, width), members in groups.items():
                batch = torch.cat([tensors for _, tensors in members])
                scores, boxes, grids = _predict(module, self.scores_of, batch, (height, width))
                anchor = boxes_by_anchor(self.layout, grids)
                for (number, _), own_scores, own_boxes in zip(members, scores, boxes, strict=True):
                    scale = boxes.new_tensor([images[number].shape[1] / width, images[number].shape[0] / height] * 2)
                    results[number] = RawPredictions(
                        (own_boxes * scale).cpu().numpy(), own_scores.cpu().numpy(), anchor
                    )
        return [results[number] for number in range(len(images))]

    def network(self) -> nn.Module:
        """See `Detector.network`."""
        return _BareNetwork(self.module, self.scores_of, self.layout.input_size).eval()

    def pruned(self, configuration: Configuration) -> Detector:
        """See `Detector.pruned`."""
        kept = kept_by_level(configuration)
        known = structure(self.layout)
        for fact in known.keys() - {"size"}:  # the shapes, and the positions of a shared head
            full = known[fact]
            known[fact] = [[full[level][number] for number in numbers] for level, numbers in enumerate(kept)]
        name = f"{self.name.removesuffix('-pruned')}-pruned"
        with _NothingDrawn():
            small: Detector = self.build(
                self.categories, postprocess=self.postprocess, name=name, **known, **self.options
            )
        theirs: Any = self.module
        ours: Any = small.module
        weights = theirs.backbone.state_dict()
        ours.backbone.load_state_dict({name: weights[name] for name in ours.backbone.state_dict()})
        ours.head.take_from(theirs.head, kept)
        small.module.to(self.device).train(theirs.training)
        return small


class _NothingDrawn(TorchFunctionMode):
    """Inside it, fresh weights stay uninitialised: to draw them takes nearly all of a large detector's time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init" or func in (Tensor.normal_, Tensor.uniform_):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


class _BareNetwork(nn.Module):
    """See `Detector.network`."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, scores_of: Callable[[Tensor], Tensor], input_size: tuple[int, int]) -> None:
        super().__init__()
        self.module = module
        self.scores_of = scores_of
        self.input_size = input_size
        transform: Any = module.transform
        self.register_buffer("mean", torch.tensor(transform.image_mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(transform.image_std).reshape(1, 3, 1, 1), persistent=False)
        self.to(next(module.parameters()).device)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scores, boxes, _ = _predict(self.module, self.scores_of, (images - self.mean) / self.std, self.input_size)
        return scores, boxes


def within_padding(transform: Any, boxes: Tensor, size: tuple[float, float]) -> Tensor:
    """Boxes (B, 4) of the input in pixels of an image of `size`, (height, width), in it, and clipped to that.

    Args:
        transform: what put the image there; with a method `margin` if not into the upper left corner.
        boxes: x1 y1 x2 y2.
        size: of the image in the input.
    """
    if hasattr(transform, "margin"):
        boxes = boxes - boxes.new_tensor(transform.margin(size) * 2)
    clipped: Tensor = clip_boxes_to_image(boxes, size)
    return clipped


def _predict(
    module: Any, scores_of: Callable[[Tensor], Tensor], batch: Tensor, image_size: tuple[int, int]
) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """Scores (N, B, K) and boxes (N, B, 4) of normalised images (N, 3, H, W), and the grids of the levels.

    Boxes are those of the images within their padding: clipped to `image_size`, (height, width) there.
    """
    features = list(module.backbone(batch).values())
    outputs = module.head(features)
    offsets = outputs["bbox_regression"]  # (N, B, 4)
    grids = [(feature.shape[-2], feature.shape[-1]) for feature in features]
    anchors = module.anchor_generator(ImageList(batch, []), features)[0]
    boxes = module.box_coder.decode_single(offsets.flatten(0, 1), anchors.repeat(offsets.shape[0], 1))
    boxes = within_padding(module.transform, boxes, image_size)
    boxes = boxes.unflatten(0, (offsets.shape[0], -1))  # type: ignore[no-untyped-call]
    return scores_of(outputs["cls_logits"]), boxes, grids
