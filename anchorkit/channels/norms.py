"""Running statistics of batch norms, measured again on images."""

from __future__ import annotations

import copy

import torch
from torch import nn
from tqdm import tqdm

from anchorkit.channels.statistics import batches_of
from anchorkit.datasets import Split
from anchorkit.detectors import Detector
from anchorkit.detectors.base import evaluation_mode
from anchorkit.errors import InputError

_BATCH = 16
"""Images that share a mean and a variance, at least: of one image, a map of one cell has no variance."""


def refresh_norms(
    detector: Detector, split: Split, images: int = 64, *, seed: int = 0, progress: bool = False
) -> Detector:
    """A copy of a detector whose batch norms have the running statistics of some images; no weight changes.

    After channels were cut without a fold, the maps have other means and variances than the norms expect. This is what
    can be repaired without any training. A fold repairs more: see docs/channels.md.

    Args:
        detector: it is left as it is.
        split: the images; training images, as a rule.
        images: how many, drawn at random; all if there are fewer. At least 2.
        seed: of the draw of images.
        progress: show a progress bar on standard error.

    Returns:
        The copy. Its means and variances are averages over batches, each normalised by its own (precise batch norm, Wu
        and Johnson 2021, arXiv 2105.07576).

    Raises:
        InputError: the detector has no batch norm with running statistics, or there are fewer than 2 images.

    Example:
        >>> import anchorkit as ak
        >>> from anchorkit.channels import refresh_norms
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> cut = ak.prune_channels(detector, data.train, ratio=0.2, images=4, fold=False, progress=False)
        >>> refresh_norms(cut, data.train)
        Detector(tiny_ssd: 30 anchors on 6 levels, 7 classes, 506,375 parameters)
    """
    fresh = copy.deepcopy(detector)
    norms = [
        layer
        for layer in fresh.module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats
    ]
    if not norms:
        raise InputError(f"refresh_norms: {detector.name} has no batch norm with running statistics")
    if min(images, len(split.image_ids)) < 2:
        raise InputError(
            f"refresh_norms: images is {images}, {split.name} has {len(split.image_ids)}; at least 2 are needed"
        )
    momenta, count = [norm.momentum for norm in norms], min(images, len(split.image_ids))
    bar = tqdm(total=count, desc="norms", unit="image", disable=not progress)
    with evaluation_mode(fresh.module), torch.no_grad(), bar:
        network = fresh.channel_network().eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        for batch in batches_of(detector, split, images, seed, least=_BATCH):
            network(batch)
            bar.update(len(batch))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return fresh
