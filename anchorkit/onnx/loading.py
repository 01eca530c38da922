"""Load a detector that is only an ONNX file."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anchorkit.datasets import Category
from anchorkit.errors import InputError
from anchorkit.files import read_json
from anchorkit.onnx.decode import DECODERS
from anchorkit.onnx.detector import OnnxDetector
from anchorkit.onnx.device import FORMAT
from anchorkit.onnx.graph import Graph, attribute, ending_with, in_order, onnx
from anchorkit.onnx.names import Categories, categories_of, numbered
from anchorkit.onnx.preprocess import PRESETS, Number, Preprocess, preprocess_of, triple
from anchorkit.onnx.scores import ACTIVATIONS, Said
from anchorkit.onnx.understand import understand
from anchorkit.postprocess import PostProcess
from anchorkit.suggest import did_you_mean

EXPORT = "anchorkit.export"
DEFAULT = PostProcess(score_threshold=0.01, topk=None, nms_iou=0.45, max_detections=100)


def load_onnx(
    path: str | Path,
    *,
    categories: Categories = None,
    preset: str | None = None,
    resize: str | None = None,
    mean: Number | None = None,
    scale: Number | None = None,
    color: str | None = None,
    fill: Number | None = None,
    antialias: bool | None = None,
    input_size: tuple[int, int] | None = None,
    objectness: bool | None = None,
    background: str | None = None,
    activation: str | None = None,
    decode: str | None = None,
    outputs: Sequence[str] | None = None,
    anchors_per_cell: int | Sequence[int] | None = None,
    shapes: Sequence[Sequence[tuple[float, float]]] | None = None,
    postprocess: PostProcess | None = None,
    name: str | None = None,
) -> OnnxDetector:
    """Understand an ONNX file of any detector whose boxes come from single cells, and make a detector of it.

    Levels, anchors, their shapes and filters, the format of boxes and the activation of scores are read from the graph
    itself; `print` of the result says what was found. What a file cannot say is given here, or stands in the ``.json``
    beside it that `export_onnx` and `OnnxDetector.save` write.

    Args:
        path: the file.
        categories: the object classes: a list of names or of `Category`, how many there are, or a file with their names
            (data.yaml, .names, .txt, or COCO json). None: as the file's metadata say, else numbered.
        preset: a usual preprocessing, a name of `anchorkit.onnx.PRESETS`.
        resize: ``"stretch"``, ``"letterbox"`` or ``"letterbox-corner"``; see `Preprocess`.
        mean: what is subtracted from pixels (0..255); one number or three.
        scale: what they are then divided by.
        color: ``"RGB"`` or ``"BGR"``.
        fill: pixels of the margin (0..255).
        antialias: whether pixels are averaged when an image gets smaller, as Pillow does.
        input_size: (height, width) in pixels, where the file leaves it open.
        objectness: whether the first score is one, where the number of classes does not say it.
        background: ``"first"``, ``"last"`` or ``"none"``: the column of the background.
        activation: ``"sigmoid"`` or ``"softmax"``, where the file gives scores as they come from the convolution.
        decode: how boxes are decoded that the file leaves as they are: ``"yolov3"``, ``"yolov5"``, ``"yolox"``,
            ``"ssd"`` or ``"distance"``.
        outputs: tensors to read in place of the file's outputs: those before NMS, as a rule.
        anchors_per_cell: for bare heads (N, A x K, H, W): A, for all levels or for each, finest first.
        shapes: (width, height) in pixels of the anchors of each level, finest first, where the file does not say them.
        postprocess: how raw predictions become detections. None: as in the ``.json`` or in the file's NMS, else
            threshold 0.01, NMS at IoU 0.45 and 100 detections.
        name: of the detector; None for the file's.

    Raises:
        InputError: the file cannot be read, is no such detector, or something that was given does not fit it.
        MissingExtraError: onnx or onnxruntime is not installed.

    Example:
        >>> import anchorkit as ak
        >>> trained = ak.load_detector("tiny_ssd", weights="shapes")
        >>> detector = ak.load_onnx(ak.export_onnx(trained, "tiny.onnx"))
        >>> detector
        OnnxDetector(tiny: 30 anchors on 6 levels, 7 classes, ... parameters)
        >>> small = ak.prune(detector, detector.layout.configuration(keep=[0, 3, 10]))
        >>> small.save("small.onnx").name, small.check.difference
        ('small.onnx', 0.0)
    """
    file = Path(path)
    for word, value, words in (("activation", activation, ACTIVATIONS), ("decode", decode, DECODERS)):
        if value is not None and value not in words:
            raise InputError(f"{word} is {value!r}: {did_you_mean(value, words)}")
    if background not in (None, "first", "last", "none"):
        raise InputError(f"background is {background!r}: use 'first', 'last' or 'none'")
    whole = _read(file)
    rows = outputs or _with_rows(whole)
    model = whole if rows is None else ending_with(whole, rows, str(file))
    graph = Graph(model, str(file))
    beside = _beside(file)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    given = categories_of(categories)
    if given is None:
        given = beside.get("categories") or _names_in(facts)
    if input_size is None and None in graph.declared_input()[2:]:
        input_size = beside.get("input_size") or _size_in(facts)
    if shapes is None and decode is None:
        decode = beside.get("decode")
        shapes = beside.get("shapes")
    objectness = beside.get("objectness") if objectness is None else objectness
    background = background or beside.get("background")
    anchors_per_cell = anchors_per_cell or beside.get("anchors_per_cell")
    said = {
        "objectness": objectness,
        "background": background,
        "anchors_per_cell": anchors_per_cell,
        "shapes": None if shapes is None else [[list(shape) for shape in level] for level in shapes],
    }
    activation = activation or beside.get("activation")
    analysis = understand(
        graph,
        name or file.stem,
        input_size=input_size,
        said=Said(None if given is None else len(given), objectness, background, activation),
        anchors_per_cell=anchors_per_cell,
        shapes=shapes,
        named_outputs=outputs is not None,
    )
    classes = len(analysis.readings[0].scores.classes)
    known: Preprocess | None = beside.get("preprocess")
    if known is None and "ultralytics" in facts.get("author", "").lower():
        known = PRESETS["ultralytics"]
    if graph.takes_pixels and ("preprocess" not in beside or preset is not None):
        mean, scale = 0 if mean is None else mean, 1 if scale is None else scale
    return OnnxDetector(
        analysis,
        analysis.graph.model,
        analysis.layout,
        given or numbered(classes),
        postprocess or beside.get("postprocess") or _nms_of(whole, graph) or DEFAULT,
        preprocess_of(
            known, preset=preset, resize=resize, mean=mean, scale=scale, color=color, fill=fill, antialias=antialias
        ),
        path=file,
        decode=decode,
        activation=activation,
        options={word: value for word, value in said.items() if value is not None},
    )


def _read(file: Path) -> Any:
    """Read an ONNX file.

    Raises:
        InputError: it cannot be read, or its weights are missing.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        model = onnx.load(file)
    except (FileNotFoundError, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{file}: its weights are in another file, which is missing ({reason}); put it beside {file.name}"
        ) from None
    except Exception as error:  # protobuf has an error of its own for each way in which a file can be broken
        raise InputError(f"{file}: not an ONNX file, or cut off ({type(error).__name__})") from None
    if not model.graph.node or not model.graph.input or not model.graph.output:
        raise InputError(f"{file}: not an ONNX file, or an empty one")
    if model.functions:
        from onnx.inliner import inline_local_functions

        # torch 2.1 to 2.4 wrote each of its operators as one.
        model = inline_local_functions(model)
    _normalize(model.graph)
    return model


def _normalize(graph: Any) -> None:
    """Do, in place, what runtimes do with what some exporters write: order nodes, and read a length of -1 as open."""
    nodes = in_order(graph.node, ())
    if any(one is not other for one, other in zip(nodes, graph.node, strict=True)):
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.ClearField("dim_value")


def _with_rows(model: Any) -> list[str] | None:
    """The outputs that have boxes, if some have none: those of levels that were cut away. None if all have some."""
    values = model.graph.output
    dims = {value.name: value.type.tensor_type.shape.dim for value in values}
    empty = {name for name, of in dims.items() if any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in of)}
    return [value.name for value in values if value.name not in empty] if empty else None


def _beside(file: Path) -> dict[str, Any]:
    """What the ``.json`` beside a file says, if the kit wrote it for this file."""
    path = file.with_suffix(".json")
    if not path.is_file():
        return {}
    try:
        data = read_json(path)
    except InputError:
        return {}
    if not isinstance(data, dict) or data.get("format") not in (FORMAT, EXPORT) or data.get("file") != file.name:
        return {}
    found: dict[str, Any] = {
        "categories": [Category(int(entry["id"]), str(entry["name"])) for entry in data.get("categories", [])],
        "postprocess": PostProcess.from_dict(data["postprocess"], str(path)),
    }
    if data["format"] == EXPORT:
        found["preprocess"] = _exported(data["input"].get("resize"))
    else:
        found["input_size"] = tuple(data["input"]["size"])
        found.update(data.get("given") or {})
        found["decode"], found["activation"] = data.get("decode"), data.get("activation")
        if data.get("preprocess") is not None:
            found["preprocess"] = Preprocess.from_dict(data["preprocess"], str(path))
        if found["decode"] is not None and all(anchor["width"] is not None for anchor in data["anchors"]):
            found["shapes"] = [
                [(anchor["width"], anchor["height"]) for anchor in data["anchors"] if anchor["level"] == number]
                for number, level in enumerate(data["levels"])
                if level["anchors"]
            ]
    return found


def _exported(resize: Any) -> Preprocess | None:
    """The preprocessing of one of the kit's exports: pixels 0..1, the rest is in the file."""
    if not isinstance(resize, dict):
        return None
    fill = tuple(255 * value for value in resize.get("fill", (0, 0, 0)))
    mode = {"stretch": "stretch", "letterbox": "letterbox"}.get(str(resize.get("mode")), "letterbox-corner")
    return Preprocess(mode, (0, 0, 0), (255, 255, 255), "RGB", triple(fill, "fill"), bool(resize.get("antialias")))


def _names_in(facts: dict[str, str]) -> list[Category] | None:
    """The classes in the metadata of an Ultralytics file."""
    try:
        names = ast.literal_eval(facts["names"])
    except (KeyError, ValueError, SyntaxError):
        return None
    values = list(names.values()) if isinstance(names, dict) else names
    if not isinstance(values, list):
        return None
    return [Category(number + 1, str(value)) for number, value in enumerate(values)]


def _size_in(facts: dict[str, str]) -> tuple[int, int] | None:
    """The size of the input in the metadata of an Ultralytics file."""
    try:
        size = ast.literal_eval(facts["imgsz"])
        return int(size[0]), int(size[1])
    except (KeyError, ValueError, SyntaxError, TypeError, IndexError):
        return None


def _nms_of(model: Any, graph: Graph) -> PostProcess | None:
    """The settings of the NMS in a file; None if it has none, or computes them."""
    for node in model.graph.node:
        if node.op_type == "NonMaxSuppression":
            whole = Graph(model, graph.source)
            limits = [whole.constant(name) if name else None for name in list(node.input[2:]) + [""] * 3]
            iou, threshold = limits[1], limits[2]
            return PostProcess(
                score_threshold=0.0 if threshold is None else round(float(threshold.ravel()[0]), 6),
                nms_iou=0.0 if iou is None else round(float(iou.ravel()[0]), 6),
            )
        if node.op_type in ("EfficientNMS_TRT", "BatchedNMSDynamic_TRT"):
            found = {key: attribute(node, key) for key in ("score_threshold", "iou_threshold")}
            if None not in found.values():
                return PostProcess(
                    score_threshold=round(found["score_threshold"], 6), nms_iou=round(found["iou_threshold"], 6)
                )
    return None
