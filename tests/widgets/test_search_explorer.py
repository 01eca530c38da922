"""The search explorer without a browser: what its buttons do, and what it leaves where nobody can touch it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from anchorkit.anchors import Configuration
from anchorkit.costs import COSTS, Cost
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.postprocess import PostProcess
from anchorkit.search import SearchResult, exhaustive_search, search
from anchorkit.search.joint import JointResult, joint_search
from anchorkit.widgets import SearchExplorer
from anchorkit.widgets.search_view import label

from ..search.toys import ToyEvaluator, toy_layout
from ..statistics.simulated import some_images

TRUTH = {
    "images": [{"id": 1}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": n, "image_id": 1, "category_id": kind, "bbox": [20.0 * n, 0.0, 10.0, 10.0], "area": 100.0, "iscrowd": 0}
        for n, kind in enumerate((1, 1, 1, 2, 2, 2), 1)
    ],
}


class Toy(ToyEvaluator):
    """Made-up accuracies, and detections that find an object for every second anchor."""

    ground_truth = TRUTH
    metric = "AP"
    postprocess = PostProcess()
    seconds = 0.0

    def __init__(self, *counts: int, seed: int = 0) -> None:
        super().__init__(toy_layout(*(counts or (4, 3))), seed=seed, steps=1000, slope=0.9)

    def children(self, configuration: Any, moves: Any) -> Any:
        time.sleep(self.seconds)
        return super().children(configuration, moves)

    def stats(self, configuration: Configuration) -> dict[str, float]:
        return {"APs": -1.0, "APm": 0.1, "APl": len(configuration) / 10}

    def per_class(self, configuration: Configuration) -> dict[int, float]:
        return {1: 0.5, 2: 0.05 * len(configuration)}

    def detections(self, configuration: Configuration) -> pd.DataFrame:
        rows = [[1, 1 if n < 4 else 2, 0.9 - n / 100, 20.0 * n, 0.0] for n in range(1, len(configuration) // 2 + 3)]
        frame = pd.DataFrame(rows, columns=["image_id", "category_id", "score", "x1", "y1"])
        return frame.assign(x2=frame["x1"] + 10, y2=frame["y1"] + 10)

    def with_postprocess(self, **changes: Any) -> Toy:
        made = Toy(4, 3, seed=7)
        made.postprocess = PostProcess(**changes)
        return made

    def with_metric(self, metric: str) -> Toy:
        made = Toy(4, 3, seed=8)
        made.metric = metric
        return made


def slow() -> Toy:
    """Its search takes minutes."""
    made = Toy(8, 8)
    made.seconds = 0.05
    return made


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to be")


@pytest.fixture
def explorer() -> SearchExplorer:
    made = SearchExplorer(Toy(), names={1: "cat", 2: "dog"}, max_drop=1.0, max_loss=0.3)
    assert made.box is made.panel.box
    return made


@pytest.fixture
def found(explorer: SearchExplorer) -> SearchExplorer:
    explorer.panel.start.click()
    assert explorer.wait(60)
    return explorer


def picks(explorer: SearchExplorer) -> list[str]:
    return [label(configuration) for configuration in explorer.result.configurations]


def test_start_finds_what_a_search_finds(found: SearchExplorer) -> None:
    expected = search(Toy(), threshold=0.0, progress=False)
    pd.testing.assert_frame_equal(found.result.evaluated, expected.evaluated)
    pd.testing.assert_frame_equal(found.result.frontier, expected.frontier)
    assert found.result.complete
    assert found.state == "idle"
    assert found.selected == found.answer == expected.cheapest(0.3)
    assert "Done" in found.panel.status.value
    assert f"{len(expected.evaluated):,} configurations" in found.panel.status.value
    assert all(f'data-pick="{name}"' in found.panel.frontier.svg for name in picks(found))


def test_it_can_be_paused_and_resumed_and_stopped_while_it_runs() -> None:
    toy = slow()
    explorer = SearchExplorer(toy, max_drop=1.0)
    assert explorer.box
    panel = explorer.panel
    buttons = (panel.start, panel.pause, panel.resume, panel.stop)

    def enabled() -> list[bool]:
        return [not button.disabled for button in buttons]

    assert enabled() == [True, False, False, False]
    panel.start.click()
    until(lambda: "Searching" in panel.status.value and "data-pick" in panel.frontier.svg)
    assert enabled() == [False, True, False, True]
    with pytest.raises(InputError, match="stop it first"):
        explorer.start()
    early = panel.frontier.svg
    until(lambda: panel.frontier.svg != early)  # it grows
    panel.pause.click()
    assert explorer.state == "paused"
    assert enabled() == [False, False, True, True]
    until(lambda: "Paused" in panel.status.value)
    until(lambda: stands_still(toy))
    count = len(toy.asked)
    # The frontier so far can be looked into meanwhile.
    name = list(panel.frontier.notes)[-1]
    panel.frontier.pick(name)
    assert label(explorer.selected) == name
    until(lambda: "AP50" in panel.said.value)
    panel.resume.click()
    until(lambda: len(toy.asked) > count)
    panel.stop.click()
    assert explorer.wait(60)
    assert enabled() == [True, False, False, False]
    assert "Stopped early" in panel.status.value
    assert not explorer.result.complete
    count = len(explorer.result.evaluated)
    whole = search(Toy(8, 8), threshold=0.0, progress=False, watch=stop_at(count))
    pd.testing.assert_frame_equal(explorer.result.evaluated, whole.evaluated.iloc[:count])


def stands_still(toy: Toy) -> bool:
    count = len(toy.asked)
    time.sleep(0.2)
    return len(toy.asked) == count


def stop_at(evaluated: int) -> Callable[[Any], None]:
    return lambda progress: progress.stop() if progress.evaluated >= evaluated else None


def test_a_picked_point_is_selected_and_explained(found: SearchExplorer) -> None:
    panel = found.panel
    name = picks(found)[-1]
    panel.frontier.pick(name)
    assert label(found.selected) == name
    assert panel.frontier.classes == {name: "ring"}
    off = [anchor for anchor, look in panel.board.classes.items() if look == "off"]
    assert sorted(off) == sorted(set(found.result.layout.ids) - set(found.selected.ids))
    assert "removed: level 0" in panel.frontier.notes[name]
    assert found.wait(60)
    assert "AP50" in panel.said.value
    assert "missed" in panel.said.value
    assert "dog" in panel.details.value
    assert "large objects" in panel.details.value
    assert "<svg" in panel.reasons.svg
    details = found.details()
    lost = len(TRUTH["annotations"]) - (len(found.selected) // 2 + 2)
    assert details.reasons().set_index("error")["count_after"]["missed"] == lost
    assert details.sizes()["before"]["small objects"] == -1
    panel.take_answer.click()
    assert found.selected == found.answer
    panel.take_knee.click()
    assert found.selected == found.result.knee()


def test_an_anchor_leads_to_the_nearest_point_where_it_is_the_other_way(found: SearchExplorer) -> None:
    for what in ("L0/8x16", "level 1"):
        anchors = {anchor for anchor in found.result.layout.ids if anchor == what or what == f"level {anchor[1]}"}
        before = bool(anchors & set(found.selected.ids))
        found.panel.board.pick(what)
        there = any(bool(anchors & set(c.ids)) != before for c in found.result.configurations)
        assert (bool(anchors & set(found.selected.ids)) != before) == there
        assert found.selected in found.result.configurations


def test_limits_mark_the_answer_and_say_it(found: SearchExplorer) -> None:
    result, panel = found.result, found.panel
    full = result.baseline["head_flops"]
    panel.loss.value = 5.0
    assert found.max_loss == 0.05
    assert found.selected == result.cheapest(0.05)
    assert "loses at most 5 points" in panel.answer.value
    panel.lose.value, panel.spend.value = False, True
    panel.budget.value = full / 2000 if "k" in panel.budget_unit.value else full / 2
    assert found.budget == pytest.approx(full / 2)
    assert found.selected == result.best(head_flops=full / 2)
    found.constrain(max_loss=0.3, budget=full / 2)
    fits = result.frontier[
        (result.frontier["head_flops"] <= full / 2)
        & (result.frontier["accuracy"] >= result.baseline["accuracy"] - 0.3 - 1e-12)
    ]
    assert (found.answer is None) == fits.empty
    if not fits.empty:
        assert result.frontier["head_flops"][result.configurations.index(found.answer)] == fits["head_flops"].min()
    assert (panel.lose.value, panel.spend.value) == (True, True)
    found.constrain(max_loss=-0.9)
    assert found.answer is None
    assert found.selected == result.layout.full
    assert "No point of the frontier keeps to that" in panel.answer.value
    found.constrain(max_loss=None)
    assert "No limit" in panel.answer.value
    assert found.wait(60)


def marks(chart: Any, field: str) -> set[Any]:
    return {row[field] for rows in chart.to_dict()["datasets"].values() for row in rows if field in row}


def test_results_stay_beside_each_other_until_they_are_removed(found: SearchExplorer) -> None:
    panel = found.panel
    panel.strategy.value, panel.nms_iou.value = "authors", 0.6
    panel.start.click()
    assert found.wait(60)
    first, second = found.results
    assert "authors" in second
    assert "NMS IoU 0.6" in second
    assert found.result is found.results[second]
    assert found.result.strategy == "authors"
    expected = search(Toy(seed=7), threshold=0.0, strategy="authors", progress=False)
    pd.testing.assert_frame_equal(found.result.evaluated, expected.evaluated)
    assert first in marks(found.frontier_chart(), "series")
    panel.front.value = first
    assert found.result is found.results[first]
    assert second in marks(found.frontier_chart(), "series")
    panel.metric.value = "AP50"
    panel.start.click()
    assert found.wait(60)
    third = [*found.results][-1]
    assert "by AP50" in third
    # Accuracies by another metric are not drawn on the same axis.
    assert not {first, second} & marks(found.frontier_chart(), "series")
    assert "AP50 (points)" in str(found.frontier_chart().to_dict())
    panel.remove.click()
    assert [*found.results] == [first, second]
    assert found.result is found.results[second]
    found.remove(first)
    found.remove(second)
    assert found.results == {}
    with pytest.raises(InputError, match="press Start"):
        _ = found.result
    assert found.selected == Toy().layout.full
    assert found.wait(60)
    assert panel.frontier.svg == ""


def test_another_cost_takes_another_unit(found: SearchExplorer) -> None:
    found.constrain(max_loss=None, budget=1000.0)
    found.set(cost="boxes")
    found.start()
    assert found.wait(60)
    assert found.budget is None
    assert found.panel.budget_unit.value == "boxes"
    assert found.result.cost == "boxes"
    [other] = found._others(found._view).values()  # the first search, as far as it is any good for boxes
    assert other["boxes"].is_monotonic_decreasing
    assert other["accuracy"].is_monotonic_decreasing


def test_random_and_beaten_configurations_are_shown_on_demand(found: SearchExplorer) -> None:
    assert "random pruning" not in marks(found.frontier_chart(), "series")
    before = found.panel.frontier.svg
    found.panel.random.value = found.panel.dominated.value = True
    assert found.wait(60)
    assert {"random pruning", "tried, and beaten"} <= marks(found.frontier_chart(), "series")
    assert found.panel.frontier.svg != before
    found.panel.random.value = found.panel.dominated.value = False
    assert found.wait(60)
    assert found.panel.frontier.svg == before


def test_code_can_do_it_all_without_widgets(tmp_path: Path) -> None:
    explorer = SearchExplorer(Toy(), max_drop=1.0)
    heard: list[Configuration] = []
    explorer.observe(lambda which: heard.append(which.selected))
    result = explorer.run()
    assert explorer.results == {next(iter(explorer.results)): result}
    chosen = result.configurations[1]
    explorer.pick(chosen)
    assert explorer.selected == heard[-1] == chosen
    explorer.result.save(tmp_path)
    pd.testing.assert_frame_equal(SearchResult.load(tmp_path).frontier, result.frontier)
    explorer.pick(None)
    assert explorer.selected == explorer.answer


def test_it_can_begin_with_a_result() -> None:
    result = search(Toy(), "boxes", threshold=0.1, progress=False)
    split = SimpleNamespace(categories=[SimpleNamespace(id=1, name="cat"), SimpleNamespace(id=2, name="dog")])
    explorer = SearchExplorer(Toy(), result=result, split=split, budget=200, max_loss=None)  # type: ignore[arg-type]
    assert explorer.result is result
    assert explorer.selected == result.best(boxes=200)
    assert set(explorer.details().classes(explorer._names)["category"]) == {"cat", "dog"}


def test_without_a_front_end_it_searches_and_is_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anchorkit.widgets.explorer.is_live", lambda: False)
    explorer = SearchExplorer(Toy(), max_drop=1.0, max_loss=0.3)
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml"}
    assert len(bundle["image/svg+xml"]) < 150_000
    assert "Answer, the cheapest that loses at most 30 points" in bundle["image/svg+xml"]
    assert explorer.result.complete
    assert not explorer.shown


def test_what_goes_wrong_is_said(explorer: SearchExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "accuracy_of", lambda self, mask: -1.0)
    explorer.panel.start.click()
    with pytest.raises(InputError, match="no boxes to find"):
        explorer.wait(60)
    assert explorer.state == "idle"
    assert "no boxes to find" in explorer.panel.status.value
    monkeypatch.undo()
    explorer.start()
    assert explorer.wait(60)
    assert explorer.result.complete


def test_bad_input() -> None:
    with pytest.raises(InputError, match="cost is 'watts'"):
        SearchExplorer(Toy(), cost="watts")
    with pytest.raises(InputError, match="unknown strategy"):
        SearchExplorer(Toy(), strategy="luck")
    with pytest.raises(InputError, match="max_drop is 3"):
        SearchExplorer(Toy(), max_drop=3)
    with pytest.raises(InputError, match="0.02"):
        SearchExplorer(Toy(), max_loss=2)
    with pytest.raises(InputError, match="not of 'toy'"):
        SearchExplorer(Toy(), result=search(ToyEvaluator(toy_layout(2, name="other")), progress=False))
    explorer = SearchExplorer(Toy())
    with pytest.raises(InputError, match="the settings are cost, strategy"):
        explorer.set(colour="red")
    with pytest.raises(InputError, match="budget is -1"):
        explorer.constrain(max_loss=None, budget=-1)
    with pytest.raises(InputError, match="another layout"):
        explorer.pick(toy_layout(2).full)
    for act in (explorer.bring_forward, explorer.remove):
        with pytest.raises(InputError, match="no result 'x'"):
            act("x")
    with pytest.raises(InputError, match="press Start"):
        explorer.details()


def test_a_new_cost_needs_no_word_here(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Cost("memory", "Head memory", "head memory", "bytes", lambda kept: 4000.0 * len(kept))
    monkeypatch.setitem(COSTS, "memory", memory)
    explorer = SearchExplorer(Toy(), cost="memory", max_drop=1.0)
    assert explorer.box
    explorer.run()
    assert ("Head memory", "memory") in explorer.panel.cost.options
    assert explorer.panel.budget_unit.value == "bytes"
    assert next(iter(explorer.results)).startswith("1: Algorithm 1, head memory")


def test_a_result_of_another_strategy_can_be_looked_into() -> None:
    every = exhaustive_search(Toy(), "boxes", progress=False)
    explorer = SearchExplorer(Toy(), result=every)
    assert next(iter(explorer.results)).startswith("1: exhaustive, boxes")
    assert explorer.selected == every.cheapest(0.002)


@pytest.fixture
def joint() -> tuple[list[Evaluator], JointResult]:
    evaluators = [some_images(60, 1), some_images(60, 1, slim=True)]
    threshold = evaluators[0].accuracy(evaluators[0].full) - 0.05
    return evaluators, joint_search(
        zip((0, 0.3), evaluators, strict=True), threshold=threshold, cost="head_flops", progress=False
    )


def view_label(explorer: SearchExplorer, configuration: Configuration) -> str:
    """What a point of the frontier that is drawn is called."""
    return next(name for name, own in explorer._points.items() if own == configuration)


def test_a_joint_result_has_the_colour_of_its_detectors(joint: tuple[list[Evaluator], JointResult]) -> None:
    evaluators, result = joint
    explorer = SearchExplorer(evaluators, result=result, max_loss=0.02)
    assert explorer.box
    assert explorer.wait(60)
    panel, svg = explorer.panel, explorer.panel.frontier.svg
    assert "channels removed" in svg
    assert "30 %" in svg
    chosen = result.cheapest(0.02)
    assert explorer.selected == chosen.configuration
    assert result.choice(explorer.selected) == chosen
    assert f"{100 * chosen.channels:g} % of the channels removed" in panel.answer.value
    # Both detectors have points of the same mask, and each can be picked.
    whole = result.configurations[result.origins.index(0)]
    panel.frontier.pick(view_label(explorer, whole))
    assert explorer.selected == whole
    assert explorer.selected.layout == evaluators[0].layout
    assert explorer.details().after.stats == evaluators[0].stats(whole)
    explorer.pick(chosen.configuration)
    slim = evaluators[result.labels.index(chosen.channels)]
    assert explorer.details().after.stats == slim.stats(chosen.configuration)
    assert explorer.details().before.stats == evaluators[0].stats(evaluators[0].full)
    assert "30 % of the channels removed" in panel.frontier.notes[view_label(explorer, chosen.configuration)]


def test_a_search_beside_a_joint_result_is_of_the_whole_detector(joint: tuple[list[Evaluator], JointResult]) -> None:
    evaluators, result = joint
    explorer = SearchExplorer(evaluators, result=result, max_drop=0.05)
    found = explorer.run()
    assert found.layout == evaluators[0].layout
    assert isinstance(found, SearchResult)
    assert len(explorer.results) == 2
    with pytest.raises(InputError, match="needs the evaluators of all its detectors"):
        SearchExplorer(evaluators[0], result=result)
    with pytest.raises(InputError, match="several evaluators go with a joint search"):
        SearchExplorer(evaluators)
