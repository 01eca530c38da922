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

__all__ = ["COLORS", "LOW", "RESIZES", "SCALES", "Preparing", "better_preprocessing", "samples", "try_preprocessing"]

LOW = 0.2
"""Below this AP (0..1) of all anchors the preparation is worth a doubt; small detectors reach no more even so."""

_CLEARLY = 0.01
"""A variant is named only if its AP (0..1) is higher by more than this: 50 images tell no finer."""

SCALES: Sequence[Mapping[str, Any]] = (
    {"mean": 0.0, "scale": 255.0},
    {"mean": 0.0, "scale": 1.0},
    {"mean": 127.5, "scale": 127.5},
    {"mean": (123.675, 116.28, 103.53), "scale": (58.395, 57.12, 57.375)},  # of ImageNet, for red, green, blue
)
"""The usual scales, as arguments of ``with_preprocess``: pixels become (pixel - mean) / scale."""
COLORS = ("RGB", "BGR")
"""The usual orders of colours, likewise."""
RESIZES = ("stretch", "letterbox", "letterbox-corner")
"""The usual ways to resize, likewise."""


class Preparing(Protocol):
    """A detector whose preparation of images can be exchanged, as `anchorkit.load_onnx` returns one."""

    @property
    def preprocess(self) -> Any:
        """The present preparation, with ``describe()`` and ``to_dict()``."""

    def with_preprocess(self, **said: Any) -> Any:
        """The same detector with another preparation."""


def try_preprocessing(detector: Preparing, split: Split, *, images: int = 50, progress: bool = True) -> pd.DataFrame:
    """Measure the AP of all anchors under the usual preparations of images, and under the detector's own.

    First it tries every scale with both orders of colours, then every way to resize with the best of these.

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
    rows: list[dict[str, Any]] = []
    bar = tqdm(total=len(SCALES) * len(COLORS) + len(RESIZES), desc="preprocessing", unit="way", disable=not progress)

    def measure(way: Any) -> None:
        bar.update(1)
        facts = _facts(way)
        if any(facts == {name: row[name] for name in facts} for row in rows):
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImplausibleDataWarning)  # a wrong preparation gives implausible boxes
            table = collect_predictions(way, some, progress=False)
            found = stats(table, some.ground_truth, table.layout.full)
        figures = {name: float(found[name]) for name in ("AP", "AP50")}
        rows.append({"used": way is detector, **figures, **facts, "preprocess": _words(facts)})

    with bar:
        measure(detector)
        for scale, color in itertools.product(SCALES, COLORS):
            # Means and scales stand in the order of the colours.
            ordered = {
                name: np.flip(np.atleast_1d(value)) if color == "BGR" else value for name, value in scale.items()
            }
            measure(detector.with_preprocess(color=color, **{name: _three(value) for name, value in ordered.items()}))
        best = max(rows, key=lambda row: row["AP"])
        for resize in RESIZES:
            measure(
                detector.with_preprocess(resize=resize, **{name: best[name] for name in ("color", "mean", "scale")})
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
    best, used = tried.iloc[int(tried["AP"].to_numpy().argmax())], tried[tried["used"]].iloc[0]
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


def _facts(way: Preparing) -> dict[str, Any]:
    said = way.preprocess.to_dict()
    return {name: said[name] for name in ("resize", "color")} | {name: _three(said[name]) for name in ("mean", "scale")}


def _words(facts: Mapping[str, Any]) -> str:
    mean, scale = (_short(facts[name]) for name in ("mean", "scale"))
    return f"{facts['resize']}, {facts['color']}, (pixel - {mean}) / {scale}"


def _short(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else f"({', '.join(f'{value:g}' for value in values)})"


def _three(value: Any) -> tuple[float, ...]:
    return tuple(np.broadcast_to(np.asarray(value, float), 3).tolist())
