"""What holds for detectors of every family, each small enough for a CPU. The properties are in properties.py."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anchorkit import testing
from anchorkit.datasets import Category
from anchorkit.detectors import Detector, list_detectors, load_detector, prune, untrained
from tests.detectors import properties

CATEGORIES = [Category(3, "cat"), Category(7, "dog")]
# What `load_detector` is told of each family beside its name: what makes it small enough.
CASES: dict[str, dict[str, Any]] = {
    "tiny_ssd": {"size": (96, 128)},
    "tiny_ssd_overanchorized": {"size": (96, 128)},
    "ssd300_vgg16": {"size": (268, 284), "width": 1 / 16},
    "ssd300_vgg16_overanchorized": {"size": (268, 284), "width": 1 / 16, "batch_norm": True},
    "ssdlite320_mobilenet_v3_large": {"size": (96, 128)},
    "ssdlite300_mobilenet_v2": {"size": (96, 128)},
    "ssdlite300_mobilenet_v3_small": {"size": (96, 128)},
    "retinanet_resnet50_fpn": {"size": (64, 96)},
    "retinanet_resnet50_fpn_v2": {"size": (64, 96)},
    "tiny_retinanet": {"size": (96, 128)},
    "efficientdet_d0": {"size": (128, 128)},
    "efficientdet_d1": {"size": (128, 128)},
    "tiny_yolo": {"size": (96, 128)},
}
# How far the heads' random weights are spread; five convolutions with no norm in between would saturate every score, as
# would the features of SSD300, which are larger than those of the others.
SPREADS = {
    "tiny_yolo": 0.05,
    "tiny_ssd_overanchorized": 0.05,
    "retinanet_resnet50_fpn": 0.02,
    "ssd300_vgg16": 0.01,
    "ssd300_vgg16_overanchorized": 0.02,
}
IMAGES = properties.noise_images((120, 90), (96, 128), (60, 200))


@cache
def built(name: str) -> Detector:
    """A detector with random weights that give spread-out scores and boxes."""
    detector = load_detector(name, categories=CATEGORIES, seed=1, **CASES[name])
    return properties.spread(detector, scale=SPREADS.get(name, 0.1))


def _case(name: str) -> Any:
    """A family, left out where the optional package that it needs is not installed."""
    absent = name.startswith("efficientdet") and find_spec("effdet") is None
    return pytest.param(name, marks=pytest.mark.skipif(absent, reason="the extra 'efficientdet' is not installed"))


FAMILIES = [_case(name) for name in CASES]
every_detector = pytest.mark.parametrize("name", FAMILIES)


def test_every_detector_of_the_kit_is_here() -> None:
    two_stages = {"fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_resnet50_fpn"}  # test_faster_rcnn.py
    darknets = {"darknet", "yolov3", "yolov3_tiny", "yolov4", "yolov4_tiny", "yolov7_tiny"}  # test_yolo.py
    large = {"yolov5n", "yolov5s"}  # test_yolov5.py
    assert set(CASES) | two_stages | darknets | large == {
        name for name in list_detectors() if not name.startswith("test_")
    }


@every_detector
def test_raw_predictions_keep_their_promise(name: str) -> None:
    testing.check_raw_predictions(built(name), IMAGES)


@every_detector
def test_the_kits_postprocessing_gives_what_the_detector_returns(name: str) -> None:
    properties.kit_postprocessing_gives_what_the_detector_returns(built(name), IMAGES)


@every_detector
def test_the_network_gives_raw_predictions(name: str) -> None:
    testing.check_network(built(name), IMAGES[0])


LARGE = ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "efficientdet_d0", "efficientdet_d1")
"""Families that take several times as long as the others; the night tries as many configurations of them."""


def for_random_configurations(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test with this many random configurations of each detector, of the large ones with a quarter."""
    by_night = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        def run(name: str) -> None:
            few = name in LARGE and not by_night

            @settings(max_examples=-(-examples // 4) if few else examples, deadline=None)
            @given(data=st.data())
            def tries(data: st.DataObject) -> None:
                test(name, data)

            tries()

        return every_detector(run)

    return decorate


@for_random_configurations(examples=15)
def test_pruned_predictions_are_the_kept_ones(name: str, data: st.DataObject) -> None:
    configuration = data.draw(properties.configurations(built(name).layout))
    testing.check_pruning(built(name), configuration, IMAGES[:1])


@for_random_configurations(examples=10)
def test_costs_are_those_of_the_real_network(name: str, data: st.DataObject) -> None:
    configuration = data.draw(properties.configurations(built(name).layout))
    properties.costs_are_those_of_the_real_network(built(name), configuration)


@every_detector
def test_costs_of_the_full_detector_are_those_of_the_real_network(name: str) -> None:
    properties.costs_are_those_of_the_real_network(built(name), built(name).layout.full)


@for_random_configurations(examples=3)
def test_accuracy_is_what_the_evaluator_said(name: str, data: st.DataObject) -> None:
    configuration = data.draw(properties.configurations(built(name).layout))
    testing.check_accuracy(built(name), configuration, properties.split_of(built(name), IMAGES))


@for_random_configurations(examples=3)
def test_pruning_twice_is_pruning_once(name: str, data: st.DataObject) -> None:
    full = built(name)
    first = data.draw(properties.configurations(full.layout))
    once = prune(full, first)
    second = data.draw(properties.configurations(once.layout))
    twice = prune(once, second)
    directly = prune(full, full.layout.configuration(keep=[first.indices[i] for i in second.indices]))
    assert twice.layout == directly.layout
    for a, b in zip(twice.raw_predictions(IMAGES[:1]), directly.raw_predictions(IMAGES[:1]), strict=True):
        testing._compare(a, b, "pruned twice and pruned once")


@every_detector
def test_a_detector_and_a_pruned_one_are_saved_and_loaded(name: str, tmp_path: Path) -> None:
    full = built(name)
    testing.check_saving(full, IMAGES[:1], tmp_path / "full")
    small = prune(full, full.layout.configuration(drop=range(0, len(full.layout), 2)))
    testing.check_saving(small, IMAGES[:1], tmp_path / "small")


@every_detector
def test_a_pruned_detector_learns(name: str) -> None:
    fresh = load_detector(name, categories=CATEGORIES, seed=2, **CASES[name])
    small = prune(fresh, fresh.layout.configuration(drop=range(1, len(fresh.layout), 2)))
    properties.learns(small, small.layout.input_size)


@every_detector
def test_an_untrained_copy_has_the_same_structure_and_other_weights(name: str) -> None:
    full = built(name)
    small = prune(full, full.layout.configuration(drop=range(0, len(full.layout), 3)))
    fresh, again, other = untrained(small, seed=1), untrained(small, seed=1), untrained(small, seed=2)
    assert fresh.layout == small.layout
    weights = [next(iter(detector.module.head.parameters())) for detector in (small, fresh, again, other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[1], weights[0])
    assert not torch.equal(weights[1], weights[3])
