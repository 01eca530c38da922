"""Single kernels against pycocotools and against the obvious way to say the same."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask

from anchorkit.evaluation.loops import compiling, overlaps


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
    found = [[overlaps._coco_iou(corners, d, truth, g, crowd[g]) for g in range(20)] for d in range(60)]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("word", [0, 1, 2**63, 2**64 - 1, 0x123456789ABCDEF0])
def test_bits_are_counted(word):
    assert compiling.popcount(np.uint64(word)) == word.bit_count()


@pytest.mark.parametrize("bit", range(0, 64, 7))
def test_bits_are_found(bit):
    word = np.uint64(1 << bit | 1 << 63)
    lowest = compiling.lowest_bit(word)
    assert int(lowest) == 1 << bit
    assert compiling.position(np.uint64(lowest)) == bit
    assert int(compiling.bit_at(64 + bit)) == 1 << bit
