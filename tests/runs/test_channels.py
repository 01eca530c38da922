"""The channel-pruned detectors of a run: made once, made again when something changed, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import anchorkit as ak
from anchorkit.files import read_json
from anchorkit.runs.channels import ChannelRun, channel_folder, check_ratios, note_figures


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.getbasetemp() / "channel-cache"))


@pytest.mark.usefixtures("cache")
def test_a_detector_is_made_once_and_again_with_another_score(tmp_path: Path) -> None:
    work = ChannelRun(tmp_path, "l1", images=4, drawn=6)
    first = work.evaluator(0.2)
    weights = channel_folder(tmp_path, 0.2) / "detector" / "model.safetensors"
    made = weights.stat().st_mtime_ns
    again = ChannelRun(tmp_path, "l1", images=4, drawn=6)
    assert again.evaluator(0.2).fingerprint == first.fingerprint
    assert weights.stat().st_mtime_ns == made
    assert "statistics" not in vars(again)  # no image was looked at
    other = ChannelRun(tmp_path, "random", images=4, drawn=6)
    assert other.evaluator(0.2).fingerprint != first.fingerprint  # the old predictions are not taken for its own
    assert read_json(channel_folder(tmp_path, 0.2) / "pruning.json")["importance"] == "random"
    whole = other.evaluator(0.0)
    assert whole.layout == ak.load_detector("tiny_ssd", weights="shapes").layout
    assert not (tmp_path / "predictions.parquet").exists()  # it is lesson 2's


@pytest.mark.usefixtures("cache")
def test_what_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    (tmp_path / "detector").mkdir()
    (tmp_path / "detector" / "model.onnx").write_bytes(b"")
    with pytest.raises(ak.InputError, match="only an ONNX file cannot be removed"):
        _ = ChannelRun(tmp_path).detector
    (tmp_path / "detector" / "model.onnx").unlink()
    (tmp_path / "predictions.parquet").write_bytes(b"")
    with pytest.raises(ak.InputError, match="run the notebook 02_detector first"):
        _ = ChannelRun(tmp_path, drawn=1, images=1).detector


def test_ratios_and_figures(tmp_path: Path) -> None:
    assert check_ratios([0.3, 0.1, 0.3, 0]) == [0.0, 0.1, 0.3]
    for wrong in (-0.1, 1.0):
        with pytest.raises(ak.InputError, match=f"channel ratio {wrong}"):
            check_ratios([0.1, wrong])
    note_figures(tmp_path, {"a": 1})
    note_figures(tmp_path, {"b": 0.5, "a": 2})
    assert read_json(tmp_path / "figures.json") == {"a": 2.0, "b": 0.5}
