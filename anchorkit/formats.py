"""What a file is that was given in the place of another, and how to convert it."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WHOLE_JSON = 8 * 2**20  # bytes; longer files are judged by their beginning
_HEAD = 4096  # bytes
_CENTRES = "COCO's bbox is [x - width / 2, y - height / 2, width, height]"


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: what it is, with an article.
        mend: what to do with it where something else is needed.
        is_ground_truth: whether it is a COCO ground truth.
    """

    name: str
    mend: str
    is_ground_truth: bool = False


_EXCHANGE = "the prediction table is given first, then the ground truth: exchange the two"
GROUND_TRUTH = Format("a COCO ground truth", _EXCHANGE, is_ground_truth=True)
RESULTS = Format(
    "a COCO results json (detections after NMS)",
    "a prediction table needs the anchor of each box before NMS: see examples/predictions_from_npz.py",
)
PARQUET = Format("a Parquet file, as prediction tables are", _EXCHANGE)
CSV = Format(
    "a CSV file",
    "write its rows as COCO json: images, categories, and one annotation per row with "
    "bbox [xmin, ymin, xmax - xmin, ymax - ymin]",
)
LABELME = Format("LabelMe json (one file per image)", "convert it to COCO json, as labelme2coco does")
VIA = Format("a VIA (VGG Image Annotator) json", "export it from VIA again as COCO: Annotation, Export (COCO format)")
CREATEML = Format(
    "a CreateML json", f"write it as COCO json: coordinates are a box's centre and size in pixels, and {_CENTRES}"
)
LABEL_STUDIO = Format(
    "Label Studio's own json", "export the project again as COCO, Pascal VOC or 'YOLO with images', which are read"
)
SUPERVISELY = Format(
    "Supervisely's own json", "export the project again as COCO, Pascal VOC or YOLO, for which Supervisely has apps"
)
VOTT = Format("a VoTT json", "export the project again as Pascal VOC")
DATUMARO = Format("a Datumaro json", "convert it with: datum convert -f coco")
VIDEO = Format("CVAT's 'for video' xml", "export the task again as 'COCO 1.0' or 'CVAT for images 1.1', with images")
NDJSON = Format("a file of JSON lines (Labelbox, SageMaker)", "convert it to COCO json with that tool's exporter")
TFRECORD = Format("TFRecord files", "convert them to COCO json, or export the data again as COCO or YOLO")
KITTI = Format("KITTI labels (one txt file per image)", "convert them to COCO json or YOLO labels")
DOTA = Format("DOTA labels (four corners and a name per line)", "convert them to COCO json: the box around the corners")
NUMPY = Format("a NumPy file", "examples/predictions_from_npz.py shows how to write a prediction table from one")
ZIP = Format("a zip archive", "unpack it first")


def recognise(path: Path) -> Format | None:
    """The kind of a file, by its content; None if it is none of those known here, or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        size = path.stat().st_size
    except OSError:
        return None
    if head.startswith(b"PAR1"):
        return PARQUET
    if head.startswith((b"\x93NUMPY",)) or (head.startswith(b"PK") and path.suffix == ".npz"):
        return NUMPY
    if head.startswith(b"PK") and path.suffix == ".zip":
        return ZIP
    if path.suffix.lower() in (".tfrecord", ".tfrecords", ".record"):
        return TFRECORD
    text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", errors="ignore")
    start = text.lstrip()
    if start.startswith(("{", "[")):
        return _json_kind(path, start, size)
    if start.startswith("<"):
        of_video = "<annotations" in start and re.search(r"<(track|interpolation)\b|<mode>interpol", start)
        return VIDEO if of_video else None
    return _text_kind(path, start)


def recognise_folder(root: Path) -> tuple[Format, Path] | None:
    """The first known format in a folder and up to two levels below that the kit does not read, and a file of it."""
    examined: dict[str, int] = {}
    for path in _files(root):
        suffix = path.suffix.lower()
        # A few of each kind are enough, and a folder may hold a hundred thousand.
        if examined.setdefault(suffix, 0) >= 20:
            continue
        examined[suffix] += 1
        if suffix in _ANNOTATIONS:
            found = recognise(path)
            if found is not None and found not in (GROUND_TRUTH, PARQUET, NUMPY, ZIP):
                return found, path
    return None


_ANNOTATIONS = (".json", ".xml", ".csv", ".txt", ".ndjson", ".jsonl", ".manifest", ".tfrecord", ".tfrecords", ".record")


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = sorted(name for name in folders if not name.startswith("."))[:50] if depth < 2 else []
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder) / name


def _has(*keys: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda data: all(key in data for key in keys)


# Signatures of JSON objects and of the entries of JSON lists; the first that fits counts.
_OBJECTS: tuple[tuple[Callable[[Mapping[str, Any]], bool], Format], ...] = (
    (_has("images", "annotations"), GROUND_TRUTH),
    (_has("images", "categories"), GROUND_TRUTH),
    (_has("shapes", "imagePath"), LABELME),
    (lambda data: any(key.startswith("_via_") for key in data), VIA),
    (_has("project", "metadata", "attribute"), VIA),
    (_has("asset", "regions"), VOTT),
    (_has("objects", "size", "tags"), SUPERVISELY),
    (_has("classes", "projectType"), SUPERVISELY),
    (_has("items", "categories"), DATUMARO),
    (
        lambda data: any(
            isinstance(value, Mapping) and {"filename", "regions"} <= set(value) for value in data.values()
        ),
        VIA,
    ),
)
_ENTRIES: tuple[tuple[Callable[[Mapping[str, Any]], bool], Format], ...] = (
    (_has("image_id", "category_id", "score"), RESULTS),
    (lambda entry: "image" in entry and isinstance(entry.get("annotations"), list), CREATEML),
    (lambda entry: "data" in entry and ("annotations" in entry or "completions" in entry), LABEL_STUDIO),
    (_has("image", "id", "annotator"), LABEL_STUDIO),
)
# The same for files that are too long to be read for this: words of their beginning.
_BEGINNINGS = (
    (r'^\[\s*\{[^\]]*"(score|image_id|category_id)"', RESULTS),
    (r'"_via_|^\{\s*"[^"]*"\s*:\s*\{\s*"(filename|regions)"', VIA),
    (r'^\{\s*"(version|flags|shapes)".*"shapes"', LABELME),
    (r'^\{\s*"(images|annotations|categories|info|licenses)"', GROUND_TRUTH),
    (r'^\[\s*\{\s*"(image|annotations)".*"coordinates"', CREATEML),
)


def _json_kind(path: Path, start: str, size: int) -> Format | None:
    if size > _WHOLE_JSON:
        return next((kind for pattern, kind in _BEGINNINGS if re.search(pattern, start, re.DOTALL)), None)
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        lines = [line for line in start.splitlines() if line.strip()]
        objects = len(lines) > 1 and all(line.startswith("{") for line in lines[:2]) and "}" in lines[0]
        return NDJSON if objects else None
    if isinstance(data, Mapping):
        return next((kind for fits, kind in _OBJECTS if fits(data)), None)
    first = data[0] if isinstance(data, list) and data else None
    return next((kind for fits, kind in _ENTRIES if fits(first)), None) if isinstance(first, Mapping) else None


def _text_kind(path: Path, start: str) -> Format | None:
    lines = [line for line in start.splitlines() if line.strip()][:3]
    if not lines:
        return None
    words, suffix, commas = lines[-1].split(), path.suffix.lower(), [line.count(",") for line in lines[:2]]
    if suffix == ".csv" or (suffix != ".txt" and len(set(commas)) == 1 and commas[0] >= 4):
        return CSV
    if suffix == ".txt":
        are_numbers = [finite(word) is not None for word in words]
        if len(words) in (15, 16) and not are_numbers[0] and all(are_numbers[1:]):
            return KITTI
        if len(words) in (9, 10) and not are_numbers[8] and all(are_numbers[:8]):
            return DOTA
    return None


def finite(text: str) -> float | None:
    """The number that a text is; None if it is none, or no finite one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
