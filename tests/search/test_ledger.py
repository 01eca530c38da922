from __future__ import annotations

import errno
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.errors import InputError
from anchorkit.search import STRATEGIES, search
from anchorkit.search.ledger import Ledger

from .toys import ToyEvaluator, toy_layout


def evaluator(**options) -> ToyEvaluator:
    made = ToyEvaluator(toy_layout(3, 2), seed=5, **options)
    made.metric = "AP"
    made.fingerprint = "data 1"
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, tuple[bytes, pd.DataFrame, pd.DataFrame]]:
    """For each strategy the ledger of a search that nobody disturbed, and its result."""
    found = {}
    for strategy in STRATEGIES:
        path = tmp_path_factory.mktemp("whole") / "ledger.jsonl"
        result = search(evaluator(), "boxes", strategy=strategy, ledger=path, progress=False)
        found[strategy] = path.read_bytes(), result.evaluated, result.frontier
    return found


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(data=st.data())
def test_a_search_cut_off_anywhere_goes_on_to_the_same_result(strategy, whole, data, tmp_path_factory):
    content, evaluated, frontier = whole[strategy]
    cut = data.draw(st.integers(0, len(content)))
    path = tmp_path_factory.mktemp("cut") / "ledger.jsonl"
    path.write_bytes(content[:cut])
    again = evaluator()
    result = search(again, "boxes", strategy=strategy, ledger=path, progress=False)
    pd.testing.assert_frame_equal(result.evaluated, evaluated)
    pd.testing.assert_frame_equal(result.frontier, frontier)
    assert path.read_bytes() == content
    # Only what the cut took is evaluated again, and what the authors' strategy asks for in vain.
    known = [line["keep"] for line in map(json.loads, content[:cut].splitlines()[1:-1]) if "keep" in line]
    known = [sum(1 << anchor for anchor in keep) for keep in known]
    assert not set(known) & set(again.asked)
    if strategy == "algorithm1":
        assert len(again.asked) == len(evaluated) - max(content[:cut].count(b"\n") - 1, 0)


def test_a_slow_cost_is_on_disk_before_the_next_is_measured(tmp_path):
    path = tmp_path / "ledger.jsonl"
    measured = []

    def latency(configuration):
        if len(measured) == 4:
            raise KeyboardInterrupt
        measured.append(configuration)
        return float(len(configuration))

    with pytest.raises(KeyboardInterrupt):
        search(evaluator(), latency, ledger=path, progress=False)
    entries = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert [entry["keep"] for entry in entries] == [list(configuration) for configuration in measured]
    assert [entry["costs"]["latency"] for entry in entries] == [5.0, 4.0, 4.0, 4.0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_interrupted_search_resumes(strategy, whole, tmp_path):
    _, evaluated, frontier = whole[strategy]
    for number in itertools.count(1):
        path = tmp_path / f"{number}.jsonl"
        stopped = evaluator()
        stopped.interrupt_at = number
        if number >= len(evaluated):
            break
        with pytest.raises(KeyboardInterrupt):
            search(stopped, "boxes", strategy=strategy, ledger=path, progress=False)
        again = evaluator()
        result = search(again, "boxes", strategy=strategy, ledger=path, progress=False)
        pd.testing.assert_frame_equal(result.evaluated, evaluated)
        pd.testing.assert_frame_equal(result.frontier, frontier)
        assert evaluated["order"].iloc[0] == 0
        assert len(again.asked) < len(evaluated)  # the full configuration at least was there


def test_every_batch_is_on_disk_before_the_next_is_asked_for(tmp_path):
    path = tmp_path / "ledger.jsonl"
    watched = evaluator()
    children = watched.children
    on_disk = []

    def watching(configuration, moves):
        on_disk.append((path.read_bytes().count(b"\n") - 1, len(watched.asked)))
        return children(configuration, moves)

    watched.children = watching
    search(watched, "boxes", ledger=path, progress=False)
    assert len(on_disk) > 2
    assert all(written == asked for written, asked in on_disk)


def test_searches_of_one_evaluator_share_a_ledger(tmp_path):
    path = tmp_path / "ledger.jsonl"
    search(evaluator(), "boxes", ledger=path, progress=False)
    second = evaluator()
    shared = search(second, "head_flops", strategy="authors", ledger=path, progress=False)
    alone = search(evaluator(), "head_flops", strategy="authors", progress=False)
    pd.testing.assert_frame_equal(shared.evaluated, alone.evaluated)
    pd.testing.assert_frame_equal(shared.frontier, alone.frontier)
    assert len(second.asked) < len(alone.evaluated)


def test_a_measured_cost_is_remembered(tmp_path):
    path = tmp_path / "ledger.jsonl"
    clock = itertools.count()

    def latency(configuration):
        return len(configuration) + 0.001 * next(clock)  # never the same twice

    first = search(evaluator(), latency, ledger=path, progress=False)
    again = search(evaluator(), latency, ledger=path, progress=False)
    pd.testing.assert_frame_equal(again.evaluated, first.evaluated)
    # A cost measured for accuracies that another search left is remembered too.
    other = tmp_path / "other.jsonl"
    search(evaluator(), "boxes", ledger=other, progress=False)
    first = search(evaluator(), latency, ledger=other, progress=False)
    quiet = evaluator()
    again = search(quiet, latency, ledger=other, progress=False)
    pd.testing.assert_frame_equal(again.evaluated, first.evaluated)
    assert quiet.asked == []


class Offering(ToyEvaluator):
    """An evaluator that says what its accuracies belong to."""

    def __init__(self, layout=None, postprocess=0.5, fingerprint="data 1", metric="AP"):
        super().__init__(layout or toy_layout(2))
        self.postprocess = SimpleNamespace(to_dict=lambda: {"nms_iou": postprocess})
        self.fingerprint = fingerprint
        self.metric = metric


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Offering(toy_layout(3)), "the layout .toy with 2 anchors there, toy with 3 anchors here. differ"),
        (Offering(postprocess=0.6), "the post-processing differ"),
        (Offering(fingerprint="data 2"), "the predictions or the ground truth differ"),
        (Offering(metric="AP50"), r"the metric .AP there, AP50 here. differ"),
        (Offering(fingerprint="data 2", metric="AP50"), "ground truth and the metric"),
        (ToyEvaluator(toy_layout(2)), "the post-processing and the predictions or the ground truth differ"),
    ],
)
def test_a_ledger_of_something_else_is_refused(other, message, tmp_path):
    path = tmp_path / "ledger.jsonl"
    search(Offering(), "boxes", ledger=path, progress=False)
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"ledger.jsonl.*{message}.*delete it or name another file"):
        search(other, "boxes", ledger=path, progress=False)
    assert path.read_bytes() == before


def test_the_metric_is_named_unless_it_is_ap(tmp_path):
    def header(evaluator, name):
        search(evaluator, "boxes", ledger=tmp_path / name, progress=False)
        return json.loads((tmp_path / name).read_text().splitlines()[0])

    unnamed = Offering()
    del unnamed.metric
    assert "metric" not in header(unnamed, "unnamed")
    assert "metric" not in header(Offering(), "ap")
    assert header(Offering(metric="voc07"), "voc07")["metric"] == "voc07"
    # A ledger without a metric is one of AP, and so is one that says so.
    assert header(Offering(), "unnamed") == header(unnamed, "ap")
    spelt = tmp_path / "spelt"
    first, rest = (tmp_path / "ap").read_text().split("\n", 1)
    spelt.write_text(first[:-1] + ', "metric": "AP"}\n' + rest)
    assert header(Offering(), "spelt")["metric"] == "AP"
    for name in ("unnamed", "ap", "spelt"):
        with pytest.raises(InputError, match=r"the metric .AP there, voc07 here"):
            header(Offering(metric="voc07"), name)
    with pytest.raises(InputError, match=r"the metric .voc07 there, AP here"):
        header(unnamed, "voc07")


def test_other_data_are_noticed_without_a_fingerprint(tmp_path):
    path = tmp_path / "ledger.jsonl"
    first = search(ToyEvaluator(toy_layout(2), seed=1), "boxes", ledger=path, progress=False)
    again = ToyEvaluator(toy_layout(2), seed=1)
    resumed = search(again, "boxes", ledger=path, progress=False)
    pd.testing.assert_frame_equal(resumed.evaluated, first.evaluated)
    assert again.asked == [0b11]  # the full configuration, to compare
    with pytest.raises(InputError, match=r"ledger.jsonl: the full configuration has accuracy .* there and .* here"):
        search(ToyEvaluator(toy_layout(2), seed=2), "boxes", ledger=path, progress=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"important notes", "not a ledger"),
        (b"important notes\n", "not a ledger"),
        (b"\x00\xff\n", "not a ledger"),
        (b'{"ledger": 99}\n', "version 99"),
    ],
)
def test_a_file_that_is_no_ledger_is_left_alone(content, message, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        search(evaluator(), ledger=path, progress=False)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "{}",
        '{"keep": [99], "accuracy": 0.1}',
        '{"keep": [0], "accuracy": NaN}',
        '{"keep": [0], "accuracy": "0.1"}',
        '{"keep": 3, "accuracy": 0.1}',
        '{"keep": [0], "accuracy": 0.1, "costs": [1]}',
    ],
)
def test_a_damaged_line_is_named(line, tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger(evaluator(), path) as ledger:
        ledger.record([(evaluator().layout.full, 0.5)])
    with path.open("a") as file:
        file.write(line + "\n" + json.dumps({"keep": [1], "accuracy": 0.25}) + "\n")
    with pytest.raises(InputError, match="line 3 is damaged"):
        Ledger(evaluator(), path)


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"

    class FullAfter:
        """A file on a disk with room for so many more bytes."""

        def __init__(self, file, room):
            self.file, self.room = file, room

        def write(self, data):
            if self.room == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken = self.file.write(data[: self.room])
            self.room -= taken
            return taken

        def close(self):
            self.file.close()

    original = Ledger._open

    def small(self, place: Path, header):
        original(self, place, header)
        self._file = FullAfter(self._file, 130)

    monkeypatch.setattr(Ledger, "_open", small)
    with pytest.raises(InputError, match=r"ledger.jsonl: cannot be written \(No space left on device\).*make room"):
        search(evaluator(), "boxes", ledger=path, progress=False)
    monkeypatch.undo()
    again = evaluator()
    result = search(again, "boxes", ledger=path, progress=False)
    assert len(again.asked) < len(result.evaluated)
    pd.testing.assert_frame_equal(result.evaluated, search(evaluator(), "boxes", progress=False).evaluated)


def test_an_unwritable_place_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="ledger.jsonl: the ledger cannot be read or written"):
        search(evaluator(), ledger=tmp_path / "file" / "ledger.jsonl", progress=False)
    with pytest.raises(InputError, match="cannot be read or written"):
        search(evaluator(), ledger=tmp_path, progress=False)
