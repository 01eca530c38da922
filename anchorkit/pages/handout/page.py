"""Writes the handout of a run: one HTML file."""

from __future__ import annotations

import json
import re
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from anchorkit.errors import InputError
from anchorkit.files import write_text
from anchorkit.pages.handout.drop import drop
from anchorkit.pages.handout.game import Budget, tag_of
from anchorkit.pages.handout.pack import pack, zipped
from anchorkit.pages.handout.pictures import LEAST_SCORE, Pictures, choose_pictures
from anchorkit.pages.handout.table import read_table
from anchorkit.pages.notebooks import page
from anchorkit.plots.theme import DARK, GHOST, LEVEL_COLORS, SEARCH_COLOR, readable, turned
from anchorkit.predictions import PredictionTable
from anchorkit.runs.folder import HANDOUT, left_by_earlier, load_data
from anchorkit.runs.record import RunRecord
from anchorkit.search import SearchResult

if TYPE_CHECKING:
    from anchorkit.datasets import Split
    from anchorkit.evaluation import Evaluator

BOOT = ("inflate.js", "boot.js")
"""What the page runs first, as it is; the rest is zipped."""
SCRIPTS = (
    *("unpack.js", "evaluate.js", "costs.js", "words.js", "state.js"),
    *("chart.js", "board.js", "shapes.js", "pictures.js", "game.js", "page.js"),
)
"""The modules of the page, each after those it imports."""

_SHAPES_PER_ANCHOR = 32


def open_run(run_dir: str | Path) -> tuple[Evaluator, SearchResult, Split]:
    """What a run's handout is made of: the evaluator of its predictions, its search, its validation images.

    Raises:
        InputError: a file is missing or damaged, or the search is of another detector.
    """
    from anchorkit.evaluation import Evaluator

    predictions = left_by_earlier(run_dir, "predictions.parquet")
    left_by_earlier(run_dir, "search/search.json")
    search, split = SearchResult.load(Path(run_dir) / "search"), load_data(run_dir).val
    evaluator = Evaluator(PredictionTable.load(predictions), split.ground_truth)
    if search.layout != evaluator.layout:
        raise InputError(f"{run_dir}: the search is of another detector than the predictions; run 04_search again")
    return evaluator, search, split


def write_handout(run_dir: str | Path, out: str | Path | None = None, *, images: bool = True) -> Path:
    """Write the anchor board of a run as one HTML file that needs neither a network nor Python.

    Args:
        run_dir: the run's folder.
        out: the file; None for ``handout.html`` in the run's folder.
        images: put a dozen validation images with their boxes into the file; False for private data.

    Returns:
        The file's path.

    Raises:
        InputError: a file of the run is missing or damaged, or the file cannot be written.
    """
    evaluator, search, split = open_run(run_dir)
    record = RunRecord.read_if_there(run_dir) or RunRecord()
    name = record.name or f"{evaluator.layout.detector}, {len(split)} images"
    target = Path(out) if out is not None else Path(run_dir) / HANDOUT
    return save_handout(target, evaluator, search, name, split, images=images)


def save_handout(
    out: str | Path,
    evaluator: Evaluator,
    search: SearchResult,
    name: str,
    split: Split | None = None,
    *,
    images: bool = True,
) -> Path:
    """Write the handout of a search that is in memory; see `write_handout`.

    Args:
        out: the file.
        evaluator: of the predictions on the validation images.
        search: the search to play against.
        name: what the detector and the data are called.
        split: the validation images and the names of their categories; None for neither.
        images: as for `write_handout`.

    Returns:
        The file's path.

    Raises:
        InputError: the file cannot be written.
    """
    target = Path(out)
    write_text(target, handout(evaluator, search, name, split, images=images))
    return target


def handout(
    evaluator: Evaluator, search: SearchResult, name: str, split: Split | None = None, *, images: bool = True
) -> str:
    """The handout as HTML; see `save_handout`."""
    whole = read_table(evaluator)
    shown = choose_pictures(evaluator, split) if images and split is not None else Pictures([], [], [], [])
    table = drop(whole, shown.wanted(whole, evaluator))
    budget = Budget.of(search)
    known = {} if split is None else {category.id: category.name for category in split.categories}
    streams = {**shown.streams(table, evaluator), "shape": _shapes(evaluator)}
    facts = {
        "layout": evaluator.layout.to_dict(),
        "class_names": [known.get(key, f"class {key}") for key in evaluator.ground_truth.category_ids.tolist()],
        "cost": budget.cost,
        "frontier": [
            [f"{configuration.mask:x}", round(accuracy, 6)]
            for configuration, accuracy in zip(search.configurations, search.frontier["accuracy"].tolist(), strict=True)
        ],
        "budget": {"cost": budget.cost, "limit": budget.limit, "accuracy": budget.accuracy},
        "tag": tag_of(evaluator.fingerprint),
        "picture_sizes": shown.sizes,
    }
    here = resources.files("anchorkit.pages")
    body = Template((here / "templates" / "handout.html").read_text(encoding="utf-8")).substitute(
        name=escape(name),
        images=f"{len(evaluator.ground_truth.image_ids):,}",
        holds=_holds(len(shown.images)),
        anchors=_json(evaluator.layout.ids),
        pictures=_json(shown.sources),
        table=pack(table, facts, streams),
        boot=script(*BOOT),
        code=zipped(_small(script(*SCRIPTS)).encode()),
    )
    return _small(page(f"{name}: which anchors does it need?", _colors() + body, "style.css", "handout.css"))


def script(*names: str) -> str:
    """Some of the page's modules as one, without imports, exports and comments: a page from a disk cannot import."""
    here = resources.files("anchorkit.pages") / "handout"
    text = "\n".join((here / name).read_text(encoding="utf-8") for name in names)
    text = re.sub(r"^import [^;]*;\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^export ", "", text, flags=re.MULTILINE)
    return re.sub(r"^\s*//.*\n", "", text, flags=re.MULTILINE)


def _small(text: str) -> str:
    """The page or its code without indentation, empty lines and the spaces and comments of its styles."""

    def style(found: re.Match[str]) -> str:
        rules = re.sub(r"/\*.*?\*/", "", found.group(0), flags=re.DOTALL)
        return re.sub(r"\s*([{};,])\s*|(:) ", r"\1\2", rules)

    return re.sub(r"\n\s+", "\n", re.sub(r"<style>.*?</style>", style, text, flags=re.DOTALL))


def _json(data: Any) -> str:
    # Within a script element, "</" might end it.
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")


def _shapes(evaluator: Evaluator) -> np.ndarray:
    """Anchor, width and height (input pixels) of some boxes per anchor, flat; none where image sizes are not known."""
    from anchorkit.analysis.redundancy import box_shapes

    truth = evaluator.ground_truth
    if np.isnan(truth.sizes).any():
        return np.empty(0, np.int64)
    sizes = {key: (int(h), int(w)) for key, (w, h) in zip(truth.image_ids.tolist(), truth.sizes.tolist(), strict=True)}
    shapes = box_shapes(evaluator.predictions, LEAST_SCORE, _SHAPES_PER_ANCHOR, image_sizes=sizes)
    found: np.ndarray = shapes[["anchor", "width", "height"]].to_numpy(float).round().astype(np.int64).ravel()
    return found


def _colors() -> str:
    """The kit's colours as CSS variables, for light and dark ground."""
    light, dark = [f"--search:{SEARCH_COLOR};--ghost:{GHOST}"], [f"--ghost:{turned(GHOST)}"]
    for level, color in enumerate(LEVEL_COLORS):
        light.append(f"--level{level}:{color};--text{level}:{readable(color)}")
        dark.append(f"--level{level}:{readable(color, DARK.ground, 3)};--text{level}:{readable(color, DARK.ground)}")
    dark_rule = f"@media (prefers-color-scheme:dark){{:root{{{';'.join(dark)}}}}}"
    return f"<style>:root{{{';'.join(light)}}}{dark_rule}</style>"


def _holds(n_pictures: int) -> str:
    """What the file holds of the data, for its reader."""
    rest = (
        "For each prediction it has the anchor, its place in the order of scores, which others it suppresses and which "
        f"objects it could match; and the widths and heights of up to {_SHAPES_PER_ANCHOR} boxes per anchor."
    )
    if n_pictures:
        return f"This file holds {n_pictures} images, with their boxes, classes and scores from {LEAST_SCORE}. {rest}"
    return f"This file holds no images, no file names, no scores and no positions of boxes. {rest}"
