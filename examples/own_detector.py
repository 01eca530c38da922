"""A detector of one's own in anchorkit: the detector, and the adapter that brings it in.

    python examples/own_detector.py

The first half is a small YOLO-style detector as somebody might have it: plain torch, nothing of anchorkit. The second
half, from `OwnDetector` on, is all that anchorkit needs to collect its predictions, search its anchors, prune, save and
load it. Copy that half and change it for yours; docs/own_detector.md explains it line by line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import anchorkit as ak
from anchorkit.anchors import TrunkPart
from anchorkit.detectors import Detector, RawPredictions, boxes_by_anchor, keep_filters, kept_by_level, to_tensor

# ------------------------------------------------------------------------------------------------ your detector

CHANNELS, STRIDES = (32, 64), (8, 16)
ANCHORS = (((12, 16), (24, 14), (20, 36)), ((40, 28), (36, 75), (76, 55)))  # width, height in pixels of the input


def convolution(inputs: int, outputs: int, stride: int = 2) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)
    )


class Yolo(nn.Module):
    """Two levels; for each anchor of a cell x y w h, an objectness, and a score for each class."""

    def __init__(self, classes: int, anchors: Sequence[Sequence[tuple[float, float]]] = ANCHORS) -> None:
        super().__init__()
        self.outputs = 5 + classes
        self.anchors = [torch.tensor(level, dtype=torch.float32) for level in anchors]
        stages = [
            nn.Sequential(convolution(3, 16), convolution(16, 16), convolution(16, CHANNELS[0])),
            nn.Sequential(convolution(CHANNELS[0], CHANNELS[1]), convolution(CHANNELS[1], CHANNELS[1], stride=1)),
        ]
        self.stages = nn.ModuleList(stages[: len(anchors)])
        # A level without anchors has no head: the one thing that pruning asks of a network.
        self.heads = nn.ModuleDict(
            {str(i): nn.Conv2d(CHANNELS[i], len(level) * self.outputs, 1) for i, level in enumerate(anchors) if level}
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 3, H, W), 0..1, to scores (N, B, K), 0..1, and boxes (N, B, 4), x1 y1 x2 y2 in pixels."""
        scores, boxes = [], []
        x = images
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if str(number) in self.heads:
                raw = self.heads[str(number)](x)
                decoded = self.decode(raw.unflatten(1, (-1, self.outputs)), self.anchors[number], STRIDES[number])
                scores.append(decoded[0])
                boxes.append(decoded[1])
        limit = torch.tensor([images.shape[3], images.shape[2]] * 2, device=images.device)
        return torch.cat(scores, 1), torch.cat(boxes, 1).clamp(min=0).minimum(limit)

    def decode(self, raw: Tensor, anchors: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """(N, A, 5 + K, h, w) of one level to scores and boxes, cell by cell, anchor by anchor."""
        raw = raw.permute(0, 3, 4, 1, 2)  # (N, h, w, A, 5 + K)
        rows, columns = (torch.arange(side, device=raw.device) for side in raw.shape[1:3])
        corner = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[:, :, None]  # (h, w, 1, 2), x y
        centre = (corner + raw[..., :2].sigmoid()) * stride
        half = anchors.to(raw.device) * raw[..., 2:4].exp() / 2
        scores = raw[..., 4:5].sigmoid() * raw[..., 5:].sigmoid()
        return scores.flatten(1, 3), torch.cat([centre - half, centre + half], -1).flatten(1, 3)


# ------------------------------------------------------------------------------------------------ the adapter


class OwnDetector(Detector):
    """What anchorkit asks of a detector, said for `Yolo`."""

    def network(self) -> nn.Module:
        return self.module.eval()

    @torch.inference_mode()
    def raw_predictions(self, images: Sequence[np.ndarray]) -> list[RawPredictions]:
        size, network, found = self.layout.input_size, self.network(), []
        for image in images:
            # Your own way of resizing and normalising goes here, and back again below.
            batch = F.interpolate(to_tensor(image, self.device)[None], size, mode="bilinear", antialias=True)
            scores, boxes = network(batch)
            scale = boxes.new_tensor([image.shape[1] / size[1], image.shape[0] / size[0]] * 2)
            boxes = boxes[0] * scale
            found.append(RawPredictions(boxes.cpu().numpy(), scores[0].cpu().numpy(), boxes_by_anchor(self.layout)))
        return found

    def pruned(self, configuration: ak.Configuration) -> OwnDetector:
        kept, levels = kept_by_level(configuration), self.layout.levels
        shapes = [[levels[i].anchors[number] for number in numbers] for i, numbers in enumerate(kept)]
        small = build(self.categories, self.layout.input_size, shapes, self.postprocess, f"{self.name}-pruned")
        ours, theirs = small.module, self.module
        stages = theirs.stages.state_dict()
        ours.stages.load_state_dict({name: stages[name] for name in ours.stages.state_dict()})
        for i in ours.heads:
            ours.heads[i] = keep_filters(theirs.heads[i], theirs.outputs, kept[int(i)])
        ours.to(self.device)
        return small


def build(categories, size=None, shapes=None, postprocess=None, name="own_detector") -> OwnDetector:
    size, shapes, outputs = size or (128, 128), shapes or ANCHORS, 5 + len(categories)
    module = Yolo(len(categories), shapes).eval()
    levels, parts, x = [], [], torch.zeros(1, 3, *size)
    for i, anchors in enumerate(shapes):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            x = module.stages[i](x)
        parts.append(TrunkPart(f"stages.{i}", counter.get_total_flops() // 2, levels=tuple(range(i, len(shapes)))))
        each = {"head_macs_per_anchor": CHANNELS[i] * outputs, "head_params_per_anchor": (CHANNELS[i] + 1) * outputs}
        levels.append(ak.Level(f"L{i}", *x.shape[2:], anchors=tuple(map(tuple, anchors)), **each))
    macs = sum(part.macs for part in parts)
    layout = ak.AnchorLayout(name, size, tuple(levels), trunk_macs=macs, trunk_parts=tuple(parts[1:]))
    postprocess = postprocess or ak.PostProcess(score_threshold=0.05, topk=None, nms_iou=0.5, max_detections=100)
    return OwnDetector("own_detector", module, layout, categories, postprocess)


ak.register_detector("own_detector", build)  # so that it can be saved and loaded


def main() -> None:
    """The whole way with random weights: the accuracies mean nothing, the costs do."""
    data = ak.load_dataset("shapes", train=1, val=20, test=1, progress=False)
    detector = build(data.categories)  # yours: detector.module.load_state_dict(torch.load(..., weights_only=True))
    predictions = ak.collect_predictions(detector, data.val)
    # Leave out the threshold of yours: a search refuses a detector that finds nothing, as this one with random weights.
    result = ak.search(ak.Evaluator(predictions, data.val.ground_truth), cost="head_flops", threshold=0.0)
    print(result.frontier)
    small = ak.prune(detector, result.cheapest())
    print(detector, small, sep="\n")


if __name__ == "__main__":
    main()
