"""Splits, images of every kind, subsets and fingerprints."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anchorkit.datasets.base import Dataset, Split, seeded_split
from anchorkit.datasets.coco import normalise
from anchorkit.datasets.images import FolderImages, decode_image
from anchorkit.errors import InputError

from .samples import coco_dict


def split_of(count: int = 6, folder: Path = Path()) -> Split:
    return Split("train", normalise(coco_dict(count), "x.json"), FolderImages((folder,)))


PIXELS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_images_of_every_mode_become_rgb(tmp_path: Path, mode: str):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        image = Image.fromarray((PIXELS[:, :, 0].astype(np.uint16)) * 257)
    else:
        image = Image.fromarray(PIXELS).convert(mode)
    image.save(path)
    found = decode_image(path, "a")
    assert found.dtype == np.uint8
    assert found.shape == (5, 7, 3)
    if mode in ("RGB", "RGBA", "CMYK"):
        assert np.array_equal(found, PIXELS)
    elif mode == "I;16":
        assert np.array_equal(found, np.repeat(PIXELS[:, :, :1], 3, axis=2))
    else:
        assert np.array_equal(found, np.asarray(image.convert("RGB")))


def test_exif_orientation_is_not_applied(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=exif)
    assert decode_image(tmp_path / "a.jpg", "a").shape == (5, 7, 3)


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "folder"])
def test_images_that_cannot_be_decoded_are_named(tmp_path: Path, damage: str):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"cut": data[: len(data) // 2], "text": b"not an image", "empty": b""}[damage])
    with pytest.raises(InputError, match="cannot be decoded") as caught:
        decode_image(path, str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_image_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="b.png: no such image"):
        decode_image(tmp_path / "b.png", "b.png")


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path: Path, put_image):
    put_image(tmp_path / "001.png", size=(41, 60))
    with pytest.raises(InputError, match="the image is 60x41 but the annotations say 60x40"):
        split_of(folder=tmp_path).image(1)


def test_unknown_image_is_refused():
    for ask in (split_of().image, split_of().image_size, split_of().annotations):
        with pytest.raises(InputError, match="image 77 is not in the train split"):
            ask(77)


def test_annotations_are_edges_in_pixels():
    found = split_of().annotations(2)
    assert found.boxes.tolist() == [[5, 6, 25, 16]]
    assert found.category_ids.tolist() == [3]
    assert found.ignore.tolist() == [False]
    assert split_of().image_size(2) == (40, 60)


@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 3))
def test_subset_keeps_the_order_and_the_annotations(count: int, n: int, seed: int):
    whole = split_of(count)
    part = whole.subset(n, seed)
    assert len(part) == min(n, count)
    assert list(part.image_ids) == sorted(part.image_ids)
    assert set(part.image_ids) <= set(whole.image_ids)
    assert [a["image_id"] for a in part.ground_truth["annotations"]] == list(part.image_ids)
    assert part.image_ids == whole.subset(n, seed).image_ids
    assert part.categories == whole.categories


def test_subset_of_nothing_is_refused():
    with pytest.raises(InputError, match="at least 1"):
        split_of().subset(0)


@given(st.integers(2, 40))
def test_seeded_split_parts_the_images(count: int):
    train, val = seeded_split(split_of(count))
    assert sorted(train.image_ids + val.image_ids) == list(range(1, count + 1))
    assert min(len(train), len(val)) >= 1
    assert abs(len(train) - 0.8 * count) <= 1


def test_one_image_cannot_be_parted():
    with pytest.raises(InputError, match="at least 2"):
        seeded_split(split_of(1))


def test_fingerprint_tells_annotations_apart():
    first = Dataset("a", split_of(), split_of())
    assert first.fingerprint() == Dataset("b", split_of(), split_of()).fingerprint()
    moved = split_of()
    moved.ground_truth["annotations"][0]["bbox"][0] += 1
    assert first.fingerprint() != Dataset("a", split_of(), moved).fingerprint()
    assert first.fingerprint() != Dataset("a", split_of(), split_of(), split_of()).fingerprint()


def test_splits_travel_to_other_processes(tmp_path: Path, put_image):
    put_image(tmp_path / "001.png", value=9)
    again = pickle.loads(pickle.dumps(split_of(folder=tmp_path)))
    assert (again.image(1) == 9).all()


def test_a_limited_data_set_has_fewer_images():
    data = Dataset("all", split_of(6), split_of(4), split_of(3))
    small = data.limited(train=2, val=9)
    assert {name: len(split) for name, split in small.splits().items()} == {"train": 2, "val": 4, "test": 3}
    assert set(small.train.image_ids) < set(data.train.image_ids)
    assert small.fingerprint() != data.fingerprint()
    assert data.limited().fingerprint() == data.fingerprint()
    assert Dataset("no test", split_of(6), split_of(4)).limited(test=1).test is None
