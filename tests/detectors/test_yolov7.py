"""YOLOv7-tiny: a checkpoint of the training repository becomes the kit's, which is in darknet's form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import anchorkit as ak
from anchorkit.detectors import read_checkpoint
from anchorkit.detectors.yolov7 import check_table, own_state
from anchorkit.errors import InputError
from tests.detectors import yolov5_repository as repository_of_theirs
from tests.detectors.test_yolov5 import write

SIZE = (64, 96)
ANCHORS = [[9, 6, 13, 16, 29, 11], [29, 28, 66, 26, 51, 62], [115, 54, 134, 119, 308, 147]]


@pytest.fixture(scope="module")
def theirs() -> repository_of_theirs.Model:
    table = repository_of_theirs.yolov7_tiny()
    return repository_of_theirs.model(2, ["helmet", "head"], table, anchors=ANCHORS).half().float()


@pytest.fixture(scope="module")
def best(theirs: repository_of_theirs.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("weights") / "best.pt", theirs)


@pytest.fixture(scope="module")
def loaded(best: Path) -> ak.Detector:
    return ak.load_detector("yolov7_tiny", weights=best, size=SIZE)


def test_a_checkpoint_gives_weights_names_anchors_and_the_table(theirs: repository_of_theirs.Model, best: Path) -> None:
    found = read_checkpoint(best)
    assert list(found.state) == list(theirs.state_dict())
    assert "model.77.ia.0.implicit" in found.state
    assert found.names == ("helmet", "head")
    assert found.strides == (8, 16, 32)
    assert found.anchors is not None
    assert [len(level) for level in found.anchors] == [3, 3, 3]
    assert found.anchors[2][0] == (115, 54)
    assert found.table == theirs.yaml


def test_every_convolution_is_used_once_and_fits() -> None:
    """The published network: its numbers without those of anchors are those of darknet's form and of the two extras."""
    with torch.device("meta"):
        state = repository_of_theirs.Model(repository_of_theirs.yolov7_tiny(), None).state_dict()
        ours = ak.load_detector("yolov7_tiny", categories=80).module.state_dict()
    own = own_state(state)
    assert {name: value.shape for name, value in own.items()} == {name: value.shape for name, value in ours.items()}
    numbers = sum(value.numel() for name, value in state.items() if not name.endswith((".anchors", ".anchor_grid")))
    extras = sum(value.numel() for name, value in state.items() if name.endswith(".implicit"))
    assert numbers - extras == sum(value.numel() for value in ours.values())
    assert len([name for name in own if name.endswith("conv.weight")]) == 55


def test_it_predicts_what_it_does_there(theirs: repository_of_theirs.Model, loaded: ak.Detector) -> None:
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    repository_of_theirs.check_same_predictions(theirs, loaded.network(), images, 1e-2, 1e-4)


def test_it_is_fed_as_there_and_keeps_that(loaded: ak.Detector, tmp_path: Path) -> None:
    assert [category.name for category in loaded.categories] == ["helmet", "head"]
    assert loaded.layout.levels[0].anchors == ((9, 6), (13, 16), (29, 11))
    saved = ak.load_detector(ak.save_detector(ak.prune(loaded, loaded.layout.configuration(keep=[0, 4])), tmp_path))
    for detector in (loaded, saved):
        batch, _ = detector.module.transform([torch.ones(3, 32, 96)])
        assert (batch.tensors[0, :, [0, -1]] - 114 / 255).abs().max() < 1e-6
    fresh = ak.load_detector("yolov7_tiny", categories=2, size=SIZE)
    assert "letterbox" not in fresh.options


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.80.conv.weight": torch.zeros(1)}, "56 convolutions with a norm, yolov7_tiny has 55"),
        ({"model.0.conv.weight": torch.zeros(8, 3, 3, 3)}, "conv.weight has shape (8, 3, 3, 3)"),
    ],
)
def test_other_weights_are_refused(
    theirs: repository_of_theirs.Model, tmp_path: Path, change: dict[str, torch.Tensor], message: str
) -> None:
    torch.save({**theirs.state_dict(), **change}, tmp_path / "other.pt")
    with pytest.raises(InputError) as caught:
        ak.load_detector("yolov7_tiny", weights=tmp_path / "other.pt")
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_table_with_other_activations_is_refused() -> None:
    table = repository_of_theirs.yolov7_tiny()
    check_table(table)
    table["backbone"][0][3] = [32, 3, 2]
    with pytest.raises(InputError, match=r"other activations than LeakyReLU\(0.1\)"):
        check_table(table)


def test_darknets_order_of_maps_is_the_others_where_it_says_so() -> None:
    """Moved are the inputs behind eight blocks of four maps, and behind the two maps of the pooling."""
    with torch.device("meta"):
        state = repository_of_theirs.Model(repository_of_theirs.yolov7_tiny(), None).state_dict()
    numbered = {name: torch.arange(float(value.numel())).reshape(value.shape) for name, value in state.items()}
    own = own_state(numbered)
    moved = [name for name, value in own.items() if name.endswith("conv.weight") and value[0, 0, 0, 0] != 0]
    assert len(moved) == 9
    assert own["backbone.layers.8.conv.weight"][0, ::32, 0, 0].tolist() == [96, 64, 32, 0]
