from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.anchors import AnchorLayout, Configuration, Level, TrunkPart, moves, parse_anchor_list
from anchorkit.errors import InputError


def layout(*counts: int, shared: bool = False) -> AnchorLayout:
    """Levels of 8, 4, 2 ... cells a side with as many anchors as asked for."""
    levels = tuple(
        Level(
            f"P{number}",
            8 >> number,
            8 >> number,
            tuple((8.0 * (position + 1), 16.0 * (number + 1)) for position in range(count)),
            head_macs_per_anchor=10,
        )
        for number, count in enumerate(counts)
    )
    parts = tuple(TrunkPart(f"stage {number}", number, (number,)) for number in range(1, len(counts)))
    return AnchorLayout("toy", (64, 64), levels, shared_head=shared, trunk_macs=100, trunk_parts=parts)


def test_anchors_are_counted_level_by_level():
    anchors = layout(2, 0, 1).anchors
    assert [(a.index, a.id, a.level, a.position, a.width, a.height) for a in anchors] == [
        (0, "L0/8x16", 0, 0, 8.0, 16.0),
        (1, "L0/16x16", 0, 1, 16.0, 16.0),
        (2, "L2/8x48", 2, 0, 8.0, 48.0),
    ]


def test_an_id_rounds_to_whole_pixels():
    level = Level("P0", 1, 1, ((15.6, 8.4), (15.4, 8.6)))
    assert AnchorLayout("toy", (64, 64), (level,)).ids == ("L0/16x8", "L0/15x9")


@given(st.integers(1, 800))
def test_ids_are_unique_however_many_anchors_round_to_the_same_size(count):
    same = AnchorLayout("toy", (64, 64), (Level("P0", 1, 1, tuple((10.0 + n / 10**4, 10.0) for n in range(count))),))
    assert len(set(same.ids)) == count
    assert same.ids[:3] == ("L0/10x10", "L0/10x10b", "L0/10x10c")[:count]
    assert all(same.index(name) == number for number, name in enumerate(same.ids))


def test_an_anchor_is_named_by_id_or_index():
    toy = layout(2, 1)
    assert toy.index("L0/16x16") == toy.index("1") == toy.index(1) == toy.index(" 1 ") == 1
    with pytest.raises(InputError, match=r"'L0/99x1'.*toy has L0/8x16, L0/16x16$"):
        toy.index("L0/99x1")
    with pytest.raises(InputError, match="L1/8x32"):
        toy.index("nonsense")
    for bad in (3, -1, "3"):
        with pytest.raises(InputError, match="anchors 0 to 2"):
            toy.index(bad)


@pytest.mark.parametrize(("count", "end"), [(8, "L0/64x16"), (9, "L0/64x16 ...")])
def test_an_unknown_anchor_lists_eight_and_says_whether_there_are_more(count, end):
    with pytest.raises(InputError) as caught:
        layout(count).index("L0/99x1")
    assert str(caught.value).endswith(f", {end}")


def test_keep_and_drop():
    toy = layout(2, 1)
    assert toy.configuration() == toy.full
    assert toy.configuration(keep=["L1/8x32", 0]).indices == (0, 2)
    assert toy.configuration(drop=[0]).indices == (1, 2)
    assert toy.configuration(keep=[]).indices == ()
    with pytest.raises(InputError, match="not both"):
        toy.configuration(keep=[0], drop=[1])


@given(st.sets(st.integers(0, 8)), st.lists(st.integers(0, 8)))
def test_a_configuration_is_a_set(kept, removed):
    toy = layout(4, 3, 2)
    configuration = toy.configuration(keep=kept)
    assert set(configuration) == kept
    assert list(configuration.indices) == sorted(kept)
    assert set(configuration.dropped) == set(range(9)) - kept
    assert len(configuration) == len(kept) == sum(configuration.per_level)
    assert [toy.index(name) for name in configuration.ids] == sorted(kept)
    assert all((anchor in configuration) == (anchor in kept) for anchor in range(9))
    smaller = configuration.without(removed)
    assert set(smaller) == kept - set(removed)
    assert (smaller == configuration) == (not kept & set(removed))
    assert hash(smaller) == hash(toy.configuration(keep=kept - set(removed)))


def test_configurations_of_different_layouts_differ():
    assert layout(2, 1).full != layout(1, 2).full
    assert layout(2, 1).full == layout(2, 1).full
    assert layout(2, 1).full != 7


def test_moves_take_one_anchor_where_heads_are_separate():
    found = moves(layout(2, 1).configuration(keep=[0, 2]))
    assert [(move.anchors, move.label) for move in found] == [((0,), "L0/8x16"), ((2,), "L1/8x32")]


def test_moves_take_a_shape_or_a_level_where_the_head_is_shared():
    shared = layout(2, 2, shared=True)
    assert [(move.anchors, move.label) for move in moves(shared.full)] == [
        ((0, 2), "shape 0"),
        ((1, 3), "shape 1"),
        ((0, 1), "level P0"),
        ((2, 3), "level P1"),
    ]
    # Of two moves that take the same anchors away the first stays; none leaves nothing.
    diagonal = shared.configuration(keep=[0, 3])
    assert [(move.anchors, move.label) for move in moves(diagonal)] == [((0,), "shape 0"), ((3,), "shape 1")]
    one_level = shared.configuration(keep=[2, 3])
    assert [(move.anchors, move.label) for move in moves(one_level)] == [((2,), "shape 0"), ((3,), "shape 1")]
    assert moves(shared.configuration(keep=[1])) == []
    assert moves(shared.full, "anchor")[0].anchors == (0,)


@given(st.integers(1, 2**9 - 1), st.sampled_from(["anchor", "shared"]))
def test_every_move_takes_something_and_leaves_something(mask, kind):
    configuration = Configuration(layout(4, 3, 2), mask)
    children = [configuration.without(move.anchors) for move in moves(configuration, kind)]
    assert all(0 < len(child) < len(configuration) for child in children)
    assert len(set(children)) == len(children)


def test_an_unknown_kind_of_move_is_refused():
    with pytest.raises(InputError, match="'anchor', 'shared' or 'auto'"):
        moves(layout(2).full, "levels")


def test_a_layout_survives_json():
    toy = layout(2, 0, 1, shared=True)
    assert AnchorLayout.from_dict(json.loads(toy.to_json())) == toy


def test_the_json_of_a_layout_is_that_of_the_format():
    written = {
        "version": 1,
        "detector": "toy",
        "input": [48, 64],
        "levels": [
            {
                "name": "P0",
                "height": 3,
                "width": 5,
                "head_macs_fixed": 1,
                "head_macs_per_anchor": 2,
                "head_params_fixed": 3,
                "head_params_per_anchor": 4,
                "anchors": [[8.0, 16.0]],
            }
        ],
        "shared_head": True,
        "trunk_macs": 100,
        "trunk_parts": [{"name": "tail", "macs": 100, "levels": [0]}],
    }
    level = Level("P0", 3, 5, ((8.0, 16.0),), 1, 2, 3, 4)
    toy = AnchorLayout("toy", (48, 64), (level,), True, 100, (TrunkPart("tail", 100, (0,)),))
    assert AnchorLayout.from_dict(written) == toy
    assert toy.to_dict() == written
    # The last three may be missing.
    for name in ("shared_head", "trunk_macs", "trunk_parts"):
        del written[name]
    assert AnchorLayout.from_dict(written) == AnchorLayout("toy", (48, 64), (level,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"levels": None}, "cannot be read"),
        ({"input": [64, 0]}, "input is 0"),
        ({"trunk_macs": 1.5}, "trunk_macs is 1.5"),
    ],
)
def test_a_broken_layout_is_refused(change, message):
    with pytest.raises(InputError, match=f"^some.json: .*{message}"):
        AnchorLayout.from_dict({**layout(1).to_dict(), **change}, "some.json")


def test_a_pruned_shared_head_remembers_which_filters_make_which_anchor():
    toy = layout(2, 3, shared=True)
    level = dataclasses.replace(toy.levels[1], positions=(0, 2, 5))
    uneven = dataclasses.replace(toy, levels=(toy.levels[0], level))
    assert [anchor.position for anchor in uneven.anchors] == [0, 1, 0, 2, 5]
    assert [move.anchors for move in moves(uneven.full, "shared")] == [(0, 2), (1,), (3,), (4,), (0, 1), (2, 3, 4)]
    assert AnchorLayout.from_dict(json.loads(uneven.to_json())) == uneven


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([{"name": "tail", "macs": 5, "levels": [2]}], "trunk part 0: levels is .2.; the layout has levels 0 to 1"),
        ([{"name": "tail", "macs": 101, "levels": [1]}], "cost more than trunk_macs"),
        ([{"name": "tail", "levels": [1]}], "lacks 'macs'"),
        ([{"name": "tail", "macs": -1, "levels": [1]}], "macs is -1"),
    ],
)
def test_broken_parts_of_a_trunk_are_refused(parts, message):
    with pytest.raises(InputError, match=f"^some.json: .*{message}"):
        AnchorLayout.from_dict({**layout(1, 1).to_dict(), "trunk_parts": parts}, "some.json")


@pytest.mark.parametrize("positions", [[0], [0, 0], [0, 1, 2], [0, -1], [0, 0.5]])
def test_broken_positions_are_refused(positions):
    data = layout(2).to_dict()
    data["levels"][0]["positions"] = positions
    with pytest.raises(InputError, match="some.json: level 0: positions is"):
        AnchorLayout.from_dict(data, "some.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchors": [[8, 0]]}, "anchor 0"),
        ({"anchors": [[8, float("inf")]]}, "anchor 0"),
        ({"anchors": [[8]]}, "anchor 0"),
        ({"height": 0}, "height is 0"),
        ({"head_macs_per_anchor": True}, "head_macs_per_anchor is True"),
        ({"head_macs_fixed": -1}, "head_macs_fixed is -1"),
    ],
)
def test_a_broken_level_is_refused(change, message):
    data = layout(1).to_dict()
    data["levels"][0] |= change
    with pytest.raises(InputError, match=message):
        AnchorLayout.from_dict(data, "some.json")


def test_a_missing_key_is_named():
    data = layout(1).to_dict()
    del data["levels"][0]["head_macs_fixed"]
    with pytest.raises(InputError, match="lacks 'head_macs_fixed'"):
        AnchorLayout.from_dict(data)
    with pytest.raises(InputError, match="not a JSON object"):
        AnchorLayout.from_dict([])
    unversioned = layout(1).to_dict()
    del unversioned["version"]
    with pytest.raises(InputError, match="layout version None"):
        AnchorLayout.from_dict(unversioned)


def test_anchor_lists_are_split():
    assert parse_anchor_list(" L0/8x16, 3 ,,") == ["L0/8x16", "3"]


def test_levels_without_known_shapes_number_their_anchors() -> None:
    known = Level("P3", 4, 4, ((8, 8), (16, 8)))
    unknown = Level("P4", 2, 2, ((16, 16), (16, 16)), shapes_known=False)
    layout = AnchorLayout("mixed", (32, 32), (known, unknown))
    assert layout.ids == ("L0/8x8", "L0/16x8", "L1/a0", "L1/a1")
    assert layout.configuration(keep=["L1/a1"]).indices == (3,)
    assert AnchorLayout.from_dict(layout.to_dict()) == layout
    assert "shapes_known" not in layout.to_dict()["levels"][0]
