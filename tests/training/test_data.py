"""Training samples: what they hold, and that they can be repeated."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from anchorkit.datasets import Category, Dataset, load_dataset
from anchorkit.errors import InputError
from anchorkit.training import data as data_module
from anchorkit.training.augmentation import ORDERS, Augmentation, Item, augmented, distortion, draw, mosaic, recoloured
from anchorkit.training.data import StepSampler, TrainingSet, training_loader


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset("shapes", train=10, val=2, test=2, cache=tmp_path_factory.mktemp("cache"), progress=False)


@pytest.mark.parametrize("augment", ["ssd", "ssd-small", "mosaic", "flip", "none"])
def test_samples_have_the_inputs_size_and_boxes_inside(data: Dataset, augment: str) -> None:
    samples = TrainingSet(data.train, data.categories, (96, 128), augment, seed=0)
    for index in range(len(samples)):
        image, target = samples[(1, index)]
        assert image.shape == (3, 96, 128)
        assert image.dtype == torch.float32
        assert 0 <= image.min() <= image.max() <= 1
        boxes = target["boxes"]
        assert len(boxes) == len(target["labels"])
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2] <= 128).all()
        assert (boxes[:, 3] <= 96).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert ((target["labels"] >= 1) & (target["labels"] <= len(data.categories))).all()


def test_without_augmentation_the_boxes_are_the_annotated_ones(data: Dataset) -> None:
    samples = TrainingSet(data.train, data.categories, (80, 80), "none", seed=0)
    annotations = data.train.annotations(data.train.image_ids[3])
    _, target = samples[(0, 3)]
    expected = np.clip(annotations.boxes[~annotations.ignore], 0, 160) / 2
    np.testing.assert_allclose(target["boxes"].numpy(), expected, atol=1e-3)


def coloured(height: int, width: int, value: int) -> Item:
    """A black image with one brighter rectangle, whose label is its brightness."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height // 4 : height // 2, width // 3 : width] = value
    box = np.array([[width // 3, height // 4, width, height // 2]], np.float32)
    return Item(pixels, box, np.array([value]))


@pytest.mark.parametrize("seed", range(20))
def test_a_mosaic_keeps_boxes_on_their_objects(seed: int) -> None:
    items = [coloured(120, 90, 50), coloured(60, 160, 100), coloured(96, 128, 150), coloured(150, 150, 200)]
    pixels, boxes, labels = mosaic(items, (96, 128), np.random.default_rng(seed))
    assert pixels.shape == (96, 128, 3)
    seen = set(labels.tolist())
    for (left, top, right, bottom), label in zip(boxes.round().astype(int).tolist(), labels.tolist(), strict=True):
        inner = pixels[top + 2 : bottom - 2, left + 2 : right - 2, 0]  # edges are smoothed
        assert (inner == label).all()
    for value in {50, 100, 150, 200} - seen:  # at most a strip of what is left out can be seen
        assert (pixels[..., 0] == value).sum() < 0.15 * 1.5**2 * 96 * 128 / 6


def test_a_mosaic_has_objects_of_four_images_at_half_to_one_and_a_half_times_their_size() -> None:
    items = [coloured(96, 128, value) for value in (50, 100, 150, 200)]
    samples = [mosaic(items, (96, 128), np.random.default_rng(seed)) for seed in range(50)]
    assert {len(labels) for _, _, labels in samples} >= {2, 3, 4}
    whole = [box for _, boxes, _ in samples for box in boxes if box[0] > 0 and box[2] < 128]
    widths = [float(box[2] - box[0]) / 86 for box in whole]  # an object is 86 pixels wide
    assert min(widths) < 0.7
    assert max(widths) <= 1.51


@pytest.mark.parametrize("what", [Augmentation(zoom_out=4.0), Augmentation(trials=40), Augmentation(2.0, 10)])
def test_zooming_and_cropping_keep_boxes_on_their_objects(what: Augmentation) -> None:
    shown = 0
    for seed in range(30):
        colours, boxes, labels = augmented([coloured(60, 160, 200)], what, (96, 128), np.random.default_rng(seed))
        for left, top, right, bottom in boxes.round().astype(int).tolist():
            inner = colours[:, top + 2 : bottom - 2, left + 2 : right - 2]  # edges are smoothed
            assert (inner == np.float32(200) / 255).all()
            outside = colours[0].copy()
            outside[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = 0
            assert outside.max() <= 123 / 255 + 1e-6  # black, or the grey around the image
        assert labels.tolist() == [200] * len(boxes)
        shown += len(boxes)
    assert shown > 20


def test_zooming_out_shrinks_and_cropping_enlarges() -> None:
    def areas(what: Augmentation) -> list[float]:
        found = [augmented([coloured(96, 128, 200)], what, (96, 128), np.random.default_rng(s))[1] for s in range(40)]
        return [float((b[:, 2] - b[:, 0]) @ (b[:, 3] - b[:, 1])) / (86 * 24) for b in found]

    out, crop = areas(Augmentation(zoom_out=2.0)), areas(Augmentation(trials=40))
    assert min(out) == pytest.approx(1 / 4, abs=0.1)
    assert max(out) == pytest.approx(1, abs=0.02)
    assert 0.3 < sum(area < 0.99 for area in out) / 40 < 0.7
    assert max(crop) > 2


def test_an_image_is_drawn_where_it_belongs() -> None:
    pixels = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6, 1).repeat(3, 2) * 10
    whole = np.full((4, 6, 3), 7, np.uint8)
    draw(whole, pixels, np.zeros(2), np.ones(2))
    assert (whole == pixels).all()
    shifted = np.full((4, 6, 3), 7, np.uint8)
    draw(shifted, pixels, np.array([-2.0, 1.0]), np.ones(2))
    assert (shifted[1:, :4] == pixels[:3, 2:]).all()
    assert (shifted[0] == 7).all()
    assert (shifted[:, 4:] == 7).all()
    outside = np.full((4, 6, 3), 7, np.uint8)
    draw(outside, pixels, np.array([6.0, 0.0]), np.ones(2))
    assert (outside == 7).all()


def test_a_distortion_is_that_of_torchvisions_steps() -> None:
    image = (
        np.random.default_rng(1).integers(90, 160, (3, 8, 9)).astype(np.float32)
    )  # far from where values are clipped
    done: Counter[str] = Counter()
    for seed in range(100):
        change, rng = distortion(image, np.random.default_rng(seed)), np.random.default_rng(seed)
        bright, contrasted, saturated, turned, swapped, first = rng.random(6) < 0.5
        drawn = rng.random(5)
        factors, order = drawn[:3] * (0.25, 1, 1) + (0.875, 0.5, 0.5), ORDERS[int(6 * drawn[4])]
        steps = [
            ("brightness", bright, lambda x, f=factors[0]: F.adjust_brightness(x, f)),
            ("contrast", contrasted and first, lambda x, f=factors[1]: F.adjust_contrast(x, f)),
            ("saturation", saturated, lambda x, f=factors[2]: F.adjust_saturation(x, f)),
            ("late contrast", contrasted and not first, lambda x, f=factors[1]: F.adjust_contrast(x, f)),
            ("swapping", swapped, lambda x, order=order: x[list(order)]),
        ]
        if turned:  # torchvision turns hues in another space: see the next test
            continue
        expected = torch.from_numpy(image / 255)
        for name, used, step in steps:
            expected = step(expected) if used else expected
            done[name] += used
        found = image / 255 if change is None else recoloured(image, change)
        np.testing.assert_allclose(found, expected.numpy(), atol=2e-4)  # the shares of grey add up to 0.9999
    assert min(done.values()) > 5
    assert len(done) == 5


def test_a_turned_hue_keeps_greys_and_the_size_of_a_colour() -> None:
    image = np.full((3, 2, 2), 100, np.float32)
    angles = []
    for seed in range(300):
        change, used = distortion(image, np.random.default_rng(seed)), np.random.default_rng(seed).random(6) < 0.5
        if not used[3] or used[[0, 1, 2, 4]].any():
            continue
        assert change is not None
        turn = change[:3, :3]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(turn @ np.ones(3), np.ones(3), atol=1e-12)
        angles.append(np.degrees(np.arccos((np.trace(turn) - 1) / 2)))
    assert 9 < max(angles) <= 18
    assert len(angles) > 5


@pytest.mark.parametrize("augment", ["ssd", "mosaic"])
def test_a_sample_depends_on_seed_epoch_and_index_only(data: Dataset, augment: str) -> None:
    samples = TrainingSet(data.train, data.categories, (96, 96), augment, seed=0)
    first = samples[(2, 5)][0]
    torch.rand(7)
    samples[(1, 1)]
    again = TrainingSet(data.train, data.categories, (96, 96), augment, seed=0)[(2, 5)][0]
    assert torch.equal(first, again)
    assert not torch.equal(first, samples[(3, 5)][0])
    assert not torch.equal(first, TrainingSet(data.train, data.categories, (96, 96), augment, seed=1)[(2, 5)][0])


def test_asking_for_a_sample_leaves_the_global_generator_alone(data: Dataset) -> None:
    samples = TrainingSet(data.train, data.categories, (96, 96), "ssd", seed=0)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    samples[(0, 0)]
    assert torch.equal(torch.rand(1), expected)


def test_each_epoch_has_its_own_order() -> None:
    sampler = StepSampler(20, batch_size=5, seed=0)
    orders = []
    for epoch in (1, 2, 1):
        sampler.steps = range(4 * (epoch - 1), 4 * epoch)
        drawn = list(sampler)
        assert {number for number, _ in drawn} == {epoch}
        orders.append([index for _, index in drawn])
    assert sorted(orders[0]) == list(range(20))
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_the_images_of_a_step_depend_on_its_number_only() -> None:
    sampler = StepSampler(23, batch_size=5, seed=0)  # four steps an epoch; three images are left over in each
    sampler.steps = range(12)
    whole = list(sampler)
    assert len(sampler) == len(whole) == 60
    parts = []
    for sampler.steps in (range(3), range(3, 10), range(10, 12)):
        parts += list(sampler)
    assert parts == whole
    assert [epoch for epoch, _ in whole] == [1] * 20 + [2] * 20 + [3] * 20


def test_ignored_objects_are_no_targets(data: Dataset) -> None:
    split = data.train.subset(3)
    split.ground_truth["annotations"] = [
        {**annotation, "iscrowd": 1} for annotation in split.ground_truth["annotations"]
    ]
    samples = TrainingSet(split, data.categories, (96, 96), "none", seed=0)
    assert all(len(samples[(0, index)][1]["boxes"]) == 0 for index in range(3))


def test_an_unknown_category_is_refused(data: Dataset) -> None:
    with pytest.raises(InputError, match="is not one of the detector's classes"):
        TrainingSet(data.train, [Category(99, "bird")], (96, 96), "none", seed=0)


def test_an_unknown_augmentation_is_refused(data: Dataset) -> None:
    with pytest.raises(InputError, match="unknown augmentation 'sdd': use one of ssd"):
        TrainingSet(data.train, data.categories, (96, 96), "sdd", seed=0)


def test_large_images_are_kept_at_twice_the_input(data: Dataset) -> None:
    samples = TrainingSet(data.train, data.categories, (64, 40), "none", seed=0)
    pixels, boxes, _ = samples.item(0)
    assert pixels.shape == (80, 80, 3)  # 160 x 160 before
    expected = data.train.annotations(data.train.image_ids[0]).boxes / 2
    np.testing.assert_allclose(boxes, expected, atol=1e-3)


def test_images_beyond_the_memory_are_decoded_again_with_the_same_samples(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = TrainingSet(data.train, data.categories, (96, 96), "mosaic", seed=0)
    free = SimpleNamespace(available=7 * 160 * 160 * 3)
    monkeypatch.setattr(data_module.psutil, "virtual_memory", lambda: free)
    small = TrainingSet(data.train, data.categories, (96, 96), "mosaic", seed=0)
    assert (len(whole.kept), len(small.kept)) == (10, 3)  # half of the free memory
    for index in range(10):
        assert torch.equal(whole[(1, index)][0], small[(1, index)][0])


@pytest.mark.parametrize(("uses", "kept"), [(2, 0), (2.9, 0), (3, 10)])
def test_images_that_are_used_twice_are_decoded_twice(data: Dataset, uses: float, kept: int) -> None:
    samples = TrainingSet(data.train, data.categories, (96, 96), "flip", seed=0, uses=uses)
    assert len(samples.kept) == kept
    assert torch.equal(
        samples[(1, 3)][0], TrainingSet(data.train, data.categories, (96, 96), "flip", seed=0)[(1, 3)][0]
    )


def test_a_set_smaller_than_a_batch_is_one_batch(data: Dataset) -> None:
    samples = TrainingSet(data.train, data.categories, (96, 96), "none", seed=0)
    loader, _ = training_loader(samples, batch_size=32, seed=0, workers=0)
    assert [len(images) for images, _ in loader] == [10]


def test_each_process_gets_its_part_of_every_batch(data: Dataset) -> None:
    samples = TrainingSet(data.train, data.categories, (96, 96), "flip", seed=0)
    whole, *parts = (
        [images for images, _ in training_loader(samples, 4, 0, 1, share)[0]] for share in ((0, 1), (0, 2), (1, 2))
    )
    for batch, first, second in zip(whole, *parts, strict=True):
        assert (len(batch), len(first), len(second)) == (4, 2, 2)
        assert all(torch.equal(one, other) for one, other in zip(batch, first + second, strict=True))


def test_decoding_for_long_shows_a_bar(
    data: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bar(seconds: float, progress: bool) -> str:
        monkeypatch.setattr(data_module, "QUIET_FOR", seconds)
        TrainingSet(data.train, data.categories, (32, 32), "none", seed=0, progress=progress)
        return capsys.readouterr().err

    assert "decoding" in bar(0.0, True)
    assert bar(60.0, True) == bar(0.0, False) == ""
