"""Is a detector fed as it was trained? The AP of all its anchors under the usual ways to prepare an image.

A file does not say how its images were prepared. With exchanged colours or another scale it still finds something, and
the AP falls without a word. `try_preprocessing` measures the usual ways on a few images.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.single import stats
from anchorkit.findings import ImplausibleDataWarning
from anchorkit.predictions import collect_predictions

if TYPE_CHECKING:
    from anchorkit.datasets import Split

__all__ = ["LOW", "VARIANTS", "Preparing", "better_preprocessing", "samples", "try_preprocessing"]

LOW = 0.2
"""Below this AP (0..1) of all anchors the preparation is worth a doubt; small detectors reach no more even so."""

_CLEARLY = 0.01
"""A variant is named only if its AP (0..1) is higher by more than this: 50 images tell no finer."""

VARIANTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "scale": (
        {"mean": 0.0, "scale": 255.0},
        {"mean": 0.0, "scale": 1.0},
        {"mean": (123.675, 116.28, 103.53), "scale": (58.395, 57.12, 57.375)},  # ImageNet's mean and deviation
        {"mean": 127.5, "scale": 127.5},
    ),
    "color": ({"color": "RGB"}, {"color": "BGR"}),
    "resize": ({"resize": "stretch"}, {"resize": "letterbox"}),
}
"""The usual ways to prepare an image, as arguments of ``with_preprocess``: pixels become (pixel - mean) / scale."""


class Preparing(Protocol):
    """A detector whose preparation of images can be exchanged, as `anchorkit.load_onnx` returns one."""

    @property
    def preprocess(self) -> Any:
        """The present preparation, with ``describe()`` and ``to_dict()``."""

    def with_preprocess(self, **said: Any) -> Any:
        """The same detector with another preparation."""


def try_preprocessing(detector: Preparing, split: Split, *, images: int = 50, progress: bool = True) -> pd.DataFrame:
    """Measure the AP of all anchors under every combination of `VARIANTS`, and under the detector's own preparation.

    Args:
        detector: as `anchorkit.load_onnx` returns it.
        split: images with their ground truth, as ``load_dataset(...).val``.
        images: how many images to take, at most; the same ones every time.
        progress: show a progress bar on standard error.

    Returns:
        One row per way, best AP first: ``used`` (bool: the detector's own), ``AP``, ``AP50`` (0..1), ``resize``,
        ``color``, ``mean``, ``scale`` (tuples of three), ``preprocess`` (in words).
    """
    from tqdm.auto import tqdm

    some = split.subset(min(images, len(split.image_ids)), seed=0)
    ways = [detector]
    for parts in itertools.product(*VARIANTS.values()):
        said = {name: value for part in parts for name, value in part.items()}
        way = detector.with_preprocess(**said)
        if not any(_same(way.preprocess, other.preprocess) for other in ways):
            ways.append(way)
    rows = []
    for way in tqdm(ways, desc="preprocessing", unit="way", disable=not progress):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImplausibleDataWarning)  # a wrong preparation gives implausible boxes
            table = collect_predictions(way, some, progress=False)
            found = stats(table, some.ground_truth, table.layout.full)
        facts = way.preprocess.to_dict()
        rows.append(
            {
                "used": way is detector,
                "AP": float(found["AP"]),
                "AP50": float(found["AP50"]),
                **{name: facts[name] for name in ("resize", "color")},
                **{name: _three(facts[name]) for name in ("mean", "scale")},
                "preprocess": way.preprocess.describe(),
            }
        )
    return pd.DataFrame(rows).sort_values("AP", ascending=False, kind="stable", ignore_index=True)


def better_preprocessing(tried: pd.DataFrame) -> str | None:
    """Which preparation gives clearly more than the one in use, in a sentence; None if none does.

    Args:
        tried: of `try_preprocessing`.

    Example:
        >>> import pandas as pd
        >>> rows = [(False, 0.241, "RGB, stretched"), (True, 0.118, "BGR, stretched")]
        >>> better_preprocessing(pd.DataFrame(rows, columns=["used", "AP", "preprocess"]))
        'RGB, stretched: AP 24.1 points in place of 11.8'
    """
    best, used = tried.loc[tried["AP"].idxmax()], tried[tried["used"]].iloc[0]
    if best["AP"] <= used["AP"] + _CLEARLY:
        return None
    return f"{best['preprocess']}: AP {100 * best['AP']:.1f} points in place of {100 * max(used['AP'], 0.0):.1f}"


def samples(
    evaluator: Evaluator, split: Split, images: int = 6, seed: int = 0
) -> tuple[dict[int, np.ndarray], pd.DataFrame, pd.DataFrame]:
    """What `anchorkit.plots.first_look` needs, for some images drawn at random.

    Args:
        evaluator: of the predictions on the images of `split`.
        split: the images.
        images: how many; those without annotations are taken only if there are too few others.
        seed: of the drawing.

    Returns:
        The images, uint8 (H, W, 3), by id; the detections of all anchors there (columns of `Evaluator.detections`,
        ``level`` and ``label``); the annotated boxes.
    """
    annotated = {image_id for image_id in split.image_ids if len(split.annotations(image_id))}
    chosen = (split.only(annotated) if len(annotated) >= images else split).subset(images, seed=seed)
    found = evaluator.detections(evaluator.full)
    found = found[found["image_id"].isin(chosen.image_ids)]
    names = {category.id: category.name for category in split.categories}
    level_of = [anchor.level for anchor in evaluator.layout.anchors]
    found = found.assign(
        level=[level_of[anchor] for anchor in found["anchor"]],
        label=[names.get(category, str(category)) for category in found["category_id"]],
    )
    true = [(image_id, *box) for image_id in chosen.image_ids for box in chosen.annotations(image_id).boxes.tolist()]
    columns = ["image_id", "x1", "y1", "x2", "y2"]
    pictures = {image_id: chosen.image(image_id) for image_id in chosen.image_ids}
    return pictures, found, pd.DataFrame(true, columns=columns)


def _same(one: Any, other: Any) -> bool:
    return all(
        np.array_equal(one.to_dict()[name], other.to_dict()[name]) for name in ("resize", "color", "mean", "scale")
    )


def _three(value: Any) -> tuple[float, ...]:
    return tuple(np.broadcast_to(np.asarray(value, float), 3).tolist())
