"""Surgery: what is left alone and what is refused; what it gives is in test_every_detector.py."""

import pytest
import torch

from anchorkit.detectors import Detector, load_detector, prune
from anchorkit.errors import InputError


def test_the_full_detector_is_left_as_it_was(detector: Detector) -> None:
    before = {key: value.clone() for key, value in detector.module.state_dict().items()}
    small = prune(detector, detector.layout.configuration(keep=[4, 5]))
    with torch.no_grad():
        for parameter in small.module.parameters():
            parameter.zero_()
    for key, value in detector.module.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_trailing_levels_go_and_leading_ones_stay(detector: Detector) -> None:
    small = prune(detector, detector.layout.configuration(keep=[10]))
    assert len(small.layout.levels) == 3
    assert small.layout.full.per_level == (0, 0, 1)
    assert len(small.module.backbone.stages) == 3
    assert small.parameters < 0.6 * detector.parameters


def test_a_configuration_of_another_layout_is_refused(detector: Detector) -> None:
    other = load_detector("tiny_ssd", categories=2, size=(160, 160), seed=0)
    with pytest.raises(InputError, match="belongs to"):
        prune(detector, other.layout.full)


def test_an_empty_configuration_is_refused(detector: Detector) -> None:
    with pytest.raises(InputError, match="no anchor"):
        prune(detector, detector.layout.configuration(keep=[]))
