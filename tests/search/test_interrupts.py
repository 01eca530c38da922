"""Ctrl-C: what was found is there, and the next call goes on."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from anchorkit.search import STRATEGIES, SearchInterrupted, SearchResult, search
from anchorkit.search.frontier import Frontier

from .toys import ToyEvaluator, toy_layout


def evaluator(interrupt_at: int | None = None) -> ToyEvaluator:
    made = ToyEvaluator(toy_layout(3, 2), seed=5)
    made.interrupt_at = interrupt_at
    return made


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_interrupt_carries_what_was_found(strategy):
    whole = search(evaluator(), "boxes", strategy=strategy, progress=False)
    lengths = set()
    for number in itertools.count(1):
        try:
            done = search(evaluator(number), "boxes", strategy=strategy, progress=False)
            break
        except SearchInterrupted as interrupt:
            result, message = interrupt.result, str(interrupt)
        assert not result.complete
        assert (result.cost, result.strategy, result.layout) == (whole.cost, strategy, whole.layout)
        lengths.add(len(result.evaluated))
        pd.testing.assert_frame_equal(result.evaluated, whole.evaluated.iloc[: len(result.evaluated)])
        if strategy == "algorithm1":  # the authors' does not judge every sibling
            frontier: Frontier[Any] = Frontier()
            for row in result.evaluated.to_dict("records"):
                frontier.add(SimpleNamespace(accuracy=row["accuracy"], cost=row["boxes"], anchors=row["anchors"]))
            assert result.frontier["anchors"].tolist() == [row.anchors for row in frontier.members()]
        assert len(result.configurations) == len(result.frontier)  # and all else that a result can do
        assert message.startswith(f"{len(result.evaluated)} configurations measured, {len(result.frontier)} of them")
    assert done.complete
    pd.testing.assert_frame_equal(done.evaluated, whole.evaluated)
    pd.testing.assert_frame_equal(done.frontier, whole.frontier)
    assert len(lengths) > 3


def test_the_message_names_the_ledger(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with pytest.raises(SearchInterrupted, match=r"the same call goes on from .*ledger\.jsonl"):
        search(evaluator(9), "boxes", ledger=path, progress=False)
    with pytest.raises(SearchInterrupted, match="goes on from what the evaluator remembers"):
        search(evaluator(9), "boxes", progress=False)


def test_before_anything_is_measured_there_is_nothing_to_carry():
    with pytest.raises(KeyboardInterrupt) as stopped:
        search(evaluator(0), "boxes", progress=False)
    assert not isinstance(stopped.value, SearchInterrupted)


def test_an_unfinished_result_says_so_when_it_is_loaded(tmp_path):
    with pytest.raises(SearchInterrupted) as stopped:
        search(evaluator(9), "boxes", progress=False)
    stopped.value.result.save(tmp_path)
    again = SearchResult.load(tmp_path)
    assert not again.complete
    pd.testing.assert_frame_equal(again.evaluated, stopped.value.result.evaluated)
    # Results saved before there was such a mark are whole.
    about = json.loads((tmp_path / "search.json").read_text())
    del about["complete"]
    (tmp_path / "search.json").write_text(json.dumps(about))
    assert SearchResult.load(tmp_path).complete


SCRIPT = """
import sys, time
from pathlib import Path
from toys import ToyEvaluator, toy_layout
from anchorkit.search import search

sign, then = Path(sys.argv[1]), sys.argv[2]

class Slow(ToyEvaluator):
    remembered = {}

    def accuracy(self, configuration):
        if configuration.mask not in self.remembered:
            self.remembered[configuration.mask] = super().accuracy(configuration)
            if len(self.asked) >= 30 and then != "go on":
                sign.touch()
                time.sleep(0.05)  # time to interrupt
        return self.remembered[configuration.mask]

evaluator = Slow(toy_layout(5, 4), slope=0.8, steps=1000)
if then == "raise":
    search(evaluator, "boxes")
    sys.exit("not interrupted")
try:
    search(evaluator, "boxes")
    sys.exit("not interrupted")
except KeyboardInterrupt as interrupt:
    result = interrupt.result
then = "go on"
assert not result.complete
whole = search(evaluator, "boxes", progress=False)
assert len(set(evaluator.asked)) == len(evaluator.asked)
assert whole.evaluated.iloc[: len(result.evaluated)].equals(result.evaluated)
assert 1 < len(result.evaluated) < len(whole.evaluated)
"""


@pytest.mark.parametrize("then", ["catch", "raise"])
def test_a_real_interrupt(then, tmp_path):
    script, sign = tmp_path / "script.py", tmp_path / "under way"
    script.write_text(SCRIPT)
    shutil.copy(Path(__file__).with_name("toys.py"), tmp_path)
    command = [sys.executable, str(script), str(sign), then]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts) as process:
        while not sign.exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    if then == "catch":
        assert process.returncode == 0, err
        assert "Traceback" not in err
    else:  # Python's last line says what there is and how to go on
        assert process.returncode != 0
        last = err.splitlines()[-1]
        assert last.startswith("anchorkit.search.result.SearchInterrupted: ")
        assert "configurations measured" in last


def hear_interrupts() -> None:
    """A shell's background job is born deaf to Ctrl-C, and so would be what the tests start there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
