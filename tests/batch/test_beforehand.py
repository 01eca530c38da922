"""Bad data and weights are refused before the first notebook starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from anchorkit.batch import run_experiments, run_notebooks
from anchorkit.batch.beforehand import look_beforehand
from anchorkit.batch.execution import Kernel
from anchorkit.errors import InputError
from anchorkit.files import write_json

from ..datasets.samples import coco_dict, coco_folder, put_json


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return coco_folder(tmp_path / "data", 3)


@pytest.fixture
def no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(*_: object) -> None:
        raise AssertionError("a notebook was started")

    monkeypatch.setattr(Kernel, "execute", execute)


@pytest.mark.usefixtures("no_notebook")
@pytest.mark.filterwarnings("default::UserWarning")
def test_a_run_counts_missing_and_broken_images_first(data: Path, tmp_path: Path) -> None:
    (data / "train" / "001.png").unlink()
    (data / "train" / "002.png").unlink()
    (data / "train" / "003.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(InputError, match=r"train: 2 of 3 images are not found.*1 of 3 images cannot be decoded"):
        run_notebooks("smoke", data, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.usefixtures("no_notebook")
def test_a_run_refuses_annotations_that_cannot_be_right_first(data: Path, tmp_path: Path) -> None:
    truth = coco_dict(3, 1)
    for annotation in truth["annotations"]:
        annotation["bbox"] = [0.1, 0.1, 0.2, 0.2]
    put_json(data / "annotations" / "instances_train.json", truth)
    with pytest.raises(InputError, match="look normalised"):
        run_notebooks("smoke", data, out=tmp_path / "run", progress=False)


@pytest.mark.usefixtures("no_notebook")
@pytest.mark.filterwarnings("default::UserWarning")
def test_experiments_look_at_the_data_of_their_run_first(data: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "run" / "data.json", {"data": str(data), "data_root": ""})
    (data / "val" / "011.png").unlink()
    with pytest.raises(InputError, match="val: 1 of 3 images are not found"):
        run_experiments(tmp_path / "run", ["17"], progress=False)


def test_weights_are_opened(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    save_file({"a": np.zeros(1000, np.float32)}, whole)
    cut.write_bytes(whole.read_bytes()[:500])
    look_beforehand([{"02_detector": {"weights": str(whole)}}])
    with pytest.raises(InputError, match=r"cut\.safetensors: not a safetensors file, or cut off"):
        look_beforehand([{"02_detector": {"weights": str(cut)}}])
    (tmp_path / "saved").mkdir()
    with pytest.raises(InputError, match=r"detector\.json: no such file"):
        look_beforehand([{"02_detector": {"weights": str(tmp_path / "saved")}}])
    look_beforehand([{"02_detector": {"weights": "auto"}}])


def test_weights_that_torch_saved_are_opened(tmp_path: Path) -> None:
    whole, cut, other, odd = (tmp_path / name for name in ("whole.pth", "cut.pt", "other.pth", "odd.ckpt"))
    torch.save({"a": torch.zeros(1000)}, whole)
    cut.write_bytes(whole.read_bytes()[:500])
    torch.save({"a": Path()}, other)
    torch.save({"a": torch.tensor([1.0, torch.nan])}, odd)
    look_beforehand([{"02_detector": {"weights": str(whole)}}])
    for file, said in (
        (cut, r"cut\.pt: not tensors as torch.save writes them, or cut off"),
        (other, r"other\.pth: holds Python objects beside tensors"),
        (odd, r"odd\.ckpt: 1 of 2 numbers of a are not finite"),
        (tmp_path / "none.pth", r"none\.pth: no such file"),
    ):
        with pytest.raises(InputError, match=said):
            look_beforehand([{"02_detector": {"weights": str(file)}}])


@pytest.mark.usefixtures("no_notebook")
@pytest.mark.parametrize("name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_resnet50_fpn"])
def test_a_detector_whose_anchors_cannot_be_pruned_is_refused_first(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"detector {name}: it has two stages.*prune_channels") as error:
        run_notebooks("smoke", detector=name, out=tmp_path / "run", progress=False)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "run.json").exists()


def test_checkpoints_and_darknets_weights_are_looked_at(tmp_path: Path) -> None:
    whole, odd = tmp_path / "best.pt", tmp_path / "odd.pt"
    state = {"model.24.m.0.bias": torch.zeros(21), "model.24.anchors": torch.ones(3, 3, 2)}
    torch.save({"model": state, "names": ["a", "b"], "date": Path()}, whole)
    torch.save({"model": state, "names": ["a"], "date": Path()}, odd)
    look_beforehand([{"02_detector": {"detector": "yolov5n", "weights": str(whole)}}])
    with pytest.raises(InputError, match=r"odd\.pt: names 1 classes, its head has 2"):
        look_beforehand([{"02_detector": {"detector": "yolov5n", "weights": str(odd)}}])
    (tmp_path / "some.weights").touch()
    look_beforehand([{"02_detector": {"detector": "yolov4", "weights": str(tmp_path / "some.weights")}}])
    with pytest.raises(InputError, match=r"none\.weights: no such file"):
        look_beforehand([{"02_detector": {"detector": "yolov4", "weights": str(tmp_path / "none.weights")}}])


def test_without_a_package_that_executes_notebooks_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anchorkit.batch.beforehand._NEEDED", ("papermill", "papermil"))
    with pytest.raises(InputError, match="papermil is missing.*anchorkit doctor"):
        look_beforehand([])


@pytest.mark.usefixtures("no_notebook")
def test_a_run_reads_darknets_cfg_first_from_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"mine\.cfg: no such file"):
        run_notebooks("smoke", detector="mine.cfg", out=tmp_path / "run", progress=False)
    layers = (
        "[convolutional]\nfilters=4\n[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nanchors=9,9\nclasses=1\n"
    )
    text = f"[net]\nwidth=32\nheight=32\n{layers}"
    Path("mine.cfg").write_text(text.replace("=6", "=7"))
    with pytest.raises(InputError, match=r"mine\.cfg: line 6: .*filters=7"):
        run_notebooks("smoke", detector="mine.cfg", out=tmp_path / "run", progress=False)
    Path("mine.cfg").write_text(text)
    with pytest.raises(AssertionError, match="a notebook was started"):
        run_notebooks("smoke", detector="mine.cfg", out=tmp_path / "run", progress=False)
    assert f'"detector": "{tmp_path / "mine.cfg"}"' in (tmp_path / "run" / "run.json").read_text()
