from __future__ import annotations

import numpy as np
import pytest
import torch

from anchorkit.detectors import prune
from anchorkit.detectors.base import Detector
from anchorkit.detectors.filter_magnitude import filter_magnitude
from anchorkit.errors import InputError
from tests.detectors.test_every_detector import built, every_detector


@every_detector
@pytest.mark.parametrize("norm", [1, 2])
def test_every_level_has_anchors_of_ordinary_size(name: str, norm: int) -> None:
    detector = built(name)
    found = filter_magnitude(detector, norm)
    assert found.shape == (len(detector.layout),)
    assert (found > 0).all()
    for level in range(len(detector.layout.levels)):
        of_level = [anchor.index for anchor in detector.layout.anchors if anchor.level == level]
        assert found[of_level].mean() == pytest.approx(1.0)
    assert found.std() > 1e-4


@every_detector
def test_an_anchor_with_small_filters_is_small(name: str) -> None:
    """Shrink one anchor's filters by the surgery's own knowledge of which they are: keep it alone, and look."""
    detector = built(name)
    layout = detector.layout
    anchor = layout.anchors[-1]
    found = filter_magnitude(detector, 1)
    small = prune(detector, layout.configuration(keep=[a.index for a in layout.anchors if a.level == anchor.level]))
    # A level by itself has the same filters, so the same figures.
    again = filter_magnitude(small, 1)
    np.testing.assert_allclose(again, found[[a.index for a in layout.anchors if a.level == anchor.level]], rtol=1e-5)


@pytest.mark.parametrize("name", ["tiny_ssd", "tiny_retinanet"])
def test_the_norm_is_that_of_the_anchors_own_filters(name: str) -> None:
    detector = built(name)
    head = detector.module.head
    layout = detector.layout
    chosen = layout.anchors[1]
    if layout.shared_head:
        tensors = [head.classification.output.weight, head.regression.output.weight]
    else:
        tensors = [part.levels[str(chosen.level)].weight for part in (head.classification, head.regression)]
    columns = [head.classification.columns, head.regression.columns]
    of_level = [a for a in layout.anchors if a.level == chosen.level]
    expected = []
    for weight, width in zip(tensors, columns, strict=True):
        own = weight.detach().unflatten(0, (len(of_level), width))
        norms = [float(filters.square().sum().sqrt()) for filters in own]
        expected.append(norms[1] / (sum(norms) / len(norms)))
    assert filter_magnitude(detector, 2)[1] == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(InputError, match="norm is 3"):
        filter_magnitude(built("tiny_ssd"), 3)
    known = built("tiny_ssd")
    module = torch.nn.Linear(2, 2)
    foreign = Detector("own", module, known.layout, known.categories, known.postprocess)
    with pytest.raises(InputError, match=r"not one of the kit's; .*prune_by_ranking"):
        filter_magnitude(foreign)
