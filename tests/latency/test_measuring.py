"""Real detectors in real runtimes: the form of what comes back. How long anything takes is nobody's promise."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from anchorkit import cli
from anchorkit.datasets import Category
from anchorkit.detectors import Detector, load_detector, prune, save_detector
from anchorkit.detectors.base import to_tensor
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.findings import ImplausibleDataWarning
from anchorkit.latency import LatencyReport, MeasuredLatency, measure_latency, measuring
from anchorkit.latency.subjects import TorchSubject, make_subject, prepare
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable
from anchorkit.search import search

pytestmark = pytest.mark.filterwarnings("ignore:the machine was busy")

SHAPES = [[(20.0, 20.0), (40.0, 20.0)], [(50.0, 50.0)]]


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Three anchors on two levels, whose random weights give scores that differ."""
    made = load_detector("tiny_ssd", categories=[Category(3, "cat")], size=(96, 96), shapes=SHAPES, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.module.head.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    made.postprocess = PostProcess(score_threshold=0.5)
    return made


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (80 + i, 120, 3), dtype=np.uint8) for i in range(5)]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def check_form(report: LatencyReport, names: list[str], rounds: int) -> None:
    frame = report.frame
    assert frame["detector"].tolist() == [name for name in names for _ in range(3)]
    assert frame["part"].tolist() == ["network", "postprocess", "total"] * len(names)
    assert (frame["rounds"] == rounds).all()
    assert (frame["q25_ms"] <= frame["median_ms"]).all()
    assert (frame["median_ms"] <= frame["q75_ms"]).all()
    assert (frame["median_ms"] > 0).all()
    assert len(report.samples) == 3 * len(names) * rounds
    assert torch.__version__.startswith(report.machine["torch"])


def test_torch(detector, images, two_threads):
    small = prune(detector, detector.layout.configuration(keep=[0]))
    small.module.eval()
    detector.module.train()
    try:
        report = measure_latency(
            {"small": small, "full": detector}, images, repeats=6, warmup=1, threads=1, progress=False
        )
        assert detector.module.training
        assert detector.module.transform.training
        assert not small.module.training
    finally:
        detector.module.eval()
    assert torch.get_num_threads() == 2
    assert (report.runtime, report.threads, report.batch_size) == ("torch", 1, 1)
    check_form(report, ["small", "full"], 6)
    assert report.samples["batch"].max() == 4
    assert report.compare("full", "small").rounds == 6


def test_a_lone_detector_in_batches(detector, images):
    report = measure_latency(detector, images, repeats=3, warmup=0, batch_size=2, progress=False)
    check_form(report, ["tiny_ssd"], 3)
    assert sorted(report.samples["batch"].unique()) == [0, 1]  # the fifth image fills no batch


@pytest.mark.slow  # the export
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_other_runtimes(detector, images, runtime):
    pytest.importorskip(runtime)
    pytest.importorskip("onnxscript")
    report = measure_latency(detector, images, runtime=runtime, repeats=3, warmup=1, progress=False)
    check_form(report, ["tiny_ssd"], 3)
    assert report.machine[runtime]
    torch_report = measure_latency(detector, images, repeats=3, warmup=0, progress=False)
    boxes = [r.samples.sort_values("round")["boxes"].tolist() for r in (report, torch_report)]
    assert boxes[0] == boxes[1]


def test_threads_come_back_after_an_error(detector, images, two_threads, monkeypatch):
    def breaks(self, outputs):
        assert torch.get_num_threads() == 1
        raise RuntimeError("broken")

    monkeypatch.setattr(TorchSubject, "postprocess", breaks)
    with pytest.raises(RuntimeError, match="broken"):
        measure_latency(detector, images, repeats=2, progress=False)
    assert torch.get_num_threads() == 2


def test_the_network_sees_what_the_detector_sees(detector, images):
    """Boxes that reach NMS are those of the detector's own raw predictions."""
    subject = make_subject(detector, images, 1, "torch", 1)
    with torch.inference_mode():
        reached = [subject.postprocess(subject.network(number)) for number in range(len(images))]
    raw = detector.raw_predictions(images)
    assert reached == [int((one.scores > 0.5).sum()) for one in raw]
    assert max(reached) > min(reached) > 0


def test_images_are_resized_as_the_detector_does_it(detector, images):
    module = detector.module
    batches = prepare(detector, images, 2)
    assert [tuple(batch.shape) for batch in batches] == [(2, 3, 96, 96)] * 2
    [own, _] = module.transform.eval()([to_tensor(images[3])])
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (module.transform.image_mean, module.transform.image_std))
    torch.testing.assert_close(batches[1][1], own.tensors[0] * std + mean)


def test_a_detector_that_pads_gets_its_padded_images_if_they_fit():
    retinanet = load_detector("tiny_retinanet", categories=1, size=(128, 192), seed=0)
    rng = np.random.default_rng(0)
    fits, other = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((128, 192), (300, 100)))
    batches = prepare(retinanet, [fits, other], 1)
    assert [tuple(batch.shape) for batch in batches] == [(1, 3, 128, 192)] * 2
    torch.testing.assert_close(batches[0][0], to_tensor(fits))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tflite"}, "unknown runtime 'tflite': use 'torch', 'onnxruntime', 'openvino'"),
        ({"threads": 0}, "threads is 0; a whole number of 1 or more"),
        ({"repeats": 1}, "repeats is 1; a whole number of 2 or more"),
        ({"warmup": -1}, "warmup is -1"),
        ({"batch_size": 6}, "5 images do not fill a batch of 6"),
    ],
)
def test_options_out_of_range_are_refused(detector, images, options, message):
    with pytest.raises(InputError, match=message):
        measure_latency(detector, images, progress=False, **options)
    with pytest.raises(InputError, match=message):
        MeasuredLatency(detector, images, **options)


def test_images_that_are_none_are_refused(detector, images):
    with pytest.raises(InputError, match=r"image 1 is float32 \(4, 4, 3\)"):
        measure_latency(detector, [images[0], np.zeros((4, 4, 3), np.float32)], progress=False)
    with pytest.raises(InputError, match="image 0 is str"):
        measure_latency(detector, ["cat.jpg"], progress=False)
    with pytest.raises(InputError, match="no detectors"):
        measure_latency({}, images, progress=False)


@pytest.mark.parametrize(("share", "warned"), [(0.3, True), (0.99, False)])
def test_a_busy_machine_is_told_of(detector, images, monkeypatch, share, warned):
    def rounds(*arguments, **options):
        samples = time_rounds(*arguments, **options)
        samples["cpu_ms"] = share * samples["ms"]
        return samples

    time_rounds = measuring.time_rounds
    monkeypatch.setattr(measuring, "time_rounds", rounds)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        measure_latency(detector, images, repeats=2, progress=False)
    assert any("on a processor only 30% of the time" in str(one.message) for one in told) is warned


# --- as a cost


class CountedSubject:
    """Stands for a detector; knows how many anchors it has."""

    def __init__(self, detector: Detector) -> None:
        self.anchors = len(detector.layout)


@pytest.fixture
def cost(detector, images, monkeypatch) -> tuple[MeasuredLatency, list[list[str]]]:
    """A cost by a clock on which a detector takes 2 ms and 1 ms an anchor, and later all takes three times as long."""
    calls: list[list[str]] = []

    def rounds(subjects, batches, repeats, warmup, seed):
        calls.append(list(subjects))
        slow = 1.0 if len(calls) == 1 else 3.0
        rows = [
            (name, "total", number, 0, slow * (2 + subject.anchors), 0.5, 0)
            for name, subject in subjects.items()
            for number in range(repeats)
        ]
        return pd.DataFrame(rows, columns=["detector", "part", "round", "batch", "ms", "cpu_ms", "boxes"])

    monkeypatch.setattr(measuring, "time_rounds", rounds)
    monkeypatch.setattr(measuring, "make_subject", lambda detector, **_: CountedSubject(detector))
    return MeasuredLatency(detector, images, repeats=4), calls


def test_costs_refer_to_one_state_of_the_machine(cost, detector):
    latency, calls = cost
    layout = detector.layout
    assert latency(layout.full) == 5
    assert latency(layout.configuration(keep=[0, 2])) == pytest.approx(4)
    assert latency(layout.configuration(keep=[1])) == pytest.approx(3)
    assert latency.interval(layout.configuration(keep=[1])) == pytest.approx((3, 3))
    assert latency.interval(layout.full) == (5, 5)
    assert calls == [["full"], ["full", "pruned"], ["full", "pruned"]]


def test_a_configuration_is_measured_once(cost, detector):
    latency, calls = cost
    for _ in range(3):
        latency(detector.layout.configuration(keep=[0]))
    assert len(calls) == 2


def test_what_is_timed_is_in_evaluation_mode_and_does_not_stay_there(detector, images, monkeypatch):
    """A pruned detector takes after the full one, and a new one is made for training."""
    seen = []

    def network(self, batch):
        seen.append(self._network.training or self._network.module.training)
        return inner(self, batch)

    inner = TorchSubject.network
    monkeypatch.setattr(TorchSubject, "network", network)
    detector.module.train()
    try:
        latency = MeasuredLatency(detector, images, repeats=2, warmup=0)
        latency(detector.layout.configuration(keep=[0, 2]))
        measure_latency(detector, images, repeats=2, warmup=0, progress=False)
        assert detector.module.training
    finally:
        detector.module.eval()
    assert seen == [False] * 8


def test_the_processors_clock(cost, detector, images):
    latency = MeasuredLatency(detector, images, clock="processor")
    assert latency(detector.layout.full) == 0.5
    with pytest.raises(InputError, match="unknown clock 'sun'"):
        MeasuredLatency(detector, images, clock="sun")


def test_a_configuration_of_another_detector_is_refused(cost):
    other = load_detector("tiny_ssd", categories=1, size=(96, 96), seed=0).layout
    with pytest.raises(InputError, match="belongs to"):
        cost[0](other.full)


def evaluator_of(detector: Detector, images: list[np.ndarray]) -> Evaluator:
    rows = []
    for number, raw in enumerate(detector.raw_predictions(images), 1):
        box, label = np.nonzero(raw.scores > 0.5)
        rows.append(
            (np.full(len(box), number), raw.anchor[box], np.full(len(box), 3), raw.scores[box, label], raw.boxes[box])
        )
    table = PredictionTable(
        *(np.concatenate(column) for column in zip(*rows, strict=True)), detector.layout, detector.postprocess
    )
    objects = [(number, *table.boxes[table.image_id == number][0].tolist()) for number in range(1, len(images) + 1)]
    truth = {
        "images": [{"id": i, "height": image.shape[0], "width": image.shape[1]} for i, image in enumerate(images, 1)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 3, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": 100, "iscrowd": 0}
            for i, x1, y1, x2, y2 in objects
        ],
        "categories": [{"id": 3, "name": "cat"}],
    }
    return Evaluator(table, truth)


def test_a_search_by_measured_latency(detector, images, tmp_path):
    evaluator = evaluator_of(detector, images)
    latency = MeasuredLatency(detector, images, repeats=3, warmup=1)
    with pytest.warns(UserWarning, match=r"latency_ms is measured.*section 2\.2.*head_flops.*luck"):
        result = search(evaluator, latency, ledger=tmp_path / "ledger.jsonl", progress=False)
    assert result.cost == "latency_ms"
    assert len(result.evaluated) >= 3
    assert (result.evaluated["latency_ms"] > 0).all()
    assert result.baseline["latency_ms"] == latency.full_ms
    # Found again in the ledger, not measured again.
    with pytest.warns(UserWarning, match="is measured"):
        again = search(evaluator, MeasuredLatency(detector, images), ledger=tmp_path / "ledger.jsonl", progress=False)
    pd.testing.assert_frame_equal(again.evaluated, result.evaluated)


def test_a_search_by_a_computed_cost_does_not_warn(detector, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ImplausibleDataWarning)  # the detector has random weights
        search(evaluator_of(detector, images), "head_flops", threshold=0.0, progress=False)


# --- the command


def test_the_command(detector, images, tmp_path, capsys, monkeypatch):
    data = tmp_path / "data"
    write_dataset(data, images)
    for name, keep in (("full", [0, 1, 2]), ("small", [0])):
        save_detector(prune(detector, detector.layout.configuration(keep=keep)), tmp_path / name)
    monkeypatch.setattr("anchorkit.latency.measure_latency", quick)
    folders = [str(tmp_path / "full"), str(tmp_path / "small")]
    assert cli.main(["latency", *folders, "--data", str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["detector"] for row in found["latency"]] == [name for name in folders for _ in range(3)]
    assert {row["part"] for row in found["latency"]} == {"network", "postprocess", "total"}
    assert [(c["a"], c["b"], c["clock"]) for c in found["comparisons"]] == [
        (*folders, "wall"),
        (*folders, "processor"),
    ]
    assert (found["runtime"], found["threads"]) == ("torch", 1)
    assert cli.main(["latency", *folders, "--data", str(data)]) == 0
    out = capsys.readouterr().out
    assert f"{folders[1]} takes" in out
    assert "threads: 1" in out


def quick(*arguments, **options):
    return measure_latency(*arguments, repeats=2, warmup=0, progress=False, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{full}", "{full}"), "given twice"),
        (("{full}", "--threads", "0"), "threads is 0"),
        (("{full}", "--runtime", "tflite"), "unknown runtime 'tflite'"),
        (("nowhere",), "unknown detector 'nowhere'"),
    ],
)
def test_bad_arguments_of_the_command(detector, images, tmp_path, capsys, arguments, message):
    save_detector(detector, tmp_path / "full")
    write_dataset(tmp_path / "data", images)
    given = [argument.format(full=tmp_path / "full") for argument in arguments]
    assert cli.main(["latency", *given, "--data", str(tmp_path / "data")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


def write_dataset(folder, images) -> None:
    """A folder in COCO's form."""
    from PIL import Image

    (folder / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (folder / split).mkdir()
        entries = []
        for number, image in enumerate(images, 1):
            Image.fromarray(image).save(folder / split / f"{number}.png")
            height, width = image.shape[:2]
            entries.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
        truth = {
            "images": entries,
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 3, "bbox": [5, 5, 30, 30], "area": 900, "iscrowd": 0}
            ],
            "categories": [{"id": 3, "name": "cat"}],
        }
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(truth))
