"""Detectors by name and by folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from anchorkit.detectors import Detector, layout_of, list_detectors, load_detector, prune, save_detector
from anchorkit.errors import InputError


@pytest.fixture
def saved(detector: Detector, tmp_path: Path) -> Path:
    return save_detector(detector, tmp_path / "saved detector")


def test_saved_and_loaded_is_the_same(detector: Detector, saved: Path, images: list[np.ndarray]) -> None:
    loaded = load_detector(saved)
    assert loaded.layout == detector.layout
    assert loaded.categories == detector.categories
    assert loaded.postprocess == detector.postprocess
    for ours, theirs in zip(loaded.raw_predictions(images), detector.raw_predictions(images), strict=True):
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)
        np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_a_pruned_detector_is_saved_and_loaded(detector: Detector, tmp_path: Path, images: list[np.ndarray]) -> None:
    small = prune(detector, detector.layout.configuration(keep=[5, 6, 12]))
    loaded = load_detector(save_detector(small, tmp_path / "small"))
    assert loaded.layout == small.layout
    np.testing.assert_array_equal(loaded.raw_predictions(images)[0].scores, small.raw_predictions(images)[0].scores)


def test_a_saved_folder_holds_no_pickle(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["detector.json", "model.safetensors"]


def test_weights_may_be_a_folder(saved: Path, detector: Detector) -> None:
    assert load_detector("tiny_ssd", weights=saved).layout == detector.layout


def test_fresh_weights_are_repeatable() -> None:
    first, second = (load_detector("tiny_ssd", categories=2, seed=5).module.state_dict() for _ in range(2))
    other = load_detector("tiny_ssd", categories=2, seed=6).module.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_layout_of_counts_classes_and_size() -> None:
    layout = layout_of("tiny_ssd", 80, (128, 128))
    assert layout.input_size == (128, 128)
    assert layout.levels[0].head_macs_per_anchor == 9 * 64 * (81 + 4)
    assert "tiny_ssd" in list_detectors()


def test_unknown_name() -> None:
    with pytest.raises(InputError, match="unknown detector 'tiny_sdd': use tiny_ssd"):
        load_detector("tiny_sdd")


def test_unknown_weights() -> None:
    with pytest.raises(InputError, match="unknown weights 'nothing'"):
        load_detector("tiny_ssd", weights="nothing")


def test_fresh_weights_need_categories() -> None:
    with pytest.raises(InputError, match="need categories"):
        load_detector("tiny_ssd")


def test_fresh_weights_with_a_seed_leave_torchs_own_draws_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_detector("tiny_ssd", categories=1, size=(96, 96), seed=5)
    assert torch.equal(torch.rand(1), expected)


def test_options_are_kept_with_a_saved_detector(tmp_path: Path) -> None:
    narrow = load_detector("ssd300_vgg16", categories=2, width=1 / 64, batch_norm=True, shapes=[[(30, 30)]], seed=0)
    again = load_detector(save_detector(narrow, tmp_path / "narrow"))
    assert again.options == narrow.options == {"width": 1 / 64, "batch_norm": True}
    assert again.layout == narrow.layout


def test_what_comes_with_the_weights_may_not_be_given(saved: Path) -> None:
    with pytest.raises(InputError, match=r"categories, size, shapes and options come with .*saved detector; leave"):
        load_detector("tiny_ssd", weights=saved, categories=2)
    with pytest.raises(InputError, match="saved detector is a saved detector, which brings everything"):
        load_detector(saved, size=(160, 160))
    with pytest.raises(InputError, match="saved detector is a saved detector, which brings everything"):
        load_detector(saved, categorys=2)
    with pytest.raises(InputError, match="these are weights of tiny_ssd, not of ssd300_vgg16"):
        load_detector("ssd300_vgg16", weights=saved)


def test_an_unknown_option() -> None:
    with pytest.raises(InputError, match="tiny_ssd has no option 'classes'; known: channels"):
        load_detector("tiny_ssd", classes=3)


@pytest.mark.parametrize("size", [(32, 160), (160, 4000)])
def test_a_size_the_trunk_cannot_take(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"input size {size[0]}x{size[1]}"):
        load_detector("tiny_ssd", categories=1, size=size)


def test_cut_off_weights(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"model\.safetensors: not a whole safetensors file"):
        load_detector(saved)


def test_weights_of_another_class_count(saved: Path, tmp_path: Path) -> None:
    facts = json.loads((saved / "detector.json").read_text())
    facts["categories"].append({"id": 9, "name": "bird"})
    (saved / "detector.json").write_text(json.dumps(facts))
    message = r"classification\.levels\.0\.weight has shape \(12, 64, 3, 3\).* needs \(16, 64, 3, 3\)"
    with pytest.raises(InputError, match=message):
        load_detector(saved)


def test_a_missing_key(saved: Path) -> None:
    facts = json.loads((saved / "detector.json").read_text())
    del facts["layout"]["levels"]
    (saved / "detector.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"detector\.json: the layout lacks 'levels'"):
        load_detector(saved)


def test_another_version(saved: Path) -> None:
    facts = json.loads((saved / "detector.json").read_text())
    (saved / "detector.json").write_text(json.dumps(facts | {"version": 99}))
    with pytest.raises(InputError, match="version 1"):
        load_detector(saved)
