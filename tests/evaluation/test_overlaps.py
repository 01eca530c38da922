"""Single kernels against pycocotools and against the obvious way to say the same."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from pycocotools import mask

from anchorkit.evaluation.loops import compiling, overlaps


@numba.njit
def coco_ious(boxes, truth, crowd):
    return [[overlaps._coco_iou(boxes, d, truth, g, crowd[g]) for g in range(len(truth))] for d in range(len(boxes))]


@numba.njit
def of_bits(word):
    lowest = compiling.lowest_bit(word)
    number = compiling.position(lowest)
    return compiling.popcount(word), lowest, number, compiling.bit_at(64 + number)


@pytest.mark.parametrize("seed", range(10))
def test_overlaps_have_the_bits_of_pycocotools(seed):
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 50, (60, 4)).astype(np.float32)
    corners[:, 2:] += corners[:, :2]
    corners[:5, 2] = corners[:5, 0]
    truth = np.concatenate([random.uniform(0, 60, (20, 2)), random.uniform(0, 50, (20, 2))], axis=1)
    truth[:3, 3] = 0
    crowd = random.random(20) < 0.4
    boxes = corners.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    expected = mask.iou(boxes, truth, crowd.astype(np.uint8).tolist())
    assert np.array_equal(coco_ious(corners, truth, crowd), expected)


@pytest.mark.parametrize("word", [0, 1, 2**63, 2**64 - 1, 0x123456789ABCDEF0])
def test_bits_are_counted(word):
    assert of_bits(np.uint64(word))[0] == word.bit_count()


@pytest.mark.parametrize("bit", range(0, 64, 7))
def test_bits_are_found(bit):
    assert of_bits(np.uint64(1 << bit | 1 << 63))[1:] == (1 << bit, bit, 1 << bit)
