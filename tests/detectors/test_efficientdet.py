"""EfficientDet against effdet's own benches; what holds for every detector is in test_every_detector.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from anchorkit import testing
from anchorkit.costs import costs
from anchorkit.datasets import Category
from anchorkit.detectors import Detector, efficientdet, load_detector, prune
from anchorkit.detectors.base import to_tensor
from anchorkit.detectors.families import Family
from anchorkit.errors import InputError, MissingExtraError
from anchorkit.evaluation import Evaluator
from anchorkit.postprocess import PostProcess
from tests.detectors import properties

effdet = pytest.importorskip("effdet", reason="the extra 'efficientdet' is not installed")

CATEGORIES = [Category(2, "cat"), Category(5, "dog"), Category(9, "hen")]
SIZE = (128, 256)
ALL_ROWS = PostProcess(score_threshold=0.0, topk=5000, topk_scope="image", nms_iou=0.5, max_detections=100)
# Among them one that the letterbox rounds (99 x 70 to 128 x 90.5), one of the input's size and one far larger.
IMAGES = properties.noise_images((99, 70), SIZE, (301, 777))


@pytest.fixture(scope="module")
def detector() -> Detector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return properties.spread(efficientdet.D0(CATEGORIES, size=SIZE, postprocess=ALL_ROWS), scale=0.2)


def own_network(classes: int = len(CATEGORIES), size: tuple[int, int] = SIZE) -> torch.nn.Module:
    """What somebody who uses effdet without the kit would build."""
    config = effdet.get_efficientdet_config("efficientdet_d0")
    config.num_classes, config.image_size = classes, size
    return effdet.EfficientDet(config, pretrained_backbone=False).eval()


@pytest.fixture(scope="module")
def theirs(detector: Detector) -> torch.nn.Module:
    """effdet's network with the weights of `detector`."""
    network = own_network()
    network.load_state_dict({key.split(".", 1)[1]: value for key, value in detector.module.state_dict().items()})
    return network


def test_the_kits_postprocessing_gives_what_effdets_bench_returns(detector: Detector, theirs: torch.nn.Module) -> None:
    bench = effdet.DetBenchPredict(theirs).eval()
    evaluator = Evaluator(properties.table_of(detector, IMAGES), properties.ground_truth_of(detector, IMAGES))
    ours = evaluator.detections(detector.layout.full)
    for number, image in enumerate(IMAGES, start=1):
        batch, _ = detector.module.transform([to_tensor(image)])
        height, width = image.shape[:2]
        scale = max(height / SIZE[0], width / SIZE[1])
        facts = {"img_scale": torch.tensor([scale]), "img_size": torch.tensor([[width, height]])}
        with torch.inference_mode():
            found = bench(batch.tensors, facts)[0].numpy()  # (100, 6): x1 y1 x2 y2 score label
        mine = ours[ours.image_id == number].sort_values("score", ascending=False, kind="stable")
        assert len(mine) == len(found) == 100
        assert mine.category_id.tolist() == [CATEGORIES[int(label) - 1].id for label in found[:, 5]]
        np.testing.assert_allclose(mine.score, found[:, 4], atol=1e-6)
        np.testing.assert_allclose(mine[["x1", "y1", "x2", "y2"]], found[:, :4], atol=1e-3)
        assert found[0, 4] - found[-1, 4] > 0.01
    assert len(properties.table_of(detector, IMAGES[:1])) > 5000  # so that the top-k was at work


def test_a_score_threshold_only_leaves_detections_out(detector: Detector) -> None:
    module = detector.module.eval()
    with torch.inference_mode():
        [every] = module([to_tensor(IMAGES[0])])
        threshold = float(every["scores"][40])
        module.postprocess = PostProcess(threshold, 5000, "image", 0.5, 100)
        [few] = module([to_tensor(IMAGES[0])])
        module.postprocess = ALL_ROWS
    assert len(few["scores"]) == 40
    for name, values in few.items():
        assert torch.equal(values, every[name][:40])


@pytest.mark.parametrize("shape", [(99, 70), (301, 777), (20, 10)])
def test_images_are_fitted_as_effdet_fits_them(detector: Detector, shape: tuple[int, int]) -> None:
    from effdet.data.transforms import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ResizePad, resolve_fill_color

    # Pillow rounds to whole grey levels between its two passes and after them.
    smooth = np.asarray(
        Image.fromarray(properties.noise_images((7, 9))[0]).resize(shape[::-1], Image.Resampling.BICUBIC)
    )
    fitted, facts = ResizePad(SIZE, fill_color=resolve_fill_color("mean"))(Image.fromarray(smooth), {})
    batch, _ = detector.module.transform([to_tensor(smooth)])
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    grey = (batch.tensors[0] * std + mean) * 255
    assert (grey - to_tensor(np.asarray(fitted)) * 255).abs().max() < 1.01
    assert batch.image_sizes[0] == pytest.approx([side / facts["img_scale"] for side in shape])


def test_the_losses_are_effdets(detector: Detector, theirs: torch.nn.Module) -> None:
    images = [torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(number)) for number in range(3)]
    boxes = [torch.tensor([[10.0, 20.0, 90.0, 70.0], [5.0, 5.0, 30.0, 100.0]]), torch.zeros(0, 4)]
    boxes.append(torch.tensor([[100.0, 0.0, 256.0, 128.0]]))
    labels = [torch.tensor([3, 1]), torch.zeros(0, dtype=torch.int64), torch.tensor([2])]
    bench = effdet.DetBenchTrain(theirs, create_labeler=True)
    batch, _ = detector.module.transform(images)
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    with torch.random.fork_rng(devices=[]):  # layers are dropped at random
        torch.manual_seed(0)
        targets = {"bbox": [box[:, [1, 0, 3, 2]] for box in boxes], "cls": labels}
        expected = bench.train()(batch.tensors, targets)
        torch.manual_seed(0)
        pairs = zip(boxes, labels, strict=True)
        found = detector.module.train()(images, [{"boxes": box, "labels": label} for box, label in pairs])
    bench.eval()
    detector.module.eval()
    for network, prefix in ((theirs, 0), (detector.module, 1)):  # batch norms have learnt
        network.load_state_dict({key: state[key.split(".", prefix)[-1]] for key in network.state_dict()})
    assert set(found) == {"classification", "bbox_regression"}
    assert found["classification"].item() == pytest.approx(expected["class_loss"].item(), rel=1e-4)
    assert sum(found.values()).item() == pytest.approx(expected["loss"].item(), rel=1e-4)
    assert expected["box_loss"] > 0


def test_training_mode_needs_targets(detector: Detector) -> None:
    with pytest.raises(InputError, match="targets"):
        detector.module.train()([torch.rand(3, *SIZE)])
    detector.module.eval()


def test_weights_in_effdets_naming_are_adopted() -> None:
    network = own_network()
    detector = efficientdet.D0(CATEGORIES, size=SIZE)
    efficientdet.adopt(detector, network.state_dict())
    for key, value in detector.module.state_dict().items():
        assert torch.equal(value, network.state_dict()[key.split(".", 1)[1]])
    assert efficientdet.classes_of(network.state_dict()) == 3
    assert efficientdet.classes_of(detector.module.state_dict()) == 3
    assert efficientdet.classes_of({"fpn.x": torch.zeros(1)}) is None


def test_of_cocos_classes_those_of_the_categories_are_adopted() -> None:
    network = own_network(classes=90)
    detector = efficientdet.D0(CATEGORIES, size=SIZE)
    efficientdet.adopt(detector, network.state_dict())
    batch = torch.rand(1, 3, *SIZE)
    with torch.inference_mode():
        maps, _ = network(batch)
        theirs = torch.cat([level.permute(0, 2, 3, 1).reshape(1, -1, 90) for level in maps], dim=1)
        ours = detector.module.head(list(detector.module.eval().backbone(batch).values()))["cls_logits"]
    torch.testing.assert_close(ours, theirs[..., [1, 4, 8]])


def test_weights_that_do_not_fit_are_refused() -> None:
    weights = own_network().state_dict()
    detector = efficientdet.D0(CATEGORIES, size=SIZE)
    first = "class_net.conv_rep.0.conv_dw.weight"
    for broken, message in (
        ({key: value for key, value in weights.items() if key != first}, f"lacks head.{first}"),
        (weights | {first: torch.zeros(64, 1, 5, 5)}, r"\(64, 1, 5, 5\)"),
        (weights | {"anchors.boxes": torch.zeros(1)}, "anchors.boxes"),
        (own_network(classes=5).state_dict(), "weights for 5 classes; 3 categories are asked for"),
    ):
        with pytest.raises(InputError, match=message):
            efficientdet.adopt(detector, broken)
    strange = efficientdet.D0([Category(100, "cat")], size=SIZE)
    with pytest.raises(InputError, match="weights for 90 classes; 1 categories .*, not all with one of COCO's ids"):
        efficientdet.adopt(strange, own_network(classes=90).state_dict())


def test_what_nothing_uses_any_more_is_gone(detector: Detector) -> None:
    layout = detector.layout
    # Shapes 2 and 4 on P4, shape 4 on P5: two sets of filters, two levels' heads, no way up behind P5.
    keep = [anchor.index for anchor in layout.anchors if (anchor.level, anchor.position) in ((1, 2), (1, 4), (2, 4))]
    small = prune(detector, layout.configuration(keep=keep))
    assert [level.positions for level in small.layout.levels] == [(), (2, 4), (4,)]
    head, trunk = small.module.head, small.module.backbone
    assert head.class_net.predict.conv_pw.out_channels == 2 * len(CATEGORIES)
    assert head.box_net.predict.conv_pw.out_channels == 2 * 4
    assert {len(norms) for norms in head.class_net.bn_rep} == {3}
    assert [len(cell.fnode) for cell in trunk.fpn.cell] == [8, 8, 6]
    saved = costs(layout.full)["total_flops"] - costs(layout.configuration(keep=keep))["total_flops"]
    assert saved > costs(layout.full)["head_flops"] - costs(layout.configuration(keep=keep))["head_flops"]


@pytest.mark.parametrize(("family", "billions", "millions"), [(efficientdet.D0, 2.5, 3.9), (efficientdet.D1, 6.1, 6.6)])
def test_the_costs_are_the_papers(family: Family, billions: float, millions: float) -> None:
    """Table 2 of the paper (COCO's 90 classes, own input size); it counts more than convolutions."""
    detector = family([Category(i, str(i)) for i in range(1, 91)])
    total = costs(detector.layout.full)["total_flops"]
    assert total is not None
    assert total / 1e9 == pytest.approx(billions, rel=0.02)
    assert round(detector.parameters / 1e6, 1) == millions


def test_the_anchors_are_effdets(detector: Detector) -> None:
    from effdet.anchors import Anchors

    boxes = Anchors.from_config(own_network().config).boxes[:, [1, 0, 3, 2]]
    grids = [(level.height, level.width) for level in detector.layout.levels]
    torch.testing.assert_close(detector.module.anchor_generator.boxes(grids, SIZE, torch.device("cpu")), boxes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (128, 200)}, "input size 128x200; both must be multiples of 128"),
        ({"size": (0, 128)}, "input size 0x128"),
        ({"postprocess": PostProcess(topk=400, topk_scope="class")}, "topk_scope is 'class'"),
        ({"shapes": [[(8, 8), (16, 8)]], "positions": [[1, 1]]}, "positions"),
    ],
)
def test_what_cannot_be_built_is_told(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        efficientdet.D0(CATEGORIES, **{"size": SIZE, **settings})


def test_more_than_nine_anchors_can_be_built() -> None:
    shapes = [[(8.0 + number, 16.0) for number in range(12)], [(40.0, 40.0)]]
    detector = efficientdet.D0(CATEGORIES, size=(128, 128), shapes=shapes)
    properties.costs_are_those_of_the_real_network(detector, detector.layout.full)
    testing.check_raw_predictions(detector, IMAGES[:1])


def test_without_effdet_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "effdet", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anchorkit\[efficientdet\]'"):
        efficientdet.D0(CATEGORIES)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_effdets_tensors_is_loaded_by_name(theirs: torch.nn.Module, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"d0{suffix}"
    state = theirs.state_dict()
    if suffix == ".pth":
        torch.save(state, file)
    else:
        save_file({name: value.contiguous() for name, value in state.items()}, file)
    loaded = load_detector("efficientdet_d0", weights=file, categories=CATEGORIES, size=SIZE)
    own = loaded.module.state_dict()
    assert sum(torch.equal(own[f"head.{name}"], state[name]) for name in state if f"head.{name}" in own) > 10
    with pytest.raises(InputError, match=f"d0{suffix}: .*classes"):
        load_detector("efficientdet_d0", weights=file, categories=len(CATEGORIES) + 1, size=SIZE)


def test_its_trunk_has_no_classifier_of_torchvisions() -> None:
    with pytest.raises(InputError, match=r"efficientdet_d0: backbone_weights: .*ssd300_vgg16"):
        load_detector("efficientdet_d0", categories=CATEGORIES, size=SIZE, backbone_weights="IMAGENET1K_V1")
