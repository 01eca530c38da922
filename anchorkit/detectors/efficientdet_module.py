"""The network of an EfficientDet: effdet's layers, loss and matching behind torchvision's manners."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import clip_boxes_to_image

from anchorkit.detectors.anchor_boxes import FreeAnchorBoxes, Shapes
from anchorkit.detectors.heads import anchors_last, copy_filters, keep_filters
from anchorkit.detectors.postprocessing import detect
from anchorkit.detectors.resizing import Letterbox
from anchorkit.detectors.shared_head import Positions
from anchorkit.detectors.trunks import Trunk
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess

LEVELS = 5  # P3 to P7
# ImageNet's; a letterbox is filled with the mean as a uint8 image has it, so it is not quite 0 after normalisation.
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BiFpnTrunk(Trunk):
    """An EfficientNet and its BiFPN cells; the way up of the last cell ends at the last used level."""

    def __init__(self, backbone: nn.Module, fpn: nn.Module, channels: int, used: Sequence[int]) -> None:
        super().__init__()
        self.backbone, self.fpn = backbone, fpn
        self.channels, self.used = (channels,) * LEVELS, tuple(used)
        # A cell's nodes: down to P3, which makes P3's map, then up from P4's to P7's.
        last, down, top = len(fpn.cell) - 1, LEVELS - 1, max(used)  # type: ignore[arg-type]
        cell: Any = fpn.cell[last]  # type: ignore[index]
        cell.fnode = cell.fnode[: down + top]
        cell.num_levels = top + 1
        nodes = [f"fpn.cell.{last}.fnode.{down - 1 + level}" for level in range(top + 1)]
        self.parts = {nodes[level]: tuple(range(level, top + 1)) for level in range(1, top + 1)}
        self.grid_at = nodes

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """See `Trunk`."""
        maps = self.fpn(self.backbone(images))
        return OrderedDict((str(level), maps[level]) for level in self.used)


class BiFpnHead(nn.Module):
    """effdet's two nets, run on the used levels, each with the filters of its own anchors only.

    Args:
        class_net: an `effdet.HeadNet` of K outputs an anchor.
        box_net: one of 4 outputs an anchor, dy dx dh dw.
        classes: K.
        positions: for each level up to the last used one which filters of the nets make its anchors.
    """

    def __init__(self, class_net: nn.Module, box_net: nn.Module, classes: int, positions: Positions) -> None:
        super().__init__()
        self.class_net, self.box_net = class_net, box_net
        self.columns = {"class_net": classes, "box_net": 4}
        self.places = sorted({place for level in positions for place in level})
        self.rows = {
            index: [self.places.index(place) for place in level] for index, level in enumerate(positions) if level
        }
        for net, columns in self._nets():
            net.predict.conv_pw = keep_filters(net.predict.conv_pw, columns, self.places)
            net.bn_rep = nn.ModuleList(norms[: len(positions)] for norms in net.bn_rep)

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """``cls_logits`` (N, B, K) and ``bbox_regression`` (N, B, 4) of the maps of all levels that have anchors."""
        outputs = {}
        for name, (net, columns) in zip(("cls_logits", "bbox_regression"), self._nets(), strict=True):
            levels = zip(self.rows.items(), features, strict=True)
            maps = [self._level(net, columns, level, rows, feature) for (level, rows), feature in levels]
            outputs[name] = torch.cat([anchors_last(x, columns) for x in maps], dim=1)
        return outputs

    @torch.no_grad()
    def take_from(self, full: BiFpnHead, kept: Sequence[Sequence[int]]) -> None:
        """Copy the weights of a larger detector's head; positions say which filters, so `kept` need not."""
        for (ours, columns), (theirs, _) in zip(self._nets(), full._nets(), strict=True):
            state = theirs.state_dict()
            common = [key for key in ours.state_dict() if not key.startswith("predict.conv_pw")]
            ours.load_state_dict({key: state[key] for key in common}, strict=False)
            rows = [full.places.index(place) for place in self.places]
            copy_filters(theirs.predict.conv_pw, ours.predict.conv_pw, columns, rows)

    def fit_idle_layers(self) -> None:
        """Give the norms of levels without anchors, which nothing runs, as many channels as those that are run."""
        for net, _ in self._nets():
            for norms in net.bn_rep:
                live = norms[next(iter(self.rows))]
                for level in range(len(norms)):
                    if level not in self.rows:
                        norms[level] = copy.deepcopy(live)

    def _nets(self) -> list[tuple[Any, int]]:
        return [(getattr(self, name), columns) for name, columns in self.columns.items()]

    def _level(self, net: Any, columns: int, level: int, rows: list[int], x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, A * columns, h, w)."""
        for convolution, norms in zip(net.conv_rep, net.bn_rep, strict=True):
            x = net.act(norms[level](convolution(x)))
        x = net.predict.conv_dw(x)
        last = net.predict.conv_pw
        if rows == list(range(len(self.places))):
            full: Tensor = last(x)
            return full
        weight, bias = (values.unflatten(0, (-1, columns))[rows].flatten(0, 1) for values in (last.weight, last.bias))
        return F.conv2d(x, weight, bias)


class EfficientDetModule(nn.Module):
    """An EfficientDet with torchvision's manners; see `Detector.module`."""

    def __init__(
        self,
        config: Any,
        trunk: BiFpnTrunk,
        head: BiFpnHead,
        shapes: Shapes,
        size: tuple[int, int],
        postprocess: PostProcess,
    ) -> None:
        from effdet.loss import DetectionLoss

        super().__init__()
        self.transform = Letterbox(size, IMAGE_MEAN, IMAGE_STD)
        self.backbone = trunk
        self.head = head
        self.anchor_generator = FreeAnchorBoxes(shapes)
        self.box_coder = _BoxCoder()
        self.loss = DetectionLoss(config)
        self.postprocess = postprocess

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in evaluation mode."""
        batch, fitted = self.transform(images, targets)
        features = list(self.backbone(batch.tensors).values())
        outputs = self.head(features)
        anchors = self.anchor_generator(batch, features)[0]
        if not self.training:
            of_images = zip(*outputs.values(), images, batch.image_sizes, strict=True)
            return [
                self._detections(logits, offsets, anchors, image, size) for logits, offsets, image, size in of_images
            ]
        if fitted is None:
            raise InputError("efficientdet: training mode needs targets: a dictionary of boxes and labels an image")
        return self._losses(outputs["cls_logits"], outputs["bbox_regression"], anchors, fitted)

    def _losses(
        self, logits: Tensor, offsets: Tensor, anchors: Tensor, targets: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        from effdet.anchors import AnchorLabeler

        labeler = AnchorLabeler(_AllInOneLevel(anchors), self.loss.num_classes)
        classes, boxes, positives = labeler.batch_label_anchors(
            [_swapped(target["boxes"]) for target in targets], [target["labels"] for target in targets]
        )
        # effdet's maps are (N, outputs, h, w); here all boxes of all levels stand in one column of one map.
        maps = [values.transpose(1, 2).unsqueeze(-1) for values in (logits, offsets)]
        _, classification, regression = self.loss(maps[:1], maps[1:], classes, boxes, positives)
        return {"classification": classification, "bbox_regression": self.loss.box_loss_weight * regression}

    def _detections(
        self, logits: Tensor, offsets: Tensor, anchors: Tensor, image: Tensor, size: tuple[float, float]
    ) -> dict[str, Tensor]:
        boxes = clip_boxes_to_image(self.box_coder.decode_single(offsets, anchors), size)
        one_level = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)  # the top-k is of the image
        found = detect(logits.sigmoid(), boxes, one_level, self.postprocess)
        return {"boxes": found.boxes * (image.shape[-1] / size[1]), "scores": found.scores, "labels": 1 + found.labels}


class _BoxCoder:
    """effdet's decoding behind the name of torchvision's."""

    def decode_single(self, offsets: Tensor, anchors: Tensor) -> Tensor:
        """(B, 4) x1 y1 x2 y2 of offsets dy dx dh dw from anchors x1 y1 x2 y2."""
        from effdet.anchors import decode_box_outputs

        boxes: Tensor = decode_box_outputs(offsets, _swapped(anchors), output_xyxy=True)
        return boxes


class _AllInOneLevel:
    """Anchor boxes as effdet's labeller wants them, but for its rule of as many anchors on every level."""

    min_level = max_level = 0

    def __init__(self, anchors: Tensor) -> None:
        self.boxes = _swapped(anchors)
        self.feat_sizes = [(len(anchors), 1)]

    def get_anchors_per_location(self) -> int:
        return 1


def _swapped(boxes: Tensor) -> Tensor:
    """(N, 4) x1 y1 x2 y2 to y1 x1 y2 x2 and back."""
    return boxes[:, [1, 0, 3, 2]]
