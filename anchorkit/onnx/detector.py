"""A detector that is only an ONNX file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from anchorkit.anchors import AnchorLayout, Configuration, TrunkPart
from anchorkit.costs import costs
from anchorkit.datasets import Category
from anchorkit.errors import InputError
from anchorkit.files import replacing, write_json
from anchorkit.onnx.checking import Check, check_cut
from anchorkit.onnx.decode import DECODERS, decoded
from anchorkit.onnx.device import device_facts
from anchorkit.onnx.graph import helper, session
from anchorkit.onnx.preprocess import PRESETS, Placement, Preprocess, preprocess_of
from anchorkit.onnx.understand import Analysis
from anchorkit.onnx.understanding import Understanding, described, understanding_of
from anchorkit.postprocess import PostProcess, RawPredictions


@dataclass(frozen=True)
class Cut:
    """How a file was cut out of a whole one.

    Attributes:
        configuration: the anchors that were kept, of the whole file's layout.
        filters: for each initializer with filters of a head, those that were kept.
        check: how far its rows are from those of the whole file.
    """

    configuration: Configuration
    filters: dict[str, tuple[int, ...]]
    check: Check


class OnnxDetector:
    """A detector that is only an ONNX file: what `load_onnx` gives.

    It has what the rest of the kit asks of a detector (`name`, `layout`, `categories`, `postprocess`,
    `raw_predictions`, `pruned`), and no torch module: it cannot be trained.

    Attributes:
        architecture: ``"onnx"``.
        path: the file, or None if it has not been saved.
        model: the `onnx.ModelProto`.
        layout: anchors, level by level, finest level first, and what each costs.
        categories: the object classes, in the order of the scores.
        postprocess: how raw predictions become detections.
        preprocess: what is done to an image before it is the input; None if that is not known.
        options: what had to be said to understand the file (``anchors_per_cell``, ``shapes``, ``objectness``,
            ``background``), as far as it was.
        analysis: all that is known of the file (of a cut one: of the whole file).
        cut: how it was cut; None if it is whole.
        decode: how boxes are decoded that the file leaves as they are.
        activation: how scores are activated that the file leaves as they are.
    """

    architecture = "onnx"

    def __init__(
        self,
        analysis: Analysis,
        model: Any,
        layout: AnchorLayout,
        categories: Sequence[Category],
        postprocess: PostProcess,
        preprocess: Preprocess | None,
        *,
        path: Path | None = None,
        decode: str | None = None,
        activation: str | None = None,
        cut: Cut | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.analysis, self.cut = analysis, cut
        self.decode, self.activation = decode, activation
        self.model, self.layout, self.path = model, layout, path
        self.categories = tuple(categories)
        self.postprocess, self.preprocess = postprocess, preprocess
        self.options = dict(options or {})

    @property
    def name(self) -> str:
        """The detector's name, as its layout says it."""
        return self.layout.detector

    @property
    def parameters(self) -> int:
        """How many numbers the file has that are no integers of shapes: weights, biases, scales."""
        return sum(int(np.prod(tensor.dims)) for tensor in self.model.graph.initializer if tensor.data_type != 7)

    @cached_property
    def bytes(self) -> int:
        """Size of the file."""
        return int(self.model.ByteSize())

    @cached_property
    def understanding(self) -> Understanding:
        """What the file was found to be (of a cut file: the whole one that it was cut out of)."""
        return understanding_of(self.analysis)

    @property
    def kept_filters(self) -> dict[str, tuple[int, ...]]:
        """For each initializer of the whole file with filters of a head, those that are kept; empty if whole."""
        return {} if self.cut is None else self.cut.filters

    @property
    def check(self) -> Check | None:
        """How far the rows of a cut file are from those of the whole one; None if this one is whole."""
        return None if self.cut is None else self.cut.check

    def costs(self) -> dict[str, float | None]:
        """The costs of the kit (see `anchorkit.costs.costs`), with ``parameters`` and ``bytes`` of the whole file."""
        return {**costs(self.layout.full), "parameters": self.parameters, "bytes": self.bytes}

    def missing(self) -> tuple[str, ...]:
        """What `raw_predictions` still needs and the file does not say, in words; empty if nothing."""
        lacking = ["how images are resized, their mean, scale and order of colours"] if self.preprocess is None else []
        reading = self.analysis.readings[0]
        if reading.boxes.box_format is None and self.decode is None:
            lacking.append(f"how boxes are decoded (decode=, one of {', '.join(DECODERS)})")
        if reading.scores.activation == "none" and self.activation is None:
            lacking.append("how scores are activated (activation='sigmoid' or 'softmax')")
        return tuple(lacking)

    def with_preprocess(self, **said: Any) -> OnnxDetector:
        """The same detector with another preprocessing; takes those keywords of `load_onnx`.

        Raises:
            InputError: a value is out of range, or something is still open.
        """
        if self.analysis.graph.takes_pixels and said.get("preset") is not None:
            said = {"mean": 0, "scale": 1, **said}
        found = preprocess_of(self.preprocess, **said)
        return self._like(preprocess=found)

    def _like(self, **changes: Any) -> OnnxDetector:
        values: dict[str, Any] = {
            "analysis": self.analysis,
            "model": self.model,
            "layout": self.layout,
            "categories": self.categories,
            "postprocess": self.postprocess,
            "preprocess": self.preprocess,
            "path": self.path,
            "decode": self.decode,
            "activation": self.activation,
            "cut": self.cut,
            "options": self.options,
        }
        return OnnxDetector(**{**values, **changes})

    @cached_property
    def _session(self) -> Any:
        # One thread: how a product of matrices is divided among threads changes its last bits. Images run side by side.
        return session(self.model, threads=1)

    @cached_property
    def _empty(self) -> set[str]:
        """Outputs without rows."""
        found = set()
        for value in self.model.graph.output:
            dims = value.type.tensor_type.shape.dim
            if any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in dims):
                found.add(value.name)
        return found

    def raw_predictions(self, images: Sequence[np.ndarray]) -> list[RawPredictions]:
        """Raw predictions of the file for each image alone, computed by onnxruntime.

        Args:
            images: uint8 (H, W, 3) RGB, each of its own size.

        Returns:
            One `RawPredictions` per image; boxes in the order of the file's rows.

        Raises:
            InputError: it is not known how an image becomes an input, or how the outputs become boxes and scores.
        """
        lacking = self.missing()
        if lacking:
            presets = f": preset= (one of {', '.join(sorted(PRESETS))}), or resize=, mean=, scale= and color="
            raise InputError(
                f"{self.name}: the file does not say {'; nor '.join(lacking)}; give "
                f"{'it' if len(lacking) == 1 else 'them'} to load_onnx{presets if self.preprocess is None else ''}"
            )
        self._session  # noqa: B018  made once, before the threads
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(self._raw, images))

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, Placement]:
        """An image as the file takes it, alone in its batch, and where the image lies in that input.

        Raises:
            InputError: it is not known how an image becomes an input.
        """
        if self.preprocess is None:
            raise InputError(f"{self.name}: the file does not say {self.missing()[0]}")
        graph = self.analysis.graph
        channels = graph.declared_input()[1] or 3
        pixels, placement = self.preprocess.apply(image, self.analysis.input_size, channels)
        kind = helper.tensor_dtype_to_np_dtype(graph.image.type.tensor_type.elem_type)
        if kind.kind in "iu":
            limits = np.iinfo(kind)
            pixels = np.clip(np.round(pixels), limits.min, limits.max)
        return graph.as_input(pixels), placement

    def read(self, found: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes and scores from the file's outputs for one image.

        Args:
            found: the outputs by name.

        Returns:
            float64 (B, 4), x1 y1 x2 y2 in pixels of the input; float32 (B, K), 0..1; int32 (B,), the anchors.
        """
        boxes, scores, anchors = [], [], []
        for reading in self.analysis.readings:
            whole = self._whole(found, reading)
            if whole is None:
                continue
            values, kept, numbers = whole
            with np.errstate(invalid="ignore"):
                box, score = decoded(self.analysis, reading, values, self.decode, self.activation)
            boxes.append(box[kept])
            scores.append(score[kept])
            anchors.append(numbers[kept])
        return np.concatenate(boxes), np.clip(np.concatenate(scores), 0, 1), np.concatenate(anchors)

    def _raw(self, image: np.ndarray) -> RawPredictions:
        pixels, placement = self.prepare(image)
        names = [value.name for value in self.model.graph.output if value.name not in self._empty]
        outputs = self._session.run(names, {self.analysis.graph.image.name: pixels})
        boxes, scores, anchors = self.read(dict(zip(names, outputs, strict=True)))
        height, width = image.shape[:2]
        joined = placement.to_image(boxes, width, height)
        joined[:, 2:] = np.maximum(joined[:, 2:], joined[:, :2])
        return RawPredictions(joined, scores, anchors)

    def _whole(
        self, found: dict[str, np.ndarray], reading: Any
    ) -> tuple[dict[str, np.ndarray], np.ndarray, Any] | None:
        """Values in the shape of the whole file's outputs (NaN where a cut file has none), the rows that it has, and
        the anchor of each row.
        """
        if self.cut is None:
            return found, np.ones(len(reading.anchor), np.bool_), reading.anchor
        mask = self.cut.configuration.mask
        new = np.full(len(self.analysis.layout), -1, np.int32)
        new[list(self.cut.configuration.indices)] = np.arange(len(self.cut.configuration), dtype=np.int32)
        numbers = new[reading.anchor]
        kept = numbers >= 0
        if not kept.any():
            return None
        values = {}
        for table in reading.group.tables:
            block = self.analysis.extents.block(table.name, mask)
            if block is None:
                return None
            large = np.full(table.shape, np.nan, np.float32)
            places = [
                np.arange(length) if keep is None else keep for length, keep in zip(table.shape, block, strict=True)
            ]
            large[np.ix_(*places)] = found[table.name]
            values[table.name] = large
        return values, kept, numbers

    def pruned(self, configuration: Configuration) -> OnnxDetector:
        """The detector of a smaller file that keeps only the anchors of `configuration`; see `anchorkit.prune`.

        The rows of the cut file are compared with those of the whole one on random images.

        Raises:
            InputError: the file cannot be cut in this way, or the cut file says something else than the whole one.
        """
        root = self.analysis
        before = range(len(root.layout)) if self.cut is None else self.cut.configuration.indices
        kept = root.layout.configuration(keep=[before[index] for index in configuration.indices])
        model, filters = root.cut(kept.mask)
        check = check_cut(root, model, kept.mask)
        return self._like(
            model=model,
            layout=_pruned_layout(self.layout, configuration),
            path=None,
            cut=Cut(kept, filters, check),
        )

    def save(self, path: str | Path) -> Path:
        """Write the file, and beside it a ``.json`` for the program that uses it.

        Args:
            path: ends in ``.onnx``.

        Returns:
            The ONNX file.

        Raises:
            InputError: the path has another ending or cannot be written.
        """
        target = Path(path)
        if target.suffix != ".onnx":
            raise InputError(f"{target}: a file name that ends in .onnx is needed")
        with replacing(target) as temporary, replacing(target.with_suffix(".json")) as description:
            temporary.write_bytes(self.model.SerializeToString())
            write_json(description, {**self.device_facts(), "file": target.name})
        self.path = target
        return target

    def device_facts(self) -> dict[str, Any]:
        """What the program that uses the file must know, as a JSON object."""
        return device_facts(self)

    def __str__(self) -> str:
        lines = [repr(self), described(self.understanding, self.analysis.layout.ids)]
        if self.preprocess is not None:
            lines.append(f"preprocessing: {self.preprocess.describe()}")
        lacking = self.missing()
        if lacking:
            lines.append(f"The file does not say {'; nor '.join(lacking)}.")
        if self.cut is not None:
            lines.append(f"cut: keeps {self.cut.configuration}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"OnnxDetector({self.name}: {len(self.layout)} anchors on {len(self.layout.levels)} levels, "
            f"{len(self.categories)} classes, {self.parameters:,} parameters)"
        )


def _pruned_layout(layout: AnchorLayout, configuration: Configuration) -> AnchorLayout:
    """The layout of the anchors kept; empty levels before the last used one stay, parts of the trunk go with theirs."""
    levels = []
    used = max(anchor.level for anchor in configuration.anchors) + 1
    for number, level in enumerate(layout.levels[:used]):
        mine = [anchor for anchor in layout.anchors if anchor.level == number]
        kept = [place for place, anchor in enumerate(mine) if anchor.index in configuration]
        levels.append(
            replace(
                level,
                anchors=tuple(level.anchors[place] for place in kept),
                positions=tuple(level.positions[place] for place in kept) if level.positions else (),
            )
        )
    needed = {number for number, count in enumerate(configuration.per_level) if count}
    parts, gone = [], 0
    for part in layout.trunk_parts:
        if needed.isdisjoint(part.levels):
            gone += part.macs
        else:
            parts.append(TrunkPart(part.name, part.macs, tuple(number for number in part.levels if number < used)))
    name = layout.detector if layout.detector.endswith("-pruned") else f"{layout.detector}-pruned"
    trunk = None if layout.trunk_macs is None else layout.trunk_macs - gone
    return replace(layout, detector=name, levels=tuple(levels), trunk_macs=trunk, trunk_parts=tuple(parts))


__all__ = ["Cut", "OnnxDetector"]
