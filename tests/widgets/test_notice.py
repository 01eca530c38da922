"""Every explorer that shows accuracies says first where nothing can be told, by the rule that all others use."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from anchorkit.anchors import Configuration
from anchorkit.findings import nothing_can_be_told
from anchorkit.search import search
from anchorkit.widgets import AnchorBoard, PointChooser, SearchExplorer
from anchorkit.widgets.explorer import Explorer, notice_of

from ..statistics.simulated import some_images
from . import stand_ins


class Hopeless(stand_ins.Measures):
    """Accuracies up to 4 points."""

    def accuracy(self, configuration: Configuration) -> float:
        return 0.04 * len(configuration) / len(self.layout)


def board() -> Explorer:
    measures = Hopeless()
    return AnchorBoard(measures, stand_ins.found(measures, [7, 3]))


def chooser() -> Explorer:
    return PointChooser(search(Hopeless(), cost="boxes", threshold=0.0, progress=False))


@pytest.mark.parametrize("make", [board, chooser])
def test_a_hopeless_detector_is_named_before_its_numbers(
    make: Callable[[], Explorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer, said = make(), f"{nothing_can_be_told(0.04)}."
    assert explorer.notice == nothing_can_be_told(0.04)
    assert explorer.show().to_dict()["title"]["text"] == said
    monkeypatch.setattr("anchorkit.widgets.explorer.is_live", lambda: True)
    assert said in explorer.box.children[0].value
    sentences = [widget.value for widget in _texts(explorer.box)]
    assert not any("beat" in text for text in sentences)


def _texts(box: Any) -> list[Any]:
    inner = [text for child in getattr(box, "children", ()) for text in _texts(child)]
    return [*inner, *([box] if isinstance(getattr(box, "value", None), str) else [])]


def test_the_search_explorer_says_it_above_its_answer() -> None:
    explorer = SearchExplorer(some_images(12, 1))
    title = explorer.show().to_dict()["title"]
    assert title["text"] == f"{nothing_can_be_told(0.5, images=12)}."
    assert title["subtitle"][0].startswith("Answer")


def test_a_good_detector_has_no_notice() -> None:
    measures = stand_ins.Measures()
    full = measures.accuracy(measures.layout.full)
    assert (notice_of(measures) is None) == (nothing_can_be_told(full) is None)
    assert notice_of(object()) is None
    assert "nothing can be told" not in json.dumps(AnchorBoard(measures).show().to_dict())
