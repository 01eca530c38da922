from __future__ import annotations

import gc

import pytest

from anchorkit.latency.rounds import PARTS, time_rounds

from .fakes import Clock, FakeSubject


def run(repeats=6, warmup=2, batches=3, seed=0, names=("a", "b", "c"), on_round=lambda clock: None):
    clock, log = Clock(), []
    subjects = {
        name: FakeSubject(name, clock, log, lambda batch, k=k: 0.001 * k * (1 + batch), lambda batch: 0.0005)
        for k, name in enumerate(names, 1)
    }
    samples = time_rounds(subjects, batches, repeats, warmup, seed, clocks=clock, each_round=lambda: on_round(clock))
    return samples, log


def test_every_detector_runs_once_a_round_on_the_same_batch():
    samples, log = run()
    rounds = [log[start : start + 3] for start in range(0, len(log), 3)]
    assert len(rounds) == 2 + 6
    assert all(sorted(name for name, _ in each) == ["a", "b", "c"] for each in rounds)
    assert [{batch for _, batch in each} for each in rounds] == [{b} for b in (1, 2, 0, 1, 2, 0, 1, 2)]
    assert samples.groupby("round")["batch"].unique().map(list).tolist() == [[0], [1], [2], [0], [1], [2]]


def test_the_order_is_drawn_anew_and_the_same_for_a_seed():
    _, log = run(repeats=20)
    orders = {tuple(name for name, _ in log[start : start + 3]) for start in range(0, len(log), 3)}
    assert len(orders) > 3
    assert run(repeats=20)[1] == log
    assert run(repeats=20, seed=1)[1] != log


def test_parts_are_timed_apart_and_warm_up_is_left_out():
    samples, _ = run()
    assert len(samples) == 6 * 3 * len(PARTS)
    assert samples["round"].min() == 0
    [row] = samples.query("detector == 'b' and part == 'network' and round == 4").to_dict("records")
    assert (row["batch"], row["boxes"]) == (1, 10)
    assert row["ms"] == row["cpu_ms"] == pytest.approx(4.0)
    wide = samples.set_index(["round", "detector", "part"])["ms"].unstack()
    assert wide["postprocess"].tolist() == pytest.approx([0.5] * 18)
    assert (wide["network"] + wide["postprocess"]).tolist() == pytest.approx(wide["total"].tolist())


def test_time_spent_waiting_is_not_time_on_a_processor():
    clock, log = Clock(), []
    subject = FakeSubject("a", clock, log, lambda batch: clock.wait(0.003) or 0.001, lambda batch: 0.0)
    samples = time_rounds({"a": subject}, 1, 2, 0, clocks=clock)
    network = samples[samples["part"] == "network"]
    assert network["ms"].tolist() == pytest.approx([4.0, 4.0])
    assert network["cpu_ms"].tolist() == pytest.approx([1.0, 1.0])


def test_what_happens_between_rounds_is_not_timed():
    slow, _ = run(on_round=lambda clock: clock.work(5.0))
    plain, _ = run()
    assert slow["ms"].tolist() == pytest.approx(plain["ms"].tolist())


@pytest.mark.parametrize("was_on", [True, False])
def test_garbage_is_not_collected_meanwhile(was_on):
    seen = []
    before = gc.isenabled()
    try:
        (gc.enable if was_on else gc.disable)()
        run(on_round=lambda clock: seen.append(gc.isenabled()))
        assert seen == [False] * 8
        assert gc.isenabled() is was_on
    finally:
        (gc.enable if before else gc.disable)()
