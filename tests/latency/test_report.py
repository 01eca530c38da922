from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from anchorkit.errors import InputError
from anchorkit.latency.report import LatencyReport, machine_facts, median_interval


def report_of(times: dict[str, list[float]], busy: float = 1.0) -> LatencyReport:
    """A report in which post-processing takes a quarter of the total, and the process runs `busy` of the time."""
    rows = [
        (name, part, number, 0, share * ms, share * ms * busy, 10)
        for name, of_rounds in times.items()
        for number, ms in enumerate(of_rounds)
        for part, share in (("network", 0.75), ("postprocess", 0.25), ("total", 1.0))
    ]
    samples = pd.DataFrame(rows, columns=["detector", "part", "round", "batch", "ms", "cpu_ms", "boxes"])
    samples = samples.sample(frac=1, random_state=0)  # whatever order they ran in
    return LatencyReport(samples, tuple(times), "torch", 1, 1, machine_facts("cpu", "torch"))


def test_medians_and_quartiles():
    frame = report_of({"z": [1, 2, 3, 4, 100], "a": [8, 8, 8, 8, 8]}).frame
    assert list(zip(frame["detector"], frame["part"], strict=True)) == [
        (name, part) for name in ("z", "a") for part in ("network", "postprocess", "total")
    ]
    total = frame.iloc[2]
    assert (total.q25_ms, total.median_ms, total.q75_ms) == (2, 3, 4)
    assert (total.cpu_ms, total.rounds, total.boxes, total.threads, total.runtime) == (3, 5, 10, 1, "torch")
    assert frame.iloc[4].median_ms == 2


def test_pairs_cancel_what_the_rounds_share():
    rng = np.random.default_rng(0)
    slow_spells = rng.lognormal(1.0, 1.0, 200)  # of the machine: nearly all of the spread
    report = report_of({"a": slow_spells.tolist(), "b": (0.8 * slow_spells * rng.normal(1, 0.02, 200)).tolist()})
    found = report.compare("a", "b")
    assert found.low < found.ratio < found.high
    assert found.ratio == pytest.approx(0.8, abs=0.01)
    assert found.high - found.low < 0.02
    assert found.low <= 0.8 <= found.high
    assert report.frame["q75_ms"].max() > 2 * report.frame["q25_ms"].max()
    back = report.compare("b", "a")
    assert back.ratio == pytest.approx(1 / found.ratio, rel=0.01)
    assert str(found) == "b takes 0.797 of a's time, 95% 0.794 to 0.800 (200 rounds)"


def test_a_detector_beside_itself():
    found = report_of({"a": [1, 2, 3]}).compare("a", "a", "postprocess")
    assert (found.ratio, found.low, found.high) == (1, 1, 1)
    assert "postprocess time" in str(found)


def test_the_clock_chooses_the_column():
    report = report_of({"a": [1.0] * 9, "b": [2.0] * 9}, busy=0.5)
    assert report.share_on_processor == pytest.approx(0.5)
    report.samples.loc[report.samples["detector"] == "b", "cpu_ms"] *= 3
    assert report.compare("a", "b").ratio == pytest.approx(2)
    assert report.compare("a", "b", clock="processor").ratio == pytest.approx(6)
    assert "on the processor" in str(report.compare("a", "b", clock="processor"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("alpha", "beto"), "unknown detector 'beto'; did you mean beta"),
        (("alpha", "beta", "nms"), "unknown part 'nms'"),
        (("alpha", "beta", "total", "sun"), "unknown clock 'sun'"),
    ],
)
def test_misspelt_names_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        report_of({"alpha": [1, 2], "beta": [1, 2]}).compare(*arguments)


def test_the_interval_of_a_median_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        low, high = median_interval(rng.exponential(1.0, 60))
        hits += low <= np.log(2) <= high
    assert 180 <= hits <= 199


def test_a_report_is_plain_json():
    data = json.loads(json.dumps(report_of({"a": [1, 2, 3]}).to_dict(), allow_nan=False))
    assert data["latency"][2]["median_ms"] == 2
    assert data["machine"]["torch"]
    assert data["machine"]["cpu"]
    assert "onnxruntime" not in data["machine"]
