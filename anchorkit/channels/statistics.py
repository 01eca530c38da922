"""What images say about channels: Gram matrices of the maps that layers read, gathered in one pass.

A channel's worth shows in the maps that the *readers* of its group get: after norm, activation and sum. For each
distinct map `ChannelStatistics` keeps the Gram matrix over all images and cells, in float64. Folding needs no more. The
nuclear-norm score needs each image alone, so it is computed in the same pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from anchorkit.channels.nuclear import torch_nuclear_drops
from anchorkit.datasets import Split
from anchorkit.detectors import Detector, to_tensor, watch_maps
from anchorkit.detectors.channel_groups import ChannelGroup, CoupledChannels, Reader
from anchorkit.detectors.coupling import coupled_channels
from anchorkit.errors import InputError

Array = npt.NDArray[np.float64]

_PIXELS_AT_ONCE = 2**19
"""Input pixels of a batch: some hundred megabytes of maps in the largest families."""


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """What a set of images says about the channels of a detector.

    Attributes:
        detector: whose channels they are; also the weights that scores look at.
        channels: the detector's groups.
        images: how many images were looked at.
        grams: for each map id of the readers, float64 (C, C): sums over images and cells of products of two channels.
        drops: for each map id, float64 (C,): by how much the nuclear norm falls without the channel, mean over the
            images (`anchorkit.channels.nuclear`). Empty if they were not asked for.

    Example:
        >>> import anchorkit as ak
        >>> from anchorkit.channels import gather_statistics
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> statistics = gather_statistics(detector, data.train, images=2)
        >>> statistics
        ChannelStatistics(tiny_ssd: 11 groups, 2 images)
        >>> small = ak.prune_channels(detector, statistics, ratio=0.3)  # several ratios need one pass
    """

    detector: Detector
    channels: CoupledChannels
    images: int
    grams: Mapping[int, Array]
    drops: Mapping[int, Array]

    def gram(self, reader: Reader) -> Array:
        """float64 (C, C) of what a layer reads, over all the maps that it reads; C channels of these maps."""
        found: Array = np.sum([self.grams[number] for number in reader.maps], axis=0)
        return found

    def __repr__(self) -> str:
        name, groups = self.detector.name, len(self.channels.groups)
        return f"ChannelStatistics({name}: {groups} groups, {self.images} images)"


def gather_statistics(
    detector: Detector,
    split: Split,
    images: int = 64,
    *,
    nuclear: bool = True,
    channels: CoupledChannels | None = None,
    seed: int = 0,
    progress: bool = False,
) -> ChannelStatistics:
    """Look at some images through a detector, in one pass.

    Args:
        detector: in evaluation mode, on its device; it is left as it is.
        split: the images; training images, as a rule.
        images: how many, drawn at random; all if there are fewer.
        nuclear: compute the nuclear-norm score as well, which takes most of the time.
        channels: the detector's groups, if they are known already.
        seed: of the draw of images.
        progress: show a progress bar on standard error.

    Raises:
        InputError: there is no image or no group, a map holds a value that is not finite (the message names the layer
            that reads it), or the network cannot be followed.
    """
    channels = channels or coupled_channels(detector)
    if not channels.groups:
        raise InputError(f"{detector.name}: no channels can be pruned; coupled_channels(detector).fixed says why")
    gathered, seen = _Gathered(detector, channels, nuclear), 0
    with tqdm(total=min(images, len(split.image_ids)), desc="channels", unit="image", disable=not progress) as bar:
        for batch in batches_of(detector, split, images, seed):
            gathered.look_at(batch)
            seen += len(batch)
            bar.update(len(batch))
    return ChannelStatistics(
        detector,
        channels,
        seen,
        {number: gram.cpu().numpy() for number, gram in gathered.grams.items()},
        {number: (drops / seen).cpu().numpy() for number, drops in gathered.drops.items()},
    )


class _Gathered:
    """The sums of one pass."""

    def __init__(self, detector: Detector, channels: CoupledChannels, nuclear: bool) -> None:
        self.detector, self.channels, self.nuclear = detector, channels, nuclear
        self.cells = {
            reader.layer: columns_per_channel(group, reader) for group in channels.groups for reader in group.readers
        }
        self.grams: dict[int, Tensor] = {}
        self.drops: dict[int, Tensor] = {}

    def look_at(self, images: Tensor) -> None:
        """Add a batch (N, 3, H, W) in 0..1."""
        seen: set[int] = set()

        def visit(layer: str, features: Tensor, number: int) -> None:
            if layer in self.cells and number not in seen:
                seen.add(number)
                self._add(layer, features, number, len(images))

        watch_maps(self.channels, self.detector, images, visit)

    def _add(self, layer: str, features: Tensor, number: int, images: int) -> None:
        """Add one map (M, C, ...); M is the number of images, or a multiple where a layer sees regions of images."""
        device = "cpu" if features.device.type == "mps" else features.device
        channels = features.shape[1] // self.cells[layer]
        maps = features.to(device).double().reshape(len(features), channels, -1)  # (M, C, cells)
        if not bool(maps.isfinite().all()):
            raise InputError(
                f"{layer}: what this layer reads is not finite (on the images given); check the weights of "
                f"{self.detector.name} and its training"
            )
        gram = torch.einsum("mci,mdi->cd", maps, maps)
        self.grams[number] = self.grams.get(number, 0) + gram
        if self.nuclear:
            if len(maps) % images == 0:  # regions of one image are one map
                maps = maps.reshape(images, -1, channels, maps.shape[2]).transpose(1, 2).flatten(2)
            else:
                maps = maps.transpose(0, 1).flatten(1)[None]
            self.drops[number] = self.drops.get(number, 0) + torch_nuclear_drops(maps).sum(0)


def columns_per_channel(group: ChannelGroup, reader: Reader) -> int:
    """How many columns of a reader's weight stand for one channel: 1, or the cells of a map that was flattened.

    The cells of a channel lie side by side. Columns that do not are channels of their own (a map that was concatenated
    with itself, say).
    """
    cells = reader.channels.shape[1] // (group.channels // group.atoms)
    if cells < 2:
        return 1
    blocks = reader.channels.reshape(-1, cells)
    together = bool((blocks == blocks[:, :1] + np.arange(cells)).all() and (blocks[:, 0] % cells == 0).all())
    return cells if together else 1


def read_channels(group: ChannelGroup, reader: Reader) -> npt.NDArray[np.int64]:
    """int64 (atoms, k): which channels of the map that a reader gets belong to each atom; indices into its Gram matrix.

    The map's channels are the columns of the reader's weight, except where a linear layer reads a flattened map.
    """
    cells = columns_per_channel(group, reader)
    found: npt.NDArray[np.int64] = reader.channels[:, ::cells] // cells
    return found


def batches_of(detector: Detector, split: Split, images: int, seed: int, *, least: int = 1) -> Iterator[Tensor]:
    """Some images of a split, drawn at random, as a detector's network takes them.

    Args:
        detector: the images get the input size of its layout, and go to its device.
        split: the images.
        images: how many; all if there are fewer.
        seed: of the draw.
        least: images of a batch, if there are so many.

    Yields:
        float (N, 3, H, W), 0..1.

    Raises:
        InputError: there is no image.
    """
    if images < 1:
        raise InputError(f"images is {images}; channel statistics need at least 1 image")
    if not split.image_ids:
        raise InputError(f"{split.name}: has no images; channel statistics need at least 1 image")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(split.image_ids))[:images])
    height, width = detector.layout.input_size
    size = max(least, _PIXELS_AT_ONCE // (height * width), 1)
    for numbers in np.array_split(drawn, max(1, len(drawn) // size)):
        pixels = [to_tensor(split.image(split.image_ids[number]), detector.device)[None] for number in numbers]
        yield torch.cat([F.interpolate(image, (height, width), mode="bilinear") for image in pixels])
