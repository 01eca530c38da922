"""Runs an ONNX file in a runtime on the CPU, with a fixed number of threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from anchorkit.errors import MissingExtraError

RUNTIMES = ("torch", "onnxruntime", "openvino")
"""Where networks are timed; all but torch run ONNX files."""
EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino"}

Network = Callable[[np.ndarray], dict[str, np.ndarray]]
"""From the file's input to its outputs, by name."""


def open_network(file: Path, runtime: str, threads: int) -> Network:
    """A network that runs in onnxruntime or OpenVINO.

    Args:
        file: an ONNX file with one input.
        runtime: ``"onnxruntime"`` or ``"openvino"``.
        threads: on how many threads it runs.

    Raises:
        MissingExtraError: the runtime is not installed.
    """
    try:
        return _OPENERS[runtime](file, threads)
    except ImportError:
        raise MissingExtraError(
            f"runtime {runtime!r} needs the package {runtime}, which is not installed: pip install "
            f"'anchorkit[{EXTRAS[runtime]}]'"
        ) from None


def _onnxruntime(file: Path, threads: int) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # its warnings are about the file's initializers, not about the time
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    [images] = session.get_inputs()
    given, names = images.name, [output.name for output in session.get_outputs()]

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {given: batch}), strict=True))

    return run


def _openvino(file: Path, threads: int) -> Network:
    import openvino

    hints: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # as the other runtimes; some CPUs would take bf16
    }
    model = openvino.compile_model(openvino.Core().read_model(file), "CPU", hints)
    names = [output.any_name for output in model.outputs]
    request = model.create_infer_request()

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        results = request.infer([batch])
        return {name: results[number] for number, name in enumerate(names)}

    return run


_OPENERS: dict[str, Callable[[Path, int], Network]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
