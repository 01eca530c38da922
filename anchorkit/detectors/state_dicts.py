"""State dicts: read from a file with no pickle, and put into a detector with errors that say what does not fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from anchorkit.detectors.base import Detector
from anchorkit.errors import InputError

State = Mapping[str, Tensor]
"""Tensors by name, as ``module.state_dict()`` gives them."""

# Where training scripts put the state dict among other things; torchvision's own say "model".
WRAPPERS = ("model", "state_dict")


def read_state(path: Path) -> State:
    """The tensors of a ``.safetensors`` file, or of what ``torch.save`` wrote: a state dict, or a dict that has one.

    Raises:
        InputError: the file is missing, cut off, or holds something other than tensors, which is never unpickled.
    """
    try:
        loaded: Any = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from None
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not loaded:
        raise InputError(f"{path}: holds {_kind(loaded)}; a state dict (tensors by name) is needed")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            keys = " or ".join(map(repr, WRAPPERS))
            raise InputError(
                f"{path}: entry {name!r} is {_kind(value)}; a state dict (tensors by name) is needed, by itself or "
                f"under {keys}"
            )
    return loaded


def fill(detector: Detector, state: State) -> None:
    """Copy a state dict in the kit's own naming into a detector.

    Raises:
        InputError: a tensor is missing, is one too many, or has another shape; who knows the file puts it in front.
    """
    expected = detector.module.state_dict()
    missing = [name for name in expected if name not in state]
    extra = sorted(set(state) - set(expected))
    if missing:
        others = f", and has {_some(extra)} that it does not know" if extra else ""
        raise InputError(f"lacks {_some(missing)} of {len(expected)} tensors that {detector.name} needs{others}")
    if extra:
        raise InputError(f"has tensors that {detector.name} does not know: {_some(extra)}")
    for name, value in expected.items():
        if state[name].shape != value.shape:
            raise InputError(f"{name} has shape {tuple(state[name].shape)}, {detector.name} needs {tuple(value.shape)}")
    detector.module.load_state_dict(state)


def fill_trunk(detector: Detector, state: State, names: Mapping[str, str]) -> None:
    """Copy some tensors of another network's state dict into a detector, and leave the rest of it as it is.

    Args:
        detector: whose weights are overwritten.
        state: the other network's tensors; those that are not needed are left out.
        names: for each tensor of the detector that is to be filled, its name in `state`.

    Raises:
        InputError: a tensor is missing or has another shape; who knows the file puts it in front.
    """
    missing = [theirs for theirs in names.values() if theirs not in state]
    if missing:
        raise InputError(
            f"lacks {_some(missing)} of {len(names)} tensors that the trunk of {detector.name} needs; it has "
            f"{_some(list(state))}"
        )
    own = detector.module.state_dict()
    for ours, theirs in names.items():
        if state[theirs].shape != own[ours].shape:
            raise InputError(
                f"{theirs} has shape {tuple(state[theirs].shape)}, the trunk of {detector.name} needs "
                f"{tuple(own[ours].shape)} for {ours}"
            )
    detector.module.load_state_dict(own | {ours: state[theirs] for ours, theirs in names.items()})


def _torch_load(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    # What torch raises for a damaged file depends on where the damage is: whatever it is, the file cannot be read.
    except Exception as error:
        text = " ".join(str(error).split())
        if "GLOBAL" in text or "TorchScript" in text:
            raise InputError(
                f"{path}: holds Python objects beside tensors, which may run code and are not read; save a plain state "
                "dict: torch.save(model.state_dict(), file)"
            ) from None
        kind = type(error).__name__ if isinstance(error, pickle.UnpicklingError | EOFError) else text[:120]
        raise InputError(f"{path}: not tensors as torch.save writes them, or cut off ({kind})") from None


def _some(names: Sequence[str]) -> str:
    """The number of names if there are many, and the first of them."""
    if len(names) <= 3:
        return ", ".join(names)
    return f"{len(names)} ({', '.join(names[:3])} ...)"


def _kind(value: object) -> str:
    return "an empty dict" if value == {} else f"of type {type(value).__name__}"
