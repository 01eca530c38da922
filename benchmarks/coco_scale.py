"""Made-up data of the size of COCO val2017, as an SSD300 would emit them: what the benchmarks are measured on.

    python benchmarks/coco_scale.py --images 5000        writes the two files and says what is in them

Nothing is drawn or trained. Every image gets objects (their number, classes and sizes spread as in COCO) and *sources*:
places where a detector fires. Each object is a source of its own class, some are sources of a wrong class too, and the
rest are spurious. Around a source many cells and anchors of about its size emit a box each. The higher a box scores,
the closer it sits to its source; most score low. Small sources are seen by the anchors of the first levels, large ones
by those of the last, so that anchors are used as unevenly as in a real SSD.

Images are made in batches, each of its own random numbers: 500 images are the first 500 of 5,000.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.files import replacing
from anchorkit.predictions import PostProcess, PredictionTable

INPUT = 300
MAPS = (38, 19, 10, 5, 3, 1)
CHANNELS = (512, 1024, 512, 256, 256, 256)
SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
CATEGORY_IDS = np.setdiff1d(np.arange(1, 91), (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
"""The 80 ids of COCO, gaps and all."""

BATCH = 250
"""Images made at once: about 225,000 rows."""

SCORE_THRESHOLD = 0.02
CONTEXT = 24
"""Classes that an image can make a detector think of, beside those of its objects."""


@dataclass(frozen=True)
class Files:
    """The data as files, so that every measurement can have a process of its own.

    Attributes:
        predictions: the table, Parquet.
        truth: the ground truth, COCO json.
    """

    predictions: Path
    truth: Path


def ssd300() -> AnchorLayout:
    """The anchors of SSD300 on COCO with what they cost: 4, 6, 6, 6, 4, 4 of them."""
    levels = []
    for index, (side, channels, ratios) in enumerate(zip(MAPS, CHANNELS, RATIOS, strict=True)):
        small, large = INPUT * SCALES[index], INPUT * (SCALES[index] * SCALES[index + 1]) ** 0.5
        shapes = [(small, small), (large, large)]
        for ratio in ratios:
            root = ratio**0.5
            shapes += [(small * root, small / root), (small / root, small * root)]
        macs, parameters = 9 * channels * (81 + 4), (9 * channels + 1) * (81 + 4)
        levels.append(
            Level(
                f"level{index}", side, side, tuple(shapes), head_macs_per_anchor=macs, head_params_per_anchor=parameters
            )
        )
    return AnchorLayout("ssd300 (made up)", (INPUT, INPUT), tuple(levels), trunk_macs=30_130_000_000)


def files(images: int, *, eight_bit: bool = False, topk: int | None = None, folder: Path | None = None) -> Files:
    """Make the data, unless they lie in the folder from an earlier call.

    Args:
        images: number of images.
        eight_bit: scores in steps of 1/256, as of a quantized detector: most are ties.
        topk: rows of a class and image that NMS looks at, or None for all.
        folder: where to write; by default a folder among the temporary files.
    """
    folder = folder or Path(tempfile.gettempdir()) / "anchorkit-benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    # The name tells which version of this module made the file: data of an older one are not taken.
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    name = f"{images}{'-8bit' if eight_bit else ''}{f'-top{topk}' if topk else ''}-{version}"
    found = Files(folder / f"predictions-{name}.parquet", folder / f"truth-{images}-{version}.json")
    if not (found.predictions.is_file() and found.truth.is_file()):
        table, truth = generate(images, eight_bit=eight_bit, topk=topk)
        table.save(found.predictions)
        with replacing(found.truth) as temporary:
            Path(temporary).write_text(json.dumps(truth))
    return found


def generate(
    images: int, *, eight_bit: bool = False, topk: int | None = None, seed: int = 0
) -> tuple[PredictionTable, dict[str, Any]]:
    """A prediction table and its ground truth (a COCO dict); the same for the same arguments."""
    layout = ssd300()
    n_batches = -(-images // BATCH)
    batches = [_batch(np.random.default_rng([seed, number]), layout, number) for number in range(n_batches)]
    # Of the last batch only the images asked for.
    limit = images - (n_batches - 1) * BATCH
    batches[-1] = [{key: column[part["image"] < limit] for key, column in part.items()} for part in batches[-1]]
    rows, objects = (
        {key: np.concatenate([batch[which][key] for batch in batches]) for key in batches[0][which]} for which in (0, 1)
    )
    del batches
    score = rows["score"]
    if eight_bit:
        score = np.clip(np.round(score * 256), np.floor(SCORE_THRESHOLD * 256) + 1, 255).astype(np.float32) / 256
    table = PredictionTable(
        rows["image_id"],
        rows["anchor"],
        CATEGORY_IDS[rows["klass"]],
        score,
        rows["boxes"],
        layout,
        PostProcess(SCORE_THRESHOLD, topk=topk, topk_scope="class", nms_iou=0.45, max_detections=200),
    )
    annotations = [
        {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": int(crowd)}
        for number, (image, category, box, area, crowd) in enumerate(
            zip(
                objects["image_id"].tolist(),
                CATEGORY_IDS[objects["klass"]].tolist(),
                objects["boxes"].tolist(),
                objects["area"].tolist(),
                objects["crowd"].tolist(),
                strict=True,
            ),
            start=1,
        )
    ]
    return table, {
        "images": [
            {"id": image_id, "width": 640, "height": 640} for image_id in _image_ids(np.arange(images)).tolist()
        ],
        "categories": [{"id": category_id, "name": f"class {category_id}"} for category_id in CATEGORY_IDS.tolist()],
        "annotations": annotations,
    }


def _image_ids(image: np.ndarray) -> np.ndarray:
    """Ids with gaps, rising, as in COCO."""
    return 139 + 116 * image + image * 7919 % 113


def _batch(random: np.random.Generator, layout: AnchorLayout, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows and the objects of one batch of images. I images, G objects, S sources, N rows."""
    extent = np.array([(640, 480), (480, 640), (640, 427)], np.float32)[random.choice(3, BATCH, p=[0.6, 0.25, 0.15])]
    objects = _objects(random, extent)
    sources = _sources(random, objects, extent)
    rows = _rows(random, sources, extent, layout)
    for part in (objects, rows):
        part["image_id"] = _image_ids(number * BATCH + part["image"].astype(np.int64))
    return rows, objects


def _objects(random: np.random.Generator, extent: np.ndarray) -> dict[str, np.ndarray]:
    """What is annotated. Boxes are x y width height, (G, 4), inside the image."""
    # 7.3 an image with a long tail; one image in a hundred shows nothing.
    count = (1 + random.negative_binomial(0.9, 0.9 / (0.9 + 6.37), BATCH)) * (random.random(BATCH) > 0.01)
    image = np.repeat(np.arange(BATCH, dtype=np.int32), count)
    n = len(image)
    # An image shows up to four classes, most of its objects being of the first.
    own = random.choice(len(CATEGORY_IDS), (BATCH, 4), p=_popularity())
    klass = own[image, (4 * random.random(n) ** 2.2).astype(int)]
    # Of 100 boxes 41 are small (below 32 x 32), 34 medium, 24 large.
    side = np.exp(random.normal(np.log(47), 1.25, n))
    slant = np.exp(random.normal(0, 0.4, n))
    crowd = random.random(n) < 0.01
    side = np.where(crowd, 3 * side, side)
    size = np.clip(np.stack([side * slant, side / slant], axis=1), 5, 0.97 * extent[image])
    corner = random.random((n, 2)) * (extent[image] - size)
    area = size.prod(axis=1) * random.uniform(0.6, 0.9, n)
    boxes = np.round(np.concatenate([corner, size], axis=1), 2)
    return {"image": image, "klass": klass, "boxes": boxes, "area": np.round(area, 3), "crowd": crowd}


def _popularity() -> np.ndarray:
    """Shares of the 80 classes: a quarter of all objects are of the first, a handful of the last."""
    rank = np.arange(1, len(CATEGORY_IDS) + 1)
    share = rank**-1.0 * np.exp(-rank / 40)
    return share / share.sum()


def _sources(random: np.random.Generator, objects: dict[str, np.ndarray], extent: np.ndarray) -> dict[str, np.ndarray]:
    """Where the detector fires: its centre, log size (pixels), best score and number of boxes. S sources."""
    seen = np.flatnonzero(~objects["crowd"])
    mistaken = seen[random.random(len(seen)) < 0.6]
    image = objects["image"]
    spurious = np.repeat(np.arange(BATCH, dtype=np.int32), random.negative_binomial(40, 40 / (40 + 43), BATCH))
    source_image = np.concatenate([image[seen], image[mistaken], spurious])
    # An image makes a detector think of some classes; common ones more often.
    noise = random.gumbel(size=(BATCH, len(CATEGORY_IDS))) + 0.5 * np.log(_popularity())
    context = np.argsort(-noise, axis=1)[:, :CONTEXT]
    guessed = context[source_image, (CONTEXT * random.random(len(source_image)) ** 1.3).astype(int)]
    klass = np.concatenate([objects["klass"][seen], guessed[len(seen) :]])

    boxes = objects["boxes"]
    real = np.concatenate([seen, mistaken])
    side = np.exp(random.normal(np.log(60), 1.0, len(spurious)))
    slant = np.exp(random.normal(0, 0.4, len(spurious)))
    size = np.clip(np.stack([side * slant, side / slant], axis=1), 6, 0.97 * extent[spurious])
    size = np.concatenate([boxes[real, 2:], size])
    centre = np.concatenate(
        [boxes[real, :2] + boxes[real, 2:] / 2, random.random((len(spurious), 2)) * extent[spurious]]
    )
    # Every detector misjudges an object a little: all boxes around it share that.
    centre += random.normal(0, 0.06, centre.shape) * size
    log_size = np.log(size) + random.normal(0, 0.09, size.shape)

    # The log odds of an object's best score: small ones are often missed, large ones seldom.
    odds = random.normal(0, 1.3, len(source_image)) - 3.0
    odds[: len(seen)] += 3.5 + 1.0 * (log_size[: len(seen)].mean(axis=1) - np.log(60))
    best = SCORE_THRESHOLD + (0.995 - SCORE_THRESHOLD) / (1 + np.exp(-odds))
    # The surer, the more boxes, from one to two hundred; the more sources in an image, the fewer for each.
    crowding = np.bincount(source_image, minlength=BATCH)[source_image] / 55  # 1 in the average image
    mean = 3.5 * (1 + 22 * best) * crowding**-0.9
    count = 1 + random.negative_binomial(0.6, 0.6 / (0.6 + mean))
    shape = {"centre": centre, "log_size": log_size, "best": best}
    found = {key: column.astype(np.float32) for key, column in shape.items()}
    return {"image": source_image, "klass": klass, "count": count, **found}


def _rows(
    random: np.random.Generator, sources: dict[str, np.ndarray], extent: np.ndarray, layout: AnchorLayout
) -> dict[str, np.ndarray]:
    """The boxes around the sources, (N, 4) x1 y1 x2 y2, image by image and level by level."""
    scale = extent / INPUT
    shapes = np.log(np.array([(anchor.width, anchor.height) for anchor in layout.anchors], np.float32))
    level = np.array([anchor.level for anchor in layout.anchors])
    at_input = sources["log_size"] - np.log(scale)[sources["image"]]
    strange = ((shapes[None] - at_input[:, None]) ** 2).sum(axis=2)  # (S, A): how unlike the source each anchor is
    # A fine level has many cells on a source, a coarse one a single cell.
    cells = np.maximum(1, 0.4 * np.exp(at_input.mean(axis=1))[:, None] * (np.array(MAPS, np.float32) / INPUT)[level])
    weight = cells**1.3 * np.exp(-(strange - strange.min(axis=1, keepdims=True)) / (2 * 0.2**2))
    until = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1, dtype=np.float64)

    source = np.repeat(np.arange(len(until)), sources["count"])
    n = len(source)
    # One sorted list of all sources' cumulated shares: source s covers s to s + 1.
    drawn = np.searchsorted((until + np.arange(len(until))[:, None]).ravel(), source + random.random(n))
    # Shares add up to 1 but for rounding: who falls just beside a source belongs to its first or last anchor.
    anchor = np.clip(drawn - source * len(shapes), 0, len(shapes) - 1)
    image = sources["image"][source]

    # How good a box is, 0..1: the log of its score between the threshold and the best of its source.
    good = random.random(n, np.float32) ** 2 * np.exp(-0.15 * np.sqrt(strange[source, anchor]))
    best = sources["best"][source]
    score = SCORE_THRESHOLD * (best / SCORE_THRESHOLD) ** good
    score = np.maximum(score, np.nextafter(np.float32(SCORE_THRESHOLD), np.float32(1)))
    bad = (1 - good)[:, None]
    log_size = sources["log_size"][source]
    pull = shapes[anchor] + np.log(scale)[image] - log_size
    size = np.exp(log_size + 0.3 * bad * pull + random.standard_normal((n, 2), np.float32) * (0.03 + 0.18 * bad))
    centre = sources["centre"][source] + random.standard_normal((n, 2), np.float32) * (0.02 + 0.22 * bad) * size
    low, high = np.clip(centre - size / 2, 0, extent[image]), np.clip(centre + size / 2, 0, extent[image])
    boxes = np.concatenate([low, high], axis=1)

    order = np.argsort(image.astype(np.uint16) * len(MAPS) + level[anchor].astype(np.uint16), kind="stable")
    columns = {"image": image, "anchor": anchor.astype(np.int32), "klass": sources["klass"][source]}
    columns |= {"score": score.astype(np.float32), "boxes": boxes.astype(np.float32)}
    return {key: column[order] for key, column in columns.items()}


def main() -> None:
    """Write the files and describe the data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--eight-bit", action="store_true", help="scores in steps of 1/256")
    parser.add_argument("--topk", type=int, help="rows of a class and image that NMS looks at")
    options = parser.parse_args()
    made = files(options.images, eight_bit=options.eight_bit, topk=options.topk)
    table, truth = PredictionTable.load(made.predictions), json.loads(made.truth.read_text())
    groups = len(np.unique(table.image_id * 128 + table.category_id))
    print(made.predictions, made.truth, sep="\n")
    print(
        f"{len(table):,} rows ({len(table) / options.images:.0f} an image), {groups:,} groups of a class and image, "
        f"{len(truth['annotations']):,} annotated boxes"
    )


if __name__ == "__main__":
    main()
