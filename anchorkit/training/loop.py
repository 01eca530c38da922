"""The training loop: one function to read from top to bottom.

Hugging Face accelerate runs it on one or many GPUs or machines (``accelerate launch SCRIPT``), in mixed precision, or
on the CPU. A run with a folder writes a checkpoint after each lap, which is an epoch or, where steps are counted, a
twelfth of them (`pace.py` plans the laps). When it is started again it continues there and ends with the same weights
as if it had never been stopped (on a GPU up to the non-determinism of its kernels).
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from anchorkit.datasets import Dataset, Split
from anchorkit.detectors import Detector, cannot_be_trained
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.findings import unchecked
from anchorkit.lighter import give_memory_back
from anchorkit.predictions import collect_predictions
from anchorkit.training.data import SAMPLES_VERSION, TrainingSet, training_loader
from anchorkit.training.distilling import Distilling, weights_digest
from anchorkit.training.pace import Pace, check_length, planned_steps, said_after, say, write_plan
from anchorkit.training.recipes import Recipe, planned
from anchorkit.training.sparsity import Sparsity
from anchorkit.training.state import Addition, Checkpoint, History

TRIAL_IMAGES = 8
Tensors = tuple[Tensor, ...] | list[Tensor]


def fit(
    detector: Detector,
    data: Dataset,
    recipe: str | Recipe = "tiny",
    *,
    teacher: Detector | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    precision: str = "auto",
    workers: int = -1,
    validate_every: int | None = 0,
    progress: bool | Literal["lines"] = True,
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
        teacher: a detector to learn from, such as the one before its channels were pruned: beside its task `detector`
            learns to look where the teacher looks (spatial attention distilling). It has the same classes and input
            and all of the detector's levels; it may have more anchors, levels and channels. None for no teacher.
        epochs: instead of the recipe's; the milestones move in proportion.
        steps: instead of epochs: so many steps, however many or few the images are.
        minutes: instead of epochs: as many steps as the machine does in about so long. The first steps are timed, and
            taken back; `out` keeps the number (``plan.json``), and `steps` with that number gives the same weights.
        batch_size: instead of the recipe's; of all processes together.
        out: folder for checkpoints and the history; None keeps nothing on disk.
        seed: of the order of images and of the augmentation.
        precision: ``"no"``, ``"bf16"``, ``"fp16"``, or ``"auto"``: bf16 where the hardware computes in it, else no.
        workers: threads that load and augment images beside the training; the result does not depend on it. 0: none,
            so that each batch waits for its images. -1: none where the network keeps all cores busy, one where it
            leaves some free, and for a GPU as many as the machine has cores, up to 8.
        validate_every: laps between validations (a lap is an epoch, or a twelfth of the steps); 0 validates after the
            last only, None about ten times if that takes little of the time.
        progress: show a progress bar on standard error; ``"lines"`` prints a line per validation on standard
            output instead.

    Returns:
        The history.

    Raises:
        InputError: the detector is only an ONNX file, a setting is unknown or out of range, images are missing or
            broken (all of them are counted before the first is read), `out` holds another training, the loss is not
            finite, the teacher does not fit, a recipe with sparsity finds no norm to train.
        KeyboardInterrupt: stopped; with `out`, the same call continues after the last finished lap.

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
    check_length(epochs, steps, minutes)
    plan = planned(recipe, len(data.train), epochs, batch_size)
    additions: list[Addition] = [Sparsity(detector, plan)] if plan.sparsity else []
    if teacher is not None:
        additions.append(Distilling(detector, teacher, plan.distilling))
    for split in (data.train, data.val):
        split.check_images()
    AcceleratorState._reset_state()  # it is global, and an earlier training may have had another precision
    accelerator = Accelerator(mixed_precision=_precision(precision))
    if min(plan.batch_size, len(data.train)) % accelerator.num_processes:
        raise InputError(
            f"a batch of {min(plan.batch_size, len(data.train))} images cannot be shared by "
            f"{accelerator.num_processes} processes: choose a multiple of that as batch_size"
        )
    module = detector.module.to(accelerator.device)
    size, share = detector.layout.input_size, (accelerator.process_index, accelerator.num_processes)
    watched = accelerator.is_local_main_process and progress
    n = accelerator.num_processes
    uses = math.inf if minutes else steps * plan.batch_size / len(data.train) if steps else plan.epochs
    dataset = TrainingSet(data.train, detector.categories, size, plan.augment, seed, n, watched is True, uses)
    threads = _threads(workers, detector)
    loader, sampler = training_loader(dataset, plan.batch_size, seed, threads, share, accelerator.device)
    optimizer = _optimizer(module, plan)
    facts = training_facts(detector, data, plan, None, seed, steps, teacher)
    known = steps or planned_steps(out, minutes, facts)
    pace = Pace(plan.epochs, sampler.per_epoch, 2 * plan.warmup_steps, known, minutes, validate_every)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, pace.steps, plan))
    mean = None
    if plan.ema_decay:
        mean = AveragedModel(module, multi_avg_fn=_running_mean(plan.ema_decay), use_buffers=True)

    now = facts | {"steps": known} if minutes else facts
    checkpoint = Checkpoint(out, now, module=module, mean=mean, optimizer=optimizer, schedule=schedule)
    rows = checkpoint.restore()
    # A mistake in the validation should show in seconds, not after an epoch of training.
    trial = data.val.subset(min(TRIAL_IMAGES, len(data.val)), seed)
    validate(detector, module, trial)
    if minutes:
        # A detector without training predicts far more boxes than it will later, and is slower to evaluate.
        pace.timed(partial(validate, detector, module, trial), 4 * len(trial) / len(data.val))
    model, optimizer = accelerator.prepare(module, optimizer)

    bar = tqdm(total=pace.steps or None, disable=watched is not True, unit="step", desc="training")
    bar.update(int(rows[-1]["step"]) if rows else 0)
    before = {} if pace.steps else checkpoint.state()

    def take_back() -> None:
        rows.clear()
        checkpoint.forget()  # it belongs to another number of steps
        checkpoint.load(before)

    def chosen() -> None:
        checkpoint.facts["steps"] = pace.steps
        if accelerator.is_main_process:
            write_plan(out, pace, facts)
        bar.reset(total=pace.steps)
        if watched:
            (say if watched == "lines" else bar.write)(pace.said(sampler.batch_size, len(dataset)))

    trunk = getattr(module, "backbone", module)
    layout = trunk.register_forward_pre_hook(_channels_last)
    try:
        for addition in additions:
            addition.open()
        for sampler.steps in pace.laps(len(rows), accelerator, take_back, chosen):
            started, total = time.perf_counter(), 0.0
            model.train()
            for images, targets in loader:
                losses = model(images, targets)  # {"classification": (), "bbox_regression": ()}
                loss = torch.stack(list(losses.values())).sum()
                if not torch.isfinite(loss):
                    raise InputError(
                        f"step {schedule.last_epoch + 1}: the loss is {loss.item()}; lower the learning rate, check "
                        "the boxes"
                    )
                whole, done = loss, schedule.last_epoch / (pace.steps or math.inf)
                for addition in additions:
                    with accelerator.autocast():
                        term = addition.loss(images, done)
                    whole = whole if term is None else whole + term
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(whole)
                if plan.clip_norm:
                    accelerator.clip_grad_norm_(model.parameters(), plan.clip_norm)
                optimizer.step()
                for addition in additions:
                    addition.after_step(done, float(schedule.get_last_lr()[0]))
                schedule.step()
                if mean is not None:
                    mean.update_parameters(accelerator.unwrap_model(model))
                total += loss.item()
                bar.update()
            if pace.trying:
                for addition in additions:
                    addition.columns(module)  # it begins its means again
                continue
            row: dict[str, float] = {
                "epoch": pace.epoch_at(sampler.steps.stop),
                "step": sampler.steps.stop,
                "loss": total / len(sampler.steps),
                "lr": float(schedule.get_last_lr()[0]),
                "seconds": 0.0,
                "val_AP": math.nan,
            }
            kept = mean.module if mean is not None else module
            if pace.validates(len(rows) + 1):
                row["val_AP"] = pace.timed(partial(validate, detector, kept, data.val))
                bar.set_postfix(loss=f"{row['loss']:.2f}", val_AP=f"{100 * row['val_AP']:.1f}")
            for addition in additions:
                row |= addition.columns(kept)
            row["seconds"] = time.perf_counter() - started
            rows.append(row)
            if watched == "lines" and not math.isnan(row["val_AP"]):
                say(said_after(row, pace, rows))
            if accelerator.is_main_process:
                checkpoint.save(rows)
    finally:
        bar.close()
        layout.remove()
        for addition in additions:
            addition.close()
        # Mixed precision hangs a wrapper on the module; a stopped training must not leave it there either.
        for name in ("forward", "_original_forward"):
            vars(module).pop(name, None)
    if mean is not None:
        module.load_state_dict(mean.module.state_dict())
    # Statistics of batch norm are each process's own.
    broadcast(module.state_dict(), from_process=0)
    module.eval()
    give_memory_back()
    return History(tuple(rows))


def training_facts(
    detector: Detector,
    data: Dataset,
    recipe: str | Recipe,
    epochs: int | None,
    seed: int,
    steps: int | None = None,
    teacher: Detector | None = None,
) -> dict[str, Any]:
    """What distinguishes one training from another, as `fit` writes it beside its checkpoints (not the first weights).

    Raises:
        InputError: as `fit`, of the recipe and the epochs.
    """
    plan = planned(recipe, len(data.train), epochs)
    # A training that does not use them can be continued from the checkpoint of a version that did not know them.
    unused = set() if plan.sparsity else {"sparsity", "sparsity_from"}
    unused |= set() if teacher is not None else {"distilling"}
    settings = {key: value for key, value in asdict(plan).items() if key not in unused}
    facts = {
        "recipe": {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()},
        "seed": seed,
        "samples": SAMPLES_VERSION,
        "steps": steps,
        "begins_with": detector.begins_with,
        "layout": detector.layout.to_dict(),
        "data": data.fingerprint(),
    }
    return facts if teacher is None else facts | {"teacher": weights_digest(teacher)}


def validate(detector: Detector, module: nn.Module, split: Split) -> float:
    """AP 0.50:0.95 (0..1) of a detector with `module` in the place of its own, on a split."""
    measured = copy.copy(detector)
    measured.module = module
    with unchecked():
        predictions = collect_predictions(measured, split, progress=False)
        return Evaluator(predictions, split.ground_truth).accuracy(detector.layout.full)


def _channels_last(trunk: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a trunk is given, with batches of images pixel by pixel in memory, as its maps are then too.

    A step takes a tenth to a third less time (benchmarks/README.md). Predictions are made without it: they have the
    bits of the detector's own forward pass.
    """
    return tuple(
        each.contiguous(memory_format=torch.channels_last) if isinstance(each, Tensor) and each.ndim == 4 else each
        for each in inputs
    )


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


def _threads(asked: int, detector: Detector) -> int:
    if asked >= 0:
        return asked
    if detector.device.type != "cpu":
        return min(os.cpu_count() or 1, 8)
    return int(detector.leaves_cores_free)  # a thread beside a network that keeps all cores busy slows it down


def _optimizer(module: nn.Module, plan: Recipe) -> torch.optim.Optimizer:
    """Weight decay for the weights of convolutions only; biases and norms go without."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = parameters[0].device.type in ("cpu", "cuda")  # one pass over the weights; not every device has it
    if plan.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=plan.lr, momentum=plan.momentum, fused=fused)
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=plan.lr, fused=fused)
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
