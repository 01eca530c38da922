"""What must hold of every file and every cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from anchorkit.onnx import OnnxDetector
from anchorkit.onnx.graph import session


def subsets(detector: OnnxDetector, count: int, seed: int = 0) -> list[Any]:
    """Random configurations, each anchor alone first, then some with an empty level."""
    rng, layout = np.random.default_rng(seed), detector.layout
    found = [layout.configuration(keep=[index]) for index in range(len(layout))][: count // 2]
    while len(found) < count:
        share = rng.random()
        keep = [anchor.index for anchor in layout.anchors if rng.random() < share]
        if len(layout.levels) > 1 and rng.random() < 0.5:
            empty = int(rng.integers(len(layout.levels)))
            keep = [index for index in keep if layout.anchors[index].level != empty]
        if keep:
            found.append(layout.configuration(keep=keep))
    return found


def run(model: Any, image: np.ndarray, optimized: bool = True) -> dict[str, np.ndarray]:
    """The outputs of a model for one image, by name. One thread: more of them add in another order."""
    made = session(model, optimized=optimized, threads=1)
    names = [value.name for value in made.get_outputs()]
    return dict(zip(names, made.run(names, {made.get_inputs()[0].name: image}), strict=True))


def noise(detector: OnnxDetector) -> np.ndarray:
    """A random input."""
    graph = detector.analysis.graph
    size = (1, graph.declared_input()[1] or 3, *detector.layout.input_size)
    whole = graph.image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    return graph.as_input(np.random.default_rng(1).random(size) * (255 if whole else 1))


def check_cuts(detector: OnnxDetector, count: int = 50, optimized: bool = True, checked: int = 3) -> None:
    """Rows of cut files equal the kept rows of the whole one, bit by bit; names, opset and validity are kept.

    Args:
        detector: a whole file.
        count: of configurations.
        optimized: with onnxruntime's optimizations.
        checked: how many of the cut files are also given to ONNX' checker.
    """
    analysis = detector.analysis
    image = noise(detector)
    whole = run(detector.model, image, optimized)
    for number, kept in enumerate(subsets(detector, count)):
        model, _ = analysis.cut(kept.mask)
        if number % max(1, count // checked) == 0:
            onnx.checker.check_model(model, full_check=True)
        stored = (*detector.model.graph.initializer, *model.graph.initializer)  # old files list them as inputs
        constants = {tensor.name for tensor in stored}
        images = [value.name for value in model.graph.input if value.name not in constants]
        assert images == [analysis.graph.image.name]
        assert [value.name for value in model.graph.output] == [value.name for value in detector.model.graph.output]
        assert model.opset_import == detector.model.opset_import
        if not detector.layout.shared_head and None not in analysis.graph.declared_input():
            assert model.ByteSize() < detector.model.ByteSize() or kept == detector.layout.full
        small = run(model, image, optimized)
        for reading in analysis.readings:
            wanted = np.isin(reading.anchor, kept.indices)
            for table in reading.group.tables:
                if table.parts:
                    continue  # bare heads: `test_files.py` looks at their channels
                rows = table.rows(whole[table.name])[wanted]
                found = small[table.name]
                if not wanted.any():
                    assert found.size == 0
                    continue
                found = found.reshape(-1, 1) if table.axis is None else table.rows(found)
                assert np.array_equal(found, rows), f"{table.name} of {kept}"
