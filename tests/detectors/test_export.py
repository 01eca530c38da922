"""An exported detector says what the detector says: in onnxruntime, with and without NMS, and in the example."""

from __future__ import annotations

import dataclasses
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import anchorkit as ak
from anchorkit.anchors import AnchorLayout, Level
from anchorkit.datasets import Category
from anchorkit.detectors import Detector, export, load_detector, prune, save_detector
from anchorkit.detectors.base import to_tensor
from anchorkit.detectors.onnx_nms import with_nms
from anchorkit.detectors.resizing import Letterbox
from anchorkit.errors import InputError, MissingExtraError
from anchorkit.evaluation import Evaluator
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable
from tests.detectors.test_every_detector import built

BOXES, SCORES = 1e-2, 1e-4  # pixels of the input, and 0..1; on 50 images of shapes 4.6e-5 and 1.0e-6 were measured


pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")


def run(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def described(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return found


@pytest.fixture(scope="module")
def shipped() -> Detector:
    return load_detector("tiny_ssd", weights="shapes")


@pytest.fixture(scope="module")
def plain(shipped: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped detector, without NMS."""
    return ak.export_onnx(shipped, tmp_path_factory.mktemp("plain") / "small.onnx")


@pytest.fixture(scope="module")
def complete(shipped: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped detector with NMS, in a folder."""
    return ak.export_onnx(shipped, tmp_path_factory.mktemp("complete"), nms=True)


@pytest.fixture(scope="module")
def split() -> Any:
    return ak.load_dataset("shapes").val.subset(50, seed=0)


@pytest.fixture(scope="module")
def images(split: Any) -> np.ndarray:
    """float32 (50, 3, 160, 160): shapes are drawn at the shipped detector's input size."""
    return np.stack([to_tensor(split.image(number)).numpy() for number in split.image_ids])


@pytest.fixture(scope="module")
def table(shipped: Detector, split: Any) -> PredictionTable:
    return ak.collect_predictions(shipped, split, progress=False)


@pytest.fixture(scope="module")
def example(repository: Path) -> dict[str, Any]:
    return runpy.run_path(str(repository / "examples" / "decode_onnx.py"))


def same_detections(outputs: dict[str, np.ndarray], table: PredictionTable, truth: Any, category_ids: list[int]) -> int:
    """Detections in the file's outputs are those of the kit, image by image, in the same order. Returns how many."""
    theirs = Evaluator(table, truth).detections(table.layout.full)
    for row, image_id in enumerate(Evaluator(table, truth).ground_truth.image_ids):
        kit = theirs[theirs.image_id == image_id].sort_values("score", ascending=False, kind="stable")
        count = int(outputs["count"][row])
        assert count == len(kit)
        labels, scores, boxes = (outputs[name][row] for name in ("labels", "scores", "boxes"))
        assert [category_ids[label - 1] for label in labels[:count]] == kit.category_id.tolist()
        np.testing.assert_allclose(scores[:count], kit.score, atol=SCORES)
        np.testing.assert_allclose(boxes[:count], kit[["x1", "y1", "x2", "y2"]], atol=BOXES)
        assert not labels[count:].any()
        assert not scores[count:].any()
        assert not boxes[count:].any()
    return len(theirs)


def with_rules(table: PredictionTable, rules: PostProcess) -> PredictionTable:
    columns = (table.image_id, table.anchor, table.category_id, table.score, table.boxes)
    return PredictionTable(*columns, table.layout, rules)


# --- what the file says


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_images_says_what_torch_says(
    shipped: Detector, plain: Path, images: np.ndarray, count: int
) -> None:
    outputs = run(plain, images[:count])
    with torch.inference_mode():
        scores, boxes = shipped.network()(torch.tensor(images[:count]))
    np.testing.assert_allclose(outputs["scores"], scores, atol=SCORES)
    np.testing.assert_allclose(outputs["boxes"], boxes, atol=BOXES)


def test_nms_inside_is_the_kits(
    shipped: Detector, complete: Path, table: PredictionTable, split: Any, images: np.ndarray
) -> None:
    ids = [category.id for category in shipped.categories]
    assert same_detections(run(complete, images), table, split.ground_truth, ids) > 500


@pytest.mark.parametrize(("scope", "topk"), [("class", 2), ("level", 5), ("image", 4)])
@pytest.mark.parametrize("cap", [3, None])
def test_every_scope_of_topk(
    shipped: Detector,
    plain: Path,
    table: PredictionTable,
    split: Any,
    images: np.ndarray,
    scope: str,
    topk: int,
    cap: Any,
) -> None:
    rules = dataclasses.replace(shipped.postprocess, topk=topk, topk_scope=scope, max_detections=cap)
    model = with_nms(onnx.load(plain), boxes_of(shipped.layout), len(shipped.categories), rules)
    found = run(model, images)
    ids = [category.id for category in shipped.categories]
    few = same_detections(found, with_rules(table, rules), split.ground_truth, ids)
    loose = dataclasses.replace(rules, topk=None)
    many = Evaluator(with_rules(table, loose), split.ground_truth).detections(table.layout.full)
    if cap is None:
        assert few < len(many)  # so the top-k does something


def boxes_of(layout: AnchorLayout) -> list[int]:
    return [level.cells * len(level.anchors) for level in layout.levels if level.anchors]


def test_a_pruned_detector_with_empty_levels(shipped: Detector, split: Any, images: np.ndarray, tmp_path: Path) -> None:
    kept = [anchor.index for anchor in shipped.layout.anchors if anchor.level in (1, 3) and anchor.index % 2]
    small = prune(shipped, shipped.layout.configuration(keep=kept))
    assert small.layout.full.per_level[0] == small.layout.full.per_level[2] == 0
    small.module.train()
    before = {name: value.clone() for name, value in small.module.state_dict().items()}
    path = ak.export_onnx(small, tmp_path / "pruned.onnx", nms=True)
    assert small.module.training
    assert all(torch.equal(value, before[name]) for name, value in small.module.state_dict().items())
    assert [len(level["anchors"]) for level in described(path)["layout"]["levels"]] == list(small.layout.full.per_level)
    ids = [category.id for category in small.categories]
    assert same_detections(
        run(path, images), ak.collect_predictions(small, split, progress=False), split.ground_truth, ids
    )


def test_another_family(tmp_path: Path) -> None:
    detector = built("tiny_retinanet")
    path = ak.export_onnx(detector, tmp_path / "other.onnx")
    batch = torch.rand(3, 3, *detector.layout.input_size, generator=torch.Generator().manual_seed(5))
    outputs = run(path, batch.numpy())
    with torch.inference_mode():
        scores, boxes = detector.network()(batch)
    np.testing.assert_allclose(outputs["scores"], scores, atol=10 * SCORES)
    np.testing.assert_allclose(outputs["boxes"], boxes, atol=10 * BOXES)
    assert described(path)["input"]["resize"]["mode"] == "stretch"


# --- NMS on raw predictions of any kind, ties and boxes without area among them

TOY = AnchorLayout("toy", (64, 64), (Level("a", 4, 4, ((9.0, 9.0),)), Level("b", 2, 2, ((9.0, 9.0), (20.0, 9.0)))))
TOY_BOXES, TOY_CLASSES = 24, 2


def passed_on() -> Any:
    """A network that gives as scores and boxes what it is given."""
    columns = TOY_CLASSES + 4
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 18]> g (float[batch, {TOY_BOXES}, {columns}] images)'
        f" => (float[batch, {TOY_BOXES}, 4] boxes, float[batch, {TOY_BOXES}, {TOY_CLASSES}] scores)"
        f" <int64[2] sizes = {{4, {TOY_CLASSES}}}> {{ boxes, scores = Split <axis = 2> (images, sizes) }}"
    )


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    rules=st.builds(
        PostProcess,
        score_threshold=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        topk=st.sampled_from([None, 1, 3, 10]),
        topk_scope=st.sampled_from(["class", "level", "image"]),
        nms_iou=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        max_detections=st.sampled_from([None, 1, 5, 1000]),
    ),
)
def test_nms_of_any_raw_predictions(seed: int, rules: PostProcess) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 24, (2, TOY_BOXES, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + rng.integers(0, 16, corner.shape)], axis=2).astype(np.float32)
    scores = (rng.integers(0, 9, (2, TOY_BOXES, TOY_CLASSES)) / 8).astype(np.float32)  # many ties
    anchor = np.repeat([0, 1, 2], [16, 4, 4])
    anchor[16:] = np.tile([1, 2], 4)
    model = with_nms(passed_on(), boxes_of(TOY), TOY_CLASSES, rules)
    found = run(model, np.concatenate([boxes, scores], axis=2))
    image, box, column = np.nonzero(np.ones_like(scores))
    table = PredictionTable(
        image + 1, anchor[box], column + 1, scores[image, box, column], boxes[image, box], TOY, rules
    )
    truth = {
        "images": [{"id": number, "width": 64, "height": 64} for number in (1, 2)],
        "categories": [{"id": number, "name": str(number)} for number in (1, 2)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}],
    }
    same_detections(found, table, truth, [1, 2])


# --- the description, and a program that knows nothing else


def test_the_description_says_what_the_file_is(shipped: Detector, plain: Path, complete: Path) -> None:
    assert complete.name == "detector.onnx"
    for path in (plain, complete):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        facts = described(path)
        for said, real in zip(
            [facts["input"], *facts["outputs"]], [*session.get_inputs(), *session.get_outputs()], strict=True
        ):
            assert (said["name"], said["shape"]) == (real.name, real.shape)
            assert real.type == {"float32": "tensor(float)", "int64": "tensor(int64)"}[said["type"]]
        assert facts["input"]["shape"] == ["batch", 3, 160, 160]
        assert facts["input"]["resize"] == {"mode": "stretch", "antialias": False}
        assert AnchorLayout.from_dict(facts["layout"]) == shipped.layout
        assert PostProcess.from_dict(facts["postprocess"]) == shipped.postprocess
        assert [Category(**entry) for entry in facts["categories"]] == list(shipped.categories)
        assert [anchor["id"] for anchor in facts["anchors"]] == list(shipped.layout.ids)
        assert facts["file"] == path.name
        assert 0 <= facts["verified"]["scores"] < SCORES
    assert (described(plain)["nms"], described(complete)["nms"]) == (False, True)


def test_the_file_has_no_trace_of_the_machine(plain: Path, complete: Path, repository: Path) -> None:
    for path in (plain, complete):
        content = path.read_bytes()
        assert b"site-packages" not in content
        assert str(repository).encode() not in content
        assert b"anchorkit" in content


@pytest.mark.parametrize("size", [(160, 160), (300, 200), (90, 120)])
def test_the_example_finds_what_the_detector_finds(
    shipped: Detector, plain: Path, complete: Path, split: Any, example: dict[str, Any], size: tuple[int, int]
) -> None:
    image = np.array(Image.fromarray(split.image(split.image_ids[0])).resize(size[::-1]))
    with torch.inference_mode():
        [expected] = shipped.module.eval()([to_tensor(image)])
    order = expected["scores"].argsort(descending=True, stable=True)
    names = [shipped.categories[label - 1].name for label in expected["labels"][order].tolist()]
    assert len(names) > 1
    for path in (plain, complete):
        found = example["detect"](*example["load"](path), image)
        assert [name for name, _, _ in found] == names
        np.testing.assert_allclose([score for _, score, _ in found], expected["scores"][order], atol=SCORES)
        np.testing.assert_allclose([box for _, _, box in found], expected["boxes"][order], atol=2 * BOXES)


@pytest.mark.parametrize(("scope", "topk"), [("class", 2), ("level", 3), ("image", 2)])
def test_the_example_knows_every_scope(
    shipped: Detector, plain: Path, split: Any, images: np.ndarray, example: dict[str, Any], scope: str, topk: int
) -> None:
    rules = dataclasses.replace(shipped.postprocess, topk=topk, topk_scope=scope)
    found = run(with_nms(onnx.load(plain), boxes_of(shipped.layout), len(shipped.categories), rules), images[:8])
    outputs = run(plain, images[:8])
    facts = {**described(plain), "postprocess": rules.to_dict()}
    for row in range(8):
        _, scores, classes = example["select"](outputs["boxes"][row], outputs["scores"][row], facts)
        count = int(found["count"][row])
        assert (classes + 1).tolist() == found["labels"][row][:count].tolist()
        np.testing.assert_array_equal(scores, found["scores"][row][:count])


def test_the_example_keeps_the_aspect_where_it_shall(example: dict[str, Any]) -> None:
    image = np.full((40, 80, 3), 255, np.uint8)
    resize = {"mode": "fit", "antialias": True, "fill": [0.1, 0.2, 0.3]}
    batch, scale = example["prepare"](image, {"shape": ["batch", 3, 100, 120], "resize": resize})
    assert batch.shape == (1, 3, 100, 120)
    assert scale == (1.5, 1.5)
    np.testing.assert_allclose(batch[0, :, :60], 1)
    for channel, fill in enumerate(resize["fill"]):
        np.testing.assert_allclose(batch[0, channel, 60:], fill, rtol=1e-6)


def test_the_example_puts_an_image_into_the_middle(example: dict[str, Any]) -> None:
    """Where the kit's own transform puts it."""
    image = np.random.default_rng(0).integers(0, 256, (40, 81, 3), dtype=np.uint8)
    ours = Letterbox((100, 120), fill=(0.1, 0.2, 0.3), centred=True)
    facts = {"shape": ["batch", 3, 100, 120], "resize": ours.resizing}
    batch, _ = example["prepare"](image, facts)
    expected, _ = ours([to_tensor(image)])
    np.testing.assert_allclose(batch, expected.tensors, atol=0.01)
    assert example["margin"](image, facts) == ours.margin(expected.image_sizes[0]) == (0, 20)


def test_the_example_as_a_program(
    plain: Path, split: Any, example: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(split.image(split.image_ids[0])).save(tmp_path / "image.png")
    assert example["main"]([str(plain), str(tmp_path / "image.png"), "--score", "0.01"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 1
    Image.new("RGB", (160, 160)).save(tmp_path / "black.png")
    assert example["main"]([str(plain), str(tmp_path / "black.png"), "--score", "1"]) == 0
    assert capsys.readouterr().out == ""
    assert example["main"]([str(tmp_path / "no.onnx"), str(tmp_path / "image.png")]) == 2
    assert "no.json" in capsys.readouterr().err


# --- what cannot be exported, and what is in the way


class Toy(nn.Module):
    """Eight boxes and one class; how much of it can be traced or trusted is chosen."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.weight = nn.Linear(3, 1)
        nn.init.constant_(self.weight.weight, 0.5)  # drawn ones may add up to nothing

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = len(images) if self.fault == "fixed" else images.shape[0]  # `len` cannot be left open
        scores = torch.sigmoid(self.weight(images.mean((2, 3)))).reshape(count, 1, 1).expand(count, 8, 1)
        if self.fault == "untraceable" and scores.sum().item() > 0:
            scores = scores * 1.0
        if self.fault == "float32":
            scores = scores @ torch.eye(1)
        boxes = torch.arange(32.0, dtype=images.dtype).reshape(1, 8, 4).expand(count, 8, 4)
        return scores, boxes[:, :7] if self.fault == "shape" else boxes * 1


class ToyDetector(Detector):
    def network(self) -> nn.Module:
        return self.module


def toy(fault: str) -> Detector:
    layout = AnchorLayout("toy", (32, 32), (Level("L0", 2, 4, ((9.0, 9.0),)),))
    return ToyDetector("toy", Toy(fault).eval(), layout, [Category(1, "thing")], PostProcess())


def test_a_network_that_takes_one_image_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="toy: the file takes one image at a time"):
        path = ak.export_onnx(toy("fixed"), tmp_path / "toy.onnx", nms=True)
    facts = described(path)
    assert facts["input"]["shape"] == [1, 3, 32, 32]
    assert facts["input"]["resize"] is None
    assert run(path, np.zeros((1, 3, 32, 32), np.float32))["count"].shape == (1,)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("untraceable", "torch cannot trace the network of toy"),
        ("shape", r"gives boxes of shape \(2, 7, 4\); its layout and classes promise \(2, 8, 4\)"),
        ("float32", "does not run in float64.*keep its constants as buffers"),
    ],
)
def test_what_cannot_be_exported(fault: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ak.export_onnx(toy(fault), tmp_path / "toy.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [1.001, float("nan")])
def test_a_file_that_says_something_else_is_refused(
    share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = export._cleaned

    def garbled(model: Any) -> Any:
        model = cleaned(model)
        for tensor in model.graph.initializer:
            if list(tensor.dims) == [1, 3]:
                values = onnx.numpy_helper.to_array(tensor) * np.float32(share)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return model

    monkeypatch.setattr(export, "_cleaned", garbled)
    with pytest.raises(InputError, match="scores of the ONNX file of toy differ from torch's"):
        ak.export_onnx(toy(""), tmp_path / "toy.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_nms_that_loses_the_best_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def strict(network: Any, boxes: Any, classes: int, rules: PostProcess) -> Any:
        return with_nms(network, boxes, classes, dataclasses.replace(rules, score_threshold=1.0))

    monkeypatch.setattr(export, "with_nms", strict)
    with pytest.raises(InputError, match="with NMS inside, the best scores of toy"):
        ak.export_onnx(toy(""), tmp_path / "toy.onnx", nms=True)
    assert list(tmp_path.iterdir()) == []


def test_paths_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ends in .onnx, or a folder that exists"):
        ak.export_onnx(toy(""), tmp_path / "toy.pt")
    save_detector(toy(""), tmp_path)
    before = (tmp_path / "detector.json").read_bytes()
    with pytest.raises(InputError, match="detector.json: is there already and describes no exported detector"):
        ak.export_onnx(toy(""), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        ak.export_onnx(toy(""), tmp_path / "file" / "toy.onnx")
    assert (tmp_path / "detector.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detector.json", "file", "model.safetensors"]


def test_the_files_appear_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ak.export_onnx(toy(""), tmp_path / "toy.onnx")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"toy.onnx", "toy.json"}

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_json", full)
    with pytest.raises(InputError, match="No space left"):
        ak.export_onnx(toy(""), tmp_path / "toy.onnx", nms=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_extra_is_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anchorkit\[onnx\]'"):
        ak.export_onnx(toy(""), tmp_path / "toy.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_onnxruntime_the_file_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.warns(UserWarning, match="was not compared with torch"):
        path = ak.export_onnx(toy(""), tmp_path / "toy.onnx", nms=True)
    assert described(path)["verified"] is None
