"""Images and boxes as the training loop wants them: augmented, in batches, repeatable."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from anchorkit.datasets import Category, Split
from anchorkit.datasets.ahead import ahead
from anchorkit.datasets.images import ImageArray
from anchorkit.errors import InputError
from anchorkit.training.augmentation import Array, Item, augmentation, augmented

SAMPLES_VERSION = 2
"""Increase it whenever a seed gives other samples: a training goes on with samples like those that it began with."""

KEPT_SHARE = 0.5
"""Share of the free memory that decoded images may take."""

KEPT_FROM = 3
"""Uses of an image from which on it is kept decoded; to decode it again once costs less than the memory."""

QUIET_FOR = 2.0
"""Seconds that decoding may take before a progress bar appears."""

CPU = torch.device("cpu")
Sample = tuple[Tensor, dict[str, Tensor]]
Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


class TrainingSet:
    """The training images of a split, augmented again each epoch.

    A sample is asked for by ``(epoch, index)`` and depends on nothing else but the seed: not on the order of asking,
    the number of threads, or what was killed in between.

    Images that are used three times or more are decoded once and kept, as many as half of the free memory holds; the
    others are decoded each time.
    Images larger than twice the input are made twice as large as the input. Crowd regions and difficult objects are no
    targets.

    Args:
        split: images and annotations.
        categories: object classes in the order of the detector's scores.
        size: (height, width) of the network's input.
        augment: a name of `anchorkit.training.augmentation.AUGMENTATIONS`.
        seed: makes the augmentation repeatable.
        processes: how many share this machine's memory.
        progress: show a progress bar on standard error where decoding takes longer than a moment.
        uses: how often each image will be used.

    Raises:
        InputError: the augmentation is unknown, or an object has a category that is not one of the detector's classes.
    """

    def __init__(
        self,
        split: Split,
        categories: Sequence[Category],
        size: tuple[int, int],
        augment: str,
        seed: int,
        processes: int = 1,
        progress: bool = False,
        uses: float = math.inf,
    ) -> None:
        self.augmentation = augmentation(augment)
        self.split, self.size, self.seed = split, size, seed
        label_of = {category.id: label for label, category in enumerate(categories, start=1)}
        self.targets: list[tuple[Array, Array]] = []
        """Of each image its boxes float32 (N, 4), in its own pixels, and their labels int64 (N,)."""
        for image_id in split.image_ids:
            found = split.annotations(image_id)
            unknown = set(found.category_ids.tolist()) - set(label_of)
            if unknown:
                raise InputError(f"image {image_id}: category {min(unknown)} is not one of the detector's classes")
            kept = ~found.ignore
            labels = np.array([label_of[int(c)] for c in found.category_ids[kept]], np.int64)
            self.targets.append((found.boxes[kept].reshape(-1, 4), labels))
        self.kept: list[ImageArray] = []
        if uses >= KEPT_FROM:
            self._keep(KEPT_SHARE * psutil.virtual_memory().available / processes, progress)

    def _keep(self, room: float, progress: bool) -> None:
        """Decode images as long as there is room for them, in bytes."""
        decoded = ahead(self._decoded, range(len(self)), os.cpu_count() or 1)
        bar = tqdm(total=len(self), desc="decoding", unit="image", delay=QUIET_FOR, disable=not progress, leave=False)
        with bar:
            for pixels in decoded:
                room -= pixels.nbytes
                if room < 0:
                    break
                self.kept.append(pixels)
                bar.update()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        others = rng.integers(len(self), size=3).tolist() if self.augmentation.mosaic else []
        items = [self.item(number) for number in (index, *others)]
        colours, boxes, labels = augmented(items, self.augmentation, self.size, rng)
        return torch.from_numpy(colours), {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)}

    def item(self, index: int) -> Item:
        """An image as it is before augmentation."""
        pixels = self.kept[index] if index < len(self.kept) else self._decoded(index)
        boxes, labels = self.targets[index]
        height, width = self.split.image_size(self.split.image_ids[index])
        scale = np.array([pixels.shape[1] / width, pixels.shape[0] / height] * 2, np.float32)
        return Item(pixels, boxes * scale, labels)

    def _decoded(self, index: int) -> ImageArray:
        """An image, no larger than twice the input."""
        image = self.split.image(self.split.image_ids[index])
        height, width = image.shape[:2]
        factor = min(1.0, 2 * self.size[0] / height, 2 * self.size[1] / width)
        if factor == 1.0:
            return image
        smaller = (max(1, round(width * factor)), max(1, round(height * factor)))
        return np.asarray(Image.fromarray(image).resize(smaller, Image.Resampling.BOX))


class StepSampler:
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


class Loader:
    """The batches of a sampler's steps; threads prepare the next ones while one is used.

    Args:
        dataset: makes the samples.
        sampler: says which; its steps are set before each pass.
        threads: how many prepare batches; 0 prepares each when it is asked for. The batches do not depend on it.
        share: this process's number and how many there are; each gets an equal part of every batch.
        device: where the batches go.
    """

    def __init__(
        self, dataset: TrainingSet, sampler: StepSampler, threads: int, share: tuple[int, int], device: torch.device
    ) -> None:
        self.dataset, self.sampler, self.threads, self.device = dataset, sampler, threads, device
        part = sampler.batch_size // share[1]
        self.part = slice(part * share[0], part * (share[0] + 1))

    def __iter__(self) -> Iterator[Batch]:
        keys = iter(self.sampler)
        batches = iter(lambda: list(islice(keys, self.sampler.batch_size))[self.part], [])
        return ahead(self.batch, batches, self.threads)

    def batch(self, keys: Sequence[tuple[int, int]]) -> Batch:
        """Samples as a list of images and a list of targets, as torchvision's detectors take them."""
        samples = [self.dataset[key] for key in keys]
        images, targets = [image for image, _ in samples], [target for _, target in samples]
        if self.device.type == "cpu":
            return images, targets
        to = partial(Tensor.to, device=self.device, non_blocking=True)
        whole = torch.stack(images)  # one copy instead of one per image
        whole = to(whole.pin_memory() if self.device.type == "cuda" else whole)
        return list(whole.unbind()), [{name: to(value) for name, value in target.items()} for target in targets]


def training_loader(
    dataset: TrainingSet,
    batch_size: int,
    seed: int,
    workers: int,
    share: tuple[int, int] = (0, 1),
    device: torch.device = CPU,
) -> tuple[Loader, StepSampler]:
    """A loader of (images, targets) lists, and the sampler whose steps must be set."""
    sampler = StepSampler(len(dataset), batch_size, seed)
    return Loader(dataset, sampler, workers, share, device), sampler


def _mix(*parts: int) -> int:
    """One seed out of several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
