"""YOLO txt data sets: every layout gives the ground truth of the COCO set that it was made from."""

from __future__ import annotations

import io
import json
import os
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from anchorkit.datasets import load_dataset
from anchorkit.errors import InputError

from .samples import put_text
from .small_set import NAMES, PICTURES, Picture, assert_parted, assert_same, pictures, put_picture

ALL = {split: pictures(split) for split in ("train", "val", "test")}
NO_TEST = {split: pictures(split) for split in ("train", "val")}
LIST = "names: [bolt, no, nut]\n"
DICT = "names:\n  0: bolt\n  1: no\n  2: nut\n"


def lines(picture: Picture, form: str = "{:.8f}") -> str:
    """The label file of a picture."""
    height, width = picture.size
    text = ""
    for label, (x, y, w, h) in picture.objects:
        shares = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
        text += f"{NAMES.index(label)} {' '.join(form.format(share) for share in shares)}\n"
    return text


def polygons(picture: Picture) -> str:
    height, width = picture.size
    text = ""
    for label, (x, y, w, h) in picture.objects:
        corners = [(x, y + h / 3), (x + w / 2, y), (x + w, y + h / 2), (x + w / 4, y + h)]
        text += f"{NAMES.index(label)} {' '.join(f'{a / width:.9f} {b / height:.9f}' for a, b in corners)}\n"
    return text


def put(
    root: Path, some: tuple[Picture, ...], images: str, labels: str, text: Callable[[Picture], str] = lines
) -> None:
    """Images as root/images/NAME.png and labels as root/labels/NAME.txt; no file for a background image of value 20."""
    for picture in some:
        put_picture(root / images.format(picture.split) / f"{picture.stem}.png", picture)
        if picture.objects or picture.value != 20:
            put_text(root / labels.format(picture.split) / f"{picture.stem}.txt", text(picture))


def by_split(root: Path, yaml: str, **options) -> Path:
    put(root, PICTURES, "images/{}", "labels/{}", **options)
    put_text(root / "data.yaml", yaml)
    return root


def ultralytics(root: Path) -> Path:
    return by_split(root, "path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnc: 3\n" + LIST)


def named_yaml(root: Path) -> Path:
    put(root, PICTURES, "images/{}", "labels/{}")
    put_text(root / "mkdocs.yml", "site_name: x\nnav: [a, b]\n")
    return put_text(root / "parts.yaml", "train: images/train\nval: images/val\ntest: images/test\n" + DICT)


def valid_key(root: Path) -> Path:
    return by_split(root, "train: images/train\nvalid: images/val\ntest: images/test\n" + LIST)


def absolute(root: Path) -> Path:
    return by_split(root, f"path: {root}\ntrain: images/train\nval: images/val\ntest: {root}/images/test\n" + LIST)


def colab(root: Path) -> Path:
    return by_split(
        root,
        "path: /content/parts-3\ntrain: /content/parts-3/images/train\nval: /content/parts-3/images/val\n"
        "test: images/test\n" + DICT,
    )


def in_datasets(root: Path) -> Path:
    put(root / "datasets" / "parts", PICTURES, "images/{}", "labels/{}")
    return put_text(
        root / "project" / "parts.yaml", "path: parts\ntrain: images/train\nval: images/val\ntest: images/test\n" + DICT
    )


def roboflow(root: Path) -> Path:
    for picture in PICTURES:
        word = {"val": "valid"}.get(picture.split, picture.split)
        put_picture(root / word / "images" / f"{picture.stem}.png", picture)
        put_text(root / word / "labels" / f"{picture.stem}.txt", lines(picture))
    put_text(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 3\nnames: ['bolt', 'no', 'nut']\n\n"
        "roboflow:\n  workspace: me\n  project: parts\n  version: 3\n  license: CC BY 4.0\n",
    )
    return root


def list_of_folders(root: Path) -> Path:
    for number, picture in enumerate(PICTURES):
        place = f"cam{number % 2}/images/{picture.split}"
        put_picture(root / place / f"{picture.stem}.png", picture)
        put_text(root / place.replace("images", "labels") / f"{picture.stem}.txt", lines(picture))
    text = "".join(f"{key}: [cam0/images/{key}, cam1/images/{key}]\n" for key in ("train", "val", "test"))
    return put_text(root / "data.yaml", text + LIST).parent


def lists(root: Path) -> Path:
    put(root, PICTURES, "images/{}", "labels/{}")
    for split in ALL:
        names = "".join(f"./images/{split}/{picture.stem}.png\r\n" for picture in pictures(split))
        put_text(root / f"{split}.txt", names)
    put_text(root / "data.yaml", "train: train.txt\nval: val.txt\ntest: test.txt\n" + LIST)
    return root


def ultralytics_of_cvat(root: Path) -> Path:
    put(root, PICTURES, "images/{}", "labels/{}")
    for split in ALL:
        names = "".join(f"data/images/{split}/{picture.stem}.png\n" for picture in pictures(split))
        put_text(root / f"{split}.txt", names)
    put_text(root / "data.yaml", "path: .\ntrain: train.txt\nval: val.txt\ntest: test.txt\n" + DICT)
    return root


def darknet(root: Path) -> Path:
    put(root / "data", PICTURES, "obj", "obj")
    for split, word in (("train", "train"), ("val", "valid"), ("test", "test")):
        names = "".join(f"/home/them/darknet/data/obj/{picture.stem}.png\n" for picture in pictures(split))
        put_text(root / "data" / f"{word}.txt", names)
    put_text(root / "data" / "obj.names", "bolt\nno\nnut\n\n")
    return put_text(
        root / "data" / "obj.data",
        "classes= 3\ntrain  = data/train.txt\nvalid  = data/valid.txt\ntest = data/test.txt\nnames = data/obj.names\n"
        "backup = backup/\n",
    ).parent


def cvat(root: Path) -> Path:
    for picture in PICTURES:
        word = {"val": "valid"}.get(picture.split, picture.split)
        put_picture(root / f"obj_{word}_data" / f"{picture.stem}.png", picture)
        put_text(root / f"obj_{word}_data" / f"{picture.stem}.txt", lines(picture))
    for split, word in (("train", "train"), ("val", "valid"), ("test", "test")):
        names = "".join(f"data/obj_{word}_data/{picture.stem}.png\n" for picture in pictures(split))
        put_text(root / f"{word}.txt", names)
    put_text(root / "obj.names", "bolt\nno\nnut\n")
    text = "classes = 3\ntrain = data/train.txt\nvalid = data/valid.txt\ntest = data/test.txt\nnames = data/obj.names\n"
    put_text(root / "obj.data", text)
    return root


def folders_alone(root: Path) -> Path:
    put(root, PICTURES, "images/{}", "labels/{}")
    put_text(root / "classes.txt", "bolt\nno\nnut\n")
    return root


def split_folders_alone(root: Path) -> Path:
    for picture in PICTURES:
        word = {"val": "Validation"}.get(picture.split, picture.split.title())
        put_picture(root / word / "images" / f"{picture.stem}.png", picture)
        put_text(root / word / "labels" / f"{picture.stem}.txt", lines(picture))
    put_text(root / "Train" / "classes.txt", "bolt\nno\nnut\n")
    return root


def label_img_by_split(root: Path) -> Path:
    put(root, PICTURES, "{}", "{}")
    for split in ALL:
        put_text(root / split / "classes.txt", "bolt\nno\nnut\n")
    return root


def odd_bytes(root: Path) -> Path:
    def text(picture: Picture) -> str:
        return "\ufeff" + lines(picture, "{:.8e}").replace("\n", " \r\n") + "\r\n"

    by_split(root, "train: images/train\nval: images/val\ntest: images/test\n" + LIST, text=text)
    yaml = (root / "data.yaml").read_text()
    (root / "data.yaml").write_bytes(yaml.encode("utf-16"))
    return root


def float_classes(root: Path) -> Path:
    def text(picture: Picture) -> str:
        return "".join(line.replace(" ", ".0 ", 1) for line in lines(picture).splitlines(keepends=True))

    return by_split(root, "train: images/train\nval: images/val\ntest: images/test\nnc: '3'\n" + LIST, text=text)


def of_polygons(root: Path) -> Path:
    return by_split(root, "train: images/train\nval: images/val\ntest: images/test\n" + LIST, text=polygons)


def of_keypoints(root: Path) -> Path:
    def text(picture: Picture) -> str:
        return lines(picture).replace("\n", " 0.5 0.5 2 0.25 0.5 1\n")

    yaml = "train: images/train\nval: images/val\ntest: images/test\nkpt_shape: [2, 3]\n" + LIST
    return by_split(root, yaml, text=text)


def with_scores(root: Path) -> Path:
    def text(picture: Picture) -> str:
        return lines(picture).replace("\n", " 17\n")

    return by_split(root, "train: images/train\nval: images/val\ntest: images/test\n" + LIST, text=text)


def with_repeats(root: Path) -> Path:
    def text(picture: Picture) -> str:
        return lines(picture) + lines(picture)

    return by_split(root, "train: images/train\nval: images/val\ntest: images/test\n" + LIST, text=text)


def links_caches_and_macos(root: Path) -> Path:
    put(root / "elsewhere", PICTURES, "images/{}", "labels/{}")
    here = root / "here"
    for split in ALL:
        for kind in ("images", "labels"):
            (here / kind).mkdir(parents=True, exist_ok=True)
            (here / kind / split).symlink_to(root / "elsewhere" / kind / split)
            put_text(root / "elsewhere" / kind / f"{split}.cache", "cache")
        put_text(root / "elsewhere" / "images" / split / "._p 00.png", "resource fork")
        put_text(root / "elsewhere" / "images" / split / "Thumbs.db", "x")
    put_text(here / "data.yaml", "train: images/train\nval: images/val\ntest: images/test\n" + LIST)
    return here


def upper_case(root: Path) -> Path:
    by_split(root, "train: Images/train\nval: Images/val\ntest: Images/test\n" + LIST)
    (root / "images").rename(root / "Images")
    for path in sorted((root / "Images").rglob("*.png")):
        path.rename(path.with_suffix(".PNG"))
    return root


def pattern(root: Path) -> Path:
    return by_split(root, "train: images/tr*\nval: images/val/*.png\ntest: images/te?t\n" + LIST)


def kaggle(root: Path) -> Path:
    put(root / "parts", PICTURES, "images/{}", "labels/{}")
    yaml = "path: /kaggle/input/them/parts\ntrain: images/train\nval: images/val\ntest: images/test\n"
    return put_text(root / "data.yaml", yaml + LIST).parent


def lists_alone(root: Path) -> Path:
    lists(root)
    (root / "data.yaml").unlink()
    return put_text(root / "labels" / "train" / "classes.txt", "bolt\nno\nnut\n").parents[2]


LAYOUTS = [
    kaggle, lists_alone,
    ultralytics, named_yaml, valid_key, absolute, colab, in_datasets, roboflow, list_of_folders, lists,
    ultralytics_of_cvat, darknet, cvat, folders_alone, split_folders_alone, label_img_by_split, odd_bytes,
    float_classes, of_polygons, of_keypoints, with_scores, with_repeats, links_caches_and_macos, upper_case, pattern,
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore")
def test_every_layout_gives_the_same_ground_truth(tmp_path: Path, layout: Callable[[Path], Path]):
    given = layout(tmp_path)
    data = load_dataset(given)
    assert_same(data, ALL)
    for split in data.splits().values():
        names = [entry["file_name"] for entry in split.ground_truth["images"]]
        assert names == sorted(names)
        assert split.image_ids == tuple(range(1, len(names) + 1))
    assert [category.id for category in data.categories] == [1, 2, 3]
    assert load_dataset(given).fingerprint() == data.fingerprint()


@pytest.mark.parametrize("place", [".", "images", "obj_train_data"])
def test_one_folder_is_parted(tmp_path: Path, place: str):
    put(tmp_path, PICTURES, place, place.replace("images", "labels"))
    put_text(tmp_path / ("obj.names" if place == "obj_train_data" else "classes.txt"), "bolt\nno\nnut\n")
    # Label Studio leaves this beside; it is no COCO file.
    put_text(tmp_path / "notes.json", json.dumps({"categories": [{"id": 0, "name": "bolt"}], "info": {"year": 2026}}))
    with pytest.warns(UserWarning, match="8 to train on and 2 to validate on"):
        data = load_dataset(tmp_path)
    assert_parted(data, PICTURES)


NOTES = {
    colab: r"train: /content/parts-3/images/train is not there; .*images/train is taken",
    roboflow: r"val: ../valid/images is not there; .*valid/images is taken",
    of_polygons: r"13 label lines are polygons or rotated boxes.*first: .*p 01.txt, line 1",
    of_keypoints: "13 label lines have key points",
    with_scores: "13 label lines have a sixth number",
    with_repeats: r"13 label lines repeat an earlier one.*p 01.txt, line 2",
    odd_bytes: "9 label files begin with a byte order mark",
}


@pytest.mark.parametrize("layout", NOTES)
def test_what_was_taken_for_what_is_said_in_a_line(tmp_path: Path, layout: Callable[[Path], Path]):
    given = layout(tmp_path)
    with pytest.warns(UserWarning, match=NOTES[layout]) as caught:
        data = load_dataset(given)
    said = [str(one.message) for one in caught]
    assert list(data.notes) == said
    assert not any("\n" in line for line in said)


@pytest.mark.parametrize("layout", [ultralytics, lists, darknet, folders_alone, links_caches_and_macos])
def test_data_in_order_needs_no_line(tmp_path: Path, layout: Callable[[Path], Path]):
    assert load_dataset(layout(tmp_path)).notes == ()


def test_download_is_never_run(tmp_path: Path, monkeypatch):
    canary = tmp_path / "ran"
    root = tmp_path / "data"
    put(root, PICTURES, "images/{}", "labels/{}")
    code = f"download: |\n  import pathlib\n  pathlib.Path({str(canary)!r}).touch()\n"
    ran = f"!!python/object/apply:os.system ['touch {canary}']\n"
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("a command was run"))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a command was run"))
    for download in (code, f"download: touch {canary}\n", f"download: {ran}"):
        put_text(root / "data.yaml", "train: images/train\nval: images/val\ntest: images/test\n" + download + LIST)
        assert_same(load_dataset(root), ALL)
    put_text(root / "data.yaml", "train: nowhere\nval: nowhere\n" + code + LIST)
    (root / "images").rename(root / "away")
    with pytest.raises(InputError, match="train: nowhere: no such folder"):
        load_dataset(root)
    assert not canary.exists()


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_labels_speak_of_the_turned_image(tmp_path: Path, orientation: int):
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:10, :20] = 250  # top left, as it is to be seen
    # Turning by the inverse orientation gives the pixels as a camera stores them.
    inverse = Image.Exif()
    inverse[0x0112] = {6: 8, 8: 6}.get(orientation, orientation)
    plain = io.BytesIO()
    Image.fromarray(upright).save(plain, "PNG", exif=inverse)
    stored = ImageOps.exif_transpose(Image.open(plain))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for split in ("train", "val"):
        path = tmp_path / "images" / split / "a.png"
        path.parent.mkdir(parents=True)
        stored.save(path, exif=exif, compress_level={"train": 1, "val": 9}[split])  # the same picture, no copy
        put_text(tmp_path / "labels" / split / "a.txt", "0 0.16666667 0.125 0.33333333 0.25\n")
    put_text(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames: [corner]\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        split = load_dataset(tmp_path).train
    said = [str(one.message) for one in caught]
    assert len(said) == (orientation > 1)
    assert all("2 pictures carry an EXIF turn: 2 are read turned" in line for line in said)
    assert split.image_size(1) == (40, 60)
    assert np.array_equal(split.image(1), upright)
    assert split.annotations(1).boxes[0] == pytest.approx([0, 0, 20, 10], abs=1e-3)
    assert split.image_faults() is None


def test_without_names_classes_are_numbered_and_it_is_said(tmp_path: Path):
    put(tmp_path, PICTURES, "images/{}", "labels/{}")
    with pytest.warns(UserWarning, match="nothing names the classes"):
        data = load_dataset(tmp_path)
    assert [category.name for category in data.categories] == ["class 0", "class 1", "class 2"]


def test_a_test_folder_that_is_not_there_is_left_out(tmp_path: Path):
    put(tmp_path, pictures("train", "val"), "images/{}", "labels/{}")
    put_text(tmp_path / "data.yaml", "train: images/train\nval: images/val\ntest: ../test/images\n" + LIST)
    with pytest.warns(UserWarning, match="test: ../test/images is nowhere"):
        assert_same(load_dataset(tmp_path), NO_TEST)
    for empty in ("test:\n", "test: ''\n", "test: null\n", "test: []\n"):
        put_text(tmp_path / "data.yaml", "train: images/train\nval: images/val\n" + empty + LIST)
        data = load_dataset(tmp_path)
        assert data.test is None
        assert data.notes == ()


def test_of_several_descriptions_the_usual_name_is_taken(tmp_path: Path):
    by_split(tmp_path, "train: images/train\nval: images/val\ntest: images/test\n" + LIST)
    put_text(tmp_path / "other.yaml", "train: images/val\nval: images/val\n" + LIST)
    assert_same(load_dataset(tmp_path), ALL)
    (tmp_path / "data.yaml").rename(tmp_path / "mine.yaml")
    with pytest.raises(InputError, match=r"mine\.yaml, other\.yaml each describe a data set"):
        load_dataset(tmp_path)


def test_a_sibling_data_set_is_not_taken_without_a_word(tmp_path: Path):
    roboflow(tmp_path / "mine")
    roboflow(tmp_path)
    with pytest.warns(UserWarning, match="as written, though there is .*mine/train/images too"):
        load_dataset(tmp_path / "mine")


BROKEN_LINES = {
    "word": ("0 0.5 0.5 0.2 wide", "'wide' is not a number"),
    "name for a class": ("bolt 0.5 0.5 0.2 0.2", "'bolt' is not a number"),
    "nan": ("0 0.5 nan 0.2 0.2", "'nan' is not a number"),
    "four numbers": ("0 0.5 0.5 0.2", "4 numbers"),
    "half a class": ("0.5 0.5 0.5 0.2 0.2", "the class is 0.5"),
    "class below 0": ("-1 0.5 0.5 0.2 0.2", "the class is -1"),
    "class out of range": ("3 0.5 0.5 0.2 0.2", r"the class is 3, and there are 3 names \(0 to 2\)"),
    "pixels": ("0 48 32 20 10", "YOLO labels are shares of the image"),
    "below 0": ("0 -0.5 0.5 0.2 0.2", "YOLO labels are shares of the image"),
    "negative width": ("0 0.5 0.5 -0.005 0.2", "negative side"),
    "key points unannounced": ("0 0.5 0.5 0.2 0.2 0.1 0.1 2 0.5 0.5", "10 numbers"),
}


@pytest.mark.parametrize("case", BROKEN_LINES)
def test_broken_lines_are_named_by_file_and_line(tmp_path: Path, case: str):
    line, message = BROKEN_LINES[case]
    ultralytics(tmp_path)
    label = tmp_path / "labels" / "val" / "p 05.txt"
    put_text(label, f"1 0.5 0.5 0.1 0.1\n\n{line}\n")
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(tmp_path)
    assert f"{label}, line 3" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_slightly_beyond_and_empty_boxes_are_kept_and_said(tmp_path: Path):
    ultralytics(tmp_path)
    put_text(tmp_path / "labels" / "val" / "p 05.txt", "1 0.5 1.00001 0.1 0.1\n1 0.5 0.5 0 0.1\n")
    with pytest.warns(UserWarning, match="1 label lines have values slightly beyond 0 to 1") as caught:
        split = load_dataset(tmp_path).val
    assert any("width or height of 0" in str(one.message) for one in caught)
    assert split.annotations(1).ignore.tolist() == [False, True]


BROKEN_YAML = {
    "names: {0: bolt, one: nut}\ntrain: images/train\n": "names is",
    "names: 7\ntrain: images/train\n": "names is '7'",
    "names: [bolt\ntrain: images/train\n": "not valid YAML",
    "names: [bolt, no, nut]\nnc: many\ntrain: images/train\n": "nc is 'many'",
    "names: [bolt, no, nut]\ntrain: {a: b}\n": "train is",
    "names: [bolt]\ntrain: images/train\nval: images/val\n": "the class is",
    "names: {0: bolt, 2: no}\ntrain: images/train\nval: images/val\n": "labels of class 1",
}


@pytest.mark.parametrize("yaml", BROKEN_YAML)
def test_broken_descriptions_are_refused_in_one_line(tmp_path: Path, yaml: str):
    by_split(tmp_path, yaml)
    with pytest.raises(InputError, match=BROKEN_YAML[yaml]) as caught:
        load_dataset(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_images_of_a_list_are_counted(tmp_path: Path):
    lists(tmp_path)
    for stem in ("p 01", "p 03"):
        (tmp_path / "images" / "train" / f"{stem}.png").unlink()
    with pytest.raises(InputError, match=r"train: 2 of 5 .* such as ./images/train/p 01.png; looked in ") as caught:
        load_dataset(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_two_lines_may_not_share_a_file_that_shortened_paths_lead_to(tmp_path: Path):
    lists(tmp_path)
    put_text(tmp_path / "train.txt", "cam0/images/train/p 01.png\ncam1/images/train/p 01.png\n")
    with pytest.raises(InputError, match=r"1 lines share a file .* cam0/images/train/p 01.png and cam1/images"):
        load_dataset(tmp_path)


def test_broken_images_are_counted(tmp_path: Path):
    ultralytics(tmp_path)
    for stem in ("p 01", "p 03"):
        put_text(tmp_path / "images" / "train" / f"{stem}.png", "no image")
    with pytest.raises(InputError, match=r"train: 2 of 5 images are broken; .*p 01\.png"):
        load_dataset(tmp_path)


def test_labels_that_lie_elsewhere_are_missed(tmp_path: Path):
    ultralytics(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "txt")
    with pytest.raises(InputError, match=r"none of its 5 images has a label file; looked for .*labels/train/p 00.txt"):
        load_dataset(tmp_path)


def test_a_yaml_of_something_else_is_refused_when_named(tmp_path: Path):
    with pytest.raises(InputError, match="not a YOLO data set"):
        load_dataset(put_text(tmp_path / "mkdocs.yml", "site_name: x\n"))


@pytest.mark.real
def test_real_data_as_yolo(real_data: Path, tmp_path: Path):
    source = load_dataset(real_data / "bccd")
    for name, split in source.splits().items():
        numbers = {category.id: number for number, category in enumerate(split.categories)}
        for entry in split.ground_truth["images"]:
            path = tmp_path / name / "images" / entry["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(real_data / "bccd" / name / entry["file_name"])
            text = ""
            for annotation in split.ground_truth["annotations"]:
                if annotation["image_id"] == entry["id"]:
                    x, y, w, h = annotation["bbox"]
                    width, height = entry["width"], entry["height"]
                    shares = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
                    text += f"{numbers[annotation['category_id']]} {' '.join(f'{share:.7f}' for share in shares)}\n"
            put_text(tmp_path / name / "labels" / f"{path.stem}.txt", text)
    names = [category.name for category in source.categories]
    put_text(
        tmp_path / "data.yaml", f"train: ../train/images\nval: ../val/images\ntest: ../test/images\nnames: {names}\n"
    )
    with pytest.warns(UserWarning, match="is taken"):
        data = load_dataset(tmp_path)
    for name, split in data.splits().items():
        theirs = source.splits()[name]
        by_name = {entry["file_name"]: entry["id"] for entry in theirs.ground_truth["images"]}
        assert len(split) == len(theirs)
        for entry in split.ground_truth["images"]:
            found, wanted = split.annotations(entry["id"]), theirs.annotations(by_name[Path(entry["file_name"]).name])
            key = np.lexsort(wanted.boxes.T)
            assert found.boxes[np.lexsort(np.round(found.boxes, 2).T)] == pytest.approx(wanted.boxes[key], abs=1e-3)
