"""Free anchor boxes, against torchvision's generator where it can express the same shapes."""

from types import SimpleNamespace

import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from anchorkit.detectors.anchor_boxes import FreeAnchorBoxes


def test_agrees_with_torchvision_on_regular_shapes() -> None:
    scales = [0.1, 0.3, 0.5]
    generator = DefaultBoxGenerator([[2], [2, 3]], scales=scales, clip=False)
    size, grids = 96, [(12, 12), (5, 7)]
    features = [torch.zeros(2, 1, *grid) for grid in grids]
    images = ImageList(torch.zeros(2, 3, size, size), [(size, size)] * 2)
    shapes = [[(w * size, h * size) for w, h in pairs.tolist()] for pairs in generator._wh_pairs]

    ours = FreeAnchorBoxes(shapes)(images, features)
    theirs = generator(images, features)

    assert len(ours) == 2
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-4)


def test_empty_levels_make_no_boxes() -> None:
    boxes = FreeAnchorBoxes([[], [(10, 20), (30, 5), (7, 7)], []])
    made = boxes.boxes([(2, 3)], (32, 48), torch.device("cpu"))  # the trunk gives no maps of empty levels
    assert made.shape == (2 * 3 * 3, 4)
    # The first cell of the level is centred at (8, 8); its anchors stand together.
    torch.testing.assert_close(made[0], torch.tensor([3.0, -2.0, 13.0, 18.0]))
    torch.testing.assert_close(made[1], torch.tensor([-7.0, 5.5, 23.0, 10.5]))


def test_a_level_too_many_is_refused() -> None:
    images = SimpleNamespace(tensors=torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="shorter|longer"):
        FreeAnchorBoxes([[(4, 4)]])(images, [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)])
