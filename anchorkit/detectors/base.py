"""What the rest of the kit knows about a detector."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.datasets import Category
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess, RawPredictions

FRESH = "random weights"


class Detector:
    """A trained or trainable anchor-based detector: a torch module and what is needed to use it.

    To bring a detector of your own, subclass this and write `raw_predictions` and `pruned`; `network` too for export
    and timing. `register_detector` with a builder makes it loadable by name and from a folder.
    `anchorkit.testing.check_detector` checks it. See docs/own_detector.md and examples/own_detector.py.

    Attributes:
        architecture: name of the family, as in `load_detector`.
        module: the network. `fit` needs one with torchvision's manners, which all of the kit's have: in training mode
            ``module(images, targets)`` gives a dict of losses, in evaluation mode ``module(images)`` gives detections.
            Images are float (3, H, W) in 0..1; targets have ``boxes`` (N, 4) in pixels and ``labels`` (N,), counted
            from 1 in the order of `categories`. Nothing else calls it.
        layout: the anchors, level by level, and what each costs.
        categories: the object classes, in the order of the scores.
        postprocess: how raw predictions become detections.
        options: what the family's builder needs beside anchors, size and classes; plain JSON values.
        anchor_surgery: what `prune` calls in the place of `pruned`: channel surgery sets it. None for `pruned`.
        rows_follow_anchors: whether `network` gives its boxes in the order of `boxes_by_anchor`. Two stages give boxes
            of proposals.
        begins_with: what its weights began with, in words: ``"random weights"``, ``"the trunk of tiny_ssd-shapes"``.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> detector
        Detector(tiny_ssd: 30 anchors on 6 levels, 7 classes, ... parameters)
        >>> len(detector.layout), detector.layout.input_size, detector.categories[0].name
        (30, (160, 160), 'ball')
    """

    begins_with = FRESH
    rows_follow_anchors = True
    anchor_surgery: Callable[[Any, Configuration], Any] | None = None

    def __init__(
        self,
        architecture: str,
        module: nn.Module,
        layout: AnchorLayout,
        categories: Sequence[Category],
        postprocess: PostProcess,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.architecture = architecture
        self.module = module
        self.layout = layout
        self.categories = tuple(categories)
        self.postprocess = postprocess
        self.options = dict(options or {})

    @property
    def name(self) -> str:
        """The detector's name, as its layout says it."""
        return self.layout.detector

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.module.parameters()).device

    @property
    def leaves_cores_free(self) -> bool:
        """Whether images can be decoded beside the network: it is on a GPU, or torch uses fewer threads than cores."""
        return self.device.type != "cpu" or torch.get_num_threads() < (os.cpu_count() or 1)

    @property
    def parameters(self) -> int:
        """Number of trainable parameters of the whole network."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def raw_predictions(self, images: Sequence[np.ndarray]) -> list[RawPredictions]:
        """Raw predictions of the network in evaluation mode.

        Args:
            images: uint8 (H, W, 3) RGB, each of its own size.

        Returns:
            One `RawPredictions` per image: what the network predicts when the image is alone in its batch.
        """
        raise NotImplementedError

    def pruned(self, configuration: Configuration) -> Detector:
        """A smaller detector of the same family that keeps only the anchors of `configuration`; see `prune`.

        Args:
            configuration: of `layout`, with at least one anchor.
        """
        raise InputError(
            f"prune: {type(self).__name__} ({self.architecture}) does not implement pruned(); override it to support "
            "pruning"
        )

    def network(self) -> nn.Module:
        """The network between resizing and NMS, in evaluation mode: what is exported and timed.

        Returns:
            A module that shares this detector's weights. It takes images float (N, 3, H, W), 0..1, resized to the
            layout's input size, and gives scores (N, B, K), 0..1, and boxes (N, B, 4), x1 y1 x2 y2 in pixels of the
            input, clipped to it; both in the order of `boxes_by_anchor`.
        """
        raise InputError(
            f"export: {type(self).__name__} ({self.architecture}) does not implement network(); override it"
        )

    def measured_layout(self) -> AnchorLayout | None:
        """The layout with what the network costs after channels of it were cut.

        Returns:
            None to derive it from the layout before the cut, which is possible where only the last convolutions are a
            level's own.
        """
        return None

    def rows_per_level(self) -> list[int]:
        """How many boxes `network` gives for each level with anchors; their sum is B."""
        return [level.cells * len(level.anchors) for level in self.layout.levels if level.anchors]

    def channel_network(self) -> nn.Module:
        """What `anchorkit.coupled_channels` runs on the meta device, by default `network`.

        Returns:
            A module that shares this detector's weights and takes images (1, 3, H, W) of the layout's input size. It
            runs all that has weights, and its outputs are what must keep its channels.
        """
        return self.network()

    def __repr__(self) -> str:
        return (
            f"Detector({self.name}: {len(self.layout)} anchors on {len(self.layout.levels)} levels, "
            f"{len(self.categories)} classes, {self.parameters:,} parameters)"
        )


def cannot_be_trained(detector: Any) -> str | None:
    """Why a detector cannot be trained, and what to do instead; None if it can.

    Example:
        >>> import anchorkit as ak
        >>> from anchorkit.detectors import cannot_be_trained
        >>> cannot_be_trained(ak.load_detector("tiny_ssd", weights="shapes")) is None
        True
    """
    if isinstance(getattr(detector, "module", None), nn.Module):
        return None
    return (
        f"{detector.name}: an ONNX file cannot be trained, because it holds no training code. Fine-tune in the "
        "framework that made it: keep those filters of your checkpoint that the .json beside the pruned file lists "
        "under kept_filters, train, and export again (docs/onnx.md)"
    )


Builder = Callable[..., Detector]
"""Makes a detector with fresh weights: ``build(categories, size=, shapes=, postprocess=, name=, **options)``, and
``positions=`` if its head is shared. All but the categories may be None or missing: then they are the family's own.
"""


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """All modules in evaluation mode; on leaving, as they were."""
    training = [module.training for module in modules]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for module, was_training in zip(modules, training, strict=True):
            module.train(was_training)


def structure(layout: AnchorLayout) -> dict[str, Any]:
    """The arguments with which a `Builder` builds a head with the anchors of a layout."""
    known: dict[str, Any] = {"size": layout.input_size, "shapes": [level.anchors for level in layout.levels]}
    if layout.shared_head:
        known["positions"] = [level.positions or tuple(range(len(level.anchors))) for level in layout.levels]
    return known


def kept_by_level(configuration: Configuration) -> list[list[int]]:
    """For each level up to the last that keeps an anchor: which of its anchors are kept, counted within the level.

    Example:
        >>> import anchorkit as ak
        >>> from anchorkit.detectors import kept_by_level
        >>> layout = ak.load_detector("tiny_ssd", weights="shapes").layout
        >>> kept_by_level(layout.configuration(keep=[0, 3, 10]))
        [[0, 3], [], [0]]
    """
    layout = configuration.layout
    kept: list[list[int]] = [[] for _ in layout.levels]
    first = np.cumsum([0] + [len(level.anchors) for level in layout.levels])
    for anchor in configuration.anchors:
        kept[anchor.level].append(anchor.index - int(first[anchor.level]))
    while kept and not kept[-1]:
        kept.pop()
    return kept


def boxes_by_anchor(layout: AnchorLayout, grids: Sequence[tuple[int, int]] | None = None) -> np.ndarray:
    """The anchor of every box: level by level, row by row, cell by cell, anchor by anchor.

    Args:
        layout: the detector's anchors.
        grids: (height, width) in cells of the levels that have anchors; by default those of the layout's input size.

    Returns:
        int32 (B,), indices into the layout's anchors.

    Example:
        >>> import anchorkit as ak
        >>> level = ak.Level("P3", height=4, width=4, anchors=((8, 8), (16, 8)), head_macs_per_anchor=100)
        >>> layout = ak.AnchorLayout("toy", (32, 32), (level,))
        >>> from anchorkit.detectors import boxes_by_anchor
        >>> boxes_by_anchor(layout)[:5]
        array([0, 1, 0, 1, 0], dtype=int32)
    """
    used = [level for level in layout.levels if level.anchors]
    cells = [level.cells for level in used] if grids is None else [height * width for height, width in grids]
    first, parts = 0, [np.empty(0, np.int32)]
    for level, count in zip(used, cells, strict=True):
        parts.append(np.tile(np.arange(first, first + len(level.anchors), dtype=np.int32), count))
        first += len(level.anchors)
    return np.concatenate(parts)


def to_tensor(image: np.ndarray, device: torch.device | None = None) -> Tensor:
    """uint8 (H, W, 3) to float32 (3, H, W) in 0..1.

    Example:
        >>> import numpy as np
        >>> from anchorkit.detectors import to_tensor
        >>> to_tensor(np.full((2, 3, 3), 255, np.uint8)).shape
        torch.Size([3, 2, 3])
    """
    return torch.tensor(image, device=device).permute(2, 0, 1).float().div_(255)
