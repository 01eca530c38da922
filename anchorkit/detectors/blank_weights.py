"""Building a network whose weights are all to be overwritten, without drawing them first."""

from __future__ import annotations

from functools import wraps
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from anchorkit.detectors.base import Builder


class _NothingDrawn(TorchFunctionMode):
    """Inside it, fresh weights stay uninitialised."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init" or func in (Tensor.normal_, Tensor.uniform_):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def without_drawing(build: Builder) -> Builder:
    """A builder whose weights are all to be overwritten: to draw them takes nearly all of a large detector's time."""

    @wraps(build)
    def blank(*args: Any, **settings: Any) -> Any:
        with _NothingDrawn():
            return build(*args, **settings)

    return blank
