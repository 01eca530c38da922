"""YOLOv5: a checkpoint of the training repository loads whole, and predicts what it does there."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import anchorkit as ak
from anchorkit import testing
from anchorkit.detectors import cut_channels, export_darknet, masked_channels
from anchorkit.detectors.base import to_tensor
from anchorkit.detectors.yolov5 import own_name
from anchorkit.errors import InputError
from tests.detectors import properties
from tests.detectors import yolov5_repository as repository_of_theirs
from tests.detectors.test_channels import apart

SIZE = (64, 96)


def write(path: Path, model: nn.Module, **others: Any) -> Path:
    with repository_of_theirs.importable():
        torch.save({"epoch": 3, "model": model.half(), "ema": None, **others}, path)
    model.float()
    return path


@pytest.fixture(scope="module")
def theirs() -> repository_of_theirs.Model:
    """A network of two classes, its anchors not the usual ones, its numbers those that half precision has."""
    anchors = [[10, 14, 16, 30, 33, 22], [30, 60, 62, 44, 56, 120], [112, 96, 160, 192, 352, 320]]
    return repository_of_theirs.model(2, names=["helmet", "head"], anchors=anchors).half().float()


@pytest.fixture(scope="module")
def best(theirs: repository_of_theirs.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("weights") / "best.pt", theirs)


@pytest.fixture(scope="module")
def exported(theirs: repository_of_theirs.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as the repository exports it."""
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("exported") / "best.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(theirs, (torch.rand(1, 3, *SIZE),), path, dynamo=False, opset_version=17)
    return path


@pytest.fixture(scope="module")
def loaded(best: Path) -> ak.Detector:
    return ak.load_detector("yolov5n", weights=best, size=SIZE)


def test_a_checkpoint_brings_names_anchors_and_every_number(
    theirs: repository_of_theirs.Model, loaded: ak.Detector, best: Path
) -> None:
    assert [(category.id, category.name) for category in loaded.categories] == [(1, "helmet"), (2, "head")]
    assert loaded.layout.levels[1].anchors == ((30, 60), (62, 44), (56, 120))
    assert loaded.begins_with == str(best)
    ours, used = loaded.module.state_dict(), theirs.state_dict()
    beside = {"model.24.anchors", "model.24.anchor_grid"}
    assert {own_name(name) for name in used.keys() - beside} == set(ours)
    for name in used.keys() - beside:
        assert torch.equal(ours[own_name(name)], used[name]), name


def test_it_predicts_what_it_does_there(theirs: repository_of_theirs.Model, loaded: ak.Detector) -> None:
    repository_of_theirs.check_same_predictions(theirs, loaded.network(), torch.rand(2, 3, *SIZE), 1e-3, 1e-5)


@pytest.mark.parametrize(
    ("name", "width", "parameters", "numbers"),
    # The parameters that the repository prints; the numbers of the published yolov5n.pt, 350 tensors.
    [("yolov5n", 0.25, 1_872_157, 1_881_754), ("yolov5s", 0.5, 7_235_389, None)],
)
def test_networks_are_as_large_as_the_published_ones(
    name: str, width: float, parameters: int, numbers: int | None
) -> None:
    ours = ak.load_detector(name, categories=80, size=SIZE)
    assert ours.parameters == parameters
    with torch.device("meta"):
        state = repository_of_theirs.Model({**repository_of_theirs.TABLE, "width_multiple": width}, None).state_dict()
    assert len(state) == 350
    shapes = {own_name(key): value.shape for key, value in state.items() if not key.startswith("model.24.anchor")}
    assert shapes == {key: value.shape for key, value in ours.module.state_dict().items()}
    if numbers is not None:
        assert sum(value.numel() for value in state.values()) == numbers


def test_images_keep_their_aspect_in_the_middle_of_grey(loaded: ak.Detector) -> None:
    module: Any = loaded.module
    box = torch.tensor([[3.0, 4, 60, 20]])
    batch, [target] = module.transform([torch.ones(3, 33, 96)], [{"boxes": box, "labels": torch.tensor([1])}])
    assert batch.tensors[0, :, 15:48].unique().tolist() == [1.0]  # 15 rows above, 16 below
    assert batch.tensors[0, :, :15].unique().tolist() == pytest.approx([114 / 255])
    assert batch.tensors[0, :, 48:].unique().tolist() == pytest.approx([114 / 255])
    assert target["boxes"].tolist() == [[3, 19, 60, 35]]
    [raw] = loaded.raw_predictions([np.full((33, 96, 3), 255, np.uint8)])
    assert raw.boxes[:, 3].max() <= 33


@pytest.mark.parametrize("size", [(33, 96), (200, 70), (41, 300)])
def test_prepared_as_the_onnx_file_with_ultralytics_preset(
    theirs: repository_of_theirs.Model, loaded: ak.Detector, exported: Path, size: tuple[int, int]
) -> None:
    """Two implementations put images of any shape at the same place, and boxes back."""
    file = ak.load_onnx(exported, categories=2, preset="ultralytics", antialias=True)
    [image] = properties.noise_images(size)
    (batch, _), (prepared, _) = loaded.module.transform([to_tensor(image)]), file.prepare(image)
    assert np.abs(batch.tensors.numpy() - prepared).max() < 1.01 / 255  # one rounds to whole numbers
    smooth = np.full((*size, 3), 90, np.uint8)
    [ours], [of_file] = loaded.raw_predictions([smooth]), file.raw_predictions([smooth])
    np.testing.assert_allclose(ours.scores, of_file.scores, atol=1e-4)
    np.testing.assert_allclose(ours.boxes, of_file.boxes, atol=0.05)


def test_some_anchors_less_written_for_darknet_gives_the_same_boxes(loaded: ak.Detector, tmp_path: Path) -> None:
    small = ak.prune(loaded, loaded.layout.configuration(keep=[0, 2, 4]))
    path = export_darknet(small, tmp_path / "small.cfg")
    again = ak.load_detector(path, weights=path.with_suffix(".weights"), categories=small.categories)
    assert again.layout.full.per_level == (2, 1)
    images = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for ours, theirs in zip(small.network()(images), again.network()(images), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_promises(tmp_path: Path) -> None:
    detector = properties.spread(ak.load_detector("yolov5n", categories=2, size=SIZE, seed=1))
    images, layout = properties.noise_images(SIZE, (70, 50)), detector.layout
    testing.check_raw_predictions(detector, images)
    testing.check_network(detector, images[0])
    properties.kit_postprocessing_gives_what_the_detector_returns(detector, images)
    for gone in (0, 2):
        kept = layout.configuration(drop=[anchor.index for anchor in layout.anchors if anchor.level == gone])
        testing.check_costs(detector, kept)
        small = testing.check_pruning(detector, kept, images[:1])
    testing.check_saving(small, images[:1], tmp_path)


def test_channels_cut_are_channels_masked(loaded: ak.Detector) -> None:
    channels = ak.coupled_channels(loaded)
    keep = {group.name: range(0, group.atoms, 2) for group in channels.groups}
    small, masked = (cut(loaded, keep, channels=channels) for cut in (cut_channels, masked_channels))
    assert apart(small, masked) < 1e-4
    assert small.parameters < 0.4 * loaded.parameters


def test_what_was_chosen_for_an_exported_file_is_fine_tuned_from_its_checkpoint(
    theirs: repository_of_theirs.Model, loaded: ak.Detector, exported: Path, tmp_path: Path
) -> None:
    file = ak.load_onnx(exported, categories=2, preset="ultralytics")
    assert file.layout.ids == loaded.layout.ids
    chosen = ak.prune(file, file.layout.configuration(keep=[0, 2, 4]))
    chosen.save(tmp_path / "small.onnx")
    facts = json.loads((tmp_path / "small.json").read_text())
    small = ak.prune(loaded, loaded.layout.configuration(keep=facts["kept_anchors"]))
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    [ours], [of_file] = small.raw_predictions([image]), chosen.raw_predictions([image])
    np.testing.assert_allclose(ours.scores, of_file.scores, atol=1e-4)
    np.testing.assert_allclose(ours.boxes, of_file.boxes, atol=1e-2)
    # The filters that are listed for other frameworks are those of the pruned detector.
    state, own = theirs.state_dict(), small.module.state_dict()
    for name, kept in facts["kept_filters"].items():
        if kept:
            assert torch.equal(state[name][kept], own[own_name(name)])


def small_state(**others: Any) -> dict[str, torch.Tensor]:
    """What is looked at first in a state dict: the head of two classes, the first layer of yolov5n."""
    head = {"model.24.m.0.bias": torch.zeros(21), "model.24.anchors": torch.ones(3, 3, 2)}
    return {"model.0.conv.weight": torch.zeros(16, 3, 6, 6), **head, **others}


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (small_state(**{"model.0.conv.weight": torch.zeros(32, 3, 6, 6)}), {}, "weights of yolov5s, not of yolov5n"),
        (small_state(**{"model.0.conv.conv.weight": torch.zeros(16, 12, 3, 3)}), {}, "before release 6.0"),
        (small_state(), {"categories": 5}, "weights for 2 classes; 5 categories are asked for"),
        (small_state(), {}, "lacks 346"),
        ({"model": small_state(), "names": ["a", "b", "c"]}, {}, "names 3 classes, its head has 2"),
        ({"features.0.weight": torch.zeros(3)}, {}, "not the weights of yolov5n: its 1 tensors"),
        (small_state(**{"model.24.m.0.bias": torch.full((21,), torch.nan)}), {}, "21 of 21 numbers"),
    ],
)
def test_other_weights_are_refused_in_one_line(
    tmp_path: Path, content: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(InputError) as caught:
        ak.load_detector("yolov5n", weights=path, **arguments)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
