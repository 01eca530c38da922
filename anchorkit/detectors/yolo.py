"""The YOLO family: on each level one convolution for boxes, objectness and classes (Redmon and Farhadi 2018).

A network is a darknet `Cfg`, read from a file or described in `yolo_families`. The score of a class is objectness times
class score, as darknet ranks by. Images are RGB, 0..1, stretched to the input's size or padded with grey (`letterbox`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from anchorkit.datasets import Category
from anchorkit.detectors.anchor_boxes import FreeAnchorBoxes, Shapes
from anchorkit.detectors.base import Detector
from anchorkit.detectors.darknet import DarknetTrunk, YoloLevel, decode, maps_of, with_anchors, yolo_levels
from anchorkit.detectors.darknet_cfg import parse_cfg
from anchorkit.detectors.darknet_sections import Cfg, Convolution, Region, Route, Section
from anchorkit.detectors.families import Blueprint, Family
from anchorkit.detectors.heads import HeadCosts, anchors_last, copy_filters
from anchorkit.detectors.postprocessing import detect
from anchorkit.detectors.resizing import Letterbox, Stretch
from anchorkit.detectors.torchvision_modules import TorchvisionDetector, within_padding
from anchorkit.detectors.trunks import TrunkFacts
from anchorkit.detectors.yolo_loss import yolo_losses
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess

DARKNET = "darknet"
"""The family of networks that are read from a ``.cfg`` file."""
GREY = 114 / 255
"""What images are padded with, as in YOLOv5."""
POSTPROCESS = PostProcess(score_threshold=0.01, topk=None, topk_scope="class", nms_iou=0.45, max_detections=100)
"""darknet's NMS. Its validation lists boxes above 0.001 or 0.005; rows below 0.01 change AP in the fourth digit."""


@dataclass(frozen=True)
class YoloFamily(Family):
    """A family of networks with `[yolo]` sections; see `Family`.

    Attributes:
        cfg: the network with all anchors; its number of classes is not used.
        letterbox: images keep their aspect, as YOLOv5 has it; else they are stretched, as by darknet.
    """

    cfg: Cfg = field(kw_only=True)
    letterbox: bool = False


def yolo_family(
    architecture: str,
    cfg: Cfg,
    shapes: Callable[[tuple[int, int]], Shapes] | None = None,
    assemble: Callable[..., Detector] | None = None,
) -> YoloFamily:
    """The family of a network.

    Args:
        architecture: its name.
        cfg: the network.
        shapes: gives the anchors at an input of (height, width) pixels; by default the network's at every size, as
            darknet has it.
        assemble: see `Family`.
    """
    levels = yolo_levels(cfg)
    return YoloFamily(
        architecture,
        size=(cfg.height, cfg.width),
        sides=(32, 4096),
        levels=len(levels),
        shapes=shapes or (lambda size: [level.yolo.anchors for level in levels]),
        postprocess=POSTPROCESS,
        assemble=assemble or assembled,
        cfg=cfg,
    )


def darknet(
    categories: Sequence[Category],
    size: tuple[int, int] | None = None,
    shapes: Shapes | None = None,
    postprocess: PostProcess | None = None,
    name: str | None = None,
    *,
    cfg: str = "",
    letterbox: bool | None = None,
) -> Detector:
    """A detector with fresh weights, of the text of a ``.cfg`` file.

    Raises:
        InputError: there is no text, or it cannot be read or built.
    """
    if not cfg:
        raise InputError("darknet: give the path of a .cfg file in the place of the name")
    family = yolo_family(DARKNET, parse_cfg(cfg), assemble=_assemble_of_text)
    detector: Detector = family(categories, size, shapes, postprocess, name, cfg=cfg, letterbox=letterbox)
    return detector


class YoloDetector(TorchvisionDetector):
    """A detector of a `YoloFamily`."""

    blueprint: Blueprint

    @property
    def whole(self) -> Cfg:
        """The network of the family, with all anchors and channels."""
        family = self.blueprint.family
        assert isinstance(family, YoloFamily)
        return family.cfg

    def cfg(self) -> Cfg:
        """The network as it is: without the sections that the anchors that are left do not need, and as wide."""
        whole, levels, module = self.whole, yolo_levels(self.whole), self.module
        trunk: Any = module.backbone
        live = {int(key): layer for key, layer in trunk.layers.items()}
        new: dict[int, Section] = {}
        for number, layer in live.items():
            section = whole.sections[number]
            if isinstance(section, Convolution):
                conv: Any = layer.conv
                section = replace(section, filters=conv.out_channels, groups=conv.groups)
            new[number] = section
        for level, anchors in zip(levels, self.layout.levels, strict=False):
            if anchors.anchors:
                filters = (5 + len(self.categories)) * len(anchors.anchors)
                new[level.last] = replace(level.convolution, filters=filters)
                yolo = with_anchors(level.yolo, anchors.anchors, 1 / level.stride)
                new[level.last + 1] = replace(yolo, classes=len(self.categories))
        rank = {number: position for position, number in enumerate(sorted(new))}
        sections = [_renumbered(new[number], rank) for number in sorted(new)]
        height, width = self.layout.input_size
        return replace(whole, height=height, width=width, sections=tuple(sections))


def _renumbered(section: Section, rank: Mapping[int, int]) -> Section:
    if isinstance(section, Route):
        return replace(section, sources=tuple(rank[source] for source in section.sources))
    if hasattr(section, "source"):
        return replace(section, source=rank[section.source])  # type: ignore[call-arg]
    return section


def _assemble_of_text(blueprint: Blueprint, *, cfg: str, letterbox: bool | None = None) -> YoloDetector:
    detector = assembled(blueprint, letterbox=letterbox)
    detector.options["cfg"] = cfg
    return detector


def assembled(blueprint: Blueprint, *, letterbox: bool | None = None) -> YoloDetector:
    """A detector of a `YoloFamily`.

    Args:
        blueprint: what is built.
        letterbox: images keep their aspect, in the middle of a grey input; by default as the family has it.
    """
    family = blueprint.family
    assert isinstance(family, YoloFamily)
    levels, size, used = yolo_levels(family.cfg), blueprint.size, blueprint.used
    step = int(max(stride for _, stride in maps_of(family.cfg).values() if stride < math.inf))
    if any(side % step for side in size):
        raise InputError(
            f"{family.architecture}: input size {size[0]}x{size[1]}; both must be multiples of {step} pixels, the "
            "stride of the coarsest map"
        )
    trunk = DarknetTrunk(family.cfg, levels, used)
    head = YoloHead(levels, [len(level) for level in blueprint.shapes], len(blueprint.categories))
    scores_of = _exclusive_scores if isinstance(levels[0].yolo, Region) else _scores
    fitted = family.letterbox if letterbox is None else letterbox
    transform = Letterbox(size, fill=(GREY,) * 3, centred=True) if fitted else Stretch(size)
    module = YoloModule(trunk, head, blueprint.shapes, blueprint.postprocess, scores_of, transform)
    options = None if letterbox is None else {"letterbox": letterbox}
    return YoloDetector(blueprint, module, head_costs=_costs, scores_of=scores_of, options=options)


class YoloHead(nn.Module):
    """The last convolution of each level that has anchors: for each anchor x y w h, objectness, and the classes.

    Args:
        levels: of the whole network.
        anchors: number of anchors on each level up to the last that has any.
        classes: number of object classes.
    """

    def __init__(self, levels: Sequence[YoloLevel], anchors: Sequence[int], classes: int) -> None:
        super().__init__()
        self.columns = 5 + classes
        self.facts = {str(index): levels[index] for index, count in enumerate(anchors) if count}
        self.levels = nn.ModuleDict()
        for key, level in self.facts.items():
            kernel = level.convolution
            filters = anchors[int(key)] * self.columns
            last = nn.Conv2d(level.channels, filters, kernel.size, kernel.stride, kernel.padding)
            nn.init.normal_(last.weight, std=0.01)
            # Every box begins with an objectness of 1 %, so that the many boxes of background do not swamp the others.
            start = torch.zeros(filters)
            start[4 :: self.columns] = -math.log(99)
            last.bias = nn.Parameter(start)
            self.levels[key] = last

    def raw(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Outputs (N, A, 5 + K, h, w) of each level that has anchors, before any activation."""
        pairs = zip(self.levels.values(), features, strict=True)
        return [convolution(feature).unflatten(1, (-1, self.columns)) for convolution, feature in pairs]

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Logits and how boxes differ from their anchors, in the order of the anchor boxes.

        Args:
            features: the maps of all levels that have anchors.

        Returns:
            ``cls_logits`` (N, B, 1 + K), objectness first, and ``bbox_regression`` (N, B, 4): how far the box's centre
            is from the cell's, x y in pixels of the input, and how many times as wide and as high as the anchor it is.
        """
        logits, offsets = [], []
        for level, raw in zip(self.facts.values(), self.raw(features), strict=True):
            rows = anchors_last(raw.flatten(1, 2), self.columns)
            logits.append(rows[..., 4:])
            offsets.append(decode(rows[..., :4], level))
        return {"cls_logits": torch.cat(logits, 1), "bbox_regression": torch.cat(offsets, 1)}

    def take_from(self, full: YoloHead, kept: Sequence[Sequence[int]]) -> None:
        """Copy the weights of the kept anchors from the head of a larger detector."""
        for key, convolution in self.levels.items():
            copy_filters(full.levels[key], convolution, self.columns, kept[int(key)])  # type: ignore[arg-type]


def _scores(logits: Tensor) -> Tensor:
    """(N, B, 1 + K) to (N, B, K)."""
    activated = logits.sigmoid()
    return activated[..., :1] * activated[..., 1:]


def _exclusive_scores(logits: Tensor) -> Tensor:
    """(N, B, 1 + K) to (N, B, K), of classes that exclude each other."""
    return logits[..., :1].sigmoid() * logits[..., 1:].softmax(-1)


def _costs(head: YoloHead, trunk: TrunkFacts) -> list[HeadCosts]:
    """What the head costs on each level."""
    sizes = {key: math.prod(convolution.kernel_size) for key, convolution in head.levels.items()}  # type: ignore[arg-type]
    weights = [channels * sizes.get(str(level), 1) for level, channels in enumerate(trunk.channels)]
    return [HeadCosts(0, inputs * head.columns, 0, (inputs + 1) * head.columns) for inputs in weights]


class YoloModule(nn.Module):
    """A YOLO with torchvision's manners; see `Detector.module`."""

    def __init__(
        self,
        trunk: DarknetTrunk,
        head: YoloHead,
        shapes: Shapes,
        postprocess: PostProcess,
        scores_of: Callable[[Tensor], Tensor],
        transform: nn.Module,
    ) -> None:
        super().__init__()
        self.transform = transform
        self.backbone = trunk
        self.head = head
        self.anchor_generator = FreeAnchorBoxes(shapes)
        self.box_coder = _BoxCoder()
        self.postprocess = postprocess
        self.scores_of = scores_of

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in evaluation mode."""
        batch, fitted = self.transform(images, targets)
        features = list(self.backbone(batch.tensors).values())
        if self.training:
            if fitted is None:
                raise InputError("yolo: training mode needs targets: a dictionary of boxes and labels per image")
            levels = list(self.head.facts.values())
            return yolo_losses(self.head.raw(features), levels, self.anchor_generator.shapes, fitted)
        outputs = self.head(features)
        anchors = self.anchor_generator(batch, features)[0]
        shapes = self.anchor_generator.shapes
        counts = [x.shape[2] * x.shape[3] * len(own) for x, own in zip(features, shapes, strict=True)]
        of_level = torch.repeat_interleave(torch.tensor(counts)).to(anchors.device)
        results, of_images = [], zip(images, batch.image_sizes, strict=True)
        for logits, offsets, (image, (height, width)) in zip(
            self.scores_of(outputs["cls_logits"]), outputs["bbox_regression"], of_images, strict=True
        ):
            boxes = within_padding(self.transform, self.box_coder.decode_single(offsets, anchors), (height, width))
            scale = boxes.new_tensor([image.shape[2] / width, image.shape[1] / height] * 2)
            found = detect(logits, boxes * scale, of_level, self.postprocess)
            results.append({"boxes": found.boxes, "scores": found.scores, "labels": 1 + found.labels})
        return results


class _BoxCoder:
    """Decoding behind the name of torchvision's; see `YoloHead.forward`."""

    def decode_single(self, offsets: Tensor, anchors: Tensor) -> Tensor:
        """(B, 4) x1 y1 x2 y2 of offsets from anchors x1 y1 x2 y2."""
        centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + offsets[:, :2]
        half = (anchors[:, 2:] - anchors[:, :2]) * offsets[:, 2:] / 2
        return torch.cat([centre - half, centre + half], -1)
