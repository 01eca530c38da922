"""How accurate a detector would be with any subset of its anchors: exactly what pycocotools would say, fast.

`Evaluator` is resolved on first use, so that importing the package loads neither numba nor pycocotools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Evaluator"]

if TYPE_CHECKING:
    from anchorkit.evaluation.evaluator import Evaluator


def __getattr__(name: str) -> Any:
    if name != "Evaluator":
        raise AttributeError(f"module 'anchorkit.evaluation' has no attribute {name!r}")
    from anchorkit.evaluation.evaluator import Evaluator

    return Evaluator
