"""What the lessons hand to one another."""

from pathlib import Path

import pytest
from PIL import Image

from anchorkit.errors import InputError
from anchorkit.runs.folder import choose_data, left_by_earlier, load_data, training_folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCHORKIT_CACHE", str(tmp_path / "cache"))


def test_later_lessons_take_the_data_that_was_chosen(tmp_path: Path) -> None:
    chosen = choose_data(tmp_path, "shapes", train_images=3, val_images=2, test_images=2)
    assert load_data(tmp_path).fingerprint() == chosen.fingerprint()


def test_a_missing_file_names_the_notebook_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"predictions\.parquet: not there yet; run the notebook 02_detector first"):
        left_by_earlier(tmp_path, "predictions.parquet")
    with pytest.raises(InputError, match="run the notebook 01_data first"):
        load_data(tmp_path)


def test_other_data_in_a_run_with_predictions_is_refused(tmp_path: Path) -> None:
    choose_data(tmp_path, "shapes", train_images=3, val_images=2, test_images=2)
    choose_data(tmp_path, "shapes", train_images=2, val_images=2, test_images=2)  # nothing was made of it yet
    (tmp_path / "predictions.parquet").touch()
    with pytest.raises(InputError, match="made on other data"):
        choose_data(tmp_path, "shapes", train_images=3, val_images=2, test_images=2)


def test_another_beginning_is_another_training(tmp_path: Path) -> None:
    folder = training_folder(tmp_path, "weights", 4, ("L0/8x8",))
    assert folder.parent == tmp_path
    assert folder == training_folder(str(tmp_path), "weights", 4, ["L0/8x8"])
    others = {training_folder(tmp_path, *facts) for facts in (("weights", 5, ["L0/8x8"]), ("fresh", 4, ["L0/8x8"]))}
    assert folder not in others
    assert len(others) == 2


def test_a_data_yaml_is_noted_and_broken_images_are_counted_first(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number in range(3):
            place = tmp_path / "parts" / "images" / split
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (60, 40)).save(place / f"{number}.png")
            (tmp_path / "parts" / "labels" / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "parts" / "labels" / split / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    described = tmp_path / "parts" / "data.yaml"
    described.write_text("train: images/train\nval: images/val\nnames: [bolt]\n")
    chosen = choose_data(tmp_path / "run", str(described))
    assert load_data(tmp_path / "run").fingerprint() == chosen.fingerprint()
    for number in (0, 2):
        path = tmp_path / "parts" / "images" / "val" / f"{number}.png"
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="val: 2 of 3 images cannot be decoded"):
        choose_data(tmp_path / "other", str(described))
    assert not (tmp_path / "other" / "data.json").exists()
