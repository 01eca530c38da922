"""Run a detector that anchorkit exported, on one image, without anchorkit.

    python decode_onnx.py detector.onnx image.jpg

It needs numpy, onnxruntime and Pillow. It reads all facts about the detector from the description beside the ONNX file
(`detector.json`); docs/export.md explains the keys. Copy the parts that your own program needs: `detect` goes all the
way from an image to detections.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

Detection = tuple[str, float, tuple[float, ...]]
"""Name, score (0..1), and x1 y1 x2 y2 in pixels of the image."""


def load(path: Path) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """An ONNX file and its description."""
    description = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if description.get("format") != "anchorkit.export" or description.get("version") != 1:
        raise ValueError(f"{path.with_suffix('.json')} is no description of version 1")
    if description["input"]["resize"] is None:
        raise ValueError(f"{path.with_suffix('.json')} does not say how images are resized")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]), description


def detect(session: onnxruntime.InferenceSession, description: dict[str, Any], image: np.ndarray) -> list[Detection]:
    """Detections of an image, uint8 (H, W, 3) RGB; best first."""
    batch, scale = prepare(image, description["input"])
    names = [output["name"] for output in description["outputs"]]
    outputs = dict(zip(names, session.run(names, {description["input"]["name"]: batch}), strict=True))
    if description["nms"]:
        count = int(outputs["count"][0])
        boxes, scores, classes = (outputs[name][0][:count] for name in ("boxes", "scores", "labels"))
        classes = classes - 1  # labels count from 1
    else:
        boxes, scores, classes = select(outputs["boxes"][0], outputs["scores"][0], description)
    height, width = image.shape[:2]
    boxes = boxes - np.array(margin(image, description["input"]) * 2)
    boxes = (boxes / np.array(scale * 2)).clip(0, [width, height, width, height])
    return [
        (description["categories"][c]["name"], float(score), tuple(box.tolist()))
        for c, score, box in zip(classes, scores, boxes, strict=True)
    ]


def prepare(image: np.ndarray, expected: dict[str, Any]) -> tuple[np.ndarray, tuple[float, float]]:
    """The input (1, 3, H, W), float32 0..1, and by how much x and y were scaled."""
    height, width = expected["shape"][2:]
    how = expected["resize"]
    factor = min(height / image.shape[0], width / image.shape[1])
    if how["mode"] == "fit":  # keep the aspect; what is left at the right and at the bottom is filled
        new_height, new_width = (max(1, int(side * factor)) for side in image.shape[:2])
    elif how["mode"] == "letterbox":  # the same, with half of what is left on each side
        new_height, new_width = (max(1, round(side * factor)) for side in image.shape[:2])
    else:
        new_height, new_width = height, width
    left, top = margin(image, expected)
    small = resize(image, new_height, new_width, how["antialias"])
    framed = np.empty((height, width, 3), np.float32)
    framed[:] = how.get("fill", 0)
    framed[top : top + new_height, left : left + new_width] = small
    scale = (
        (factor, factor) if how["mode"] == "letterbox" else (new_width / image.shape[1], new_height / image.shape[0])
    )
    return framed.transpose(2, 0, 1)[None], scale


def margin(image: np.ndarray, expected: dict[str, Any]) -> tuple[int, int]:
    """Pixels of the input at the left of the image and above it."""
    if expected["resize"]["mode"] != "letterbox":
        return 0, 0
    sides = expected["shape"][2:]
    factor = min(side / own for side, own in zip(sides, image.shape, strict=False))
    top, left = (
        round((side - max(1, round(own * factor))) / 2 - 0.1) for side, own in zip(sides, image.shape, strict=False)
    )
    return left, top


def resize(image: np.ndarray, height: int, width: int, antialias: bool) -> np.ndarray:
    """Bilinear, float32 0..1. Pillow always smooths what it makes smaller; not every detector is used to that."""
    pixels = image.astype(np.float32) / 255
    if antialias:
        channels = [
            Image.fromarray(pixels[..., c]).resize((width, height), Image.Resampling.BILINEAR) for c in range(3)
        ]
        return np.stack([np.asarray(channel) for channel in channels], axis=-1)
    for axis, new in ((0, height), (1, width)):
        old = pixels.shape[axis]
        centre = ((np.arange(new) + 0.5) * (old / new) - 0.5).clip(0, old - 1)
        left = centre.astype(int)
        right = np.minimum(left + 1, old - 1)
        share = (centre - left).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        pixels = pixels.take(left, axis) * (1 - share) + pixels.take(right, axis) * share
    return pixels


def select(
    boxes: np.ndarray, scores: np.ndarray, description: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Threshold, top-k, NMS for each class, cap: boxes (B, 4) and scores (B, K) to boxes, scores and classes."""
    rules = description["postprocess"]
    box, class_ = np.nonzero(scores > np.float32(rules["score_threshold"]))
    score = scores[box, class_]
    best_first = np.argsort(-score, kind="stable")
    box, class_, score = box[best_first], class_[best_first], score[best_first]
    if rules["topk"] is not None:
        levels = description["layout"]["levels"]
        level_of_box = np.repeat(
            np.arange(len(levels)), [level["height"] * level["width"] * len(level["anchors"]) for level in levels]
        )
        scope = {"image": np.zeros_like(box), "level": level_of_box[box], "class": class_}[rules["topk_scope"]]
        stays = joined([np.flatnonzero(scope == each)[: rules["topk"]] for each in np.unique(scope)])
        box, class_, score = box[stays], class_[stays], score[stays]
    # Boxes in double precision, as in anchorkit.
    kept = joined([np.flatnonzero(class_ == c)[nms(boxes[box[class_ == c]], rules)] for c in np.unique(class_)])
    kept = kept[: rules["max_detections"]]
    return boxes[box[kept]], score[kept], class_[kept]


def joined(parts: list[np.ndarray]) -> np.ndarray:
    """Indices of all parts, rising."""
    return np.sort(np.concatenate([np.empty(0, int), *parts]))


def nms(boxes: np.ndarray, rules: dict[str, Any]) -> np.ndarray:
    """Indices of the boxes (n, 4), best first, that no better kept one covers."""
    boxes = boxes.astype(np.float64)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive, kept = np.ones(len(boxes), bool), []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        overlap = np.minimum(boxes[i, 2:], boxes[:, 2:]) - np.maximum(boxes[i, :2], boxes[:, :2])
        shared = overlap.clip(0).prod(1)
        alive &= shared <= rules["nms_iou"] * (area[i] + area - shared)  # not above this IoU
    return np.array(kept, int)


def main(arguments: list[str] | None = None) -> int:
    """Print the detections of an image; the exit code is 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="the .onnx file, with its .json beside it")
    parser.add_argument("image", type=Path)
    parser.add_argument("--score", type=float, default=0.4, help="least score to print, 0..1 (default: 0.4)")
    options = parser.parse_args(arguments)
    try:
        session, description = load(options.model)
        image = np.array(Image.open(options.image).convert("RGB"))
    except (OSError, ValueError, KeyError) as error:
        print(error, file=sys.stderr)
        return 2
    for name, score, box in detect(session, description, image):
        if score >= options.score:
            print(f"{name}  {score:.2f}  " + " ".join(f"{side:.1f}" for side in box))
    return 0


if __name__ == "__main__":
    sys.exit(main())
