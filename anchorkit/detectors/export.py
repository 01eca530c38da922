"""A detector as an ONNX file, and beside it a description with which another program can use it.

The two files are documented in docs/export.md; examples/decode_onnx.py reads them with numpy and onnxruntime alone.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from anchorkit.detectors.anchor_boxes import FreeAnchorBoxes
from anchorkit.detectors.base import Detector, evaluation_mode
from anchorkit.detectors.onnx_nms import with_nms
from anchorkit.errors import InputError, MissingExtraError
from anchorkit.files import read_json, replacing, write_json
from anchorkit.lighter import without_triton

if TYPE_CHECKING:
    from anchorkit.onnx import OnnxDetector

FORMAT, VERSION = "anchorkit.export", 1
OPSET = 18
ANCHOR_ORDER = "level by level, row by row, cell by cell, anchor by anchor"
PROPOSAL_ORDER = "proposal by proposal, best first, class by class"
ROOM, LEAST = 4.0, 1e-5
"""How far the file may be from torch's float64: this many times the distance of torch's float32 or, if that is more,
this share of the range (1 for scores, the longer side of the input for boxes)."""
SWAPPED = 0.01
"""Share of the proposals that may be others: where two are nearly equal, rounding decides which one stays."""


def export_onnx(detector: Detector | OnnxDetector, path: str | Path, *, nms: bool = False) -> Path:
    """Write a detector as an ONNX file, and its description as a ``.json`` of the same name.

    The input ``images`` is float32 (N, 3, H, W), RGB, 0..1, resized to the layout's input size; it is normalised
    inside. Without NMS the outputs are ``boxes`` (N, B, 4), x1 y1 x2 y2 in pixels of the input, and ``scores``
    (N, B, K), 0..1; boxes stand level by level, row by row, cell by cell, anchor by anchor. With NMS they are
    detections, best first: ``boxes`` (N, M, 4), ``scores`` (N, M), ``labels`` (N, M), int64, counted from 1 in the
    order of the categories, and ``count`` (N,), int64; behind an image's last detection all are 0. M is the
    post-processing's `max_detections`.

    Before the files appear, the network is run through onnxruntime on random images and compared with torch (a warning
    says so if onnxruntime is not installed). How far they may differ: see `ROOM`.

    Args:
        detector: any that has a `network`; it is left as it is. One that is only an ONNX file is written as it is, with
            the description that `OnnxDetector.save` writes.
        path: the ``.onnx`` file, or a folder, which then gets ``detector.onnx`` and ``detector.json``.
        nms: put threshold, top-k, NMS and cap of the detector's post-processing inside.

    Returns:
        The ONNX file.

    Raises:
        InputError: the path cannot be written or belongs to something else, or the detector cannot be exported, or the
            file says something else than torch, or NMS is to be put into a detector that is only an ONNX file.
        MissingExtraError: `onnx` or `onnxscript` is not installed.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> ak.export_onnx(detector, "small.onnx").name
        'small.onnx'
    """
    if not isinstance(detector, Detector):
        if nms:
            raise InputError(f"export: {detector.name} is an ONNX file, and NMS cannot be put into it; leave out nms")
        return _written_again(detector, Path(path) / "detector.onnx" if Path(path).is_dir() else Path(path))
    target = _target(Path(path))
    try:
        import onnx
        import onnxscript  # noqa: F401  torch's exporter is built on it
    except ImportError as error:
        raise MissingExtraError(
            f"export_onnx needs the package {error.name}, which is not installed: pip install 'anchorkit[onnx]'"
        ) from None
    with evaluation_mode(detector.module):
        network = copy.deepcopy(detector.network()).cpu()
    images = torch.rand(2, 3, *detector.layout.input_size, generator=torch.Generator().manual_seed(0))
    with without_triton():
        program, batch = _traced(_with_constant_anchors(network, images), images, detector.name)
        images = images[:batch]
        exported: Any = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
    model = _cleaned(exported.model_proto)
    _require_shapes(detector, _outputs(network, images), len(images))
    verified = _verify(model, network, images, detector)
    if nms:
        plain = model
        model = with_nms(plain, detector.rows_per_level(), len(detector.categories), detector.postprocess)
        if verified is not None:
            _verify_best(model, plain, images, detector)
    onnx.checker.check_model(model, full_check=True)
    description = _description(detector, target.name, model, verified, nms)
    with replacing(target) as temporary, replacing(target.with_suffix(".json")) as temporary_description:
        temporary.write_bytes(model.SerializeToString())
        write_json(temporary_description, description)
    return target


def _written_again(detector: OnnxDetector, path: Path) -> Path:
    """Save a detector that is only a file. Its description keeps what it was cut out of, although it was read anew."""
    beside = None if detector.path is None else detector.path.with_suffix(".json")
    before = read_json(beside) if beside is not None and beside.is_file() else {}
    written = detector.save(path)
    if not detector.kept_filters and isinstance(before, dict) and before.get("kept_filters"):
        facts = read_json(written.with_suffix(".json"))
        kept = {name: before[name] for name in ("kept_anchors", "kept_filters", "verified") if name in before}
        write_json(written.with_suffix(".json"), {**facts, **kept})
    return written


def _target(path: Path) -> Path:
    """The ONNX file that a path means.

    Raises:
        InputError: it has another suffix, or the description would replace a file that is none.
    """
    if path.is_dir():
        path = path / "detector.onnx"
    if path.suffix != ".onnx":
        raise InputError(f"{path}: a file name that ends in .onnx, or a folder that exists, is needed")
    description = path.with_suffix(".json")
    if description.exists():
        found = read_json(description)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise InputError(
                f"{description}: is there already and describes no exported detector; the description of {path.name} "
                "would replace it: use another name or folder"
            )
    return path


class _ConstantAnchors(nn.Module):
    """Anchor boxes (B, 4) that are always the same."""

    boxes: Tensor

    def __init__(self, boxes: Tensor) -> None:
        super().__init__()
        self.register_buffer("boxes", boxes, persistent=False)

    def forward(self, images: object, features: object) -> list[Tensor]:
        return [self.boxes]


@torch.no_grad()
def _with_constant_anchors(network: nn.Module, images: Tensor) -> nn.Module:
    """Put in the place of what makes anchor boxes those of an image: in the file there is one input size only.

    What makes them gives a list as long as the batch, and the tracing cannot leave that length open.
    """
    for module in list(network.modules()):
        generator = getattr(module, "anchor_generator", None)
        if isinstance(generator, FreeAnchorBoxes | AnchorGenerator):
            found: list[Tensor] = []
            handle = generator.register_forward_hook(lambda *call, found=found: found.append(call[2][0]))
            network(images[:1])
            handle.remove()
            module.anchor_generator = _ConstantAnchors(found[0].clone())
    return network


def _traced(network: nn.Module, images: Tensor, name: str) -> tuple[Any, int | None]:
    """The traced network, and the batch size that it is bound to; None for any."""
    try:
        return torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)), None
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
    try:
        program = torch.export.export(network, (images[:1],))
    except (RuntimeError, ValueError):
        raise InputError(f"export: torch cannot trace the network of {name}: {reason}") from None
    warnings.warn(f"{name}: the file takes one image at a time; torch says: {reason}", stacklevel=3)
    return program, 1


def _cleaned(model: Any) -> Any:
    """The model without traces of the machine that made it, with the names that are promised."""
    from anchorkit import __version__

    graph = model.graph
    for thing in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del thing.metadata_props[:]
        thing.doc_string = ""
    del graph.value_info[:]
    graph.name, model.producer_name, model.producer_version = "network", "anchorkit", __version__
    outer = {graph.input[0].name: "images", graph.output[0].name: "scores", graph.output[1].name: "boxes"}
    for node in graph.node:
        node.input[:] = [outer.get(name, name) for name in node.input]
        node.output[:] = [outer.get(name, name) for name in node.output]
    for constant in graph.initializer:  # an output that is the same for all images is one
        constant.name = outer.get(constant.name, constant.name)
    for value in (*graph.input, *graph.output):
        value.name = outer[value.name]
        first = value.type.tensor_type.shape.dim[0]
        if first.dim_param:
            first.dim_param = "batch"
    # Boxes first, with and without NMS.
    scores, boxes = copy.deepcopy(list(graph.output))
    del graph.output[:]
    graph.output.extend([boxes, scores])
    return model


@torch.inference_mode()
def _outputs(network: nn.Module, images: Tensor) -> dict[str, np.ndarray]:
    """What torch says."""
    return {name: values.numpy() for name, values in zip(("scores", "boxes"), network(images), strict=True)}


def _require_shapes(detector: Detector, outputs: dict[str, np.ndarray], batch: int) -> None:
    total, classes = sum(detector.rows_per_level()), len(detector.categories)
    promised = {"scores": (batch, total, classes), "boxes": (batch, total, 4)}
    for name, values in outputs.items():
        if values.shape != promised[name]:
            raise InputError(
                f"export: the network of {detector.name} gives {name} of shape {values.shape}; its layout and classes "
                f"promise {promised[name]}"
            )


def _verify(model: Any, network: nn.Module, images: Tensor, detector: Detector) -> dict[str, Any] | None:
    """Compare a model with what torch says in float64 of some images, all of them and the first one alone.

    How far rounding takes a network from the exact answer depends on its weights. torch's own float32 shows how far:
    a file may be `ROOM` times as far away, or by `LEAST` of the range.

    Args:
        model: an ONNX model without NMS.
        network: what it was made of.
        images: (N, 3, H, W).
        detector: what the network is of.

    Returns:
        The largest differences, those of torch's float32, and onnxruntime's version; None if it is not installed.

    Raises:
        InputError: the differences are larger than that, or the network cannot be run in float64.
    """
    name = detector.name
    try:
        import onnxruntime
    except ImportError:
        warnings.warn(
            f"{name}: the file was not compared with torch, because onnxruntime is not installed: "
            "pip install 'anchorkit[onnx]'",
            stacklevel=3,
        )
        return None
    try:
        exact = _outputs(copy.deepcopy(network).double(), images.double())
    except RuntimeError as error:
        raise InputError(
            f"export: the network of {name} does not run in float64, with which the file is compared: keep its "
            f"constants as buffers ({str(error).partition(chr(10))[0]})"
        ) from None
    # Sums are taken in another order for another number of images.
    parts = [images[:count] for count in sorted({1, len(images)})]
    found, said = [_run(model, part) for part in parts], [_outputs(network, part) for part in parts]
    compared = [
        [
            (values, {name: each[: len(values[name])] for name, each in exact.items()})
            if detector.rows_follow_anchors
            else _nearest(values, exact)
            for values in runs
        ]
        for runs in (found, said)
    ]
    largest: dict[str, float] = {}
    noise: dict[str, float] = {}
    for output, extent in (("scores", 1), ("boxes", max(images.shape[-2:]))):
        largest[output], noise[output] = (
            float(np.max([np.abs(ours[output] - theirs[output]).max(initial=0) for ours, theirs in pairs]))
            for pairs in compared
        )
        allowed = max(LEAST * extent, ROOM * noise[output])
        if not largest[output] <= allowed:  # NaN is no match either
            raise InputError(
                f"export: {output} of the ONNX file of {name} differ from torch's by {largest[output]:.2g} on random "
                f"images; {allowed:.2g} is allowed. Nothing was written"
            )
    return {**largest, "torch_float32": noise, "onnxruntime": onnxruntime.__version__}


def _nearest(rows: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], ...]:
    """Rows of one image's proposals and those that they are to be compared with: the nearest ones of the same class.

    All rows with a score are among them, from either side, but for the `SWAPPED` share with the farthest partners.
    """
    from scipy.spatial import cKDTree

    classes, extent = exact["scores"].shape[-1], max(float(exact["boxes"].max()), 1.0)
    of_class = 2 * (np.arange(exact["scores"].shape[1]) % classes)  # farther apart than any two of the same class
    scores = [values["scores"][0].max(1) for values in (rows, exact)]
    places = [
        np.column_stack([of_class, score, values["boxes"][0] / extent])
        for score, values in zip(scores, (rows, exact), strict=True)
    ]
    pairs = []
    for this, other in ((0, 1), (1, 0)):
        own = np.flatnonzero(scores[this] > LEAST)
        distance, partner = cKDTree(places[other]).query(places[this][own], p=np.inf)
        good = np.argsort(distance, kind="stable")[: len(own) - int(SWAPPED * len(own))]
        pairs.append(np.stack([own[good], partner[good]] if this == 0 else [partner[good], own[good]]))
    chosen = np.concatenate(pairs, 1)
    return tuple(
        {name: values[:, at] for name, values in side.items()} for side, at in zip((rows, exact), chosen, strict=True)
    )


def _verify_best(model: Any, plain: Any, images: Tensor, detector: Detector) -> None:
    """See that a model with NMS begins with the best raw prediction of each image, which nothing can suppress.

    Raises:
        InputError: it does not.
    """
    threshold = np.float32(detector.postprocess.score_threshold)
    best = _run(plain, images)["scores"].max((1, 2))
    first = np.pad(_run(model, images)["scores"], ((0, 0), (0, 1)))[:, 0]  # an image may have no detection at all
    if not np.array_equal(first, np.where(best > threshold, best, 0)):
        raise InputError(
            f"export: with NMS inside, the best scores of {detector.name} on random images are {first.tolist()}, "
            f"without {best.tolist()}. Nothing was written"
        )


def _run(model: Any, images: Tensor) -> dict[str, np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of constants that it folds
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images.numpy()}), strict=True))


def _description(
    detector: Detector, file: str, model: Any, verified: dict[str, Any] | None, nms: bool
) -> dict[str, Any]:
    """What another program must know; the keys are explained in docs/export.md."""
    layout = detector.layout
    return {
        "format": FORMAT,
        "version": VERSION,
        "detector": detector.name,
        "architecture": detector.architecture,
        "file": file,
        "opset": OPSET,
        "nms": nms,
        "input": {**_facts_of(model.graph.input[0]), "color": "RGB", "range": [0, 1], "resize": _resizing(detector)},
        "outputs": [_facts_of(output) for output in model.graph.output],
        "categories": [{"id": category.id, "name": category.name} for category in detector.categories],
        "postprocess": detector.postprocess.to_dict(),
        "box_order": ANCHOR_ORDER if detector.rows_follow_anchors else PROPOSAL_ORDER,
        "anchors": [
            {"id": anchor.id, "level": anchor.level, "width": anchor.width, "height": anchor.height}
            for anchor in layout.anchors
        ],
        "layout": layout.to_dict(),
        "verified": verified,
    }


def _facts_of(value: Any) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    return {"name": value.name, "type": {1: "float32", 7: "int64"}[tensor.elem_type], "shape": shape}


def _resizing(detector: Detector) -> dict[str, Any] | None:
    """How an image becomes an input: ``mode`` ``"stretch"``, ``"fit"`` or ``"letterbox"``, ``antialias``, ``fill``.

    A transform that is not torchvision's can say it itself, as an attribute `resizing`; None if it does not.
    """
    transform: Any = getattr(detector.module, "transform", None)
    if not isinstance(transform, GeneralizedRCNNTransform):
        return getattr(transform, "resizing", None)
    if transform.fixed_size is not None:
        return {"mode": "stretch", "antialias": False}
    # It pads normalised images with 0, which is the mean.
    return {"mode": "fit", "antialias": False, "fill": list(transform.image_mean)}
