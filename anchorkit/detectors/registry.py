"""Detectors by name and by folder: build, load, save.

A saved detector is a folder with ``model.safetensors`` (weights) and ``detector.json`` (architecture, layout,
categories, post-processing): enough to build it again, with no pickle and no trace of where it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from anchorkit.anchors import AnchorLayout
from anchorkit.bundled import data_dir
from anchorkit.datasets import Category
from anchorkit.detectors.architectures import BUILDERS
from anchorkit.detectors.base import Builder, Detector
from anchorkit.errors import InputError
from anchorkit.files import read_json, replacing, write_json
from anchorkit.postprocess import PostProcess

FILE_VERSION = 1
WEIGHTS_FILE, FACTS_FILE = "model.safetensors", "detector.json"


def list_detectors() -> tuple[str, ...]:
    """Names that `load_detector` builds."""
    return tuple(BUILDERS)


def register_detector(name: str, build: Builder) -> None:
    """Make a detector of one's own known by name, so that it can be built, saved and loaded like the kit's.

    Args:
        name: the name of the family, as `Detector.architecture` says it.
        build: makes one with fresh weights; see `Builder`.

    Raises:
        InputError: the kit or somebody else has a family of that name.
    """
    if BUILDERS.get(name, build) is not build:
        raise InputError(f"register_detector: {name!r} is taken; use another name than {', '.join(BUILDERS)}")
    BUILDERS[name] = build


def load_detector(
    name: str | Path,
    weights: str | Path | None = None,
    *,
    categories: Sequence[Category] | int | None = None,
    size: tuple[int, int] | None = None,
    shapes: Sequence[Sequence[tuple[float, float]]] | None = None,
    seed: int | None = None,
) -> Detector:
    """A detector by name, or one that was saved to a folder.

    Args:
        name: a name of `list_detectors`, or a folder that `save_detector` wrote.
        weights: the name of a shipped training (``"shapes"``), or a folder that `save_detector` wrote; None for fresh
            weights, which then need `categories`.
        categories: object classes, or how many; for fresh weights.
        size: (height, width) of the input in pixels; for fresh weights.
        shapes: (width, height) in input pixels of each level's anchors; for fresh weights.
        seed: makes fresh weights repeatable.

    Raises:
        InputError: the name, the weights or the folder are unknown, broken, or do not fit.
    """
    if str(name) not in BUILDERS:
        if Path(name).is_dir():
            return _load_folder(Path(name))
        raise InputError(f"unknown detector {str(name)!r}: use {', '.join(BUILDERS)}, or a folder with a {FACTS_FILE}")
    if weights is not None:
        if categories is not None or size is not None or shapes is not None:
            raise InputError("load_detector: categories, size and shapes come with the weights; leave them out")
        detector = _load_folder(_weights_folder(str(name), weights))
        if detector.architecture != str(name):
            raise InputError(f"{weights}: these are weights of {detector.architecture}, not of {name}")
        return detector
    if categories is None:
        raise InputError(f"load_detector: fresh weights of {name} need categories (the object classes, or how many)")
    if seed is None:
        return BUILDERS[str(name)](_as_categories(categories), size=size, shapes=shapes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BUILDERS[str(name)](_as_categories(categories), size=size, shapes=shapes)


def layout_of(name: str, classes: int, size: tuple[int, int] | None = None) -> AnchorLayout:
    """The layout of a detector by name, without training or loading it.

    Args:
        name: a name of `list_detectors`.
        classes: number of object classes, without background.
        size: (height, width) of the input in pixels; the detector's own by default.

    Raises:
        InputError: the name is unknown, or the numbers cannot be built.
    """
    return load_detector(name, categories=classes, size=size).layout


def save_detector(detector: Detector, folder: str | Path) -> Path:
    """Write a detector to a folder: ``model.safetensors`` and ``detector.json``.

    Returns:
        The folder.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    state = {key: value.detach().cpu().contiguous() for key, value in detector.module.state_dict().items()}
    with replacing(folder / WEIGHTS_FILE) as temporary:
        save_file(state, temporary)
    write_json(
        folder / FACTS_FILE,
        {
            "version": FILE_VERSION,
            "architecture": detector.architecture,
            "layout": detector.layout.to_dict(),
            "categories": [{"id": category.id, "name": category.name} for category in detector.categories],
            "postprocess": detector.postprocess.to_dict(),
            "options": detector.options,
        },
    )
    return folder


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
    if architecture not in BUILDERS:
        raise InputError(
            f"{source}: unknown architecture {architecture!r}; known are {', '.join(BUILDERS)}. One of your own has to "
            "be registered first: anchorkit.register_detector(name, build)"
        )
    if layout.shared_head:
        options["positions"] = [level.positions or range(len(level.anchors)) for level in layout.levels]
    detector = BUILDERS[architecture](
        categories,
        size=layout.input_size,
        shapes=[level.anchors for level in layout.levels],
        postprocess=postprocess,
        name=layout.detector,
        **options,
    )
    load_weights(detector, folder / WEIGHTS_FILE)
    return detector


def load_weights(detector: Detector, path: Path) -> None:
    """Read safetensors weights into a detector.

    Raises:
        InputError: the file is missing or cut off, or holds other tensors than the detector has.
    """
    try:
        state = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from None
    expected = detector.module.state_dict()
    for key, value in expected.items():
        if key not in state:
            raise InputError(f"{path}: lacks the tensor {key} that {detector.name} needs")
        if state[key].shape != value.shape:
            raise InputError(
                f"{path}: {key} has shape {tuple(state[key].shape)}, {detector.name} needs {tuple(value.shape)}"
            )
    extra = sorted(set(state) - set(expected))
    if extra:
        raise InputError(f"{path}: has tensors that {detector.name} does not know: {', '.join(extra[:3])}")
    detector.module.load_state_dict(state)


def _weights_folder(name: str, weights: str | Path) -> Path:
    shipped = data_dir() / "detectors"
    folder = shipped / f"{name}-{weights}"
    if (folder / FACTS_FILE).is_file():
        return folder
    if (Path(weights) / FACTS_FILE).is_file():
        return Path(weights)
    known = sorted(path.name.removeprefix(f"{name}-") for path in shipped.glob(f"{name}-*"))
    raise InputError(
        f"unknown weights {str(weights)!r} of {name}: use {', '.join(map(repr, known)) or 'none (nothing ships)'}, "
        f"or a folder with a {FACTS_FILE}"
    )


def _as_categories(categories: Sequence[Category] | int) -> list[Category]:
    if isinstance(categories, int):
        if categories < 1:
            raise InputError(f"{categories} classes; at least one object class is needed")
        return [Category(number, f"class {number}") for number in range(1, categories + 1)]
    return list(categories)
