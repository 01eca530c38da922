"""Training recipes: data, not code."""

from __future__ import annotations

from dataclasses import dataclass, replace

from anchorkit.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """How a detector is trained.

    Attributes:
        optimizer: ``"sgd"`` or ``"adamw"``.
        epochs: passes over the training images.
        batch_size: images per step.
        lr: learning rate at its highest.
        schedule: ``"step"`` (divided by 10 at each milestone) or ``"cosine"`` (to zero).
        milestones: epochs at which a step schedule divides.
        warmup_steps: steps over which the rate rises linearly from 0.
        weight_decay: of all weights but biases and norms.
        momentum: of SGD.
        augment: a name of `anchorkit.training.augmentation.AUGMENTATIONS`.
        ema_decay: decay of the running mean of the weights that is validated and kept; 0 for none.
        clip_norm: largest norm of the gradient; 0 for no limit.
        sparsity: strength s of the penalty that pulls the scales of norms to zero, so that channels can be cut;
            0 for none. See `anchorkit.training.sparsity`.
        sparsity_from: the share of the training, 0..1, after which the penalty spares the strongest 35 % of the scales;
            1 for never.
        distilling: weight of the distance to a teacher's attention; used only if `fit` has a teacher. See
            `anchorkit.training.distilling`.

    Example:
        >>> from dataclasses import replace
        >>> import anchorkit as ak
        >>> gentle = replace(ak.training.RECIPES["tiny-finetune"], lr=1e-4, epochs=2)
    """

    optimizer: str
    epochs: int
    batch_size: int
    lr: float
    schedule: str = "step"
    milestones: tuple[int, ...] = ()
    warmup_steps: int = 0
    weight_decay: float = 5e-4
    momentum: float = 0.9
    augment: str = "ssd"
    ema_decay: float = 0.0
    clip_norm: float = 0.0
    sparsity: float = 0.0
    sparsity_from: float = 0.4
    distilling: float = 1.0


# Small detectors from scratch on small data: AdamW, cosine, a running mean of the weights.
_TINY = Recipe(
    "adamw",
    epochs=60,
    batch_size=32,
    lr=2e-3,
    schedule="cosine",
    warmup_steps=100,
    weight_decay=0.05,
    augment="ssd-small",
    ema_decay=0.998,
    clip_norm=5.0,
)
# YOLOv5's settings for a training from scratch. Its loss is about a tenth of the kit's and is added up over 64 images,
# so a rate of 0.01 there is one of 0.1 or less here, and the decay, which is relative to the rate, is smaller in turn.
_YOLO = Recipe(
    "sgd",
    epochs=300,
    batch_size=16,
    lr=0.05,
    schedule="cosine",
    warmup_steps=1000,
    weight_decay=1e-4,
    momentum=0.937,
    augment="mosaic",
    ema_decay=0.9998,
    clip_norm=10.0,
)
RECIPES: dict[str, Recipe] = {
    # Paper section 3.1, and 3.8 for VOC. The batch of 32 is that of Liu et al. 2016.
    "ssd": Recipe("sgd", epochs=120, batch_size=32, lr=1e-3, milestones=(80, 110)),
    "ssd-voc": Recipe("sgd", epochs=240, batch_size=32, lr=1e-3, milestones=(160, 220)),
    # Paper section 3.3.
    "ssd-finetune": Recipe("sgd", epochs=10, batch_size=32, lr=1e-5),
    # Paper section 3.6.
    "retinanet": Recipe(
        "sgd",
        epochs=12,
        batch_size=16,
        lr=0.01,
        milestones=(8, 11),
        warmup_steps=500,
        weight_decay=1e-4,
        augment="flip",
    ),
    "tiny": _TINY,
    # The same for little time: a step with few images costs little, and so early in a training it is the number of
    # steps that counts. On 256 images, 12 epochs: AP 9.6 on other images in 41 s of a core, "tiny" 1.6 in 34 s.
    "tiny-short": replace(_TINY, epochs=15, batch_size=8, lr=1e-3, warmup_steps=50, ema_decay=0.99),
    # For the trunk of a shipped detector and data of one's own: docs/results.md, "A first run on your own data".
    "tiny-transfer": replace(_TINY, epochs=150, batch_size=8, lr=1e-3, warmup_steps=50, ema_decay=0.99),
    # The first stage of channel pruning (Chu et al. 2022), of a trained detector (docs/results.md, "Channels"). The
    # penalty is decoupled: a scale shrinks by lr * sparsity per step, while its gradient moves it by at most lr.
    # Scales near zero show in the mean only if that is fresh.
    "tiny-sparse": replace(_TINY, epochs=4, batch_size=8, ema_decay=0.98, sparsity=1.0),
    "tiny-finetune": replace(_TINY, epochs=6, lr=3e-4, warmup_steps=20, ema_decay=0.98),
    "yolo": _YOLO,
    "yolo-finetune": replace(_YOLO, epochs=30, lr=0.005, warmup_steps=100, augment="flip", ema_decay=0.998),
    # For minutes of training: 2,000 steps of 8 images of BCCD gave AP 45.4, and 38.1 on mosaics; 600 steps of shapes
    # with "flip" gave 35.9, and 19.5 at a rate of 2e-3 with a mean that forgets slowly (0.998). One seed each.
    "tiny-yolo": replace(
        _TINY, epochs=150, batch_size=8, lr=3e-3, warmup_steps=100, ema_decay=0.99, augment="ssd-small"
    ),
    "tiny-yolo-finetune": replace(_TINY, epochs=6, lr=3e-4, warmup_steps=20, augment="flip", ema_decay=0.98),
}
"""The recipes by name: those of the papers, and shorter ones (``tiny``) for a laptop."""


def planned(recipe: str | Recipe, images: int, epochs: int | None = None, batch_size: int | None = None) -> Recipe:
    """The recipe of a training on a number of images, with other epochs or another batch size where they are given.

    Raises:
        InputError: the recipe is unknown, there are no images, or the batch size is below 1.
    """
    if not isinstance(recipe, Recipe) and recipe not in RECIPES:
        raise InputError(f"unknown recipe {recipe!r}: use one of {', '.join(RECIPES)}")
    plan = recipe if isinstance(recipe, Recipe) else RECIPES[recipe]
    if images == 0:
        raise InputError("there are no training images")
    if epochs is not None:
        milestones = tuple(round(m * epochs / plan.epochs) for m in plan.milestones)
        plan = replace(plan, epochs=epochs, milestones=milestones)
    if batch_size is not None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; 1 or more is needed")
        plan = replace(plan, batch_size=batch_size)
    return plan
