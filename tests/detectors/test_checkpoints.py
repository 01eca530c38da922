"""Pickled checkpoints: what is read from them, and that nothing in them runs."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import sys
import types
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from anchorkit.detectors.checkpoints import read_checkpoint
from anchorkit.errors import InputError

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
_events: list[tuple[str, Any]] = []
_watching = False


def _hook(event: str, arguments: Any) -> None:
    if _watching and event in ("pickle.find_class", "import", "os.system", "exec", "compile", "subprocess.Popen"):
        _events.append((event, arguments))


sys.addaudithook(_hook)  # Python has no way to take one away, so this one sleeps outside `watched`


@contextmanager
def watched() -> Iterator[list[tuple[str, Any]]]:
    """What Python says is imported, looked up for a pickle, or run."""
    global _watching
    _events.clear()
    _watching = True
    try:
        yield _events
    finally:
        _watching = False


class Detect(nn.Module):
    """In the shape of YOLOv5's: anchors in cells as a buffer, strides as a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.ModuleList(nn.Conv2d(4, 14, 1) for _ in range(2))
        self.register_buffer("anchors", torch.tensor([[[1.25, 1.625], [2, 3.75]], [[1.875, 3.8125], [7.25, 5.5]]]))
        self.register_buffer("passing", torch.zeros(2), persistent=False)
        self.stride = torch.tensor([8.0, 16.0])


class Model(nn.Module):
    """In the shape of YOLOv5's."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), Detect())
        self.names: Any = {0: "cat", 1: "dog"}
        self.yaml = {"nc": 2, "depth_multiple": 0.33, "head": [[-1, 1, "Conv", [64, 6, 2, 2]]], "ch": None}


@pytest.fixture
def repository_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the classes those of a repository that is there while a checkpoint is written."""
    module = types.ModuleType("models.yolo")
    for kind in (Detect, Model):
        monkeypatch.setattr(kind, "__module__", "models.yolo")
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "models", types.ModuleType("models"))
    monkeypatch.setitem(sys.modules, "models.yolo", module)


def save(content: Any, path: Path, zipped: bool = True) -> Path:
    with warnings.catch_warnings():  # the older format wants to keep the source text of classes
        warnings.simplefilter("ignore")
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def checkpoint(model: nn.Module, **others: Any) -> dict[str, Any]:
    """A training's checkpoint: half precision, an optimizer, numpy's numbers, a path."""
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.01}]}
    facts = {"epoch": 3, "best_fitness": np.float64(0.5), "optimizer": optimizer, "opt": {"save_dir": Path("runs")}}
    return {"model": model.half(), "ema": None, **facts, **others}


@FORMATS
@pytest.mark.usefixtures("repository_of_theirs")
def test_everything_is_read(tmp_path: Path, zipped: bool) -> None:
    model = Model()
    path = save(checkpoint(model), tmp_path / "best.pt", zipped)
    del sys.modules["models.yolo"], sys.modules["models"]
    found = read_checkpoint(path)
    expected = model.state_dict()  # half precision
    assert list(found.state) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found.state[name], value.float() if value.is_floating_point() else value)
    assert all(value.dtype in (torch.float32, torch.int64) for value in found.state.values())
    assert found.taken == "model"
    assert found.names == ("cat", "dog")
    assert found.strides == (8, 16)
    assert found.anchors == (((10, 13), (16, 30)), ((30, 61), (116, 88)))
    assert found.table == model.yaml


@pytest.mark.usefixtures("repository_of_theirs")
def test_the_moving_average_is_taken_if_there_is_one_and_names_may_be_a_list(tmp_path: Path) -> None:
    model, mean = Model(), Model()
    mean.names = ["a", "b"]
    found = read_checkpoint(save(checkpoint(model, ema=mean.half()), tmp_path / "last.pt"))
    assert found.taken == "ema"
    assert found.names == ("a", "b")
    assert torch.equal(found.state["model.0.weight"], mean.model[0].weight.float())


@FORMATS
def test_a_state_dict_by_itself_or_with_names_is_read(tmp_path: Path, zipped: bool) -> None:
    state = Model().state_dict()
    alone = read_checkpoint(save(state, tmp_path / "state.pt", zipped))
    assert (alone.names, alone.anchors, alone.table) == (None, None, None)
    assert list(alone.state) == list(state)
    both = read_checkpoint(save({"model": state, "names": ["x", "y"]}, tmp_path / "named.pt", zipped))
    assert both.names == ("x", "y")


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        (lambda state: {"model_state_dict": state, "epoch": 3, "params": {"lr": 0.1}}, "model_state_dict"),
        (lambda state: {"state_dict": {"model": state}, "names": ["x", "y"]}, "model"),
        (lambda state: {"net": state, "model": "yolov5n"}, "net"),
        (lambda state: {"model": {}, "ema_state_dict": state}, "ema_state_dict"),
    ],
)
def test_what_training_scripts_wrap_around_a_state_dict_is_looked_through(
    tmp_path: Path, content: Callable[[Any], Any], taken: str
) -> None:
    state = Model().state_dict()
    found = read_checkpoint(save(content(state), tmp_path / "wrapped.pt"))
    assert found.taken == taken
    assert list(found.state) == list(state)
    assert found.names in (None, ("x", "y"))


def test_views_and_every_type_of_numbers_are_read(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state = {"a": base[1:, ::2], "b": base.t(), "c": base, "empty": torch.zeros(0, 3), "scalar": torch.tensor(7)}
    state |= {str(dtype): base.to(dtype) for dtype in (torch.bfloat16, torch.float64, torch.int8, torch.bool)}
    found = read_checkpoint(save(state, tmp_path / "views.pt")).state
    for name, value in state.items():
        assert torch.equal(found[name], value.float() if value.is_floating_point() else value), name


class Runs:
    """Runs `function` when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@FORMATS
@pytest.mark.usefixtures("repository_of_theirs")
def test_nothing_runs_and_nothing_is_imported(tmp_path: Path, zipped: bool) -> None:
    canaries = [tmp_path / name for name in ("system", "eval", "nested", "setstate")]
    touch = [f"open({str(canary)!r}, 'w').close()" for canary in canaries]
    evil = {
        "system": Runs(os.system, f"touch {canaries[0]}"),
        "eval": Runs(builtins.eval, touch[1]),
        "nested": Runs(pickle.loads, pickle.dumps(Runs(builtins.exec, touch[2]))),
        "setstate": Runs(builtins.exec, touch[3]),
    }
    model = Model()
    path = save(checkpoint(model, **evil), tmp_path / "evil.pt", zipped)
    torch.load(path, weights_only=False)
    assert all(canary.exists() for canary in canaries), "the file must do harm, or the test shows nothing"
    for canary in canaries:
        canary.unlink()
    with watched() as events:
        found = read_checkpoint(path)
    assert events == []
    assert not any(canary.exists() for canary in canaries)
    assert len(found.state) == len(model.state_dict())


def archive(path: Path, program: bytes, compression: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", program)
        for name, content in members.items():
            file.writestr(f"archive/data/{name}", content)
    return path


def tensor_of(numel: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """The pickle of a state dict with one tensor, its storage called "zero", that says what one likes."""

    class Writer(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "zero", "cpu", numel) if value is marker else None

    marker, stream = object(), io.BytesIO()
    rebuilt = Runs(torch._utils._rebuild_tensor_v2, marker, offset, size, stride, False, None)
    Writer(stream, protocol=2).dump({"weight": rebuilt})
    return stream.getvalue()


CONTAINS_ITSELF = (  # a module, numbered 0, whose modules are itself twice
    b"\x80\x02ctorch.nn\nModule\nq\x00)\x81q\x01}(X\x08\x00\x00\x00_modules}(X\x01\x00\x00\x00ah\x01X\x01\x00\x00\x00bh\x01u"
    b"X\x0b\x00\x00\x00_parameters}X\x08\x00\x00\x00_buffers}ub."
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(b"\x80\x02K\x07."), "holds data of type int and no tensors"),
        (lambda path: path.write_bytes(b"no pickle"), "or cut off"),
        (lambda path: archive(path, b"\x80\x02K\x07r\xff\xff\xff\xf0."), "numbers an object 4,043,309,055 in 10 bytes"),
        (lambda path: archive(path, b"\x80\x02\x82\x01."), "extension registry"),
        (lambda path: archive(path, CONTAINS_ITSELF), "more than 20,000 modules"),
        (lambda path: archive(path, b"\x80\x02}."), "data of type dict without tensors"),
        (lambda path: archive(path, b"\x80\x02cmodels\nNet\n)\x81."), "holds a Python object; a model"),
        (lambda path: archive(path, b"\x80\x02(((."), "or cut off"),
        (lambda path: archive(path, tensor_of(4, (2, 2), (2, 1)), zipfile.ZIP_DEFLATED), "is compressed"),
        (lambda path: archive(path, tensor_of(4, (2, 2), (2, 1))), "or cut off"),
        (lambda path: archive(path, tensor_of(4, (2, 2), (2, 1)), zero=b"1234"), "4 bytes, not those of 4 numbers"),
        (lambda path: archive(path, tensor_of(1, (9**9, 9**9), (0, 0)), zero=b"1234"), "beyond its 1 numbers"),
        (lambda path: archive(path, tensor_of(1, (1,), (1,), 5), zero=b"1234"), "beyond its 1 numbers"),
        (lambda path: archive(path, tensor_of(1, (1,), (-1,)), zero=b"1234"), "beyond its 1 numbers"),
    ],
)
def test_damaged_files_and_bombs_are_refused_in_one_line(
    tmp_path: Path, make: Callable[[Path], Any], message: str
) -> None:
    path = tmp_path / "bad.pt"
    make(path)
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert message in said
    assert "\n" not in said


def test_a_program_of_torchscript_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("script/data.pkl", b"\x80\x02}.")
        file.writestr("script/code/__torch__.py", b"")
    with pytest.raises(InputError, match="TorchScript"):
        read_checkpoint(path)
    with pytest.raises(InputError, match="no such file"):
        read_checkpoint(tmp_path / "none.pt")


@FORMATS
@pytest.mark.usefixtures("repository_of_theirs")
def test_a_cut_off_file_is_refused_wherever_it_ends(tmp_path: Path, zipped: bool) -> None:
    whole = save(checkpoint(Model()), tmp_path / "whole.pt", zipped).read_bytes()
    cut = tmp_path / "cut.pt"
    for length in np.linspace(1, len(whole) - 1, 25, dtype=int):
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            read_checkpoint(cut)
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = save(
        {"state_dict": {"a": torch.ones(3), "b": torch.zeros(2, 2)}}, tmp_path_factory.mktemp("c") / "s.pt", False
    )
    return path.with_name("mutated.pt"), path.read_bytes()


@given(data=st.data())
def test_whichever_bytes_change_the_file_is_read_or_refused(
    small_file: tuple[Path, bytes], data: st.DataObject
) -> None:
    path, whole = small_file
    changed = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(changed))
    message = ""
    with watched() as events:
        try:
            read_checkpoint(path)
        except InputError as error:
            message = str(error)
    assert events == []
    assert "\n" not in message
