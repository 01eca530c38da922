from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.anchors import Configuration
from anchorkit.errors import InputError
from anchorkit.widgets import ImageExplorer
from anchorkit.widgets.image_comparison import LABELS, ORDERS, ImageComparison

from . import stand_ins

masks = st.integers(1, 2**9 - 1)
places = st.integers(0, 5)


def explorer_of(before: int = 511, after: int = 0b101010101, seed: int = 0) -> tuple[ImageExplorer, stand_ins.Scenes]:
    scenes = stand_ins.Scenes(seed=seed)
    made = ImageExplorer(scenes, scenes, Configuration(scenes.layout, before), Configuration(scenes.layout, after))
    return made, scenes


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anchorkit.widgets.explorer.is_live", lambda: True)


@given(before=masks, after=masks, seed=st.integers(0, 1000))
def test_orders(before: int, after: int, seed: int) -> None:
    explorer, scenes = explorer_of(before, after, seed)
    changes = explorer.changes["change"]
    assert changes.is_monotonic_increasing
    assert explorer.selected == explorer.changes["image_id"][0]
    explorer.set(order="helped most")
    assert explorer.changes["change"].is_monotonic_decreasing
    assert explorer.selected == explorer.changes["image_id"][0]
    explorer.set(order="most changed")
    assert explorer.changes["turnover"].is_monotonic_decreasing
    explorer.set(order="random")
    assert sorted(explorer.changes["image_id"]) == list(scenes.image_ids)


def test_going_through_the_images() -> None:
    explorer, scenes = explorer_of()
    seen = []
    for place in range(len(scenes.image_ids)):
        explorer.go(place)
        assert explorer.place == place
        seen.append(explorer.selected)
    assert sorted(seen) == list(scenes.image_ids)
    explorer.go(99)
    assert explorer.selected == seen[-1]
    explorer.go(-1)
    assert explorer.selected == seen[0]
    explorer.selected = scenes.image_ids[2]
    assert explorer.changes["image_id"][explorer.place] == scenes.image_ids[2]


def test_what_is_compared_can_be_set_and_the_image_stays() -> None:
    explorer, scenes = explorer_of()
    told: list[int] = []
    explorer.observe(lambda e: told.append(e.after.mask))
    explorer.selected = scenes.image_ids[3]
    explorer.after = scenes.layout.full
    assert explorer.selected == scenes.image_ids[3]
    assert (explorer.changes["change"] == 0).all()
    explorer.before = Configuration(scenes.layout, 1)
    assert explorer.before.mask == 1
    board = SimpleNamespace(selected=Configuration(scenes.layout, 7))
    explorer.set(after=board.selected)
    assert told == [0b101010101, 511, 511, 7]


@given(after=masks, seed=st.integers(0, 1000), place=places)
def test_things_name_who_made_them(after: int, seed: int, place: int) -> None:
    explorer, scenes = explorer_of(511, after, seed)
    explorer.go(place)
    for thing in explorer.things.to_dict("records"):
        assert thing["name"] == scenes.names.get(thing["category_id"], f"class {thing['category_id']}")
        for side, configuration in (("before", explorer.before), ("after", explorer.after)):
            if thing[side] >= 0:
                maker = scenes.detections(configuration).iloc[thing[side]]
                assert thing[f"{side}_anchor"] == scenes.layout.ids[int(maker["anchor"])]
                assert thing[f"{side}_anchor"] in configuration
                assert thing[f"{side}_score"] == pytest.approx(maker["score"])
                assert thing[f"{side}_score"] >= 0.3
                if thing["kind"] == "object":
                    assert thing[f"{side}_iou"] >= 0.5 - 1e-6
            else:
                assert thing[f"{side}_anchor"] == ""


@given(after=masks, seed=st.integers(0, 1000), place=places, labels=st.sampled_from(LABELS))
def test_what_differs_is_marked_on_both_sides(after: int, seed: int, place: int, labels: str) -> None:
    scenes = stand_ins.Scenes(seed=seed)
    pair = (scenes.layout.full, Configuration(scenes.layout, after))
    comparison = ImageComparison(scenes, pair, 0.3, 0.5, scenes.names)
    image_id = scenes.image_ids[place]
    things = comparison.things(image_id)
    for side, other in (("before", "after"), ("after", "before")):
        boxes = comparison.boxes(image_id, side, labels).set_index("pick")
        for number, thing in things.iterrows():
            pick, here, there = f"{side} {number}", thing[side] >= 0, thing[other] >= 0
            if not here and thing["kind"] != "object":
                assert pick not in boxes.index
                continue
            box = boxes.loc[pick]
            assert box["marked"] == (here != there and thing["kind"] != "neither")
            assert (box["style"] == "missed") == (not here)
            if box["marked"]:
                better = thing["change"] > 0
                assert box["label"][0] == (
                    "\N{BLACK UP-POINTING TRIANGLE}" if better else "\N{BLACK DOWN-POINTING TRIANGLE}"
                )
            elif labels == "nothing":
                assert box["label"] == ""


def test_a_click_tells_who_made_the_box_and_rings_it_on_both_sides(live: None) -> None:
    explorer, _ = explorer_of()
    explorer.box  # noqa: B018
    picture, drawing = explorer._picture, explorer._picture.svg
    things = explorer.things
    lost = things[(things["kind"] == "object") & (things["before"] >= 0) & (things["after"] < 0)]
    assert len(lost)
    number, thing = lost.index[0], lost.iloc[0]
    picture.pick(f"after {number}")
    assert picture.svg == drawing
    assert picture.classes == {f"before {number}": "ring", f"after {number}": "ring"}
    told = explorer._details.value
    assert f"{thing['before_anchor']}, score {thing['before_score']:.2f}" in told
    assert "not found" in told
    assert f"({thing['before_anchor']} is not kept.)" in told
    explorer.go(1)
    assert picture.classes == {}
    assert thing["before_anchor"] not in explorer._details.value


def test_only_the_shown_image_travels(live: None) -> None:
    explorer, _ = explorer_of()
    explorer.box  # noqa: B018
    assert len(re.findall("data:image/jpeg", explorer._picture.svg)) == 2  # before and after
    assert not re.search(r'(href|src)="http', explorer._picture.svg)


def test_controls_and_state_follow_each_other(live: None) -> None:
    explorer, scenes = explorer_of()
    explorer.box  # noqa: B018
    drawings: list[str] = []
    explorer._picture.observe(lambda change: drawings.append(change["new"]), names="svg")
    assert explorer.buttons["Previous"].disabled
    explorer.buttons["Next"].click()
    assert (explorer.place, explorer.slider.value, len(drawings)) == (1, 1, 1)
    assert not explorer.buttons["Previous"].disabled
    explorer.slider.value = len(scenes.image_ids) - 1
    assert explorer.buttons["Next"].disabled
    explorer.buttons["First"].click()
    assert explorer.place == 0
    explorer.score.value = 0.6
    assert (explorer.things["before_score"].dropna() >= 0.6).all()
    explorer.overlap.value = 0.75
    assert (explorer.things["before_iou"].dropna() >= 0.75 - 1e-6).all()
    for order in ORDERS[1:]:
        explorer.order.value = order
        assert explorer.place == 0
    explorer.labels.value = "classes"
    assert re.search(r"(cup|plate) 0\.", explorer._picture.svg)
    explorer.labels.value = "nothing"
    assert not re.search(r"<text[^>]*>[^<]*(cup|plate) 0\.", explorer._picture.svg)
    explorer.set(min_score=0.3, iou=0.5, order="hurt most")
    assert (explorer.score.value, explorer.overlap.value, explorer.order.value) == (0.3, 0.5, "hurt most")


def test_static_it_is_one_picture_of_four_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anchorkit.widgets.explorer.is_live", lambda: False)
    explorer, _ = explorer_of()
    selected = explorer.selected
    bundle: dict[str, Any] = explorer._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml"}
    svg = bundle["image/svg+xml"]
    for image_id in explorer.changes["image_id"].head(4):
        assert f"Image {image_id} before" in svg
    assert len(re.findall("data:image/jpeg", svg)) == 8
    assert len(svg) < 300_000
    assert explorer.selected == selected


def test_bad_input() -> None:
    explorer, scenes = explorer_of()
    full, none = scenes.layout.full, Configuration(scenes.layout, 0)
    with pytest.raises(InputError, match="before keeps no anchor"):
        ImageExplorer(scenes, scenes, none, full)
    with pytest.raises(InputError, match="after is of"):
        explorer.after = stand_ins.layout(2).full
    short = SimpleNamespace(image_ids=scenes.image_ids[1:], categories=scenes.categories, image=scenes.image)
    with pytest.raises(InputError, match=f"lacks image {scenes.image_ids[0]}"):
        ImageExplorer(scenes, short, full, full)
    with pytest.raises(InputError, match="no image 7"):
        explorer.selected = 7
    for options, message in (
        ({"order": "worst"}, "order is 'worst'; use one of hurt most"),
        ({"labels": "all"}, "labels is 'all'"),
        ({"min_score": 2}, "min_score is 2"),
        ({"iou": 0}, "iou is 0"),
    ):
        with pytest.raises(InputError, match=message):
            explorer.set(**options)
