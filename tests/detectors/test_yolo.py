"""YOLO: darknet's files in and out, the published sizes of the families, and what holds for each of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import anchorkit as ak
from anchorkit import testing
from anchorkit.costs import costs
from anchorkit.datasets import Split, load_dataset
from anchorkit.detectors import Detector, cut_channels, export_darknet, masked_channels
from anchorkit.detectors.architectures import BUILDERS
from anchorkit.detectors.base import to_tensor
from anchorkit.detectors.darknet import yolo_levels
from anchorkit.detectors.darknet_cfg import cfg_text, parse_cfg, read_cfg
from anchorkit.detectors.darknet_sections import Convolution, Yolo
from anchorkit.detectors.darknet_weights import _layers, weights_count
from anchorkit.detectors.yolo_loss import yolo_losses
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess
from tests.detectors import properties
from tests.detectors.test_channels import apart

# A network with every section that the kit reads, in the styles in which files write them.
EVERYTHING = """
[net]   # a comment
width=64
height = 32
channels=3
learning_rate=0.001

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=mish

[maxpool]
size=2
stride=2
[convolutional]
batch_normalize=1
filters=8
size=5
groups=8
padding=2
activation=swish
[avgpool]
[convolutional]
filters=8
size=1
activation=logistic
[scale_channels]
from=-3
[dropout]
probability=.5
[shortcut]
from=2
activation=relu
[convolutional]
filters=8
size=1
activation=linear
[sam]
from=-2
[maxpool]
size=2
stride=1
[route]
layers=-1
groups=2
group_id=1
[convolutional]
batch_normalize=1
filters=6
size=3
stride=2
pad=1
activation=leaky
; the coarse level
[convolutional]
filters=14
size=1
stride=1
pad=1
activation=linear
[yolo]
mask=2,3
anchors=4,5, 6,7, 8,9, 10.5,11, 1,1
classes=2
num=5
jitter=.3
scale_x_y=1.05
[route]
layers=-3
[upsample]
stride=2
[route]
layers=-1,11
[convolutional]
filters=7
size=1
activation=logistic
[yolo]
mask=0
anchors=4,5, 6,7, 8,9, 10.5,11, 1,1
classes=2
num=5
scale_x_y=2
new_coords=1
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The network above as a file, and random weights for it."""
    cfg = tmp_path / "every.cfg"
    cfg.write_text(EVERYTHING)
    numbers = 0.5 * np.random.default_rng(0).standard_normal(weights_count(parse_cfg(EVERYTHING), 2)).astype("<f4")
    weights = tmp_path / "every.weights"
    weights.write_bytes(np.array([0, 2, 5], "<i4").tobytes() + bytes(8) + np.abs(numbers).tobytes())
    return cfg, weights


def test_a_cfg_written_and_read_is_the_same() -> None:
    cfg = parse_cfg(EVERYTHING)
    again = parse_cfg(cfg_text(cfg))
    assert (again.sections, again.net, again.height, again.width) == (cfg.sections, cfg.net, 32, 64)
    fine, coarse = [section.anchors for section in reversed(cfg.sections) if isinstance(section, Yolo)]
    assert (fine, coarse) == (((4, 5),), ((8, 9), (10.5, 11)))
    for name in ("yolov3", "yolov4", "yolov4_tiny", "yolov7_tiny", "tiny_yolo"):
        whole = BUILDERS[name].cfg  # type: ignore[attr-defined]
        assert parse_cfg(cfg_text(whole)) == whole


def test_a_dilated_window_keeps_the_cells() -> None:
    """darknet pads by the dilation times what the file says."""
    text = EVERYTHING.replace("size=5\ngroups=8\npadding=2", "size=3\ngroups=8\npad=1\ndilation=2")
    assert text != EVERYTHING
    detector = ak.load_detector("darknet", categories=2, cfg=text)
    assert detector.module.backbone.layers["2"].conv.padding == (2, 2)
    testing.check_network(detector, properties.noise_images((32, 64))[0])


def test_every_section_runs_and_its_files_come_back(files: tuple[Path, Path], tmp_path: Path) -> None:
    cfg, weights = files
    detector = ak.load_detector(cfg, weights=weights)
    assert detector.layout.input_size == (32, 64)
    assert [(level.height, level.width, level.anchors) for level in detector.layout.levels] == [
        (8, 16, ((4.0, 5.0),)),
        (4, 8, ((8.0, 9.0), (10.5, 11.0))),
    ]
    written = export_darknet(detector, tmp_path / "again.cfg")
    assert written.with_suffix(".weights").read_bytes() == weights.read_bytes()
    again = ak.load_detector(written, weights=written.with_suffix(".weights"))
    assert same(again, detector)
    testing.check_saving(detector, properties.noise_images((40, 50)), tmp_path / "saved")
    for keep in ([0], [1], [0, 2]):
        kept = detector.layout.configuration(keep=keep)
        small = testing.check_pruning(detector, kept, properties.noise_images((40, 50)))
        testing.check_costs(detector, kept)
        file = export_darknet(small, tmp_path / "small.cfg")
        assert same(ak.load_detector(file, weights=file.with_suffix(".weights")), small)
        assert len(read_cfg(file).sections) == {(0,): 18, (1,): 15, (0, 2): 20}[tuple(keep)]


def same(one: Detector, other: Detector) -> bool:
    """Whether two detectors have the same costs and predict the same bits."""
    image = properties.noise_images((30, 70))
    [a], [b] = one.raw_predictions(image), other.raw_predictions(image)
    return (
        costs(one.layout.full) == costs(other.layout.full)
        and np.array_equal(a.scores, b.scores)
        and np.array_equal(a.boxes, b.boxes)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[dropout]", "[upsampel]"), r"every.cfg, line 33: unknown section \[upsampel\]; did you mean upsample"),
        (("[dropout]", "[Gaussian_yolo]"), r"line 33: unknown section \[gaussian_yolo\]; export the network to ONNX"),
        (("[dropout]", "[reorg]\nreverse=1"), r"line 33: \[reorg\] reverse=1 is not supported"),
        (("[dropout]", "[reorg]\nstride=3"), "line 33: .reorg. stride=3: 8 channels are no multiple of its square"),
        (("[upsample]", "[upsample]\nscale=2"), r"\[upsample\] scale=2 is not supported"),
        (
            ("activation=mish", "activation=misch"),
            "every.cfg, line 8: .*activation=misch is unknown; did you mean mish",
        ),
        (("from=-3", "from=-30"), r"every.cfg, line 31: \[scale_channels\] from=-30: there is no such layer"),
        (("mask=2,3", "mask=2,9"), r"line \d+: \[yolo\] mask=2,9: picks from 5 anchors"),
        (("filters=14", "filters=15"), r"line \d+: \[convolutional\] filters=15: .* = 14"),
        (("filters=6", "filters=six"), "filters=six: numbers"),
        (("layers=-1,11", "layers=-1,0"), r"line \d+: \[route\] its layers have maps of different sizes"),
        (("new_coords=1", ""), "activation=logistic does not go with new_coords=0"),
        (("groups=8", "groups=3"), "groups=3 does not divide"),
        (("filters=14\n", "filters=14\ngroups=2\n"), r"before a \[yolo\] needs groups=1"),
        (("filters=14\nsize=1\nstride=1", "filters=14\nsize=1\nstride=2"), r"line \d+: .* needs .* stride=1"),
        (("filters=14\nsize=1\n", "filters=14\nsize=4\n"), "size=4, stride=1 and padding=2 .* exactly 1/1"),
        (("groups=8\npadding=2", "groups=8"), "line 19: .* size=5, stride=1 and padding=0 .* 1/1"),
        (("size=2\nstride=1\n", "size=4\nstride=2\npadding=0\n"), r"\[maxpool\] size=4, .* 1/2"),
        (("from=-2\n", "from=0\n"), r"\[sam\] its layers have maps of different sizes or channels"),
        (("width=64", "with 64"), "line 3: 'with 64' is no NAME=VALUE"),
        (("[avgpool]", "[avgpool]\n[yolo]\nanchors=1,1"), "reads a .yolo. section|needs a .convolutional."),
        (("size=3\nstride=2\npad=1\nactivation=mish", "xnor=1\nactivation=mish"), "xnor=1 is not supported"),
        (("[net]", "[ned]"), "does not begin with .net."),
    ],
)
def test_a_cfg_that_cannot_be_built_is_refused_in_one_line(
    files: tuple[Path, Path], change: tuple[str, str], message: str
) -> None:
    files[0].write_text(EVERYTHING.replace(*change))
    with pytest.raises(InputError, match=message) as refused:
        ak.load_detector(files[0])
    assert "\n" not in str(refused.value)
    assert "every.cfg" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (
            lambda data: data[:-4],
            {},
            "has 4,172 bytes; weights of this network for 2 classes have 4,176.* cut off, or of another",
        ),
        (lambda data: data[:-3], {}, "cut off"),
        (lambda data: data[:10], {}, "cut off"),
        (lambda data: data + bytes(4), {}, "cut off, or of another cfg"),
        (lambda data: data[:-4] + b"\x00\x00\xc0\x7f", {}, "1 of .* numbers are not finite"),
        (lambda data: data, {"categories": 3}, "weights for 2 classes; 3 categories are asked for"),
        (lambda data: data, {"size": (32, 60)}, "input size 32x60; both must be multiples of 8"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    files: tuple[Path, Path], change: Callable[[bytes], bytes], arguments: dict[str, Any], message: str
) -> None:
    cfg, weights = files
    weights.write_bytes(change(weights.read_bytes()))
    with pytest.raises(InputError, match=message):
        ak.load_detector(cfg, weights=weights, **arguments)


def test_what_darknets_files_do_not_fit(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tiny_ssd is not darknet's"):
        ak.load_detector("tiny_ssd", weights=files[1])
    with pytest.raises(InputError, match=r"nothing\.weights: cannot be read"):
        ak.load_detector(files[0], weights=tmp_path / "nothing.weights")
    with pytest.raises(InputError, match=r"give the path of a \.cfg file"):
        ak.load_detector("darknet", categories=2)
    with pytest.raises(InputError, match="yolov3_tiny has no option 'cfg'"):
        ak.load_detector("yolov3_tiny", categories=2, cfg=EVERYTHING)
    with pytest.raises(InputError, match="no YOLO"):
        export_darknet(ak.load_detector("tiny_ssd", weights="shapes"), tmp_path / "x.cfg")


def test_a_training_begins_with_the_first_layers_or_with_another_ones_trunk(files: tuple[Path, Path]) -> None:
    cfg, whole = files
    known = ak.load_detector(cfg, weights=whole).module.state_dict()
    part = whole.with_name("every.conv.9")
    part.write_bytes(whole.read_bytes()[: 20 + 4 * (8 * 3 * 9 + 4 * 8 + 8 * 25 + 4 * 8 + 2 * (8 * 8 + 8))])
    with pytest.raises(InputError, match=r"every.conv.9: has the numbers of layers 0 to 8 only; .* backbone_weights="):
        ak.load_detector(cfg, weights=part)
    begun = ak.load_detector(cfg, categories=5, backbone_weights=part, seed=0)
    assert begun.begins_with == f"layers 0 to 8 of {part} (16 of 22 tensors)"
    other = ak.load_detector(cfg, categories=5, backbone_weights=whole, seed=0)
    assert other.begins_with == f"the trunk of {whole} (22 of 22 tensors)"
    for detector, taken in ((begun, 16), (other, 22)):
        state = detector.module.state_dict()
        assert sum(name.startswith("backbone.") and torch.equal(state[name], known[name]) for name in state) >= taken
        assert all(value.shape[0] in (10, 20) for name, value in state.items() if name.startswith("head."))
    part.write_bytes(part.read_bytes()[:-4])
    with pytest.raises(InputError, match="cut off, or of another cfg"):
        ak.load_detector(cfg, categories=5, backbone_weights=part)
    with pytest.raises(InputError, match="tiny_ssd is not darknet's"):
        ak.load_detector("tiny_ssd", categories=5, backbone_weights=part)


# The published files that trainings begin with: bytes, 20 of them before the numbers.
@pytest.mark.parametrize(
    ("name", "layers", "size"),
    [("yolov3", 74, 162_482_580), ("yolov4", 137, 170_038_676), ("yolov4_tiny", 29, 19_789_716)],
)
def test_published_parts_end_after_a_layer(name: str, layers: int, size: int) -> None:
    cfg = BUILDERS[name].cfg  # type: ignore[attr-defined]
    assert 4 * sum(layer.numbers for layer in _layers(cfg, 80) if layer.section < layers) + 20 == size


def test_weights_of_old_versions_and_names_of_classes(files: tuple[Path, Path], tmp_path: Path) -> None:
    cfg, weights = files
    body = weights.read_bytes()[20:]
    old = tmp_path / "old.weights"
    old.write_bytes(np.array([0, 1, 0, 7], "<i4").tobytes() + body)  # images seen as int32
    names = tmp_path / "obj.names"
    names.write_text("cat\ndog\n")
    detector = ak.load_detector(cfg, weights=old, categories=names)
    assert [category.name for category in detector.categories] == ["cat", "dog"]
    assert same(detector, ak.load_detector(cfg, weights=weights))


# Numbers in the published .weights files (80 classes); multiply-adds at a size as half of what darknet prints, which
# counts a little more. What darknet prints for yolov7-tiny was printed for a network of few classes.
@pytest.mark.parametrize(
    ("name", "numbers", "size", "classes", "macs"),
    [
        ("yolov3", 62_001_757, 416, 80, 32.93e9),
        ("yolov3_tiny", 8_858_734, 416, 80, 2.785e9),
        ("yolov4", 64_429_405, 416, 80, 30.05e9),
        ("yolov4", 64_429_405, 608, 80, 64.25e9),
        ("yolov4_tiny", 6_062_814, 416, 80, 3.455e9),
        ("yolov7_tiny", 6_241_885, 416, 2, 2.7625e9),
    ],
)
def test_the_families_have_the_published_sizes(name: str, numbers: int, size: int, classes: int, macs: float) -> None:
    with torch.device("meta"):
        detector = ak.load_detector(name, categories=classes, size=(size, size))
    assert weights_count(BUILDERS[name].cfg, 80) == numbers  # type: ignore[attr-defined]
    assert costs(detector.layout.full)["total_flops"] == pytest.approx(macs, rel=0.015)


def test_tiny_yolo_is_small() -> None:
    detector = ak.load_detector("tiny_yolo", categories=7, seed=0)
    assert 500_000 < detector.parameters < 1_000_000
    assert detector.layout.full.per_level == (3, 3, 3)


@cache
def thin(name: str) -> Detector:
    """A family with an eighth of its channels, by its .cfg, with weights that make predictions differ."""
    whole = BUILDERS[name].cfg  # type: ignore[attr-defined]
    heads = {level.last for level in yolo_levels(whole)}
    sections = tuple(
        replace(section, filters=section.filters // 8)
        if isinstance(section, Convolution) and number not in heads
        else section
        for number, section in enumerate(whole.sections)
    )
    text = cfg_text(replace(whole, sections=sections))
    detector = ak.load_detector("darknet", categories=2, size=(64, 96), seed=1, cfg=text)
    return properties.spread(detector, scale=0.02)


LONG = [pytest.param(name, marks=pytest.mark.nightly) for name in ("yolov3", "yolov4")]


@pytest.mark.parametrize("name", ["yolov3_tiny", "yolov4_tiny", "yolov7_tiny", *LONG])
def test_promises_of_the_large_families(name: str, tmp_path: Path) -> None:
    detector, images = thin(name), properties.noise_images((64, 96), (70, 50))
    testing.check_raw_predictions(detector, images)
    testing.check_network(detector, images[0])
    testing.check_saving(detector, images[:1], tmp_path)
    anchors, last = detector.layout.anchors, len(detector.layout.levels) - 1
    for gone in (0, last):
        kept = detector.layout.configuration(drop=[anchor.index for anchor in anchors if anchor.level == gone][:-1])
        empty = detector.layout.configuration(drop=[anchor.index for anchor in anchors if anchor.level == gone])
        testing.check_costs(detector, empty)
        small = testing.check_pruning(detector, empty if gone else kept, images[:1])
        file = export_darknet(small, tmp_path / "small.cfg")
        assert same(ak.load_detector(file, weights=file.with_suffix(".weights")), small)
        if gone:
            assert len(read_cfg(file).sections) < len(parse_cfg(detector.options["cfg"]).sections)


@pytest.mark.parametrize(("scope", "topk"), [("class", 12), ("level", 15), ("image", 20)])
def test_the_best_of_each_scope_are_returned(scope: str, topk: int) -> None:
    rules = PostProcess(score_threshold=0.01, topk=topk, topk_scope=scope, nms_iou=0.9)
    whole = thin("yolov3_tiny")
    limited = whole.build(whole.categories, (64, 96), postprocess=rules, **whole.options)
    limited.module.load_state_dict(whole.module.state_dict())
    images = properties.noise_images((64, 96), (70, 50))
    properties.kit_postprocessing_gives_what_the_detector_returns(limited, images)
    with torch.inference_mode():
        found, all_found = (each.module.eval()([to_tensor(images[0])])[0]["scores"] for each in (limited, whole))
    assert len(found) < len(all_found)


def test_parts_of_yolov4_are_the_published_five() -> None:
    """Chu et al. cut it into the trunk to stride 8, 16 and 32 with the SPP, the neck up, and the neck down."""
    layers: dict[tuple[str, int], list[int]] = {}
    for group in ak.coupled_channels(thin("yolov4")).groups:
        layers.setdefault((group.part, group.stride), []).append(int(group.name.split(".")[2]))
    # First and last of the layers, by their numbers in the published file.
    trunk = {1: (0, 0), 2: (1, 10), 4: (11, 23), 8: (24, 54), 16: (55, 85), 32: (86, 116)}
    pyramid = {32: (117, 117), 16: (120, 127), 8: (130, 137)}
    aggregation = {16: (141, 148), 32: (152, 159)}
    parts = {"trunk": trunk, "pyramid": pyramid, "aggregation": aggregation}
    expected = {(part, stride): at for part, places in parts.items() for stride, at in places.items()}
    assert {place: (min(numbers), max(numbers)) for place, numbers in layers.items()} == expected


@pytest.mark.parametrize(("name", "size"), [("tiny_yolo", (96, 128)), ("yolov4_tiny", (64, 64))])
def test_channels_are_cut_and_come_back_from_darknets_files(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    detector = properties.spread(ak.load_detector(name, categories=5, size=size, seed=1), scale=0.05)
    channels = ak.coupled_channels(detector)
    keep = {group.name: range(0, group.atoms, 2) for group in channels.groups}
    small, masked = (cut(detector, keep, channels=channels) for cut in (cut_channels, masked_channels))
    assert apart(small, masked) < 1e-4
    assert small.parameters < 0.4 * detector.parameters
    cuts = [small]
    if name == "yolov4_tiny":
        cuts.append(ak.prune(small, small.layout.configuration(keep=[0, 4])))
    for cut in cuts:
        file = export_darknet(cut, tmp_path / "cut.cfg")
        assert same(ak.load_detector(file, weights=file.with_suffix(".weights")), cut)


def test_tiny_yolo_learns_eight_images(tmp_path: Path) -> None:
    """Trained on a few images for some seconds, it finds what is on them."""
    data = ak.load_dataset("shapes", train=8, val=1, test=1, cache=tmp_path, progress=False)
    detector = ak.load_detector("tiny_yolo", categories=data.categories, size=(96, 96), seed=0)
    split, numbers = data.train, {category.id: number for number, category in enumerate(data.categories, 1)}
    images = [to_tensor(split.image(image_id)) for image_id in split.image_ids]
    targets = []
    for image_id in split.image_ids:
        objects = [each for each in split.ground_truth["annotations"] if each["image_id"] == image_id]
        boxes = torch.tensor([each["bbox"] for each in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([numbers[each["category_id"]] for each in objects], dtype=torch.int64)
        targets.append({"boxes": boxes, "labels": labels})
    module = detector.module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=4e-3)
    for _ in range(55):
        losses = module(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    evaluator = ak.Evaluator(ak.collect_predictions(detector, split, progress=False), split.ground_truth)
    assert evaluator.stats(detector.layout.full)["AP50"] > 0.8


def test_the_loss_assigns_every_object() -> None:
    """By hand: which cells and anchors learn an object. One that fits no anchor goes to the nearest."""
    shapes = [[(8.0, 8.0), (40.0, 40.0)], [(16.0, 16.0)]]
    levels = yolo_levels(BUILDERS["yolov3_tiny"].cfg)  # type: ignore[attr-defined]
    raw = [torch.zeros(2, len(own), 7, 64 // step, 64 // step) for own, step in zip(shapes, (16, 32), strict=True)]
    for output in raw:
        output.requires_grad_()
    boxes = torch.tensor([[36.0, 4.0, 46.0, 14.0], [0.0, 0.0, 1.0, 1.0]])  # 10 x 10 around (41, 9); a single pixel
    labels = torch.tensor([2, 1])
    targets = [{"boxes": boxes, "labels": labels}, {"boxes": boxes[:0], "labels": labels[:0]}]
    losses = yolo_losses(raw, levels, shapes, targets)
    losses["classification"].backward()
    learned = [
        [tuple(place) for place in output.grad.abs().sum(2).nonzero().tolist()]  # image, anchor, row, column
        for output in raw
    ]
    # The first fits 8 x 8 (stride 16: column 2) and 16 x 16 (stride 32: column 1), not 40 x 40; the second none.
    assert learned == [[(0, 0, 0, 0), (0, 0, 0, 2)], [(0, 0, 0, 1)]]
    # Two classes at a probability of 1/2 each, by object.
    assert losses["classification"].item() == pytest.approx(2 * math.log(2) / 8)
    empty = yolo_losses(raw, levels, shapes, targets[1:] * 2)
    assert empty["bbox_regression"] == empty["classification"] == 0 < empty["objectness"]


@pytest.mark.real
def test_yolo_fastest_is_what_its_onnx_file_says(real_data: Path) -> None:
    import onnxruntime

    file = real_data / "detectors" / "yolo-fastest-1.1.cfg"
    detector = ak.load_detector(file, weights=file.with_suffix(".weights"))
    image = torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(file.with_suffix(".onnx"))
    [[rows]] = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    centre, half = rows[:, :2], rows[:, 2:4] / 2
    with torch.inference_mode():
        scores, boxes = detector.network()(image)
    expected = np.concatenate([centre - half, centre + half], axis=1).clip(0, 320)
    order, theirs = (np.lexsort(each.round(2).T) for each in (boxes[0].numpy(), expected))
    assert np.abs(boxes[0].numpy()[order] - expected[theirs]).max() / 320 < 1e-5
    assert np.abs(scores[0].numpy()[order] - (rows[:, 4:5] * rows[:, 5:])[theirs]).max() < 1e-5


def yolo_fastest(real_data: Path) -> tuple[Path, Split, Detector]:
    file = real_data / "detectors" / "yolo-fastest-1.1.cfg"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the subset has no validation images
        split = load_dataset(real_data / "coco_subset").train
    return file, split, ak.load_detector(file, weights=file.with_suffix(".weights"), categories=split.categories)


@pytest.mark.real
@pytest.mark.nightly  # by day its ONNX file has its accuracy: tests/onnx/test_real_files.py
def test_yolo_fastest_has_its_accuracy(real_data: Path) -> None:
    _, split, detector = yolo_fastest(real_data)
    evaluator = ak.Evaluator(ak.collect_predictions(detector, split, progress=False), split.ground_truth)
    assert evaluator.accuracy(detector.layout.full) == pytest.approx(0.1175, abs=5e-4)


@pytest.mark.real
def test_cuts_of_yolo_fastest_have_their_accuracies(
    real_data: Path, tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    file, split, detector = yolo_fastest(real_data)
    some = split.subset(30)
    few = ak.Evaluator(ak.collect_predictions(detector, some, progress=False), some.ground_truth)
    for keep in ([0, 2, 3, 5], [3, 4, 5]):
        code, _, _ = command("prune", file, "--keep", ",".join(map(str, keep)), "--out", tmp_path / "cut.cfg", "--json")
        assert code == 0
        cut = ak.load_detector(tmp_path / "cut.cfg", weights=tmp_path / "cut.weights", categories=split.categories)
        found = ak.Evaluator(ak.collect_predictions(cut, some, progress=False), some.ground_truth)
        assert found.accuracy(cut.layout.full) == few.accuracy(detector.layout.configuration(keep=keep))
