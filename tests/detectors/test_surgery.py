"""Pruning keeps the raw predictions of the kept anchors, and nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anchorkit.detectors import Detector, load_detector, prune
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from tests.detectors.test_ssd import ground_truth_of, table_of

# Convolutions over fewer filters may sum in another order.
NOISE = 1e-4


@settings(max_examples=25)
@given(mask=st.integers(1, 2**30 - 1), cut_levels=st.sets(st.integers(0, 5), max_size=4))
def test_pruned_predictions_are_the_kept_ones(
    detector: Detector, images: list[np.ndarray], mask: int, cut_levels: set[int]
) -> None:
    kept = [a.index for a in detector.layout.anchors if mask >> a.index & 1 and a.level not in cut_levels]
    configuration = detector.layout.configuration(keep=kept or [17])
    small = prune(detector, configuration)
    assert small.layout.full.per_level == configuration.per_level[: len(small.layout.levels)]
    assert sum(configuration.per_level[len(small.layout.levels) :]) == 0
    of_kept = np.array(configuration.indices)
    for full, cut in zip(detector.raw_predictions(images), small.raw_predictions(images), strict=True):
        rows = np.isin(full.anchor, of_kept)
        np.testing.assert_array_equal(of_kept[cut.anchor], full.anchor[rows])
        np.testing.assert_allclose(cut.scores, full.scores[rows], atol=NOISE)
        np.testing.assert_allclose(cut.boxes, full.boxes[rows], atol=100 * NOISE)


def test_accuracy_is_what_the_evaluator_said(detector: Detector, images: list[np.ndarray]) -> None:
    truth = ground_truth_of(detector, images)
    evaluator = Evaluator(table_of(detector, images), truth)
    configuration = detector.layout.configuration(drop=[0, 2, 7, 11, 26, 27, 28, 29])
    small = prune(detector, configuration)
    pruned = Evaluator(table_of(small, images), truth)
    assert pruned.stats(small.layout.full) == pytest.approx(evaluator.stats(configuration), abs=1e-6)


def test_the_full_detector_is_left_as_it_was(detector: Detector) -> None:
    before = {key: value.clone() for key, value in detector.module.state_dict().items()}
    small = prune(detector, detector.layout.configuration(keep=[4, 5]))
    with torch.no_grad():
        for parameter in small.module.parameters():
            parameter.zero_()
    for key, value in detector.module.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_trailing_levels_go_and_leading_ones_stay(detector: Detector) -> None:
    small = prune(detector, detector.layout.configuration(keep=[10]))
    assert len(small.layout.levels) == 3
    assert small.layout.full.per_level == (0, 0, 1)
    assert len(small.module.backbone.stages) == 3
    assert small.parameters < 0.6 * detector.parameters


def test_a_pruned_detector_trains(detector: Detector) -> None:
    small = prune(detector, detector.layout.configuration(drop=range(0, 30, 2)))
    module = small.module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    images = [torch.rand(3, 96, 128) for _ in range(4)]
    targets = [{"boxes": torch.tensor([[10.0, 10.0, 60.0, 50.0]]), "labels": torch.tensor([1])}] * 4
    losses = []
    for _ in range(8):
        loss = sum(module(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_pruning_twice_is_pruning_once(detector: Detector, images: list[np.ndarray]) -> None:
    once = prune(detector, detector.layout.configuration(keep=[1, 6, 9]))
    between = prune(detector, detector.layout.configuration(keep=[1, 6, 8, 9, 20]))
    twice = prune(between, between.layout.configuration(keep=[0, 1, 3]))
    for a, b in zip(once.raw_predictions(images), twice.raw_predictions(images), strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=NOISE)


def test_a_configuration_of_another_layout_is_refused(detector: Detector) -> None:
    other = load_detector("tiny_ssd", categories=2, size=(160, 160), seed=0)
    with pytest.raises(InputError, match="belongs to"):
        prune(detector, other.layout.full)


def test_an_empty_configuration_is_refused(detector: Detector) -> None:
    with pytest.raises(InputError, match="no anchor"):
        prune(detector, detector.layout.configuration(keep=[]))
