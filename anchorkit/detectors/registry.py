"""Detectors by name and by folder: build, load, save.

A saved detector is a folder with ``model.safetensors`` (weights) and ``detector.json`` (architecture, layout,
categories, post-processing): enough to build it again, with no pickle and no trace of where it came from.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from anchorkit.anchors import AnchorLayout
from anchorkit.bundled import data_dir
from anchorkit.datasets import Category
from anchorkit.detectors.architectures import BUILDERS
from anchorkit.detectors.base import Builder, Detector, structure
from anchorkit.detectors.channel_surgery import CHANNELS, built
from anchorkit.detectors.darknet import yolo_levels
from anchorkit.detectors.darknet_cfg import cfg_text, parse_cfg, read_cfg
from anchorkit.detectors.darknet_sections import Cfg
from anchorkit.detectors.darknet_weights import is_weights_file
from anchorkit.detectors.state_dicts import fill, named_in_errors, read_state
from anchorkit.detectors.weights import (
    STATE_SUFFIXES,
    TRUNK,
    find_weights,
    published_weights,
    take_backbone_weights,
    take_trunk,
    take_weights,
)
from anchorkit.detectors.yolo import DARKNET
from anchorkit.errors import InputError
from anchorkit.files import read_json, replacing, write_json
from anchorkit.postprocess import PostProcess
from anchorkit.suggest import did_you_mean

if TYPE_CHECKING:
    from anchorkit.onnx import OnnxDetector

FILE_VERSION = 1
WEIGHTS_FILE, ONNX_FILE, FACTS_FILE = "model.safetensors", "model.onnx", "detector.json"
ONNX = "onnx"
"""The architecture of a detector that is only an ONNX file."""


def list_detectors() -> tuple[str, ...]:
    """Names that `load_detector` builds.

    Example:
        >>> from anchorkit.detectors import list_detectors
        >>> list_detectors()[:2]
        ('tiny_ssd', 'tiny_ssd_overanchorized')
    """
    return tuple(BUILDERS)


def register_detector(name: str, build: Builder) -> None:
    """Register a detector of your own by name, so that it can be built, saved and loaded like the kit's.

    Args:
        name: the name of the family, as `Detector.architecture` says it.
        build: makes one with fresh weights; see `Builder`.

    Raises:
        InputError: the name is taken by another family.

    Example:
        >>> import anchorkit as ak
        >>> def build(categories, size=None, shapes=None, postprocess=None, name="tiny_ssd_128"):
        ...     fresh = ak.load_detector("tiny_ssd", categories=categories, size=size or (128, 128), shapes=shapes)
        ...     fresh.architecture = "tiny_ssd_128"
        ...     return fresh
        >>> ak.register_detector("tiny_ssd_128", build)
        >>> ak.load_detector("tiny_ssd_128", categories=3).layout.input_size
        (128, 128)
    """
    if BUILDERS.get(name, build) is not build:
        raise InputError(f"register_detector: {name!r} is taken; use another name than {', '.join(BUILDERS)}")
    BUILDERS[name] = build


def load_detector(
    name: str | Path,
    weights: str | Path | None = None,
    *,
    backbone_weights: str | Path | None = None,
    categories: Sequence[Category] | int | str | Path | None = None,
    size: tuple[int, int] | None = None,
    shapes: Sequence[Sequence[tuple[float, float]]] | None = None,
    seed: int | None = None,
    **options: Any,
) -> Detector:
    """A detector by name, one that was saved to a folder, or darknet's of a ``.cfg`` file.

    Weights are one of five things, tried in this order:

    - the name of a shipped training (``"shapes"``) or a folder that `save_detector` wrote: categories, size, shapes and
      options come with them and may not be given;
    - the name of weights that torchvision publishes for the detector (``"COCO_V1"``), which brings their categories;
      torch fetches them once and keeps them in its cache;
    - a state-dict file, ``.pth`` or ``.pt`` (read as tensors only, never unpickled; the state dict by itself or under
      ``model`` or ``state_dict``) or ``.safetensors``, with torchvision's names of the tensors or the kit's. Without
      `categories` the classes are counted in it: 90 are COCO's, as torchvision numbers them, others get numbers.
      For `yolov5n`, `yolov5s` and `yolov7_tiny` it may be a checkpoint of the training repository, a pickle of a
      module: nothing in it runs, and it brings categories and anchors.
    - darknet's ``.weights`` for a ``.cfg`` file or a YOLO by name: read to the last number or refused;
    - None: fresh weights, which need `categories`.

    Args:
        name: a name of `list_detectors`, a folder that `save_detector` wrote, or a ``.cfg`` file of darknet's.
        weights: see above.
        backbone_weights: for fresh weights, what the trunk starts from. Either a detector, of which all tensors of the
            trunk are taken that fit by name and shape: a shipped one (``"tiny_ssd-shapes"``), the shipped one that fits
            best (``"shipped"``; where none fits, the weights stay random), or a folder that `save_detector` wrote. Or
            weights of torchvision's classifier with that trunk, by name (``"IMAGENET1K_V1"``;
            ``"IMAGENET1K_FEATURES"`` for VGG-16 is what SSD300 was made with) or as a state-dict file. Or darknet's
            weights: a whole file, for any classes, or the first layers (``darknet53.conv.74``).
            `Detector.begins_with` says what was taken.
        categories: object classes, how many there are, or a file that names them (``coco.names``, ``data.yaml``). A
            ``.cfg`` says how many.
        size: (height, width) of the input in pixels; the family's own by default.
        shapes: (width, height) in input pixels of each level's anchors; the family's own by default.
        seed: makes fresh weights repeatable.
        options: what else the family's builder takes, such as ``width`` of `ssd300_vgg16`; see its module.

    Raises:
        InputError: the name, an option, the weights or the folder are unknown, broken, or do not fit.

    Example:
        >>> import anchorkit as ak
        >>> ak.load_detector("tiny_ssd", weights="shapes")  # a trained one that comes with the kit
        Detector(tiny_ssd: 30 anchors on 6 levels, 7 classes, ... parameters)
        >>> fresh = ak.load_detector("ssd300_vgg16", categories=3, width=0.25, seed=0)
        >>> len(fresh.layout), fresh.layout.input_size
        (30, (300, 300))
        >>> ak.load_detector("tiny_ssd", categories=3, backbone_weights="shipped").begins_with
        'the trunk of tiny_ssd-shapes (78 of 78 tensors)'
    """
    known: dict[str, Any] = {}
    if str(name) not in BUILDERS and Path(name).suffix == ".cfg":
        file = Path(name)
        cfg = read_cfg(file)
        with named_in_errors(file):
            levels = yolo_levels(cfg)
        if weights is None and categories is None:
            categories = levels[0].yolo.classes
        name, known, options = DARKNET, {"name": file.stem}, {**options, "cfg": cfg_text(cfg)}
    if str(name) not in BUILDERS:
        if Path(name).is_dir():
            if options or any(given is not None for given in (weights, backbone_weights, categories, size, shapes)):
                raise InputError(
                    f"load_detector: {name} is a saved detector, which brings everything; leave the rest out"
                )
            return _load_folder(Path(name))
        raise InputError(
            f"unknown detector {str(name)!r}: use {', '.join(BUILDERS)}, a folder with a {FACTS_FILE}, or a .cfg file"
        )
    name = str(name)
    _check_options(name, options)
    if weights is not None and backbone_weights is not None:
        raise InputError("load_detector: weights bring their own trunk; leave out backbone_weights, or weights")
    folder = None if weights is None else _weights_folder(name, weights)
    if folder is not None:
        if categories is not None or size is not None or shapes is not None or options:
            raise InputError(f"load_detector: categories, size, shapes and options come with {folder}; leave them out")
        detector = _load_folder(folder)
        if detector.architecture != name:
            raise InputError(f"{folder}: these are weights of {detector.architecture}, not of {name}")
        return detector
    found = None if weights is None else find_weights(name, weights, _cfg_of(name, options))
    if weights is not None and found is None:
        raise InputError(f"unknown weights {str(weights)!r} of {name}: use {_known_weights(name)}")
    if categories is None and found is not None:
        categories = found.categories
    if found is not None:
        shapes, options = found.shapes if shapes is None else shapes, {**found.options, **options}
    if categories is None:
        what = f"fresh weights of {name} need" if found is None else f"{found.source} does not say its"
        raise InputError(f"load_detector: {what} categories (the object classes, or how many)")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        detector = built(name, _as_categories(categories), size=size, shapes=shapes, **known, **options)
    if found is not None:
        take_weights(detector, found)
        detector.begins_with = found.source
    if backbone_weights is not None:
        _take_trunk(detector, backbone_weights, _cfg_of(name, options))
    return detector


def layout_of(name: str, classes: int, size: tuple[int, int] | None = None) -> AnchorLayout:
    """The layout of a detector by name, without training or loading it.

    Args:
        name: a name of `list_detectors`.
        classes: number of object classes, without background.
        size: (height, width) of the input in pixels; the detector's own by default.

    Raises:
        InputError: the name is unknown, or the numbers cannot be built.

    Example:
        >>> from anchorkit.detectors import layout_of
        >>> layout_of("tiny_ssd", classes=7).full.per_level
        (4, 6, 6, 6, 4, 4)
    """
    return load_detector(name, categories=classes, size=size).layout


def save_detector(detector: Detector | OnnxDetector, folder: str | Path) -> Path:
    """Write a detector to a folder: ``model.safetensors`` and ``detector.json``.

    In place of the first, a detector that is only an ONNX file has ``model.onnx`` and ``model.json``.

    Returns:
        The folder.

    Raises:
        InputError: the folder cannot be written.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> folder = ak.save_detector(detector, "small")
        >>> sorted(path.name for path in folder.iterdir())
        ['detector.json', 'model.safetensors']
        >>> ak.load_detector(folder).layout == detector.layout
        True
    """
    folder = Path(folder)
    if isinstance(detector, Detector):
        state = {key: value.detach().cpu().contiguous() for key, value in detector.module.state_dict().items()}
        with replacing(folder / WEIGHTS_FILE) as temporary:
            save_file(state, temporary)
    else:
        detector.save(folder / ONNX_FILE)
    write_json(
        folder / FACTS_FILE,
        {
            "version": FILE_VERSION,
            "architecture": detector.architecture,
            "layout": detector.layout.to_dict(),
            "categories": [{"id": category.id, "name": category.name} for category in detector.categories],
            "postprocess": detector.postprocess.to_dict(),
            "options": detector.options,
            **({"begins_with": detector.begins_with} if isinstance(detector, Detector) else {}),
        },
    )
    return folder


def weights_file(folder: str | Path) -> Path:
    """The file with the weights in the folder of a saved detector.

    Raises:
        InputError: the folder has none.

    Example:
        >>> import anchorkit as ak
        >>> from anchorkit.detectors import weights_file
        >>> weights_file(ak.save_detector(ak.load_detector("tiny_ssd", weights="shapes"), "small")).name
        'model.safetensors'
    """
    for name in (WEIGHTS_FILE, ONNX_FILE):
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise InputError(f"{folder}: not a saved detector; it has neither {WEIGHTS_FILE} nor {ONNX_FILE}")


def _load_folder(folder: Path) -> Detector:
    source = folder / FACTS_FILE
    facts: dict[str, Any] = read_json(source)
    if not isinstance(facts, dict) or facts.get("version") != FILE_VERSION:
        raise InputError(f"{source}: not a detector file of version {FILE_VERSION}")
    try:
        architecture = facts["architecture"]
        layout = AnchorLayout.from_dict(facts["layout"], str(source))
        categories = [Category(int(entry["id"]), str(entry["name"])) for entry in facts["categories"]]
        postprocess = PostProcess.from_dict(facts["postprocess"], str(source))
        options = dict(facts.get("options", {}))
    except (KeyError, TypeError) as error:
        raise InputError(f"{source}: lacks or garbles {error}") from None
    if architecture == ONNX:
        from anchorkit.onnx import load_onnx

        file: Any = load_onnx(folder / ONNX_FILE, categories=categories, postprocess=postprocess, name=layout.detector)
        return cast(Detector, file)
    if architecture not in BUILDERS:
        raise InputError(
            f"{source}: unknown architecture {architecture!r}; known are {', '.join(BUILDERS)}. One of your own has to "
            "be registered first: anchorkit.register_detector(name, build)"
        )
    with named_in_errors(source):
        detector = built(
            architecture, categories, postprocess=postprocess, name=layout.detector, **structure(layout), **options
        )
    path = folder / WEIGHTS_FILE
    state = read_state(path)
    with named_in_errors(path):
        fill(detector, state)
    detector.begins_with = str(facts.get("begins_with", "weights of unknown origin"))
    return detector


def _weights_folder(name: str, weights: str | Path) -> Path | None:
    """The folder of a shipped training or of a saved detector, if that is what `weights` means."""
    folders = (data_dir() / "detectors" / f"{name}-{weights}", Path(weights))
    return next((folder for folder in folders if (folder / FACTS_FILE).is_file()), None)


def _cfg_of(name: str, options: Mapping[str, Any]) -> Cfg | None:
    """The darknet network of a family, if it has one."""
    cfg: Cfg | None = parse_cfg(options["cfg"]) if "cfg" in options else getattr(BUILDERS[name], "cfg", None)
    return cfg


def _take_trunk(detector: Detector, start: str | Path, cfg: Cfg | None) -> None:
    """Put what `backbone_weights` of `load_detector` means into a detector's trunk, and note it."""
    shipped = sorted((data_dir() / "detectors").glob(f"*/{WEIGHTS_FILE}"))
    if start == "shipped":
        mine = {name: value.shape for name, value in detector.module.state_dict().items() if name.startswith(TRUNK)}
        fitting = {path: _fitting(path, mine) for path in shipped}
        best = max(shipped, key=fitting.__getitem__, default=None)
        if best is None or not fitting[best]:
            return
        path = best
    else:
        named = {path.parent.name: path for path in shipped}
        path = named.get(str(start), Path(start) / WEIGHTS_FILE)
    if is_weights_file(Path(start)):
        detector.begins_with = take_trunk(detector, Path(start), cfg=cfg)
    elif path.is_file():
        detector.begins_with = take_trunk(detector, path, path.parent.name if path in shipped else str(path.parent))
    else:
        take_backbone_weights(detector, start)
        detector.begins_with = f"the trunk of {start}"


def _fitting(path: Path, mine: Mapping[str, torch.Size]) -> int:
    """How many tensors of a file have the name and the shape of one of `mine`; reads no tensor."""
    with safe_open(path, framework="pt") as opened:
        return sum(mine.get(name) == tuple(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118 (no dict)


def _known_weights(name: str) -> str:
    """The weights that may be asked for, as a clause."""
    shipped = sorted(path.name for path in (data_dir() / "detectors").glob(f"{name}-*"))
    names = [entry.removeprefix(f"{name}-") for entry in shipped] + list(published_weights(name))
    listed = "".join(f"{known!r}, " for known in names)
    return f"{listed}a folder with a {FACTS_FILE}, or a state-dict file ({', '.join(STATE_SUFFIXES)})"


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise an InputError for an option that the family's builder does not take."""
    parameters = inspect.signature(BUILDERS[name]).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = {parameter.name for parameter in parameters} - {"categories", "size", "shapes", "postprocess", "name"}
    known.add(CHANNELS)
    for option in options:
        if option not in known:
            raise InputError(f"load_detector: {name} has no option {option!r}; {did_you_mean(option, known)}")


def _as_categories(categories: Sequence[Category] | int | str | Path) -> list[Category]:
    if isinstance(categories, str | Path):
        from anchorkit.onnx.names import categories_of

        return categories_of(categories) or []
    if isinstance(categories, int):
        if categories < 1:
            raise InputError(f"{categories} classes; at least one object class is needed")
        return [Category(number, f"class {number}") for number in range(1, categories + 1)]
    return list(categories)
