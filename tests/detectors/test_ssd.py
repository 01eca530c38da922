"""What is particular to the SSD family; what holds for all detectors is in test_every_detector.py."""

import pytest
import torch

from anchorkit.costs import costs
from anchorkit.detectors import load_detector


@pytest.mark.parametrize("size", [(96, 96), (128, 128), (96, 160), (160, 160)])
def test_gradients_in_half_precision_are_repeatable(size: tuple[int, int]) -> None:
    images = [torch.rand(3, *size, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    targets = [{"boxes": torch.tensor([[9.0, 9.0, 70.0, 60.0]]), "labels": torch.tensor([1])}] * 3
    module = load_detector("tiny_ssd", categories=2, size=size, seed=0).module.train()
    seen = []
    for _ in range(6):
        leftovers = [torch.full((count,), float("nan")) for count in range(64, 64 * 64 * 9 + 1, 4096)]
        del leftovers  # memory that is read before it is written shows as NaN
        module.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = sum(module(images, targets).values())
        loss.backward()
        seen.append(torch.cat([parameter.grad.flatten() for parameter in module.parameters()]))
    assert all(torch.equal(gradient, seen[0]) for gradient in seen)
    assert torch.isfinite(seen[0]).all()


def test_tiny_ssd_is_as_small_as_it_says() -> None:
    detector = load_detector("tiny_ssd", categories=6, seed=0)
    assert 300_000 <= detector.parameters <= 700_000
    assert [len(level.anchors) for level in detector.layout.levels] == [4, 6, 6, 6, 4, 4]
    assert costs(detector.layout.full)["boxes"] == 2424
