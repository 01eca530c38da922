"""Training samples: what they hold, and that they can be repeated."""

import numpy as np
import pytest
import torch

from anchorkit.datasets import Category, Dataset, load_dataset
from anchorkit.errors import InputError
from anchorkit.training.data import Item, StepSampler, TrainingSet, mosaic, training_loader


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
    pixels = torch.zeros(3, height, width, dtype=torch.uint8)
    pixels[:, height // 4 : height // 2, width // 3 : width] = value
    box = torch.tensor([[width // 3, height // 4, width, height // 2]], dtype=torch.float32)
    return pixels, box, torch.tensor([value])


@pytest.mark.parametrize("seed", range(20))
def test_a_mosaic_keeps_boxes_on_their_objects(seed: int) -> None:
    torch.manual_seed(seed)
    items = [coloured(120, 90, 50), coloured(60, 160, 100), coloured(96, 128, 150), coloured(150, 150, 200)]
    pixels, boxes, labels = mosaic(items, (96, 128))
    assert pixels.shape == (3, 96, 128)
    seen = set(labels.tolist())
    for (left, top, right, bottom), label in zip(boxes.round().int().tolist(), labels.tolist(), strict=True):
        inner = pixels[0, top + 2 : bottom - 2, left + 2 : right - 2]  # edges are smoothed
        assert (inner == label).all()
    for value in {50, 100, 150, 200} - seen:  # at most a strip of what is left out can be seen
        assert (pixels[0] == value).sum() < 0.15 * 1.5**2 * 96 * 128 / 6


def test_a_mosaic_has_objects_of_four_images_at_half_to_one_and_a_half_times_their_size() -> None:
    torch.manual_seed(0)
    items = [coloured(96, 128, value) for value in (50, 100, 150, 200)]
    samples = [mosaic(items, (96, 128)) for _ in range(50)]
    assert {len(labels) for _, _, labels in samples} >= {2, 3, 4}
    whole = [box for _, boxes, _ in samples for box in boxes if box[0] > 0 and box[2] < 128]
    widths = [float(box[2] - box[0]) / 86 for box in whole]  # an object is 86 pixels wide
    assert min(widths) < 0.7
    assert max(widths) <= 1.51


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
    pixels, boxes, _ = samples.items[0]
    assert pixels.shape == (3, 80, 80)  # 160 x 160 before
    expected = data.train.annotations(data.train.image_ids[0]).boxes / 2
    np.testing.assert_allclose(boxes.numpy(), expected, atol=1e-3)


def test_a_set_smaller_than_a_batch_is_one_batch(data: Dataset) -> None:
    samples = TrainingSet(data.train, data.categories, (96, 96), "none", seed=0)
    loader, _ = training_loader(samples, batch_size=32, seed=0, workers=0)
    assert [len(images) for images, _ in loader] == [10]
