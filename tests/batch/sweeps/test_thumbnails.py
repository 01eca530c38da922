from __future__ import annotations

import re
from pathlib import Path

import pytest

from anchorkit.batch.sweeps.thumbnails import HEIGHT, WIDTH, read_frontier, thumbnails

from ...runs.searched_runs import search_result, write_run


def own(svg: str) -> str:
    found = re.search('class="own" d="(.*?)"', svg)
    assert found
    return found[1]


def test_all_are_to_one_scale_and_over_those_of_all() -> None:
    deep, flat = [(0.2, -0.03), (0.5, -0.01), (0.8, 0.01)], [(0.5, -0.01), (0.8, 0.01)]
    shared, small = thumbnails({"deep": deep, "flat": flat})
    assert shared.count("<path") == 2
    assert 'id="all-frontiers"' in shared
    assert all('href="#all-frontiers"' in svg for svg in small.values())
    # Steps, each up at the cost that buys the gain; the same points lie at the same place.
    start, *steps = re.findall(r"[MHV][\d. ]+", own(small["deep"]))
    assert [step[0] for step in steps] == ["H", "V", "H", "V"]
    assert own(small["deep"]).endswith(own(small["flat"]).partition("H")[2])
    numbers = [float(number) for number in re.findall(r"[\d.]+", own(small["deep"]))]
    assert all(0 < number < WIDTH for number in numbers)
    assert 0 < float(start.split()[1]) < HEIGHT  # the lowest


def test_a_search_that_lost_nothing_is_not_blown_up() -> None:
    _, small = thumbnails({"a": [(1.0, 0.0)], "b": [(1.0, 0.0)]})
    assert own(small["a"]) == own(small["b"]) == f"M{WIDTH - 7:.1f} 7.0"
    assert thumbnails({})[1] == {}


def test_what_is_read_of_a_run(tmp_path: Path) -> None:
    result = search_result()
    found = read_frontier(write_run(tmp_path / "run", result))
    assert found is not None
    assert [share for share, _ in found] == sorted(share for share, _ in found)
    assert found[-1][1] == pytest.approx(0.0)
    assert found[-1][0] == pytest.approx(1.0)
    (tmp_path / "run" / "search" / "search.json").unlink()
    assert read_frontier(tmp_path / "run") is None
