"""The page of the app: the explorers in tabs, on a run's folder or on the detector that comes with the kit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path

import ipywidgets

from anchorkit import plots
from anchorkit.app.serving import RUN_VARIABLE
from anchorkit.datasets import Split, load_dataset
from anchorkit.evaluation import Evaluator
from anchorkit.predictions import PredictionTable, collect_predictions
from anchorkit.search import SearchResult, search
from anchorkit.widgets import AnchorBoard, ImageExplorer, SearchExplorer, ShapeExplorer

TABS = {
    "Shapes": "Which boxes each anchor predicts, and whether others predict the same.",
    "Anchor board": "Take anchors away, and see what it costs.",
    "Search": "Find the sets of anchors that trade accuracy for cost best.",
    "Images": "What becomes of single images: it shows the anchors of the board.",
}
_SHIPPED_IMAGES = 300
_MAX_DROP, _MAX_LOSS = 0.03, 0.005


@dataclass(frozen=True)
class Material:
    """What the explorers need.

    Attributes:
        title: what is looked at, in words.
        split: the images.
        predictions: of the detector on them.
        result: a search of these predictions.
        run: the run's folder; None for the shipped detector.
    """

    title: str
    split: Split
    predictions: PredictionTable
    result: SearchResult
    run: Path | None = None


def from_run(run: Path) -> Material:
    """What a run's folder holds.

    Raises:
        InputError: a lesson has not run yet; the message says which.
    """
    from anchorkit.runs.folder import left_by_earlier, load_data

    predictions = PredictionTable.load(left_by_earlier(run, "predictions.parquet"))
    result = SearchResult.load(left_by_earlier(run, "search/search.json").parent)
    return Material(f"{predictions.layout.detector} in {run}", load_data(run).val, predictions, result, run)


def shipped() -> Material:
    """The shapes detector that comes with the kit, on images that the kit draws."""
    from anchorkit.detectors import load_detector

    split = load_dataset("shapes", train=1, val=_SHIPPED_IMAGES, test=0, progress=False).val
    detector = load_detector("tiny_ssd", weights="shapes")
    predictions = collect_predictions(detector, split, progress=False)
    evaluator = Evaluator(predictions, split.ground_truth)
    threshold = max(evaluator.accuracy(evaluator.full) - _MAX_DROP, 0.0)
    result = search(evaluator, threshold=threshold, progress=False)
    return Material(f"tiny_ssd on {len(split)} images of shapes", split, predictions, result)


def load() -> Material:
    """What the command line asked for: a run's folder, or the shipped detector.

    Raises:
        InputError: see `from_run`.
    """
    plots.setup()
    run = os.environ.get(RUN_VARIABLE, "")
    return from_run(Path(run)) if run else shipped()


def page(material: Material) -> ipywidgets.Widget:
    """The explorers in tabs, all about the same predictions; the images follow the board.

    The board begins with the configuration that was picked in the lesson on the search, if there is one.

    Everything is made before it is sent: widgets that a thread makes while Voila's page connects get lost.
    """
    from anchorkit.pages.handout import save_handout
    from anchorkit.runs.folder import HANDOUT
    from anchorkit.runs.selection import load_selection

    split, result = material.split, material.result
    names = {category.id: category.name for category in split.categories}
    evaluator = Evaluator(material.predictions, split.ground_truth)
    picked = None if material.run is None else load_selection(material.run, evaluator.layout, evaluator.fingerprint)
    target = Path(HANDOUT) if material.run is None else material.run / HANDOUT

    def save() -> str:
        return f"Wrote {save_handout(target, evaluator, result, material.title, split).resolve()}"

    start = picked or result.cheapest(_MAX_LOSS)
    board = AnchorBoard(evaluator, result, start=start, names=names, actions={"Save as a page": save})
    images = ImageExplorer(evaluator, split, evaluator.full, board.selected, names=names)
    board.observe(lambda board: images.set(after=board.selected))
    explorers = {
        "Shapes": ShapeExplorer(material.predictions, split.ground_truth, names=names),
        "Anchor board": board,
        "Search": SearchExplorer(evaluator, split=split, result=result, max_loss=_MAX_LOSS),
        "Images": images,
    }
    tabs = ipywidgets.Tab(
        [ipywidgets.VBox([_text(TABS[name]), explorer.box]) for name, explorer in explorers.items()],
        titles=list(explorers),
    )
    return ipywidgets.VBox([_text(f"anchorkit: {material.title}"), tabs])


def _text(text: str) -> ipywidgets.HTML:
    return ipywidgets.HTML(f'<div style="font:15px/1.45 sans-serif">{escape(text)}</div>')
