from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.anchors import Configuration, moves
from anchorkit.costs import known_costs
from anchorkit.errors import InputError
from anchorkit.widgets import AnchorBoard

from . import stand_ins

N = len(stand_ins.layout())
masks = st.integers(1, 2**N - 1)
steps = st.one_of(
    st.tuples(st.just("toggle"), st.sets(st.integers(0, N - 1), min_size=1, max_size=3)),
    st.tuples(st.sampled_from(["undo", "redo", "reset", "advise"]), st.none()),
    st.tuples(st.just("set"), masks),
    st.tuples(st.just("compare"), masks),
)


def board_of(mask: int = 2**N - 1, **options: Any) -> AnchorBoard:
    measures = stand_ins.Measures()
    return AnchorBoard(measures, start=Configuration(measures.layout, mask), **options)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anchorkit.widgets.explorer.is_live", lambda: True)


@given(walk=st.lists(steps, max_size=12))
def test_any_walk_ends_where_it_should(walk: list[tuple[str, Any]]) -> None:
    board, told = board_of(), []
    board.observe(lambda b: told.append(b.selected.mask))
    past, future = [2**N - 1], []
    for what, value in walk:
        if what == "toggle":
            bits = sum(1 << anchor for anchor in value)
            mask = past[-1] & ~bits if past[-1] & bits else past[-1] | bits
            if mask == 0:
                with pytest.raises(InputError, match="at least one"):
                    board.toggle(*value)
            else:
                board.toggle(*value)
                past, future = ([*past, mask], []) if mask != past[-1] else (past, future)
        elif what == "set":
            board.set(Configuration(board.selected.layout, value))
            past, future = ([*past, value], []) if value != past[-1] else (past, future)
        elif what == "reset":
            board.reset()
            past, future = ([*past, 2**N - 1], []) if past[-1] != 2**N - 1 else (past, future)
        elif what == "undo":
            board.undo()
            if len(past) > 1:
                future.append(past.pop())
        elif what == "redo":
            board.redo()
            if future:
                past.append(future.pop())
        elif what == "compare":
            board.compare(Configuration(board.selected.layout, value))
        else:
            board.advise()
        assert board.selected.mask == past[-1]
        if told:
            assert told[-1] == past[-1]
    for mask in reversed(past):
        assert board.selected.mask == mask
        board.undo()
    for mask in [*past, *reversed(future)][1:]:
        board.redo()
        assert board.selected.mask == mask


@given(start=masks, other=masks)
def test_numbers_are_those_of_the_evaluator_and_the_costs(start: int, other: int) -> None:
    board, measures = board_of(start), stand_ins.Measures()
    compared = Configuration(measures.layout, other)
    for before in (measures.layout.full, compared):
        numbers = board.numbers()
        for name, configuration in (("before", before), ("after", board.selected)):
            assert numbers.loc["accuracy", name] == measures.accuracy(configuration)
            assert numbers.loc["n_anchors", name] == len(configuration)
            for cost, value in known_costs(configuration).items():
                assert numbers.loc[cost, name] == value
        board.compare(compared)
    board.compare(None)
    assert board.numbers().loc["n_anchors", "before"] == N


@given(start=masks, points=st.lists(masks, min_size=1, max_size=6, unique=True))
def test_the_lead_is_over_the_best_that_is_as_cheap(start: int, points: list[int]) -> None:
    measures = stand_ins.Measures()
    result = stand_ins.found(measures, points)
    board = AnchorBoard(measures, result, start=Configuration(measures.layout, start))
    assert board.cost == "boxes"
    boxes = known_costs(board.selected)["boxes"]
    rivals = [measures.accuracy(c) for c in result.configurations if known_costs(c)["boxes"] <= boxes]
    if rivals:
        assert board.lead == pytest.approx(board.accuracy - max(rivals))
    else:
        assert board.lead is None


@given(start=masks, cost=st.sampled_from(["boxes", "head_flops"]))
def test_the_advice_is_the_best_of_all_removals(start: int, cost: str) -> None:
    board, measures = board_of(start, cost=cost), stand_ins.Measures()
    advice = board.advise()
    children = [(move, board.selected.without(move.anchors)) for move in moves(board.selected)]
    if not children:
        assert advice is None
        return
    best = max(measures.accuracy(child) for _, child in children)
    cheapest = min(known_costs(child)[cost] for _, child in children if measures.accuracy(child) == best)
    assert advice is not None
    child = board.selected.without(advice.anchors)
    assert (measures.accuracy(child), known_costs(child)[cost]) == (best, cheapest)
    assert board.selected.mask == start  # advice changes nothing


@given(start=masks)
def test_the_code_makes_the_selection(start: int) -> None:
    board = board_of(start)
    names: dict[str, Any] = {"evaluator": SimpleNamespace(layout=stand_ins.layout())}
    exec(board.code(), names)
    assert names["configuration"] == board.selected


def test_without_a_search_there_is_no_lead() -> None:
    assert board_of().lead is None


def test_clicks_do_what_the_methods_do(live: None) -> None:
    board = board_of()
    board.box  # noqa: B018
    ids = board.selected.layout.ids
    board._board.pick(ids[4])
    assert board.selected.dropped == (4,)
    board._board.pick(ids[4])
    assert board.selected.dropped == ()
    board._board.pick("level 1")
    assert board.selected.dropped == (3, 4, 5)
    board._board.pick("level 1")
    assert board.selected.dropped == ()
    board._board.pick(ids[1], extend=True)  # the same shape on every level
    assert board.selected.dropped == (1, 4, 7)
    for name in ("Undo", "Undo", "Redo", "Redo"):
        board.buttons[name].click()
    assert board.selected.dropped == (1, 4, 7)
    board.buttons["Reset"].click()
    assert len(board.selected) == N
    board.buttons["Best next removal"].click()
    assert "Best next removal" in board._said.value


def test_the_last_anchor_stays_and_the_board_says_why(live: None) -> None:
    board = board_of(1)
    board.box  # noqa: B018
    board._board.pick(board.selected.ids[0])
    assert board.selected.mask == 1
    assert "at least one anchor" in board._said.value


def test_looks_follow_the_state_without_a_new_drawing(live: None) -> None:
    board = board_of()
    board.box  # noqa: B018
    picture, ids = board._board, board.selected.layout.ids
    drawing = picture.svg
    assert all(f'data-pick="{name}"' in drawing for name in (*ids, "level 0", "level 2"))
    board.compare(board.selected)
    board.toggle(2)
    assert picture.svg == drawing
    assert picture.classes[ids[2]].split() == ["off", "ring"]
    assert {name: look for name, look in picture.classes.items() if look and name != ids[2]} == {}
    assert picture.notes[ids[2]] == "dropped"
    assert picture.notes["level 0"].startswith("2 of 3 kept")
    board.compare(None)
    advice = board.advise()
    assert advice is not None
    assert {ids[anchor] for anchor in advice.anchors} == {n for n, look in picture.classes.items() if "ring" in look}


def test_a_point_of_the_frontier_can_be_loaded(live: None) -> None:
    measures = stand_ins.Measures()
    result = stand_ins.found(measures, [511, 255, 15])
    board = AnchorBoard(measures, result)
    board.box  # noqa: B018
    for place in range(3):
        if f'data-pick="{place}"' in board._frontier.svg:
            board._frontier.pick(str(place))
            assert board.selected == result.configurations[place]
    assert board.selected.mask != 511


def test_controls_follow(live: None) -> None:
    board = board_of(names={1: "cup"})
    box = board.box
    assert board.buttons["Undo"].disabled
    assert board.buttons["Redo"].disabled
    board.toggle(0)
    assert not board.buttons["Undo"].disabled
    board.undo()
    assert not board.buttons["Redo"].disabled
    beside = box.children[1].children[1]
    menus = {menu.description: menu for menu in beside.children[2].children}
    menus["Cost"].value = "boxes"
    assert board.cost == "boxes"
    menus["Show"].value = "classes"
    assert "cup" in board._more.value
    assert "class 7" in board._more.value
    menus["Show"].value = "12 COCO figures"
    assert "APs" in board._more.value
    assert "\N{EN DASH}" in board._more.value  # nothing to find
    board.buttons["Copy as code"].click()
    assert "keep=[" in board._more.value


def test_a_static_board_shows_what_the_live_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anchorkit.widgets.explorer.is_live", lambda: False)
    board = board_of(0b111)
    bundle = board._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml"}
    assert len(bundle["image/svg+xml"]) < 120_000
    assert f"{3} of {N} anchors kept" in json.dumps(board.show().to_dict())


def test_bad_input() -> None:
    measures = stand_ins.Measures()
    other = stand_ins.layout(2)
    with pytest.raises(InputError, match="cost is 'money'"):
        AnchorBoard(measures, cost="money")
    with pytest.raises(InputError, match="start"):
        AnchorBoard(measures, start=other.full)
    with pytest.raises(InputError, match="result"):
        AnchorBoard(measures, stand_ins.found(stand_ins.Measures(other), [3]))
    with pytest.raises(InputError, match="another layout"):
        AnchorBoard(measures).set(other.full)
    with pytest.raises(InputError):
        AnchorBoard(measures).toggle("L9/1x1")
    assert np.isfinite(AnchorBoard(measures).accuracy)


def test_a_button_of_ones_own_says_what_it_did_or_why_not(live: None) -> None:
    def fail() -> str:
        raise InputError("no room on the stick")

    board = board_of(actions={"Save": lambda: "Wrote <board>.html", "Fail": fail})
    board._repr_mimebundle_()
    board.buttons["Save"].click()
    assert "Wrote &lt;board&gt;.html" in board._said.value
    board.buttons["Fail"].click()
    assert "<b>no room on the stick</b>" in board._said.value
