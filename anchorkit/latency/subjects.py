"""Detectors made ready to be timed: images prepared, network in torch, onnxruntime or OpenVINO."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from anchorkit.detectors import Detector
from anchorkit.detectors.base import evaluation_mode, to_tensor
from anchorkit.detectors.postprocessing import detect, level_of_boxes
from anchorkit.errors import InputError
from anchorkit.latency.rounds import Subject
from anchorkit.latency.runtimes import RUNTIMES, open_network

if TYPE_CHECKING:
    from anchorkit.onnx import OnnxDetector


def make_subject(
    detector: Detector | OnnxDetector, images: Sequence[np.ndarray], batch_size: int, runtime: str, threads: int
) -> Subject:
    """Make a detector ready to be timed.

    Raises:
        InputError: the detector has no bare network, or cannot be exported; or it is only an ONNX file, and is to run
            in torch or on more than one image at once.
        MissingExtraError: the runtime is not installed.
    """
    if not isinstance(detector, Detector):
        return FileSubject(detector, images, batch_size, runtime, threads)
    batches = prepare(detector, images, batch_size)
    return TorchSubject(detector, batches) if runtime == "torch" else ExportSubject(detector, batches, runtime, threads)


class TorchSubject:
    """A detector whose network runs in torch, on the device where its weights are."""

    def __init__(self, detector: Detector, batches: Sequence[Tensor]) -> None:
        self.device = detector.device
        self._batches = [batch.to(self.device) for batch in batches]
        self._network = detector.network()
        self._postprocess = detector.postprocess
        self._levels = level_of_boxes(detector.layout, self.device)

    def network(self, batch: int, /) -> tuple[Tensor, Tensor]:
        """Scores (N, B, K) and boxes (N, B, 4)."""
        scores, boxes = self._network(self._batches[batch])
        self._wait()
        return scores, boxes

    def postprocess(self, outputs: tuple[Tensor, Tensor], /) -> int:
        """See `Subject.postprocess`; the images of a batch one after the other."""
        reached = sum(
            detect(scores, boxes, self._levels, self._postprocess).reached_nms
            for scores, boxes in zip(*outputs, strict=True)
        )
        self._wait()
        return reached

    def _wait(self) -> None:
        if self.device.type == "cuda":  # where calls return before the work is done
            torch.cuda.synchronize(self.device)


class ExportSubject(TorchSubject):
    """A detector whose network is exported and runs in another runtime; the post-processing is that of torch."""

    def __init__(self, detector: Detector, batches: Sequence[Tensor], runtime: str, threads: int) -> None:
        from anchorkit.detectors.export import export_onnx

        self.device = torch.device("cpu")
        self._images = [batch.cpu().numpy() for batch in batches]
        with tempfile.TemporaryDirectory() as folder:
            self._run = open_network(export_onnx(detector, Path(folder) / "network.onnx"), runtime, threads)
        self._postprocess = detector.postprocess
        self._levels = level_of_boxes(detector.layout)

    def network(self, batch: int, /) -> tuple[Tensor, Tensor]:
        """See `TorchSubject.network`."""
        outputs = self._run(self._images[batch])
        return torch.from_numpy(outputs["scores"]), torch.from_numpy(outputs["boxes"])


class FileSubject:
    """A detector that is only an ONNX file; what it leaves to decode counts as post-processing, which torch does."""

    def __init__(
        self, detector: OnnxDetector, images: Sequence[np.ndarray], batch_size: int, runtime: str, threads: int
    ) -> None:
        if runtime == "torch":
            raise InputError(f"latency: {detector.name} is an ONNX file; use runtime 'onnxruntime' or 'openvino'")
        if batch_size != 1:
            raise InputError(f"latency: {detector.name} is an ONNX file, which is timed with one image at a time")
        self._inputs = [detector.prepare(image)[0] for image in images]
        with tempfile.TemporaryDirectory() as folder:
            file = detector.with_preprocess().save(Path(folder) / "network.onnx")
            self._run = open_network(file, runtime, threads)
            # A cut detector reads its rows at their places among those of the whole one, which no program would do.
            self._detector = _as_whole(detector, file)
        self._level_of = torch.tensor([anchor.level for anchor in self._detector.layout.anchors])

    def network(self, batch: int, /) -> dict[str, np.ndarray]:
        """The outputs of the file, by name."""
        return self._run(self._inputs[batch])

    def postprocess(self, outputs: dict[str, np.ndarray], /) -> int:
        """See `Subject.postprocess`."""
        boxes, scores, anchors = self._detector.read(outputs)
        levels = self._level_of[torch.from_numpy(anchors).long()]
        corners = torch.from_numpy(boxes).float()
        found = detect(torch.from_numpy(scores), corners, levels, self._detector.postprocess)
        return found.reached_nms


def _as_whole(detector: OnnxDetector, file: Path) -> OnnxDetector:
    """The detector of a file that was cut, as if nothing was known of the whole one."""
    from anchorkit.onnx import load_onnx

    if detector.check is None:
        return detector
    return load_onnx(file, postprocess=detector.postprocess)


def prepare(detector: Detector, images: Sequence[np.ndarray], batch_size: int) -> list[Tensor]:
    """Batches float32 (batch_size, 3, H, W), 0..1, of the layout's input size; an incomplete last one is left out.

    Images are resized as the detector does it. Where that would give another size than the layout's (a detector that
    keeps the ratio of its images), they are stretched to it.
    """
    prepared = [_resized(detector, image) for image in images]
    starts = range(0, len(images) - batch_size + 1, batch_size)
    return [torch.cat(prepared[start : start + batch_size]) for start in starts]


def _resized(detector: Detector, image: np.ndarray) -> Tensor:
    """(1, 3, H, W)."""
    pixels, size = to_tensor(image), detector.layout.input_size
    transform: Any = getattr(detector.module, "transform", None)
    if transform is not None:
        with evaluation_mode(transform):
            batch, _ = transform([pixels])
        if tuple(batch.tensors.shape[-2:]) == tuple(size):
            # The bare network normalises by itself.
            mean, std = torch.tensor([transform.image_mean, transform.image_std]).reshape(2, 1, 3, 1, 1)
            undone: Tensor = batch.tensors * std + mean
            return undone
    return interpolate(pixels[None], size=size, mode="bilinear", align_corners=False)


@contextmanager
def timing_conditions(threads: int) -> Iterator[None]:
    """No gradients, and torch on so many threads; on leaving, as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def check_options(
    images: Sequence[np.ndarray], runtime: str, threads: int, repeats: int, warmup: int, batch_size: int
) -> None:
    """Refuse what cannot be measured.

    Raises:
        InputError: an option is out of range, or an image is not uint8 (H, W, 3).
    """
    if runtime not in RUNTIMES:
        raise InputError(f"latency: unknown runtime {runtime!r}: use {', '.join(map(repr, RUNTIMES))}")
    least = {"threads": (threads, 1), "repeats": (repeats, 2), "warmup": (warmup, 0), "batch_size": (batch_size, 1)}
    for name, (value, low) in least.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(f"latency: {name} is {value!r}; a whole number of {low} or more is needed")
    if len(images) < batch_size:
        raise InputError(f"latency: {len(images)} images do not fill a batch of {batch_size}; give more images")
    for number, image in enumerate(images):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise InputError(f"latency: image {number} is {what}; uint8 arrays (height, width, 3) are needed")
