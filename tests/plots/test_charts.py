"""Every chart: valid, the same after a round trip through JSON, drawn, small, and without the network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest

from anchorkit import plots
from anchorkit.errors import InputError

from . import chart_samples as samples
from .drawing import check_chart, values

CHARTS: dict[str, Callable[[], Any]] = {
    "frontier": lambda: plots.frontier(
        samples.frontier(),
        full=samples.full(),
        random=samples.random_rows(),
        evaluated=samples.evaluated(),
        chosen=samples.chosen(),
    ),
    "frontier of boxes alone": lambda: plots.frontier(samples.frontier(), "boxes"),
    "frontier beside others": lambda: plots.frontier(
        samples.frontier(), full=samples.full().iloc[0], others={"another search": samples.frontier().iloc[::2]}
    ),
    "frontier within limits": lambda: plots.frontier(
        samples.frontier(), full=samples.full(), most=1.2e7, least=0.5, metric="AP50", pickable=True
    ),
    "joint frontier": lambda: plots.frontier(
        samples.joint(), full=samples.full(), evaluated=samples.joint(), by="channels", pickable=True
    ),
    "joint frontier of named detectors": lambda: plots.frontier(
        samples.joint().assign(channels=[f"cut {share}" for share in samples.joint()["channels"]]), by="channels"
    ),
    "widths": lambda: plots.channel_widths(samples.groups()),
    "widths before": lambda: plots.channel_widths(samples.groups().drop(columns="kept")),
    "scores": lambda: plots.channel_scores(samples.scores()),
    "errors by kind": lambda: plots.error_changes(samples.error_changes()),
    "recovery": lambda: plots.recovery(samples.recovery()),
    "recovery without the full detector": lambda: plots.recovery(samples.recovery().iloc[1:], "boxes"),
    "before and after": lambda: plots.before_after(samples.table()),
    "box shapes": lambda: plots.box_shapes(samples.contours(), samples.marginals(), samples.anchors()),
    "box shapes of one level": lambda: plots.box_shapes(
        samples.contours(), samples.marginals(), samples.anchors().query("level == 1"), columns=1
    ),
    "coverage": lambda: plots.coverage_matrix(samples.coverage()),
    "coverage of a few, to touch": lambda: plots.coverage_matrix(
        samples.coverage().query("anchor_id.str.startswith('L1') and by_id.str[:2].isin(['L1', 'L2', 'al'])"),
        pickable=True,
    ),
    "shape map": lambda: plots.shape_map(
        samples.contours(), samples.marginals(), samples.anchors().query("level == 1"), objects=samples.ground_truth()
    ),
    "shape map of all levels, linear, to touch": lambda: plots.shape_map(
        samples.contours(), samples.marginals(), samples.anchors(), log=False, pickable=True
    ),
    "shape map without boxes": lambda: plots.shape_map(
        samples.contours().iloc[:0], samples.marginals().iloc[:0], samples.anchors()
    ),
    "anchor board": lambda: plots.anchor_board(samples.anchors(samples.KEPT)),
    "anchor board, all kept": lambda: plots.anchor_board(samples.anchors()),
    "ground truth": lambda: plots.ground_truth_shapes(samples.ground_truth(), samples.anchors()),
    "ground truth alone": lambda: plots.ground_truth_shapes(samples.ground_truth(20)),
    "training": lambda: plots.training_curve(samples.history()),
    "training without accuracy": lambda: plots.training_curve(samples.history()[["step", "loss"]]),
    "training with sparsity and a teacher": lambda: plots.training_curve(samples.sparse_history()),
    "latency": lambda: plots.latency(samples.latency()),
    "level costs": lambda: plots.level_costs(samples.level_costs(samples.KEPT), samples.level_costs()),
    "level costs alone": lambda: plots.level_costs(samples.level_costs(), cost="boxes"),
    "boxes on an image": lambda: plots.boxes_on_image(samples.image(), samples.image_boxes(), title="After"),
    "boxes on an image to pick": lambda: plots.boxes_on_image(samples.image(), samples.image_boxes(), pickable=True),
    "an image without boxes": lambda: plots.boxes_on_image(samples.image(), samples.image_boxes().iloc[:0]),
    "class changes": lambda: plots.class_changes(samples.class_changes()),
    "class changes of many": lambda: plots.class_changes(samples.class_changes(80)),
}


@pytest.mark.parametrize("name", CHARTS)
def test_chart(name: str) -> None:
    spec = check_chart(CHARTS[name]())
    text = json.dumps({key: value for key, value in spec.items() if key != "$schema"})
    assert not re.search(r'"url": "(?!data:)', text)


def points_of(chart: Any, field: str) -> list[Any]:
    return [row[field] for row in values(chart) if field in row]


def test_frontier_draws_points_and_readable_costs() -> None:
    spec = json.dumps(plots.frontier(samples.frontier(), full=samples.full()).to_dict())
    assert "Head FLOPs (million multiply-adds)" in spec
    assert "unpruned: AP 55.1, 20.3 M" in spec
    paper = pd.DataFrame({"accuracy": [0.257], "head_flops": [4_231_000_000]})
    assert "Head FLOPs (billion multiply-adds)" in json.dumps(plots.frontier(paper).to_dict())


def test_frontier_says_how_many_random_configurations_are_out_of_sight() -> None:
    random = samples.random_rows(100)
    random["accuracy"] = np.where(np.arange(100) < 37, 0.01, 0.5)
    chart = plots.frontier(samples.frontier(), random=random)
    assert "37 of 100 random configurations lie below the axis" in json.dumps(chart.to_dict())
    cloud = [
        row for rows in chart.to_dict()["datasets"].values() for row in rows if row.get("series") == "random pruning"
    ]
    assert len(cloud) == 63


def test_frontier_counts_beaten_configurations_without_the_frontier_itself() -> None:
    frontier = samples.frontier()
    chart = plots.frontier(frontier, evaluated=pd.concat([samples.evaluated(500), frontier]))
    low, _ = chart.to_dict()["layer"][0]["encoding"]["y"]["scale"]["domain"]
    beaten = samples.evaluated(500)
    assert sum(points_of(chart, "configurations")) == (100 * beaten["accuracy"] >= low).sum()


def test_beaten_configurations_stay_below_the_frontier() -> None:
    frontier = pd.DataFrame({"accuracy": [0.5, 0.3], "boxes": [2000, 1000]})
    tried = pd.DataFrame({"accuracy": [0.3, 0.2999, 0.2], "boxes": [1500, 1999, 1000]})
    chart = plots.frontier(frontier, "boxes", evaluated=tried)
    marks = [row for rows in chart.to_dict()["datasets"].values() for row in rows if "configurations" in row]
    assert max(row["y"] for row in marks) == pytest.approx(30.0)
    assert min(row["x"] for row in marks) == pytest.approx(1000)


def test_levels_are_not_named_twice() -> None:
    levels = samples.level_costs().head(2).assign(name=["L0", "conv7"])
    assert set(points_of(plots.level_costs(levels), "level")) == {"L0", "L1 · conv7"}


def test_limits_are_shaded_where_the_axes_reach_them() -> None:
    def shaded(**limits: float) -> list[Any]:
        spec = plots.frontier(samples.frontier(), full=samples.full(), **limits).to_dict()
        areas = [layer for layer in spec["layer"] if layer["mark"]["type"] == "rect"]
        return [next(iter(spec["datasets"][layer["data"]["name"]][0].values())) for layer in areas]

    assert shaded(most=1.2e7, least=0.5) == [12.0, 50.0]
    assert shaded(most=1e9, least=0.0) == []


def test_points_are_picked_by_their_index() -> None:
    frontier = samples.frontier().set_axis([f"point {n}" for n in range(len(samples.frontier()))])
    svg = plots.to_pickable_svg(plots.frontier(frontier, pickable=True))
    assert all(f'data-pick="{name}"' in svg for name in frontier.index)


def test_the_error_that_grew_most_is_on_top() -> None:
    spec = plots.error_changes(samples.error_changes()).to_dict()
    assert spec["layer"][0]["encoding"]["y"]["sort"] == [
        "missed",
        "classification",
        "both",
        "background",
        "duplicate",
        "localisation",
    ]
    assert {"+3.50", "\N{MINUS SIGN}0.30", "+0.00"} <= {row["label"] for row in next(iter(spec["datasets"].values()))}
    assert "879 \N{RIGHTWARDS ARROW} 1,204" in points_of(plots.error_changes(samples.error_changes()), "counts")


def test_the_label_of_the_unpruned_detector_stays_clear_of_the_frontier() -> None:
    def offset(gain: float) -> float:
        frontier = pd.DataFrame({"accuracy": [0.30 + gain, 0.20], "boxes": [990, 500]})
        chart = plots.frontier(frontier, "boxes", full={"accuracy": 0.30, "boxes": 1000})
        marks = [layer["mark"] for layer in chart.to_dict()["layer"]]
        return next(float(mark["dy"]) for mark in marks if mark["type"] == "text")

    assert offset(0.0) == -19
    # About 30 pixels a point: a frontier that rises 0.8 points runs where the label would stand.
    assert offset(0.008) not in (-19, -27)
    assert offset(0.04) == -19


def test_box_shapes_keep_every_outline_when_thinned() -> None:
    contours = samples.contours()
    chart = plots.box_shapes(contours, samples.marginals(), samples.anchors())
    drawn = {
        (row["anchor_id"], row["mass"])
        for rows in chart.to_dict()["datasets"].values()
        for row in rows
        if "mass" in row
    }
    assert drawn == set(zip(contours["anchor_id"], contours["mass"], strict=True))


def test_board_draws_to_scale() -> None:
    chart = plots.anchor_board(samples.anchors(samples.KEPT))
    rows = [row for rows in chart.to_dict()["datasets"].values() for row in rows if "x2" in row]
    scales = set()
    for anchor in samples.layout().anchors:
        row = next(row for row in rows if row["anchor_id"] == anchor.id)
        scales |= {round((row["x2"] - row["x"]) / anchor.width, 2), round((row["y2"] - row["y"]) / anchor.height, 2)}
        assert row["kept"] == (anchor.index in samples.KEPT)
    assert len(scales) == 1
    assert max(row["x2"] for row in rows) <= 860


def test_board_of_a_large_detector_fits() -> None:
    board = pd.DataFrame(
        [
            {"anchor_id": f"L{level}/{n}x300", "level": level, "width": 30.0 * n, "height": 300.0, "kept": True}
            for level in range(6)
            for n in range(1, 9)
        ]
    )
    rows = [row for rows in plots.anchor_board(board).to_dict()["datasets"].values() for row in rows if "x2" in row]
    assert max(row["x2"] for row in rows) <= 860


def test_coverage_of_many_anchors_leaves_out_the_smallest() -> None:
    ids = [f"L{n % 7}/{n}x{n}" for n in range(80)]
    rng = np.random.default_rng(0)
    coverage = pd.DataFrame([{"anchor_id": a, "by_id": b, "share": rng.random()} for a in ids for b in ids])
    shown = points_of(plots.coverage_matrix(coverage), "percent")
    assert len(shown) < 3000
    others = coverage[coverage["anchor_id"] != coverage["by_id"]]["share"]
    assert min(shown) >= round(100 * others.nlargest(len(set(ids)) ** 2).iloc[-1])
    assert 100 in shown


def test_cells_of_the_coverage_can_be_picked_and_say_what_they_are() -> None:
    coverage = samples.coverage().query("anchor_id.str.startswith('L1')")
    svg = plots.to_pickable_svg(plots.coverage_matrix(coverage, pickable=True))
    picks = set(re.findall(r'<a data-pick="([^"]*)"><path aria-label="([^"]*)"', svg))
    rows = sorted(set(coverage["anchor_id"]))
    cells = coverage[(coverage["anchor_id"] != coverage["by_id"]) & (100 * coverage["share"]).round().gt(0)]
    assert {pick for pick, _ in picks} == {*rows, *(cells["anchor_id"] + "|" + cells["by_id"])}
    a = cells.iloc[0]
    assert (f"{a.anchor_id}|{a.by_id}", f"{a.anchor_id}: {round(100 * a.share)} % covered by {a.by_id}") in picks
    assert {name.removeprefix("frame ") for name in re.findall(r'data-mark="(frame [^"]*)"', svg)} == set(rows)


def test_outlines_and_marks_of_an_anchor_share_one_pick() -> None:
    anchors = samples.anchors().query("level < 2").assign(guest=lambda frame: frame["level"] == 0)
    svg = plots.to_pickable_svg(plots.shape_map(samples.contours(), samples.marginals(), anchors, pickable=True))
    picks = pd.Series(re.findall(r'<a data-pick="([^"]*)"', svg)).value_counts()
    assert picks.to_dict() == dict.fromkeys(anchors["anchor_id"], 3)  # two outlines and the mark
    marks = re.findall(r'<a data-mark="([^"]*)"', svg)
    curves = pd.Series([mark for mark in marks if not mark.startswith("name ")]).value_counts()
    assert curves.to_dict() == dict.fromkeys(anchors.query("not guest")["anchor_id"], 2)  # at the sides
    still = plots.shape_map(samples.contours(), samples.marginals(), anchors)
    assert set(points_of(still, "anchor_id")) == set(anchors.query("not guest")["anchor_id"])


def test_curves_on_linear_axes_hold_shares_per_pixel() -> None:
    anchors = samples.anchors().query("level == 2")
    wide = {"value": 64.0, "density": 1.0, "side": "width", "anchor_id": anchors["anchor_id"].iloc[0]}
    curve = pd.DataFrame([{**wide, "value": 32.0}, wide, {**wide, "value": 128.0}])
    chart = plots.shape_map(samples.contours(), curve, anchors, log=False)
    assert points_of(chart, "density") == pytest.approx([1 / value / np.log(2) for value in (32, 64, 128)])


def test_coverage_names_anchors_without_boxes() -> None:
    coverage = samples.coverage()
    coverage.loc[coverage["anchor_id"] == "L4/74x222", "share"] = np.nan
    chart = plots.coverage_matrix(coverage)
    assert chart.to_dict()["title"]["subtitle"] == ["no boxes, so nothing to say: L4/74x222"]
    rows = [row for rows in chart.to_dict()["datasets"].values() for row in rows if "percent" in row]
    assert len({(row["anchor_id"], row["by_id"]) for row in rows}) == 29 * 30


def test_class_changes_show_the_extremes_and_say_so() -> None:
    changes = samples.class_changes(90)
    changes.loc[0, "after"] = -1.0
    spec = plots.class_changes(changes).to_dict()
    assert spec["title"]["subtitle"] == [
        "1 classes have no ground truth",
        "the 20 classes that lose most and the 20 that gain most, of 89",
    ]
    assert len(set(points_of(plots.class_changes(changes), "category"))) == 40


MISSING: list[tuple[str, Callable[[], Any], str]] = [
    ("frontier", lambda: plots.frontier(samples.frontier().drop(columns="accuracy")), "frontier.*'accuracy'"),
    ("cost", lambda: plots.frontier(samples.frontier(), "latency"), "frontier.*'latency'"),
    ("random", lambda: plots.frontier(samples.frontier(), random=pd.DataFrame({"a": [1]})), "random.*'accuracy'"),
    ("full", lambda: plots.frontier(samples.frontier(), full={"accuracy": 0.5}), "full.*'head_flops'"),
    ("full of another kind", lambda: plots.frontier(samples.frontier(), full=3), "full: one row is needed"),  # type: ignore[arg-type]
    ("no frame", lambda: plots.frontier([1, 2]), "frontier: a pandas DataFrame"),  # type: ignore[arg-type]
    ("empty", lambda: plots.frontier(samples.frontier().iloc[:0]), "frontier: the frame has no rows"),
    ("stage", lambda: plots.recovery(samples.recovery().replace("pruned", "cut")), "unknown stage 'cut'"),
    ("only full", lambda: plots.recovery(samples.recovery().iloc[:1]), "no rows"),
    ("measures", lambda: plots.before_after(pd.DataFrame({"name": ["a"]})), "none of the measures"),
    (
        "contours",
        lambda: plots.box_shapes(samples.ground_truth(), samples.marginals(), samples.anchors()),
        "'anchor_id'",
    ),
    (
        "map",
        lambda: plots.shape_map(samples.contours(), samples.marginals().drop(columns="side"), samples.anchors()),
        "marginals.*'side'",
    ),
    ("share", lambda: plots.coverage_matrix(samples.coverage().assign(share=2.0)), "not within 0..1"),
    ("anchor id", lambda: plots.coverage_matrix(samples.coverage().assign(anchor_id="x")), "'x': an id such as"),
    ("kept", lambda: plots.anchor_board(samples.anchors().drop(columns="kept")), "board.*'kept'"),
    ("ground truth", lambda: plots.ground_truth_shapes(pd.DataFrame({"width": [0.0], "height": [1.0]})), "above 0"),
    ("loss", lambda: plots.training_curve(samples.history().assign(loss=np.nan)), "no rows"),
    ("level", lambda: plots.level_costs(samples.level_costs().drop(columns="name")), "'name'"),
    ("classes", lambda: plots.class_changes(samples.class_changes().assign(after=-1.0)), "no rows"),
]


@pytest.mark.parametrize(("call", "message"), [case[1:] for case in MISSING], ids=[case[0] for case in MISSING])
def test_bad_frames_are_refused_in_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_a_training_did_beside_its_task_has_a_panel_each() -> None:
    history = samples.sparse_history()
    titles = [panel.to_dict()["encoding"]["y"]["title"] for panel in plots.training_curve(history).vconcat[1:-1]]
    assert titles == [["Sparsity", "penalty"], ["Scales below", "0.01 (%)"], ["Distance to", "the teacher"]]
    shown = plots.training_curve(history).vconcat[2].data["value"].tolist()
    assert shown == pytest.approx((100 * history["small_scales"]).tolist(), abs=1e-4)
    assert len(plots.training_curve(history[["step", "loss", "distilling"]]).vconcat) == 2


def test_frames_are_left_as_they_were() -> None:
    frontier, board, history = samples.frontier(), samples.anchors(samples.KEPT), samples.history()
    copies = [frame.copy() for frame in (frontier, board, history)]
    plots.frontier(frontier, evaluated=frontier, random=frontier)
    plots.anchor_board(board)
    plots.training_curve(history)
    for frame, copy in zip((frontier, board, history), copies, strict=True):
        pd.testing.assert_frame_equal(frame, copy)


def test_font_sizes_are_readable_on_a_projector() -> None:
    with alt.theme.enable("anchorkit"):
        config = plots.frontier(samples.frontier()).to_dict()["config"]
    sizes = [int(size) for size in re.findall(r'ontSize": (\d+)', json.dumps(config))]
    assert min(sizes) >= 13


COSTLY: dict[str, Callable[[pd.DataFrame], Any]] = {
    "frontier": lambda rows: plots.frontier(rows, full=rows.iloc[-1], random=rows, pickable=True),
    "recovery": lambda rows: plots.recovery(rows),
    "run frontiers": lambda rows: plots.run_frontiers(rows.assign(run="a")),
    "trainings": lambda rows: plots.trainings(rows.assign(treatment="retrained", seed=0)),
    "frontier intervals": lambda rows: plots.frontier_intervals(rows),
    "optimism": lambda rows: plots.optimism(rows),
}


@pytest.mark.parametrize("name", COSTLY)
@pytest.mark.parametrize("least", [0.0, 3e5, 6e6])
def test_axes_of_costs_begin_at_0_or_above_and_hold_every_mark(name: str, least: float) -> None:
    """A cheapest point of 0.3 M beside a full detector of 14 M made axes begin at -2 M."""
    rows = pd.DataFrame({"head_flops": [least, 9e6, 14e6], "accuracy": [0.4, 0.5, 0.52]}).assign(
        point=["A", "B", "C"], stage="pruned", change=-0.01, low=-0.02, high=0.0, least=-0.03, safe=False,
        in_sample=0.0, cross_fitted=-0.01, luck=0.01, luck_low=0.0, luck_high=0.02,
    )  # fmt: skip
    found = [COSTLY[name](rows).to_dict()]
    domains = []
    while found:  # every channel x of every layer
        part = found.pop()
        parts = part.values() if isinstance(part, dict) else part
        found += [inner for inner in parts if isinstance(inner, dict | list)]
        x = part.get("x") if isinstance(part, dict) else None
        if isinstance(x, dict) and x.get("field") == "x":
            domains.append(x["scale"]["domain"])
    assert domains
    for low, high in domains:
        assert 0 <= low <= least / 1e6
        assert high >= 14
        assert low > 0 or least < 2e6  # a far-off 0 is not drawn
