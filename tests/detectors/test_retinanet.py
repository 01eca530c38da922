"""What is particular to RetinaNets: torchvision's figures to the digit, what a pyramid needs, adopted weights."""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain, combinations
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from torchvision.models.detection.retinanet import _default_anchorgen

from anchorkit.anchors import AnchorLayout
from anchorkit.costs import costs
from anchorkit.datasets import Category
from anchorkit.detectors import load_detector, retinanet_resnet50
from anchorkit.detectors.anchor_boxes import FreeAnchorBoxes
from anchorkit.detectors.pyramid import PyramidTrunk
from anchorkit.detectors.retinanet import PaddedAnchorBoxes
from anchorkit.detectors.shared_head import SharedHead
from anchorkit.detectors.trunks import measure_trunk
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess

CATEGORIES = [Category(7, "cat"), Category(9, "dog"), Category(11, "cow"), Category(12, "hen")]
SIZE = (128, 192)
TORCHVISION = {"retinanet_resnet50_fpn": retinanet_resnet50_fpn, "retinanet_resnet50_fpn_v2": retinanet_resnet50_fpn_v2}


def layout_at(name: str, size: tuple[int, int], shapes: Any = None) -> AnchorLayout:
    """The real detector's layout for COCO's 80 classes; on the meta device nothing is drawn or stored."""
    with torch.device("meta"):
        return load_detector(name, categories=80, size=size, shapes=shapes).layout


def giga(number: int | None, digits: int = 2) -> float:
    assert number is not None
    return round(number / 1e9, digits)


def test_table_4_at_800_by_1200() -> None:
    layout = layout_at("retinanet_resnet50_fpn_v2", (800, 1200))
    full = costs(layout.full)
    assert [(level.height, level.width) for level in layout.levels] == [
        (100, 150),
        (50, 75),
        (25, 38),
        (13, 19),
        (7, 10),
    ]
    assert (giga(layout.trunk_macs), giga(full["head_flops"])) == (94.65, 129.32)
    single = costs(layout_at("retinanet_resnet50_fpn_v2", (800, 1200), [[(32, 32)]] * 5).full)
    assert (giga(single["head_flops"], 0), giga(single["total_flops"], 0)) == (98, 193)

    # Eight anchors at each place and no first level: the paper leaves the trunk whole, 126 G. Here the first level's
    # part of the pyramid goes too.
    pruned = layout.full.without([a.index for a in layout.anchors if a.level == 0 or a.position == 8])
    found = costs(pruned)
    assert layout.trunk_macs is not None
    assert giga(found["head_flops"], 0) == 31
    assert giga(layout.trunk_macs + found["head_flops"], 0) == 126
    of_first = (512 * 256 + 9 * 256 * 256) * 100 * 150
    assert found["total_flops"] == layout.trunk_macs - of_first + found["head_flops"]
    assert giga(found["total_flops"]) == 115.28


def test_table_2_at_300_by_300() -> None:
    full = costs(layout_at("retinanet_resnet50_fpn_v2", (300, 300)).full)
    assert giga(full["total_flops"]) == 21.74
    assert round(full["head_flops"] / full["total_flops"], 3) == 0.576


def test_the_first_version_has_a_smaller_p6() -> None:
    layouts = [layout_at(name, (800, 1200)) for name in TORCHVISION]
    assert costs(layouts[0].full)["head_flops"] == costs(layouts[1].full)["head_flops"]
    assert layouts[1].trunk_macs - layouts[0].trunk_macs == 9 * (2048 - 256) * 256 * 13 * 19


def noise() -> list[Tensor]:
    """Three images of different sizes."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, *size, generator=generator) for size in ((100, 180), (128, 192), (150, 90))]


def theirs(name: str, columns: int, seed: int = 0) -> nn.Module:
    """A detector of torchvision's with weights that give spread-out scores and boxes."""
    torch.manual_seed(seed)
    module: Any = TORCHVISION[name](
        weights=None, weights_backbone=None, num_classes=columns, min_size=min(SIZE), max_size=max(SIZE)
    )
    with torch.no_grad():
        for norm in module.backbone.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = 1.0
        module.backbone.train()(module.transform(noise())[0].tensors)
        for parameter in module.head.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.02)
        module.head.classification_head.cls_logits.bias.normal_(std=0.3)
    return module.eval()


# Their first column is the background's, or there is none.
@pytest.mark.parametrize(("name", "background"), [("retinanet_resnet50_fpn", 1), ("retinanet_resnet50_fpn_v2", 0)])
def test_torchvisions_weights_give_torchvisions_detections_and_losses(name: str, background: int) -> None:
    reference = theirs(name, len(CATEGORIES) + background)
    if background:
        with torch.no_grad():  # it has a detection of its own in torchvision, as any class
            reference.head.classification_head.cls_logits.bias[:: len(CATEGORIES) + 1] = -100.0
    detector = load_detector(name, categories=CATEGORIES, size=SIZE, seed=1)
    retinanet_resnet50.adopt(detector, reference.state_dict())
    images = noise()
    with torch.inference_mode():
        expected, found = reference(images), detector.module.eval()(images)
    assert {label for image in found for label in image["labels"].tolist()} == {1, 2, 3, 4}
    for a, b in zip(expected, found, strict=True):
        assert len(b["labels"]) == 300
        assert torch.equal(a["labels"] + 1 - background, b["labels"])
        torch.testing.assert_close(b["scores"], a["scores"])
        torch.testing.assert_close(b["boxes"], a["boxes"])

    boxes = torch.tensor([[10.0, 12.0, 60.0, 50.0], [30.0, 20.0, 80.0, 70.0]])
    targets = [
        {"boxes": boxes, "labels": torch.tensor([1, 4])},
        {"boxes": boxes[:0], "labels": torch.tensor([]).long()},
    ]
    shifted = [{**target, "labels": target["labels"] - 1 + background} for target in targets]
    with torch.no_grad():
        expected, found = reference.train()(images[:2], shifted), detector.module.train()(images[:2], targets)
    torch.testing.assert_close(found["bbox_regression"], expected["bbox_regression"])
    torch.testing.assert_close(found["classification"], expected["classification"])
    assert [target["labels"].tolist() for target in targets] == [[1, 4], []]


def test_coco_weights_of_an_older_torchvision() -> None:
    """Other names, frozen norms without an epsilon, 91 columns of which COCO's 80 ids are wanted."""
    ids = [number for number in range(1, 91) if number not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    reference: Any = theirs("retinanet_resnet50_fpn", 91)
    for norm in reference.backbone.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 0.0
            norm.running_var.mul_(10 ** torch.linspace(-6, 0, len(norm.running_var)))
            norm.weight.data.mul_(norm.running_var.sqrt())
    state = {}
    for key, value in reference.state_dict().items():
        for block in ("inner_blocks", "layer_blocks"):
            for level in range(3):
                key = key.replace(f"{block}.{level}.0.", f"{block}.{level}.")
        for number in range(4):
            key = key.replace(f"_head.conv.{number}.0.", f"_head.conv.{2 * number}.")
        if not key.endswith("num_batches_tracked"):
            state[key] = value
    detector = load_detector(
        "retinanet_resnet50_fpn", categories=[Category(number, str(number)) for number in ids], size=SIZE, seed=1
    )
    retinanet_resnet50.adopt(detector, state)
    batch = torch.randn(1, 3, *SIZE)
    ours: Any = detector.module.eval()
    with torch.inference_mode():
        maps, expected = ours.backbone(batch), reference.backbone(batch)
        for a, b in zip(expected.values(), maps.values(), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-3 * a.std().item())
        scores = reference.head(list(expected.values()))["cls_logits"][..., ids]
        torch.testing.assert_close(ours.head(list(expected.values()))["cls_logits"], scores)


def test_weights_that_do_not_fit_are_refused() -> None:
    with torch.device("meta"):
        detector = load_detector("retinanet_resnet50_fpn", categories=CATEGORIES, size=SIZE)
    scores = "head.classification_head.cls_logits.bias"
    with pytest.raises(InputError, match="weights for 6 classes and the background; 4 categories"):
        retinanet_resnet50.adopt(detector, {scores: torch.zeros(9 * 7)})
    with pytest.raises(InputError, match=r"lacks \d+ \(backbone\.body\.conv1\.weight, .* tensors that retinanet"):
        retinanet_resnet50.adopt(detector, {scores: torch.zeros(9 * 5)})
    detector.categories = tuple(Category(number, "") for number in range(90, 92))
    with pytest.raises(InputError, match="2 categories are asked for, not all with one of COCO's ids, 1 to 90"):
        retinanet_resnet50.adopt(detector, {scores: torch.zeros(9 * 91)})


def test_the_body_of_an_imagenet_classifier() -> None:
    state = resnet50().state_dict()
    detector = load_detector("retinanet_resnet50_fpn_v2", categories=CATEGORIES, size=SIZE, seed=1)
    retinanet_resnet50.adopt_imagenet(detector, state)
    for key, value in detector.module.state_dict().items():
        if key.startswith("backbone.body."):
            assert torch.equal(value, state[key.removeprefix("backbone.body.")])
    with pytest.raises(InputError, match="layer4"):
        retinanet_resnet50.adopt_imagenet(detector, {k: v for k, v in state.items() if "layer4" not in k})


def pyramid(used: tuple[int, ...], extra_from_output: bool) -> PyramidTrunk:
    """A pyramid of five levels on a body of three convolutions."""
    torch.manual_seed(0)
    body = nn.Sequential(
        OrderedDict((f"stage{i}", nn.Conv2d(3 if i == 0 else i + 3, i + 4, 3, stride=2, padding=1)) for i in range(3))
    )
    maps = [f"stage{i}" for i in range(3)]
    getter = IntermediateLayerGetter(body, {name: name for name in maps})
    return PyramidTrunk(getter, maps, (4, 5, 6), 6, 5, used, extra_from_output=extra_from_output)


@pytest.mark.parametrize("extra_from_output", [True, False])
def test_a_pyramid_computes_what_its_levels_need_and_nothing_more(extra_from_output: bool) -> None:
    everything = tuple(range(5))
    full = pyramid(everything, extra_from_output)
    batch = torch.randn(1, 3, 50, 70)
    expected = full(batch)
    facts = measure_trunk(full, (50, 70))
    for used in chain.from_iterable(combinations(everything, count) for count in range(1, 6)):
        small = pyramid(used, extra_from_output)
        small.load_state_dict({key: full.state_dict()[key] for key in small.state_dict()})
        found = small(batch)
        assert list(found) == [str(level) for level in used]
        for key, value in found.items():
            torch.testing.assert_close(value, expected[key], rtol=0, atol=0)
        sum(value.sum() for value in found.values()).backward()
        unused = [name for name, parameter in small.named_parameters() if parameter.grad is None]
        assert unused == []
        own = measure_trunk(small, (50, 70))
        gone = [part.macs for part in facts.parts if not set(part.levels) & set(used)]
        assert own.macs == facts.macs - sum(gone)
        assert own.grids == facts.grids[: max(used) + 1]
        assert all(max(part.levels) <= max(used) for part in own.parts)


def test_a_level_computes_only_the_filters_of_its_own_anchors() -> None:
    torch.manual_seed(0)
    features = [torch.randn(2, 8, 5, 4), torch.randn(2, 8, 3, 3), torch.randn(2, 8, 1, 2)]
    full = SharedHead(8, [range(4)] * 4, 3, convolutions=1)
    kept = [[2, 0], [], [0, 2, 3], [3]]
    small = SharedHead(8, kept, 3, convolutions=1)
    small.take_from(full, kept)
    assert small.classification.output.out_channels == 3 * 3
    everything, found = full([*features, features[0]]), small(features)
    sizes = [20 * 4, 9 * 4, 2 * 4, 20 * 4]
    for name, columns in (("cls_logits", 3), ("bbox_regression", 4)):
        of_levels = [output.unflatten(1, (-1, 4)) for output in everything[name].split(sizes, dim=1)]
        parts = [of_levels[0][:, :, [2, 0]], of_levels[1][:, :, [0, 2, 3]], of_levels[2][:, :, [3]]]
        assert found[name].shape == (2, 40 + 27 + 2, columns)
        torch.testing.assert_close(found[name], torch.cat([part.flatten(1, 2) for part in parts], 1))


@pytest.mark.parametrize("size", [(800, 1344), (448, 608), (32, 96)])
def test_anchor_boxes_are_torchvisions_with_and_without_padding(size: tuple[int, int]) -> None:
    def features(height: int, width: int) -> list[Tensor]:
        return [torch.empty(1, 0, -(-height // stride), -(-width // stride)) for stride in retinanet_resnet50.SPACINGS]

    images = SimpleNamespace(tensors=torch.empty(1, 0, *size), image_sizes=[size])
    ours = PaddedAnchorBoxes(retinanet_resnet50.default_shapes(), retinanet_resnet50.SPACINGS)
    [made] = ours(images, features(*size))
    [expected] = _default_anchorgen()(images, features(*size))
    torch.testing.assert_close(made, expected, rtol=0, atol=0)

    smaller = (size[0] - 3, size[1] - 11)  # padded to `size`; their generator would have other distances here
    unpadded = ours.boxes([f.shape[-2:] for f in features(*smaller)], smaller, torch.device("cpu"))
    assert {tuple(box) for box in unpadded.tolist()} <= {tuple(box) for box in expected.tolist()}


def test_anchor_boxes_of_torchvision_are_evenly_divided_where_that_is_the_same() -> None:
    made = PaddedAnchorBoxes([[(8, 6)]], [8]).boxes([(4, 8)], (32, 64), torch.device("cpu"))
    even = FreeAnchorBoxes([[(8, 6)]], offset=0.0).boxes([(4, 8)], (32, 64), torch.device("cpu"))
    assert torch.equal(made, even)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positions": [[0], [1, 1]]}, r"positions of level 1 is \[1, 1\]; one of 0 or more for each of its 2 anchors"),
        ({"positions": [[0], [1]]}, r"positions of level 1 is \[1\]"),
        ({"positions": [[0], [-1, 2]]}, r"positions of level 1 is \[-1, 2\]"),
        ({"positions": [[0], [1, 2], [3]]}, r"positions of level 2 is \[3\]; .* its 0 anchors"),
        ({"postprocess": PostProcess(topk=100, topk_scope="class")}, "topk_scope is 'class'; .* use 'level'"),
        ({"size": (32, 800)}, "input size 32x800; height and width must be 64 to 4096 pixels"),
        ({"shapes": [[(8, 8)]] * 6}, "shapes has 6 levels"),
    ],
)
def test_what_cannot_be_built_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message), torch.device("meta"):
        retinanet_resnet50.V1(CATEGORIES, **{"shapes": [[(8, 8)], [(9, 9), (5, 5)]], **settings})
