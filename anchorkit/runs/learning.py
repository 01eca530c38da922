"""How far the training of a run's detector got, judged before anything is searched or concluded.

Lesson 2 writes ``detector/learning.json``; the lesson, the page and ``anchorkit run`` say what it says.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from anchorkit.errors import InputError
from anchorkit.files import read_json, write_json
from anchorkit.findings import nothing_can_be_told
from anchorkit.runs.record import RunRecord

LEARNING_FILE = "learning.json"
_LENGTHS = ("minutes", "epochs", "steps")
RISING = 0.03
"""Share of its AP that a detector may have gained in the second half of its training and still count as settled.

The rate falls to zero in that half, so little is gained there even by a detector that a longer training would improve
much: one that gained 9 % there went from 51.9 to 69.9 points when it went on (docs/results.md, cards).
"""


@dataclass(frozen=True)
class Learning:
    """How far a training got.

    Attributes:
        state: ``"too low"``: so low an AP that nothing can be told about the anchors; ``"still rising"``: more than 3 %
            of the AP came in the second half of the steps; or ``"settled"``.
        accuracy: AP (0..1) on the validation images after the training.
        gain: AP (0..1) gained in the second half of the steps; NaN if nothing was measured on the way.
        steps: steps of the training, and of the one that it went on from.
        minutes: the time of these steps.
        begins_with: what the weights began with, as `Detector.begins_with`.
        command: the command line that trains longer; empty if it is settled, or if no command made the run.
        more_minutes: about how long that command trains; NaN if unknown.

    Example:
        >>> import pandas as pd
        >>> from anchorkit.runs.learning import judge_learning
        >>> history = pd.DataFrame({"step": [100, 200], "seconds": [9.0, 9.0], "val_AP": [0.12, 0.20]})
        >>> print(judge_learning(history, "random weights"))
        The detector still learns fast: AP 20.0 points after 200 steps, 8.0 of them from the second half. A longer ...
    """

    state: Literal["too low", "still rising", "settled"]
    accuracy: float
    gain: float
    steps: int
    minutes: float
    begins_with: str
    command: str = ""
    more_minutes: float = math.nan

    @property
    def is_settled(self) -> bool:
        """Whether the AP says enough to go on."""
        return self.state == "settled"

    @property
    def sentence(self) -> str:
        """What was found."""
        points = f"AP {100 * self.accuracy:.1f} points after {self.steps:,} steps"
        if self.state == "too low":
            return f"{nothing_can_be_told(self.accuracy)}: it trained for {self.steps:,} steps."
        if self.state == "still rising":
            return (
                f"The detector still learns fast: {points}, {100 * self.gain:.1f} of them from the second half. "
                "A longer training may change which anchors it needs."
            )
        if math.isnan(self.gain):
            return f"{points}; it was measured only at the end, so it is not known whether it still rises."
        return f"The training has settled: {points}, {100 * self.gain:.1f} of them from the second half."

    @property
    def advice(self) -> str:
        """How to train longer, and what it costs; empty if it is settled."""
        if self.is_settled:
            return ""
        about = "" if math.isnan(self.more_minutes) else f" (about {max(round(self.more_minutes), 1)} min of training)"
        if self.command:
            return f"To train longer{about}: {self.command}"
        return f"To train longer{about}: run 02_detector again with more minutes or epochs."

    def __str__(self) -> str:
        return " ".join(filter(None, (self.sentence, self.advice)))

    def write(self, run_dir: str | Path) -> None:
        """Keep it in a run's folder."""
        numbers = {name: None if value != value else value for name, value in asdict(self).items()}
        write_json(Path(run_dir) / "detector" / LEARNING_FILE, numbers)


def judge_learning(
    history: pd.DataFrame,
    begins_with: str,
    command: str = "",
    more_steps: int = 0,
    before: Learning | None = None,
) -> Learning:
    """Judge a training by its history.

    Args:
        history: ``step``, ``seconds`` and ``val_AP`` (0..1, empty where nothing was measured), as `History.frame`.
        begins_with: as `Learning.begins_with`.
        command: the command that trains longer.
        more_steps: steps of that command's training; 0 if unknown.
        before: the training that this one went on from.

    Raises:
        InputError: the history ends without an AP.
    """
    measured = history[history["val_AP"].notna()]
    if not len(history) or math.isnan(history["val_AP"].iloc[-1]):
        raise InputError("judge_learning: the history ends without an AP on the validation images")
    steps, accuracy = int(history["step"].iloc[-1]), float(history["val_AP"].iloc[-1])
    seconds = float(history["seconds"].sum())
    # Of a training that went on, the end of the first one is the AP at step 0.
    at = [*([0] if before else []), *measured["step"]]
    ap = [*([before.accuracy] if before else []), *measured["val_AP"]]
    gain = accuracy - float(np.interp(steps / 2, at, ap)) if at[0] <= steps / 2 else math.nan
    if nothing_can_be_told(accuracy) is not None:
        state: Literal["too low", "still rising", "settled"] = "too low"
    else:
        state = "still rising" if gain > RISING * accuracy else "settled"
    return Learning(
        state,
        accuracy,
        gain,
        steps + (before.steps if before else 0),
        seconds / 60 + (before.minutes if before else 0.0),
        begins_with,
        command if state != "settled" else "",
        more_steps * seconds / steps / 60 if more_steps else math.nan,
    )


def longer_training(run_dir: str | Path, steps: int, passes: float, recipe_epochs: int) -> tuple[str, int]:
    """How to train the detector of a run longer.

    Args:
        run_dir: the run's folder.
        steps: of its training so far.
        passes: over the images, so far.
        recipe_epochs: passes of the recipe, which are those of profile ``full``.

    Returns:
        The command, with the user's own parameters, and the steps that it trains. After ``quick`` that is ``full``,
        which goes on in the same folder; after ``full``, twice as many passes. The command is empty if no command made
        the run, and the steps are 0 after ``smoke``, where they are not known.
    """
    record = RunRecord.read_if_there(run_dir)
    if record is None or record.profile is None:
        return "", 2 * steps
    words = ["anchorkit", "run", "--data", str(record.data), "--detector", str(record.detector)]
    given = [(name, value) for name, value in record.parameters.items() if name.rpartition(".")[2] not in _LENGTHS]
    if record.profile == "smoke":
        more = 0
    else:
        words += ["--profile", "full", "--out", str(Path(run_dir).resolve())]
        more = round(recipe_epochs * steps / passes)
    if record.profile == "full":
        given.append(("02_detector.epochs", math.ceil(2 * passes)))
        more = 2 * steps
    for name, value in given:
        words += ["-p", f"{name}={','.join(map(str, value)) if isinstance(value, list | tuple) else value}"]
    return shlex.join(words), more


def read_learning(run_dir: str | Path) -> Learning | None:
    """How far the training of a run's detector got; None if the run trained none.

    Raises:
        InputError: the file is damaged.
    """
    return read_learning_in(Path(run_dir) / "detector")


def read_learning_in(folder: str | Path) -> Learning | None:
    """The same of a saved detector, from its own folder.

    Raises:
        InputError: the file is damaged.
    """
    path = Path(folder) / LEARNING_FILE
    if not path.exists():
        return None
    facts = read_json(path)
    try:
        known: dict[str, Any] = {
            one.name: math.nan if facts[one.name] is None else facts[one.name] for one in fields(Learning)
        }
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: lacks {error}; run 02_detector again") from None
    return Learning(**known)
