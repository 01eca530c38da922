"""From another framework's raw predictions to a prediction table of anchorkit.

    python examples/predictions_from_npz.py PREDICTIONS.npz MODEL.json OUT.parquet
    anchorkit search OUT.parquet GROUND_TRUTH.json

anchorkit accepts predictions from any framework. It needs one table with a row per (box, class) pair *before* top-k and
NMS, the anchor of each row, and two descriptions: the layout (the anchors and their costs) and the post-processing
(what the detector does with the rows). This script makes such a table from the output of a TensorFlow Lite SSD, stored
as numpy arrays. To use it for your framework, copy it and change the three functions.

PREDICTIONS.npz has one row per (box, class) pair, in the detector's own order (the order breaks ties between equal
scores; 8-bit models have many):

    image_id  (N,)    as in the ground truth
    level     (N,)    feature map, counted from 0
    anchor    (N,)    anchor within its level, counted from 0
    class_id  (N,)    see --class-offset
    score     (N,)    0..1, after the sigmoid or softmax
    box       (N, 4)  x1 y1 x2 y2 in pixels of the original image: scaled back from the network's input, clipped if the
                      detector clips

MODEL.json describes the detector: ``model``, ``input`` {w, h}, ``num_classes``, ``background_column_dropped``, ``nms``
{iou_threshold, max_per_class, max_total} and ``levels``: {h, w, in_channels, predictor_kernel, anchors: [{w_rel, h_rel}
as a share of the input]}.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from anchorkit import InputError, PostProcess, PredictionTable
from anchorkit.anchors import AnchorLayout, Level


def read_layout(model: dict[str, Any]) -> AnchorLayout:
    """The anchors of each feature map, and what an anchor costs there.

    Shapes are in pixels of the network's input, width before height. Multiply-adds are counted per cell: a k x k
    convolution from C channels to one score per class and 4 offsets costs ``C * k * k * (scores + 4)`` per anchor.
    The network also computes a background score that the file omits, so that score counts.

    The description does not have the multiply-adds of the trunk. So ``trunk_macs`` stays None, and anchorkit cannot
    compute ``total_flops``.
    """
    scores = model["num_classes"] + int(model["background_column_dropped"])
    width, height = model["input"]["w"], model["input"]["h"]
    levels = []
    for number, level in enumerate(model["levels"]):
        inputs = level["in_channels"] * level["predictor_kernel"] ** 2
        levels.append(
            Level(
                name=f"map{number}_{level['h']}x{level['w']}",
                height=level["h"],
                width=level["w"],
                anchors=tuple((anchor["w_rel"] * width, anchor["h_rel"] * height) for anchor in level["anchors"]),
                head_macs_per_anchor=inputs * (scores + 4),
                head_params_per_anchor=(inputs + 1) * (scores + 4),  # one bias for each output
            )
        )
    return AnchorLayout(model["model"], (height, width), tuple(levels))


def read_postprocess(model: dict[str, Any], score_threshold: float) -> PostProcess:
    """What the detector does with raw predictions: NMS per class, then the best of an image.

    Say here what the detector really does. If the file was already cut at a score, that is the threshold to state,
    whatever the detector's own is: below it nothing is known.
    """
    nms = model["nms"]
    if nms["max_per_class"] < nms["max_total"]:
        raise InputError("nms: a cap for each class after NMS cannot be expressed; anchorkit caps the whole image")
    return PostProcess(
        score_threshold=max(score_threshold, nms["score_threshold"]),
        topk=None,
        topk_scope="class",
        nms_iou=nms["iou_threshold"],
        max_detections=nms["max_total"],
    )


def read_predictions(
    arrays: dict[str, np.ndarray], layout: AnchorLayout, postprocess: PostProcess, class_offset: int, source: str
) -> PredictionTable:
    """The rows, with anchors counted through all levels. PredictionTable checks the rest."""
    per_level = np.array([len(level.anchors) for level in layout.levels])
    level, anchor = arrays["level"].astype(np.int64), arrays["anchor"].astype(np.int64)
    known = (level >= 0) & (level < len(per_level)) & (anchor >= 0)
    known &= anchor < per_level[np.where(known, level, 0)]
    if not known.all():
        row = int(np.argmin(known))
        raise InputError(f"{source}: row {row}: level {level[row]} has no anchor {anchor[row]} in the description")
    first = np.cumsum(per_level) - per_level
    return PredictionTable(
        image_id=arrays["image_id"],
        anchor=first[level] + anchor,
        category_id=arrays["class_id"].astype(np.int64) + class_offset,
        score=arrays["score"],
        boxes=arrays["box"],
        layout=layout,
        postprocess=postprocess,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("predictions", type=Path, help="arrays, .npz")
    parser.add_argument("model", type=Path, help="description of the detector, .json")
    parser.add_argument("out", type=Path, help="prediction table to write, .parquet")
    parser.add_argument(
        "--class-offset",
        type=int,
        default=0,
        help="category_id = class_id + this. 0 (the default) if class_id is the ground truth's id already, 1 if it is "
        "a column counted from 0 and the ids count from 1. A wrong one shows as an AP near 0",
    )
    parser.add_argument("--score-threshold", type=float, default=0.05, help="where the file was cut (default: 0.05)")
    options = parser.parse_args(arguments)
    try:
        model = json.loads(options.model.read_text(encoding="utf-8"))
        with np.load(options.predictions) as file:
            arrays = {name: file[name] for name in ("image_id", "level", "anchor", "class_id", "score", "box")}
        layout = read_layout(model)
        postprocess = read_postprocess(model, options.score_threshold)
        table = read_predictions(arrays, layout, postprocess, options.class_offset, str(options.predictions))
        table.save(options.out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f"{options.predictions} or {options.model} cannot be read: {error}", file=sys.stderr)
        return 2
    except KeyError as error:
        print(f"{options.predictions} or {options.model} lacks {error}", file=sys.stderr)
        return 2
    print(
        f"{options.out}: {len(table):,} rows of {len(np.unique(table.image_id))} images, {len(layout)} anchors, "
        f"categories {table.category_id.min()} to {table.category_id.max()}"
        if len(table)
        else f"{options.out}: no rows"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
