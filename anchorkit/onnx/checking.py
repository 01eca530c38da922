"""Compare a cut file with the whole one before it appears."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from anchorkit.errors import InputError
from anchorkit.onnx.graph import helper, onnx, onnxruntime, session
from anchorkit.onnx.understand import Analysis

ROOM = 1e-4
"""The largest difference that is rounding, as a share of the largest number in an output."""


@dataclass(frozen=True)
class Check:
    """How far the rows of a cut file are from the rows that it keeps of the whole one.

    Attributes:
        difference: the largest, over all outputs, with the runtime's graph optimizations off.
        optimized: the same with optimizations on, as most programs use the file; None for float files, in which the
            two do the same.
        onnxruntime: the version that both ran on.
    """

    difference: float
    optimized: float | None
    onnxruntime: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)


def check_cut(analysis: Analysis, model: Any, kept: int) -> Check:
    """Compare a cut model with the whole one, on a random image.

    Raises:
        InputError: the cut model is not valid, does not run, or its rows are not those of the whole one.
    """
    source = analysis.graph.source
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker's errors have no common base
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{source}: the cut file would not be valid ({reason}); no file was written") from None
    graph = analysis.graph
    _, channels, _, _ = graph.declared_input()
    size = (1, channels or 3, *analysis.input_size)
    kind = helper.tensor_dtype_to_np_dtype(graph.image.type.tensor_type.elem_type)
    image = np.random.default_rng(0).random(size) * (1 if kind.kind == "f" else 255)
    quantized = any(node.op_type in ("QuantizeLinear", "QLinearConv") for node in graph.nodes)
    plain = _difference(analysis, model, kept, graph.as_input(image), optimized=False)
    optimized = _difference(analysis, model, kept, graph.as_input(image), optimized=True) if quantized else None
    return Check(plain, optimized, str(onnxruntime.__version__))


def _difference(analysis: Analysis, model: Any, kept: int, image: np.ndarray, optimized: bool) -> float:
    source = analysis.graph.source
    given = {analysis.graph.image.name: image}
    whole = session(analysis.graph.model, optimized, threads=1).run(list(analysis.graph.outputs), given)
    try:
        small = session(model, optimized, threads=1).run(list(analysis.graph.outputs), given)
    except Exception as error:  # onnxruntime's errors have no common base
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{source}: the cut file does not run ({reason}); no file was written") from None
    largest = 0.0
    for name, before, after in zip(analysis.graph.outputs, whole, small, strict=True):
        block = analysis.extents.block(name, kept)
        if block is None:
            if after.size:
                raise InputError(f"{source}: the cut file has too many rows in the output {name}; no file was written")
            continue
        for axis, keep in enumerate(block):
            before = before if keep is None else before.take(keep, axis)
        if before.shape != after.shape:
            raise InputError(
                f"{source}: the output {name} of the cut file has the shape {after.shape}; the rows kept of the whole "
                f"file have {before.shape}; no file was written"
            )
        before, after = before.astype(np.float64), after.astype(np.float64)
        difference = float(np.abs(before - after).max()) if before.size else 0.0
        if not optimized and not difference <= ROOM * max(1.0, float(np.abs(before).max())):
            raise InputError(
                f"{source}: rows of the output {name} differ by {difference:.2g} from those of the whole file on a "
                "random image; no file was written"
            )
        largest = max(largest, difference)
    return largest
