"""What is implausible in a data set: boxes that no image can have, pictures and classes that are listed wrongly.

`check_dataset` looks at a data set as it was loaded. `check_boxes` looks at boxes alone, wherever they come from.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anchorkit.datasets.base import Category, Dataset, Split
from anchorkit.datasets.pictures import check_pictures
from anchorkit.findings import Finding

# A box may leave its image by so much before it counts as outside: pixels, and a share of the side.
_SLACK, _SLACK_SHARE = 2.0, 0.01
_SMALLEST_IMAGE = 8  # pixels: in smaller ones a box of a pixel means nothing
_FEW_BOXES = 30  # below this, where boxes lie says little about all of them
_CORNER = 0.55  # no box beyond this share of both sides: coordinates of a smaller picture
_PLACES = 3  # how many names a message lists


Boxes = npt.NDArray[np.float64]


def check_dataset(data: Dataset, official: bool = False) -> tuple[Finding, ...]:
    """What is implausible in a data set's boxes, classes and pictures.

    Args:
        data: the data set as it was loaded.
        official: it is COCO or VOC as published: its classes are given, and VOC validates and tests on the same images.

    Returns:
        The findings, those that refuse the data first.
    """
    splits = data.splits()
    found = [finding for split in splits.values() for finding in _boxes_of(data.name, split)]
    found += [*_spelling(data), *([] if official else [*_empty(data), *_without_boxes(data)])]
    found += check_pictures(data.name, splits, official)
    return tuple(sorted(found, key=lambda finding: finding.severity != "refused"))


def leave_out_roots(data: Dataset) -> Finding | None:
    """Take out the root categories of an export: others name them as supercategory, and no annotation uses them.

    Roboflow writes the project's name as category 0, above all others. A detector would get scores for it that can
    never be right. Changes the splits of `data`, which must be freshly loaded.
    """
    used = _used(data)
    parents = {
        entry.get("supercategory")
        for split in data.splits().values()
        for entry in split.ground_truth["categories"]
        if entry["name"] != entry.get("supercategory")
    }
    roots = [c for c in data.categories if c.id not in used and c.name in parents]
    if not roots or len(roots) == len(data.categories):
        return None
    gone = {category.id for category in roots}
    kept = tuple(category for category in data.categories if category.id not in gone)
    for split in data.splits().values():
        entries = [entry for entry in split.ground_truth["categories"] if entry["id"] not in gone]
        split.ground_truth["categories"], split.categories = entries, kept
    data.categories = kept
    what = f"{data.name}: left out {_names(roots)}: the class above all others in the export, with no box of its own"
    mend = "nothing to do; delete it from the annotations to lose this line"
    return Finding("root_category", "warning", len(roots), what, mend, {"id": roots[0].id, "value": roots[0].name})


def check_boxes(
    where: str,
    boxes: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    ids: Sequence[int],
    files: Sequence[str] = (),
) -> list[Finding]:
    """What is implausible in annotated boxes.

    Args:
        where: what the annotations are called in messages.
        boxes: (N, 4) x y width height in pixels.
        sizes: (N, 2) width and height of each box's image in pixels; NaN where unknown.
        ids: N ids of annotations, for the example.
        files: N names of image files, for the example; or none.

    Returns:
        At most one finding that explains the coordinates, then boxes outside their image.
    """
    if not len(boxes):
        return []

    def example(mask: Any) -> dict[str, Any]:
        row = int(mask.argmax())
        file = {"file": files[row]} if len(files) else {}
        return {**file, "id": int(ids[row]), "value": [round(float(side), 4) for side in boxes[row]]}

    low, sides = boxes[:, :2], boxes[:, 2:]
    high = low + sides
    count = len(boxes)
    real_image = ~(sizes < _SMALLEST_IMAGE).any(axis=1)
    whole = (boxes == np.rint(boxes)).all(axis=1)
    # VOC's corners count from 1: normalised ones begin up to a pixel before the image.
    unit = (low >= -1).all(axis=1) & (high <= 1.01).all(axis=1) & real_image
    # Corners of a normalised box are within 0..1 too, and their sum beyond it.
    unit |= ((boxes >= 0) & (boxes <= 1)).all(axis=1) & real_image
    if whole.all() or not unit.all():  # a box over the whole image is 0 0 1 1
        unit &= ~whole
    to_pixels = "multiply x and width by the image's width, y and height by its height"
    if unit.all():
        what = f"{where}: all {count:,} boxes are smaller than a pixel and lie within 0..1: they look normalised"
        return [Finding("normalised_boxes", "refused", count, what, to_pixels, example(unit))]
    if (sides < 1).all() and real_image.all():
        what = f"{where}: all {count:,} boxes are smaller than a pixel"
        mend = "boxes are x, y, width and height in pixels of the image"
        return [Finding("boxes_below_a_pixel", "refused", count, what, mend, example(real_image))]
    found = []
    if unit.sum() >= max(3, count / 100):
        what = f"{where}: {unit.sum():,} of {count:,} boxes lie within 0..1: they look normalised"
        found.append(Finding("normalised_boxes", "warning", int(unit.sum()), what, to_pixels, example(unit)))
    slack = np.maximum(_SLACK, _SLACK_SHARE * sizes)
    outside = ((high > sizes + slack) | (low < -slack)).any(axis=1)
    corners = (sides >= low).all(axis=1) & ~(sides > sizes + slack).any(axis=1)
    if count >= 5 and corners.all() and outside.mean() >= 0.1:
        what = (
            f"{where}: all {count:,} boxes look like corners (x1 y1 x2 y2): the third and fourth number are never "
            f"below the first and second, and read as x y width height {outside.sum():,} boxes leave their image"
        )
        mend = "write x, y, width and height: width is x2 - x1, height is y2 - y1"
        return [*found, Finding("corner_boxes", "warning", count, what, mend, example(outside))]
    if outside.any():
        mend = _mend_outside(low, sides, sizes, slack, outside)
        what = f"{where}: {outside.sum():,} of {count:,} boxes reach beyond their image by more than {_SLACK:g} pixels"
        found.append(Finding("boxes_outside_image", "warning", int(outside.sum()), what, mend, example(outside)))
    elif count >= _FEW_BOXES and not np.isnan(sizes).any() and not found:
        reach = (high / sizes).max(axis=0)
        if (reach <= _CORNER).all():
            what = (
                f"{where}: no box reaches beyond {100 * reach[0]:.0f} % of its image's width and {100 * reach[1]:.0f} "
                f"% of its height: the boxes look like those of a smaller picture"
            )
            mend = "scale the boxes to the annotated image sizes, or mend the sizes"
            found.append(Finding("boxes_scaled_down", "warning", count, what, mend, example(sides[:, 0] > 0)))
    return found


def _mend_outside(low: Boxes, sides: Boxes, sizes: Boxes, slack: Boxes, outside: Any) -> str:
    """What to do about boxes outside their image: another reading, if it puts all boxes into their images."""
    if outside.sum() >= 5:
        swapped = (low[:, ::-1] + sides[:, ::-1] <= sizes + slack)[outside].all(axis=1).mean()
        if swapped > 0.95:
            return "exchange x with y and width with height"
        centred = ((low - sides / 2 >= -slack) & (low + sides / 2 <= sizes + slack)).all()
        if centred:
            return "x and y look like the box's centre: x is the centre minus half the width, y minus half the height"
    return "check that the boxes are x, y, width and height in pixels, and that the annotated image sizes are right"


def _boxes_of(name: str, split: Split) -> list[Finding]:
    truth = split.ground_truth
    images = {entry["id"]: entry for entry in truth["images"]}
    annotations = truth["annotations"]
    of = [images[annotation["image_id"]] for annotation in annotations]
    return check_boxes(
        f"{name}, {split.name}",
        np.array([annotation["bbox"] for annotation in annotations], np.float64).reshape(-1, 4),
        np.array([(image["width"], image["height"]) for image in of], np.float64).reshape(-1, 2),
        [annotation["id"] for annotation in annotations],
        [str(image.get("file_name", image["id"])) for image in of],
    )


def _used(data: Dataset) -> Counter[int]:
    """How many boxes each category has, by its id."""
    return Counter(a["category_id"] for split in data.splits().values() for a in split.ground_truth["annotations"])


def _empty(data: Dataset) -> Iterator[Finding]:
    for split in data.splits().values():
        if len(split) and not split.ground_truth["annotations"]:
            what = f"{data.name}, {split.name}: none of the {len(split):,} images has a box"
            mend = "nothing can be learned or measured there: see that the annotations were exported with the images"
            yield Finding("split_without_boxes", "warning", len(split), what, mend, {"id": split.image_ids[0]})


def _without_boxes(data: Dataset) -> Iterator[Finding]:
    used = _used(data)
    empty = [category for category in data.categories if not used[category.id]]
    if empty and used:
        what = f"{data.name}: {len(empty)} of {len(data.categories)} classes have no box in any split: {_names(empty)}"
        mend = "the detector gets scores for them that can never be right: take them out of the categories"
        example = {"id": empty[0].id, "value": empty[0].name}
        yield Finding("categories_without_boxes", "warning", len(empty), what, mend, example)


def _spelling(data: Dataset) -> Iterator[Finding]:
    """Classes whose names differ in nothing but case, spaces, hyphens or underscores."""
    groups: dict[str, list[Category]] = defaultdict(list)
    for category in data.categories:
        groups[re.sub(r"[ \t_-]", "", category.name.casefold())].append(category)
    alike = [group for group in groups.values() if len(group) > 1]
    if alike:
        used = _used(data)
        told = "; ".join(", ".join(f"{c.name!r} ({used[c.id]:,} boxes)" for c in group) for group in alike[:_PLACES])
        first = alike[0][1]
        what = f"{data.name}: classes whose names differ only in case or spaces: {told}"
        mend = "they are kept apart; if they are the same, give them one name"
        example = {"id": first.id, "value": first.name}
        yield Finding("categories_differ_in_spelling", "warning", sum(map(len, alike)), what, mend, example)


def _names(categories: Sequence[Category]) -> str:
    more = f" and {len(categories) - _PLACES} more" if len(categories) > _PLACES else ""
    return ", ".join(repr(category.name) for category in categories[:_PLACES]) + more
