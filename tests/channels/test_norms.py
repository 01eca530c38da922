"""Running statistics of batch norms, measured again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import anchorkit as ak
from anchorkit.channels import ChannelStatistics, refresh_norms
from anchorkit.channels.statistics import batches_of
from anchorkit.datasets import Dataset
from anchorkit.detectors import Detector

IMAGES = 40


def test_a_norm_has_the_statistics_of_what_it_reads(
    detector: Detector, data: Dataset, statistics: ChannelStatistics
) -> None:
    cut = ak.prune_channels(detector, statistics, ratio=0.3, fold=False, progress=False)
    before = {name: tensor.clone() for name, tensor in cut.module.state_dict().items()}
    fresh = refresh_norms(cut, data.train, IMAGES)
    assert fresh.module.training == cut.module.training
    first = next(layer for layer in fresh.module.modules() if isinstance(layer, nn.BatchNorm2d))
    read: list[torch.Tensor] = []
    handle = first.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    with torch.no_grad():
        for batch in batches_of(cut, data.train, IMAGES, seed=0):
            fresh.network()(batch)
    handle.remove()
    maps = torch.cat(read).transpose(0, 1).flatten(1)
    assert maps.shape[1] == IMAGES * 80 * 80
    torch.testing.assert_close(first.running_mean, maps.mean(1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(first.running_var, maps.var(1), rtol=0.02, atol=1e-4)
    # Only statistics change, in the copy.
    assert all(torch.equal(tensor, before[name]) for name, tensor in cut.module.state_dict().items())
    after = fresh.module.state_dict()
    changed = {name.rpartition(".")[2] for name in before if not torch.equal(after[name], before[name])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    assert first.momentum == next(m for m in cut.module.modules() if isinstance(m, nn.BatchNorm2d)).momentum


def test_what_a_cut_without_fold_took_comes_back_in_part(
    detector: Detector, data: Dataset, statistics: ChannelStatistics
) -> None:
    cut = ak.prune_channels(detector, statistics, ratio=0.2, fold=False, progress=False)
    [images] = batches_of(detector, data.val, 8, seed=0)
    with torch.no_grad():
        scores, _ = detector.network()(images)
        apart = [
            float((each.network()(images)[0] - scores).square().mean())
            for each in (cut, refresh_norms(cut, data.train))
        ]
    assert apart[1] < 0.8 * apart[0]


def test_bad_input(detector: Detector, data: Dataset) -> None:
    with pytest.raises(ak.InputError, match="images is 1, .* at least 2 are needed"):
        refresh_norms(detector, data.train, 1)
    without = ak.load_detector("ssd300_vgg16", categories=2, size=(268, 284), width=1 / 16)
    with pytest.raises(ak.InputError, match="ssd300_vgg16 has no batch norm with running statistics"):
        refresh_norms(without, data.train)
