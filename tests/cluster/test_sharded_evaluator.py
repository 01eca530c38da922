"""A table that is spread over workers gives the bits of a table in one place."""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import anchorkit as ak
from anchorkit.anchors import Move
from anchorkit.errors import InputError
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.evaluation.metrics import FScore, WeightedAP
from anchorkit.findings import ImplausibleDataWarning
from anchorkit.predictions import PredictionTable

from ..checks.corruptions import corrupted, made_up, remade
from ..evaluation.cases import Case, random_case
from .clusters import Cluster, dask_cluster

distributed = pytest.importorskip("distributed", reason="needs the extra cluster")

from anchorkit.cluster import ShardedEvaluator, connect, shards  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    logging.getLogger("distributed").setLevel(logging.ERROR)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two workers that are threads of this process."""
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as found,
    ):
        yield found


@pytest.fixture
def processes() -> Iterator[Any]:
    """Two workers that are processes, and can be killed."""
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as found,
    ):
        yield found


def evaluators(client: Any, folder: Path, case: Case, **options: Any) -> tuple[ak.Evaluator, ShardedEvaluator]:
    case.predictions.save(folder / "table.parquet")
    n_shards = options.pop("n_shards", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = ak.Evaluator(case.predictions, case.ground_truth, **options)
        spread = ShardedEvaluator(client, folder / "table.parquet", case.ground_truth, n_shards=n_shards, **options)
    return one, spread


@functools.cache
def large_case() -> Case:
    """The first case with anchors enough for a search that takes a while."""
    return next(
        case
        for case in map(random_case, range(1000))
        if 6 <= len(case.predictions.layout) <= 9
        and len(case.ground_truth["images"]) >= 5
        and len(case.predictions) > 200
        and ak.Evaluator(case.predictions, case.ground_truth).accuracy(case.predictions.layout.full) > 0
    )


@pytest.mark.parametrize("seed", [4, 6, 7, 10, 11, 13, 14, 15, 17, 19, 24, 29, 30, 34, 35, 36, 37, *range(200, 220)])
def test_same_bits(client: Any, tmp_path: Path, seed: int) -> None:
    one, spread = evaluators(client, tmp_path, random_case(seed), n_shards=1 + seed % 4)
    random = np.random.default_rng(seed)
    with spread:
        for _ in range(4):
            keep = np.flatnonzero(random.random(len(one.layout)) < random.uniform(0.2, 1)).tolist()
            moves = [Move((anchor,), str(anchor)) for anchor in keep]
            assert spread.accuracy(keep) == one.accuracy(keep)
            assert spread.children(keep, moves).tolist() == one.children(keep, moves).tolist()
        assert spread.stats(keep) == one.stats(keep)
        assert spread.children_stats(keep, moves) == one.children_stats(keep, moves)
        assert spread.per_class(keep) == one.per_class(keep)
        assert spread.fingerprint == one.fingerprint
    assert not any(evaluation == spread._evaluation for evaluation, _ in shards._seats)  # the memory is free again


@pytest.mark.parametrize("seed", [6, 7, 11, 13, 37])
def test_same_bits_by_any_metric(client: Any, tmp_path: Path, seed: int) -> None:
    case = random_case(seed)
    some = {category["id"]: 1.0 + n for n, category in enumerate(case.ground_truth["categories"])}
    for metric in ("voc07", "voc", "AP50", "APs", "AR10", FScore(0.3), FScore(0.6, 0.7, 2.0), WeightedAP(some)):
        one, spread = evaluators(client, tmp_path, case, metric=metric, n_shards=3)
        with spread:
            full = one.layout.full
            assert spread.accuracy(full) == one.accuracy(full)
            assert spread.children(full, ak.moves(full)).tolist() == one.children(full, ak.moves(full)).tolist()


@pytest.mark.parametrize("name", ["axes_exchanged", "class_ids_permuted", "images_without_rows", "scores_in_steps"])
def test_what_is_implausible_is_found_as_in_one_place(client: Any, tmp_path: Path, name: str) -> None:
    table, coco = made_up(images=40)
    case = next(one for one in corrupted(table, read_ground_truth(coco)) if one.name == name)
    case.table.save(tmp_path / "table.parquet")
    table = PredictionTable.load(tmp_path / "table.parquet")
    with pytest.warns(ImplausibleDataWarning):
        one = ak.Evaluator(table, coco)
    with pytest.warns(ImplausibleDataWarning) as caught:
        spread = ShardedEvaluator(client, tmp_path / "table.parquet", coco, n_shards=3)
    with spread:
        assert spread.findings == one.findings
    assert [finding.name for finding in one.findings] == [name]
    assert [warning.filename for warning in caught] == [__file__]


def test_what_no_data_can_be_is_refused_on_the_cluster_too(client: Any, tmp_path: Path) -> None:
    table, coco = made_up()
    case = next(one for one in corrupted(table, read_ground_truth(coco)) if one.what == "normalised")
    case.table.save(tmp_path / "table.parquet")
    with pytest.raises(InputError, match="all 960 boxes lie within 0..1"):
        ShardedEvaluator(client, tmp_path / "table.parquet", coco, n_shards=2)


def test_rows_of_some_images_are_enough_for_the_check(client: Any, tmp_path: Path) -> None:
    table, coco = made_up(images=250, rows=20)
    remade(table, table.boxes[:, [1, 0, 3, 2]]).save(tmp_path / "table.parquet")
    with (
        pytest.warns(ImplausibleDataWarning, match=r"table.parquet \(4,000 of its 5,000 rows were looked at\)"),
        ShardedEvaluator(client, tmp_path / "table.parquet", coco, n_shards=3) as spread,
    ):
        assert [finding.name for finding in spread.findings] == ["axes_exchanged"]


def test_several_files_with_images_anyhow(client: Any, tmp_path: Path) -> None:
    case = random_case(6)
    table = case.predictions
    ids = np.unique(table.image_id)
    assert len(ids) > 3
    for number in range(3):
        rows = np.isin(table.image_id, ids[number::3])
        columns = [getattr(table, name)[rows] for name in ("image_id", "anchor", "category_id", "score", "boxes")]
        PredictionTable(*columns, table.layout, table.postprocess).save(tmp_path / f"part{number}.parquet")
    one, _ = evaluators(client, tmp_path / "..", case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spread = ShardedEvaluator(client, tmp_path, case.ground_truth, n_shards=2)
    with spread:
        assert spread.accuracy(one.layout.full) == one.accuracy(one.layout.full)
        assert spread.stats(one.layout.full) == one.stats(one.layout.full)


def test_a_search_may_begin_here_and_end_there(client: Any, tmp_path: Path) -> None:
    one, spread = evaluators(client, tmp_path, large_case())
    ledger = tmp_path / "ledger.jsonl"
    with spread:
        steps = 0

        def stop(progress: Any) -> None:
            nonlocal steps
            steps += 1
            if steps == 2:
                progress.stop()

        begun = ak.search(spread, cost="boxes", ledger=ledger, progress=False, watch=stop)
    whole = ak.search(one, cost="boxes", progress=False)
    ended = ak.search(one, cost="boxes", ledger=ledger, progress=False)
    assert 1 < len(begun.evaluated) <= len(whole.evaluated)
    assert ended.evaluated.equals(whole.evaluated)
    assert ended.frontier.equals(whole.frontier)


@pytest.mark.slow
def test_workers_that_are_killed_take_nothing_with_them(processes: Any, tmp_path: Path) -> None:
    one, spread = evaluators(processes, tmp_path, large_case(), n_shards=3)
    pids = list(processes.run(os.getpid).values())
    assert len(pids) == 2
    steps = 0

    def kill(progress: Any) -> None:
        nonlocal steps
        steps += 1
        if steps in (2, 4):
            # The second one by then has all shards.
            os.kill(pids[steps // 2 - 1], signal.SIGKILL)

    with spread:
        found = ak.search(spread, cost="boxes", progress=False, watch=kill)
    assert steps > 4
    whole = ak.search(one, cost="boxes", progress=False)
    assert found.evaluated.equals(whole.evaluated)  # none lost, none twice, the same bits in the same order
    assert found.frontier.equals(whole.frontier)


@pytest.mark.slow
def test_a_lost_scheduler_is_told_and_the_ledger_goes_on(tmp_path: Path) -> None:
    ledger, case = tmp_path / "ledger.jsonl", large_case()
    whole = ak.search(ak.Evaluator(case.predictions, case.ground_truth), cost="boxes", progress=False)

    def search(cluster: Cluster, watch: Any = None) -> ak.SearchResult:
        with connect(cluster.address, timeout=60) as client:
            client.wait_for_workers(1, timeout=60)
            _, spread = evaluators(client, tmp_path, case)
            return ak.search(spread, cost="boxes", ledger=ledger, progress=False, watch=watch)

    with dask_cluster(tmp_path) as cluster:
        with pytest.raises(ak.InputError, match=r"cluster at .* continues where it stopped"):
            search(cluster, lambda progress: cluster.scheduler.kill())
        assert ledger.exists()
    with dask_cluster(tmp_path, cluster.port) as again:
        assert search(again).evaluated.equals(whole.evaluated)


def test_another_score_threshold(client: Any, tmp_path: Path) -> None:
    case = large_case()
    one, spread = evaluators(client, tmp_path, case, n_shards=2)
    above = float(np.median(case.predictions.score))
    spread = ShardedEvaluator(client, tmp_path / "table.parquet", case.ground_truth, score_threshold=above)
    full = one.layout.full
    with spread:
        assert spread.accuracy(full) == one.with_postprocess(score_threshold=above).accuracy(full) != one.accuracy(full)


def test_more_predictions_than_a_board_holds(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anchorkit.cluster import evaluator

    monkeypatch.setattr(evaluator, "PLACE", np.uint32(100))
    with pytest.raises(
        ak.InputError, match=r"\d{3} predictions are above .* a bitmap holds 100.*higher score_threshold"
    ):
        evaluators(client, tmp_path, large_case())


def test_workers_that_only_the_scheduler_can_reach(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anchorkit.cluster import evaluator, scheduler

    assert scheduler.can_be_reached(next(iter(client.nthreads())))
    assert not scheduler.can_be_reached("tcp://127.0.0.1:1")
    monkeypatch.setattr(evaluator, "can_be_reached", lambda worker: False)
    one, spread = evaluators(client, tmp_path, large_case(), n_shards=2)
    with spread:
        assert spread.children(one.layout.full, ak.moves(one.layout.full)).tolist() == (
            one.children(one.layout.full, ak.moves(one.layout.full)).tolist()
        )


def test_refusals(client: Any, tmp_path: Path) -> None:
    case = random_case(6)
    case.predictions.save(tmp_path / "table.parquet")
    without = {**case.ground_truth, "images": case.ground_truth["images"][1:]}
    gone = case.ground_truth["images"][0]["id"]
    without["annotations"] = [a for a in case.ground_truth["annotations"] if a["image_id"] != gone]
    with pytest.raises(ak.InputError, match="no such image"):
        ShardedEvaluator(client, tmp_path / "table.parquet", without)
    with pytest.raises(ak.InputError, match="no such file"):
        ShardedEvaluator(client, tmp_path / "none.parquet", case.ground_truth)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ak.InputError, match="no prediction table"):
        ShardedEvaluator(client, tmp_path / "empty", case.ground_truth)
    with pytest.raises(ak.InputError, match="in one place"):
        ShardedEvaluator(client, tmp_path / "table.parquet", case.ground_truth, metric=lambda *_: 0.5)
    with pytest.raises(ak.InputError, match=r"dask scheduler.*dask worker"):
        connect("tcp://127.0.0.1:1", timeout=1)
    other = random_case(7).predictions
    other.save(tmp_path / "table2.parquet")
    with pytest.raises(ak.InputError, match="two detectors"):
        ShardedEvaluator(client, [tmp_path / "table.parquet", tmp_path / "table2.parquet"], case.ground_truth)


def test_the_command_says_the_same_on_a_cluster(
    client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from anchorkit.cli import main

    case = large_case()
    case.predictions.save(tmp_path / "table.parquet")
    (tmp_path / "truth.json").write_text(json.dumps(case.ground_truth))
    answers = []
    for cluster in ([], ["--scheduler", client.scheduler_info()["address"]]):
        files = [str(tmp_path / "table.parquet"), str(tmp_path / "truth.json")]
        assert main(["search", *files, "--cost", "boxes", "--json", *cluster]) == 0
        answers.append(capsys.readouterr().out)
    assert json.loads(answers[0])["evaluated"] > 10
    assert answers[0] == answers[1]
