from __future__ import annotations

from pathlib import Path

import pytest

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.errors import InputError
from anchorkit.runs.selection import load_selection, save_selection

LAYOUT = AnchorLayout("toy", (64, 64), (Level("a", 4, 4, ((8.0, 8.0), (16.0, 8.0), (8.0, 16.0))),))
PICKED = LAYOUT.full.without([1])


def test_what_was_picked_comes_back(tmp_path: Path) -> None:
    assert load_selection(tmp_path, LAYOUT, "f") is None
    path = save_selection(tmp_path, PICKED, "f")
    assert path == tmp_path / "search" / "selected.json"
    assert load_selection(tmp_path, LAYOUT, "f") == PICKED
    save_selection(tmp_path, LAYOUT.full, "f")
    assert load_selection(tmp_path, LAYOUT, "f") == LAYOUT.full


def test_what_was_picked_with_other_predictions_does_not_count(tmp_path: Path) -> None:
    save_selection(tmp_path, PICKED, "f")
    assert load_selection(tmp_path, LAYOUT, "g") is None


@pytest.mark.parametrize("text", ["{}", "[]", '{"anchors": ["L0/8x8"]}', '{"anchors": null, "evaluator": "f"}', "no"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "search" / "selected.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InputError, match=r"selected\.json"):
        load_selection(tmp_path, LAYOUT, "f")
