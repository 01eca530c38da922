from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from anchorkit.anchors import AnchorLayout, Configuration, Level, TrunkPart
from anchorkit.costs import COSTS, Cost, as_cost, cost_of, costs, known_costs, level_costs
from anchorkit.errors import InputError

SSD300_MAPS = (38, 19, 10, 5, 3, 1)
SSD300_CHANNELS = (512, 1024, 512, 256, 256, 256)


def ssd300(anchors_per_level: tuple[int, ...], trunk_macs: int | None = None, trunk_parts: tuple[int, ...] = (0,) * 6):
    """SSD300 for COCO: 3x3 predictors of 81 scores and 4 offsets an anchor."""
    levels = tuple(
        Level(
            name=f"map{size}",
            height=size,
            width=size,
            anchors=tuple((10.0 * (level + 1), 10.0 * (position + 1)) for position in range(count)),
            head_macs_per_anchor=9 * channels * (81 + 4),
            head_params_per_anchor=(9 * channels + 1) * (81 + 4),
        )
        for level, (size, channels, count) in enumerate(
            zip(SSD300_MAPS, SSD300_CHANNELS, anchors_per_level, strict=True)
        )
    )
    parts = tuple(TrunkPart(f"stage {level}", macs, tuple(range(level, 6))) for level, macs in enumerate(trunk_parts))
    return AnchorLayout("ssd300_vgg16", (300, 300), levels, trunk_macs=trunk_macs, trunk_parts=parts)


def retinanet(height: int, width: int, anchors: int = 9, trunk_macs: int | None = None) -> AnchorLayout:
    """RetinaNet for COCO: two towers of four 3x3x256 convolutions, then 80 scores and 4 offsets an anchor."""
    levels = tuple(
        Level(
            name=f"P{level}",
            height=math.ceil(height / 2**level),
            width=math.ceil(width / 2**level),
            anchors=tuple((2.0**level * (position + 1), 2.0**level) for position in range(anchors)),
            head_macs_fixed=8 * 9 * 256 * 256,
            head_macs_per_anchor=9 * 256 * (80 + 4),
            head_params_fixed=8 * (9 * 256 + 1) * 256,
            head_params_per_anchor=(9 * 256 + 1) * (80 + 4),
        )
        for level in range(3, 8)
    )
    return AnchorLayout("retinanet_resnet50_fpn", (height, width), levels, shared_head=True, trunk_macs=trunk_macs)


@pytest.mark.parametrize(
    ("anchors", "boxes", "head_mmacs"),
    [
        ((6, 6, 6, 6, 6, 6), 11640, None),
        ((4, 6, 6, 6, 4, 4), 8732, 4231),
        ((2, 6, 6, 6, 4, 4), 5844, None),
        ((4, 4, 4, 4, 4, 4), 7760, 3577),
        ((2, 2, 2, 2, 2, 2), 3880, 1788),
        ((4, 4, 5, 3, 2, 1), 7814, 3607),
        ((2, 4, 5, 3, 2, 1), 4926, 2476),
        ((6, 10, 10, 10, 6, 6), 13584, 6673),
    ],
)
def test_ssd300_costs_what_the_paper_says(anchors, boxes, head_mmacs):
    full = ssd300(anchors).full
    by_hand = sum(
        9 * channels * count * (81 + 4) * size * size
        for channels, count, size in zip(SSD300_CHANNELS, anchors, SSD300_MAPS, strict=True)
    )
    assert cost_of(full, "boxes") == boxes
    assert cost_of(full, "head_flops") == by_hand
    if head_mmacs is not None:
        assert by_hand // 10**6 == head_mmacs  # the paper cuts, it does not round: 3607.8 is printed as 3607


def test_ssd300_to_the_unit():
    assert cost_of(ssd300((4, 6, 6, 6, 4, 4)).full, "head_flops") == 4_231_319_040
    assert cost_of(ssd300((4, 4, 5, 3, 2, 1)).full, "head_flops") == 3_607_764_480
    assert cost_of(ssd300((2, 4, 5, 3, 2, 1)).full, "head_flops") == 2_476_592_640


def test_a_subset_costs_what_a_detector_built_like_that_would():
    layout = ssd300((4, 6, 6, 6, 4, 4))
    first = {level: min(anchor.index for anchor in layout.anchors if anchor.level == level) for level in range(6)}
    keep = [first[level] + n for level, count in enumerate((4, 4, 5, 3, 2, 1)) for n in range(count)]
    assert costs(layout.configuration(keep=keep)) == costs(ssd300((4, 4, 5, 3, 2, 1)).full)


def test_retinanet_costs_what_the_paper_says():
    full = retinanet(800, 1200).full
    locations = 100 * 150 + 50 * 75 + 25 * 38 + 13 * 19 + 7 * 10
    assert cost_of(full, "head_flops") == locations * (8 * 9 * 256 * 256 + 9 * 256 * 80 * 9 + 9 * 256 * 4 * 9)
    assert round(cost_of(full, "head_flops") / 1e9, 2) == 129.32
    assert round(cost_of(retinanet(800, 1200, anchors=1).full, "head_flops") / 1e9) == 98
    # Pruned as in Table 4: the first level dropped, 8 anchors left on the others.
    pruned = full.without([a.index for a in full.anchors if a.level == 0 or a.position == 8])
    assert round(cost_of(pruned, "head_flops") / 1e9) == 31


def test_retinanet_at_300():
    trunk = 9_217_000_000
    full = retinanet(300, 300, trunk_macs=trunk).full
    assert round(cost_of(full, "total_flops") / 1e9, 1) == 21.7
    assert round(cost_of(full, "head_flops") / cost_of(full, "total_flops"), 3) == 0.576


def test_a_shared_head_counts_its_parameters_once():
    layout = retinanet(300, 300)
    towers, per_anchor = 8 * (9 * 256 + 1) * 256, (9 * 256 + 1) * 84
    assert cost_of(layout.full, "head_parameters") == towers + 9 * per_anchor
    # One shape gone on all levels but the last: its filters are still needed there.
    almost = layout.full.without([a.index for a in layout.anchors if a.position == 3 and a.level < 4])
    assert cost_of(almost, "head_parameters") == towers + 9 * per_anchor
    gone = layout.full.without([a.index for a in layout.anchors if a.position == 3])
    assert cost_of(gone, "head_parameters") == towers + 8 * per_anchor
    assert cost_of(Configuration(layout, 0), "head_parameters") == 0


def test_a_shared_head_has_the_parameters_of_its_largest_level():
    levels = tuple(
        Level(f"P{number}", 2, 2, ((8.0, 8.0), (16.0, 16.0)), 0, 0, fixed, per_anchor)
        for number, (fixed, per_anchor) in enumerate([(7, 2), (11, 5), (9, 3)])
    )
    full = AnchorLayout("shared", (64, 64), levels, shared_head=True).full
    assert cost_of(full, "head_parameters") == 11 + 2 * 5
    # Levels without an anchor have no say.
    assert cost_of(full.without([2, 3]), "head_parameters") == 9 + 2 * 3
    assert cost_of(full.without([2, 3, 4, 5]), "head_parameters") == 7 + 2 * 2


def test_separate_heads_add_up_and_an_empty_level_costs_nothing():
    layout = AnchorLayout(
        "ssdlite",
        (64, 64),
        (
            Level("a", 8, 8, ((8.0, 8.0), (8.0, 16.0)), 100, 10, 7, 3),
            Level("b", 4, 4, ((16.0, 16.0),), 200, 20, 11, 5),
        ),
    )
    assert costs(layout.full) == {
        "n_anchors": 3,
        "boxes": 64 * 2 + 16,
        "head_flops": 64 * (100 + 20) + 16 * (200 + 20),
        "total_flops": None,
        "head_parameters": 7 + 6 + 11 + 5,
    }
    no_b = layout.configuration(keep=[0, 1])
    assert cost_of(no_b, "head_flops") == 64 * 120
    assert cost_of(no_b, "head_parameters") == 13
    assert cost_of(Configuration(layout, 0), "head_flops") == 0
    assert level_costs(no_b) == [
        {"name": "a", "height": 8, "width": 8, "anchors": 2, "boxes": 128, "head_flops": 64 * 120},
        {"name": "b", "height": 4, "width": 4, "anchors": 0, "boxes": 0, "head_flops": 0},
    ]


def test_trailing_empty_levels_take_their_part_of_the_trunk_with_them():
    layout = ssd300((1, 1, 1, 1, 1, 1), trunk_macs=1000, trunk_parts=(0, 0, 1, 20, 30, 40))

    def trunk(*dropped: int) -> int:
        kept = layout.full.without(dropped)
        return cost_of(kept, "total_flops") - cost_of(kept, "head_flops")

    assert trunk() == 1000
    assert trunk(5) == 960
    assert trunk(4, 5) == 930
    assert trunk(4) == 1000  # level 5 still needs what runs through level 4
    assert trunk(3, 5) == 960
    assert trunk(0) == 1000


def test_total_flops_need_a_known_trunk():
    full = ssd300((1, 1, 1, 1, 1, 1)).full
    with pytest.raises(InputError, match=r"ssd300_vgg16.*trunk_macs.*head_flops"):
        cost_of(full, "total_flops")
    assert "total_flops" not in known_costs(full)
    assert tuple(known_costs(ssd300((1,) * 6, trunk_macs=5).full)) == tuple(COSTS)


@pytest.mark.parametrize("ask", [lambda name: cost_of(ssd300((1,) * 6).full, name), as_cost])
def test_an_unknown_cost_names_the_known_ones(ask):
    with pytest.raises(InputError, match=r"'flops'.*boxes, head_flops, total_flops, head_parameters"):
        ask("flops")


def test_a_name_and_a_callable_become_a_cost():
    full = ssd300((4, 6, 6, 6, 4, 4)).full
    assert as_cost("boxes").compute(full) == 8732

    def latency(configuration):
        return 0.5 * len(configuration)

    found = as_cost(latency)
    assert (found.name, found.compute(full)) == ("latency", 15.0)
    assert as_cost(lambda configuration: 1).name == "cost"
    assert as_cost(len).name == "len"


def test_a_callable_that_counts_gives_integers():
    full = ssd300((1,) * 6).full
    assert as_cost(lambda configuration: 2**60 + 1).compute(full) == 2**60 + 1  # no float64


def test_costs_in_words():
    words = ["boxes", "head FLOPs", "total FLOPs", "head parameters"]
    assert [cost.words for cost in COSTS.values()] == words


def test_bad_callables_are_refused():
    full = ssd300((1,) * 6).full

    def accuracy(configuration):
        return 1.0

    def boxes(configuration):
        return 1.0

    with pytest.raises(InputError, match="'accuracy'"):
        as_cost(accuracy)
    with pytest.raises(InputError, match="'boxes'"):
        as_cost(boxes)
    for none in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(InputError, match="finite number"):
            as_cost(lambda configuration, none=none: none).compute(full)
    with pytest.raises(InputError, match="finite number"):
        as_cost(lambda configuration: None).compute(full)
    with pytest.raises(InputError, match="callable"):
        as_cost(7)


def memory(configuration):
    return 4000.0 * len(configuration)


MEMORY = Cost("memory", "Head memory", "head memory", "bytes", memory)


def test_a_new_cost_is_one_entry_of_the_table(monkeypatch, tmp_path, capsys):
    """It shows on the command line, in charts, in the search explorer and on a run's page."""
    from anchorkit import cli, plots
    from anchorkit.pages.run import write_index
    from anchorkit.search import search
    from anchorkit.search.toy import toy_evaluator
    from anchorkit.widgets.search_panel import SearchPanel
    from anchorkit.widgets.search_runs import SearchSettings

    monkeypatch.setitem(COSTS, "memory", MEMORY)
    evaluator = toy_evaluator()
    assert costs(evaluator.layout.full)["memory"] == 24_000

    (tmp_path / "layout.json").write_text(evaluator.layout.to_json())
    assert cli.main(["costs", str(tmp_path / "layout.json")]) == 0
    assert "head memory: 24,000" in capsys.readouterr().out

    result = search(evaluator, cost="memory", progress=False)
    assert result.frontier["memory"].tolist() == [4000.0 * n for n in result.frontier["n_anchors"]]
    assert "Head memory (bytes)" in result.plot().to_json()
    table = pd.DataFrame([{"name": "all", **result.baseline}, {"name": "few", **result.frontier.iloc[-1]}])
    assert "Head memory" in plots.before_after(table).to_json()

    settings = SearchSettings("memory", "local", 0.1, "AP", 0.5, 0.01)
    assert settings.title(settings).startswith("local search, head memory")
    panel = SearchPanel(settings, known_costs(evaluator.layout.full), None, print, print)
    assert ("Head memory", "memory") in panel.cost.options

    result.save(tmp_path / "search")
    page = write_index(tmp_path).read_text()
    assert '<th class="number">Head memory</th>' in page
    assert "beats in accuracy and head memory at once" in page


def test_a_cost_of_ones_own_has_its_title_too(tmp_path):
    from anchorkit.search import SearchResult, search
    from anchorkit.search.toy import toy_evaluator

    result = search(toy_evaluator(), cost=MEMORY, progress=False)
    assert result.cost == "memory"
    assert result.frontier["memory"].tolist() == [4000.0 * n for n in result.frontier["n_anchors"]]
    assert "Head memory (bytes)" in result.plot().to_json()
    result.save(tmp_path)
    again = SearchResult.load(tmp_path)
    assert again.cost == "memory"
    with pytest.raises(InputError, match="only its name is known"):
        again.asked.cost.compute(toy_evaluator().layout.full)


@pytest.mark.parametrize(
    ("name", "message"), [("boxes", "the name of another column"), ("head memory", "a column's name")]
)
def test_a_cost_of_ones_own_needs_a_name_of_its_own(name, message):
    with pytest.raises(InputError, match=message):
        as_cost(replace(MEMORY, name=name))
