"""Checkpoints that are pickles of whole modules, as YOLOv5 and YOLOv7 write them; see `stand_ins` for how.

`torch.load(weights_only=True)` refuses these files, because they name classes of the training repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from anchorkit.detectors.stand_ins import Noted, StandIn, Tensors, kind_of, opened
from anchorkit.detectors.state_dicts import AVERAGES, WRAPPERS
from anchorkit.errors import InputError

MOST = 20_000
"""Modules of a model, and values of a table, at most: one that contains itself would have them without end."""
_DEEPEST = 3  # dictionaries within one another that are looked through
Shapes = tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says.

    Attributes:
        taken: where in the file the weights lay, such as ``"ema"`` or ``"model"``; empty for the file itself.
        state: the tensors by name, half precision and double brought to float32.
        names: the object classes in the order of the scores, if the file has them.
        anchors: (width, height) in input pixels of the anchors of each level, if the file has them.
        strides: distance of neighbouring cells of each level in input pixels, if the file has it.
        table: the architecture as the training repository describes it (YOLOv5's yaml), if the file has it.
    """

    taken: str
    state: Mapping[str, Tensor]
    names: tuple[str, ...] | None = None
    anchors: Shapes | None = None
    strides: tuple[float, ...] | None = None
    table: Mapping[str, Any] | None = None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read what ``torch.save`` wrote: a module, a state dict, or a dictionary that has one. Nothing in it runs.

    Where a dictionary has both the weights (``model``, ``state_dict``, ``model_state_dict``, ...) and a moving average
    of them (``ema``, ...), the average is taken, as YOLOv5 and YOLOv7 do.

    Args:
        path: a file in torch's zip format, or in its older one.

    Raises:
        InputError: the file is missing, cut off or damaged, has no weights, or claims more numbers than it holds.

    Example:
        >>> import torch
        >>> from anchorkit.detectors import read_checkpoint
        >>> torch.save({"model": {"weight": torch.ones(2)}, "names": ["cat", "dog"]}, "best.pt")
        >>> found = read_checkpoint("best.pt")
        >>> found.names, found.state["weight"]
        (('cat', 'dog'), tensor([1., 1.]))
    """
    path = Path(path)
    try:
        with opened(path) as (loaded, read):
            return _found(loaded, Tensors(read, path.stat().st_size))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    # What is raised for a damaged file depends on where the damage is; in every case the file cannot be read.
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path}: not a checkpoint as torch.save writes it, or cut off ({reason})") from None


def _found(loaded: Any, tensors: Tensors) -> Checkpoint:
    """The weights in what was unpickled, and what lies beside them."""
    taken, model, beside = "", loaded, None
    for _ in range(_DEEPEST):
        if not isinstance(model, dict):
            break
        beside = model.get("names", beside)
        key = next((key for key in (*AVERAGES, *WRAPPERS) if _has_weights(model.get(key))), None)
        if key is None:
            break
        taken, model = key, model[key]
    if isinstance(model, dict):
        state = {str(name): tensors(value) for name, value in model.items() if isinstance(value, Noted)}
        if not state:
            raise InputError(f"holds {kind_of(model)} without tensors; a model or a state dict is needed")
        return Checkpoint(taken, state, _names(beside))
    if not isinstance(model, StandIn) or "_modules" not in model.fields:
        raise InputError(f"holds {kind_of(model)}; a model or a state dict is needed")
    state, heads = {}, [model]
    for name, part in _walk(model):
        if isinstance(part, Noted):
            state[name] = tensors(part)
        elif isinstance(part.fields["_buffers"].get("anchors"), Noted):
            heads = [part, model]  # the module that decodes; strides are beside its anchors, or the model's
    names = model.fields.get("names", beside)
    strides = next((tensors(one) for head in heads if isinstance(one := head.fields.get("stride"), Noted)), None)
    anchors = None
    if strides is not None and len(heads) == 2:
        cells = tensors(heads[0].fields["_buffers"]["anchors"])  # (levels, anchors, 2), in cells of the level
        anchors = tuple(
            tuple((float(w), float(h)) for w, h in level) for level in (cells * strides.reshape(-1, 1, 1)).tolist()
        )
    steps = None if strides is None else tuple(strides.tolist())
    return Checkpoint(taken, state, _names(names), anchors, steps, _table(model.fields.get("yaml")))


def _has_weights(value: Any, depth: int = _DEEPEST) -> bool:
    """Whether it is a module, a state dict, or a dictionary that has one."""
    if isinstance(value, dict) and depth:
        inner = (value.get(key) for key in (*AVERAGES, *WRAPPERS))
        return any(isinstance(each, Noted) for each in value.values()) or any(
            _has_weights(each, depth - 1) for each in inner
        )
    return isinstance(value, StandIn) and "_modules" in value.fields


def _walk(module: StandIn) -> Iterator[tuple[str, Any]]:
    """The modules of a module, itself first, and their parameters and buffers, with their names."""
    waiting, count = [("", module)], 0
    while waiting:
        prefix, part = waiting.pop()
        yield prefix, part
        unsaved = part.fields.get("_non_persistent_buffers_set", ())
        for kind in ("_parameters", "_buffers"):
            for name, value in part.fields[kind].items():
                if isinstance(value, Noted) and name not in unsaved:
                    yield f"{prefix}{name}", value
        inner = [(f"{prefix}{name}.", child) for name, child in part.fields["_modules"].items() if child is not None]
        waiting += reversed(inner)
        count += 1 + len(inner)
        if count > MOST:
            raise InputError(f"its model has more than {MOST:,} modules; does it contain itself?")


def _names(found: Any) -> tuple[str, ...] | None:
    """Class names, from a list or from a dictionary by number."""
    if isinstance(found, dict):
        found = [found[number] for number in range(len(found))] if set(found) == set(range(len(found))) else None
    return tuple(map(str, found)) if isinstance(found, list | tuple) and found else None


def _table(found: Any) -> Mapping[str, Any] | None:
    """A table of plain values; None if it is none, or has anything else in it."""
    left = MOST

    def plain(value: Any) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            return False
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(inner) for key, inner in value.items())
        if isinstance(value, list | tuple):
            return all(map(plain, value))
        return value is None or isinstance(value, str | int | float)

    return found if isinstance(found, dict) and plain(found) else None
