"""`anchorkit anchors`: the same anchors from every kind of thing that has some."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.bundled import data_dir
from anchorkit.cli.anchors import draw
from anchorkit.predictions import PostProcess, PredictionTable

Command = Callable[..., tuple[int, str, str]]
SAVED = data_dir() / "detectors" / "tiny_ssd-shapes"


def listed(command: Command, *arguments: Any) -> dict[str, Any]:
    code, out, _ = command("anchors", *arguments, "--json")
    assert code == 0
    return json.loads(out)


@pytest.fixture
def layout() -> AnchorLayout:
    """Its coarse level comes first, as in many YOLO files."""
    coarse = Level("P5", 2, 3, ((40.0, 30.0), (30.0, 40.0)))
    return AnchorLayout("toy", (64, 96), (coarse, Level("P4", 4, 6, ((10.5, 20.0),))))


def test_levels_go_from_the_finest_and_anchors_by_index(command: Command, layout: AnchorLayout, tmp_path: Path) -> None:
    path = tmp_path / "layout.json"
    path.write_text(layout.to_json())
    data = listed(command, path)
    assert data == {
        "input": [64, 96],
        "levels": [
            {"name": "P4", "height": 4, "width": 6, "anchors": ["L1/10x20"]},
            {"name": "P5", "height": 2, "width": 3, "anchors": ["L0/40x30", "L0/30x40"]},
        ],
        "anchors": [
            {"index": 0, "id": "L0/40x30", "level": 1, "width": 40.0, "height": 30.0},
            {"index": 1, "id": "L0/30x40", "level": 1, "width": 30.0, "height": 40.0},
            {"index": 2, "id": "L1/10x20", "level": 0, "width": 10.5, "height": 20.0},
        ],
        "boxes": 24 + 12,
    }


def test_every_form_of_a_detector_lists_the_same(command: Command, layout: AnchorLayout, tmp_path: Path) -> None:
    """A layout, a prediction table, and the folder of a run that has no detector."""
    (tmp_path / "layout.json").write_text(layout.to_json())
    nothing = np.empty(0, np.int64)
    table = PredictionTable(nothing, nothing, nothing, [], np.empty((0, 4)), layout, PostProcess())
    (tmp_path / "run").mkdir()
    table.save(tmp_path / "run" / "predictions.parquet")
    places = [tmp_path / "layout.json", tmp_path / "run" / "predictions.parquet", tmp_path / "run"]
    first, *others = [listed(command, place) for place in places]
    assert others == [first, first]


def test_a_run_has_the_anchors_of_its_detector_and_so_has_its_name(command: Command, tmp_path: Path) -> None:
    (tmp_path / "detector").symlink_to(SAVED)
    run, saved = listed(command, tmp_path), listed(command, SAVED)
    assert run == saved == listed(command, "tiny_ssd", "--classes", 7)
    assert len(saved["anchors"]) == 30


def test_the_table_and_the_drawing(command: Command, layout: AnchorLayout, tmp_path: Path) -> None:
    path, picture = tmp_path / "layout.json", tmp_path / "board.svg"
    path.write_text(layout.to_json())
    code, out, _ = command("anchors", path, "--out", picture)
    assert code == 0
    assert out.splitlines()[0].startswith("toy: 3 anchors on 2 levels; input 64x96 (height x width), 36 boxes")
    assert out.index("L1/10x20") < out.index("L0/40x30") < out.index("L0/30x40")
    assert f"Drawn in {picture}" in out
    assert "<svg" in picture.read_text()


def test_the_drawing_is_to_scale() -> None:
    """A character is one pixel wide and two high; the boxes stand on one ground line."""
    *rows, labels = draw([(40, 20), (20, 40), (5, 5)])
    assert rows == [
        "            ████",
        "            ████",
        "  ████████  ████",
        "  ████████  ████   ▄",
    ]
    assert labels.split() == ["40x20", "20x40", "5x5"]


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("tiny_sd", "unknown detector 'tiny_sd'"),
        ("no/such.onnx", "no/such.onnx"),
        ("no/such/folder", "not a layout .json, a prediction table .parquet, an .onnx file"),
    ],
)
def test_what_has_no_anchors_is_refused_in_a_line(command: Command, subject: str, said: str) -> None:
    code, out, err = command("anchors", subject)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]


def test_listing_imports_neither_torch_nor_charts() -> None:
    program = (
        "import sys; from anchorkit import cli; cli.main(['anchors', sys.argv[1], '--json']);"
        "print(*sorted({'torch', 'altair', 'IPython', 'pandas'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, SAVED], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []
