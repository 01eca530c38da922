"""Measured latency: interleaved timing of several detectors, and latency as a search cost."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from anchorkit.anchors import Configuration
from anchorkit.detectors import Detector, prune
from anchorkit.detectors.base import evaluation_mode
from anchorkit.errors import InputError
from anchorkit.latency.report import Comparison, LatencyReport, column_of, compare_samples, machine_facts
from anchorkit.latency.rounds import Subject, time_rounds
from anchorkit.latency.subjects import check_options, make_subject, timing_conditions

if TYPE_CHECKING:
    from anchorkit.onnx import OnnxDetector

    Timed = Detector | OnnxDetector

QUIET = 0.9
"""The least share of the time on a processor that passes for a machine with nothing else to do."""


def measure_latency(
    detectors: Timed | Mapping[str, Timed],
    images: Sequence[np.ndarray],
    *,
    runtime: str = "torch",
    threads: int = 1,
    repeats: int = 100,
    warmup: int = 5,
    batch_size: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> LatencyReport:
    """Measure how long detectors take, network and post-processing apart.

    *Network* is ``detector.network()`` on images that lie ready: resized, 0..1, on the detector's device. It gives
    scores and decoded boxes. *Post-processing* is everything from there to the final detections: score threshold,
    top-k, NMS per class, cap (`anchorkit.detectors.postprocessing.detect`, in torch). *Total* is the two together.
    Reading, resizing and copying images, and scaling boxes back to the image, are not timed. In another runtime than
    torch the network is what `anchorkit.export_onnx` writes, run on the CPU; the post-processing is the same torch code
    on its outputs, not the one that the file may have inside. A detector that is only an ONNX file runs as it is; what
    it leaves to decode counts as post-processing.

    In each round every detector runs once on the same batch, in a new random order, so that other work on the machine
    slows all of them alike: compare detectors of one report with `LatencyReport.compare`, not medians of two reports. A
    warning says if one thread was kept waiting for a processor much of the time.

    How long post-processing takes depends on how many boxes score above the threshold: give real images and trained
    weights. Its spread over the rounds is that of the machine and that of the images together.

    Args:
        detectors: one detector, or several by name.
        images: uint8 (H, W, 3) RGB, each of its own size. Round r takes batch r, and starts again after the last;
            images beyond the last whole batch, or the last round, are not used.
        runtime: ``"torch"``, ``"onnxruntime"`` or ``"openvino"``.
        threads: on how many threads network and post-processing run; torch's own setting comes back afterwards.
        repeats: number of rounds.
        warmup: rounds before those, not timed.
        batch_size: images that the network takes at once; their post-processing is done one after the other.
        seed: of the order within the rounds.
        progress: show a progress bar on standard error.

    Returns:
        Medians, quartiles, every single time, and facts about the machine. Times are for a whole batch.

    Raises:
        InputError: no detectors or images are given, an option is out of range, or a detector has no ``network()``.
        MissingExtraError: the runtime is not installed.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> small = ak.prune(detector, detector.layout.configuration(keep=[0, 5, 12]))
        >>> images = [data.val.image(image_id) for image_id in data.val.image_ids]
        >>> report = ak.measure_latency({"full": detector, "small": small}, images, repeats=4, progress=False)
        >>> report.frame[["detector", "part", "rounds"]]
          detector         part  rounds
        0     full      network       4
        1     full  postprocess       4
        2     full        total       4
        3    small      network       4
        4    small  postprocess       4
        5    small        total       4
    """
    named = dict(detectors) if isinstance(detectors, Mapping) else {detectors.name: detectors}
    if not named:
        raise InputError("latency: no detectors are given")
    check_options(images, runtime, threads, repeats, warmup, batch_size)
    used = images[: repeats * batch_size]
    devices = sorted({_device_name(detector, runtime) for detector in named.values()})
    machine = machine_facts(", ".join(devices), runtime)
    with (
        evaluation_mode(*_modules(named.values())),
        tqdm(total=warmup + repeats, desc="latency", unit="round", disable=not progress) as bar,
    ):
        subjects = {
            name: make_subject(detector, used, batch_size, runtime, threads) for name, detector in named.items()
        }
        with timing_conditions(threads):
            samples = time_rounds(
                subjects, len(used) // batch_size, repeats, warmup, seed, each_round=lambda: bar.update(1)
            )
    report = LatencyReport(samples, tuple(named), runtime, threads, batch_size, machine)
    if threads == 1 and devices == ["cpu"] and report.share_on_processor < QUIET:
        warnings.warn(
            f"the machine was busy with other work: latency was measured while its process was on a processor only "
            f"{report.share_on_processor:.0%} of the time. Measure on a quiet machine, or compare by clock='processor'",
            stacklevel=2,
        )
    return report


class MeasuredLatency:
    """Milliseconds that a configuration takes, measured: a cost for `anchorkit.search`, named ``latency_ms``.

    Each configuration is pruned out of the detector and timed in turn with the unpruned one, see `measure_latency`. Its
    cost is the median ratio of the two times the unpruned detector's own median, which is measured once: so all costs
    refer to the same state of the machine, however that changes during a search. A configuration is measured once.

    A measured cost is noisy and slow, and valid for one machine, one runtime and one set of images; the paper (section
    2.2) prefers what can be computed. Two configurations whose `interval` overlap cannot be distinguished.

    Args:
        detector: the unpruned detector, trained; its layout is that of the configurations.
        images: see `measure_latency`.
        runtime: ``"torch"``, or ``"onnxruntime"`` or ``"openvino"``, which take seconds more for each configuration, to
            export it.
        threads: on how many threads network and post-processing run.
        repeats: rounds for each configuration.
        warmup: rounds before those, not timed.
        batch_size: images per batch; the cost is that of a batch.
        seed: of the order within the rounds.
        clock: ``"wall"``, or ``"processor"`` to count only the time on a processor; see `LatencyReport.compare`.
        beside: the cost of another detector: configurations are timed in turn with that one, unpruned, and refer to its
            median. For `anchorkit.joint_search`, whose costs must be comparable between detectors.

    Raises:
        InputError: an option is out of range; on a call, a configuration is empty or of another detector.
        MissingExtraError: on a call, the runtime is not installed.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> images = [data.val.image(image_id) for image_id in data.val.image_ids]
        >>> cost = ak.MeasuredLatency(detector, images, repeats=4)
        >>> cost(detector.layout.configuration(keep=[0, 5, 12])) > 0  # milliseconds
        True
    """

    measured = True
    """Tells the search that two calls for one configuration would not give the same."""

    def __init__(
        self,
        detector: Timed,
        images: Sequence[np.ndarray],
        *,
        runtime: str = "torch",
        threads: int = 1,
        repeats: int = 30,
        warmup: int = 3,
        batch_size: int = 1,
        seed: int = 0,
        clock: str = "wall",
        beside: MeasuredLatency | None = None,
    ) -> None:
        check_options(images, runtime, threads, repeats, warmup, batch_size)
        self.__name__ = "latency_ms"  # what the search calls its column
        used = images[: repeats * batch_size]
        self._detector, self._threads, self._repeats = detector, threads, repeats
        self._clock, self._column = clock, column_of(clock)
        self._subject = partial(make_subject, images=used, batch_size=batch_size, runtime=runtime, threads=threads)
        self._rounds = partial(time_rounds, batches=len(used) // batch_size, repeats=repeats, warmup=warmup, seed=seed)
        self._comparisons: dict[Configuration, Comparison] = {}
        self._reference = beside or self

    def __call__(self, configuration: Configuration) -> float:
        """Milliseconds that a batch takes with only the anchors of `configuration`, network and post-processing."""
        return self.full_ms * self._compared(configuration).ratio

    def interval(self, configuration: Configuration) -> tuple[float, float]:
        """The 95 % bootstrap interval of the cost, in milliseconds, given the unpruned detector's median."""
        compared = self._compared(configuration)
        return self.full_ms * compared.low, self.full_ms * compared.high

    @cached_property
    def full_ms(self) -> float:
        """The median of the unpruned detector (`beside`'s, if given) in milliseconds per batch."""
        if self._reference is not self:
            return self._reference.full_ms
        with evaluation_mode(*_modules([self._detector])):
            samples = self._timed({_FULL: self._full})
        return float(samples.loc[samples["part"] == "total", self._column].median())

    def _compared(self, configuration: Configuration) -> Comparison:
        full, reference = configuration == self._detector.layout.full, self._reference
        if full and reference is self:
            return Comparison(_FULL, _FULL, "total", self._clock, 1.0, 1.0, 1.0, self._repeats)
        if configuration not in self._comparisons:
            pruned = self._detector if full else prune(self._detector, configuration)
            with evaluation_mode(*_modules([reference._detector, pruned])):
                samples = self._timed({_FULL: reference._full, _PRUNED: self._subject(pruned)})
            self._comparisons[configuration] = compare_samples(samples, _FULL, _PRUNED, "total", self._clock)
        return self._comparisons[configuration]

    @cached_property
    def _full(self) -> Subject:
        return self._subject(self._detector)

    def _timed(self, subjects: Mapping[str, Subject]) -> pd.DataFrame:
        with timing_conditions(self._threads):
            return self._rounds(subjects)


_FULL, _PRUNED = "full", "pruned"


def _modules(detectors: Iterable[Timed]) -> list[nn.Module]:
    """The torch modules of some detectors; those that are only ONNX files have none."""
    return [detector.module for detector in detectors if isinstance(detector, Detector)]


def _device_name(detector: Timed, runtime: str) -> str:
    if runtime == "torch" and isinstance(detector, Detector) and detector.device.type == "cuda":
        return torch.cuda.get_device_name(detector.device)
    return "cpu"
