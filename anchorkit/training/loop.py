"""The training loop: one function to read from top to bottom.

Hugging Face accelerate runs it on one or many GPUs or machines (``accelerate launch SCRIPT``), in mixed precision, or
on the CPU. A run with a folder writes a checkpoint after each epoch; when it is started again it continues there and
ends with the same weights as if it had never been stopped (on a GPU up to the non-determinism of its kernels).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, broadcast
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from anchorkit.datasets import Dataset, Split
from anchorkit.detectors import Detector, cannot_be_trained
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.files import replacing, write_json
from anchorkit.findings import not_reported
from anchorkit.predictions import collect_predictions
from anchorkit.training.data import TrainingSet, training_loader
from anchorkit.training.recipes import RECIPES, Recipe

CHECKPOINT_FILE, HISTORY_FILE, FACTS_FILE = "checkpoint.pt", "history.csv", "training.json"
TRIAL_IMAGES = 8
Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass(frozen=True)
class History:
    """What happened in a training.

    Attributes:
        rows: one dict an epoch: ``epoch`` (from 1), ``step``, ``loss`` (mean of the epoch), ``lr`` (at its end),
            ``seconds``, ``val_AP`` (0..1; NaN where the epoch was not validated).

    Example:
        >>> from anchorkit.training import History
        >>> row = {"epoch": 1, "step": 8, "loss": 2.5, "lr": 0.001, "seconds": 3.0, "val_AP": 0.25}
        >>> History((row,)).frame
           epoch  step  loss     lr  seconds  val_AP
        0      1     8   2.5  0.001      3.0    0.25
    """

    rows: tuple[dict[str, float], ...]

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame."""
        return pd.DataFrame(list(self.rows), columns=["epoch", "step", "loss", "lr", "seconds", "val_AP"])

    @property
    def seconds(self) -> float:
        """Time spent in all epochs."""
        return sum(row["seconds"] for row in self.rows)


def fit(
    detector: Detector,
    data: Dataset,
    recipe: str | Recipe = "tiny",
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    precision: str = "auto",
    workers: int = 0,
    validate_every: int = 0,
    progress: bool = True,
) -> History:
    """Train a detector in place on `data.train`.

    The weights kept are those of the last epoch (their running mean, where the recipe has one): choosing the best epoch
    would fit the validation set.

    Started by ``accelerate launch`` in several processes, each works on its share of every batch, so that recipe and
    schedule stay what they are; batch norm sees the share alone. All end with the weights of the first.

    Args:
        detector: trained in place; stays on the CPU unless there is a GPU.
        data: `train` is trained on; `val` is looked at only to report.
        recipe: a name of `RECIPES`, or a `Recipe`.
        epochs: instead of the recipe's; the milestones move in proportion.
        batch_size: instead of the recipe's; of all processes together.
        out: folder for checkpoints and the history; None keeps nothing on disk.
        seed: of the order of images and of the augmentation.
        precision: ``"no"``, ``"bf16"``, ``"fp16"``, or ``"auto"``: bf16 where the hardware computes in it, else no.
        workers: processes that load and augment images beside the training; the result does not depend on it.
        validate_every: epochs between validations; 0 validates after the last only.
        progress: show progress bars on standard error.

    Returns:
        The history.

    Raises:
        InputError: the detector is only an ONNX file, a setting is unknown or out of range, images are missing or
            broken (all of them are counted before the first is read), `out` holds another training, the loss is not
            finite.
        KeyboardInterrupt: stopped; with `out`, the same call continues after the last finished epoch.

    Example:
        >>> import anchorkit as ak
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> detector = ak.load_detector("tiny_ssd", categories=data.categories, seed=0)
        >>> history = ak.fit(detector, data, recipe="tiny", epochs=1, batch_size=4, progress=False)
        >>> len(history.rows)
        1
    """
    if reason := cannot_be_trained(detector):
        raise InputError(reason)
    plan = _plan(recipe, epochs, batch_size, len(data.train))
    for split in (data.train, data.val):
        split.check_images()
    AcceleratorState._reset_state()  # it is global, and an earlier training may have had another precision
    accelerator = Accelerator(
        mixed_precision=_precision(precision), dataloader_config=DataLoaderConfiguration(split_batches=True)
    )
    if min(plan.batch_size, len(data.train)) % accelerator.num_processes:
        raise InputError(
            f"a batch of {min(plan.batch_size, len(data.train))} images cannot be shared by "
            f"{accelerator.num_processes} processes: choose a multiple of that as batch_size"
        )
    module = detector.module.to(accelerator.device)
    dataset = TrainingSet(data.train, detector.categories, detector.layout.input_size, plan.augment, seed)
    loader, sampler = training_loader(dataset, plan.batch_size, seed, workers)
    optimizer = _optimizer(module, plan)
    steps = plan.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, plan))
    mean = None
    if plan.ema_decay:
        mean = AveragedModel(module, multi_avg_fn=_running_mean(plan.ema_decay), use_buffers=True)

    facts = training_facts(detector, data, plan, None, seed)
    checkpoint = Checkpoint(out, facts, module=module, mean=mean, optimizer=optimizer, schedule=schedule)
    rows = checkpoint.restore()
    # A mistake in the validation should show in seconds, not after an epoch of training.
    validate(detector, module, data.val.subset(min(TRIAL_IMAGES, len(data.val)), seed))
    model, optimizer, loader = accelerator.prepare(module, optimizer, loader)

    watched = progress and accelerator.is_local_main_process
    bar = tqdm(total=steps, initial=len(rows) * len(loader), disable=not watched, unit="step", desc="training")
    try:
        for epoch in range(len(rows) + 1, plan.epochs + 1):
            started, total = time.perf_counter(), 0.0
            sampler.epoch = epoch
            model.train()
            for images, targets in loader:
                losses = model(images, targets)  # {"classification": (), "bbox_regression": ()}
                loss = torch.stack(list(losses.values())).sum()
                if not torch.isfinite(loss):
                    raise InputError(
                        f"epoch {epoch}: the loss is {loss.item()}; lower the learning rate, check the boxes"
                    )
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                if plan.clip_norm:
                    accelerator.clip_grad_norm_(model.parameters(), plan.clip_norm)
                optimizer.step()
                schedule.step()
                if mean is not None:
                    mean.update_parameters(accelerator.unwrap_model(model))
                total += loss.item()
                bar.update()
            row: dict[str, float] = {
                "epoch": epoch,
                "step": epoch * len(loader),
                "loss": total / len(loader),
                "lr": float(schedule.get_last_lr()[0]),
                "seconds": 0.0,
                "val_AP": math.nan,
            }
            if epoch == plan.epochs or (validate_every and epoch % validate_every == 0):
                row["val_AP"] = validate(detector, mean.module if mean is not None else module, data.val)
                bar.set_postfix(loss=f"{row['loss']:.2f}", val_AP=f"{100 * row['val_AP']:.1f}")
            row["seconds"] = time.perf_counter() - started
            rows.append(row)
            if accelerator.is_main_process:
                checkpoint.save(rows)
    finally:
        bar.close()
        # Mixed precision hangs a wrapper on the module; a stopped training must not leave it there either.
        for name in ("forward", "_original_forward"):
            vars(module).pop(name, None)
    if mean is not None:
        module.load_state_dict(mean.module.state_dict())
    # Statistics of batch norm are each process's own.
    broadcast(module.state_dict(), from_process=0)
    module.eval()
    return History(tuple(rows))


def training_facts(
    detector: Detector, data: Dataset, recipe: str | Recipe, epochs: int | None, seed: int
) -> dict[str, Any]:
    """What distinguishes one training from another, as `fit` writes it beside its checkpoints (not the first weights).

    Raises:
        InputError: as `fit`, of the recipe and the epochs.
    """
    plan = _plan(recipe, epochs, None, len(data.train))
    return {
        "recipe": {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(plan).items()},
        "seed": seed,
        "layout": detector.layout.to_dict(),
        "data": data.fingerprint(),
    }


def validate(detector: Detector, module: nn.Module, split: Split) -> float:
    """AP 0.50:0.95 (0..1) of a detector with `module` in the place of its own, on a split."""
    measured = copy.copy(detector)
    measured.module = module
    with not_reported():
        predictions = collect_predictions(measured, split, progress=False)
        return Evaluator(predictions, split.ground_truth).accuracy(detector.layout.full)


class Checkpoint:
    """The state of a training after its last finished epoch, in a folder or nowhere.

    Tensors and plain numbers only: it is read with ``weights_only=True``, which runs no pickle.

    Args:
        folder: where it is kept; None for nowhere.
        facts: what must be the same for a training to be continued.
        parts: what has a state, by name; None has none.
    """

    def __init__(self, folder: str | Path | None, facts: dict[str, Any], **parts: Any) -> None:
        self.folder = None if folder is None else Path(folder)
        self.facts = facts
        self.parts = parts

    def restore(self) -> list[dict[str, float]]:
        """Load the last state, if there is one, and give the history so far."""
        if self.folder is None or not (self.folder / CHECKPOINT_FILE).exists():
            return []
        path = self.folder / CHECKPOINT_FILE
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            facts, rows = state["facts"], state["rows"]
        except Exception as error:  # torch raises many kinds for a broken file
            kind = type(error).__name__
            raise InputError(f"{path}: not a whole checkpoint ({kind}); delete it to start again") from None
        different = [name for name in self.facts if facts.get(name) != self.facts[name]]
        if different:
            raise InputError(
                f"{path}: a training with another {' and '.join(different)}; "
                "use another folder, or delete it to start again"
            )
        for name, part in self.parts.items():
            if part is not None:
                part.load_state_dict(state[name])
        return list(rows)

    def save(self, rows: Sequence[dict[str, float]]) -> None:
        """Write the state and the history, each whole or not at all."""
        if self.folder is None:
            return
        state: dict[str, Any] = {"facts": self.facts, "rows": list(rows)}
        state |= {name: None if part is None else part.state_dict() for name, part in self.parts.items()}
        with replacing(self.folder / CHECKPOINT_FILE) as temporary:
            torch.save(state, temporary)
        with replacing(self.folder / HISTORY_FILE) as temporary:
            History(tuple(rows)).frame.to_csv(temporary, index=False)
        write_json(self.folder / FACTS_FILE, self.facts)


def _plan(recipe: str | Recipe, epochs: int | None, batch_size: int | None, images: int) -> Recipe:
    """The recipe with the changes asked for."""
    if not isinstance(recipe, Recipe) and recipe not in RECIPES:
        raise InputError(f"unknown recipe {recipe!r}: use one of {', '.join(RECIPES)}")
    plan = recipe if isinstance(recipe, Recipe) else RECIPES[recipe]
    if images == 0:
        raise InputError("there are no training images")
    if epochs is not None:
        if epochs < 1:
            raise InputError(f"epochs is {epochs}; 1 or more are needed")
        milestones = tuple(round(m * epochs / plan.epochs) for m in plan.milestones)
        plan = replace(plan, epochs=epochs, milestones=milestones)
    if batch_size is not None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; 1 or more is needed")
        plan = replace(plan, batch_size=batch_size)
    return plan


def _precision(name: str) -> str:
    if name == "auto":
        if torch.cuda.is_available():
            return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        # On a CPU without bf16 instructions bf16 is emulated, and slower than float32.
        supported = torch.cpu.get_capabilities()
        return "bf16" if supported.get("avx512_bf16") or supported.get("amx_bf16") else "no"
    if name not in ("no", "bf16", "fp16"):
        raise InputError(f"unknown precision {name!r}: use auto, no, bf16 or fp16")
    return name


def _optimizer(module: nn.Module, plan: Recipe) -> torch.optim.Optimizer:
    """Weight decay for the weights of convolutions only; biases and norms go without."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if plan.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=plan.lr, momentum=plan.momentum)
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=plan.lr)
    raise InputError(f"unknown optimizer {plan.optimizer!r}: use sgd or adamw")


def _running_mean(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """The mean's update: exponential with `decay`, faster at first, so that the fresh weights are soon forgotten.

    The statistics of batch norm are averaged with the weights: those of the newest weights would not fit the mean's.
    """

    def update(means: Tensors, news: Tensors, count: Tensor | int) -> None:
        # torch hands over one type at a time; the integers are counters, such as batch norm's of its batches.
        if not means[0].is_floating_point():
            torch._foreach_copy_(means, news)
        else:
            torch._foreach_lerp_(means, news, max(1 - decay, 9 / (10 + int(count))))

    return update


def _rate(step: int, steps: int, plan: Recipe) -> float:
    """The learning rate at a step as a share of the recipe's."""
    warm = min(1.0, (step + 1) / plan.warmup_steps) if plan.warmup_steps else 1.0
    if plan.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * min(step, steps) / max(1, steps)))
    if plan.schedule == "step":
        epoch = step * plan.epochs / max(1, steps)
        return warm * 0.1 ** sum(epoch >= milestone for milestone in plan.milestones)
    raise InputError(f"unknown schedule {plan.schedule!r}: use step or cosine")
