"""What loading a data set says of boxes, classes and pictures that cannot be right, and that it says nothing else."""

from __future__ import annotations

import copy
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from anchorkit.datasets import Dataset, Split, copies, load_dataset
from anchorkit.datasets.pictures import _copies, _Files, _many
from anchorkit.datasets.plausibility import check_boxes, check_dataset
from anchorkit.errors import InputError
from anchorkit.findings import ImplausibleDataError, ImplausibleDataWarning

from .samples import put_json, put_text, voc_object, voc_xml

WIDTH, HEIGHT = 120, 80


def truth(images: int = 8, first: int = 1, seed: int = 0) -> dict[str, Any]:
    """Images of 120x80 with three boxes each, of two classes."""
    random = np.random.default_rng([seed, first])
    annotations = []
    for image in range(first, first + images):
        for _ in range(3):
            w, h = random.uniform(10, 40, 2)
            x, y = random.uniform(0, WIDTH - w), random.uniform(0, HEIGHT - h)
            number = 1 + len(annotations)
            box = [round(float(side), 2) for side in (x, y, w, h)]
            annotations.append(
                {"id": number, "image_id": image, "category_id": 1 + number % 2, "bbox": box, "area": box[2] * box[3]}
            )
    return {
        "images": [
            {"id": n, "file_name": f"{n:03d}.png", "width": WIDTH, "height": HEIGHT}
            for n in range(first, first + images)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}],
    }


def write(root: Path, put_image: Callable[..., None], **splits: dict[str, Any]) -> Path:
    """The splits as COCO json, with the image files that they name."""
    for name, data in splits.items():
        put_json(root / "annotations" / f"instances_{name}.json", data)
        for value, entry in enumerate(data["images"]):
            if not (root / name / entry["file_name"]).exists():
                put_image(root / name / entry["file_name"], (HEIGHT, WIDTH), value)
    return root


def loaded(root: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_dataset(root)


def names(data: Dataset) -> list[str]:
    return [finding.name for finding in data.findings]


def with_boxes(data: dict[str, Any], change: Callable[[list[float]], list[float]]) -> dict[str, Any]:
    data = copy.deepcopy(data)
    for annotation in data["annotations"]:
        annotation["bbox"] = change(annotation["bbox"])
    return data


def test_plain_data_have_no_finding_and_load_without_a_warning(tmp_path, put_image):
    root = write(tmp_path, put_image, train=truth(), val=truth(4, 100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_dataset(root).findings == ()


@pytest.mark.parametrize("val", [True, False], ids=["all splits", "one split"])
def test_normalised_boxes_are_refused(tmp_path, put_image, val):
    def normalise(box: list[float]) -> list[float]:
        return [box[0] / WIDTH, box[1] / HEIGHT, box[2] / WIDTH, box[3] / HEIGHT]

    own = with_boxes(truth(), normalise)
    # A box around the whole image looks like whole pixels.
    own["annotations"][0]["bbox"] = [0.0, 0.0, 1.0, 1.0]
    root = write(tmp_path, put_image, train=own, val=with_boxes(truth(4, 100), normalise) if val else truth(4, 100))
    with pytest.raises(ImplausibleDataError, match="look normalised.*multiply x and width by") as error:
        load_dataset(root)
    assert "\n" not in str(error.value)
    assert {finding.name for finding in error.value.findings} == {"normalised_boxes"}
    assert error.value.findings[0].count == 24


@pytest.mark.filterwarnings("ignore:.*no validation split")
def test_normalised_boxes_of_voc_are_refused(tmp_path, put_image):
    for number in range(4):
        box = (0.1, 0.2, 0.1 * number + 0.3, 0.75)
        put_text(tmp_path / "Annotations" / f"{number}.xml", voc_xml(voc_object("bolt", box), f"{number}.jpg"))
        put_image(tmp_path / "JPEGImages" / f"{number}.jpg")
    with pytest.raises(InputError, match="look normalised"):
        load_dataset(tmp_path)


def test_some_normalised_boxes_are_a_warning(tmp_path, put_image):
    own = truth()
    for annotation in own["annotations"][:6]:
        annotation["bbox"] = [side / WIDTH for side in annotation["bbox"]]
    root = write(tmp_path, put_image, train=own, val=truth(4, 100))
    with pytest.warns(ImplausibleDataWarning, match="6 of 24 boxes lie within 0..1") as caught:
        data = load_dataset(root)
    assert names(data) == ["normalised_boxes"]
    box = [round(side, 4) for side in own["annotations"][0]["bbox"]]
    assert data.findings[0].example == {"file": "001.png", "id": 1, "value": box}
    assert [Path(warning.filename).name for warning in caught] == ["test_plausibility.py"]


def test_boxes_all_below_a_pixel_are_refused_wherever_they_lie():
    boxes = np.column_stack([np.linspace(0, 90, 10), np.linspace(0, 60, 10), np.full(10, 0.3), np.full(10, 0.4)])
    [finding] = check_boxes("a", boxes, np.full((10, 2), 100.0), list(range(10)))
    assert (finding.name, finding.severity, finding.count) == ("boxes_below_a_pixel", "refused", 10)
    boxes[3, 2] = 5
    assert check_boxes("a", boxes, np.full((10, 2), 100.0), list(range(10))) == []


def test_corners_in_place_of_sides(tmp_path, put_image):
    own = with_boxes(truth(), lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
    data = loaded(write(tmp_path, put_image, train=own, val=truth(4, 100)))
    assert names(data) == ["corner_boxes"]
    assert "x1 y1 x2 y2" in str(data.findings[0])
    assert "x2 - x1" in data.findings[0].mend


def test_boxes_outside_their_image(tmp_path, put_image):
    own = truth()
    own["annotations"][4]["bbox"] = [100.0, 10.0, 40.0, 20.0]
    own["annotations"][5]["bbox"] = [118.0, 10.0, 3.0, 20.0]  # a pixel too far: tools round
    data = loaded(write(tmp_path, put_image, train=own, val=truth(4, 100)))
    assert [(f.name, f.count, f.example["id"]) for f in data.findings] == [("boxes_outside_image", 1, 5)]


def test_exchanged_axes_are_named_as_the_way_to_mend():
    random = np.random.default_rng(0)
    sides = random.uniform(10, 30, (40, 2))
    boxes = np.concatenate([random.uniform(0, [200, 60], (40, 2)), sides], axis=1)
    sizes = np.tile([240.0, 100.0], (40, 1))
    assert check_boxes("a", boxes, sizes, list(range(40))) == []
    [finding] = check_boxes("a", boxes[:, [1, 0, 3, 2]], sizes, list(range(40)))
    assert finding.name == "boxes_outside_image"
    assert finding.mend == "exchange x with y and width with height"


def test_boxes_of_a_smaller_picture():
    random = np.random.default_rng(0)
    sides = random.uniform(10, 30, (40, 2))
    boxes = np.concatenate([random.uniform(0, [200, 60], (40, 2)), sides], axis=1)
    sizes = np.tile([240.0, 100.0], (40, 1))
    [finding] = check_boxes("a", boxes / 2, sizes, list(range(40)))
    assert finding.name == "boxes_scaled_down"
    assert check_boxes("a", boxes[:10] / 2, sizes[:10], list(range(10))) == []  # so few may all lie in a corner


def test_a_picture_listed_twice(tmp_path, put_image):
    own = truth()
    for entry in copy.deepcopy(own["images"][:5]):
        own["images"].append(entry | {"id": entry["id"] + 1000})
    data = loaded(write(tmp_path, put_image, train=own, val=truth(4, 100)))
    assert [(f.name, f.count) for f in data.findings] == [("listed_twice", 5)]
    assert data.findings[0].example == {"file": "001.png", "id": 1001, "value": "the same as id 1"}


def test_two_names_of_one_file(tmp_path, put_image):
    root = write(tmp_path, put_image, train=truth(), val=truth(4, 100))
    for number in (2, 3):
        (root / "train" / f"{number:03d}.png").unlink()
        os.symlink(root / "train" / "001.png", root / "train" / f"{number:03d}.png")
    data = loaded(root)
    assert [(f.name, f.count) for f in data.findings] == [("one_file_for_two_images", 2)]
    assert "same file as 001.png" in str(data.findings[0])


def test_names_that_lead_to_one_file_only_by_their_end():
    class Reader:
        ambiguous: ClassVar = {"cam0/1.png": "cam1/1.png", "cam1/1.png": "cam0/1.png"}

        def find(self, name: str) -> None:
            return None

        def __call__(self, entry: Any) -> Any:
            raise AssertionError("no image is needed")

    own = truth(4)
    own["images"][0]["file_name"], own["images"][1]["file_name"] = "cam0/1.png", "cam1/1.png"
    whole = Split("train", own, Reader())
    [finding] = check_dataset(Dataset("cameras", whole, whole.only(set(), "val")))
    assert (finding.name, finding.count) == ("one_file_for_two_images", 2)
    assert finding.example == {"file": "cam0/1.png", "id": 1, "value": "the same file as cam1/1.png"}


def test_a_picture_in_two_splits(tmp_path, put_image):
    root = write(tmp_path, put_image, train=truth(), val=truth(4, 100))
    for number in (100, 101, 102):
        (root / "val" / f"{number:03d}.png").unlink()
        os.symlink(root / "train" / f"{number - 99:03d}.png", root / "val" / f"{number:03d}.png")
    data = loaded(root)
    assert [(f.name, f.count, f.example["id"]) for f in data.findings] == [("same_file_in_two_splits", 3, 100)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A data set of ten pictures to train on and four to validate on, all different and of one size in bytes."""
    for name, data in (("train", truth(10)), ("val", truth(4, 100))):
        put_json(tmp_path / "annotations" / f"instances_{name}.json", data)
        (tmp_path / name).mkdir()
        for entry in data["images"]:
            pixels = np.random.default_rng(entry["id"]).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / entry["file_name"], compress_level=0)
    assert len({path.stat().st_size for path in tmp_path.rglob("*.png")}) == 1
    return tmp_path


def test_copies_of_a_picture_under_another_name(pictures: Path) -> None:
    assert loaded(pictures).findings == ()
    shutil.copy(pictures / "train" / "001.png", pictures / "train" / "003.png")
    shutil.copy(pictures / "train" / "001.png", pictures / "train" / "004.png")
    shutil.copy(pictures / "train" / "002.png", pictures / "val" / "100.png")
    within, across = loaded(pictures).findings
    assert (within.name, within.count, within.example["id"]) == ("same_picture_in_two_files", 2, 3)
    assert within.example["value"] == f"the same picture as {pictures / 'train' / '001.png'}"
    assert (across.name, across.count, across.example["id"]) == ("same_picture_in_two_splits", 1, 100)
    assert across.example["file"] == str(pictures / "val" / "100.png")
    assert "1 pictures of val are copies of some in train" in across.what


def test_a_single_copy_among_many_pictures_is_passed_over(pictures: Path) -> None:
    shutil.copy(pictures / "train" / "001.png", pictures / "train" / "003.png")
    few = _Files.of(loaded(pictures).train)
    many = _Files({**few.paths, **{n: pictures / f"{n}" for n in range(50, 300)}}, few.numbers)
    assert [finding.name for finding in _copies("few", {"train": few})] == ["same_picture_in_two_files"]
    assert _many([(3, 1)], few)
    assert not _many([(3, 1)], many)
    assert _many([(3, 1), (4, 1)], many)


def test_only_files_of_equal_size_are_opened(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted((pictures / "train").iterdir())
    for number, file in enumerate(files):
        file.write_bytes(file.read_bytes() + bytes(number))  # a PNG may have bytes behind its end
    monkeypatch.setattr(copies, "_middle", lambda path: pytest.fail(f"{path} was opened"))
    assert copies.first_of_same(files) == {}


def test_pictures_of_one_colour_are_no_copies(tmp_path: Path, put_image: Callable[..., None]) -> None:
    for name in "ab":
        put_image(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.jpg").write_bytes(b"no picture")
    assert copies.first_of_same(sorted(tmp_path.iterdir())) == {}


def test_copies_go_to_one_side_of_the_own_split(pictures: Path) -> None:
    shutil.rmtree(pictures / "val")
    (pictures / "annotations" / "instances_val.json").unlink()
    train = sorted((pictures / "train").iterdir())
    before = set(loaded(pictures).val.image_ids)
    for first, second in zip(train[:5], train[5:], strict=True):
        shutil.copy(first, second)
    data = loaded(pictures)
    assert len(before) == 2
    assert len(data.val) == 2
    [first, second] = data.val.image_ids
    assert second == first + 5
    assert {finding.name for finding in data.findings} == {"same_picture_in_two_files"}


def test_a_split_without_a_box(tmp_path, put_image):
    data = loaded(write(tmp_path, put_image, train=truth(), val=truth(4, 100) | {"annotations": []}))
    assert [(f.name, f.count, f.example["id"]) for f in data.findings] == [("split_without_boxes", 4, 100)]


@pytest.mark.parametrize(
    ("read_as", "name", "said"),
    [
        (lambda x, y, w, h: [x + w / 2, y + h / 2, w, h], "boxes_outside_image", "look like the box's centre"),
        (lambda x, y, w, h: [x / 120, y / 80, (x + w) / 120, (y + h) / 80], "normalised_boxes", "they look normalised"),
    ],
)
def test_boxes_that_begin_elsewhere(read_as, name, said):
    boxes = np.array([annotation["bbox"] for annotation in truth(20)["annotations"]])
    boxes[:10, :2] = [120, 80] - boxes[:10, 2:]  # some end where their image ends
    changed = np.array([read_as(*box) for box in boxes])
    [finding] = check_boxes("a", changed, np.tile([120.0, 80.0], (len(boxes), 1)), range(len(boxes)))
    assert finding.name == name
    assert said in str(finding)


def test_a_root_category_is_left_out_of_all_splits(tmp_path, put_image):
    parts = {}
    for name, first in (("train", 1), ("val", 100)):
        parts[name] = truth(4, first)
        for entry in parts[name]["categories"]:
            entry["supercategory"] = "parts"
        parts[name]["categories"].insert(0, {"id": 0, "name": "parts", "supercategory": "none"})
    data = loaded(write(tmp_path, put_image, **parts))
    assert names(data) == ["root_category"]
    assert "left out 'parts'" in str(data.findings[0])
    assert [category.name for category in data.categories] == ["bolt", "nut"]
    for split in data.splits().values():
        assert [category.name for category in split.categories] == ["bolt", "nut"]
        assert [entry["id"] for entry in split.ground_truth["categories"]] == [1, 2]


def test_a_class_that_is_its_own_supercategory_stays(tmp_path, put_image):
    own, val = truth(), truth(4, 100)
    for part in (own, val):
        part["categories"] += [{"id": 3, "name": "person", "supercategory": "person"}]
    data = loaded(write(tmp_path, put_image, train=own, val=val))
    assert len(data.categories) == 3
    # It has no box, which is said.
    assert [(f.name, f.count, f.example) for f in data.findings] == [
        ("categories_without_boxes", 1, {"id": 3, "value": "person"})
    ]


def test_a_parent_with_boxes_of_its_own_stays(tmp_path, put_image):
    own, val = truth(), truth(4, 100)
    for part in (own, val):
        part["categories"][1]["supercategory"] = "bolt"
    data = loaded(write(tmp_path, put_image, train=own, val=val))
    assert data.findings == ()
    assert len(data.categories) == 2


@pytest.mark.parametrize("other", ["BOLT", "bolt ", "Bo lt", "bolt"])
def test_names_that_differ_in_case_or_spaces(tmp_path, put_image, other):
    own, val = truth(), truth(4, 100)
    for part in (own, val):
        part["categories"][1]["name"] = other
    data = loaded(write(tmp_path, put_image, train=own, val=val))
    assert names(data) == ["categories_differ_in_spelling"]
    assert "'bolt' (18 boxes)" in str(data.findings[0])
    assert len(data.categories) == 2  # kept apart: they may be different


def turned_jpeg(path: Path, size: tuple[int, int], orientation: int) -> None:
    """A JPEG of (height, width) as stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path, exif=exif)


def test_pictures_with_an_exif_turn_are_counted(tmp_path, put_image):
    own, val = truth(), truth(4, 100)
    for entry, orientation in zip(own["images"], (6, 8, 3, 6, 1, 1, 1, 1), strict=True):
        entry["file_name"] = f"{entry['id']}.jpg"
        # The first two are annotated as they are shown, the fourth as it is stored.
        stored = (WIDTH, HEIGHT) if entry["id"] < 3 else (HEIGHT, WIDTH)
        turned_jpeg(tmp_path / "train" / entry["file_name"], stored, orientation)
    data = loaded(write(tmp_path, put_image, train=own, val=val))
    assert [(f.name, f.count) for f in data.findings] == [("exif_turn", 4)]
    assert "2 are read turned" in str(data.findings[0])
    assert "2 as stored" in str(data.findings[0])
    assert data.findings[0].example["value"] == "orientation 6"


def test_limited_data_keep_their_findings(tmp_path, put_image):
    own = truth()
    own["annotations"][4]["bbox"] = [100.0, 10.0, 40.0, 20.0]
    data = loaded(write(tmp_path, put_image, train=own, val=truth(4, 100)))
    assert data.limited(train=2).findings == data.findings != ()


def test_nothing_is_found_in_shapes(tmp_path):
    data = load_dataset("shapes", train=40, val=20, test=20, cache=tmp_path, progress=False)
    assert check_dataset(data) == ()


@pytest.mark.real
@pytest.mark.parametrize("name", ["bccd", "neu_det", "coco_subset"])
@pytest.mark.filterwarnings("ignore:.*206 of 206 images are not found")  # they were not kept
def test_nothing_is_found_in_real_data(real_data, name):
    if not (real_data / name).is_dir():
        pytest.skip(f"no {name}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ImplausibleDataWarning)
        assert load_dataset(real_data / name).findings == ()
