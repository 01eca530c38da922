"""The shapes set: the same for the same seed, shaped as its classes say, and redundant as its card says."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.datasets import load_dataset, never_needed
from anchorkit.datasets import shapes as shapes_module
from anchorkit.datasets.shapes import GENERATOR_VERSION, cache_folder, load_shapes
from anchorkit.datasets.shapes_draw import MAX_BOX_IOU, draw_scene
from anchorkit.datasets.shapes_objects import CLASSES, make_item
from anchorkit.errors import InputError

SMALL = {"train": 6, "val": 3, "test": 2, "progress": False}


def small(**options: Any):
    return load_shapes(**{**SMALL, "cache": False, **options})


def pixels(split):
    return [split.image(image_id) for image_id in split.image_ids]


@pytest.fixture(scope="module")
def sample():
    """Boxes and labels of 120 scenes."""
    scenes = [draw_scene(np.random.default_rng([3, number]), 160) for number in range(120)]
    return [(boxes, labels) for _, boxes, labels in scenes]


def test_splits_have_the_sizes_asked_for():
    data = small()
    assert {name: len(split) for name, split in data.splits().items()} == {"train": 6, "val": 3, "test": 2}
    assert [category.name for category in data.categories] == [kind.name for kind in CLASSES]
    assert data.train.image(1).shape == (160, 160, 3)
    assert small(test=0).test is None


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    first, second, other = small(), small(), small(seed=1)
    for one, two in zip(first.splits().values(), second.splits().values(), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(pixels(one), pixels(two), strict=True))
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()


def test_an_image_does_not_depend_on_how_many_are_drawn():
    few, many = small(train=2), small(train=6, val=5)
    for image_id in (1, 2):
        assert np.array_equal(few.train.image(image_id), many.train.image(image_id))
        assert np.array_equal(few.train.annotations(image_id).boxes, many.train.annotations(image_id).boxes)
        assert np.array_equal(few.val.image(image_id), many.val.image(image_id))


def test_splits_differ():
    data = small()
    assert not np.array_equal(data.train.image(1), data.val.image(1))


@pytest.mark.parametrize("size", [64, 97, 224])
def test_other_sizes(size: int):
    data = small(size=size, train=3, val=1, test=0)
    for image_id in data.train.image_ids:
        assert data.train.image(image_id).shape == (size, size, 3)
        assert not data.train.annotations(image_id).ignore.any()


def test_cache_gives_what_was_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANCHORKIT_CACHE", str(tmp_path / "kept"))
    assert cache_folder() == tmp_path / "kept"
    drawn = load_shapes(**SMALL)
    monkeypatch.setattr(shapes_module, "draw_scene", None)  # drawing again would fail
    read = load_shapes(**SMALL)
    assert read.fingerprint() == drawn.fingerprint()
    assert all(np.array_equal(a, b) for a, b in zip(pixels(read.val), pixels(drawn.val), strict=True))
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "emptied", "changed", "text"])
def test_damaged_cache_is_drawn_again(tmp_path: Path, damage: str):
    whole = load_shapes(**SMALL, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    if damage == "changed":
        data[len(data) // 2] ^= 0xFF
    file.write_bytes({"cut": data[: len(data) // 3], "emptied": b"", "changed": bytes(data), "text": b"hello"}[damage])
    again = load_shapes(**SMALL, cache=tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(pixels(again.train), pixels(whole.train), strict=True))
    assert abs(file.stat().st_size - len(data)) == 0


def test_cache_that_cannot_be_written_is_a_warning(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="not cached"):
        data = load_shapes(**SMALL, cache=tmp_path / "file")
    assert len(data.train) == 6


@pytest.mark.parametrize(
    "options",
    [{"train": 0}, {"val": -1}, {"test": -1}, {"seed": 1.5}, {"size": 10}, {"size": True}, {"train": "many"}],
)
def test_bad_options_are_refused_by_name(options: dict[str, Any]):
    with pytest.raises(InputError, match=next(iter(options))):
        small(**options)


def test_unknown_option_is_refused():
    with pytest.raises(InputError, match="'trian'"):
        load_dataset("shapes", trian=5)


def test_objects_keep_to_the_ranges_of_their_class(sample):
    seen = np.zeros(len(CLASSES), dtype=int)
    for boxes, labels in sample:
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        longer = np.maximum(width, height) / 160
        assert (boxes >= 0).all()
        assert (boxes <= 160).all()
        for label, size, aspect in zip(labels, longer, width / height, strict=True):
            kind = CLASSES[label]
            assert kind.size[0] - 1e-9 <= size <= kind.size[1] + 1e-9
            assert kind.aspect[0] - 1e-9 <= aspect <= kind.aspect[1] + 1e-9
            seen[label] += 1
    assert seen.min() > 0.5 * seen.mean()


def test_sizes_go_from_8_to_90_percent():
    assert min(kind.size[0] for kind in CLASSES) == 0.08
    assert max(kind.size[1] for kind in CLASSES) == 0.90


def test_a_change_of_the_drawing_raises_the_generator_version():
    # Trained detectors and cached sets belong to a version; whoever changes what is drawn puts the new figures here.
    _, boxes, labels = draw_scene(np.random.default_rng(np.random.SeedSequence([0, 0, 1])), 160)
    known = {2: ([1, 5, 6, 6, 6], [55.04, 122.21, 146.87, 151.03])}
    assert (labels.tolist(), boxes[0].round(2).tolist()) == known[GENERATOR_VERSION]


def test_there_are_empty_images_and_crowded_ones(sample):
    counts = [len(labels) for _, labels in sample]
    assert min(counts) == 0
    assert max(counts) >= 6
    assert 3 < np.mean(counts) < 6


def test_no_two_boxes_overlap_so_much_that_suppression_would_merge_them(sample):
    for boxes, _ in sample:
        for one in range(len(boxes)):
            for two in range(one):
                low = np.maximum(boxes[one, :2], boxes[two, :2])
                high = np.minimum(boxes[one, 2:], boxes[two, 2:])
                shared = np.prod(np.maximum(high - low, 0))
                areas = np.prod(boxes[one, 2:] - boxes[one, :2]) + np.prod(boxes[two, 2:] - boxes[two, :2])
                assert shared <= MAX_BOX_IOU * (areas - shared) + 1e-6


@given(st.integers(0, len(CLASSES) - 1), st.integers(0, 2**32 - 1))
def test_boxes_are_tight_around_what_is_drawn(label: int, seed: int):
    item = make_item(np.random.default_rng(seed), label, 160)
    rows, columns = np.nonzero(item.distance < 0)  # the patch begins one pixel before the box's first pixel
    x1, y1 = item.fraction
    drawn = np.array([columns.min() - 1, rows.min() - 1, columns.max(), rows.max()])
    box = np.array([x1, y1, x1 + item.width, y1 + item.height])
    assert np.abs(drawn - box).max() <= 1.25
    # Nothing but the half-covered rim of an edge leaves the box.
    outside = (item.x[0] < -item.width / 2 - 1) | (item.x[0] > item.width / 2 + 1)
    assert item.turn or (item.distance[:, outside] > 0).all()


def test_images_look_like_photographs_not_like_diagrams():
    image = draw_scene(np.random.default_rng(5), 160)[0].astype(int)
    _, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    assert counts.max() < 0.02 * 160 * 160  # no flat colour
    assert image.std() > 10
    assert np.abs(np.diff(image, axis=1)).mean() > 1.0  # grain and noise everywhere


# ------------------------------------------------------------------------------------------------- planted redundancy


def layout_of(anchors: list[tuple[float, float]], size: tuple[int, int] = (160, 160)) -> AnchorLayout:
    return AnchorLayout("toy", size, (Level("all", 1, 1, tuple(anchors)),))


def truth_of(sides: list[tuple[float, float]], width: int, height: int) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "width": width, "height": height}],
        "annotations": [{"id": n, "image_id": 1, "bbox": [3.0, 4.0, w, h]} for n, (w, h) in enumerate(sides, start=1)],
    }


sides = st.tuples(st.floats(1, 200), st.floats(1, 200))


@given(
    st.lists(sides, min_size=1, max_size=5),
    st.lists(sides, max_size=6),
    st.integers(50, 400),
    st.integers(50, 400),
    st.floats(0.1, 0.9),
)
def test_never_needed_agrees_with_brute_force(anchors, boxes, width, height, iou):
    layout = layout_of(anchors, (120, 160))
    expected = []
    for anchor in layout.anchors:
        best = 0.0
        for box_width, box_height in boxes:
            w, h = box_width * 160 / width, box_height * 120 / height
            shared = min(w, anchor.width) * min(h, anchor.height)
            best = max(best, shared / (w * h + anchor.width * anchor.height - shared))
        if abs(best - iou) < 1e-9:
            return  # a tie within rounding proves nothing
        if best < iou:
            expected.append(anchor.id)
    assert list(never_needed(layout, truth_of(boxes, width, height), iou)) == expected


def test_never_needed_takes_several_splits():
    layout = layout_of([(10, 10), (40, 40), (90, 90)])
    parts = [truth_of([(10, 11)], 160, 160), truth_of([(85, 95)], 160, 160)]
    assert never_needed(layout, parts[0]) == ("L0/40x40", "L0/90x90")
    assert never_needed(layout, parts) == ("L0/40x40",)


def card_list(repository: Path) -> tuple[str, ...]:
    card = (repository / "data" / "shapes" / "README.md").read_text(encoding="utf-8")
    section = card.split("## Anchor shapes it never needs")[1].split("\n## ")[0]
    return tuple(re.findall(r"^\| `(L\d+/\d+x\d+[a-z]*)` ", section, flags=re.MULTILINE))


def every_shape() -> dict[str, Any]:
    """Ground truth with all shapes that the classes allow, on a fine grid that includes the extremes."""
    sides = []
    for kind in CLASSES:
        for longer in np.linspace(*kind.size, 150) * 160:
            for aspect in np.linspace(*kind.aspect, 25):
                sides.append((longer, longer / aspect) if aspect >= 1 else (longer * aspect, longer))
    return truth_of(sides, 160, 160)


def tiny_ssd_layout() -> AnchorLayout:
    detectors = pytest.importorskip("anchorkit.detectors")
    return detectors.load_detector("tiny_ssd", categories=len(CLASSES)).layout


def test_card_lists_the_anchors_that_no_seed_can_ever_need(repository: Path):
    listed = card_list(repository)
    assert 6 <= len(listed) <= 10
    assert listed == never_needed(tiny_ssd_layout(), every_shape())


@pytest.mark.slow
def test_card_lists_what_the_default_set_never_needs(repository: Path):
    data = load_shapes(progress=False)
    assert card_list(repository) == never_needed(
        tiny_ssd_layout(), [split.ground_truth for split in data.splits().values()]
    )


def test_card_tells_the_ranges_of_every_class(repository: Path):
    card = (repository / "data" / "shapes" / "README.md").read_text(encoding="utf-8")
    for kind in CLASSES:
        size = f"{kind.size[0]:.1%} – {kind.size[1]:.1%}".replace(".0%", "%").replace("%", " %")
        aspect = (
            f"{kind.aspect[0]:g} – {kind.aspect[1]:g}" if kind.aspect[0] < kind.aspect[1] else f"{kind.aspect[0]:g}"
        )
        row = next(line for line in card.splitlines() if line.startswith(f"| {kind.name} |"))
        assert f"| {size} |" in row, row
        assert f"| {aspect} |" in row, row


def test_loading_is_silent_when_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_shapes(**SMALL, cache=tmp_path)
    assert capsys.readouterr().out == ""
