"""State dicts: read from a file with no pickle, and put into a detector with errors that say what does not fit."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from anchorkit.detectors.base import Detector
from anchorkit.errors import InputError

BATCH_NORM_EPSILON = 1e-5
State = Mapping[str, Tensor]
"""Tensors by name, as ``module.state_dict()`` gives them."""

# Where training scripts put the state dict among other things; torchvision's own say "model".
WRAPPERS = ("model", "state_dict", "model_state_dict", "model_state", "net", "weights", "params")
# Where they put a moving average of the weights, beside these or alone.
AVERAGES = ("model_ema", "ema", "ema_state_dict", "state_dict_ema", "model_ema_state_dict", "ema_model")
# What wrappers put in front of every tensor's name: DataParallel, Lightning, torch.compile, and scripts of one's own.
PREFIXES = ("module", "model", "_orig_mod", "net", "network", "detector", "ema_model")


@contextmanager
def named_in_errors(source: str | Path) -> Iterator[None]:
    """Puts `source` in front of what an InputError says, on one line."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {' '.join(str(error).split())}") from None


def read_state(path: Path) -> State:
    """The tensors of a ``.safetensors`` file, or of what ``torch.save`` wrote: a state dict, or a dict that has one.

    Where a dict has both the weights and a moving average of them, the weights are taken, and a warning says so.

    Raises:
        InputError: the file is missing, cut off, or holds something other than tensors, which is never unpickled; or a
            tensor has numbers that are not finite.
    """
    try:
        loaded: Any = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from None
    loaded = _unwrapped(loaded, path)
    if not isinstance(loaded, dict) or not loaded:
        raise InputError(f"{path}: holds {_kind(loaded)}; a state dict (tensors by name) is needed")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            keys = " or ".join(map(repr, WRAPPERS))
            raise InputError(
                f"{path}: entry {name!r} is {_kind(value)}; a state dict (tensors by name) is needed, by itself or "
                f"under {keys}"
            )
    check_finite(loaded, path)
    return loaded


def check_finite(state: State, path: Path) -> None:
    """Raise an InputError if a tensor has numbers that are not finite."""
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            count = int((~torch.isfinite(value)).sum())
            raise InputError(
                f"{path}: {count} of {value.numel()} numbers of {name} are not finite (NaN or infinite), as a training "
                "that diverged leaves them; take an earlier checkpoint"
            )


def without_prefix(state: State, fits: Callable[[State], bool], source: str | Path) -> State:
    """A state dict without what stands in front of all its names (``module.``, ``model.``, ``_orig_mod.``).

    Args:
        state: the tensors.
        fits: whether a state dict has the names that are needed.
        source: what the warning names.

    Returns:
        `state` itself if it fits as it is, or if it does not fit without a prefix either.
    """
    bare, prefix = dict(state), ""
    while not fits(bare):
        bare.pop("n_averaged", None)  # torch's AveragedModel counts beside the weights
        first = {name.partition(".")[0] for name in bare}
        shared = first.pop() if len(first) == 1 else ""
        if shared not in PREFIXES:
            return state
        prefix += f"{shared}."
        bare = {name.partition(".")[2]: value for name, value in bare.items()}
    if not prefix:
        return state
    warnings.warn(f"{source}: the names of all tensors begin with {prefix!r}, which is left out", stacklevel=2)
    return bare


def fill(detector: Detector, state: State) -> None:
    """Copy a state dict in the kit's own naming into a detector.

    Raises:
        InputError: a tensor is missing, is one too many, or has another shape; who knows the file puts it in front.
    """
    expected = detector.module.state_dict()
    missing = [name for name in expected if name not in state]
    extra = sorted(set(state) - set(expected))
    if missing:
        others = f", and has {_some(extra)} that it does not know{_prefix_of(extra, missing)}" if extra else ""
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


def thawed(state: State, *, epsilon_zero: bool) -> dict[str, Tensor]:
    """A state dict in which frozen batch norms, which count no batches, are ordinary ones.

    Args:
        state: the tensors.
        epsilon_zero: whether the frozen ones are computed with an epsilon of 0, not with that of ordinary ones.
    """
    found = dict(state)
    for name, variance in state.items():
        norm = name.removesuffix(".running_var")
        if norm != name and f"{norm}.num_batches_tracked" not in state and f"{norm}.weight" in state:
            found[f"{norm}.num_batches_tracked"] = torch.tensor(0)
            if epsilon_zero:  # scaled like this, norms with an epsilon give what others give without one
                scale = ((variance + BATCH_NORM_EPSILON) / variance).sqrt()
                found[f"{norm}.weight"] = state[f"{norm}.weight"] * scale
    return found


def prefix_hint(state: State) -> str:
    """A clause that names the wrapper that most names begin with, or nothing."""
    for prefix in PREFIXES:
        count = sum(name.startswith(f"{prefix}.") for name in state)
        if 2 * count > len(state):
            return f"; {count} of the names begin with {prefix + '.'!r}: leave that out, and the tensors without it"
    return ""


def _unwrapped(loaded: Any, path: Path) -> Any:
    """The state dict in what a training script saved."""
    for _ in range(3):  # such as {"state_dict": {"model": ...}}
        if not isinstance(loaded, dict):
            return loaded
        found = [key for key in WRAPPERS if isinstance(loaded.get(key), dict)]
        averages = [key for key in AVERAGES if isinstance(loaded.get(key), dict)]
        if not found and not averages:
            return loaded
        taken = (found or averages)[0]
        if averages:
            other = f", not {averages[0]!r} beside it" if found else ", a moving average of the weights"
            mend = f"; to use that, save torch.load(file)[{averages[0]!r}] to a file of its own" if found else ""
            warnings.warn(f"{path}: {taken!r} is taken{other}{mend}", stacklevel=3)
        loaded = loaded[taken]
    return loaded


def _prefix_of(extra: Sequence[str], missing: Sequence[str]) -> str:
    """A clause that names what stands in front of names that would be known without it."""
    needed = set(missing)
    for name in extra:
        for dot in re.finditer(r"\.", name):
            if name[dot.end() :] in needed:
                prefix = name[: dot.end()]
                count = sum(other.startswith(prefix) and other.removeprefix(prefix) in needed for other in extra)
                return f"; {count} of them would fit without {prefix!r} in front"
    return ""


def _torch_load(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    # What torch raises for a damaged file depends on where the damage is; in every case the file cannot be read.
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
