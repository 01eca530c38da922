"""Images and boxes as the training loop wants them: augmented, in batches, repeatable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import tv_tensors
from torchvision.ops import box_area, clip_boxes_to_image
from torchvision.transforms import v2

from anchorkit.datasets import Category, Split
from anchorkit.errors import InputError

MOSAIC = "mosaic"
LEAST_VISIBLE = 0.1  # the share of a box that must be in a mosaic, or it is no target
SMALLEST_SIDE = 1.0  # pixels of the input; thinner boxes teach nothing and break the box coder
Sample = tuple[Tensor, dict[str, Tensor]]
Item = tuple[Tensor, Tensor, Tensor]
"""An image uint8 (3, H, W), its boxes float32 (N, 4) in pixels, and their labels int64 (N,)."""


def augmentation(name: str, size: tuple[int, int]) -> v2.Compose:
    """The transform of one training sample, ending in a float image of (height, width) `size`.

    Geometry comes first, so that the photometric distortion works on the input's few pixels only.

    Args:
        name: ``"ssd"``: zoom out, IoU crop, flip, photometric distortion as in Liu et al. 2016, section 2.2 and 3.6;
            ``"ssd-small"``: the same for small inputs, where zooming out four times would leave specks: at most twice,
            and fewer trials of a crop, which keeps a CPU's time for the network; ``"mosaic"``: flip and photometric
            distortion, after `TrainingSet` put four images together; ``"flip"``; or ``"none"``.
        size: (height, width) of the network's input.

    Raises:
        InputError: the name is unknown.
    """
    grey = [123, 117, 104]  # what zooming out fills with: the mean colour of ImageNet, as in Liu et al. 2016
    geometry: dict[str, list[Any]] = {
        "ssd": [v2.RandomZoomOut(fill=grey), v2.RandomIoUCrop(), v2.RandomHorizontalFlip()],
        "ssd-small": [
            v2.RandomZoomOut(fill=grey, side_range=(1.0, 2.0)),
            v2.RandomIoUCrop(trials=10),
            v2.RandomHorizontalFlip(),
        ],
        MOSAIC: [v2.RandomHorizontalFlip()],
        "flip": [v2.RandomHorizontalFlip()],
        "none": [],
    }
    if name not in geometry:
        raise InputError(f"unknown augmentation {name!r}: use one of {', '.join(geometry)}")
    return v2.Compose(
        [
            *geometry[name],
            v2.Resize(size, antialias=True),
            v2.ClampBoundingBoxes(),
            v2.SanitizeBoundingBoxes(min_size=SMALLEST_SIDE),
            v2.ToDtype(torch.float32, scale=True),
            *([v2.RandomPhotometricDistort()] if name.startswith(("ssd", MOSAIC)) else []),
            v2.ToPureTensor(),
        ]
    )


def mosaic(items: Sequence[Item], size: tuple[int, int]) -> Item:
    """Four images around a point, a window of which is the sample (Bochkovskiy et al. 2020, section 3.3).

    Each image is as large as fits the input, times a factor of 0.5 to 1.5 that all share. The rest is grey.

    Args:
        items: four; the first lies upper left of the point, the others upper right, lower left and lower right.
        size: (height, width) of the sample.

    Returns:
        The sample. Boxes of which less than a tenth is in it are left out.
    """
    zoom, *place = torch.rand(3).tolist()
    zoom += 0.5
    # The point, in the middle half of what four inputs would cover at this zoom, seen from a window in its centre.
    point = [round(side * (0.5 + (share - 0.5) * zoom)) for side, share in zip(size, place, strict=True)]
    canvas = torch.full((3, *size), 114, dtype=torch.uint8)
    parts = []
    for number, (pixels, boxes, labels) in enumerate(items):
        scale = zoom * min(side / theirs for side, theirs in zip(size, pixels.shape[1:], strict=True))
        sides = [max(1, round(scale * side)) for side in pixels.shape[1:]]
        before = (sides[0] if number < 2 else 0, sides[1] if number % 2 == 0 else 0)
        top, left = (at - side for at, side in zip(point, before, strict=True))
        rows, from_rows = _overlap(top, sides[0], size[0])
        columns, from_columns = _overlap(left, sides[1], size[1])
        image = v2.functional.resize(pixels, sides, antialias=True)
        canvas[:, rows, columns] = image[:, from_rows, from_columns]
        factor = boxes.new_tensor([sides[1] / pixels.shape[2], sides[0] / pixels.shape[1]] * 2)
        whole = boxes * factor + boxes.new_tensor([left, top] * 2)
        cut = clip_boxes_to_image(whole, size)
        kept = box_area(cut) > LEAST_VISIBLE * box_area(whole)
        parts.append((cut[kept], labels[kept]))
    return canvas, torch.cat([boxes for boxes, _ in parts]), torch.cat([labels for _, labels in parts])


def _overlap(start: int, length: int, end: int) -> tuple[slice, slice]:
    """Where something of a length that begins at `start` lies within 0 to `end`, and which part of it that is."""
    first, last = max(0, start), max(0, start, min(start + length, end))
    return slice(first, last), slice(first - start, last - start)


class TrainingSet(Dataset[Sample]):
    """The training images of a split, decoded once, augmented again each epoch.

    An item is asked for by ``(epoch, index)`` and depends on nothing else but the seed: not on the order of asking,
    the number of workers, or what was killed in between.

    Images larger than twice the input are kept at twice the input. Crowd regions and difficult objects are no targets.

    Args:
        split: images and annotations.
        categories: object classes in the order of the detector's scores.
        size: (height, width) of the network's input.
        augment: see `augmentation`.
        seed: makes the augmentation repeatable.
    """

    def __init__(
        self, split: Split, categories: Sequence[Category], size: tuple[int, int], augment: str, seed: int
    ) -> None:
        self.transform = augmentation(augment, size)
        self.mosaic_of = size if augment == MOSAIC else None
        self.seed = seed
        label_of = {category.id: label for label, category in enumerate(categories, start=1)}
        self.items: list[Item] = []
        for image_id in split.image_ids:
            found = split.annotations(image_id)
            unknown = set(found.category_ids.tolist()) - set(label_of)
            if unknown:
                raise InputError(f"image {image_id}: category {min(unknown)} is not one of the detector's classes")
            image, scale = _limited(split.image(image_id), (2 * size[0], 2 * size[1]))
            kept = ~found.ignore
            boxes = torch.from_numpy(found.boxes[kept] * np.tile(scale, 2)).float().reshape(-1, 4)
            labels = torch.tensor([label_of[int(c)] for c in found.category_ids[kept]], dtype=torch.int64)
            self.items.append((torch.from_numpy(image).permute(2, 0, 1), boxes, labels))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: without a GPU in use that also keeps a traceback for CUDA, a hundred times as dear.
            torch.default_generator.manual_seed(_mix(self.seed, epoch, index))
            item = self.items[index]
            if self.mosaic_of is not None:
                others = torch.randint(len(self.items), (3,)).tolist()
                item = mosaic([item, *(self.items[other] for other in others)], self.mosaic_of)
            pixels, boxes, labels = item
            height, width = pixels.shape[-2:]
            target = {
                "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),
                "labels": labels,
            }
            image, target = self.transform(tv_tensors.Image(pixels), target)
        return image, target


class StepSampler(Sampler[tuple[int, int]]):
    """The images of some steps, each with the number of its epoch (from 1); `steps` is set before each pass.

    An epoch is all images in a random order. The rest that fills no batch waits for another epoch's order: a batch of
    one image has no variance for batch norm. Which images a step gets depends on its number and the seed only.

    Args:
        length: number of images.
        batch_size: images per step; a data set smaller than that is one batch.
        seed: of the orders.

    Attributes:
        steps: the numbers of the steps, counted from 0 over the whole training.
        per_epoch: steps of an epoch.
    """

    def __init__(self, length: int, batch_size: int, seed: int) -> None:
        self.length = length
        self.batch_size = min(batch_size, length)
        self.seed = seed
        self.per_epoch = length // self.batch_size
        self.steps = range(self.per_epoch)

    def __len__(self) -> int:
        return len(self.steps) * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, order = 0, []
        for step in self.steps:
            if step // self.per_epoch + 1 != epoch:
                epoch = step // self.per_epoch + 1
                generator = torch.Generator().manual_seed(_mix(self.seed, epoch, self.length))
                order = torch.randperm(self.length, generator=generator).tolist()
            first = step % self.per_epoch * self.batch_size
            for index in order[first : first + self.batch_size]:
                yield epoch, index


def training_loader(
    dataset: TrainingSet, batch_size: int, seed: int, workers: int
) -> tuple[DataLoader[Sample], StepSampler]:
    """A loader of (images, targets) lists, and the sampler whose steps must be set."""
    sampler = StepSampler(len(dataset), batch_size, seed)
    loader: DataLoader[Sample] = DataLoader(
        dataset,
        batch_size=sampler.batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=False,
    )
    return loader, sampler


def collate(samples: list[Sample]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Samples as a list of images and a list of targets, as torchvision's detectors take them."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


def _limited(image: np.ndarray, most: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The image, no larger than (height, width) `most`, and the (x, y) factor it was scaled by."""
    height, width = image.shape[:2]
    factor = min(1.0, most[0] / height, most[1] / width)
    if factor == 1.0:
        return image.copy(), np.ones(2, np.float32)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smaller = np.array(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    return smaller, np.array([size[0] / width, size[1] / height], np.float32)


def _mix(*parts: int) -> int:
    """One seed out of several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
