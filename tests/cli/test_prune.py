"""`anchorkit prune` on a saved detector: the smaller folder, and figures that are those of the Python API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import anchorkit as ak
from anchorkit.bundled import data_dir
from anchorkit.detectors import weights_file

from ..datasets.samples import coco_folder

Command = Callable[..., tuple[int, str, str]]
SAVED = data_dir() / "detectors" / "tiny_ssd-shapes"


def test_a_saved_detector_gets_smaller(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "small"
    code, text, _ = command("prune", SAVED, "--keep", "0,5,L2/72x72", "--out", out, "--json")
    assert code == 0
    data = json.loads(text)
    whole, small = ak.load_detector(SAVED), ak.load_detector(out)
    assert data["anchors"] == [0, 5, 11]
    assert len(small.layout) == 3
    before, after = ak.costs.costs(whole.layout.full), ak.costs.costs(small.layout.full)
    assert after == ak.costs.costs(whole.layout.configuration(keep=data["anchors"]))
    for name in ("boxes", "total_flops"):
        assert data[name] == [before[name], after[name]]
        assert after[name] < before[name]
    assert data["bytes"] == [weights_file(folder).stat().st_size for folder in (SAVED, out)]


def test_a_run_gives_its_detector(command: Command, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "detector").symlink_to(SAVED)
    code, text, _ = command("prune", tmp_path / "run", "--drop", "0", "--out", tmp_path / "small")
    assert code == 0
    assert text.splitlines()[0] == "tiny_ssd: 29 of 30 anchors"
    assert len(ak.load_detector(tmp_path / "small").layout) == 29


def test_channels_go_too(command: Command, tmp_path: Path) -> None:
    arguments = ("--drop", "0", "--channels", "0.5", "--data", coco_folder(tmp_path / "data", 4))
    code, text, err = command("prune", SAVED, *arguments, "--out", tmp_path / "small", "--json")
    assert code == 0
    assert "prune_channels: 688 -> " in err
    small = ak.load_detector(tmp_path / "small")
    assert len(small.layout) == 29
    before, after = json.loads(text)["total_flops"]
    assert after == ak.costs.costs(small.layout.full)["total_flops"]
    assert after < before / 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "OUT"], "give --keep IDS or --drop IDS"),
        (["--channels", "0.5", "--out", "OUT"], "--channels needs --data"),
        (["--keep", "0", "--out", SAVED], "would replace the detector itself"),
        (["--keep", "", "--out", "OUT"], "keeps no anchor"),
        (["--keep", "99", "--out", "OUT"], "unknown anchor 99"),
        (["--keep", "0", "--out", "OUT/small.onnx"], "is a saved detector; give a folder"),
    ],
)
def test_what_cannot_be_pruned_is_refused_in_a_line(
    command: Command, tmp_path: Path, arguments: list[Any], said: str
) -> None:
    arguments = [str(argument).replace("OUT", str(tmp_path / "out")) for argument in arguments]
    code, out, err = command("prune", SAVED, *arguments)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
