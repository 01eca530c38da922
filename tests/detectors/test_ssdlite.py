"""SSDLite: costs and structure of each trunk; what holds for all detectors is in test_every_detector.py."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator

from anchorkit.costs import costs
from anchorkit.detectors import layout_of, load_detector
from anchorkit.errors import InputError


def test_v3_large_costs_what_torchvision_says() -> None:
    layout = layout_of("ssdlite320_mobilenet_v3_large", 80)
    counted = costs(layout.full)
    assert (layout.trunk_macs, counted["head_flops"]) == (387_334_976, 175_853_568)
    assert (round(layout.trunk_macs / 1e9, 3), round(counted["head_flops"] / 1e9, 3)) == (0.387, 0.176)
    assert [level.height for level in layout.levels] == [20, 10, 5, 3, 2, 1]
    assert counted["boxes"] == 3234
    theirs = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)._wh_pairs
    for level, pairs in zip(layout.levels, theirs, strict=True):
        assert [side for shape in level.anchors for side in shape] == pytest.approx(
            (pairs.clamp(max=1) * 320).flatten().tolist(), abs=1e-4
        )


def test_v2_has_three_anchors_in_its_first_level() -> None:
    layout = layout_of("ssdlite300_mobilenet_v2", 80)
    assert layout.full.per_level == (3, 6, 6, 6, 6, 6)
    assert [level.height for level in layout.levels] == [19, 10, 5, 3, 2, 1]
    # Squares of a tenth of the input; shapes of ratio 2 with the area of a square of a fifth.
    assert [side for shape in layout.levels[0].anchors for side in shape] == pytest.approx(
        [30, 30, 60 * 2**0.5, 60 / 2**0.5, 60 / 2**0.5, 60 * 2**0.5]
    )
    # The expansion before the last stride has 576 channels, the last map 1280; 81 scores and 4 sides an anchor.
    assert [level.head_macs_per_anchor for level in layout.levels] == [
        85 * channels for channels in (576, 1280, 512, 256, 256, 128)
    ]
    assert (layout.trunk_macs, costs(layout.full)["head_flops"]) == (601_676_720, 132_933_696)


def test_v3_small_comes_near_the_papers_share() -> None:
    """The paper has 0.2 G and 37.5 % in the head, and does not say with which anchors."""
    counted = costs(layout_of("ssdlite300_mobilenet_v3_small", 80).full)
    assert (counted["total_flops"], counted["head_flops"]) == (200_094_552, 76_020_672)
    assert round(counted["total_flops"] / 1e9, 1) == 0.2
    assert round(100 * counted["head_flops"] / counted["total_flops"], 1) == 38.0


@pytest.mark.parametrize("size", [(96, 96), (96, 160), (160, 160)])
def test_gradients_in_half_precision_are_finite_on_single_cells(size: tuple[int, int]) -> None:
    module = load_detector("ssdlite300_mobilenet_v3_small", categories=2, size=size, seed=0).module.train()
    images = [torch.rand(3, *size, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    targets = [{"boxes": torch.tensor([[9.0, 9.0, 70.0, 60.0]]), "labels": torch.tensor([1])}] * 3
    leftovers = [torch.full((count,), float("nan")) for count in range(64, 64 * 64 * 9 + 1, 4096)]
    del leftovers  # memory that is read before it is written shows as NaN
    with torch.autocast("cpu", torch.bfloat16):
        loss = sum(module(images, targets).values())
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


@pytest.mark.parametrize("size", [(95, 320), (320, 2000)])
def test_sizes_out_of_range(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"input size {size[0]}x{size[1]}; height and width must be 96 to 1280"):
        load_detector("ssdlite320_mobilenet_v3_large", categories=1, size=size)


def test_the_tail_is_an_option() -> None:
    whole = load_detector("ssdlite320_mobilenet_v3_large", categories=1, size=(96, 96), reduced_tail=False, seed=0)
    assert whole.options == {"reduced_tail": False}
    assert whole.layout.levels[1].head_macs_per_anchor == 960 * 6
