"""State dicts as training scripts save them: wrapped, with prefixes, beside a moving average, or ruined."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from anchorkit.detectors import Detector, load_detector, save_detector
from anchorkit.errors import InputError

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def own() -> Detector:
    return load_detector("tiny_ssd", categories=3, seed=1)


@pytest.fixture
def state(own: Detector) -> State:
    return {name: value.clone() for name, value in own.module.state_dict().items()}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def averaged(state: State) -> State:
    return {"n_averaged": torch.tensor(5), **prefixed({name: value * 0 for name, value in state.items()}, "module.")}


def same(detector: Detector, state: State) -> bool:
    return all(torch.equal(value, state[name]) for name, value in detector.module.state_dict().items())


SAVED: dict[str, tuple[Callable[[State], Any], str | None]] = {
    "plain": (lambda state: state, None),
    "tutorial": (lambda state: {"model_state_dict": state, "optimizer_state_dict": {}, "epoch": 3}, None),
    "model state": (lambda state: {"model_state": state, "epoch": 3}, None),
    "data parallel": (lambda state: prefixed(state, "module."), "begin with 'module.', which is left out"),
    "lightning": (lambda state: {"state_dict": prefixed(state, "model."), "epoch": 3}, "begin with 'model.'"),
    "compiled": (lambda state: prefixed(state, "_orig_mod."), "begin with '_orig_mod.'"),
    "compiled, parallel": (lambda state: prefixed(state, "module._orig_mod."), "begin with 'module._orig_mod.'"),
    "lightning, compiled": (lambda state: {"state_dict": prefixed(state, "model._orig_mod.")}, "'model._orig_mod.'"),
    "nested": (lambda state: {"state_dict": {"model": state}}, None),
    "average beside": (
        lambda state: {"model": state, "model_ema": averaged(state)},
        r"'model' is taken, not 'model_ema' beside it; to use that, save torch.load\(file\)\['model_ema'\]",
    ),
    "average before": (lambda state: {"ema": averaged(state), "model": state}, "'model' is taken, not 'ema' beside it"),
}


@pytest.mark.parametrize("case", SAVED)
def test_what_training_scripts_save_is_read(own: Detector, state: State, tmp_path: Path, case: str) -> None:
    make, said = SAVED[case]
    torch.save(make(state), tmp_path / "weights.pth")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = load_detector("tiny_ssd", weights=tmp_path / "weights.pth", categories=own.categories)
    assert same(found, state)
    lines = [str(one.message) for one in caught]
    if said is None:
        assert lines == []
    else:
        with pytest.warns(UserWarning, match=said):
            load_detector("tiny_ssd", weights=tmp_path / "weights.pth", categories=own.categories)
        assert len(lines) == 1
        assert lines[0].startswith(str(tmp_path / "weights.pth"))


def test_a_moving_average_alone_is_taken_with_a_line(own: Detector, state: State, tmp_path: Path) -> None:
    torch.save({"ema_state_dict": averaged(state), "epoch": 3}, tmp_path / "a.pth")
    with pytest.warns(UserWarning, match="'ema_state_dict' is taken, a moving average of the weights"):
        found = load_detector("tiny_ssd", weights=tmp_path / "a.pth", categories=own.categories)
    assert same(found, {name: value * 0 for name, value in state.items()})


def test_prefixes_in_safetensors(own: Detector, state: State, tmp_path: Path) -> None:
    save_file(prefixed(state, "module."), tmp_path / "a.safetensors")
    with pytest.warns(UserWarning, match=r"a\.safetensors: the names of all tensors begin with 'module\.'"):
        assert same(load_detector("tiny_ssd", weights=tmp_path / "a.safetensors", categories=3), state)


def test_prefixes_of_families_whose_classes_are_counted(tmp_path: Path) -> None:
    whole = load_detector("ssdlite320_mobilenet_v3_large", categories=2, seed=1)
    state = whole.module.state_dict()
    torch.save(prefixed(state, "module."), tmp_path / "a.pth")
    with pytest.warns(UserWarning, match="begin with 'module.'"):
        found = load_detector("ssdlite320_mobilenet_v3_large", weights=tmp_path / "a.pth")
    assert len(found.categories) == 2
    assert same(found, state)
    torch.save({**prefixed(state, "model."), "loss.weight": torch.ones(3)}, tmp_path / "b.pth")
    with pytest.raises(InputError, match=f"no such head; {len(state)} of the names begin with 'model.'"):
        load_detector("ssdlite320_mobilenet_v3_large", weights=tmp_path / "b.pth")


def test_a_prefix_that_not_all_names_share_is_named(own: Detector, state: State, tmp_path: Path) -> None:
    torch.save({**prefixed(state, "model."), "loss.weight": torch.ones(3)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=f"lacks .*; {len(state)} of them would fit without 'model.' in front"):
        load_detector("tiny_ssd", weights=tmp_path / "a.pth", categories=own.categories)
    torch.save(prefixed(state, "student."), tmp_path / "b.pth")
    with pytest.raises(InputError, match=f"; {len(state)} of them would fit without 'student.' in front"):
        load_detector("tiny_ssd", weights=tmp_path / "b.pth", categories=own.categories)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [".pth", ".safetensors", "folder"])
def test_weights_that_are_not_finite_are_refused(
    own: Detector, state: State, tmp_path: Path, value: float, kind: str
) -> None:
    name = next(name for name, tensor in state.items() if tensor.ndim == 4 and tensor.numel() > 2)
    state[name].view(-1)[:2] = value
    if kind == "folder":
        folder = save_detector(load_detector("tiny_ssd", categories=3, seed=1), tmp_path / "saved")
        save_file(state, folder / "model.safetensors")
        given: dict[str, Any] = {"name": folder}
    else:
        path = tmp_path / f"a{kind}"
        (save_file if kind == ".safetensors" else torch.save)(state, path)
        given = {"name": "tiny_ssd", "weights": path, "categories": 3}
    with pytest.raises(InputError, match=rf"2 of {state[name].numel()} numbers of {name} are not finite") as caught:
        load_detector(**given)
    assert "\n" not in str(caught.value)
