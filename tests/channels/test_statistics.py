"""What is gathered is what the readers get."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import anchorkit as ak
from anchorkit.channels import ChannelStatistics, gather_statistics, nuclear_drops
from anchorkit.channels.statistics import columns_per_channel, read_channels
from anchorkit.datasets import Dataset
from anchorkit.detectors import Detector, to_tensor
from anchorkit.detectors.channel_groups import LayerChannels, Reader
from anchorkit.detectors.coupling import coupled_channels

from .groups import group


def seen_by(detector: Detector, data: Dataset, layer: str) -> np.ndarray:
    """What a layer reads of each image: (N, C, cells), by a hook."""
    found: list[torch.Tensor] = []
    images = torch.stack([to_tensor(data.train.image(i)) for i in data.train.image_ids])
    images = F.interpolate(images, detector.layout.input_size, mode="bilinear")
    hook = detector.module.get_submodule(layer).register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    with torch.no_grad():
        detector.network()(images)
    hook.remove()
    return found[0].flatten(2).double().numpy()


@pytest.mark.parametrize("name", ["backbone.stages.0.0", "backbone.stages.0.3", "backbone.stages.5.0"])
def test_gram_matrices_and_scores_are_those_of_what_readers_get(
    detector: Detector, data: Dataset, statistics: ChannelStatistics, name: str
) -> None:
    for reader in statistics.channels[name].readers:
        maps = seen_by(detector, data, reader.layer)
        expected = sum(each @ each.T for each in maps)
        np.testing.assert_allclose(statistics.gram(reader), expected, rtol=1e-5, atol=1e-5 * np.trace(expected))
        [number] = reader.maps
        drops = np.mean([nuclear_drops(each) for each in maps], axis=0)
        np.testing.assert_allclose(statistics.drops[number], drops, rtol=1e-4, atol=1e-6 * drops.max())


def test_maps_that_several_layers_read_are_looked_at_once(statistics: ChannelStatistics) -> None:
    # The trunk's last map is read by both convolutions of its head: eleven groups, with the two maps of each residual.
    readers = {reader.layer: reader.maps for one in statistics.channels.groups for reader in one.readers}
    numbers = {number for maps in readers.values() for number in maps}
    assert set(statistics.grams) == set(statistics.drops) == numbers
    assert len(numbers) < len(readers)
    assert readers["head.classification.levels.0"] == readers["head.regression.levels.0"]


def test_the_number_of_images_in_a_batch_changes_nothing(
    detector: Detector, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = coupled_channels(detector)
    few = gather_statistics(detector, data.train, images=5, channels=channels)
    monkeypatch.setattr("anchorkit.channels.statistics._PIXELS_AT_ONCE", 2 * 160 * 160)
    again = gather_statistics(detector, data.train, images=5, channels=channels)
    for number, gram in few.grams.items():
        np.testing.assert_allclose(again.grams[number], gram, rtol=1e-4, atol=1e-6 * np.trace(gram))
        scale = few.drops[number].max()
        np.testing.assert_allclose(again.drops[number], few.drops[number], rtol=1e-3, atol=1e-5 * scale)


def test_a_flattened_map_is_read_by_channel() -> None:
    cells, atoms = 49, 3
    reader = Reader("fc", np.arange(atoms * cells).reshape(atoms, cells), False, (0,))
    assert columns_per_channel(group("g", atoms), reader) == cells
    assert read_channels(group("g", atoms), reader).tolist() == [[0], [1], [2]]
    grouped = dataclasses.replace(group("g", 2), layers=(LayerChannels("g", np.arange(4).reshape(2, 2)),))
    plain = Reader("conv", np.arange(4).reshape(2, 2), False, (0,))
    assert columns_per_channel(grouped, plain) == 1
    assert read_channels(grouped, plain).tolist() == [[0, 1], [2, 3]]
    doubled = Reader("conv", np.array([[0, 3], [1, 4], [2, 5]]), False, (0,))  # torch.cat([x, x], 1)
    assert columns_per_channel(group("g", atoms), doubled) == 1
    assert read_channels(group("g", atoms), doubled).tolist() == doubled.channels.tolist()


def test_the_draw_is_repeatable_and_takes_all_if_there_are_few(detector: Detector, data: Dataset) -> None:
    once = gather_statistics(detector, data.train, images=3, nuclear=False)
    [reader] = once.channels.groups[0].readers
    again = gather_statistics(detector, data.train, images=3, nuclear=False, channels=once.channels)
    assert (once.gram(reader) == again.gram(reader)).all()
    assert gather_statistics(detector, data.test, images=100, nuclear=False).images == len(data.test)
    assert not once.drops


def test_bad_input(detector: Detector, data: Dataset) -> None:
    with pytest.raises(ak.InputError, match="images is 0; channel statistics need at least 1 image"):
        gather_statistics(detector, data.train, images=0)
    empty: Any = data.train.subset(1)
    empty.image_ids = ()
    with pytest.raises(ak.InputError, match="train: has no images"):
        gather_statistics(detector, empty)
    broken = copy.deepcopy(detector)
    with torch.no_grad():
        broken.module.get_parameter("backbone.stages.1.0.weight")[3, 0, 0, 0] = float("nan")
    with pytest.raises(ak.InputError, match=r"backbone\.stages\.1\.3: what this layer reads is not finite"):
        gather_statistics(broken, data.train, images=1)
