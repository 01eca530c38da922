"""COCO and VOC in the odd folders of other tools, CVAT's own xml, and the outer folder of a zip."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from anchorkit.datasets import load_dataset
from anchorkit.errors import InputError

from .samples import put_json, put_text, voc_object, voc_xml
from .small_set import NAMES, PICTURES, Picture, assert_parted, assert_same, coco_of, pictures, put_picture

ALL = {split: pictures(split) for split in ("train", "val", "test")}


def voc_of(picture: Picture, file_name: str | None = None) -> str:
    objects = "".join(voc_object(label, (x + 1, y + 1, x + w, y + h)) for label, (x, y, w, h) in picture.objects)
    return voc_xml(objects, name=file_name or f"{picture.stem}.png", size=picture.size[::-1])


def coco(
    root: Path, source: str, images: str, name: str = "{}.png", words: tuple[str, ...] = ("train", "val", "test")
) -> Path:
    """A json for each split, and its images by their plain names in a folder."""
    for split, word in zip(ALL, words, strict=True):
        put_json(root / source.format(word), coco_of(pictures(split), name))
        for picture in pictures(split):
            put_picture(root / images.format(word) / f"{picture.stem}.png", picture)
    return root


def cvat_subsets(root: Path) -> Path:
    return coco(root, "annotations/instances_{}.json", "images/{}", words=("Train", "Validation", "Test"))


def cvat_subsets_of_another_case(root: Path) -> Path:
    cvat_subsets(root)
    for word in ("Train", "Validation", "Test"):
        (root / "images" / word).rename(root / "images" / word.lower())
    return root


def one_export_per_split(root: Path) -> Path:
    return coco(root, "{}/annotations/instances_default.json", "{}/images/default")


def supervisely(root: Path) -> Path:
    return coco(root, "{}/annotations/instances.json", "{}/images")


def roboflow_in_upper_case(root: Path) -> Path:
    return coco(root, "{}/_annotations.coco.json", "{}", words=("Train", "Valid", "Test"))


def paths_of_another_machine(root: Path) -> Path:
    return coco(root, "annotations/{}.json", "images", "/home/them/parts/images/{}.png")


def addresses(root: Path) -> Path:
    return coco(root, "annotations/{}.json", "images", "https://files.example/parts/{}.png?token=a/b")


def other_letter_case(root: Path) -> Path:
    return coco(root, "annotations/{}.json", "images", "IMAGES/{}.PNG")


def composed_accents(root: Path) -> Path:
    """As macOS unpacks: the json has one character, the file's name has two."""
    for split in ALL:
        put_json(root / f"{split}.json", coco_of(pictures(split), "caf\u00e9 {}.png"))
        for picture in pictures(split):
            put_picture(root / "images" / f"cafe\u0301 {picture.stem}.png", picture)
    return root


def voc_subfolders(root: Path) -> Path:
    """CVAT: folders of the task below Annotations/ and JPEGImages/, and in the lists."""
    for number, picture in enumerate(PICTURES):
        folder = f"cam{number % 2}"
        put_picture(root / "JPEGImages" / folder / f"{picture.stem}.png", picture)
        text = voc_of(picture, f"{folder}/{picture.stem}.png")
        put_text(root / "Annotations" / folder / f"{picture.stem}.xml", text)
        with_list(root, picture.split, f"{folder}/{picture.stem}")
    return root


def with_list(root: Path, word: str, name: str) -> None:
    path = root / "ImageSets" / "Main" / f"{word}.txt"
    put_text(path, (path.read_text() if path.exists() else "") + f"{name}\n")


def voc_of_one_name_in_two_folders(root: Path) -> Path:
    for picture in PICTURES:
        put_picture(root / "JPEGImages" / picture.stem / "0.png", picture)
        put_text(root / "Annotations" / picture.stem / "0.xml", voc_of(picture, "0.png"))
        with_list(root, {"val": "Validation"}.get(picture.split, picture.split), f"{picture.stem}/0")
    return root


def voc_with_a_mark(root: Path) -> Path:
    for picture in PICTURES:
        word = {"val": "valid"}.get(picture.split, picture.split).title()
        put_picture(root / word / f"{picture.stem}.png", picture)
        path = put_text(root / word / f"{picture.stem}.xml", "")
        path.write_text(voc_of(picture), encoding="utf-8-sig")
    return root


SHAPES = {
    "box": '<box label="{label}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" occluded="0" z_order="0"></box>',
    "polygon": '<polygon label="{label}" points="{x1},{y1};{x2},{y1};{x1},{y2}"></polygon>',
    "ellipse": '<ellipse label="{label}" cx="{cx}" cy="{cy}" rx="{rx}" ry="{ry}"></ellipse>',
    # Turned by a right angle: width and height change places about the same centre.
    "turned box": '<box label="{label}" xtl="{sx1}" ytl="{sy1}" xbr="{sx2}" ybr="{sy2}" rotation="90"></box>',
}


def cvat_xml(root: Path, shape: str = "box", subsets: bool = True, images: str = "images") -> Path:
    text = ""
    for number, picture in enumerate(PICTURES):
        subset = {"val": "Validation"}.get(picture.split, picture.split.title())
        place = f"{subset}/{picture.stem}.png" if subsets else f"{picture.stem}.png"
        put_picture(root / images / place, picture)
        inside = ""
        for label, (x, y, w, h) in picture.objects:
            cx, cy = x + w / 2, y + h / 2
            values = {"x1": x, "y1": y, "x2": x + w, "y2": y + h, "cx": cx, "cy": cy, "rx": w / 2, "ry": h / 2}
            values |= {"sx1": cx - h / 2, "sy1": cy - w / 2, "sx2": cx + h / 2, "sy2": cy + w / 2}
            inside += SHAPES[shape].format(label=label, **values)
        named = f' subset="{subset}"' if subsets else ""
        height, width = picture.size
        text += (
            f'<image id="{number}" name="{picture.stem}.png"{named} width="{width}" height="{height}">{inside}'
            '<tag label="bolt"></tag></image>'
        )
    labels = "".join(f"<label><name>{name}</name><color>#fff</color></label>" for name in NAMES)
    meta = f"<meta><task><name>parts</name><labels>{labels}</labels></task></meta>"
    put_text(
        root / "annotations.xml", f'<?xml version="1.0"?><annotations><version>1.1</version>{meta}{text}</annotations>'
    )
    return root


def images_within_splits(root: Path) -> Path:
    return coco(root, "annotations/{}.json", "{}/img")


def json_in_folders_of_annotations(root: Path) -> Path:
    return coco(root, "annotations/{}/coco.json", "JPEGImages/{}")


def unpacked_on_a_mac(root: Path) -> Path:
    cvat_subsets(root)
    for word in ("Train", "Validation", "Test"):
        (root / "annotations" / f"._instances_{word}.json").write_bytes(b"\0\5\x16\7")
        (root / "annotations" / f"._{word}.json").write_bytes(b"\0\5\x16\7")
    return root


def cvat_xml_of_another_name(root: Path) -> Path:
    cvat_xml(root)
    (root / "annotations.xml").rename(root / "job 12.xml")
    return root


LAYOUTS = [
    images_within_splits, json_in_folders_of_annotations, unpacked_on_a_mac, cvat_xml_of_another_name,
    cvat_subsets, cvat_subsets_of_another_case, one_export_per_split, supervisely, roboflow_in_upper_case,
    paths_of_another_machine, addresses, other_letter_case, composed_accents, voc_subfolders,
    voc_of_one_name_in_two_folders, voc_with_a_mark, cvat_xml,
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:.*masks, tags")
@pytest.mark.filterwarnings("error")
def test_every_export_gives_the_same_ground_truth(tmp_path: Path, layout: Callable[[Path], Path]):
    assert_same(load_dataset(layout(tmp_path)), ALL)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_cvat_counts_as_its_box(tmp_path: Path, shape: str):
    with pytest.warns(UserWarning, match="10 masks, tags, cuboids and skeletons are left out"):
        data = load_dataset(cvat_xml(tmp_path, shape))
    assert_same(data, ALL)


def lone_cvat(root: Path) -> Path:
    put_json(root / "annotations" / "instances_default.json", coco_of(PICTURES))
    for picture in PICTURES:
        put_picture(root / "images" / "default" / f"{picture.stem}.png", picture)
    return root


def lone_list(root: Path) -> Path:
    voc_subfolders(root)
    (root / "ImageSets" / "Main" / "train.txt").unlink()
    (root / "ImageSets" / "Main" / "val.txt").unlink()
    (root / "ImageSets" / "Main" / "test.txt").rename(root / "ImageSets" / "Main" / "default.txt")
    for number, picture in enumerate(pictures("train", "val")):
        with_list(root, "default", f"cam{number % 2}/{picture.stem}")
    return root


def cvat_xml_flat(root: Path) -> Path:
    return cvat_xml(root, subsets=False)


def fiftyone(root: Path) -> Path:
    put_json(root / "labels.json", coco_of(PICTURES))
    for picture in PICTURES:
        put_picture(root / "data" / f"{picture.stem}.png", picture)
    return root


def label_studio(root: Path, name: str, stored: str = "{}.png") -> Path:
    put_json(root / "result.json", coco_of(PICTURES, name))
    for picture in PICTURES:
        put_picture(root / "images" / stored.format(picture.stem), picture)
    return root


LABEL_STUDIO = {
    "written on Windows": ("images\\3f2a1b0c-{}.png", "3f2a1b0c-{}.png"),
    "uploads by their own names": ("images/3f2a1b0c-{}.png", "{}.png"),
    "media of the server": ("../../label-studio/data/media/upload/1/3f2a1b0c-{}.png", "3f2a1b0c-{}.png"),
    "local files": ("/data/local-files/?d=parts%2Fimages%2F{}.png", "{}.png"),
    "local files of Windows": ("/data/local-files/?d=parts%5Cimages%5C{}.png", "{}.png"),
    "encoded names": (quote("images/Größe/") + "{}.png", "Größe/{}.png"),
}


@pytest.mark.parametrize("case", LABEL_STUDIO)
def test_label_studio(tmp_path: Path, case: str):
    name, stored = LABEL_STUDIO[case]
    if "%" in name:
        # The blank in every stem is encoded too.
        put_json(tmp_path / "result.json", json.loads(json.dumps(coco_of(PICTURES, name)).replace("p ", "p%20")))
        for picture in PICTURES:
            put_picture(tmp_path / "images" / stored.format(picture.stem), picture)
    else:
        label_studio(tmp_path, name, stored)
    with pytest.warns(UserWarning, match="no validation split") as caught:
        data = load_dataset(tmp_path)
    assert len(caught) == 1
    assert_parted(data, PICTURES)


@pytest.mark.parametrize("layout", [lone_cvat, lone_list, cvat_xml_flat, fiftyone])
def test_exports_without_splits_are_parted(tmp_path: Path, layout: Callable[[Path], Path]):
    with pytest.warns(UserWarning, match="8 to train on and 2 to validate on"):
        data = load_dataset(layout(tmp_path))
    assert_parted(data, PICTURES)


# -------------------------------------------------------------------------------------------------- one folder too high


def yolo(root: Path) -> Path:
    for picture in PICTURES:
        put_picture(root / picture.split / "images" / f"{picture.stem}.png", picture)
        put_text(root / picture.split / "labels" / f"{picture.stem}.txt", "0 0.5 0.5 0.1 0.1\n")
    put_text(root / "data.yaml", "train: ../train/images\nval: ../val/images\ntest: ../test/images\nnames: [bolt]\n")
    return root


@pytest.mark.parametrize("layout", [cvat_subsets, supervisely, voc_subfolders, cvat_xml, yolo])
@pytest.mark.parametrize("below", ["Parts.v3i", "VOCdevkit/VOC2007", "a/b/c"])
def test_the_one_folder_below_that_holds_data_is_taken(tmp_path: Path, layout: Callable[[Path], Path], below: str):
    layout(tmp_path / below)
    put_text(tmp_path / "__MACOSX" / below / "._data.yaml", "")
    put_json(tmp_path / "__MACOSX" / below / "annotations" / "instances_train.json", coco_of(PICTURES))
    put_text(tmp_path / "README.dataset.txt", "unpacked")
    with pytest.warns(UserWarning, match=f"holds no annotations itself; {below} below it is read"):
        data = load_dataset(tmp_path)
    assert {name: len(split) for name, split in data.splits().items()} == {"train": 5, "val": 3, "test": 2}
    assert data.notes[0].startswith(str(tmp_path))


def test_of_several_folders_below_none_is_taken(tmp_path: Path):
    cvat_subsets(tmp_path / "first")
    voc_subfolders(tmp_path / "second")
    with pytest.raises(InputError, match=r"2 data sets below \(first, second\); give one of these"):
        load_dataset(tmp_path)


# ------------------------------------------------------------------------------------------------- which file is whose


@pytest.mark.parametrize("images", ["{}", "images"])
def test_flattened_names_are_not_given_another_picture(tmp_path: Path, images: str):
    """Two names lead to one file, within a split or in two of them."""
    for split in ALL:
        truth = coco_of(pictures(split), split + "-cam/{}.png")
        if images == "{}":
            for number, entry in enumerate(truth["images"]):
                entry["file_name"] = f"cam{number % 2}/{number // 2}.png"
        put_json(tmp_path / "annotations" / f"{split}.json", truth)
    for split in ALL:
        for number, picture in enumerate(PICTURES):
            stem = number if images == "{}" else picture.stem
            put_picture(tmp_path / images.format(split) / f"{stem}.png", picture)
    if images == "images":
        for split in ("val", "test"):
            truth = coco_of(pictures("train"), split + "-cam/{}.png")
            put_json(tmp_path / "annotations" / f"{split}.json", truth)
    pair = r"cam0/0.png and cam1/0.png" if images == "{}" else r"train-cam/p 00.png and (val|test)-cam/p 00.png"
    with pytest.warns(UserWarning, match=rf"train: \d of 5 images are not found: \d share a file .*{pair}"):
        data = load_dataset(tmp_path)
    with pytest.raises(InputError, match="share a file with another name"):
        data.train.image(1)
    with pytest.raises(InputError, match="share a file with another name"):
        data.train.check_images()


def test_a_name_as_written_keeps_its_file(tmp_path: Path):
    """0.png is there as written; cam0/0.png would be the same file without its folder, and is missing."""
    truth = coco_of(pictures("train"))
    truth["images"][0]["file_name"], truth["images"][1]["file_name"] = "0.png", "cam0/0.png"
    for split in ("train", "val"):
        put_json(tmp_path / f"{split}.json", truth)
    for picture in PICTURES[2:5]:
        put_picture(tmp_path / f"{picture.stem}.png", picture)
    put_picture(tmp_path / "0.png", PICTURES[0])
    with pytest.warns(UserWarning, match="train: 1 of 5 images are not found: 1 share a file"):
        data = load_dataset(tmp_path)
    assert (data.train.image(1) == PICTURES[0].value).all()
    with pytest.raises(InputError, match="cam0/0.png: no such image"):
        data.train.image(2)


def test_flattened_voc_is_refused(tmp_path: Path):
    voc_of_one_name_in_two_folders(tmp_path)
    for folder in sorted((tmp_path / "JPEGImages").iterdir()):
        os.replace(folder / "0.png", tmp_path / "JPEGImages" / "0.png")
    with pytest.raises(
        InputError, match=r"p 01/0\.xml: its image is .*JPEGImages/0\.png, and so is that of .*p 00/0\.xml"
    ):
        load_dataset(tmp_path)


def test_entries_of_one_file_go_to_the_same_part(tmp_path: Path):
    truth = coco_of(PICTURES)
    again = coco_of(PICTURES)
    for entry in again["images"]:
        entry["id"] += 100
    truth["images"] += again["images"]
    put_json(tmp_path / "all.json", truth)
    for picture in PICTURES:
        put_picture(tmp_path / "images" / f"{picture.stem}.png", picture)
    with pytest.warns(UserWarning, match="20 images were divided into 16 to train on and 4"):
        data = load_dataset(tmp_path)
    files = [{entry["file_name"] for entry in split.ground_truth["images"]} for split in data.splits().values()]
    assert not files[0] & files[1]


# ------------------------------------------------------------------------------------------- missing and broken images


def test_missing_images_are_counted_with_where_was_looked(tmp_path: Path):
    cvat_subsets(tmp_path)
    for stem in ("p 01", "p 03"):
        (tmp_path / "images" / "Train" / f"{stem}.png").unlink()
    with pytest.warns(UserWarning, match="train: 2 of 5 images are not found, such as p 01.png; looked in") as caught:
        data = load_dataset(tmp_path)
    assert str(tmp_path / "images" / "Train") in str(caught[0].message)
    assert len(caught) == 1
    for refused in (lambda: data.train.image(2), data.train.check_images):
        with pytest.raises(InputError, match="2 of 5 images are not found, such as p 01.png; looked in") as error:
            refused()
        assert str(tmp_path / "images" / "Train") in str(error.value)
        assert "\n" not in str(error.value)
    assert data.train.only({1, 3}).image_faults() is None
    data.val.check_images()
    put_picture(tmp_path / "images" / "Train" / "p 01.png", PICTURES[1])
    assert (data.train.image(2) == PICTURES[1].value).all()  # put there since


def noisy(path: Path, suffix: str, size: tuple[int, int]) -> bytes:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    path = path.with_suffix(suffix)
    Image.fromarray(pixels).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
@pytest.mark.filterwarnings("ignore:.*pictures of val are also in train")
def test_all_broken_images_are_counted_before_the_first_is_used(tmp_path: Path, suffix: str, damage: str):
    for split in ("train", "val"):
        put_json(tmp_path / f"{split}.json", coco_of(pictures("train"), "{}" + suffix))
    for number, picture in enumerate(pictures("train")):
        path = (tmp_path / picture.stem).with_suffix(suffix)
        data = noisy(tmp_path / picture.stem, suffix, picture.size)
        if number in (1, 3):
            path.write_bytes({"cut": data[: len(data) // 2], "text": b"not an image", "empty": b""}[damage])
    noisy(tmp_path / pictures("train")[4].stem, suffix, (5, 7))
    split = load_dataset(tmp_path).train
    with pytest.raises(InputError, match=r"train: 2 of 5 images cannot be decoded \(.*p 01") as caught:
        split.check_images()
    assert "1 of 5 images have another size than annotated" in str(caught.value)
    assert "7x5, annotated 77x123" in str(caught.value)


def test_predictions_are_not_begun_with_broken_images(tmp_path: Path):
    from anchorkit.predictions import collect_predictions

    cvat_subsets(tmp_path)
    (tmp_path / "images" / "Validation" / "p 07.png").write_text("no image")

    class Never:
        def __getattr__(self, name: str):
            raise AssertionError("the detector was asked before the images were checked")

    with pytest.raises(InputError, match="val: 1 of 3 images cannot be decoded"):
        collect_predictions(Never(), load_dataset(tmp_path).val, progress=False)


@pytest.mark.filterwarnings("ignore:.*pictures of val are also in train")
@pytest.mark.filterwarnings(
    "ignore:.*4 pictures carry an EXIF turn. 2 are read turned, as their annotated size says, and 2 as"
)
def test_the_reading_of_exif_that_fits_the_annotated_size_is_taken(tmp_path: Path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    truth = coco_of(pictures("train")[:2])
    for entry, (width, height) in zip(truth["images"], ((30, 20), (20, 30)), strict=True):
        entry |= {"width": width, "height": height}
        (tmp_path / "images").mkdir(exist_ok=True)
        stored = Image.new("RGB", (20, 30))
        stored.putpixel((0, 0), (255, 0, 0))
        stored.save(tmp_path / "images" / entry["file_name"], exif=exif)
    truth["annotations"] = []
    for split in ("train", "val"):
        put_json(tmp_path / f"{split}.json", truth)
    split = load_dataset(tmp_path).train
    split.check_images()
    turned, as_stored = split.image(1), split.image(2)
    assert turned.shape == (20, 30, 3)
    assert turned[0, 29].tolist() == [255, 0, 0]  # the first pixel as stored, turned by a quarter clockwise
    assert as_stored.shape == (30, 20, 3)
    assert as_stored[0, 0].tolist() == [255, 0, 0]


# ----------------------------------------------------------------------------------------------------------- file names

ODD_NAMES = [
    "a b.png", "a%20b.png", "a?d=b.png", "a#b.png", "a&b;c.png", "'a\".png", "größe 日本 🙂.png", "-rf.png", "a\nb.png",
    "[a]*.png", "a\\b.png", "x" * 200 + ".png", "a.b.c.png", ".hidden/a.png", "~/a.png", "$HOME.png", "con.png",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_any_file_name_works_or_gets_one_line(tmp_path: Path, name: str, kind: str):
    picture = PICTURES[3]
    for split in ("train", "val"):
        put_picture(tmp_path / "images" / split / name, picture)
        if kind == "coco":
            truth = coco_of([picture])
            truth["images"][0]["file_name"] = name
            put_json(tmp_path / "annotations" / f"instances_{split}.json", truth)
        else:
            put_text((tmp_path / "labels" / split / name).with_suffix(".txt"), "0 0.5 0.5 0.1 0.1\n")
            put_text(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames: [bolt]\n")
    if name.startswith(".hidden") and kind == "yolo":
        with pytest.raises(InputError) as caught:
            load_dataset(tmp_path)
        assert "\n" not in str(caught.value)
        return
    data = load_dataset(tmp_path)
    assert (data.train.image(1) == picture.value).all()
    (tmp_path / "images" / "train" / name).unlink()
    with pytest.raises(InputError) as caught:
        data.train.image(1)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo"])
def test_names_that_are_not_unicode_are_refused_in_one_line(tmp_path: Path, kind: str):
    name = os.fsdecode(b"caf\xe9.png")
    picture = PICTURES[3]
    try:
        put_picture(tmp_path / "images" / "train" / name, picture)
    except OSError:
        pytest.skip("the file system takes no such name")
    if kind == "coco":
        truth = coco_of([picture])
        truth["images"][0]["file_name"] = name
        put_json(tmp_path / "train.json", truth)
    elif kind == "voc":
        put_text(tmp_path / "annotations" / "train" / Path(name).with_suffix(".xml"), voc_xml(voc_object()))
    else:
        put_text(tmp_path / "labels" / "train" / Path(name).with_suffix(".txt"), "0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match=r"caf\\udce9.* is not valid UTF-8; rename the file") as caught:
        load_dataset(tmp_path)
    str(caught.value).encode()
