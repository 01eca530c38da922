"""Comparing runs: ranks of their frontiers, and the effects of the varied settings.

Works on the table of `anchorkit.runs.results_table`. Frontiers are compared if they have the same data and the same
number of anchors, by one cost, and down to the same loss of accuracy, so a run that explores deeper has no advantage.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from anchorkit.costs import COSTS
from anchorkit.errors import InputError
from anchorkit.findings import nothing_can_be_told
from anchorkit.runs.results_table import results_table
from anchorkit.search.frontier import cheapest, hypervolume, reaches
from anchorkit.search.result import NEGLIGIBLE_LOSS
from anchorkit.suggest import did_you_mean

PERMUTATIONS = 2000
_ROUNDING = 1e-12


def open_results(places: Iterable[str | Path]) -> pd.DataFrame:
    """The table of some runs.

    Args:
        places: runs' folders, sweeps' folders, or tables as a sweep leaves them (``results.parquet``).

    Raises:
        InputError: a place is none of these, or two runs have one name.
    """
    tables = []
    for place in map(Path, places):
        path = place / "results.parquet" if (place / "sweep.json").exists() else place
        if path.suffix == ".parquet":
            try:
                tables.append(pd.read_parquet(path))
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: not a table of runs ({error}); `anchorkit sweep` makes one") from None
            missing = {"run", "what", "accuracy"} - set(tables[-1].columns)
            if missing:
                raise InputError(f"{path}: lacks the column {min(missing)!r}; `anchorkit sweep` makes such a table")
        else:
            tables.append(results_table([path]))
    table = pd.concat([one.dropna(axis=1, how="all") for one in tables], ignore_index=True)
    names = table.loc[table["what"] == "run", "run"]
    if names.duplicated().any():
        raise InputError(f"two runs are called {names[names.duplicated()].iloc[0]!r}: name each place once")
    return table


def varied_parameters(table: pd.DataFrame) -> list[str]:
    """Names of the parameters in which the runs of a table differ, without ``param.``."""
    runs = table[table["what"] == "run"]
    columns = [name for name in runs.columns if name.startswith("param.")]
    return [name.removeprefix("param.") for name in columns if len(set(runs[name].astype(str))) > 1]


def rank_runs(table: pd.DataFrame, cost: str = "head_flops", max_loss: float = NEGLIGIBLE_LOSS) -> pd.DataFrame:
    """The runs of a table that have a search, best first.

    Args:
        table: as from `open_results`.
        cost: the cost that is compared.
        max_loss: accuracy that ``cheapest`` may lose against the run's own full detector, absolute, 0..1.

    Returns:
        One row per run: ``run``, the varied parameters, ``group`` (runs of one group can be compared: the same data
        and number of anchors), ``rank`` within it, ``hypervolume`` down to the ``loss`` that all runs of the group
        explored, ``full`` and ``accuracy`` (of the full detector and of the cheapest configuration within `max_loss`),
        ``cheapest`` (its cost), ``saved`` (its saving, 0..1), ``n_anchors``.

    Raises:
        InputError: the cost is unknown, or no run has a search.
    """
    _require_costs([cost])
    tried = table[table["what"] == "configuration"]
    full = table[(table["what"] == "run") & table["accuracy"].notna()]
    if tried.empty or full.empty:
        raise InputError("no run has a search: 04_search makes one")
    identity = [name for name in ("data.fingerprint", "data", "n_anchors") if name in full]
    groups = pd.factorize(full[identity].astype(str).agg("|".join, axis=1))[0] + 1
    losses = (full["accuracy"] - full["threshold"].fillna(0.0)).groupby(groups).transform("min")
    names = varied_parameters(table)
    rows = []
    for record, group, loss in zip(full.to_dict("records"), groups, losses, strict=True):
        run = record["run"]
        own = tried[(tried["run"] == run) & tried[cost].notna()]
        deep = own[reaches(own["accuracy"], record["accuracy"] - loss)]
        place = cheapest(own["accuracy"], own[cost], record["accuracy"] - max_loss)
        if place is None:
            raise InputError(f"{run}: no configuration loses at most max_loss={max_loss:g}; allow more")
        best = own.iloc[place]
        rows.append(
            {
                "run": run,
                **{name: record.get(f"param.{name}") for name in names},
                "group": group,
                "hypervolume": hypervolume(deep["accuracy"].tolist(), deep[cost].tolist(), float(record[cost])),
                "loss": loss,
                "full": record["accuracy"],
                "accuracy": best["accuracy"],
                "cheapest": best[cost],
                "saved": 1.0 - best[cost] / record[cost],
                "n_anchors": int(best["n_anchors"]),
            }
        )
    ranked = pd.DataFrame(rows)
    ranks = ranked.groupby("group")["hypervolume"].rank(ascending=False, method="min").astype(int)
    ranked.insert(1, "rank", ranks)
    return ranked.sort_values(["group", "rank"], kind="stable").reset_index(drop=True)


def nothing_told_of(table: pd.DataFrame) -> dict[str, str]:
    """Why nothing can be told of a run, by run, see `anchorkit.findings.nothing_can_be_told`; runs that are fine lack.

    Args:
        table: as from `open_results`.
    """
    runs = table[(table["what"] == "run") & table["accuracy"].notna()]
    found = {str(run): nothing_can_be_told(float(ap)) for run, ap in zip(runs["run"], runs["accuracy"], strict=True)}
    return {run: nothing for run, nothing in found.items() if nothing}


def within(table: pd.DataFrame, max_loss: float | None = None, **most: float) -> pd.DataFrame:
    """For each run, its most accurate configuration within some limits; runs without one are left out.

    Args:
        table: as from `open_results`.
        max_loss: accuracy that may be lost against the run's own full detector, absolute, 0..1; None for any.
        **most: upper limits of costs, as in ``within(table, head_flops=5e6, boxes=900)``.

    Raises:
        InputError: a cost is unknown.
    """
    _require_costs(most)
    tried = table[table["what"] == "configuration"]
    full = table[table["what"] == "run"].set_index("run")["accuracy"]
    if max_loss is not None:
        tried = tried[reaches(tried["accuracy"], tried["run"].map(full) - max_loss)]
    for name, limit in most.items():
        tried = tried[tried[name] <= limit]
    best = tried.sort_values(["accuracy", "head_flops"], ascending=[False, True], kind="stable")
    return best.drop_duplicates("run").reset_index(drop=True)


def _require_costs(names: Iterable[str]) -> None:
    for name in names:
        if name not in COSTS:
            raise InputError(f"unknown cost {name!r}; {did_you_mean(name, COSTS)}")


def main_effects(frame: pd.DataFrame, outcome: str, parameters: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """The effect of each parameter: the share of an outcome's variance between its values.

    For each parameter the runs are grouped by its value. ``explained`` is the variance between the groups' means
    over the whole variance (eta squared). It is 1 if only this parameter changes the outcome. In a full grid, 1 minus
    the sum over all parameters is the share of interactions and chance. With many values and few runs any parameter
    explains something; ``by_chance`` is the mean share if its values are permuted at random. ``p`` is the share of such
    permutations (of 2,000) that explain as much: if it is small, chance is unlikely.

    Args:
        frame: one row per run.
        outcome: the column with the outcome, a number.
        parameters: the columns of the parameters.
        seed: of the permutations.

    Returns:
        ``parameter``, ``values`` (how many), ``explained`` (0..1), ``by_chance``, ``p``, ``spread`` (largest mean of a
        group less the smallest, in the outcome's unit), ``best`` (the value with the largest mean), ``balanced``
        (whether every combination with the other parameters' values occurs equally often: if not, effects of parameters
        that were varied together cannot be separated), the largest effect first.

    Raises:
        InputError: fewer than three runs have the outcome, a column is missing, or all outcomes are equal.
    """
    missing = [name for name in (outcome, *parameters) if name not in frame]
    if missing:
        raise InputError(f"main effects: the table lacks the column {missing[0]!r}")
    frame = frame[frame[outcome].notna()]
    values = frame[outcome].to_numpy(dtype=float)
    if len(values) < 3:
        raise InputError(f"main effects: {len(values)} runs have {outcome!r}; at least 3 are needed")
    if np.ptp(values) == 0:
        raise InputError(f"main effects: {outcome!r} is the same in all runs, so no parameter changed it")
    random = np.random.default_rng(seed)
    deals = np.stack([random.permutation(len(values)) for _ in range(PERMUTATIONS)])
    combinations = frame[list(parameters)].astype(str).value_counts()
    cells = int(np.prod([frame[name].astype(str).nunique() for name in parameters]))
    balanced = len(combinations) == cells and len(set(combinations)) == 1
    rows = []
    for name in parameters:
        codes, groups = pd.factorize(frame[name].astype(str), sort=True)
        if len(groups) < 2:
            continue
        explained = _explained(values[None], codes, len(groups))[0]
        dealt = _explained(values[deals], codes, len(groups))
        means = frame.groupby(frame[name].astype(str))[outcome].mean()
        rows.append(
            {
                "parameter": name,
                "values": len(groups),
                "explained": float(explained),
                "by_chance": float(dealt.mean()),
                "p": float((1 + (dealt >= explained - _ROUNDING).sum()) / (1 + PERMUTATIONS)),
                "spread": float(means.max() - means.min()),
                "best": str(means.idxmax()),
                "balanced": balanced,
            }
        )
    found = pd.DataFrame(rows)
    return found.sort_values("explained", ascending=False, kind="stable").reset_index(drop=True)


def _explained(values: np.ndarray, codes: np.ndarray, groups: int) -> np.ndarray:
    """Eta squared of each row of `values` (D, N), with columns grouped by `codes` (N,)."""
    belongs = np.eye(groups)[codes]  # (N, G)
    counts = belongs.sum(axis=0)
    deviations = values - values.mean(axis=1, keepdims=True)
    between = ((deviations @ belongs) ** 2 / counts).sum(axis=1)
    explained: np.ndarray = between / (deviations**2).sum(axis=1)
    return explained
