"""SSD300: the costs of the paper, and torchvision's detections; what holds for all detectors is in test_every_detector.

The weights' way into it is tested in test_weights.py.
"""

from __future__ import annotations

import math

import pytest
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator

from anchorkit import testing
from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.costs import costs, level_costs
from anchorkit.datasets import Category
from anchorkit.detectors import layout_of, load_detector, prune
from anchorkit.detectors.ssd300 import RATIOS, SCALES
from anchorkit.errors import InputError
from tests.detectors import properties

# FACTS' names of anchors: (scale, ratio height/width), level by level.
A_FROM_THE_SECOND_LEVEL = [
    [(0.15, 1), (0.15, 3), (0.15, 1 / 3), (0.224, 1)],
    [(0.33, 1), (0.33, 2), (0.33, 3), (0.33, 1 / 3), (0.4102, 1)],
    [(0.51, 3), (0.51, 1 / 3), (0.5932, 1)],
]
A = [
    [(0.07, 1), (0.07, 2), (0.07, 1 / 2), (0.1024, 1)],
    *A_FROM_THE_SECOND_LEVEL,
    [(0.69, 2), (0.69, 1 / 2)],
    [(0.9557, 1)],
]
B = [[(0.07, 1), (0.1024, 1)], *A_FROM_THE_SECOND_LEVEL, [(0.69, 1), (0.69, 2)], [(0.9557, 1)]]


@pytest.fixture(scope="module")
def layout() -> AnchorLayout:
    """The layout of a real SSD300 for 80 classes, which makes 81 scores."""
    return layout_of("ssd300_vgg16", 80)


def named(layout: AnchorLayout, wanted: list[list[tuple[float, float]]]) -> Configuration:
    """The configuration of the anchors with these scales and ratios (height/width)."""
    keep = []
    for level, names in enumerate(wanted):
        for scale, ratio in names:
            side = scale * layout.input_size[0]
            [found] = [
                anchor.index
                for anchor in layout.anchors
                if anchor.level == level
                and math.sqrt(anchor.width * anchor.height) == pytest.approx(side, rel=0.01)
                and anchor.height / anchor.width == pytest.approx(ratio, rel=1e-3)
            ]
            keep.append(found)
    return layout.configuration(keep=keep)


def first_of_each_level(layout: AnchorLayout, count: int) -> Configuration:
    """The first anchors of each level: 1 and 1+ come first, then 2 and 1/2 (of the last level clipped to the input)."""
    return layout.configuration(keep=[anchor.index for anchor in layout.anchors if anchor.position < count])


def figures(configuration: Configuration) -> tuple[tuple[int, ...], int, int]:
    """Anchors per level, boxes and millions of multiply-adds of the head, cut as the paper cuts them."""
    counted = costs(configuration)
    return configuration.per_level, counted["boxes"], int(counted["head_flops"] / 1e6)


def test_the_whole_model_costs_what_torchvision_and_the_paper_say(layout: AnchorLayout) -> None:
    counted = costs(layout.full)
    assert figures(layout.full) == ((4, 6, 6, 6, 4, 4), 8732, 4231)
    assert counted["head_flops"] == 4_231_319_040
    assert round(counted["total_flops"] / 1e9, 2) == 34.36
    assert round(100 * counted["head_flops"] / counted["total_flops"], 1) == 12.3
    assert [(entry["height"], entry["width"]) for entry in level_costs(layout.full)] == [
        (side, side) for side in (38, 19, 10, 5, 3, 1)
    ]


def test_configurations_of_the_paper(layout: AnchorLayout) -> None:
    assert figures(named(layout, A)) == ((4, 4, 5, 3, 2, 1), 7814, 3607)
    assert figures(named(layout, B)) == ((2, 4, 5, 3, 2, 1), 4926, 2476)
    assert figures(first_of_each_level(layout, 4)) == ((4,) * 6, 7760, 3577)
    assert figures(first_of_each_level(layout, 2)) == ((2,) * 6, 3880, 1788)
    last_row = layout.configuration(drop=[a.index for a in layout.anchors if a.level == 0 and a.width != a.height])
    assert figures(last_row)[:2] == ((2, 6, 6, 6, 4, 4), 5844)


def test_the_overanchorized_model_costs_what_the_paper_says() -> None:
    over = layout_of("ssd300_vgg16_overanchorized", 80)
    assert figures(over.full) == ((6, 10, 10, 10, 6, 6), 13584, 6673)
    assert len(set(over.anchors)) == 48


def test_six_anchors_everywhere_make_11640_boxes() -> None:
    six = load_detector("ssd300_vgg16", categories=80, width=1 / 64, shapes=[[(9, 9)] * 6] * 6, seed=0)
    assert costs(six.layout.full)["boxes"] == 11640


def test_anchors_are_torchvisions(layout: AnchorLayout) -> None:
    theirs = DefaultBoxGenerator([list(r) for r in RATIOS], scales=list(SCALES))._wh_pairs
    for level, pairs in zip(layout.levels, theirs, strict=True):
        expected = [(min(w, 1) * 300, min(h, 1) * 300) for w, h in pairs.tolist()]
        assert [side for shape in level.anchors for side in shape] == pytest.approx(
            [side for shape in expected for side in shape], abs=1e-4
        )


def test_a_trailing_level_takes_its_stage_with_it(layout: AnchorLayout) -> None:
    full = load_detector("ssd300_vgg16", categories=[Category(1, "cat")], width=1 / 16, seed=0)
    small = prune(full, full.layout.configuration(keep=[a.index for a in full.layout.anchors if a.level in (1, 3)]))
    assert len(small.module.backbone.stages) == 4
    assert not small.module.backbone.taps  # the first level's normalisation goes with its head
    gone = costs(layout.configuration(keep=[a.index for a in layout.anchors if a.level in (1, 3)]))
    alone = layout.trunk_macs - sum(part.macs for part in layout.trunk_parts if part.levels in ((4, 5), (5,)))
    assert gone["total_flops"] - gone["head_flops"] == alone < layout.trunk_macs


def test_a_pruned_detector_keeps_the_steps_of_its_levels() -> None:
    full = properties.spread(load_detector("ssd300_vgg16", categories=2, width=1 / 32, seed=0), scale=0.01)
    kept = full.layout.configuration(keep=[a.index for a in full.layout.anchors if a.level in (1, 4) and a.index % 2])
    testing.check_pruning(full, kept, properties.noise_images((90, 120)))


def test_width_and_batch_norm_are_kept(layout: AnchorLayout) -> None:
    narrow = load_detector("ssd300_vgg16", categories=80, width=0.25, batch_norm=True, seed=0)
    assert narrow.options == {"width": 0.25, "batch_norm": True}
    assert [level.anchors for level in narrow.layout.levels] == [level.anchors for level in layout.levels]
    assert narrow.layout.trunk_macs < layout.trunk_macs / 15
    assert prune(narrow, narrow.layout.configuration(keep=[0, 8])).options == narrow.options


@pytest.mark.parametrize(
    ("size", "levels", "grids"),
    [
        ((268, 300), 6, [(34, 38), (17, 19), (9, 10), (5, 5), (3, 3), (1, 1)]),
        ((512, 384), 6, [(64, 48), (32, 24), (16, 12), (8, 6), (6, 4), (4, 2)]),
        ((140, 140), 5, [(18, 18), (9, 9), (5, 5), (3, 3), (1, 1)]),
        ((32, 32), 4, [(4, 4), (2, 2), (1, 1), (1, 1)]),
    ],
)
def test_other_sizes(size: tuple[int, int], levels: int, grids: list[tuple[int, int]]) -> None:
    made = load_detector("ssd300_vgg16", categories=1, size=size, width=1 / 64, shapes=[[(9, 9)]] * levels, seed=0)
    assert [(level.height, level.width) for level in made.layout.levels] == grids


@pytest.mark.parametrize(
    ("size", "levels", "message"),
    [
        ((267, 300), 6, "at input size 267x300 nothing is left of level 5; it needs 268 pixels a side"),
        ((300, 139), 5, "at input size 300x139 nothing is left of level 4; it needs 140 pixels a side"),
        ((31, 300), 1, "input size 31x300; height and width must be 32 to 1024 pixels"),
        ((300, 2000), 6, "input size 300x2000; height and width must be 32 to 1024 pixels"),
    ],
)
def test_sizes_that_the_trunk_cannot_take(size: tuple[int, int], levels: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_detector("ssd300_vgg16", categories=1, size=size, width=1 / 64, shapes=[[(9, 9)]] * levels)


@pytest.mark.parametrize("width", [0, -1, 1.5, float("nan"), "half", True])
def test_a_width_that_cannot_be_built(width: object) -> None:
    with pytest.raises(InputError, match="width is .*; a number above 0, at most 1"):
        load_detector("ssd300_vgg16", categories=1, width=width)


def test_an_unknown_option() -> None:
    with pytest.raises(InputError, match="ssd300_vgg16 has no option 'widht'; did you mean width"):
        load_detector("ssd300_vgg16", categories=1, widht=0.5)
