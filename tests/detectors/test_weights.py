"""Weights of torchvision's: published ones (by stand-ins: tests do not use the network) and state-dict files."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import detection, get_model, get_model_weights, mobilenet_v2, vgg

from anchorkit.datasets import Category
from anchorkit.detectors import Detector, load_detector, prune, save_detector
from anchorkit.detectors.base import to_tensor
from anchorkit.detectors.registry import list_detectors
from anchorkit.detectors.weights import ADOPT, published_weights
from anchorkit.errors import InputError
from tests.detectors.properties import noise_images

State = dict[str, Tensor]
IMAGES = noise_images((211, 333), (97, 64), (300, 300))


@contextlib.contextmanager
def quick_start() -> Iterator[None]:
    """Leave out the drawing of torchvision's fresh weights, which takes longest and is overwritten anyway."""
    with pytest.MonkeyPatch.context() as patch:
        for draw in ("kaiming_normal_", "kaiming_uniform_", "xavier_uniform_", "normal_"):
            patch.setattr(nn.init, draw, lambda tensor, *others, **named: tensor)
        # VGG's fully connected layers, 120 million weights, are made only to be thrown away.
        patch.setattr(detection.ssd, "vgg16", lambda **named: SmallVGG())
        yield


class SmallVGG(nn.Module):
    """torchvision's VGG-16 without its fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg.make_layers(vgg.cfgs["D"])


@torch.no_grad()
def lively(module: nn.Module) -> nn.Module:
    """Random weights with which something of the image comes through, and detections differ."""
    generator = torch.Generator().manual_seed(0)
    for name, value in module.state_dict().items():
        if value.ndim == 4:
            spread = 1.5 if name.startswith("head") else 2.0
            value.copy_(torch.randn(value.shape, generator=generator) * (spread / value[0].numel()) ** 0.5)
        elif name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1 and "scale" not in name):
            value.copy_(torch.rand(value.shape, generator=generator) * 0.2 + 0.9)
        elif value.is_floating_point() and "scale_weight" not in name:
            value.copy_(torch.randn(value.shape, generator=generator) * 0.05)
    return module


def theirs(model: str, scores: int) -> Any:
    """torchvision's own detector with lively weights."""
    with quick_start():
        make = getattr(detection, model)
        module = lively(make(weights=None, weights_backbone=None, num_classes=scores)).eval()
    if model == "ssd300_vgg16":
        module.backbone.features[0].weight.data /= 60  # its pixels are 0..255
        for layer in (*module.head.classification_head.module_list, *module.head.regression_head.module_list):
            layer.weight.data /= 8
    return module


def same_detections(ours: Detector, module: nn.Module, count: int = len(IMAGES)) -> None:
    """Both return the same detections of images of odd sizes."""
    images = [to_tensor(image) for image in IMAGES[:count]]
    with torch.inference_mode():
        for mine, expected in zip(ours.module.eval()(images), module(images), strict=True):
            assert len(expected["scores"]) > 50
            assert len(expected["labels"].unique()) > 3
            assert expected["scores"].std() > 1e-3
            torch.testing.assert_close(mine["boxes"], expected["boxes"], rtol=0, atol=1e-3)
            torch.testing.assert_close(mine["scores"], expected["scores"], rtol=0, atol=1e-6)
            assert torch.equal(mine["labels"], expected["labels"])


@pytest.fixture(scope="module")
def ssdlite() -> Any:
    """torchvision's SSDLite for 5 classes."""
    return theirs("ssdlite320_mobilenet_v3_large", 6)


@pytest.fixture
def ssdlite_file(ssdlite: Any, tmp_path: Path) -> Path:
    path = tmp_path / "trained.pth"
    torch.save(ssdlite.state_dict(), path)
    return path


def load_ssdlite(weights: Path | str, **how: Any) -> Detector:
    return load_detector("ssdlite320_mobilenet_v3_large", weights=weights, **how)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Callable[[State], list[dict[str, Any]]]:
    """Stands in for the network: whatever is asked for, the given state dict comes; the calls are noted."""

    def serve(state: State) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def answer(url: str, **how: Any) -> State:
            calls.append({"url": url, **how})
            print("Downloading")  # as torch does
            return state

        monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", answer)
        return calls

    return serve


@pytest.mark.parametrize("scores", [91, 81])
def test_ssd300_detects_what_torchvisions_does(scores: int, tmp_path: Path) -> None:
    module = theirs("ssd300_vgg16", scores)
    torch.save(module.state_dict(), tmp_path / "ssd300.pth")
    ours = load_detector("ssd300_vgg16", weights=tmp_path / "ssd300.pth")
    assert len(ours.categories) == scores - 1
    assert [c.name for c in ours.categories[:2]] == (["person", "bicycle"] if scores == 91 else ["class 1", "class 2"])
    same_detections(ours, module, count=2 if scores == 91 else 1)


@pytest.mark.parametrize("scores", [91, 6])
def test_ssdlite_detects_what_torchvisions_does(scores: int, tmp_path: Path) -> None:
    module = theirs("ssdlite320_mobilenet_v3_large", scores)
    save_file(module.state_dict(), tmp_path / "ssdlite.safetensors")
    ours = load_ssdlite(tmp_path / "ssdlite.safetensors")
    assert len(ours.categories) == scores - 1
    same_detections(ours, module)


def test_anchors_at_another_size_are_torchvisions(ssdlite: Any, ssdlite_file: Path) -> None:
    ours = load_ssdlite(ssdlite_file, size=(160, 160))
    assert ours.layout.input_size == (160, 160)
    with quick_start():
        module = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=6).eval()
    module.load_state_dict(ssdlite.state_dict())
    module.transform.fixed_size, module.transform.min_size, module.transform.max_size = (160, 160), (160,), 160
    module.backbone.extra[3][1][0].stride = (1, 1)  # the last level is a single cell already: nothing to halve
    same_detections(ours, module)


def test_published_weights_come_with_their_categories(
    ssdlite: Any, online: Callable[[State], list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    module = theirs("ssdlite320_mobilenet_v3_large", 91)
    calls = online(module.state_dict())
    ours = load_ssdlite("COCO_V1")
    assert capsys.readouterr().out == ""  # standard output belongs to the caller
    [call] = calls
    assert call["url"] == detection.SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.url
    assert (call["check_hash"], call["weights_only"]) == (True, True)
    assert len(ours.categories) == 90
    assert ours.categories[0] == Category(1, "person")
    assert ours.categories[11] == Category(12, "N/A")
    assert ours.categories[89] == Category(90, "toothbrush")
    same_detections(ours, module)


def test_categories_may_be_named(ssdlite_file: Path) -> None:
    named = [Category(number, f"animal {number}") for number in (3, 5, 7, 11, 13)]
    assert load_ssdlite(ssdlite_file, categories=named).categories == tuple(named)


def test_published_weights_by_family() -> None:
    assert {name: published_weights(name) for name in list_detectors() if published_weights(name)} == {
        "fasterrcnn_mobilenet_v3_large_320_fpn": ("COCO_V1",),
        "fasterrcnn_resnet50_fpn": ("COCO_V1",),
        "ssd300_vgg16": ("COCO_V1",),
        "ssdlite320_mobilenet_v3_large": ("COCO_V1",),
        "retinanet_resnet50_fpn": ("COCO_V1",),
        "retinanet_resnet50_fpn_v2": ("COCO_V1",),
    }


@pytest.mark.parametrize(("suffix", "wrapper"), [(".pth", "model"), (".pth", "state_dict"), (".safetensors", "")])
def test_files_in_the_kits_naming(ssdlite_file: Path, tmp_path: Path, suffix: str, wrapper: str) -> None:
    detector = load_ssdlite(ssdlite_file, size=(96, 96))
    state, path = detector.module.state_dict(), tmp_path / f"kit{suffix}"
    if suffix == ".pth":
        torch.save({wrapper: state, "epoch": 3}, path)
    else:
        save_file(state, path)
    again = load_ssdlite(path, size=(96, 96)).module.state_dict()
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_a_pruned_detectors_file_needs_its_shapes(ssdlite_file: Path, tmp_path: Path) -> None:
    full = load_ssdlite(ssdlite_file, size=(96, 96))
    small = prune(full, full.layout.configuration(keep=[0, 3, 14]))
    weights = save_detector(small, tmp_path / "small") / "model.safetensors"
    shapes = [level.anchors for level in small.layout.levels]
    again = load_ssdlite(weights, size=(96, 96), shapes=shapes)
    ours, expected = (d.raw_predictions(IMAGES[:1])[0] for d in (again, small))
    np.testing.assert_array_equal(ours.scores, expected.scores)
    with pytest.raises(InputError, match=r"model\.safetensors: lacks \d+ \(.*\) of \d+ tensors that ssdlite320"):
        load_ssdlite(weights, size=(96, 96))


def test_families_without_a_torchvision_counterpart_take_files_of_the_kit(tmp_path: Path) -> None:
    tiny = load_detector("tiny_ssd", categories=2, size=(96, 96), seed=0)
    torch.save(tiny.module.state_dict(), tmp_path / "tiny.pt")
    again = load_detector("tiny_ssd", weights=tmp_path / "tiny.pt", categories=2, size=(96, 96))
    assert torch.equal(
        again.module.state_dict()["head.regression.levels.0.bias"], tiny.module.head.regression.levels["0"].bias
    )
    with pytest.raises(InputError, match=r"tiny\.pt does not say its categories"):
        load_detector("tiny_ssd", weights=tmp_path / "tiny.pt")


class Tantrum:
    """What must never be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was read",))


def one_line(message: pytest.ExceptionInfo[InputError]) -> str:
    text = str(message.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: torch.save({"model": Tantrum()}, path), "holds Python objects beside tensors"),
        (lambda path: path.write_bytes(pickle.dumps(Tantrum(), protocol=2)), "holds Python objects beside tensors"),
        (lambda path: path.write_bytes(pickle.dumps(Tantrum(), protocol=5)), "not tensors as torch.save writes them"),
    ],
)
def test_a_pickle_is_refused(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "evil.pth"
    write(path)
    with pytest.raises(InputError, match=rf"evil\.pth: {message}") as refused:
        load_ssdlite(path)
    one_line(refused)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("length", [0, 10, 1000, -1000])
def test_a_cut_off_file(ssdlite: Any, tmp_path: Path, suffix: str, length: int) -> None:
    path = tmp_path / f"cut{suffix}"
    torch.save(ssdlite.state_dict(), path) if suffix == ".pth" else save_file(ssdlite.state_dict(), path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=rf"cut{suffix}: not (a whole safetensors file|tensors as .* cut off)") as cut:
        load_ssdlite(path)
    one_line(cut)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds an empty dict; a state dict"),
        ([torch.zeros(1)], "holds of type list; a state dict"),
        ({"epoch": 3, "weights": torch.zeros(1)}, "entry 'epoch' is of type int; a state dict"),
        ({3: torch.zeros(1)}, "entry 3 is of type Tensor; a state dict"),
    ],
)
def test_a_file_without_a_state_dict(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=message):
        load_ssdlite(tmp_path / "odd.pth")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.pth: no such file"):
        load_ssdlite(tmp_path / "nowhere.pth")


def test_another_number_of_classes(ssdlite_file: Path) -> None:
    message = r"trained\.pth: weights for 5 classes and the background; 80 categories are asked for"
    with pytest.raises(InputError, match=message):
        load_ssdlite(ssdlite_file, categories=80)
    load_ssdlite(ssdlite_file, categories=5)


def test_another_number_of_classes_in_the_kits_naming(ssdlite_file: Path, tmp_path: Path) -> None:
    save_file(load_ssdlite(ssdlite_file).module.state_dict(), tmp_path / "kit.safetensors")
    with pytest.raises(InputError, match=r"kit\.safetensors: weights for 5 classes; 6 categories are asked for"):
        load_ssdlite(tmp_path / "kit.safetensors", categories=6)


def test_missing_extra_and_misshapen_tensors(ssdlite: Any, tmp_path: Path) -> None:
    path = tmp_path / "state.pth"
    whole = ssdlite.state_dict()

    torch.save({name: value for name, value in whole.items() if name != "backbone.extra.0.0.0.weight"}, path)
    with pytest.raises(
        InputError, match=r"state\.pth: lacks backbone\.stages\.2\.0\.0\.weight of \d+ tensors that ssd"
    ):
        load_ssdlite(path)
    torch.save({**whole, "teacher.weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match=r"state\.pth: has tensors that ssdlite320\S+ does not know: teacher\.weight"):
        load_ssdlite(path)
    torch.save({**whole, "backbone.features.0.0.0.weight": torch.zeros(16, 3, 5, 5)}, path)
    message = r"backbone\.stages\.0\.0\.0\.weight has shape \(16, 3, 5, 5\), ssdlite320\S+ needs \(16, 3, 3, 3\)"
    with pytest.raises(InputError, match=message):
        load_ssdlite(path)


def test_weights_of_another_architecture(ssdlite_file: Path, tmp_path: Path) -> None:
    torch.save(mobilenet_v2().state_dict(), tmp_path / "classifier.pth")
    message = r"\.pth: not the weights of ssdlite320\S+: its 314 tensors \(classifier\.1\.bias, .*\) have no such head"
    with pytest.raises(InputError, match=message):
        load_ssdlite(tmp_path / "classifier.pth")
    for name in ("ssd300_vgg16", "retinanet_resnet50_fpn_v2"):
        with pytest.raises(InputError, match=r"trained\.pth: (not the weights of|lacks \d+ )") as refused:
            load_detector(name, weights=ssdlite_file)
        one_line(refused)


def test_unknown_weights_name_the_known_ones() -> None:
    message = (
        r"unknown weights 'COCO_V2' of ssd300_vgg16: use 'COCO_V1', a folder with a detector\.json, or a state-dict"
    )
    with pytest.raises(InputError, match=message):
        load_detector("ssd300_vgg16", weights="COCO_V2")


@pytest.mark.parametrize("trouble", [URLError("no route to host"), RuntimeError('invalid hash value (expected "a")')])
def test_no_network(monkeypatch: pytest.MonkeyPatch, trouble: Exception) -> None:
    def fail(*url: Any, **how: Any) -> None:
        raise trouble

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(InputError, match="COCO_V1 could not be fetched") as refused:
        load_detector("ssd300_vgg16", weights="COCO_V1")
    text = one_line(refused)
    assert "give weights= a local copy of ssd300_vgg16_coco-b556d3b4.pth" in text
    assert str(trouble.args[0])[:12] in text


def features(name: str) -> nn.Module:
    """What torchvision's classifiers have under `features`, with lively weights."""
    if name.startswith("vgg16"):
        classifier: nn.Module = nn.ModuleDict(
            {"features": vgg.make_layers(vgg.cfgs["D"], batch_norm=name == "vgg16_bn")}
        )
    else:
        classifier = get_model(name, weights=None)
    return lively(classifier).eval()


@pytest.mark.parametrize(
    ("name", "options", "classifier"),
    [
        ("ssd300_vgg16", {"size": (256, 256), "shapes": [[(9, 9)]] * 2}, "vgg16"),
        ("ssd300_vgg16", {"size": (256, 256), "shapes": [[(9, 9)]] * 2, "batch_norm": True}, "vgg16_bn"),
        ("ssdlite320_mobilenet_v3_large", {"size": (96, 96), "reduced_tail": False}, "mobilenet_v3_large"),
        ("ssdlite300_mobilenet_v2", {"size": (96, 96)}, "mobilenet_v2"),
        ("ssdlite300_mobilenet_v3_small", {"size": (96, 96)}, "mobilenet_v3_small"),
    ],
)
@torch.inference_mode()
def test_a_trunk_from_imagenet(
    name: str, options: dict[str, Any], classifier: str, online: Callable[[State], list[dict[str, Any]]]
) -> None:
    source: Any = features(classifier)
    calls = online(source.state_dict())
    ours = load_detector(name, backbone_weights="IMAGENET1K_V1", categories=2, seed=0, **options)
    member = get_model_weights(classifier).IMAGENET1K_V1
    [call] = calls
    assert (call["url"], call["check_hash"], call["weights_only"]) == (member.url, True, True)

    # The first convolution sees, of the same image, what the classifier's sees in its own normalisation.
    transform, trunk = ours.module.eval().transform, ours.module.backbone
    image = to_tensor(noise_images((96, 96))[0])
    preset = member.transforms()
    x = transform.normalize(image)[None]
    as_theirs = (image - torch.tensor(preset.mean)[:, None, None]) / torch.tensor(preset.std)[:, None, None]
    first, expected = trunk.stages[0][0](x), source.features[0](as_theirs[None])
    torch.testing.assert_close(first[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-4)

    # Everything behind it is the classifier's.
    if classifier.startswith("vgg"):
        behind = trunk.stages[1][:-1](trunk.stages[0](x))
        torch.testing.assert_close(behind, source.features[1:-1](first))
    else:
        torch.testing.assert_close(trunk.stages[1](trunk.stages[0](x)), source.features[1:](first))


def test_a_local_copy_is_known_by_its_name(tmp_path: Path) -> None:
    """SSD300's own trunk was trained with SSD300's own normalisation: nothing is to be scaled."""
    source = features("vgg16")
    state = source.state_dict()
    how = {"categories": 1, "size": (64, 64), "shapes": [[(9, 9)]], "seed": 0}
    known = get_model_weights("vgg16")
    paths = {file: tmp_path / file for file in (Path(known.IMAGENET1K_FEATURES.url).name, "mine.pth")}
    for path in paths.values():
        torch.save(state, path)
    first = [
        load_detector("ssd300_vgg16", backbone_weights=path, **how).module.backbone.stages[0][0].weight
        for path in paths.values()
    ]
    torch.testing.assert_close(first[0], state["features.0.weight"], rtol=1e-6, atol=0)
    red = first[1][:, 0] / state["features.0.weight"][:, 0]
    torch.testing.assert_close(red, torch.full_like(red, 1 / 255 / 0.229))


def test_backbone_weights_that_do_not_fit(tmp_path: Path, online: Callable[[State], list[dict[str, Any]]]) -> None:
    state = features("vgg16").state_dict()
    online(state)
    narrow = {"categories": 1, "size": (64, 64), "shapes": [[(9, 9)]]}
    message = (
        r"vgg16 IMAGENET1K_V1: features\.0\.weight has shape \(64, 3, 3, 3\), the trunk of ssd300_vgg16 needs \(32, 3"
    )
    with pytest.raises(InputError, match=message):
        load_detector("ssd300_vgg16", backbone_weights="IMAGENET1K_V1", width=0.5, **narrow)
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(
        InputError, match=r"vgg\.pth: lacks \d+ \(features\.0\.0\.weight, .*it has 26 \(features\.0\.weight"
    ):
        load_detector("ssdlite300_mobilenet_v2", backbone_weights=tmp_path / "vgg.pth", categories=1, size=(96, 96))
    message = (
        "unknown backbone_weights 'V7' of ssd300_vgg16: use 'IMAGENET1K_V1', 'IMAGENET1K_FEATURES', or a state-dict"
    )
    with pytest.raises(InputError, match=message):
        load_detector("ssd300_vgg16", backbone_weights="V7", **narrow)
    with pytest.raises(InputError, match="tiny_ssd: backbone_weights: no classifier"):
        load_detector("tiny_ssd", backbone_weights="IMAGENET1K_V1", categories=1)
    with pytest.raises(InputError, match="weights bring their own trunk"):
        load_detector("ssd300_vgg16", weights="COCO_V1", backbone_weights="IMAGENET1K_V1")


@pytest.mark.parametrize(("columns", "classes"), [(91, 90), (7, 7)])
def test_retinanet_takes_torchvisions_files(columns: int, classes: int, tmp_path: Path) -> None:
    """What becomes of the tensors is tested with the family; here, that they reach it and how classes are counted."""
    with quick_start():
        module = detection.retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=columns)
        torch.save({"model": lively(module).state_dict()}, tmp_path / "retinanet.pth")
        ours = load_detector("retinanet_resnet50_fpn_v2", weights=tmp_path / "retinanet.pth", size=(64, 64))
    assert len(ours.categories) == classes
    scores = module.head.classification_head.cls_logits.bias.reshape(9, columns)[:, columns - classes :]
    torch.testing.assert_close(ours.module.head.classification.output.bias.reshape(9, classes), scores)


def test_every_adoption_is_of_a_known_family() -> None:
    assert set(ADOPT) <= set(list_detectors())


@pytest.mark.parametrize("name", ["tiny_ssd", "tiny_ssd_overanchorized"])
@pytest.mark.parametrize("start", ["shipped", "tiny_ssd-shapes"])
def test_a_detector_begins_with_the_trunk_of_a_shipped_one(name: str, start: str) -> None:
    shipped = load_detector("tiny_ssd", weights="shapes").module.state_dict()
    fresh = load_detector(name, categories=4, size=(128, 96), seed=0)
    begun = load_detector(name, categories=4, size=(128, 96), seed=0, backbone_weights=start)
    assert begun.begins_with == "the trunk of tiny_ssd-shapes (78 of 78 tensors)"
    random, weights = fresh.module.state_dict(), begun.module.state_dict()
    assert any(name.startswith("backbone.") for name in weights)
    for tensor, value in weights.items():
        assert torch.equal(value, (shipped if tensor.startswith("backbone.") else random)[tensor])


def test_only_tensors_of_the_trunk_that_fit_are_taken(tmp_path: Path) -> None:
    saved = load_detector("tiny_ssd", categories=2, seed=1)
    state = {key: value.clone() for key, value in saved.module.state_dict().items()}
    changed = next(key for key in state if key.endswith("weight"))
    state[changed] = state[changed][:, :1].clone()  # another shape
    save_detector(saved, tmp_path)
    save_file(state, tmp_path / "model.safetensors")
    fresh = load_detector("tiny_ssd", categories=2, seed=0).module.state_dict()
    begun = load_detector("tiny_ssd", categories=2, seed=0, backbone_weights=tmp_path)
    assert begun.begins_with.endswith("(77 of 78 tensors)")
    assert torch.equal(begun.module.state_dict()[changed], fresh[changed])
    assert all(torch.equal(begun.module.state_dict()[key], fresh[key]) for key in fresh if key.startswith("head."))
    # It is said wherever the detector goes.
    assert load_detector(save_detector(begun, tmp_path / "again")).begins_with == begun.begins_with
    assert prune(begun, begun.layout.configuration(keep=[0])).begins_with == begun.begins_with


def test_where_no_shipped_trunk_fits_the_weights_stay_random(tmp_path: Path) -> None:
    about = {"categories": 2, "seed": 0, "width": 0.125}
    fresh = load_detector("ssd300_vgg16", **about).module.state_dict()
    begun = load_detector("ssd300_vgg16", backbone_weights="shipped", **about)
    assert begun.begins_with == "random weights"
    assert all(torch.equal(value, fresh[key]) for key, value in begun.module.state_dict().items())
    with pytest.raises(InputError, match=r"model\.safetensors: no tensor of it fits the trunk of ssd300_vgg16"):
        load_detector("ssd300_vgg16", backbone_weights="tiny_ssd-shapes", **about)
