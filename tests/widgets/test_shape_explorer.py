from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pytest

from anchorkit import plots
from anchorkit.analysis import redundancy
from anchorkit.anchors import AnchorLayout, Level
from anchorkit.errors import InputError
from anchorkit.plots.theme import DARK, LIGHT
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable
from anchorkit.widgets import ShapeExplorer, front_end

LAYOUT = AnchorLayout(
    "toy",
    (200, 200),
    (
        Level("a", 8, 8, ((20.0, 20.0), (40.0, 20.0))),
        Level("b", 4, 4, ((60.0, 60.0), (64.0, 64.0), (120.0, 60.0))),
        Level("c", 2, 2, ((58.0, 62.0), (180.0, 180.0))),
    ),
)
SMALL, WIDE, A, B, FLAT, TWIN, SILENT = LAYOUT.ids
"""Of the same shapes: A, B and, on another level, TWIN. SILENT predicts nothing."""
TRUTH = {
    "images": [{"id": 1, "height": 100, "width": 200}],
    "annotations": [
        {"id": n, "image_id": 1, "category_id": 1 + n % 2, "bbox": [0, 0, 20 + n, 10 + n]} for n in range(40)
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "<dog>"}],
}


def table() -> PredictionTable:
    rng = np.random.default_rng(0)
    anchors, boxes = [], []
    for index, (width, height) in enumerate([(20, 20), (40, 20), (60, 60), (62, 62), (120, 60), (60, 60)]):
        n = 400 if index == 3 else 60
        anchors += [index] * n
        sides = np.array([width, height / 2]) * np.exp(rng.normal(0, 0.08, (n, 2)))  # the image is half as high
        boxes.append(np.hstack([np.zeros((n, 2)), sides]))
    n = len(anchors)
    return PredictionTable(
        image_id=np.ones(n, np.int64),
        anchor=np.asarray(anchors),
        category_id=1 + np.arange(n) % 2,
        score=np.linspace(0.2, 0.9, n)[rng.permutation(n)],
        boxes=np.concatenate(boxes),
        layout=LAYOUT,
        postprocess=PostProcess(score_threshold=0.05, topk=None, topk_scope="class", nms_iou=0.5, max_detections=100),
    )


PREDICTIONS = table()


@pytest.fixture
def explorer() -> ShapeExplorer:
    return ShapeExplorer(PREDICTIONS, TRUTH)


@pytest.fixture
def shown(explorer: ShapeExplorer) -> ShapeExplorer:
    assert explorer.box is not None
    assert explorer.wait(60)
    return explorer


@pytest.fixture
def dark() -> Iterator[None]:
    before = alt.theme.active, alt.renderers.active
    plots.setup(dark=True)
    yield
    alt.theme.enable(before[0])
    alt.renderers.enable(before[1])


def picks(svg: str) -> set[str]:
    return set(re.findall(r'<a data-pick="([^"]*)"', svg))


def test_it_starts_at_the_most_redundant_level(explorer: ShapeExplorer) -> None:
    levels = explorer.levels
    assert explorer.view.level == explorer.redundant_level == int(str(levels.idxmax()))
    # Level 2 has one anchor with boxes, which others cover, and one without; level 0 has none that others cover.
    assert levels[0] < 0.1 < 0.8 < levels[2]
    assert f"level {explorer.view.level}" in repr(explorer)
    assert explorer.selected is None
    assert explorer.covered_by.empty


def test_counts_and_shares_are_those_of_the_filters(explorer: ShapeExplorer) -> None:
    explorer.filter(min_score=0.5, category=2)
    rows = (PREDICTIONS.score >= 0.5) & (PREDICTIONS.category_id == 2)
    assert explorer.anchors["count"].tolist() == np.bincount(PREDICTIONS.anchor[rows], minlength=7).tolist()
    shapes = redundancy.box_shapes(PREDICTIONS, 0.5, ground_truth=TRUTH, category_id=2)
    assert len(shapes) == rows.sum()
    expected = redundancy.coverage(shapes).set_index(["anchor_id", "by_id"])["share"]
    explorer.select(A)
    assert list(explorer.covered_by.index[:2]) == [B, TWIN] or list(explorer.covered_by.index[:2]) == [TWIN, B]
    assert explorer.covered_by[B] == expected[A, B]
    assert explorer.covers[B] == expected[B, A]
    assert explorer.covered_by.is_monotonic_decreasing
    assert A not in explorer.covered_by
    assert "all others" not in explorer.covered_by
    assert explorer.anchors["covered"][A] == expected[A, "all others"]


def test_anchors_of_another_level_bring_their_level(explorer: ShapeExplorer) -> None:
    explorer.select(SMALL)
    assert explorer.view.level == 0
    explorer.filter(level=1)
    assert explorer.selected is None
    explorer.filter(level=None)
    explorer.select(SMALL)
    assert explorer.view.level is None
    assert explorer.selected == SMALL


def test_watchers_hear_of_picks_and_filters_but_not_of_nothing(explorer: ShapeExplorer) -> None:
    heard: list[Any] = []
    explorer.observe(lambda it: heard.append((it.selected, it.view.min_score)))
    explorer.select(A)
    explorer.filter(min_score=0.4)
    explorer.filter(min_score=0.4)
    explorer.select(None)
    assert heard == [(A, 0.3), (A, 0.4), (None, 0.4)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 3}, "level is 3; use 0 to 2"),
        ({"level": -1}, "level is -1"),
        ({"category": 7}, "category is 7, of which there is no prediction"),
        ({"min_score": 1.5}, "min_score is 1.5"),
        ({"score": 0.5}, "no filter 'score'; use level"),
    ],
)
def test_impossible_filters(explorer: ShapeExplorer, change: dict[str, Any], message: str) -> None:
    before = explorer.view
    with pytest.raises(InputError, match=re.escape(message)):
        explorer.filter(**change)
    assert explorer.view == before


def test_unknown_anchors_are_refused(explorer: ShapeExplorer) -> None:
    for arguments in (("L9/1x1",), (A, "L9/1x1")):
        with pytest.raises(InputError, match="L9/1x1"):
            explorer.select(*arguments)
    assert explorer.selected is None


def test_a_pick_lights_up_who_covers_it_in_both_pictures_without_a_new_drawing(shown: ShapeExplorer) -> None:
    shown.filter(level=1)
    assert shown.wait(60)
    drawn = shown._map.svg, shown._matrix.svg
    assert {A, B, FLAT, TWIN} <= picks(drawn[0])
    assert shown._map.classes[TWIN] == shown._map.classes[f"name {TWIN}"] == "gone"  # of another level
    shown._map.pick(A)
    assert shown.selected == A
    looks = shown._map.classes
    assert (looks[A], looks[B], looks[TWIN], looks[FLAT]) == ("ring", "lit", "lit", "dim")
    assert f'data-mark="frame {A}"' in drawn[1]
    assert shown._matrix.classes[f"frame {A}"] == "frame"
    share = f"{100 * shown.covered_by[B]:.0f} %"
    assert shown._map.notes[B] == f"covers {share} of {A}"
    assert f"{B} ({share})" in shown._said.value
    assert (shown._map.svg, shown._matrix.svg) == drawn
    shown._map.pick(A)
    assert shown.selected is None
    assert A not in shown._map.classes
    assert shown._matrix.classes == {}


def test_a_cell_lights_up_its_two_anchors(shown: ShapeExplorer) -> None:
    shown.filter(level=1)
    assert shown.wait(60)
    cell = f"{A}|{FLAT}"
    assert cell in picks(shown._matrix.svg)
    shown._matrix.pick(cell)
    assert (shown.selected, shown.partner) == (A, FLAT)
    looks = shown._map.classes
    assert (looks[A], looks[FLAT], looks[B], looks[TWIN]) == ("ring", "lit", "dim", "gone")
    assert shown._matrix.classes[cell] == "inset"
    assert f"covers {100 * shown.covered_by.get(FLAT, 0.0):.0f} % of the boxes of <b>{A}</b>" in shown._said.value
    shown._matrix.pick(cell)
    assert shown.selected is shown.partner is None
    shown._matrix.pick(f"{A}|all others")
    assert (shown.selected, shown.partner) == (A, None)
    shown._matrix.pick(B)  # the row's label
    assert shown.selected == B


def test_a_guest_that_is_picked_brings_its_level(shown: ShapeExplorer) -> None:
    shown.filter(level=1)
    shown.wait(60)
    shown._map.pick(TWIN)
    assert shown.wait(60)
    assert shown.view.level == 2
    assert "Level 2" in shown._map.svg
    assert shown._map.classes[TWIN] == "ring"
    shown.select(SILENT)
    assert "predicts no box that scores 0.3 or more" in shown._said.value


def test_filters_and_menus_follow_each_other(shown: ShapeExplorer) -> None:
    inputs = shown.inputs
    assert inputs["category"].options[0][0] == "all classes"
    assert [name for name, _ in inputs["category"].options[1:]] == ["<dog>", "cat"]
    inputs["level"].value = 0
    inputs["category"].value = 2
    inputs["min_score"].value = 0.45
    inputs["log"].value = False
    inputs["objects"].value = False
    view = shown.view
    assert (view.level, view.category, view.min_score, view.log, view.objects) == (0, 2, 0.45, False, False)
    assert shown.wait(60)
    assert "Level 0" in shown._map.svg
    assert "&lt;dog&gt;" in shown._said.value
    shown.filter(level=None, category=None, min_score=0.97)
    assert inputs["level"].label == "all levels"
    assert inputs["category"].label == "all classes"
    assert inputs["min_score"].value == shown.view.min_score == 0.97
    assert shown.wait(60)
    assert "0 boxes score 0.97 or more" in shown._said.value
    assert shown.redundant_level is None
    assert len(picks(shown._map.svg)) == len(LAYOUT)


def test_the_objects_lie_behind_only_if_wanted(explorer: ShapeExplorer) -> None:
    def cells() -> int:
        rows = [row for rows in explorer.shapes_chart().to_dict()["datasets"].values() for row in rows]
        return sum(int(row["objects"]) for row in rows if "objects" in row)

    explorer.filter(level=0)
    every = cells()
    explorer.filter(category=1)
    assert 0 < cells() < every
    explorer.filter(objects=False)
    assert cells() == 0


def test_a_failure_is_said_and_does_not_end_the_explorer(shown: ShapeExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise InputError("no <room>")

    with monkeypatch.context() as patch:
        patch.setattr(plots, "shape_map", fails)
        shown.filter(level=0)
        assert shown.wait(60)
    assert "no &lt;room&gt;" in shown._said.value
    shown.filter(level=1)
    assert shown.wait(60)
    assert "Level 1" in shown._map.svg


def test_without_a_person_it_leaves_a_small_picture_that_says_which_level(
    explorer: ShapeExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_end, "is_live", lambda: False)
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml"}
    svg = bundle["image/svg+xml"]
    assert f"Level {explorer.view.level} is the most redundant" in svg
    assert not re.search(r"<a\b", svg)
    assert len(svg) < 150_000
    explorer.filter(level=None)
    assert "All levels" in explorer._repr_mimebundle_()["image/svg+xml"]


@pytest.mark.usefixtures("dark")
def test_dark_ground_holds_for_pictures_and_text(shown: ShapeExplorer) -> None:
    assert shown._map.dark
    assert shown._matrix.dark
    for svg in (shown._map.svg, shown._matrix.svg):
        assert f'fill="{DARK.ground}"' in svg
        assert LIGHT.ink not in svg
    assert f"background:{DARK.ground};color:{DARK.ink}" in shown._said.value


def test_the_colors_of_the_script_are_those_of_the_theme() -> None:
    script = (Path(sys.modules[ShapeExplorer.__module__].__file__ or "").parent / "picture.js").read_text()
    assert f"--ground: {DARK.ground}; --ink: {DARK.ink}" in script
    assert f"--ground: {LIGHT.ground[:4]}; --ink: {LIGHT.ink}" in script
