from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anchorkit.errors import InputError
from anchorkit.findings import nothing_can_be_told
from anchorkit.runs.compare import main_effects, nothing_told_of, open_results, rank_runs, varied_parameters, within
from anchorkit.runs.results_table import results_table, run_summary, write_results
from anchorkit.search.frontier import hypervolume

from .searched_runs import search_result, write_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    gains = {"low": 0.0, "middle": 0.01, "high": 0.02}
    return [write_run(tmp_path / name, search_result(gain), level=name) for name, gain in gains.items()]


def test_the_table_has_one_row_a_run_and_its_best_configurations(runs) -> None:
    table = results_table(runs)
    assert table["what"].value_counts()["run"] == 3
    whole = table[table["what"] == "run"].set_index("run")
    result = search_result(0.01)
    row = whole.loc["middle"]
    assert row["accuracy"] == 0.5
    assert row["head_flops"] == result.baseline["head_flops"]
    assert row["hypervolume"] == result.hypervolume()
    assert row["tried"] == len(result.evaluated)
    assert (row["param.level"], row["version.numpy"], row["seconds"]) == ("middle", "2.0", 2.0)
    own = table[(table["what"] == "configuration") & (table["run"] == "middle")]
    assert set(result.frontier["anchors"]) <= set(own["anchors"])
    # Whatever is beaten in every cost is left out, and what is best in another cost than the searched one is in.
    for cost in ("boxes", "head_flops"):
        for candidate in result.evaluated.to_dict("records"):
            as_cheap = result.evaluated[result.evaluated[cost] <= candidate[cost]]
            assert candidate["anchors"] in set(own["anchors"]) or as_cheap["accuracy"].max() >= candidate["accuracy"]


def test_the_table_survives_parquet(runs, tmp_path: Path) -> None:
    written = write_results([*runs, tmp_path / "not there"], tmp_path / "r.parquet")
    read = pd.read_parquet(tmp_path / "r.parquet")
    pd.testing.assert_frame_equal(read, written, check_dtype=False)
    assert set(open_results([tmp_path / "r.parquet"])["run"]) == {"low", "middle", "high"}
    assert varied_parameters(read) == ["level"]


def test_parameters_of_notebooks_that_differ_are_named_apart(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", search_result(), cost="boxes")
    record = json.loads((run / "run.json").read_text())
    record["notebooks"]["05_x"] = {"parameters": {"seed": 7, "sizes": [1, 2]}, "seconds": 1.0}
    (run / "run.json").write_text(json.dumps(record))
    parameters = run_summary(run)["parameters"]
    assert parameters == {"04_search.seed": 0, "05_x.seed": 7, "cost": "boxes", "sizes": "[1, 2]"}


def test_a_hopeless_run_has_no_savings_and_says_why(tmp_path: Path) -> None:
    good = write_run(tmp_path / "good", search_result())
    result = search_result(threshold=0.0)
    for frame in (result.frontier, result.evaluated):
        frame["accuracy"] *= 0.05
    poor = write_run(tmp_path / "poor", result)
    assert run_summary(good)["nothing"] is None
    assert "free.saved" in run_summary(good)["figures"]
    summary = run_summary(poor)
    assert summary["nothing"] == nothing_can_be_told(0.025)
    assert not [name for name in summary["figures"] if name.endswith(".saved")]
    assert nothing_told_of(results_table([good, poor])) == {"poor": nothing_can_be_told(0.025)}


def test_figures_of_a_notebooks_own_and_of_points(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", search_result())
    (run / "figures.json").write_text('{"blur": 0.25}')
    (run / "retrained").mkdir()
    rows = [{"point": "A", "stage": "pruned", "split": "test", "accuracy": 0.4, "head_flops": 10, "n_anchors": 2}]
    pd.DataFrame(rows).to_csv(run / "retrained" / "points.csv", index=False)
    figures = run_summary(run)["figures"]
    assert figures["blur"] == 0.25
    assert figures["A.pruned.test.accuracy"] == 0.4
    table = results_table([run])
    assert table.loc[table["what"] == "point", ["stage", "accuracy"]].to_numpy().tolist() == [["pruned", 0.4]]
    assert (table["figure.blur"] == 0.25).all()
    (run / "figures.json").write_text('{"blur": "much"}')
    with pytest.raises(InputError, match="figures.json: numbers by name"):
        run_summary(run)


def test_ranks_follow_the_hypervolume(runs) -> None:
    ranked = rank_runs(open_results(runs), "head_flops", 0.05)
    assert list(ranked["run"]) == ["high", "middle", "low"]
    assert list(ranked["rank"]) == [1, 2, 3]
    result = search_result(0.02)
    assert ranked["hypervolume"][0] == pytest.approx(result.hypervolume(), abs=1e-12)
    assert ranked["cheapest"][0] == result.frontier.loc[result.frontier["accuracy"] >= 0.45, "head_flops"].min()
    assert ranked["saved"][0] == 1 - ranked["cheapest"][0] / result.baseline["head_flops"]


def test_who_explored_deeper_gains_nothing_by_it(tmp_path: Path) -> None:
    shallow = write_run(tmp_path / "shallow", search_result(threshold=0.45), max_drop=0.05)
    deep = write_run(tmp_path / "deep", search_result(threshold=0.40), max_drop=0.1)
    assert search_result(threshold=0.40).hypervolume() > search_result(threshold=0.45).hypervolume()
    ranked = rank_runs(open_results([shallow, deep]))
    assert list(ranked["rank"]) == [1, 1]
    assert set(ranked["loss"]) == {0.5 - 0.45}


def test_other_data_is_another_group(tmp_path: Path) -> None:
    places = [write_run(tmp_path / name, search_result(), data=name) for name in ("one", "two")]
    assert list(rank_runs(open_results(places))["group"]) == [1, 2]


def test_ranking_by_a_cost_that_was_not_searched_uses_all_that_was_tried(runs) -> None:
    ranked = rank_runs(open_results(runs), "boxes", 0.05).set_index("run")
    tried = search_result(0.02).evaluated
    deep = tried[tried["accuracy"] >= 0.4]
    expected = hypervolume(deep["accuracy"].tolist(), deep["boxes"].tolist(), float(tried["boxes"][0]))
    assert ranked.loc["high", "hypervolume"] == pytest.approx(expected, abs=1e-12)


def test_within_limits(runs) -> None:
    table = open_results(runs)
    most = float(search_result().evaluated["head_flops"].median())
    found = within(table, 0.1, head_flops=most).set_index("run")
    assert (found["head_flops"] <= most).all()
    tried = search_result(0.02).evaluated
    assert found.loc["high", "accuracy"] == tried.loc[tried["head_flops"] <= most, "accuracy"].max()
    assert within(table, head_flops=1.0).empty
    with pytest.raises(InputError, match="did you mean boxes"):
        within(table, boxs=1)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no run.json"),
        ("{}", "not the record of a run"),
    ],
)
def test_what_is_no_run(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=complaint):
        open_results([tmp_path])


def test_bad_tables(runs, tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cut.parquet: not a table of runs"):
        open_results([tmp_path / "cut.parquet"])
    pd.DataFrame({"run": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(InputError, match="lacks the column 'accuracy'"):
        open_results([tmp_path / "other.parquet"])
    with pytest.raises(InputError, match="two runs are called 'low'"):
        open_results([runs[0], runs[0]])
    with pytest.raises(InputError, match="unknown cost 'box'; did you mean boxes"):
        rank_runs(open_results(runs), "box")


# --- main effects


def grid() -> pd.DataFrame:
    return pd.DataFrame([{"a": a, "b": b, "c": c} for a in (1, 2) for b in "xyz" for c in (True, False)])


def test_of_an_additive_outcome_the_shares_add_up() -> None:
    frame = grid()
    frame["y"] = frame["a"] * 3.0 + frame["b"].map({"x": 0.0, "y": 1.0, "z": 5.0})
    found = main_effects(frame, "y", ["a", "b", "c"]).set_index("parameter")
    assert found["explained"].sum() == pytest.approx(1.0)
    assert found.loc["c", "explained"] == pytest.approx(0.0)
    # Sums of squares by hand: a differs by 3 (variance 2.25), b by 0, 1, 5 (variance 14/3).
    assert found.loc["a", "explained"] == pytest.approx(2.25 / (2.25 + 14 / 3))
    assert found.loc["b", "spread"] == pytest.approx(5.0)
    assert found.loc["b", "best"] == "z"
    assert found["balanced"].all()


def test_interplay_is_nobodys_share() -> None:
    frame = grid()
    frame["y"] = ((frame["a"] == 1) ^ frame["c"]).astype(float)
    found = main_effects(frame, "y", ["a", "b", "c"])
    assert found["explained"].to_numpy() == pytest.approx(np.zeros(3))
    assert (found["p"] > 0.9).all()


def test_chance_explains_as_much_as_theory_says() -> None:
    """Of n values in k groups, dealt at random, (k - 1) / (n - 1) of the variance lies between the groups."""
    frame = grid()
    frame["y"] = np.random.default_rng(3).normal(size=len(frame))
    found = main_effects(frame, "y", ["a", "b"]).set_index("parameter")
    assert found.loc["a", "by_chance"] == pytest.approx(1 / 11, abs=0.01)
    assert found.loc["b", "by_chance"] == pytest.approx(2 / 11, abs=0.01)


def test_a_setting_that_decides_alone_is_found_out() -> None:
    frame = grid()
    frame["y"] = (frame["a"] == 2).astype(float)
    found = main_effects(frame, "y", ["a", "b", "c"])
    first = found.iloc[0]
    assert (first["parameter"], first["explained"]) == ("a", pytest.approx(1.0))
    assert first["p"] < 0.02
    pd.testing.assert_frame_equal(found, main_effects(frame, "y", ["a", "b", "c"]))


def test_what_was_varied_together_is_not_balanced() -> None:
    frame = grid()[lambda each: (each["a"] == 1) == each["c"]].assign(y=range(6))
    assert not main_effects(frame, "y", ["a", "c"])["balanced"].any()


def test_effects_that_cannot_be_told() -> None:
    frame = grid().assign(y=1.0)
    with pytest.raises(InputError, match="the same in all runs"):
        main_effects(frame, "y", ["a"])
    with pytest.raises(InputError, match="2 runs have 'y'; at least 3"):
        main_effects(frame[:2], "y", ["a"])
    with pytest.raises(InputError, match="lacks the column 'z'"):
        main_effects(frame, "z", ["a"])
