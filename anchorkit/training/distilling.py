"""Spatial attention distilling: a student learns to look where its teacher looks.

Chu, Li, Bai, Hu, Chen and Lu 2022 (arXiv 2306.01526), third stage, after the attention transfer of Zagoruyko and
Komodakis 2017. Attention has one number per cell of a feature map, so the student's map may have fewer channels.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anchorkit.detectors import Detector
from anchorkit.detectors.base import evaluation_mode
from anchorkit.errors import InputError


def attention(features: Tensor) -> Tensor:
    """Where a feature map has its energy: the mean square over the channels of each cell, as a unit vector.

    Args:
        features: (N, C, h, w).

    Returns:
        float32 (N, h * w), 0..1; the squares of a row add up to 1, or to 0 where the map is zero.

    Example:
        >>> import torch
        >>> from anchorkit.training.distilling import attention
        >>> attention(torch.tensor([[[[3.0, 2.0]], [[0.0, -1.0]]]]))
        tensor([[0.8742, 0.4856]])
    """
    return F.normalize(features.float().square().mean(1).flatten(1))


class Distilling:
    """The distance between a student's and its teacher's attention during one training.

    It compares the maps that the trunk gives to the head, one per level, and the ends of the trunk's stages: the last
    map of each size before the next halving. Maps of a single cell have no attention.

    Args:
        student: the detector that is trained.
        teacher: the detector to learn from. Its weights stay as they are; it is moved to the student's device.
        weight: the distance is multiplied by it.

    Raises:
        InputError: the teacher is the student itself, has another input size or other classes, or lacks one of the
            student's levels; the weight is out of range.
    """

    def __init__(self, student: Detector, teacher: Detector, weight: float) -> None:
        _check(student, teacher, weight)
        self.weight, self.student, self.teacher = weight, student, teacher.module
        self.maps: tuple[_Maps, ...] = ()  # the student's and the teacher's
        self.names: list[str] = []  # of the maps that are compared
        self.terms: list[float] = []

    def open(self) -> None:
        """Find the maps and hook them."""
        device, modules = self.student.device, (self.student.module, self.teacher.to(self.student.device))
        image = torch.zeros(3, *self.student.layout.input_size, device=device)
        ends = _stage_ends(modules[0], image)
        self.maps = tuple(_Maps(module, ends) for module in modules)
        sizes = []
        for module, maps in zip(modules, self.maps, strict=True):
            _look(module, [image])
            sizes.append({name: value.shape[-2:] for name, value in maps.take().items()})
        self.names = [name for name, size in sizes[0].items() if sizes[1].get(name) == size and size.numel() > 1]
        if not self.names:
            self.close()
            raise InputError(f"teacher: {self.student.name} and its teacher have no feature maps that can be compared")

    def loss(self, images: Sequence[Tensor], share: float) -> Tensor | None:
        """The weighted distance, a scalar: per image the sum over all maps and cells of the squared difference.

        Args:
            images: those of the step, which the student has just seen, (3, H, W) in 0..1.
            share: how much of the training is done; not used.
        """
        _look(self.teacher, images)
        student, teacher = (maps.take() for maps in self.maps)
        distances = [
            (attention(student[name]) - attention(teacher[name])).square().sum(1).mean() for name in self.names
        ]
        loss = self.weight * torch.stack(distances).sum()
        self.terms.append(float(loss.detach()))
        return loss

    def after_step(self, share: float, lr: float) -> None:
        """Nothing: the distance is a term of the loss."""

    def columns(self, kept: nn.Module) -> dict[str, float]:
        """What the history notes at the end of a lap; see `History`."""
        mean = sum(self.terms) / len(self.terms)
        self.terms = []
        return {"distilling": mean}

    def close(self) -> None:
        """Remove all hooks."""
        for maps in self.maps:
            maps.close()


def weights_digest(detector: Detector) -> str:
    """A digest of a detector's layout and weights; a continued training must have the same teacher."""
    digest = hashlib.sha256(repr(detector.layout.to_dict()).encode())
    for name, value in detector.module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class _Maps:
    """The maps that a trunk gave last: those for the head as ``level NAME``, others by the module that they go into."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        trunk = _trunk(module)
        self.maps: dict[str, Tensor] = {}
        within = dict(trunk.named_modules())
        self.hooks = [
            within[name].register_forward_pre_hook(partial(self._note, name)) for name in names if name in within
        ]
        if trunk is not module:
            self.hooks.append(trunk.register_forward_hook(self._note_levels))

    def take(self) -> dict[str, Tensor]:
        """The maps since the last call."""
        taken, self.maps = self.maps, {}
        return taken

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self.hooks:
            hook.remove()

    def _note(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.maps[name] = inputs[0]

    def _note_levels(self, module: nn.Module, inputs: object, output: Any) -> None:
        self.maps |= {f"level {name}": value for name, value in _levels(output).items()}


def _check(student: Detector, teacher: Detector, weight: float) -> None:
    if not 0 <= weight < math.inf:
        raise InputError(f"distilling is {weight}; 0 or a positive number is needed")
    if teacher.module is student.module:
        raise InputError("teacher is the detector that is trained: load the teacher again, or prune a copy of it")
    ours, theirs = student.layout.input_size, teacher.layout.input_size
    if ours != theirs:
        raise InputError(
            f"teacher: its input is {theirs[0]}x{theirs[1]}, that of {student.name} {ours[0]}x{ours[1]} (height x "
            "width): use a teacher with the same input"
        )
    classes = [[category.name for category in detector.categories] for detector in (student, teacher)]
    if classes[0] != classes[1]:
        odd = sorted(set(classes[0]) ^ set(classes[1])) or ["their order"]
        raise InputError(
            f"teacher: its {len(classes[1])} classes are not the {len(classes[0])} of {student.name} (different: "
            f"{', '.join(odd[:3])}): use a teacher with the same classes in the same order"
        )
    grids = [
        {level.name: (level.height, level.width) for level in detector.layout.levels if level.anchors}
        for detector in (student, teacher)
    ]
    for name, grid in grids[0].items():
        if grids[1].get(name) != grid:
            there = f"is {grids[1][name][0]}x{grids[1][name][1]}" if name in grids[1] else "is missing"
            raise InputError(
                f"teacher: level {name} of {student.name}, {grid[0]}x{grid[1]} cells, {there} in {teacher.name}: use "
                "a teacher with the same levels, such as the detector before pruning"
            )


def _trunk(module: nn.Module) -> nn.Module:
    """The part of a detector's module that makes feature maps; a module without one is taken whole."""
    trunk = getattr(module, "backbone", None)
    return trunk if isinstance(trunk, nn.Module) else module


def _levels(output: Any) -> Mapping[str, Tensor]:
    """A trunk's maps by level, however it gives them: as a dictionary, a sequence, or the only one."""
    if isinstance(output, Tensor):
        return {"0": output}
    return output if isinstance(output, Mapping) else {str(level): value for level, value in enumerate(output)}


@torch.no_grad()
def _look(module: nn.Module, images: Sequence[Tensor]) -> None:
    """Run a detector's trunk in evaluation mode on images (3, H, W), for the hooks in it."""
    with evaluation_mode(module):
        trunk, transform = _trunk(module), getattr(module, "transform", None)
        if trunk is module or transform is None:
            module(list(images))
        else:
            trunk(transform(list(images))[0].tensors)


def _stage_ends(module: nn.Module, image: Tensor) -> list[str]:
    """The paths within the trunk of the modules that begin a stage: the end of the one before is their input.

    A module begins a stage if it is the first to make a smaller map of a map of that size; of modules within each
    other that is the outermost. The image is no end of a stage, nor is a map that the trunk gives to the head. Means
    over the whole map, as squeeze-and-excitation takes them, begin no stage.
    """
    trunk, order = _trunk(module), itertools.count()
    within: list[tuple[int, Any]] = []  # of the modules that are running: when they began, and their inputs
    first: dict[torch.Size, tuple[int, str, Tensor]] = {}  # by size of the input: when, the module, the input
    known: list[Any] = []  # the first module's input, that is the images, and what the trunk gives to the head

    def enter(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        known.extend(inputs if not known else ())
        within.append((next(order), inputs[0] if inputs else None))

    def leave(name: str, layer: nn.Module, inputs: object, output: object) -> None:
        began, before = within.pop()
        if not (_is_map(before) and _is_map(output)) or before is known[0]:
            return
        size = before.shape[-2:]
        if 1 < output.shape[-2:].numel() < size.numel() and (size not in first or began < first[size][0]):
            first[size] = began, name, before

    hooks = []
    for name, layer in trunk.named_modules():
        if name:
            hooks += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(partial(leave, name))]
    if trunk is not module:
        hooks.append(trunk.register_forward_hook(lambda layer, inputs, output: known.extend(_levels(output).values())))
    try:
        _look(module, [image])
    finally:
        for hook in hooks:
            hook.remove()
    calls = sorted(first.values(), key=lambda call: call[0])
    return [name for _, name, before in calls if not any(before is value for value in known)]


def _is_map(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a feature map (N, C, h, w)."""
    return isinstance(value, Tensor) and value.ndim == 4
