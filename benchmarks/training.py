"""What a training and `collect_predictions` take beside the network.

    python benchmarks/training.py                           the built-in shapes
    python benchmarks/training.py shapes DATA/bccd DATA/neu_det
    python benchmarks/training.py --only collecting DATA/coco_subset --detector ssdlite320_mobilenet_v3_large
    python benchmarks/training.py --only compiling          what torch.compile costs and gains

Each is measured in this process and by turns, so that ratios hold on a busy machine too. Training is that of `tiny_ssd`
at 160 pixels (or `--detector`) with the recipe `tiny`:

- *ready*: forward, backward and optimizer step, on batches that lie in memory, as torch lays them out by default;
- *fit*: an epoch of `anchorkit.fit`, after the decoding and without validation;
- *reference*: torchvision's reference loop for detection with its `ssd` preset (transforms v2), a data loader with its
  collate function, and the same network, optimizer, batch size and images. It decodes each image in each epoch.

Times are per image. Processor time counts all threads, but not the processes of a loader (`--loaders`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from measuring import cores, grid
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

import anchorkit as ak
from anchorkit.training import loop
from anchorkit.training.data import TrainingSet, training_loader

RECIPE = ak.training.RECIPES["tiny"]
Times = tuple[float, float]


class ReferenceSet(Dataset[Any]):
    """A split as torchvision's reference reads it: decoded each time, then its transforms."""

    def __init__(self, split: ak.datasets.Split) -> None:
        self.split = split
        label_of = {category.id: label for label, category in enumerate(split.categories, start=1)}
        self.labels = [
            torch.tensor([label_of[int(c)] for c in split.annotations(image_id).category_ids], dtype=torch.int64)
            for image_id in split.image_ids
        ]
        self.transform = v2.Compose(  # references/detection/presets.py, "ssd"
            [
                v2.ToImage(),
                v2.RandomPhotometricDistort(),
                v2.RandomZoomOut(fill=[123.0, 117.0, 104.0]),
                v2.RandomIoUCrop(),
                v2.RandomHorizontalFlip(p=0.5),
                v2.ToDtype(torch.float, scale=True),
                v2.ConvertBoundingBoxFormat(tv_tensors.BoundingBoxFormat.XYXY),
                v2.SanitizeBoundingBoxes(),
                v2.ToPureTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Any:
        image_id = self.split.image_ids[index]
        pixels = self.split.image(image_id)
        boxes = torch.from_numpy(self.split.annotations(image_id).boxes)
        target = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=pixels.shape[:2]),
            "labels": self.labels[index],
        }
        return self.transform(Image.fromarray(pixels), target)


class Training:
    """A detector with its optimizer."""

    def __init__(self, data: ak.datasets.Dataset, detector: str) -> None:
        self.detector = ak.load_detector(detector, categories=data.categories, seed=0)
        self.module: Any = self.detector.module.train()
        self.optimizer = loop._optimizer(self.module, RECIPE)

    def step(self, images: Any, targets: Any) -> None:
        """Forward, backward, optimizer step."""
        loss = torch.stack(list(self.module(images, targets).values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def steps(self, batches: Iterable[Any]) -> None:
        """An epoch on ready batches."""
        for images, targets in batches:
            self.step(images, targets)

    def reference(self, loader: Iterable[Any]) -> None:
        """An epoch of references/detection/engine.py."""
        for images, targets in loader:
            losses = self.module(list(images), [dict(target) for target in targets])
            loss = sum(losses.values())
            if not torch.isfinite(loss).item():
                raise SystemExit(f"the loss is {loss.item()}")
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def timed(work: Callable[[], Any], images: int) -> Times:
    """Wall and processor time of a call, per image in milliseconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) / images * 1000, (time.process_time() - processor) / images * 1000


def epoch_of_fit(detector: Any, data: ak.datasets.Dataset, recipe: ak.training.Recipe, images: int) -> Times:
    """The third epoch of a training: from when the loader is asked for the first batch to the last step."""
    marks: list[tuple[float, float]] = []

    def made(*arguments: Any) -> Any:
        loader, sampler = training_loader(*arguments)
        batches = loader.__iter__

        class Marking:
            def __iter__(self) -> Any:
                marks.append((time.perf_counter(), time.process_time()))
                yield from batches()
                marks.append((time.perf_counter(), time.process_time()))

        return Marking(), sampler

    loop.training_loader, plain = made, loop.training_loader
    try:
        ak.fit(detector, data, recipe, epochs=3, progress=False, precision="no")
    finally:
        loop.training_loader = plain
    *_, (wall, processor), (end, spent) = marks
    return (end - wall) / images * 1000, (spent - processor) / images * 1000


def training(place: str, options: argparse.Namespace) -> dict[str, list[Times]]:
    """The times of one data set's turns."""
    data = ak.load_dataset(place).limited(options.images, 8)
    alone, other = Training(data, options.detector), Training(data, options.detector)
    samples = TrainingSet(data.train, data.categories, alone.detector.layout.input_size, RECIPE.augment, seed=0)
    loader, sampler = training_loader(samples, options.batch, seed=0, workers=0)
    ready, images = list(loader), len(sampler)
    theirs = DataLoader(
        ReferenceSet(data.train),
        batch_size=sampler.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=options.loaders,
        collate_fn=lambda batch: tuple(zip(*batch, strict=True)),
    )
    trained = ak.load_detector(options.detector, categories=data.categories, seed=0)
    recipe = replace(RECIPE, batch_size=options.batch)
    found: dict[str, list[Times]] = {"ready": [], "fit": [], "reference": []}
    for _ in range(options.turns):
        found["ready"].append(timed(lambda: alone.steps(ready), images))
        found["fit"].append(epoch_of_fit(trained, data, recipe, images))
        found["reference"].append(timed(lambda: other.reference(theirs), images))
    return found


def collecting(place: str, options: argparse.Namespace) -> dict[str, list[Times]]:
    """`collect_predictions` beside the detector on decoded images."""
    split = ak.load_dataset(place).train.subset(options.images)
    detector = ak.load_detector(options.detector, categories=split.categories, seed=0)
    detector.postprocess = replace(detector.postprocess, score_threshold=0.05)
    decoded = [split.image(image_id) for image_id in split.image_ids]
    batches = [decoded[start : start + 16] for start in range(0, len(decoded), 16)]  # as collect_predictions
    found: dict[str, list[Times]] = {"ready": [], "collect_predictions": []}
    for _ in range(options.turns):
        found["ready"].append(timed(lambda: [detector.raw_predictions(batch) for batch in batches], len(split)))
        work = lambda: ak.collect_predictions(detector, split, progress=False)  # noqa: E731
        found["collect_predictions"].append(timed(work, len(split)))
    return found


def compiling(place: str, options: argparse.Namespace) -> dict[str, list[Times]]:
    """Steps of a compiled network; the first turn compiles."""
    data = ak.load_dataset(place).limited(options.images, 8)
    samples = TrainingSet(data.train, data.categories, (160, 160), RECIPE.augment, seed=0)
    ready = list(training_loader(samples, options.batch, seed=0, workers=0)[0])
    plain, compiled = Training(data, "tiny_ssd"), Training(data, "tiny_ssd")
    compiled.module.backbone = torch.compile(compiled.module.backbone)
    found: dict[str, list[Times]] = {"ready": [], "compiled": []}
    for _ in range(options.turns):
        found["ready"].append(timed(lambda: plain.steps(ready), len(ready) * options.batch))
        found["compiled"].append(timed(lambda: compiled.steps(ready), len(ready) * options.batch))
    print(
        "first turn:",
        *(f"{name} {turns[0][0] * len(ready) * options.batch / 1000:.1f} s" for name, turns in found.items()),
    )
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["shapes"], help="shapes, or folders")
    parser.add_argument("--only", choices=("training", "collecting", "compiling"), default="training")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--loaders", type=int, default=0, help="processes of the reference's data loader")
    parser.add_argument("--detector", default="tiny_ssd", help="for training and collecting")
    options = parser.parse_args()
    work = {"training": training, "collecting": collecting, "compiling": compiling}[options.only]
    rows = [("data", "what", "ms/image", "x ready", "processor ms", "x ready", "images/s")]
    for place in options.data:
        found = work(place, options)
        for name, turns in found.items():
            values = []
            for kind in (0, 1):
                # Ratios of what ran one after the other, the first turn left out: it loads and compiles.
                pairs = list(zip(turns, found["ready"], strict=True))[1:]
                values += [
                    f"{statistics.median(one[kind] for one, _ in pairs):.2f}",
                    f"{statistics.median(one[kind] / other[kind] for one, other in pairs):.2f}",
                ]
            speed = 1000 / statistics.median(one[0] for one in turns[1:])
            rows.append((os.path.basename(place.rstrip("/")), name, *values, f"{speed:.0f}"))
    print(f"{cores()} cores, {torch.get_num_threads()} threads of torch, load {os.getloadavg()[0]:.1f}")
    print(grid(rows))


if __name__ == "__main__":
    main()
