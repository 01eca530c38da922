"""How far a training got: judged by its history, said with the command that trains longer."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from anchorkit.errors import InputError
from anchorkit.findings import nothing_can_be_told
from anchorkit.runs.learning import (
    RISING,
    Learning,
    judge_learning,
    longer_training,
    read_learning,
)
from anchorkit.runs.record import RunRecord


def history(*accuracies: float) -> pd.DataFrame:
    """Ten steps a lap, a second each."""
    return pd.DataFrame([{"step": 10 * lap, "seconds": 10.0, "val_AP": ap} for lap, ap in enumerate(accuracies, 1)])


@pytest.mark.parametrize(
    ("accuracies", "state", "gain"),
    [
        ((0.0, 0.01, 0.02, 0.04), "too low", 0.03),
        ((0.0, 0.2, 0.25, 0.3), "still rising", 0.1),
        ((0.2, 0.3, 0.3, 0.305), "settled", 0.005),
        ((0.2, 0.3, 0.3, 0.25), "settled", -0.05),
        # Measured seldom: half-way the AP lies between the two.
        ((0.1, math.nan, math.nan, 0.4), "still rising", 0.2),
        # Measured too late to say.
        ((math.nan, math.nan, 0.3, 0.4), "settled", math.nan),
        ((math.nan, math.nan, math.nan, 0.4), "settled", math.nan),
    ],
)
def test_the_state_follows_from_the_history(accuracies: tuple[float, ...], state: str, gain: float) -> None:
    learning = judge_learning(history(*accuracies), "random weights", "train", more_steps=120)
    assert learning.state == state
    assert learning.gain == pytest.approx(gain, nan_ok=True)
    assert (learning.steps, learning.minutes) == (40, pytest.approx(40 / 60))
    assert learning.more_minutes == pytest.approx(2.0)
    assert learning.command == ("" if state == "settled" else "train")


def test_a_gain_at_the_limit_is_settled() -> None:
    for gained, state in ((RISING - 0.01, "settled"), (RISING + 0.01, "still rising")):
        assert judge_learning(history(0.4 * (1 - gained), 0.4), "x").state == state


def test_what_went_on_rising_in_earnest_is_not_called_settled() -> None:
    """Halves and ends of real trainings: the first two gained 18 and 11 points when they went on."""
    for half, end, state in ((0.472, 0.519, "still rising"), (0.174, 0.196, "still rising"), (0.513, 0.521, "settled")):
        assert judge_learning(history(half, end), "the trunk of tiny_ssd-shapes").state == state


def test_the_words_say_what_the_one_rule_says() -> None:
    low = judge_learning(history(0.01, 0.02), "random weights", "anchorkit run", more_steps=60)
    assert low.sentence.startswith(nothing_can_be_told(0.02) or "?")
    assert str(low).endswith("To train longer (about 1 min of training): anchorkit run")
    settled = judge_learning(history(0.3, 0.305), "random weights", "anchorkit run")
    assert str(settled) == "The training has settled: AP 30.5 points after 20 steps, 0.5 of them from the second half."
    once = judge_learning(history(math.nan, 0.31), "random weights", "anchorkit run")
    assert str(once).endswith("measured only at the end, so it is not known whether it still rises.")


def test_a_training_that_went_on_counts_both() -> None:
    before = Learning("still rising", 0.2, 0.1, 100, 3.0, "random weights")
    learning = judge_learning(history(math.nan, 0.3), "the weights after 100 steps", "train", before=before)
    assert (learning.steps, learning.minutes) == (120, pytest.approx(3 + 20 / 60))
    assert learning.gain == pytest.approx(0.05)  # from the 20.0 points that the first one ended with, half-way to 30.0


def test_a_history_without_an_end_is_refused() -> None:
    for broken in (history(), history(0.3, math.nan)):
        with pytest.raises(InputError, match="ends without an AP"):
            judge_learning(broken.reindex(columns=["step", "seconds", "val_AP"]), "x")


def test_it_is_kept_in_the_run(tmp_path: Path) -> None:
    assert read_learning(tmp_path) is None
    learning = judge_learning(history(math.nan, 0.3), "random weights")
    (tmp_path / "detector").mkdir()
    learning.write(tmp_path)
    again = read_learning(tmp_path)
    assert again is not None
    assert str(again) == str(learning)
    assert math.isnan(again.gain)
    (tmp_path / "detector" / "learning.json").write_text('{"state": "settled"}')
    with pytest.raises(InputError, match=r"learning\.json: lacks 'accuracy'; run 02_detector again"):
        read_learning(tmp_path)


@pytest.mark.parametrize(
    ("profile", "expected", "more"),
    [
        ("quick", "--profile full --out {out} -p input_size=128", 1500),
        ("full", "--profile full --out {out} -p input_size=128 -p 02_detector.epochs=41", 400),
        ("smoke", "-p input_size=128", 0),
    ],
)
def test_the_command_trains_longer_with_the_same_parameters(
    tmp_path: Path, profile: str, expected: str, more: int
) -> None:
    assert longer_training(tmp_path, 200, 20.1, 150) == ("", 400)  # a notebook opened by hand
    parameters = {"input_size": 128, "02_detector.minutes": 2.0}
    RunRecord.begin(profile=profile, data="/my data", detector="tiny_ssd", parameters=parameters).write(tmp_path)
    command, steps = longer_training(tmp_path, 200, 20.1, 150)
    assert command == f"anchorkit run --data '/my data' --detector tiny_ssd {expected.format(out=tmp_path)}"
    assert steps == pytest.approx(more, abs=10)
