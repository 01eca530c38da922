"""The built-in data set: small scenes that the kit draws, the same for the same seed, without a download.

Each image has its own random stream (seed, split, number), so image 17 is the same whether 20 or 2,000 are drawn.
:mod:`anchorkit.datasets.shapes_draw` draws the scenes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from anchorkit.anchors import AnchorLayout
from anchorkit.datasets.base import Dataset, Split, coco_annotation
from anchorkit.datasets.images import ImageArray, decode_image
from anchorkit.datasets.shapes_draw import draw_scene
from anchorkit.datasets.shapes_objects import CLASSES
from anchorkit.errors import InputError
from anchorkit.files import replacing

GENERATOR_VERSION = 2  # increase it whenever a drawing changes
JPEG_QUALITY = 90
SMALLEST_SIZE = 64

_SPLITS = ("train", "val", "test")


def load_shapes(
    train: int = 2000,
    val: int = 500,
    test: int = 500,
    size: int = 160,
    seed: int = 0,
    cache: str | Path | bool = True,
    progress: bool = True,
) -> Dataset:
    """Draw the shapes data set, or read it from the cache.

    Args:
        train: images to train on.
        val: images to select on.
        test: images to report on; 0 for no test split.
        size: side of the square images in pixels.
        seed: which set; the same seed gives the same pixels with the same numpy and Pillow on the same kind of machine.
        cache: True keeps the drawn set in :func:`cache_folder`, a folder keeps it there, False draws it again.
        progress: show a progress bar on standard error while drawing.

    Raises:
        InputError: an option is not a whole number or is too small.
    """
    counts = {"train": train, "val": val, "test": test}
    for name, value, least in (*((n, c, 0 if n == "test" else 1) for n, c in counts.items()), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"shapes: {name} is {value!r}; a whole number of {least} or more is needed")
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < SMALLEST_SIZE:
        raise InputError(f"shapes: size is {size!r}; a whole number of pixels, {SMALLEST_SIZE} or more, is needed")
    key = {"version": GENERATOR_VERSION, **{n: int(c) for n, c in counts.items()}, "size": int(size), "seed": int(seed)}
    path: Path | None = None
    drawn: _Drawn | None = None
    if cache is not False:
        folder = cache_folder() if cache is True else Path(cache)
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
        path = folder / f"shapes-v{GENERATOR_VERSION}-{digest}.npz"
        drawn = _Drawn.read(path, key)
    if drawn is None:
        drawn = _draw(key, progress)
        if path is not None:
            try:
                drawn.write(path, key)
            except InputError as error:
                # On a full or read-only disk the next start draws the set again.
                warnings.warn(f"the shapes set is not cached: {error}", stacklevel=2)
    splits = drawn.splits(key)
    return Dataset("shapes", splits["train"], splits["val"], splits.get("test"))


def cache_folder() -> Path:
    """The folder for drawn sets.

    The environment variable ``ANCHORKIT_CACHE`` if it is set, else the platform's cache folder: ``~/.cache/anchorkit``
    (or under ``XDG_CACHE_HOME``) on Linux, ``~/Library/Caches/anchorkit`` on macOS, ``anchorkit/Cache`` under
    ``LOCALAPPDATA`` on Windows.
    """
    named = os.environ.get("ANCHORKIT_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "anchorkit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "anchorkit" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anchorkit"


def never_needed(
    layout: AnchorLayout, ground_truth: Mapping[str, Any] | Iterable[Mapping[str, Any]], iou: float = 0.5
) -> tuple[str, ...]:
    """The anchors whose shape fits no object: a search can be expected to remove these.

    An anchor and a box are compared by shape alone, with a common centre and the box scaled to the network's input.

    Args:
        layout: the detector's anchors.
        ground_truth: a COCO dict, or several (all splits of a data set).
        iou: an anchor is needed if its intersection over union with any box reaches this.

    Returns:
        Ids of the anchors that are never needed, in the order of the layout.
    """
    parts = [ground_truth] if isinstance(ground_truth, Mapping) else list(ground_truth)
    input_height, input_width = layout.input_size
    sides: set[tuple[float, float]] = set()
    for part in parts:
        scale = {im["id"]: (input_width / im["width"], input_height / im["height"]) for im in part["images"]}
        for annotation in part["annotations"]:
            by_width, by_height = scale[annotation["image_id"]]
            sides.add((annotation["bbox"][2] * by_width, annotation["bbox"][3] * by_height))
    boxes = np.array(sorted(sides), dtype=np.float64).reshape(-1, 2)  # (N, 2) width, height
    idle = []
    for anchor in layout.anchors:
        shared = np.minimum(boxes[:, 0], anchor.width) * np.minimum(boxes[:, 1], anchor.height)
        union = boxes[:, 0] * boxes[:, 1] + anchor.width * anchor.height - shared
        if not (shared >= iou * union).any():
            idle.append(anchor.id)
    return tuple(idle)


@dataclass(frozen=True)
class _EncodedImages:
    """JPEG images one after the other in one array of bytes; reads as a split's images."""

    data: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]  # (images + 1,), where each image ends; begins with 0
    first: int  # position of the split's first image

    def __call__(self, entry: Mapping[str, Any]) -> ImageArray:
        position = self.first + entry["id"] - 1
        data = self.data[self.ends[position] : self.ends[position + 1]].tobytes()
        return decode_image(io.BytesIO(data), entry["file_name"])


@dataclass(frozen=True)
class _Drawn:
    """All splits as flat arrays, as in the cache file."""

    data: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]  # (N, 4) x1 y1 x2 y2 of all images in order
    labels: npt.NDArray[np.int64]  # (N,) positions in CLASSES
    images: npt.NDArray[np.int64]  # (N,) position of the image each box belongs to

    def write(self, path: Path, key: Mapping[str, Any]) -> None:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, key=np.array(json.dumps(key)), checksum=np.array(self.checksum()), **vars(self))

    @classmethod
    def read(cls, path: Path, key: Mapping[str, Any]) -> _Drawn | None:
        """The cached set, or None if it is missing or damaged."""
        try:
            # If NumPy opens a damaged file itself, it leaves it open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                drawn = cls(**{name: stored[name] for name in ("data", "ends", "boxes", "labels", "images")})
                whole = str(stored["key"]) == json.dumps(key) and str(stored["checksum"]) == drawn.checksum()
        except Exception:  # a damaged file can raise nearly anything; the set is drawn again
            return None
        return drawn if whole else None

    def checksum(self) -> str:
        digest = hashlib.sha256()
        for values in vars(self).values():
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def splits(self, key: Mapping[str, Any]) -> dict[str, Split]:
        found: dict[str, Split] = {}
        size, first = key["size"], 0
        categories = [{"id": number, "name": kind.name} for number, kind in enumerate(CLASSES, start=1)]
        for name in _SPLITS:
            count = key[name]
            if count == 0:
                continue
            images = [
                {"id": number, "file_name": f"{name}/{number:06d}.jpg", "width": size, "height": size}
                for number in range(1, count + 1)
            ]
            annotations: list[dict[str, Any]] = []
            for row in np.flatnonzero((self.images >= first) & (self.images < first + count)):
                x1, y1, x2, y2 = self.boxes[row]
                width, height = round(float(x2 - x1), 2), round(float(y2 - y1), 2)
                image_id, category_id = int(self.images[row]) - first + 1, int(self.labels[row]) + 1
                box = (round(float(x1), 2), round(float(y1), 2), width, height)
                entry = coco_annotation(len(annotations) + 1, image_id, category_id, box)
                annotations.append({**entry, "area": round(width * height, 4)})
            truth = {
                "info": {"description": "anchorkit shapes", "generator": GENERATOR_VERSION, "seed": key["seed"]},
                "images": images,
                "annotations": annotations,
                "categories": [dict(category) for category in categories],
            }
            found[name] = Split(name, truth, _EncodedImages(self.data, self.ends, first))
            first += count
        return found


def _draw(key: Mapping[str, Any], progress: bool) -> _Drawn:
    encoded: list[bytes] = []
    boxes, labels, owners = [], [], []
    jobs = [(part, number) for part, name in enumerate(_SPLITS) for number in range(key[name])]
    for part, number in tqdm(jobs, desc="drawing shapes", unit="image", disable=not progress):
        rng = np.random.default_rng(np.random.SeedSequence([key["seed"], part, number]))
        image, image_boxes, image_labels = draw_scene(rng, key["size"])
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
        boxes.append(image_boxes)
        labels.append(image_labels)
        owners.append(np.full(len(image_boxes), len(encoded), dtype=np.int64))
        encoded.append(buffer.getvalue())
    return _Drawn(
        data=np.frombuffer(b"".join(encoded), dtype=np.uint8),
        ends=np.cumsum([0, *map(len, encoded)], dtype=np.int64),
        boxes=np.concatenate(boxes),
        labels=np.concatenate(labels),
        images=np.concatenate(owners),
    )
