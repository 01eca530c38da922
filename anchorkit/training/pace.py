"""How long a training is: in epochs, in steps, or as long as some minutes allow on the machine at hand.

A training is done in laps; a checkpoint is written after each. In epochs, a lap is an epoch. In steps it is a twelfth
of them, however few the images are. In minutes, the first steps are timed, taken back, and then the number of steps is
fixed and written down: so a killed training goes on with the same number, and the same number of steps given explicitly
ends with the same weights. If the machine turns out to be much faster soon afterwards, because another program has
ended, all steps are taken back and a larger number is fixed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from anchorkit.errors import InputError
from anchorkit.files import read_json, write_json

PLAN_FILE = "plan.json"
LAPS = 12
"""Laps of a training that is counted in steps."""
VALIDATIONS, VALIDATING = 10, 0.15
"""How often a training that chooses itself is validated, and the share of its time that this may take."""
_clock = time.perf_counter
_TRIAL, _TRIAL_SECONDS = 40, 3.0  # steps that are timed at most, and for how long
_EARLY, _TOO_SHORT = 0.25, 0.75  # of the minutes: until when they may be counted again, and if they would end before


@dataclass
class Pace:
    """The length of one training, and when it is validated.

    Attributes:
        epochs: passes over the images, where neither `steps` nor `minutes` is given.
        per_epoch: steps of a pass.
        least: fewest steps that some minutes may become.
        steps: steps in all; 0 as long as `minutes` have not become steps.
        minutes: time for all of it; None if that is not what was asked for.
        validate_every: laps between validations; 0 for the last only, None for about ten in all.
        validation: seconds that a validation takes, about.
        step_seconds: seconds that a step takes; 0 while unknown.
        trying: whether the steps now done are only timed and will be taken back.
    """

    epochs: int
    per_epoch: int
    least: int
    steps: int = 0
    minutes: float | None = None
    validate_every: int | None = 0
    validation: float = 0.0
    step_seconds: float = 0.0
    trying: bool = field(default=False, init=False)
    in_epochs: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if not self.steps and self.minutes is None:
            self.in_epochs, self.steps = True, self.epochs * self.per_epoch

    @property
    def ends(self) -> list[int]:
        """The step that each lap ends with."""
        if self.in_epochs:
            return [self.per_epoch * lap for lap in range(1, self.epochs + 1)]
        return sorted({round(self.steps * lap / LAPS) for lap in range(1, LAPS + 1)} - {0})

    def epoch_at(self, step: int) -> float:
        """Passes over the images after a step: whole where epochs are counted."""
        return step // self.per_epoch if self.in_epochs else round(step / self.per_epoch, 2)

    def laps(
        self, done: int, accelerator: Accelerator, take_back: Callable[[], None], chosen: Callable[[], None]
    ) -> Iterator[range]:
        """The steps of each lap to do; first, if minutes have to become steps, laps that are timed.

        Args:
            done: laps that are done.
            accelerator: of the training; its first process decides.
            take_back: puts everything back to before the first step, the laps of the history too.
            chosen: called when the number of steps is fixed.
        """
        fixed_now = not self.steps
        if fixed_now:
            self.trying = True
            yield range(2)  # the first steps are slow: memory is allocated, workers start
            started = _clock()
            yield range(2, 4)
            seconds = max((_clock() - started) / 2, 1e-6)
            more = _agreed(int(min(_TRIAL, _TRIAL_SECONDS // seconds)), accelerator)
            if more > 2:
                started = _clock()
                yield range(4, 4 + more)
                seconds = (_clock() - started) / more
            take_back()
            self.trying = False
            self._fix(seconds, 0.0, accelerator)
            chosen()
        began, lap = _clock(), done
        while lap < len(self.ends):
            now = range(self.ends[lap - 1] if lap else 0, self.ends[lap])
            started = _clock()
            yield now
            lap += 1
            ended = _clock()
            spent = ended - began
            if not fixed_now or lap == len(self.ends) or spent >= _EARLY * self._seconds:
                fixed_now = False
                continue
            validating = self.validation if self.validates(lap) else 0.0
            seconds = max((ended - started - validating) / len(now), 1e-6)
            too_short = spent + seconds * (self.steps - now.stop) < _TOO_SHORT * (self._seconds - self._validating)
            if _agreed(too_short, accelerator):
                take_back()
                lap = 0
                self._fix(seconds, spent, accelerator)
                chosen()

    def _fix(self, seconds: float, spent: float, accelerator: Accelerator) -> None:
        """Fix the number of steps by what one takes, when some of the time is spent."""
        self.step_seconds = seconds
        steps = round((self._seconds - self._validating - spent) / seconds)
        self.steps = int(_agreed(max(self.least, steps), accelerator))

    @property
    def _seconds(self) -> float:
        return 60 * (self.minutes or 0)

    @property
    def _validating(self) -> float:
        return self.validation * self.validations

    def timed(self, validate: Callable[[], float], share: float = 1.0) -> float:
        """The accuracy that a validation finds, on a `share` (0..1) of the images; notes how long all of them take."""
        started = _clock()
        accuracy = validate()
        self.validation = (_clock() - started) / share
        return accuracy

    @property
    def validations(self) -> int:
        """How many validations there are in all."""
        laps = self.epochs if self.in_epochs else LAPS
        if self.validate_every is not None:
            return max(laps // self.validate_every, 1) if self.validate_every else 1
        affordable = VALIDATIONS
        if self.minutes is not None and self.validation:
            affordable = int(VALIDATING * 60 * self.minutes / self.validation)
        return min(max(affordable, 1), VALIDATIONS, laps)

    def validates(self, lap: int) -> bool:
        """Whether the detector is validated after a lap (from 1)."""
        laps = len(self.ends)
        if lap == laps:
            return True
        if self.validate_every is not None:
            return bool(self.validate_every) and lap % self.validate_every == 0
        return lap * self.validations // laps > (lap - 1) * self.validations // laps

    def said(self, batch_size: int, images: int) -> str:
        """One line: how long it takes, and how long the recipe's own epochs would."""
        about = f"about {_time(self.seconds_of(self.steps))}: {self.steps:,} steps of {batch_size} images"
        whole = _time(self.seconds_of(self.epochs * self.per_epoch))
        passes = f"{self.epoch_at(self.steps):.0f} passes over {images:,}"
        return f"{about} ({passes}); the recipe's {self.epochs} passes would take about {whole}"

    def seconds_of(self, steps: int) -> float:
        """About how long some steps take, with the validations."""
        return steps * self.step_seconds + self.validations * self.validation


def planned_steps(folder: str | Path | None, minutes: float | None, facts: dict[str, Any]) -> int:
    """The number of steps that the same training in the same folder chose for its minutes before; 0 for none."""
    path = None if folder is None else Path(folder) / PLAN_FILE
    if path is None or minutes is None or not path.exists():
        return 0
    plan = read_json(path)
    now = json.loads(json.dumps(facts))  # as JSON reads it back
    same = isinstance(plan, dict) and plan.get("minutes") == minutes and plan.get("training") == now
    return int(plan["steps"]) if same else 0


def write_plan(folder: str | Path | None, pace: Pace, facts: dict[str, Any]) -> None:
    """Keep the number of steps that a training chose."""
    if folder is not None:
        plan = {"minutes": pace.minutes, "steps": pace.steps, "seconds_per_step": pace.step_seconds}
        write_json(Path(folder) / PLAN_FILE, {**plan, "training": facts})


def check_length(epochs: int | None, steps: int | None, minutes: float | None) -> None:
    """Refuse a length that is none.

    Raises:
        InputError: a number is too small, or two are given.
    """
    given = {"epochs": epochs, "steps": steps, "minutes": minutes}
    found = [name for name, value in given.items() if value is not None]
    if len(found) > 1:
        raise InputError(f"{' and '.join(found)} are given; one of them says how long the training is")
    for name in ("epochs", "steps"):
        value = given[name]
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; 1 or more are needed")
    if minutes is not None and not minutes > 0:
        raise InputError(f"minutes is {minutes}; more than 0 are needed")


def say(text: str) -> None:
    """Print one line about the training on standard output, in place of a progress bar."""
    print(f"training: {text}", flush=True)


def said_after(row: dict[str, float], pace: Pace, rows: list[dict[str, float]]) -> str:
    """One line after a validation: the step, the loss, the AP and the time left."""
    measured = pd.DataFrame(rows)
    here = measured[measured["step"] <= row["step"]]
    each = float(here["seconds"].sum()) / row["step"]
    left = each * (pace.steps - row["step"])
    ends = f"about {_time(left)} left" if left else f"{_time(float(here['seconds'].sum()))} in all"
    accuracy = f"AP {100 * row['val_AP']:.1f}"
    return f"step {row['step']:,.0f} of {pace.steps:,}: loss {row['loss']:.2f}, {accuracy} on validation images; {ends}"


def _agreed(number: int, accelerator: Accelerator) -> int:
    """The number of the first process, in all of them."""
    if accelerator.num_processes == 1:
        return number
    return int(broadcast_object_list([number], from_process=0)[0])


def _time(seconds: float) -> str:
    """A time for people, without false precision."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds, -1), 60)
        return f"{minutes:.0f} min {rest:.0f} s" if rest else f"{minutes:.0f} min"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
