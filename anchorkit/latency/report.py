"""What was measured: medians and spread of each detector, and how two of them compare round by round."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from anchorkit.errors import InputError
from anchorkit.latency.rounds import PARTS
from anchorkit.suggest import did_you_mean

CLOCKS = {"wall": "ms", "processor": "cpu_ms"}
"""The column of the samples that each clock fills."""
CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Comparison:
    """How long one detector takes, as a share of what another one takes in the same round.

    Attributes:
        a: name of the detector that is compared with.
        b: name of the other one.
        part: ``"network"``, ``"postprocess"`` or ``"total"``.
        clock: ``"wall"`` or ``"processor"``.
        ratio: median over the rounds of b's time over a's; below 1, b is faster.
        low: lower end of the 95 % bootstrap interval of that median.
        high: upper end.
        rounds: number of rounds.

    Example:
        >>> from anchorkit.latency import Comparison
        >>> print(Comparison("full", "small", "total", "wall", ratio=0.61, low=0.6, high=0.63, rounds=100))
        small takes 0.610 of full's time, 95% 0.600 to 0.630 (100 rounds)
    """

    a: str
    b: str
    part: str
    clock: str
    ratio: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        what = "" if self.part == "total" else f"{self.part} "
        what += "time" if self.clock == "wall" else "time on the processor"
        return (
            f"{self.b} takes {self.ratio:.3f} of {self.a}'s {what}, "
            f"{CONFIDENCE:.0%} {self.low:.3f} to {self.high:.3f} ({self.rounds} rounds)"
        )


@dataclass(frozen=True, eq=False)
class LatencyReport:
    """Times of some detectors that were measured in turn.

    Attributes:
        samples: every single time: ``detector``, ``part`` (``"network"``, ``"postprocess"``, ``"total"``), ``round``,
            ``batch`` (which images), ``ms`` (milliseconds for the batch), ``cpu_ms`` (of these, how long the process
            was on a processor, all threads together), ``boxes`` (rows of the batch that reached NMS), in the order in
            which they were taken.
        detectors: their names, in the order in which they were given.
        runtime: ``"torch"``, ``"onnxruntime"`` or ``"openvino"``.
        threads: on how many threads network and post-processing ran.
        batch_size: images per batch.
        machine: where: ``cpu``, ``cores``, ``device``, ``load`` (processes that wanted to run at the start, on average
            over a minute, these own ones included) and the versions of what was used.
    """

    samples: pd.DataFrame
    detectors: tuple[str, ...]
    runtime: str
    threads: int
    batch_size: int
    machine: dict[str, Any]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row for each detector and part.

        Columns: ``detector``, ``part``, ``runtime``, ``threads``, ``batch_size``, ``median_ms``, ``q25_ms``, ``q75_ms``
        (quartiles over the rounds, in milliseconds per batch), ``cpu_ms`` (median of the time on a processor),
        ``rounds``, ``boxes`` (mean number of rows of a batch that reached NMS).
        """
        grouped = self.samples.groupby(["detector", "part"], sort=False)
        frame = pd.DataFrame(
            {
                "runtime": self.runtime,
                "threads": self.threads,
                "batch_size": self.batch_size,
                "median_ms": grouped["ms"].median(),
                "q25_ms": grouped["ms"].quantile(0.25),
                "q75_ms": grouped["ms"].quantile(0.75),
                "cpu_ms": grouped["cpu_ms"].median(),
                "rounds": grouped.size(),
                "boxes": grouped["boxes"].mean(),
            }
        )
        order = pd.MultiIndex.from_product([self.detectors, PARTS], names=["detector", "part"])
        return frame.reindex(order).reset_index()

    @property
    def share_on_processor(self) -> float:
        """The share of the measured time in which the process was on a processor: far below 1, others took them away.

        With one thread on a CPU it is 1 on a machine that does nothing else. With several threads it counts them all;
        of a GPU it says nothing.
        """
        total = self.samples[self.samples["part"] == "total"]
        return float(total["cpu_ms"].sum() / total["ms"].sum())

    def compare(self, a: str, b: str, part: str = "total", clock: str = "wall") -> Comparison:
        """Time of `b` over that of `a`, round by round: a slow spell of the machine or a hard image cancels out.

        The interval says how well this run knows its own median (percentile bootstrap over the rounds). It knows
        nothing of other machines, other runs and other images.

        Args:
            a: name of the detector to compare with.
            b: name of the other one.
            part: ``"network"``, ``"postprocess"`` or ``"total"``.
            clock: ``"wall"``, or ``"processor"``: only the time that the process was on a processor, which
                distinguishes two detectors on a CPU even where other programs take the processors away all the time.

        Raises:
            InputError: there is no such detector, part or clock.
        """
        for name in (a, b):
            if name not in self.detectors:
                raise InputError(f"compare: unknown detector {name!r}; {did_you_mean(name, self.detectors)}")
        if part not in PARTS:
            raise InputError(f"compare: unknown part {part!r}; {did_you_mean(part, PARTS)}")
        return compare_samples(self.samples, a, b, part, clock)

    def to_dict(self) -> dict[str, Any]:
        """Facts, medians and quartiles as plain JSON values."""
        return {
            "runtime": self.runtime,
            "threads": self.threads,
            "batch_size": self.batch_size,
            "machine": self.machine,
            "share_on_processor": self.share_on_processor,
            "latency": self.frame.drop(columns=["runtime", "threads", "batch_size"]).to_dict("records"),
        }


def column_of(clock: str) -> str:
    """The column of the samples that a clock fills.

    Raises:
        InputError: there is no such clock.
    """
    if clock not in CLOCKS:
        raise InputError(f"unknown clock {clock!r}: use {' or '.join(map(repr, CLOCKS))}")
    return CLOCKS[clock]


def compare_samples(samples: pd.DataFrame, a: str, b: str, part: str, clock: str) -> Comparison:
    """See `LatencyReport.compare`."""
    times = samples[samples["part"] == part].set_index(["detector", "round"])[column_of(clock)]
    ratios = (times[b] / times[a]).to_numpy()
    low, high = median_interval(ratios)
    return Comparison(a, b, part, clock, float(np.median(ratios)), low, high, len(ratios))


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap interval of the median of some values, the same one every time."""
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    ends = np.quantile(np.median(values[drawn], axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(ends[0]), float(ends[1])


def machine_facts(device: str, runtime: str) -> dict[str, Any]:
    """What is needed to interpret times: processor, load and versions."""
    packages = ["torch", "torchvision", "numpy"] + ([] if runtime == "torch" else [runtime])
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count() or 1,
        "device": device,
        "load": round(psutil.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }


def _cpu_name() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
