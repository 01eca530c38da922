"""How accurate a detector would be with any subset of its anchors: exactly what pycocotools would say, fast.

`Evaluator` is resolved on first use, so that importing the package loads neither numba nor pycocotools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anchorkit import modules_on_first_use

__all__ = ["Evaluator", "metrics"]

if TYPE_CHECKING:
    from anchorkit.evaluation.evaluator import Evaluator


_module = modules_on_first_use(__name__)


def __getattr__(name: str) -> Any:
    if name != "Evaluator":
        return _module(name)
    from anchorkit.evaluation.evaluator import Evaluator

    return Evaluator
