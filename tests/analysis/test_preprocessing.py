"""Which preparation of images gives more, found by trying: a detector that sees well only if it is fed as trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anchorkit import plots
from anchorkit.analysis.preprocessing import COLORS, RESIZES, SCALES, better_preprocessing, samples, try_preprocessing
from anchorkit.anchors import AnchorLayout, Level
from anchorkit.datasets import Category
from anchorkit.datasets.base import Split
from anchorkit.detectors import RawPredictions
from anchorkit.evaluation import Evaluator
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import collect_predictions

SIZE = 64
USUAL = len(SCALES) * len(COLORS) + len(RESIZES) - 1


@dataclass(frozen=True)
class Preparation:
    resize: str = "stretch"
    color: str = "RGB"
    mean: Any = 0.0
    scale: Any = 255.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def describe(self) -> str:
        return f"{self.resize}, {self.color}, ({self.mean}) / {self.scale}"


TRAINED = Preparation(color="BGR", scale=1.0)


class Sighted:
    """Finds the object of an image; with each wrong part of its preparation, with a quarter of the box's side off."""

    name, layout = "sighted", AnchorLayout("sighted", (SIZE, SIZE), (Level("P3", 4, 4, ((16.0, 16.0),)),))
    categories, postprocess = (Category(1, "ball"),), PostProcess()

    def __init__(self, preprocess: Preparation) -> None:
        self.preprocess = preprocess

    def with_preprocess(self, **said: Any) -> Sighted:
        return Sighted(replace(self.preprocess, **said))

    def raw_predictions(self, images: list[np.ndarray]) -> list[RawPredictions]:
        own, trained = self.preprocess, TRAINED
        wrong = (own.color != trained.color) + (own.resize != trained.resize)
        wrong += not (np.array_equal(np.unique(own.mean), [0]) and np.array_equal(np.unique(own.scale), [1]))
        found = []
        for image in images:
            rows, columns = np.nonzero(image[..., 0])
            box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
            box += wrong * 0.15 * (box[2] - box[0]) * np.array([1, 0, 1, 0], np.float32)
            found.append(RawPredictions(box[None], np.array([[0.9]], np.float32), np.zeros(1, np.int32)))
        return found


@pytest.fixture(scope="module")
def split() -> Split:
    """Twelve black images with a white square each."""
    rng = np.random.default_rng(0)
    corners = {number: rng.integers(0, SIZE - 24, 2) for number in range(1, 13)}

    def read(entry: Any) -> np.ndarray:
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        x, y = corners[entry["id"]]
        image[y : y + 20, x : x + 20] = 255
        return image

    truth = {
        "images": [{"id": n, "height": SIZE, "width": SIZE, "file_name": f"{n}.png"} for n in corners],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [int(x), int(y), 20, 20], "area": 400, "iscrowd": 0}
            for n, (x, y) in corners.items()
        ],
        "categories": [{"id": 1, "name": "ball"}],
    }
    return Split("val", truth, read)


def test_every_usual_way_is_tried_once_and_the_right_one_is_best(split: Split) -> None:
    tried = try_preprocessing(Sighted(replace(TRAINED, color="RGB")), split, images=8, progress=False)
    assert len(tried) == USUAL  # the one in use is among them
    assert tried["used"].sum() == 1
    assert tried["AP"].is_monotonic_decreasing
    best = tried.iloc[0]
    assert (best["resize"], best["color"], best["mean"], best["scale"]) == ("stretch", "BGR", (0, 0, 0), (1, 1, 1))
    assert best["AP"] == pytest.approx(1.0)
    used = tried[tried["used"]].iloc[0]
    assert (used["color"], used["AP"] < 0.8) == ("RGB", True)
    assert (
        better_preprocessing(tried)
        == f"stretch, BGR, (pixel - 0) / 1: AP 100.0 points in place of {100 * used['AP']:.1f}"
    )


def test_the_right_way_is_left_in_peace(split: Split) -> None:
    assert better_preprocessing(try_preprocessing(Sighted(TRAINED), split, images=8, progress=False)) is None


def test_an_unusual_way_is_compared_with_the_usual_ones(split: Split) -> None:
    tried = try_preprocessing(Sighted(replace(TRAINED, scale=128.0)), split, images=8, progress=False)
    assert len(tried) == USUAL + 1


def test_a_difference_that_few_images_cannot_tell_is_not_told() -> None:
    rows = pd.DataFrame([(False, 0.305, "a"), (True, 0.300, "b")], columns=["used", "AP", "preprocess"])
    assert better_preprocessing(rows) is None


def test_the_first_look_draws_what_is_found_beside_what_is_annotated(split: Split) -> None:
    detector = Sighted(TRAINED)
    evaluator = Evaluator(collect_predictions(detector, split, progress=False), split.ground_truth)
    images, found, true = samples(evaluator, split, images=4, seed=1)
    assert len(images) == len(found) == len(true) == 4
    assert set(found["label"]) == {"ball"}
    plain = plots.first_look(images, found, true, columns=2)
    headed = plots.first_look(images, found, true, "AP 100.0 on 12 images", columns=2)
    assert headed.height > plain.height
    below = np.asarray(headed)[headed.height - plain.height :, : plain.width]
    assert (below == np.asarray(plain)).all()
    blind = plots.first_look(images, found, true, min_score=0.95, columns=2)
    assert (np.asarray(blind) != np.asarray(plain)).any()
