"""What holds of a run's search on images that took no part in it: ``search/holds.json``.

04_search makes the statement. The page, the later lessons and the end of ``anchorkit run`` print its words, so all
of them say the same first. 21_channels_and_anchors makes one of the joint search in the same way, in its folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.files import read_json, replacing, write_json
from anchorkit.findings import FEWEST_IMAGES, nothing_can_be_told, unchecked
from anchorkit.runs.provenance import content_hash
from anchorkit.search.joint import JointResult
from anchorkit.statistics import SafeRemoval, cross_fitted_removal, safe_to_remove
from anchorkit.statistics.joint import AnyResult, Evaluated, as_one

SEARCH = "search"
"""The folder of the search of anchors, within a run's folder."""
_FILE, _BY_BUDGET, _SEARCHED = "holds.json", "cross_fitted.csv", "frontier.csv"
_MOST_POINTS = 60
_WORDS = ("headline", "evidence", "hope", "gap")


@dataclasses.dataclass(frozen=True)
class Holding:
    """The statement of a run, read from its folder.

    Attributes:
        headline: one short sentence, without a full stop.
        evidence: on which images it was measured, with its interval. hope: what more images may show; may be empty.
        gap: classes that the images do not have; empty where they have all.
        nothing: why nothing can be told, or None.
        n_removed: how many anchors can go. anchors: ids of those that stay.
        figures: all figures of the statement, by name; see `anchorkit.statistics.SafeRemoval.to_dict`.
    """

    headline: str
    evidence: str
    hope: str
    gap: str
    nothing: str | None
    n_removed: int
    anchors: tuple[str, ...]
    figures: Mapping[str, Any] = dataclasses.field(repr=False)

    @property
    def cross_fitted(self) -> bool:
        """Whether there were no other images, so that the statement is cross-fitted."""
        return bool(self.figures["folds"])

    def __str__(self) -> str:
        return " ".join(part for part in (f"{self.headline}.", self.evidence, self.hope, self.gap) if part)


def find_what_holds(
    run_dir: str | Path,
    evaluator: Evaluator | Sequence[Evaluator],
    result: AnyResult,
    test: Evaluator | Sequence[Evaluator] | None = None,
    *,
    place: str = SEARCH,
    names: Mapping[int, str] | None = None,
    margin: float = 0.005,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> SafeRemoval:
    """Make the statement of a run and write it into its folder.

    On the test images, if there are any; else cross-fitted on the images of the search.

    Args:
        run_dir: the run's folder, with the search that was saved there.
        evaluator: of the images of the search. For a joint search one per detector, in its order; likewise `test`.
        result: the search.
        test: an evaluator of the test images, or None.
        place: the folder of the search within the run's folder.
        names: of the classes, by category id.
        margin: the loss of AP that does not matter, 0..1.
        confidence: in which share of cases the statement shall hold, 0..1.
        draws: bootstrap samples of the images.
        seed: of the draws and folds.
        progress: show progress bars on standard error.

    Raises:
        InputError: as for `anchorkit.safe_to_remove`; or the search is not in the run's folder.
    """
    options: dict[str, Any] = {"margin": margin, "confidence": confidence, "draws": draws, "seed": seed}
    folder, one = Path(run_dir) / place, as_one(evaluator, result)
    told = nothing_can_be_told(one.accuracy(one.full), one.metric, _n_images(one)) is None
    if test is not None and _n_images(as_one(test, result)) >= min(FEWEST_IMAGES, _n_images(one)):
        found = safe_to_remove(test, _candidates(result, margin), **options, progress=progress)
    elif told:
        with unchecked():  # of the folds, which have fewer images
            found = cross_fitted_removal(evaluator, result, **options, ledgers=folder, progress=progress)
    else:
        found = safe_to_remove(evaluator, result, margin, confidence, draws=1)  # says why nothing can be told
    found = dataclasses.replace(found, names=dict(names or {}))
    facts = {"search": content_hash(folder / _SEARCHED), **found.to_dict()}
    write_json(folder / _FILE, facts)
    (folder / _BY_BUDGET).unlink(missing_ok=True)
    if found.folds:
        with replacing(folder / _BY_BUDGET) as temporary:
            found.points[[result.cost, "change", "low", "high"]].to_csv(temporary, index=False)
    return found


def cross_fitted_change(run_dir: str | Path, cost: float) -> tuple[float, float, float] | None:
    """What choices within a cost change in AP on images that took no part in them.

    Args:
        run_dir: the run's folder.
        cost: what may be spent, in the unit of the search's cost.

    Returns:
        The change and the ends of its interval, 0..1, at the largest budget that was cross-fitted within the cost; None
        if the run has no cross-fitted figures, or none so cheap.
    """
    path = Path(run_dir) / SEARCH / _BY_BUDGET
    if not path.exists():
        return None
    table = pd.read_csv(path)
    within = table[table.iloc[:, 0] <= cost]
    if within.empty:
        return None
    row = within.iloc[int(within.iloc[:, 0].to_numpy().argmax())]
    return float(row["change"]), float(row["low"]), float(row["high"])


def read_holding(run_dir: str | Path, place: str = SEARCH) -> Holding | None:
    """The statement of a run; None if there is none, or if it is about another search.

    Args:
        run_dir: the run's folder.
        place: the folder of the search within it.

    Raises:
        InputError: the file is damaged.
    """
    folder = Path(run_dir) / place
    path, searched = folder / _FILE, folder / _SEARCHED
    if not path.exists() or not searched.exists():
        return None
    facts = read_json(path)
    try:
        if facts["search"] != content_hash(searched):
            return None
        words = {name: str(facts[name]) for name in _WORDS}
        removed, anchors = int(facts["n_removed"]), tuple(map(str, facts["anchors"]))
        return Holding(**words, nothing=facts["nothing"], n_removed=removed, anchors=anchors, figures=facts)
    except (KeyError, TypeError, ValueError) as error:
        maker = "04_search" if place == SEARCH else "21_channels_and_anchors"
        raise InputError(
            f"{path}: {type(error).__name__} {error}; run the notebook {maker} again, or delete the file"
        ) from None


def _candidates(result: AnyResult, margin: float) -> AnyResult:
    """The search with the points that may be safe: those that lose no more than the margin on its own images.

    The test images have no part in this choice, so their bounds hold. Points that lose more would only take room: there
    are so few that the draws take seconds, evenly from the most to the least accurate.
    """
    enough = float(result.baseline["accuracy"]) - margin
    last = max(int((result.frontier["accuracy"] >= enough).sum()), 1) - 1
    rows = np.unique(np.linspace(0, last, min(last + 1, _MOST_POINTS)).round().astype(int)).tolist()
    frontier = result.frontier.iloc[rows].reset_index(drop=True)
    configurations = [result.configurations[row] for row in rows]
    if isinstance(result, JointResult):
        origins = tuple(result.origins[row] for row in rows)
        return dataclasses.replace(result, frontier=frontier, configurations=configurations, origins=origins)
    return dataclasses.replace(result, frontier=frontier, configurations=configurations)


def _n_images(evaluator: Evaluated) -> int:
    return len(evaluator.ground_truth.image_ids)
