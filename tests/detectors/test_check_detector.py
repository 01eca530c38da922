"""`check_detector` passes detectors that keep the promises, and names each promise that a detector breaks."""

from __future__ import annotations

import copy
import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from types import MethodType, ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import anchorkit as ak
from anchorkit.datasets import Dataset
from anchorkit.detectors import Detector, RawPredictions
from anchorkit.detectors.architectures import BUILDERS
from anchorkit.testing import check_detector
from tests.detectors.properties import spread_example

PROMISES = ("raw predictions", "network", "pruning", "costs", "accuracy", "saving", "fresh weights")


@pytest.fixture
def own(example: ModuleType, data: Dataset) -> Detector:
    return spread_example(example.build(data.categories))


def check(detector: Detector, data: Dataset) -> dict[str, str]:
    return check_detector(detector, data.val, images=2, configurations=2)


def lines_about(detector: Detector, data: Dataset) -> list[str]:
    """What is said of each broken promise."""
    with pytest.raises(AssertionError) as caught:
        check(detector, data)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{detector.name} breaks {len(lines)} of 7 promises"
    return lines


def replace_method(detector: Detector, name: str, method: Callable[..., object]) -> None:
    """Give one detector another method; its pruned copies keep the class's."""
    setattr(detector, name, MethodType(method, detector))


def change_predictions(detector: Detector, change: Callable[[RawPredictions], RawPredictions]) -> None:
    answer = detector.raw_predictions
    replace_method(detector, "raw_predictions", lambda self, images: [change(raw) for raw in answer(images)])


def test_the_examples_detector_keeps_every_promise(own: Detector, data: Dataset) -> None:
    assert check(own, data) == dict.fromkeys(PROMISES, "kept")


@pytest.mark.parametrize("name", ["tiny_ssd", "tiny_retinanet"])
def test_detectors_of_the_kit_keep_every_promise(name: str, data: Dataset) -> None:
    detector = ak.load_detector(name, categories=data.categories, seed=1)
    before = {key: value.clone() for key, value in detector.module.state_dict().items()}
    assert check(detector, data) == dict.fromkeys(PROMISES, "kept")
    assert all(torch.equal(value, before[key]) for key, value in detector.module.state_dict().items())


def test_what_a_detector_does_not_implement_is_not_checked(own: Detector, data: Dataset) -> None:
    class Bare(Detector):
        raw_predictions = type(own).raw_predictions

        def network(self) -> nn.Module:  # pragma: no cover - replaced below
            raise NotImplementedError

    bare = Bare("nobody's", own.module, own.layout, own.categories, own.postprocess)
    replace_method(bare, "network", lambda self: own.network())
    assert check(bare, data) == {
        "raw predictions": "kept",
        "network": "kept",
        "pruning": "not checked: pruned() is not implemented",
        "costs": "not checked: pruned() is not implemented",
        "accuracy": "not checked: pruned() is not implemented",
        "saving": "not checked: register_detector(name, build) first",
        "fresh weights": "not checked: register_detector(name, build) first",
    }


def test_a_wrong_anchor_index_is_caught(own: Detector, data: Dataset) -> None:
    def next_anchor(raw: RawPredictions) -> RawPredictions:
        return dataclasses.replace(raw, anchor=(raw.anchor + 1) % np.int32(len(own.layout)))

    change_predictions(own, next_anchor)
    found = lines_about(own, data)
    assert [line.split(":")[0] for line in found][:2] == ["network", "pruning"]
    assert "other anchors" in found[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: dataclasses.replace(raw, scores=raw.scores.astype(np.float64)), "scores is float64"),
        (lambda raw: dataclasses.replace(raw, scores=raw.scores * 3 - 1), "a score is outside 0..1"),
        (
            lambda raw: dataclasses.replace(raw, scores=np.full_like(raw.scores, np.nan)),
            "a score is outside 0..1 or not",
        ),
        (lambda raw: dataclasses.replace(raw, boxes=raw.boxes + 50), "a box is outside the image"),
        (lambda raw: dataclasses.replace(raw, boxes=raw.boxes[:, [2, 3, 0, 1]]), "a box has x2 < x1"),
        (lambda raw: dataclasses.replace(raw, anchor=np.zeros_like(raw.anchor)), "indices 0; each of 0 to 5 is needed"),
        (lambda raw: dataclasses.replace(raw, scores=raw.scores[:, :2]), r"scores is float32 \(960, 2\)"),
    ],
)
def test_raw_predictions_out_of_form_are_caught(
    own: Detector, data: Dataset, change: Callable[[RawPredictions], RawPredictions], message: str
) -> None:
    change_predictions(own, change)
    with pytest.raises(AssertionError, match=rf"raw predictions: image 0 \(\d+ x \d+\): .*{message}"):
        check(own, data)


def test_predictions_that_depend_on_the_batch_are_caught(own: Detector, data: Dataset) -> None:
    answer = own.raw_predictions

    def of_batch(self: Detector, images: list[np.ndarray]) -> list[RawPredictions]:
        return [dataclasses.replace(raw, scores=raw.scores / len(images)) for raw in answer(images)]

    replace_method(own, "raw_predictions", of_batch)
    [line] = lines_about(own, data)
    assert "raw predictions: image 0 (160 x 160): predictions alone and in a batch of 2 differ in scores" in line


def test_a_network_in_another_order_is_caught(own: Detector, data: Dataset) -> None:
    class Backwards(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return tuple(output.flip(1) for output in own.module(images))

    straight = copy.copy(own)
    replace_method(own, "raw_predictions", lambda self, images: straight.raw_predictions(images))
    replace_method(own, "network", lambda self: Backwards())
    [line] = [line for line in lines_about(own, data) if line.startswith("network")]
    assert "network(), in the order of boxes_by_anchor, and raw_predictions() differ" in line


def test_pruning_that_copies_other_filters_is_caught(own: Detector, data: Dataset) -> None:
    prune = own.pruned

    def shuffled(self: Detector, configuration: ak.Configuration) -> Detector:
        small = prune(configuration)
        for head in small.module.heads.values():
            with torch.no_grad():
                head.weight.copy_(head.weight.flip(0))
        return small

    replace_method(own, "pruned", shuffled)
    found = lines_about(own, data)[0]
    assert found.startswith("pruning: keeping L0/12x16")
    assert "predictions of the pruned and of the full detector differ" in found


def test_pruning_that_changes_the_post_processing_is_caught(own: Detector, data: Dataset) -> None:
    prune = own.pruned

    def changed(self: Detector, configuration: ak.Configuration) -> Detector:
        small = prune(configuration)
        small.postprocess = dataclasses.replace(small.postprocess, max_detections=1)
        return small

    replace_method(own, "pruned", changed)
    assert "changes the post-processing" in lines_about(own, data)[0]


def test_pruning_that_keeps_everything_is_caught(own: Detector, data: Dataset) -> None:
    replace_method(own, "pruned", lambda self, configuration: self)
    assert "the pruned layout has (3, 3) anchors per level, not (2, 1)" in lines_about(own, data)[0]


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        ("head_macs_per_anchor", "multiply-adds, the layout says"),
        ("head_params_per_anchor", "pruning removes .* parameters, the layout says"),
    ],
)
def test_costs_that_are_not_the_networks_are_caught(
    example: ModuleType, data: Dataset, monkeypatch: pytest.MonkeyPatch, fact: str, message: str
) -> None:
    level = ak.Level
    monkeypatch.setattr(ak, "Level", lambda *args, **facts: level(*args, **facts | {fact: facts[fact] + 1}))
    own = spread_example(example.build(data.categories))
    [line] = lines_about(own, data)
    assert line.startswith("costs: keeping ")
    assert re.search(message, line)


def test_a_builder_that_forgets_is_caught(
    example: ModuleType, own: Detector, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgets(categories, size=None, shapes=None, postprocess=None, name="own_detector"):  # type: ignore[no-untyped-def]
        return example.build(categories, size, shapes, None, name)

    monkeypatch.setitem(BUILDERS, "own_detector", forgets)
    own.postprocess = dataclasses.replace(own.postprocess, nms_iou=0.3)
    [line] = [line for line in lines_about(own, data) if line.startswith("saving")]
    assert line == "saving: a loaded detector has another postprocess; build() must take it over from what was saved"


def test_weights_that_are_not_fresh_are_caught(
    example: ModuleType, own: Detector, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(*args: object, **settings: object) -> Detector:
        torch.manual_seed(0)
        return example.build(*args, **settings)

    monkeypatch.setitem(BUILDERS, "own_detector", stale)
    assert lines_about(own, data) == ["fresh weights: untrained: weights are not fresh; build() must draw them"]


def test_an_exception_says_what_was_checked(own: Detector, data: Dataset) -> None:
    replace_method(own, "pruned", lambda self, configuration: {}["nothing"])
    with pytest.raises(KeyError) as caught:
        check(own, data)
    assert caught.value.__notes__ == ["(check_detector was checking this promise: pruning)"]


def test_no_images_are_refused(own: Detector, data: Dataset) -> None:
    with pytest.raises(ak.InputError, match="images must be 1 or more"):
        check_detector(own, data.val, images=0)


def test_it_needs_no_test_framework() -> None:
    code = "import sys, anchorkit.testing; print(sorted({'pytest', 'hypothesis'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
