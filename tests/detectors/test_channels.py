"""Coupled channels and channel surgery: golden groups, and cut detectors that are ordinary ones."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

import anchorkit as ak
from anchorkit import testing
from anchorkit.costs import costs
from anchorkit.detectors import CoupledChannels, Detector, cut_channels, masked_channels, parameter_cost, watch_maps
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess
from tests.detectors import properties
from tests.detectors.test_every_detector import CASES, IMAGES, SPREADS, every_detector

# With five classes, at the family's own size of the network: groups, parameters, and those left when 30 % of every
# group go.
GOLDEN = {
    "tiny_ssd": (11, 675_068, 380_607),
    "tiny_retinanet": (15, 496_337, 260_546),
    "ssd300_vgg16": (23, 24_280_556, 12_225_967),
    "ssdlite320_mobilenet_v3_large": (37, 2_261_960, 1_173_877),
    "ssdlite300_mobilenet_v2": (33, 3_110_538, 1_601_057),
    "retinanet_resnet50_fpn": (47, 32_284_049, 15_955_205),
    "retinanet_resnet50_fpn_v2": (47, 36_414_865, 18_082_689),
    "efficientdet_d0": (46, 3_828_038, 1_942_893),
}


@cache
def built(name: str) -> tuple[Detector, CoupledChannels]:
    """A small detector of a family, with weights that make predictions differ, and its channels."""
    detector = ak.load_detector(name, categories=5, seed=1, **CASES[name])
    properties.spread(detector, scale=SPREADS.get(name, 0.1))
    return detector, ak.coupled_channels(detector)


def some(channels: CoupledChannels, share: float = 0.3, seed: int = 0) -> dict[str, list[int]]:
    """Atoms that stay if a share of every group, drawn at random, goes."""
    rng = np.random.default_rng(seed)
    return {
        group.name: sorted(rng.permutation(group.atoms)[: group.atoms - int(share * group.atoms)].tolist())
        for group in channels.groups
    }


def predicted(detector: Detector, seed: int = 0) -> tuple[Tensor, ...]:
    """What the network says of a random image."""
    image = torch.rand(1, 3, *detector.layout.input_size, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        found = detector.network()(image)
    return (found,) if isinstance(found, Tensor) else tuple(found)


def apart(one: Detector, other: Detector) -> float:
    """The largest difference of what two networks say, relative to what the second says."""
    pairs = zip(predicted(one), predicted(other), strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def counted(detector: Detector) -> int:
    """Multiply-adds of the network, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        predicted(detector)
    return counter.get_total_flops() // 2


@every_detector
def test_a_cut_detector_says_what_a_masked_one_says_and_costs_what_was_promised(name: str) -> None:
    detector, channels = built(name)
    keep = some(channels)
    small = cut_channels(detector, keep, channels=channels)
    assert apart(small, masked_channels(detector, keep, channels=channels)) < 1e-5
    assert apart(small, detector) > 0.01  # so that the comparison can fail
    kept = {group: len(atoms) for group, atoms in keep.items()}
    assert small.parameters == channels.parameters(kept) < 0.7 * detector.parameters
    assert counted(small) == channels.macs(kept) == costs(small.layout.full)["total_flops"]
    assert channels.macs() == costs(detector.layout.full)["total_flops"]
    assert channels.parameters() == detector.parameters


@pytest.mark.parametrize("name", [name for name in GOLDEN if "resnet50" not in name])
def test_groups_and_parameters_of_every_family(name: str) -> None:
    if name.startswith("efficientdet"):
        pytest.importorskip("effdet")
    options = {"size": CASES[name]["size"]}
    channels = ak.coupled_channels(ak.load_detector(name, categories=5, **options))
    kept = {group.name: group.atoms - int(0.3 * group.atoms) for group in channels.groups}
    assert (len(channels.groups), channels.parameters(), channels.parameters(kept)) == GOLDEN[name]


@pytest.mark.parametrize("name", [name for name in GOLDEN if "resnet50" in name])
def test_groups_and_parameters_of_the_large_families(name: str) -> None:
    _, channels = built(name)
    kept = {group.name: group.atoms - int(0.3 * group.atoms) for group in channels.groups}
    assert (len(channels.groups), channels.parameters(), channels.parameters(kept)) == GOLDEN[name]


def test_groups_of_tiny_ssd() -> None:
    channels = ak.coupled_channels(ak.load_detector("tiny_ssd", weights="shapes"))
    assert sorted(group.atoms for group in channels.groups) == sorted([64, 64, 64, 96, 96, 96, 64, 64, 32, 32, 16])
    left = {}
    for ratio in (0.05, 0.1, 0.2, 0.5):
        left[ratio] = {group.name: group.atoms - int(ratio * group.atoms) for group in channels.groups}
    parameters = [channels.parameters(kept) for kept in left.values()]
    assert parameters == [666_215, 610_056, 506_375, 242_128]
    assert [channels.macs(left[ratio]) for ratio in (0.2, 0.5)] == [77_276_313, 33_632_640]
    assert {group.part for group in channels.groups} == {"trunk"}
    assert [group.stride for group in channels.groups] == sorted(group.stride for group in channels.groups)
    assert {fixed.reason for fixed in channels.fixed} == {"makes the output of the detector"}
    assert all(len(group.norms) == len(group.layers) for group in channels.groups)


def test_parts_of_a_pyramid() -> None:
    _, channels = built("tiny_retinanet")
    parts = {group.name: group.part for group in channels.groups}
    assert {parts[name] for name in parts if name.startswith("head.")} == {"head"}
    assert {parts[name] for name in parts if name.startswith("backbone.body")} == {"trunk"}
    assert {parts[name] for name in parts if name.startswith(("backbone.laterals", "backbone.outputs"))} == {"pyramid"}


def test_a_norm_group_goes_as_a_whole() -> None:
    detector, channels = built("tiny_retinanet")
    tower = channels["head.classification.tower.0.0"]
    assert tower.atoms == 8
    assert tower.channels == 48
    small = cut_channels(detector, {tower.name: [0, 2, 3, 4, 5, 7]}, channels=channels)
    norm = small.module.head.classification.tower[0][1]
    assert (norm.num_groups, norm.num_channels) == (6, 36)


# ------------------------------------------------------------------------------------------- an ordinary detector

ORDINARY = ("tiny_ssd", "tiny_retinanet", "ssdlite300_mobilenet_v3_small")


def test_a_cut_detector_is_saved_and_loaded(tmp_path: Path) -> None:
    detector, channels = built("ssdlite300_mobilenet_v3_small")
    testing.check_saving(cut_channels(detector, some(channels), channels=channels), IMAGES[:1], tmp_path)


@pytest.mark.parametrize("name", [*ORDINARY, pytest.param("efficientdet_d0", marks=pytest.mark.nightly)])
def test_anchors_first_or_channels_first(name: str) -> None:
    if name.startswith("efficientdet"):
        pytest.importorskip("effdet")
    detector, channels = built(name)
    keep = some(channels)
    full = detector.layout
    # Without the second level: norms of EfficientDet's head are then there without being used.
    drop = [anchor.index for anchor in full.anchors if anchor.level == 1 or anchor.index % 2]
    configuration = full.configuration(drop=drop)
    cut = cut_channels(detector, keep, channels=channels)
    one = ak.prune(cut, cut.layout.configuration(drop=drop))
    pruned = ak.prune(detector, configuration)
    of_pruned = ak.coupled_channels(pruned)
    if {group.name: group.atoms for group in of_pruned.groups} == {
        group.name: group.atoms for group in channels.groups
    }:
        two = cut_channels(pruned, keep)
        assert one.layout == two.layout
        assert one.options == two.options
        assert apart(one, two) == 0
    assert one.parameters < pruned.parameters
    testing.check_pruning(cut, cut.layout.configuration(drop=drop), IMAGES[:1])
    testing.check_costs(cut, cut.layout.configuration(drop=drop))


@pytest.mark.parametrize("name", ["tiny_ssd", "tiny_retinanet"])
def test_parameters_of_every_configuration_are_known(name: str) -> None:
    detector, channels = built(name)
    cut = cut_channels(detector, some(channels), channels=channels)
    cost = parameter_cost(cut)
    first, rng = cut.layout.anchors[0], np.random.default_rng(0)
    level = [anchor.index for anchor in cut.layout.anchors if anchor.level == first.level]
    drops: list[Any] = [[], level, range(1, len(cut.layout)), rng.permutation(len(cut.layout))[:5].tolist()]
    for drop in drops:
        kept = cut.layout.configuration(drop=drop)
        assert cost.compute(kept) == ak.prune(cut, kept).parameters


@every_detector
def test_nothing_cut_is_nothing_changed(name: str) -> None:
    detector, channels = built(name)
    same = cut_channels(detector, {group.name: range(group.atoms) for group in channels.groups}, channels=channels)
    assert same.layout == detector.layout
    assert same.options == detector.options
    state = detector.module.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in same.module.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(predicted(same), predicted(detector), strict=True))


def test_fresh_weights_of_a_cut_detector_say_as_much_as_those_of_a_whole_one() -> None:
    """SSD300 has no norms that would make up for weights that were drawn for more inputs."""
    detector = ak.load_detector("ssd300_vgg16", categories=5, size=(268, 284), width=1 / 8)
    channels = ak.coupled_channels(detector)
    cut = cut_channels(detector, some(channels, 0.5), channels=channels)
    image = torch.rand(1, 3, *detector.layout.input_size, generator=torch.Generator().manual_seed(0))

    def last_map(seed: int, of: Detector) -> float:
        with torch.inference_mode():
            return float(list(ak.untrained(of, seed).module.backbone(image).values())[1].std())

    sizes = [[last_map(seed, of) for seed in range(4)] for of in (detector, cut)]
    assert 0.5 < np.median(sizes[1]) / np.median(sizes[0]) < 2


@pytest.mark.nightly  # by day others take its steps, one by one
@pytest.mark.parametrize("name", ["tiny_ssd", "tiny_retinanet"])
def test_a_cut_detector_walks_the_whole_way(name: str, data: ak.datasets.Dataset, tmp_path: Path) -> None:
    """Checked (which saves, loads, prunes and draws fresh weights), cut again, trained, pruned, exported, timed."""
    pytest.importorskip("onnxruntime")
    detector, channels = built(name)
    small = cut_channels(detector, some(channels), channels=channels)
    split = properties.split_of(small, IMAGES)
    assert set(testing.check_detector(small, split, images=1, configurations=0).values()) == {"kept"}
    small = cut_channels(small, some(ak.coupled_channels(small), 0.3))
    properties.learns(small, small.layout.input_size)
    small = ak.prune(small, small.layout.configuration(drop=[0]))
    again = ak.load_detector(ak.save_detector(small, tmp_path))
    fresh = ak.untrained(again, seed=0)
    assert again.layout == small.layout == fresh.layout
    assert counted(again) == costs(again.layout.full)["total_flops"]
    properties.learns(fresh, fresh.layout.input_size)
    ak.export_onnx(again, tmp_path / "small.onnx")  # it compares the file with torch
    report = ak.measure_latency({"full": detector, "small": again}, IMAGES, repeats=3, warmup=1, progress=False)
    assert set(report.frame["detector"]) == {"full", "small"}
    assert detector.parameters == channels.parameters()  # and the whole one is as it was


# ------------------------------------------------------------------------------------------- networks of one's own


class Bare(Detector):
    """A detector that is a network and a size."""

    def network(self) -> nn.Module:
        return self.module.eval()

    def measured_layout(self) -> ak.AnchorLayout:
        return self.layout


def bare(module: nn.Module, size: int = 32) -> Bare:
    level = ak.Level("L0", height=8, width=8, anchors=((8, 8),), head_macs_per_anchor=1)
    rules = PostProcess(score_threshold=0.1, topk=None, topk_scope="class", nms_iou=0.5, max_detections=10)
    return Bare("bare", module, ak.AnchorLayout("bare", (size, size), (level,)), [], rules)


class Net(nn.Module):
    """A first convolution, something in the middle, and an output."""

    def __init__(self, middle: Any, channels: int = 12, after: int | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.middle = middle
        self.last = nn.Conv2d(after or channels, 4, 1)
        self.part = middle if isinstance(middle, nn.Module) else None

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.last(F.relu(self.middle(F.relu(self.first(x))))),)


class Ways(nn.Module):
    """Ways in which networks of one's own tie channels, by name."""

    def __init__(self, way: str, c: int = 12) -> None:
        super().__init__()
        self.way, self.c = way, c
        self.a, self.b = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        self.part = nn.Conv2d(c // 2, c // 2, 3, padding=1)
        self.frozen = FrozenBatchNorm2d(c)
        self.grouped = nn.Conv2d(c, c, 3, padding=1, groups=4)
        self.linear = nn.Linear(c, c)
        self.scale = nn.Parameter(torch.rand(c, 1, 1) + 0.5)
        self.up = nn.ConvTranspose2d(c, c, 2, stride=2)
        self.layer_norm = nn.LayerNorm(c)

    def forward(self, x: Tensor) -> Tensor:
        match self.way:
            case "sum":
                return self.b(F.relu(self.a(x))) + x
            case "cat":
                return torch.cat([self.a(x)[:, :], self.b(x)], 1)
            case "frozen":
                return F.relu(self.frozen(self.a(x)))
            case "grouped":
                return self.grouped(F.relu(self.a(x)))
            case "scale":
                return F.normalize(F.relu(self.a(x))) * self.scale
            case "excite":
                return x * torch.sigmoid(self.b(F.silu(self.a(x.mean((2, 3), keepdim=True)))))
            case "linear":
                return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            case "up":
                return self.up(F.max_pool2d(x, 2)) + self.a(x)
            case "chunk":  # as in the blocks of later YOLOs
                one, other = self.a(x).chunk(2, 1)
                return torch.cat([one, other + self.part(F.relu(other))], 1)
            case "shuffle":
                n, _, h, w = x.shape
                return self.a(x).view(n, 3, -1, h, w).transpose(1, 2).reshape(n, -1, h, w)
            case "split":  # at a fixed number
                one, other = self.a(x).split([4, 8], 1)
                return torch.cat([other, one], 1)
            case "flip":
                return self.a(x).flip(1)
            case "cumsum":
                return self.a(x).cumsum(1)
            case "mean":
                return self.a(x) - self.a(x).mean(1, keepdim=True)
            case "constant":
                return self.a(x) * torch.arange(self.c, device=x.device).reshape(-1, 1, 1)
            case "layer norm":
                return self.layer_norm(self.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            case "fixed chunk":  # equal parts, but by a number in the code
                one, other = self.a(x).split(6, 1)
                return torch.cat([other, one], 1)
        raise AssertionError(self.way)


# Groups, and what they have in channels.
FOLLOWED = {
    "sum": [12, 12],
    "cat": [12, 12, 12],
    "frozen": [12, 12],
    "grouped": [12, 12],
    "scale": [12, 12],
    "excite": [12, 12],
    "linear": [12, 12],
    "up": [12, 12],
    "chunk": [12, 12],
    "shuffle": [12, 12],
}


@pytest.mark.parametrize("way", FOLLOWED)
def test_ties_of_networks_of_ones_own(way: str) -> None:
    torch.manual_seed(0)
    detector = bare(Net(Ways(way), after=24 if way == "cat" else None))
    channels = ak.coupled_channels(detector)
    assert (
        sorted(
            sum(g.channels for g in channels.groups if g.name.split("#")[0] == n)
            for n in {g.name.split("#")[0] for g in channels.groups}
        )
        == FOLLOWED[way]
    )
    keep = some(channels, 0.4)
    small = cut_channels(detector, keep, channels=channels)
    assert apart(small, masked_channels(detector, keep, channels=channels)) < 1e-5
    assert apart(small, detector) > 1e-4
    kept = {group: len(atoms) for group, atoms in keep.items()}
    assert small.parameters == channels.parameters(kept) < detector.parameters
    assert counted(small) == channels.macs(kept) < channels.macs()


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("flip", "flip in middle, which cannot be followed"),
        ("cumsum", "cumsum in middle, which cannot be followed"),
        ("mean", "mean in middle over channels"),
        ("split", "split_with_sizes in middle, which takes channels by their numbers"),
        ("constant", "mul in middle with values that belong to no channel"),
        ("layer norm", "native_layer_norm in middle.layer_norm, whose statistics are taken over all channels"),
    ],
)
def test_what_cannot_be_followed_is_fixed(way: str, reason: str) -> None:
    channels = ak.coupled_channels(bare(Net(Ways(way))))
    assert [group.name for group in channels.groups] == ["first"]
    assert reason in {fixed.reason for fixed in channels.fixed if fixed.layer == "middle.a"}


def test_parts_by_numbers_in_the_code_are_refused_when_cut() -> None:
    detector = bare(Net(Ways("fixed chunk")))
    channels = ak.coupled_channels(detector)
    [group] = [group for group in channels.groups if group.name == "middle.a"]
    with pytest.raises(InputError, match="cannot be cut|fixed numbers"):
        cut_channels(detector, {group.name: range(group.atoms - 2)}, channels=channels)


def test_maps_are_shown_as_layers_read_them() -> None:
    detector, channels = built("tiny_retinanet")
    images = torch.rand(2, 3, *detector.layout.input_size)
    seen: dict[str, list[tuple[Tensor, int]]] = {}
    watch_maps(channels, detector, images, lambda layer, map, number: seen.setdefault(layer, []).append((map, number)))
    assert {reader.layer for group in channels.groups for reader in group.readers} <= set(seen)
    levels = len(detector.layout.levels)
    assert [map.shape[:2] for map, _ in seen["head.regression.output"]] == [(2, 48)] * levels
    for group in channels.groups:
        for reader in group.readers:
            assert tuple(dict.fromkeys(number for _, number in seen[reader.layer])) == reader.maps
    first = {number: map for map, number in seen["head.classification.tower.0.0"]}
    for map, number in seen["head.regression.tower.0.0"]:  # the two towers read the same maps
        assert torch.equal(map, first[number])


def test_maps_of_another_detector_are_refused() -> None:
    _, channels = built("tiny_retinanet")
    detector, _ = built("tiny_ssd")
    with pytest.raises(InputError, match="found in this detector"):
        watch_maps(channels, detector, torch.rand(1, 3, *detector.layout.input_size), lambda *seen: None)


def test_frozen_batch_norms_of_a_residual_network() -> None:
    torch.manual_seed(0)
    detector = bare(nn.Sequential(*list(resnet18(norm_layer=FrozenBatchNorm2d).children())[:-2]), size=64)
    channels = ak.coupled_channels(detector)
    kept = {group.name: group.atoms - int(0.3 * group.atoms) for group in channels.groups}
    assert (len(channels.groups), detector.parameters) == (11, 11_166_912)
    assert channels.parameters(kept) == 7_012_071
    assert all(len(group.norms) == len(group.layers) for group in channels.groups)
    keep = some(channels)
    small = cut_channels(detector, keep, channels=channels)
    assert small.module[1].weight.shape == (45,)
    assert apart(small, masked_channels(detector, keep, channels=channels)) < 1e-5


def test_a_detector_of_ones_own_is_cut_like_the_kits(example: ModuleType, data: ak.datasets.Dataset) -> None:
    detector = properties.spread_example(example.build(data.categories))
    channels = ak.coupled_channels(detector)
    assert {fixed.layer for fixed in channels.fixed} == {"heads.0", "heads.1"}
    small = ak.prune_channels(detector, data.val, ratio=0.3, images=2, progress=False)
    report = testing.check_detector(small, data.val, images=1, configurations=0)
    assert set(report.values()) == {"kept"}
    assert small.layout.trunk_macs < 0.7 * detector.layout.trunk_macs
    wrong = copy.copy(detector)
    wrong.layout = replace(detector.layout, trunk_macs=1)
    with pytest.raises(InputError, match="says trunk_macs is 1, counted are .*measured_layout"):
        cut_channels(wrong, some(channels), channels=channels)


# ------------------------------------------------------------------------------------------- bad input


class Reads(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(x.mean())


def test_a_network_that_reads_values_is_named() -> None:
    with pytest.raises(InputError, match=r"does not run on torch's meta device in middle: .*meta"):
        ak.coupled_channels(bare(Net(Reads())))


def test_a_network_without_convolutions_is_refused() -> None:
    with pytest.raises(InputError, match="no convolutions"):
        ak.coupled_channels(bare(nn.ReLU()))


def test_a_network_whose_channels_cannot_go_is_refused(data: ak.datasets.Dataset) -> None:
    with pytest.raises(InputError, match="bare: no channels can be pruned; coupled_channels.* says why"):
        ak.prune_channels(bare(nn.Conv2d(3, 4, 1)), data.val, ratio=0.5, images=1, progress=False)


def test_a_network_without_norms_has_no_scale_of_one(data: ak.datasets.Dataset) -> None:
    detector, _ = built("ssd300_vgg16")
    with pytest.raises(InputError, match="'bn_scale': the group backbone.stages.0.0 has no norm"):
        ak.prune_channels(detector, data.val, ratio=0.5, importance="bn_scale", images=1, progress=False)


def test_groups_and_atoms_must_exist() -> None:
    detector, channels = built("tiny_ssd")
    with pytest.raises(InputError, match=r"no channel group 'backbone.stages.0.1'; did you mean backbone"):
        cut_channels(detector, {"backbone.stages.0.1": [0]}, channels=channels)
    with pytest.raises(InputError, match="keeps no channel"):
        cut_channels(detector, {"backbone.stages.0.0": []}, channels=channels)
    with pytest.raises(InputError, match="it has channels 0 to 15"):
        cut_channels(detector, {"backbone.stages.0.0": [3, 16]}, channels=channels)
    with pytest.raises(InputError, match="17 of 16"):
        channels.macs({"backbone.stages.0.0": 17})


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ([3, 4], "is not a number of outputs for each layer"),
        ({"backbone.stages.9.0": 3}, "has no 'backbone.stages.9.0' to cut"),
        ({"backbone.stages.0.0": 17}, "keeps 17 of 16 outputs; 1 to all of them can stay"),
        ({"backbone.stages.0.0": 0}, "keeps 0 of 16 outputs"),
        ({"backbone.stages.0.0": [3, 4]}, "1 whole numbers are needed"),
        ({"backbone.stages.0.3": 20}, r"go together keep different numbers of channels \(backbone.stages.0.3: 20, "),
        ({"head.regression.levels.0": 3}, "its outputs cannot be cut"),
    ],
)
def test_widths_that_do_not_fit(widths: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        ak.load_detector("tiny_ssd", categories=2, size=(96, 128), channels=widths)
    file = ak.save_detector(built("tiny_ssd")[0], tmp_path) / "detector.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "options": {"channels": widths}}))
    with pytest.raises(InputError, match=f"^{file}: .*{message}"):
        ak.load_detector(tmp_path)


# ------------------------------------------------------------------------------------------- another judge


WITHOUT_NORM_GROUPS = [name for name in CASES if "retinanet" not in name or name == "retinanet_resnet50_fpn"]
QUICK_TO_JUDGE = {"tiny_ssd", "ssd300_vgg16", "ssdlite300_mobilenet_v2"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK_TO_JUDGE else pytest.mark.nightly) for name in WITHOUT_NORM_GROUPS],
)
def test_torch_pruning_cuts_the_same(name: str) -> None:
    if name.startswith("efficientdet"):
        pytest.importorskip("effdet")
    tp = pytest.importorskip("torch_pruning")
    detector, channels = built(name)
    keep = some(channels)
    small = cut_channels(detector, keep, channels=channels)
    theirs = copy.copy(detector)
    theirs.module = copy.deepcopy(detector.module)
    network = theirs.network()
    # The weights of BiFPN's edges are one number per map; torch-pruning takes them for channels.
    edges = [tensor for path, tensor in network.named_parameters() if path.endswith("edge_weights")]
    image = torch.rand(1, 3, *detector.layout.input_size)
    graph = tp.DependencyGraph().build_dependency(network, image, ignored_params=edges)
    for group in channels.groups:
        layer = theirs.module.get_submodule(group.layers[0].layer)
        gone = sorted(set(range(group.atoms)) - set(keep[group.name]))
        at = group.layers[0].channels[gone].reshape(-1).tolist()
        graph.get_pruning_group(layer, tp.prune_conv_out_channels, idxs=at).prune()
    ours, judge = dict(small.module.named_parameters()), dict(theirs.module.named_parameters())
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: t.shape for key, t in judge.items()}
    assert all(torch.equal(tensor, judge[key]) for key, tensor in ours.items())
