"""Pascal VOC xml folders: boxes, difficult objects, lists, layouts, and one clear line on what is broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anchorkit.datasets import load_dataset
from anchorkit.datasets.voc import VOC_CLASSES, read_voc_xml
from anchorkit.errors import InputError

from .samples import put_text, voc_object, voc_xml


def put_voc(root: Path, put_image, lists: dict[str, list[str]], classes: tuple[str, ...] = ("dog", "cat")) -> None:
    """JPEGImages, Annotations and ImageSets with the given lists; an image's pixels tell its position."""
    for position, name in enumerate(dict.fromkeys(name for names in lists.values() for name in names)):
        put_image(root / "JPEGImages" / f"{name}.jpg", value=position)
        put_text(
            root / "Annotations" / f"{name}.xml",
            voc_xml(voc_object(classes[position % len(classes)]), name=f"{name}.jpg"),
        )
    for word, names in lists.items():
        put_text(root / "ImageSets" / "Main" / f"{word}.txt", "".join(f"{name}\n" for name in names))


def files(split) -> list[str]:
    return [Path(entry["file_name"]).stem for entry in split.ground_truth["images"]]


# --------------------------------------------------------------------------------------------------------------- boxes


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 20), st.integers(1, 20))
def test_boxes_cover_the_pixels_that_voc_means(tmp_path: Path, xmin: int, ymin: int, width: int, height: int):
    xmax, ymax = xmin + width - 1, ymin + height - 1
    source = put_text(tmp_path / "a.xml", voc_xml(voc_object(box=(xmin, ymin, xmax, ymax))))
    x, y, w, h = (int(value) for value in read_voc_xml(source)[1][0]["bbox"])
    meant, read = np.zeros((60, 70), dtype=bool), np.zeros((60, 70), dtype=bool)
    for column in range(xmin, xmax + 1):  # pixels counted from 1, the last one included
        for row in range(ymin, ymax + 1):
            meant[row - 1, column - 1] = True
    read[y : y + h, x : x + w] = True
    assert np.array_equal(meant, read)


def test_float_coordinates(tmp_path: Path):
    source = put_text(tmp_path / "a.xml", voc_xml(voc_object(box=("45.70", " 2.5 ", "90.25", "1e1"))))
    assert read_voc_xml(source)[1][0]["bbox"] == pytest.approx([44.7, 1.5, 45.55, 8.5])


def test_difficult_objects_are_ignored_but_kept(tmp_path: Path, put_image):
    put_voc(tmp_path, put_image, {"train": ["a"], "val": ["b"]})
    objects = (
        voc_object(extra="<difficult>1</difficult>")
        + voc_object(extra="<difficult>0</difficult>")
        + voc_object()
        + voc_object(extra="<difficult/>")
    )
    put_text(tmp_path / "Annotations" / "a.xml", voc_xml(objects))
    split = load_dataset(tmp_path).train
    assert [a["difficult"] for a in split.ground_truth["annotations"]] == [1, 0, 0, 0]
    assert [a["iscrowd"] for a in split.ground_truth["annotations"]] == [1, 0, 0, 0]
    assert split.annotations(1).ignore.tolist() == [True, False, False, False]


def test_parts_of_objects_are_not_objects(tmp_path: Path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    source = put_text(tmp_path / "a.xml", voc_xml(voc_object("person", extra=part, box=(3, 4, 5, 6))))
    assert read_voc_xml(source)[1] == [{"name": "person", "bbox": [2.0, 3.0, 3.0, 3.0], "difficult": 0}]


def test_images_without_objects_are_kept(tmp_path: Path, put_image):
    put_voc(tmp_path, put_image, {"train": ["a", "b"], "val": ["c"]})
    put_text(tmp_path / "Annotations" / "b.xml", voc_xml())
    split = load_dataset(tmp_path).train
    assert len(split) == 2
    assert len(split.annotations(2)) == 0


# ------------------------------------------------------------------------------------------------------------- layouts


def test_lists_tell_the_splits(tmp_path: Path, put_image):
    put_voc(tmp_path, put_image, {"train": ["a", "b"], "val": ["c"], "trainval": ["a", "b", "c"], "test": ["d", "e"]})
    data = load_dataset(tmp_path)
    assert {name: files(split) for name, split in data.splits().items()} == {
        "train": ["a", "b"],
        "val": ["c"],
        "test": ["d", "e"],
    }
    assert [category.name for category in data.categories] == ["cat", "dog"]
    assert (data.test.image(2) == 4).all()


def test_trainval_is_parted(tmp_path: Path, put_image):
    put_voc(tmp_path, put_image, {"trainval": list("abcdefghij"), "test": ["z"]})
    with pytest.warns(UserWarning, match="8 to train on and 2 to validate on"):
        data = load_dataset(tmp_path)
    assert sorted(files(data.train) + files(data.val)) == list("abcdefghij")
    assert files(data.test) == ["z"]


def test_names_with_spaces_and_lists_of_a_class(tmp_path: Path, put_image):
    put_voc(tmp_path, put_image, {"train": ["my dog 1", "b"], "val": ["c"]})
    for text in ("my dog 1\n\nb\n", "my dog 1 -1\n\nb  1\n"):
        put_text(tmp_path / "ImageSets" / "Main" / "train.txt", text)
        assert files(load_dataset(tmp_path).train) == ["my dog 1", "b"]


def test_lists_of_single_classes_are_put_together(tmp_path: Path, put_image):
    put_voc(tmp_path, put_image, {"train": ["a", "b"], "val": ["c"], "test": ["d"]})
    lists = tmp_path / "ImageSets" / "Main"
    for path in list(lists.iterdir()):
        names = path.read_text().split()
        path.unlink()
        for klass in ("cat", "wild_dog"):
            put_text(
                lists / f"{klass}_{path.name}", "".join(f"{name} {-1 if klass == 'cat' else ' 1'}\n" for name in names)
            )
    data = load_dataset(tmp_path)
    assert {name: files(split) for name, split in data.splits().items()} == {
        "train": ["a", "b"],
        "val": ["c"],
        "test": ["d"],
    }


def test_without_lists_the_images_are_parted(tmp_path: Path, put_image):
    for position in range(5):
        put_image(tmp_path / "images" / f"{position}.png", value=position)
        put_text(tmp_path / "annotations" / f"{position}.xml", voc_xml(voc_object(), name=f"{position}.png"))
    with pytest.warns(UserWarning, match="4 to train on and 1"):
        data = load_dataset(tmp_path)
    for split in data.splits().values():
        for image_id, name in zip(split.image_ids, files(split), strict=True):
            assert (split.image(image_id) == int(name)).all()


@pytest.mark.parametrize("layout", ["{}", "{}/Annotations", "annotations/{}"])
def test_folders_tell_the_splits(tmp_path: Path, put_image, layout: str):
    for first, word in enumerate(("train", "valid", "test")):
        for position in range(2):
            value = 10 * first + position
            images = "images/{}" if layout.startswith("annotations") else "{}"
            put_image(tmp_path / images.format(word) / f"{position}.png", value=value)
            put_text(tmp_path / layout.format(word) / f"{position}.xml", voc_xml(voc_object(), name=f"{position}.png"))
    data = load_dataset(tmp_path)
    assert list(data.splits()) == ["train", "val", "test"]
    for first, split in enumerate(data.splits().values()):
        assert [int(split.image(image_id)[0, 0, 0]) for image_id in split.image_ids] == [10 * first, 10 * first + 1]


def test_the_file_name_in_the_xml_may_be_wrong(tmp_path: Path, put_image):
    put_voc(tmp_path, put_image, {"train": ["a", "b"], "val": ["c"]})
    put_text(tmp_path / "Annotations" / "b.xml", voc_xml(voc_object(), name="a.jpg"))  # a copy that was not edited
    assert files(load_dataset(tmp_path).train) == ["a", "b"]


def test_image_size_is_read_where_the_xml_has_none(tmp_path: Path, put_image):
    put_voc(tmp_path, put_image, {"train": ["a", "b"], "val": ["c"]})
    put_text(tmp_path / "Annotations" / "a.xml", voc_xml(voc_object(), size=None))
    put_text(tmp_path / "Annotations" / "b.xml", voc_xml(voc_object(), size=(0, 0)))
    split = load_dataset(tmp_path).train
    assert [split.image_size(image_id) for image_id in split.image_ids] == [(40, 60), (40, 60)]


# -------------------------------------------------------------------------------------------------------------- broken

BROKEN = {
    "cut off": (voc_xml(voc_object())[:70], "not valid xml, or cut off"),
    "empty": ("", "not valid xml"),
    "other xml": ("<?xml version='1.0'?><!-- <annotation> --><svg/>", "outermost tag is <svg>"),
    "no name": (voc_xml(voc_object().replace("<name>dog</name>", "")), "object 1 has no <name>"),
    "no box": (voc_xml(voc_object() + "<object><name>dog</name></object>"), "object 2 has no complete <bndbox>"),
    "box of text": (voc_xml(voc_object(box=("left", 1, 2, 3))), "xmin is 'left'"),
    "box nan": (voc_xml(voc_object(box=(1, "nan", 2, 3))), "ymin is 'nan'"),
    "box swapped": (voc_xml(voc_object(box=(20, 1, 10, 3))), "xmax < xmin"),
    "size of text": (voc_xml(voc_object()).replace("<width>60<", "<width>wide<"), "width is 'wide'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_xml_is_refused_in_one_line(tmp_path: Path, put_image, case: str):
    text, message = BROKEN[case]
    put_voc(tmp_path, put_image, {"train": ["a", "b"], "val": ["c"]})
    source = put_text(tmp_path / "Annotations" / "b.xml", text)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(tmp_path)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_listed_image_without_annotation_is_named(tmp_path: Path, put_image):
    put_voc(tmp_path, put_image, {"train": ["a", "b"], "val": ["c"]})
    (tmp_path / "Annotations" / "b.xml").unlink()
    with pytest.raises(InputError, match=r"b\.xml: no such file"):
        load_dataset(tmp_path)


def test_a_set_without_any_object_is_refused(tmp_path: Path):
    put_text(tmp_path / "Annotations" / "a.xml", voc_xml())
    with pytest.raises(InputError, match="no annotation has an object"):
        load_dataset(tmp_path)


# ------------------------------------------------------------------------------------------------------------- by name


@pytest.fixture
def devkit(tmp_path: Path, put_image) -> Path:
    base = tmp_path / "VOCdevkit"
    lists = {"train": ["000005"], "val": ["000007"], "trainval": ["000005", "000007"], "test": ["000001", "000002"]}
    put_voc(base / "VOC2007", put_image, lists, classes=("dog", "person"))
    lists = {"train": ["2008_000002"], "val": ["2008_000003"], "trainval": ["2008_000002", "2008_000003"]}
    put_voc(base / "VOC2012", put_image, lists, classes=("sofa",))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("voc2007", {"train": ["000005"], "val": ["000007"], "test": ["000001", "000002"]}),
        ("voc2012", {"train": ["2008_000002"], "val": ["2008_000003"]}),
        (
            "voc",
            {
                "train": ["000005", "000007", "2008_000002", "2008_000003"],
                "val": ["000001", "000002"],
                "test": ["000001", "000002"],
            },
        ),
    ],
)
def test_official_layout(devkit: Path, name: str, expected: dict[str, list[str]]):
    for root in (devkit, devkit / "VOCdevkit"):
        data = load_dataset(name, root=root)
        assert data.name == name
        assert {split: files(part) for split, part in data.splits().items()} == expected
        assert tuple(category.name for category in data.categories) == VOC_CLASSES
        assert data.train.image(1).shape == (40, 60, 3)


@pytest.mark.parametrize("missing", ["ImageSets/Main/test.txt", "Annotations/000002.xml"])
def test_official_layout_tells_what_is_missing_and_where_to_get_it(devkit: Path, missing: str):
    path = devkit / "VOCdevkit" / "VOC2007" / missing
    path.unlink()
    with pytest.raises(InputError, match="'annotated test data' downloads at host.robots.ox.ac.uk") as caught:
        load_dataset("voc2007", root=devkit)
    assert str(path) in str(caught.value)


def test_official_names_are_checked(devkit: Path):
    put_text(devkit / "VOCdevkit" / "VOC2007" / "Annotations" / "000005.xml", voc_xml(voc_object("unicorn")))
    with pytest.raises(InputError, match="'unicorn' is none of the 20 VOC classes"):
        load_dataset("voc2007", root=devkit)
